"""`reduction="fast"`: the sums of MPI, which are those of the order of ranks up to rounding."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
from cases import CASES, MATRICES, Case

import gdfast
from arrays import assert_same_bits

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "clip_norm": {"clip_norm": 0.5, "clip_value": 2.0},
    "skip": {"nonfinite": "skip"},
    "raise": {"nonfinite": "raise", "clip_norm": gdfast.schedules.Cosine(0.5, total_steps=5, min_lr=0.1)},
    "average": {"ema_decay": 0.9},
    "sum": {"accumulation": "sum", "lr": 1e-4},
    "numpy": {"engine": "numpy", "clip_norm": 0.1},
    "little memory": {"message_memory": 1 << 18},
    "little memory, norm": {"message_memory": 1 << 18, "clip_norm": 0.1},
    "less memory": {"message_memory": 1 << 14},
    "less memory, norm": {"message_memory": 1 << 14, "clip_norm": 0.1},
}
ONCE = ("less memory", "less memory, norm")  # hundreds of messages a step, with one rule; with the others a dozen


def made(case: Case, seed: list[int], whole_numbers: bool) -> dict[str, Any]:
    """Arrays that are cut, and such as are not. Of whole numbers, every order of adding has the same sum."""
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "table": ((33_000, 2), "f"),
        "scalar": ((), "d"),
        "none": ((0, 3), "f"),
        "vector": ((66_000,), "d"),
        "last": ((3,), "f"),
    }
    if case.optimizer is gdfast.Muon:
        shapes = {"W": ((40, 50), "f"), "V": ((30, 20), "d"), "none": ((0, 3), "f"), "U": ((70, 60), "f")}
    found = drawn(tuple(shapes.items()), tuple(seed), whole_numbers)
    return {name: array.copy() for name, array in found.items()}


@cache
def drawn(shapes: tuple[tuple[str, Any], ...], seed: tuple[int, ...], whole_numbers: bool) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray((rng.integers(-9, 9, shape) if whole_numbers else rng.normal(size=shape)), dtype)
        for name, (shape, dtype) in shapes
    }


def pair(
    case: Case, whole_numbers: bool, micro: int, **options: Any
) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    """Return a fast and an exact optimizer with their parameters, after the same three steps."""
    from mpi4py import MPI

    from gdfast.mpi import sharded

    ours, theirs = made(case, [1], whole_numbers), made(case, [1], whole_numbers)
    fast = sharded(case.optimizer, ours, reduction="fast", **{**case.options, **options})
    exact = sharded(case.optimizer, theirs, reduction="exact", **{**case.options, **options})
    for step in range(3):
        for batch in range(micro + 1):
            grads = made(case, [2, step, batch, MPI.COMM_WORLD.rank], whole_numbers)
            kept = {name: array.copy() for name, array in grads.items()}
            for opt in (fast, exact):
                (opt.step if batch == micro else opt.accumulate)(grads)
            assert_same_bits(grads, kept)
    assert (fast.step_count, fast.skipped_steps) == (exact.step_count, exact.skipped_steps) == (3, 0)
    told = MPI.COMM_WORLD.allgather({name: array.tobytes() for name, array in ours.items()})
    assert all(each == told[0] for each in told)  # all ranks hold the same
    return fast, exact, ours, theirs


def every_rule() -> None:
    for case in (*CASES, *MATRICES):
        try:
            _, _, ours, theirs = pair(case, True, 0)
            assert_same_bits(ours, theirs)
        except BaseException as error:
            error.add_note(case.name)
            raise


def every_option() -> None:
    by_name = {case.name: case for case in CASES}
    for name in ("momentum", "adamw_odd", "lamb_odd", "adam_centralized"):
        for what, options in OPTIONS.items():
            if what in ONCE and name != "adamw_odd":
                continue
            try:
                fast, exact, ours, theirs = pair(by_name[name], True, 1, **options)
                assert_same_bits(ours, theirs)
                fast, exact, ours, theirs = pair(by_name[name], False, 0, **options)
                for key, array in ours.items():
                    precise = 1e-4 if array.dtype == np.float32 else 1e-9
                    np.testing.assert_allclose(array, theirs[key], rtol=precise, atol=precise)
                np.testing.assert_allclose(fast.last_norm or 0.0, exact.last_norm or 0.0, rtol=1e-6)
            except BaseException as error:
                error.add_note(f"{name} {what}")
                raise


def not_finite() -> None:
    from mpi4py import MPI

    case, last = CASES[0], MPI.COMM_WORLD.size - 1
    for bad in (np.nan, np.inf):
        fast, _, ours, _ = pair(case, False, 0, nonfinite="skip")
        grads, before = made(case, [5], False), {name: array.copy() for name, array in ours.items()}
        if MPI.COMM_WORLD.rank == last:
            grads["vector"][65_999] = bad
        fast.step(grads)
        assert fast.skipped_steps == 1
        assert_same_bits(ours, before)
        fast, _, ours, _ = pair(case, False, 0, nonfinite="raise")
        with pytest.raises(
            FloatingPointError, match=rf'rank {last}: grads\["vector"\] \((1 NaN, 0|0 NaN, 1) infinite\)'
        ):
            fast.step(grads)
        fast, _, ours, _ = pair(case, False, 0)
        fast.step(grads)
        assert not np.isfinite(ours["vector"][65_999])
        assert np.isfinite(ours["vector"][:65_999]).all()


def memory() -> None:
    """What is kept for messages is no more than was allowed."""
    from gdfast.mpi import sharded

    case = CASES[0]
    for allowed in (1 << 12, 1 << 16, 1 << 20):
        opt = sharded(gdfast.SGD, made(case, [1], False), reduction="fast", message_memory=allowed)
        opt.step(made(case, [2], False))
        assert sum(room.size for room in opt._engine.exchange._rooms.values()) <= allowed


def files(folder: str) -> None:
    """A file says nothing of the reduction: either goes on from it."""
    case, path = CASES[3], Path(folder) / "run"
    fast, exact, ours, theirs = pair(case, False, 1)
    gdfast.save(path, fast)
    gdfast.load(path, exact)
    assert_same_bits(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
@pytest.mark.parametrize("function", [every_rule, every_option, not_finite, memory], ids=lambda f: f.__name__)
def test_fast(function: Any, n_ranks: int) -> None:
    ranks.run(n_ranks, function)


def test_files(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    ranks.run(2, files, str(tmp_path))
