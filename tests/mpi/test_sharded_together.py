"""Ranks update together or not at all: what one of them finds wrong, all raise, and name the rank."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks

import gdfast
from arrays import assert_same_bits


def made() -> dict[str, Any]:
    return {"W": np.linspace(0.0, 1.0, 140_000), "b": np.ones((3, 2), np.float32)}


REDUCTION = ["exact"]  # what `sharded` asks for


def sharded(*arguments: Any, **options: Any) -> Any:
    import gdfast.mpi

    return gdfast.mpi.sharded(*arguments, **{"reduction": REDUCTION[0], **options})


def with_reduction(reduction: str, name: str, *arguments: str) -> None:
    REDUCTION[0] = reduction
    globals()[name](*arguments)


def my_rank() -> int:
    from mpi4py import MPI

    rank: int = MPI.COMM_WORLD.rank
    return rank


def all_refuse(call: Callable[[], Any], here: type[Exception], own: str, told: str, params: Any = None) -> None:
    """Call on all ranks: rank 1 must raise its own error, the others RankError; the parameters stay."""
    from gdfast.mpi import RankError

    before = None if params is None else {name: array.copy() for name, array in params.items()}
    with pytest.raises(here if my_rank() == 1 else RankError, match=own if my_rank() == 1 else told):
        call()
    if before is not None:
        assert all(np.array_equal(params[name], before[name]) for name in before)


def bad_steps() -> None:
    """What is wrong on rank 1 alone."""
    one = my_rank() == 1
    params, good = made(), made()
    for options in ({}, {"clip_norm": 1.0}):
        opt = sharded(gdfast.AdamW, params, **options)
        bad = {"W": good["W"], "b": np.ones(5, np.float32)} if one else good
        refused = (ValueError, 'grads\\["b"\\] must have the shape', 'rank 1: ValueError: grads\\["b"\\] must have')
        all_refuse(lambda opt=opt, bad=bad: opt.step(bad), *refused, params)
        all_refuse(lambda opt=opt, bad=bad: opt.accumulate(bad), *refused, params)
        wrong = {"W": good["W"]} if one else good
        refused = (ValueError, "missing", "rank 1: ValueError: grads must have the keys")
        all_refuse(lambda opt=opt, wrong=wrong: opt.step(wrong), *refused, params)
        sparse = {**good, "b": gdfast.Rows(np.array([1]), np.ones((1, 2), np.float32))} if one else good
        refused = (TypeError, "must be a NumPy array for a sharded", "rank 1: TypeError")
        all_refuse(lambda opt=opt, sparse=sparse: opt.step(sparse), *refused, params)
        scale = np.nan if one else 1.0
        refused = (ValueError, "grad_scale must be finite", "rank 1: ValueError: grad_scale")
        all_refuse(lambda opt=opt, good=good, scale=scale: opt.step(good, grad_scale=scale), *refused, params)
        frozen = {name: array.copy() for name, array in good.items()}
        frozen["W"].flags.writeable = not one
        refused = (ValueError, "must be writeable", "rank 1: ValueError.*must be writeable")
        all_refuse(lambda opt=opt, frozen=frozen: opt.step(frozen, zero_grad=True), *refused, params)
        assert opt.step_count == 0
        opt.step(good, zero_grad=True)  # and all can go on
        assert opt.step_count == 1
        assert not good["W"].any()
        good = made()


def bad_schedules() -> None:
    params = made()
    opt = sharded(gdfast.SGD, params, lr=lambda step: -1.0 if my_rank() == 1 else 0.1)
    all_refuse(lambda: opt.step(made()), ValueError, "lr at step 0 must be", "rank 1: ValueError: lr at step 0", params)
    from gdfast.mpi import RankError

    opt = sharded(gdfast.SGD, params, lr=lambda step: 0.1 * (1 + my_rank()))
    with pytest.raises(RankError, match=r"all ranks must agree; param_groups\[0\] is .*0.1.* on rank 0 and .*0.2"):
        opt.step(made())
    opt = sharded(gdfast.SGD, params, clip_norm=lambda step: 0.1 * (1 + my_rank()))
    before = params["W"].copy()
    with pytest.raises(RankError, match="scales is"):
        opt.step(made())
    assert np.array_equal(params["W"], before)
    assert opt.step_count == 0
    opt = sharded(gdfast.SGD, params)
    opt.accumulate(made())
    with pytest.raises(RankError, match="scales is"):
        opt.step(made(), grad_scale=1.0 + my_rank())
    assert opt.accumulation.count == 2
    opt.step(made())
    with pytest.raises(RankError, match=r"call is 'step' on rank 0 and 'accumulate' on rank 1; .*first is not there"):
        (opt.accumulate if my_rank() == 1 else opt.step)(made())
    opt.step_count += my_rank()
    with pytest.raises(RankError, match="step_count is 1 on rank 0 and 2 on rank 1"):
        opt.step(made())


def not_finite() -> None:
    params = made()
    opt = sharded(gdfast.AdamW, params, nonfinite="raise")
    before, grads = params["W"].copy(), made()
    if my_rank() == 1:
        grads["W"][[3, 139_999]] = np.nan, np.inf
    with pytest.raises(FloatingPointError, match='not finite: rank 1: grads\\["W"\\] \\(1 NaN, 1 infinite\\); nothing'):
        opt.step(grads)
    assert np.array_equal(params["W"], before)
    opt.accumulate(grads)
    with pytest.raises(FloatingPointError, match="rank 1: the micro-batches' sum of params"):
        opt.step(made())
    assert opt.accumulation.count == 0
    huge = {**made(), "W": np.full(140_000, 1e308)}
    with pytest.raises(FloatingPointError, match="their norm overflows"):
        opt.step(huge, grad_scale=0.5)


def norms() -> None:
    """Where float64 cannot hold the sum of squares: as one process computes it."""
    size = 2
    for value in (1e200, 1e-200, 0.0, 1e-310, 1.7e308, 3.0):
        params, alone = made(), made()
        opt, one = sharded(gdfast.SGD, params, clip_norm=1.0), gdfast.SGD(alone, clip_norm=1.0)
        grads = {"W": np.full(140_000, value), "b": np.zeros((3, 2), np.float32)}
        opt.step(grads)
        for _ in range(size - 1):
            one.accumulate(grads)
        one.step(grads)
        assert opt.last_norm == one.last_norm, value
        assert_same_bits(params, alone, str(value))


def bad_arguments() -> None:
    """Found when the optimizer is made, by all ranks."""
    from mpi4py import MPI

    from gdfast.mpi import RankError

    one, params = my_rank() == 1, made()
    shape = {**params, "b": np.ones((3, 2 + one), np.float32)}
    values = {**params, "b": np.full((3, 2), 1.0 + one, np.float32)}
    for given, options, message in (
        (shape, {}, 'the form of params\\["b"\\] is .*3, 2.* on rank 0 and .*3, 3.* on rank 1'),
        (values, {}, 'the checksum of params\\["b"\\] is'),
        (params, {"lr": 0.1 + 0.1 * one}, "param_groups is"),
        (params, {"clip_norm": 0.5 + one}, "guard is"),
        (params, {"message_memory": (1 << 20) + one}, "message_memory is 1048576 on rank 0 and 1048577 on rank 1"),
        (params, {"reduction": "fast" if one else "exact"}, "reduction is 'exact' on rank 0 and 'fast' on rank 1"),
        ({name: params[name] for name in (["W", "b"] if one else ["b", "W"])}, {}, "all ranks must agree"),
    ):
        with pytest.raises(RankError, match=message):
            sharded(gdfast.AdamW, given, **options)
    with pytest.raises(RankError, match="optimizer is 'Adam' on rank 0 and 'AdamW' on rank 1"):
        sharded(gdfast.AdamW if one else gdfast.Adam, params, weight_decay=0.0)
    for options in ({"lr": -1.0}, {"clip_value": 0.0}, {"reduction": "quick"}):
        bad = options if one else {}
        all_refuse(lambda bad=bad: sharded(gdfast.AdamW, params, **bad), ValueError, "must be", "rank 1: ValueError")
    # Another communicator, of which each rank is the only one.
    opt = sharded(gdfast.AdamW, params, comm=MPI.COMM_SELF)
    opt.step(made(), grad_scale=1.0 + my_rank())
    assert opt.step_count == 1


def averages() -> None:
    params, alone = made(), made()
    opt, one = sharded(gdfast.Adam, params, ema_decay=0.5), gdfast.Adam(alone, ema_decay=0.5)
    opt.step(made())
    one.accumulate(made())
    one.step(made())
    with opt.averaged(), one.averaged():
        assert np.array_equal(params["W"], alone["W"])
        with pytest.raises(RuntimeError, match="hold their averages"):
            opt.step(made())
    assert np.array_equal(params["W"], alone["W"])
    opt, one = sharded(gdfast.ScheduleFreeAdamW, params), gdfast.ScheduleFreeAdamW(alone)
    for switch in ("eval", "train"):
        opt.step(made())
        one.accumulate(made())
        one.step(made())
        for mode in (switch, switch, "train"):
            getattr(opt, mode)()
            getattr(one, mode)()
            assert np.array_equal(params["W"], alone["W"])


@pytest.mark.parametrize("reduction", ["exact", "fast"])
@pytest.mark.parametrize(
    "function", [bad_steps, bad_schedules, not_finite, norms, bad_arguments, averages], ids=lambda f: f.__name__
)
def test_two_ranks(function: Callable[[], None], reduction: str) -> None:
    ranks.run(2, with_reduction, reduction, function.__name__)  # also the bits of "fast": two numbers have one sum


def steps_for_ever(folder: str, who: str) -> None:
    """Step until the process is ended; the rank that is to die says which it is."""
    params = made()
    opt = sharded(gdfast.AdamW, params)
    while True:
        opt.step(made())
        if opt.step_count == 3:
            (Path(folder) / str(my_rank())).write_text(str(os.getpid()))
        if opt.step_count > 20 and who == "raises" and my_rank() == 1:
            raise ZeroDivisionError("rank 1 has had enough")


@pytest.mark.parametrize("reduction", ["exact", "fast"])
@pytest.mark.parametrize("who", ["killed", "raises", "interrupted", "all interrupted"])
@pytest.mark.usefixtures("ctrl_c")
def test_all_ranks_end_within_10_seconds_of_one(who: str, reduction: str, tmp_path: Path) -> None:
    process = ranks.start(3, with_reduction, reduction, "steps_for_ever", str(tmp_path), who)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        if who == "killed":
            os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
        elif who == "interrupted":
            os.kill(int((tmp_path / "1").read_text()), signal.SIGINT)
        elif who == "all interrupted":
            process.send_signal(signal.SIGINT)
    except BaseException:
        ranks.end(process)
        raise
    printed = ranks.finish(process, patience=10)
    assert process.returncode != 0
    assert who != "raises" or "rank 1 has had enough" in printed
