"""How gradients come to the rank that holds their slice, and parameters back to all: bucket by bucket.

While a bucket is added up and stepped, the messages of the next are under way. What lies in one piece is sent and
received where it is; what lies in several arrays is packed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from gdfast.mpi.cutting import Bucket, Cut, Part
from gdfast.mpi.team import Team

Array = np.ndarray[Any, Any]
_GRADS, _PARAMS = 1, 2  # tags
_LARGEST = 4 << 20  # bytes of a bucket
#: the number of a round, the own bucket if there is one, and its parts of every rank's gradient in the order of ranks
Arrived = tuple[int, Bucket | None, list[list[Array]]]


class Exchange:
    """The buckets of all ranks, and the memory for messages.

    Parameters
    ----------
    team : Team
    cut : Cut
    params : sequence of array
        Whole, flat, of this rank: where all ranks' slices arrive.
    memory : int
        The most bytes for messages.
    """

    def __init__(self, team: Team, cut: Cut, params: Sequence[Array], memory: int) -> None:
        self._team, self._params = team, params
        others = max(team.size - 1, 1)
        # Two rounds are under way, of gradients out and in and parameters in. A bucket should stay in the cache.
        most = min(max(memory // (6 * others + 2), 64), _LARGEST)
        self._buckets = [cut.buckets(rank, most) for rank in range(team.size)]
        self.own = self._buckets[team.rank]
        self._n_rounds = max(map(len, self._buckets))
        self._others = [rank for rank in range(team.size) if rank != team.rank]
        self._rooms: dict[tuple[str, int, int], Array] = {}
        self._open: list[list[Any]] = [[], []]  # the requests of parameters, of even and odd rounds
        self._arriving: list[list[tuple[Bucket, Array]]] = [[], []]

    def grads(self, flat: Sequence[Array]) -> Iterator[Arrived]:
        """Exchange gradients; yield the own buckets round by round, each with the contributions of all ranks.

        What is yielded is valid until the next one is asked for.
        """
        under_way = self._post_grads(0, flat)
        for number in range(self._n_rounds):
            requests, received = under_way
            if number + 1 < self._n_rounds:
                under_way = self._post_grads(number + 1, flat)
            self._wait(requests)
            bucket = self._bucket(self._team.rank, number)
            yield number, bucket, self._contributions(bucket, flat, received) if bucket is not None else []

    def share(self, ready: Callable[[int], None] | None = None) -> None:
        """Send the own slices of the parameters to all ranks, and receive theirs, bucket by bucket.

        `ready` is called with the number of each own bucket before it is sent.
        """
        for number in range(self._n_rounds):
            if ready is not None and number < len(self.own):
                ready(number)
            self.post_params(number)
        self.finish()

    def post_params(self, number: int) -> None:
        """Begin to exchange the parameters of a round."""
        odd = number % 2
        self._finish(odd)
        requests = self._open[odd]
        own = self._bucket(self._team.rank, number)
        if own is not None:
            message = self._packed(own, self._params, "params", self._team.rank, odd)
            requests += [self._team.comm.Isend(message, rank, _PARAMS) for rank in self._others]
        for rank in self._others:
            bucket = self._bucket(rank, number)
            if bucket is None:
                continue
            if len(bucket.parts) == 1:
                into = _bytes(bucket.parts[0].of(self._params))
            else:
                into = self._room("params", rank, odd, bucket.n_bytes)
                self._arriving[odd].append((bucket, into))
            requests.append(self._team.comm.Irecv(into, rank, _PARAMS))

    def finish(self) -> None:
        """Wait until all parameters have come and gone."""
        for odd in (0, 1):
            self._finish(odd)

    def _finish(self, odd: int) -> None:
        self._wait(self._open[odd])
        self._open[odd] = []
        for bucket, message in self._arriving[odd]:
            for part in bucket.parts:
                np.copyto(part.of(self._params), self._unpacked(part, message))
        self._arriving[odd] = []

    def _post_grads(self, number: int, flat: Sequence[Array]) -> tuple[list[Any], dict[int, Array]]:
        """Begin to exchange the gradients of a round; return the requests, and the memory of what comes from whom."""
        requests: list[Any] = []
        received: dict[int, Array] = {}
        own = self._bucket(self._team.rank, number)
        for rank in self._others:
            if own is not None:
                received[rank] = self._room("from", rank, number % 2, own.n_bytes)
                requests.append(self._team.comm.Irecv(received[rank], rank, _GRADS))
            theirs = self._bucket(rank, number)
            if theirs is not None:
                message = self._packed(theirs, flat, "to", rank, number % 2)
                requests.append(self._team.comm.Isend(message, rank, _GRADS))
        return requests, received

    def _contributions(self, bucket: Bucket, flat: Sequence[Array], received: Mapping[int, Array]) -> list[list[Array]]:
        """Return the parts of a bucket, of every rank."""
        return [
            [self._unpacked(part, received[rank]) if rank in received else part.of(flat) for part in bucket.parts]
            for rank in range(self._team.size)
        ]

    def _bucket(self, rank: int, number: int) -> Bucket | None:
        buckets = self._buckets[rank]
        return buckets[number] if number < len(buckets) else None

    def _packed(self, bucket: Bucket, flat: Sequence[Array], purpose: str, rank: int, odd: int) -> Array:
        """Return the elements of a bucket as one message, where they lie if that is one piece."""
        if len(bucket.parts) == 1:
            return _bytes(bucket.parts[0].of(flat))
        message = self._room(purpose, rank, odd, bucket.n_bytes)
        for part in bucket.parts:
            np.copyto(self._unpacked(part, message), part.of(flat))
        return message

    def _unpacked(self, part: Part, message: Array) -> Array:
        """Return the elements of a part in a packed message."""
        dtype = self._params[part.array].dtype
        n_bytes = (part.stop - part.start) * dtype.itemsize
        return message[part.offset : part.offset + n_bytes].view(dtype)

    def _room(self, purpose: str, rank: int, odd: int, n_bytes: int) -> Array:
        """Return memory for a message, kept for later ones."""
        key = (purpose, rank, odd)
        if key not in self._rooms or self._rooms[key].size < n_bytes:
            self._rooms[key] = np.empty(n_bytes, np.uint8)
        return self._rooms[key][:n_bytes]

    def _wait(self, requests: list[Any]) -> None:
        if requests:
            MPI.Request.Waitall(requests)


def add_in_order(contributions: Sequence[Array], out: Array) -> None:
    """Add gradients one after the other, as micro-batches are added; a single one is copied."""
    first, *others = contributions
    if not others:
        np.copyto(out, first)
        return
    np.add(first, others[0], out=out)
    for other in others[1:]:
        np.add(out, other, out=out)


def _bytes(array: Array) -> Array:
    return array.view(np.uint8)
