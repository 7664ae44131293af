"""The ranks of a communicator: what they tell one another, and how they raise together."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from gdfast.engine import threads

Array = np.ndarray[Any, Any]
_KEY: int = MPI.Comm.Create_keyval()


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
        self._shared = _shared(comm)
        self._inside = self._told = False  # of a block that tells, and whether it has
        self.comm = self._shared.comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()

    @property
    def exchanging(self) -> bool:
        """Whether an exchange is under way, which leaves memory half written, and messages, if it does not end."""
        return self._shared.exchanging

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Mark an exchange; one that was interrupted stays marked."""
        self._shared.exchanging = True
        yield
        self._shared.exchanging = False

    def meet(self, facts: Mapping[str, Any]) -> None:
        """Return if every rank is here with the same facts.

        Raises
        ------
        RankError
            If a rank failed, or the facts differ; the ranks are named.
        """
        self._meet("", {key: repr(value) for key, value in facts.items()})

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Take part in the meeting at which the others wait, if something fails, and tell them.

        Blocks may lie within each other: once one has told, the others have left, whatever another error is made of it.
        """
        if self.exchanging:
            raise RuntimeError(
                "an exchange between the ranks was interrupted, and left arrays half written: "
                "start the program again from its last checkpoint"
            )
        outermost, self._inside = not self._inside, True
        self._told = self._told and not outermost
        try:
            yield
        except RankError:
            raise
        except Exception as error:
            # In the middle of an exchange nobody would hear it.
            if not self._told and not self.exchanging:
                self._told = True
                self._tell(error)
            raise
        finally:
            self._inside = not outermost

    def _tell(self, error: Exception) -> None:
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
        return max(1, threads.resolve(None) // self._shared.neighbours)

    def from_first(self, value: Any) -> Any:
        """Return what rank 0 gives."""
        return self.comm.bcast(value)

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
        f"{key} is {_short(first.get(key))} on rank 0 and {_short(facts.get(key))} on rank {rank}"
        for rank, facts in enumerate(told)
        for key in dict.fromkeys((*first, *facts))
        if facts.get(key) != first.get(key)
    ]
    return f"all ranks must agree; {'; '.join(found)}"


def _short(text: str | None) -> str:
    if text is None:
        return "not there"
    return text if len(text) <= 200 else f"{text[:200]}..."


@dataclass
class _Shared:
    """What all teams of a communicator have in common: its duplicate, how many ranks are on this machine, a mark."""

    comm: Any
    neighbours: int
    exchanging: bool = False


def _shared(comm: Any) -> _Shared:
    """Return what is kept with a communicator, made when it is first asked for."""
    found: _Shared | None = comm.Get_attr(_KEY)
    if found is None:
        near = comm.Split_type(MPI.COMM_TYPE_SHARED)
        found = _Shared(comm.Dup(), near.Get_size())
        near.Free()
        comm.Set_attr(_KEY, found)
    return found
