"""Saving from n ranks under failing system calls: the old file or the new one, whole, and every rank raises."""

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import failing
import numpy as np
import pytest
import ranks

import gdfast
from arrays import assert_same_bits

pytest.importorskip("safetensors")
SIZE = 200_000  # cut between the ranks
LEAST = {  # calls of rank 0, and of each other rank; the arrays' checksums are read from the file
    "open": (4, 1),
    "write": (3, 2),
    "fsync": (3, 1),
    "rename": (1, 0),
    "mkdir": (1, 0),
    "chmod": (1, 0),
    "read": (1, 1),
}


class Checkpoint:
    """A sharded optimizer whose arrays are filled with a version, and its file."""

    def __init__(self, path: str) -> None:
        from gdfast.mpi import sharded

        self.path, self.param = path, np.zeros(SIZE)
        self.opt = sharded(gdfast.SGD, self.param, momentum=0.5)
        self.again = np.zeros(SIZE)
        self.reader = gdfast.SGD(self.again, momentum=0.5)

    def save(self, version: int) -> None:
        self.param[:] = self.opt.state["0"]["momentum_buffer"][:] = version
        gdfast.save(self.path, self.opt, extra={"version": version, "array": np.ones(3)})  # three arrays to read back

    def stored(self) -> int:
        """Return the version of the file, which must be whole and of one save."""
        version: int = gdfast.load(self.path, self.reader)["version"]
        assert (self.again == version).all()
        assert (self.reader.state["0"]["momentum_buffer"] == version).all()
        return version


def one_fails(checkpoint: Checkpoint, who: int, kind: str, nth: int, forever: bool) -> Any:
    """Save while a call of one rank fails; return what this rank raised."""
    from mpi4py import MPI

    from gdfast.mpi import RankError

    faults, rank = ctypes.CDLL(None), MPI.COMM_WORLD.rank
    if rank == who:
        faults.faults_arm(failing.KINDS.index(kind), nth, forever, errno.EIO)
    try:
        checkpoint.save(2)
    except (OSError, RankError) as error:
        return error
    finally:
        faults.faults_disarm()
    return None


def counted(checkpoint: Checkpoint, who: int, kind: str) -> int:
    """Return how many calls of a kind a rank makes in a save."""
    from mpi4py import MPI

    faults = ctypes.CDLL(None)
    faults.faults_arm(failing.KINDS.index(kind), -1, 0, 0)
    checkpoint.save(1)
    faults.faults_disarm()
    found: int = MPI.COMM_WORLD.bcast(faults.faults_count(failing.KINDS.index(kind)), who)
    return found


def every_call_that_fails(folder: str) -> None:
    from mpi4py import MPI

    from gdfast.mpi import RankError

    comm = MPI.COMM_WORLD
    checkpoint = Checkpoint(os.path.join(folder, "run"))
    checkpoint.save(1)
    for who in range(comm.size):
        for kind, least in LEAST.items():
            calls = counted(checkpoint, who, kind)
            assert calls >= least[who > 0], (kind, who, calls)
            for nth, forever in ((nth, forever) for nth in range(calls) for forever in (False, True)):
                where = f"{kind} {nth} of {calls}, for good: {forever}, on rank {who}"
                error = one_fails(checkpoint, who, kind, nth, forever)
                if comm.rank == who:
                    assert isinstance(error, OSError), where
                    assert (error.errno, error.filename) == (errno.EIO, checkpoint.path), where
                else:
                    assert isinstance(error, RankError), where
                    assert f"rank {who}: OSError" in str(error), where
                renamed = who == 0 and kind in ("fsync", "open") and nth == calls - 1  # the folder, after the rename
                assert checkpoint.stored() == (2 if renamed else 1), where
                comm.Barrier()  # a rank tells the others of its error before it removes what it has begun
                assert os.listdir(folder) == ["run"], where
                comm.Barrier()
                checkpoint.save(1)
    checkpoint.opt.step(np.ones(SIZE))
    told = comm.allgather(checkpoint.param.tobytes())
    assert_same_bits(np.frombuffer(told[0]), checkpoint.param)


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_every_call_that_fails(n_ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each open, write, fsync, rename and so on of each rank in turn, once and for good."""
    (tmp_path / "files").mkdir()
    monkeypatch.setenv("LD_PRELOAD", str(failing.library(tmp_path)))
    ranks.run(n_ranks, every_call_that_fails, str(tmp_path / "files"))
