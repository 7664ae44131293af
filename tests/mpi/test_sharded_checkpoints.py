"""n ranks write the file that one process writes, byte for byte, and any other number of ranks goes on from it."""

import os
import resource
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
from cases import CASES, MATRICES

import gdfast
from arrays import assert_same_bits

pytest.importorskip("safetensors")
EXTRA = {"epoch": 3, "rng": [np.arange(5), np.float32(2.5)], "names": "é", "none": np.zeros((0, 2), "f2")}
BY_NAME = {case.name: case for case in (*CASES, *MATRICES)}
NAMES = ("adamw_odd", "nadam", "madgrad", "novograd", "adafactor", "schedule_free_adamw", "lamb_l1")
OPTIONS: tuple[dict[str, Any], ...] = (
    {"clip_norm": gdfast.schedules.Cosine(0.5, total_steps=9), "nonfinite": "skip"},
    {"ema_decay": 0.9, "lr": gdfast.schedules.Cosine(0.5, total_steps=9)},
)


def made(seed: int) -> dict[str, Any]:
    return {name: array.copy() for name, array in drawn(seed).items()}


@cache
def drawn(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"W": (33_000, 2), "é.b": (7,), "table\n": (66_000,), "none": (0, 3), "scalar": ()}
    return {
        name: np.asarray(rng.normal(size=shape).astype("f" if len(name) < 4 else "d")) for name, shape in shapes.items()
    }


def both(name: str, options: dict[str, Any], n_steps: int, waiting: bool) -> tuple[Any, Any, Any, Any]:
    """Return a sharded optimizer and one that has it all, with their parameters, after the same steps."""
    from mpi4py import MPI

    from gdfast.mpi import sharded

    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    case, params, alone = BY_NAME[name], made(0), made(0)
    opt, one = sharded(case.optimizer, params, **{**case.options, **options}), case.make(alone, **options)
    for step in range(n_steps):
        grads = [made(100 * step + r) for r in range(1, size + 1)]
        last = step == n_steps - 1 and waiting
        (opt.accumulate if last else opt.step)(grads[rank])
        for other in grads[:-1]:
            one.accumulate(other)
        (one.accumulate if last else one.step)(grads[-1])
    return opt, params, one, alone


