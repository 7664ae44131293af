"""The ranks of a communicator: what they tell one another, and how they raise together."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdfast.engine import threads

Array = np.ndarray[Any, Any]


class RankError(RuntimeError):
    """Another rank could not go on, or the ranks disagree; nothing was updated on any of them."""


class Team:
    """The ranks of a communicator, which meet before each exchange.

    A rank that cannot go on takes part in the next meeting of the others, and tells them why: then all raise, and
    none waits for another.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        A duplicate of it is used (one for all optimizers), so that no message is taken for one of the user's.
    """

    def __init__(self, comm: Any) -> None:
        self.comm, self._neighbours = _duplicate(comm)
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()

    def meet(self, facts: Mapping[str, Any]) -> None:
        """Return if every rank is here with the same facts.

        Raises
        ------
        RankError
            If a rank failed, or the facts differ; the ranks are named.
        """
        self._meet("", {key: repr(value) for key, value in facts.items()})

    def fail(self, error: Exception) -> None:
        """Take part in the meeting at which the others wait, and tell them of an error."""
        try:
            self._meet(f"{type(error).__name__}: {error}", {})
        except RankError:
            if self.size > 1:
                error.add_note(f"On rank {self.rank} of {self.size}; no rank has updated anything.")

    def gather(self, vector: Array) -> Array:
        """Return the float64 vectors of all ranks, one after the other."""
        counts = np.zeros(self.size, np.int64)
        self.comm.Allgather(np.array([vector.size], np.int64), counts)
        gathered = np.empty(int(counts.sum()))
        self.comm.Allgatherv(np.ascontiguousarray(vector), [gathered, counts.tolist()])
        return gathered

    def texts(self, text: str) -> list[str]:
        """Return a text of each rank."""
        found: list[str] = self.comm.allgather(text)
        return found

    def threads(self) -> int:
        """Return how many threads a rank may use, if those of this machine share its CPUs."""
        return max(1, threads.resolve(None) // self._neighbours)

    def _meet(self, failure: str, facts: dict[str, str]) -> None:
        digest = hashlib.blake2b(repr(facts).encode(errors="surrogatepass"), digest_size=7).digest()
        mine = np.array([not failure, int.from_bytes(digest)], np.int64)
        all_of_them = np.empty((self.size, 2), np.int64)
        self.comm.Allgather(mine, all_of_them)
        if all_of_them[:, 0].all() and (all_of_them == mine).all():
            return
        told: list[tuple[str, dict[str, str]]] = self.comm.allgather((failure, facts))
        failures = [f"rank {rank}: {text}" for rank, (text, _) in enumerate(told) if text]
        raise RankError("; ".join(failures) if failures else _difference([facts for _, facts in told]))


def _difference(told: list[dict[str, str]]) -> str:
    """Say how the facts of the ranks differ from those of rank 0."""
    first = told[0]
    found = [
        f"{key} is {_short(first.get(key, 'not there'))} on rank 0 and {_short(facts.get(key, 'not there'))} on rank {rank}"
        for rank, facts in enumerate(told)
        for key in dict.fromkeys((*first, *facts))
        if facts.get(key) != first.get(key)
    ]
    return f"all ranks must agree; {'; '.join(found)}"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _duplicate(comm: Any) -> tuple[Any, int]:
    """Return a duplicate of a communicator, and how many of its ranks are on this machine; asked once, kept with it."""
    from mpi4py import MPI

    if not _KEYS:
        _KEYS.append(MPI.Comm.Create_keyval())
    found: tuple[Any, int] | None = comm.Get_attr(_KEYS[0])
    if found is None:
        near = comm.Split_type(MPI.COMM_TYPE_SHARED)
        found = comm.Dup(), near.Get_size()
        near.Free()
        comm.Set_attr(_KEYS[0], found)
    return found


_KEYS: list[int] = []
