"""n ranks leave the bits of one process that accumulates the same n gradients, in the order of ranks."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import ranks
from cases import CASES, MATRICES, Case

import gdfast
from arrays import assert_same_bits, hostile, plain

N_STEPS = 2
EVERY = {f"{case.name} of matrices" if case in MATRICES else case.name: case for case in (*CASES, *MATRICES)}
OPTIONS: dict[str, dict[str, Any]] = {
    "clip_norm": {"clip_norm": 0.5, "clip_value": 2.0},
    "clip_norm schedule": {"clip_norm": gdfast.schedules.Cosine(0.5, total_steps=5, min_lr=0.1), "nonfinite": "skip"},
    "raise": {"nonfinite": "raise"},
    "average": {"ema_decay": 0.9},
    "uniform average": {"ema_decay": "average", "ema_start": 1},
    "sum": {"accumulation": "sum", "lr": 1e-4},
    "schedule": {"lr": gdfast.schedules.Cosine(0.1, total_steps=10)},
    "numpy": {"engine": "numpy"},
    "numpy norm": {"engine": "numpy", "clip_norm": 0.1},
    "threads": {"n_threads": 3},
    "one thread": {"n_threads": 1, "clip_norm": 0.1},
    "little memory": {"message_memory": 1 << 18},
    "little memory, norm": {"message_memory": 1 << 18, "clip_norm": 0.1, "ema_decay": 0.5},
    "less memory": {"message_memory": 1 << 14},
    "less memory, norm": {"message_memory": 1 << 14, "clip_norm": 0.1, "ema_decay": 0.5},
}
ONCE = ("less memory", "less memory, norm")  # hundreds of messages a step, with one rule; with the others a dozen


def shapes(case: Case) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Arrays that are cut, at borders of blocks, and such as are not."""
    if case.optimizer is gdfast.Muon:
        return {"W": ((40, 50), "f"), "V": ((30, 20), "d"), "none": ((0, 3), "f"), "U": ((300, 300), "f")}
    return {
        "table": ((33_000, 2), "f"),
        "scalar": ((), "d"),
        "none": ((0, 3), "f"),
        "W": ((5, 7), "d"),
        "vector": ((66_000,), "d"),
        "last": ((3,), "f"),
    }


def made(case: Case, seed: list[int], wild: bool = False) -> dict[str, Any]:
    return {name: array.copy() for name, array in drawn(tuple(shapes(case).items()), tuple(seed), wild).items()}


@cache
def drawn(of: tuple[tuple[str, Any], ...], seed: tuple[int, ...], wild: bool) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    draw = hostile if wild else plain
    return {name: np.array(draw(rng, int(np.prod(shape)), dtype)).reshape(shape) for name, (shape, dtype) in of}


def compare(case: Case, *, wild: bool = False, micro: int = 0, by_groups: bool = False, **options: Any) -> None:
    """Step this rank with the others, and alone with the gradients of all; compare everything after each step."""
    from mpi4py import MPI

    from gdfast.mpi import sharded

    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    params, alone = made(case, [1]), made(case, [1])
    ours, theirs = (grouped(tree) if by_groups else tree for tree in (params, alone))
    opt = sharded(case.optimizer, ours, **{**case.options, **options})
    options.pop("message_memory", None)
    one = case.make(theirs, **options)
    for step in range(N_STEPS):
        for batch in range(micro + 1):
            grads = [made(case, [2, step, batch, r], wild) for r in range(size)]
            kept = {name: array.copy() for name, array in grads[rank].items()}
            last = batch == micro
            scale = {"grad_scale": 0.5} if last else {}
            (opt.step if last else opt.accumulate)(grads[rank], **scale)
            assert_same_bits(grads[rank], kept)
            for other in grads[:-1]:
                one.accumulate(other)
            (one.step if last else one.accumulate)(grads[-1], **scale)
        same_everything(opt, one, params, alone)


def grouped(tree: dict[str, Any]) -> list[dict[str, Any]]:
    rest = {name: array for name, array in tree.items() if name not in ("table", "W")}
    return [{"params": {"table": tree["table"], "W": tree["W"]}, "lr": 0.5}, {"params": rest}]


def same_everything(opt: Any, one: Any, params: Any, alone: Any) -> None:
    assert_same_bits(params, alone)
    assert (opt.step_count, opt.skipped_steps) == (one.step_count, one.skipped_steps)
    assert_same_bits(np.array([opt.last_norm or -1.0]), np.array([one.last_norm or -1.0]))
    cut, rank = opt._spread.cut, opt._spread.team.rank
    for i, (name, whole) in enumerate(one.state.items()):
        start, stop = cut.slice_of(i, rank)
        for key, state in whole.items():
            if opt.reduced_shape(key, alone[name].shape) is None:
                assert_same_bits(opt.state[name][key].ravel(), state.ravel()[start:stop], name)
            elif rank == cut.owner(i):
                assert_same_bits(opt.state[name][key], state, name)


def every_rule() -> None:
    for name, case in EVERY.items():
        try:
            compare(case)
        except BaseException as error:
            error.add_note(name)
            raise


def every_option() -> None:
    by_name = {case.name: case for case in CASES}
    for name in ("adamw_odd", "lamb_odd", "adam_centralized", "nadam_l1"):
        for what, options in OPTIONS.items():
            if what in ONCE and name != "adamw_odd":
                continue
            try:
                compare(by_name[name], micro=2 * (len(what) % 2), **options)
                compare(by_name[name], wild=True, **{**options, **({} if what != "raise" else {"nonfinite": "skip"})})
            except BaseException as error:
                error.add_note(f"{name} {what}")
                raise
        compare(by_name[name], by_groups=True)


@pytest.mark.slow
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
def test_every_rule_has_the_bits_of_one_process(n_ranks: int) -> None:
    ranks.run(n_ranks, every_rule)


@pytest.mark.slow
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
def test_every_option_has_the_bits_of_one_process(n_ranks: int) -> None:
    ranks.run(n_ranks, every_option)