def save_all(folder: str, n_ranks: str) -> None:
    """Write files from these ranks and from one process; compare; load those of another number of ranks."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.rank
    for name in NAMES:
        for number, options in enumerate(OPTIONS):
            for params in (True, False):
                waiting = params and number == 1
                opt, _, one, _ = both(name, options, 3, waiting)
                path = Path(folder) / f"{name} {number} {params} {n_ranks}"
                gdfast.save(path, opt, params=params, extra=EXTRA)
                if rank == 0:
                    gdfast.save(f"{path} one", one, params=params, extra=EXTRA)
                    assert path.read_bytes() == Path(f"{path} one").read_bytes(), path
                    assert not list(Path(folder).glob(".gdfast-*"))
                MPI.COMM_WORLD.Barrier()
                gdfast.save(path, opt, params=params, extra=EXTRA)  # over the old file


def load_all(folder: str, n_ranks: str) -> None:
    for name in NAMES:
        for number, options in enumerate(OPTIONS):
            for with_params in (True, False):
                opt, params, one, alone = both(name, options, 1, False)
                path = Path(folder) / f"{name} {number} {with_params} {n_ranks}"
                extra = gdfast.load(path, opt)
                assert extra["rng"][0].tolist() == [0, 1, 2, 3, 4]
                gdfast.load(path, one)
                assert_same_bits(params, alone)
                assert opt.accumulation.count == one.accumulation.count
                go_on(opt, one)
                assert_same_bits(params, alone)


def go_on(opt: Any, one: Any) -> None:
    from mpi4py import MPI

    grads = [made(1000 + r) for r in range(MPI.COMM_WORLD.size)]
    opt.step(grads[MPI.COMM_WORLD.rank])
    for other in grads[:-1]:
        one.accumulate(other)
    one.step(grads[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("n_saving", "n_loading"), [(1, 2), (2, 3), (3, 1)])
def test_the_file_of_one_process(n_saving: int, n_loading: int, tmp_path: Path) -> None:
    ranks.run(n_saving, save_all, str(tmp_path), str(n_saving))
    ranks.run(n_loading, load_all, str(tmp_path), str(n_saving))


def failures(folder: str) -> None:
    """What fails on one rank: all raise, the old file stays, and the optimizer is as before."""
    from mpi4py import MPI

    from gdfast.mpi import RankError

    rank, comm = MPI.COMM_WORLD.rank, MPI.COMM_WORLD
    opt, params, _, _ = both("adamw", {}, 1, False)
    path = Path(folder) / "run.safetensors"
    gdfast.save(path, opt)
    before, kept = path.read_bytes(), {name: array.copy() for name, array in params.items()}
    opt.step(made(5))
    # A full disk, on the rank that writes behind the first bytes.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for full in (0, 1):
        if rank == full:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError if rank == full else RankError, match=r"run\.safetensors|File too large"):
            gdfast.save(path, opt)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        comm.Barrier()
        assert path.read_bytes() == before
        assert not list(Path(folder).glob(".gdfast-*"))
        comm.Barrier()
    for bad in (0, 1):
        with pytest.raises(
            TypeError if rank == bad else RankError, match=f"extra must be|rank {bad}: TypeError: extra"
        ):
            gdfast.save(path, opt, extra={1} if rank == bad else None)
        where = Path(folder) / "none" / "there" if rank == bad else path
        with pytest.raises((OSError, RankError)):
            gdfast.save(where, opt)
        assert path.read_bytes() == before
    with pytest.raises(RankError, match="path is"):
        gdfast.save(f"{path}{rank}", opt)
    # A file that is damaged, in the last array: only the rank that checks it can see that.
    if rank == 0:
        (Path(folder) / "damaged").write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    comm.Barrier()
    now = {name: array.copy() for name, array in params.items()}
    with pytest.raises((gdfast.CheckpointError, RankError), match="are altered"):
        gdfast.load(Path(folder) / "damaged", opt)
    assert_same_bits(params, now)
    with pytest.raises(OSError if rank == 1 else RankError, match="No such file"):
        gdfast.load(path if rank == 0 else Path(folder) / "nothing", opt)
    gdfast.load(path, opt)
    assert_same_bits(params, kept)
    with pytest.raises(gdfast.CheckpointError, match="does not fit"):
        gdfast.load(path, both("adam", {}, 1, False)[0])


def test_failures(tmp_path: Path) -> None:
    ranks.run(2, failures, str(tmp_path))


def saves_for_ever(folder: str) -> None:
    from mpi4py import MPI

    opt, _, _, _ = both("adamw", {}, 1, False)
    while True:
        gdfast.save(Path(folder) / "run", opt, extra=opt.step_count)
        if opt.step_count == 3:
            (Path(folder) / f"ready{MPI.COMM_WORLD.rank}").write_text(str(os.getpid()))
        opt.step(made(opt.step_count))


@pytest.mark.parametrize("seed", range(4))
def test_a_rank_that_is_killed_leaves_a_whole_file(seed: int, tmp_path: Path) -> None:
    process = ranks.start(2, saves_for_ever, str(tmp_path))
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("ready*"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(np.random.default_rng(seed).random() / 10)
        os.kill(int((tmp_path / f"ready{seed % 2}").read_text()), signal.SIGKILL)
    except BaseException:
        ranks.end(process)
        raise
    ranks.finish(process, patience=10)
    again = gdfast.AdamW(made(0))
    step = gdfast.load(tmp_path / "run", again)
    assert step == again.step_count >= 3
