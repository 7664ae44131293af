"""How gradients come to the rank that holds their slice, and parameters back to all: bucket by bucket.

While a bucket is added up and stepped, the messages of the next are under way. What lies in one piece is sent and
received where it is; what lies in several arrays is packed. `Reduction` lets MPI add up the gradients instead.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from gdfast.engine.coding import as_float
from gdfast.mpi.cutting import Bucket, Part
from gdfast.mpi.spread import Spread

Array = np.ndarray[Any, Any]
_GRADS, _PARAMS = 1, 2  # tags
_LARGEST = 4 << 20  # bytes of a bucket
#: the number of a round, the own bucket if there is one, and its parts of every rank's gradient in the order of ranks,
#: or of the sum of all
Arrived = tuple[int, Bucket | None, list[list[Array]]]


class Exchange:
    """The buckets of all ranks, and the memory for messages.

    Parameters
    ----------
    spread : Spread
        Of the whole arrays, in which all ranks' slices of the parameters arrive.
    """

    def __init__(self, spread: Spread) -> None:
        self._team, self._params = spread.team, spread.whole.flat
        # A bucket should stay in the cache.
        most = min(max(spread.message_memory // self._most_under_way(), 64), _LARGEST)
        self._buckets = [spread.cut.buckets(rank, most) for rank in range(self._team.size)]
        self.own = self._buckets[self._team.rank]
        self._n_rounds = max(map(len, self._buckets))
        self._others = [rank for rank in range(self._team.size) if rank != self._team.rank]
        self._rooms: dict[tuple[str, int, int], Array] = {}
        self._open: list[list[Any]] = [[], []]  # the requests of parameters, of even and odd rounds
        self._arriving: list[list[tuple[Bucket, Array]]] = [[], []]

    def grads(self, flat: Sequence[Array]) -> Iterator[Arrived]:
        """Exchange gradients; yield the own buckets round by round, each with the contributions of all ranks.

        What is yielded is valid until the next one is asked for.
        """
        under_way = self._post_grads(0, flat)
        for number in range(self._n_rounds):
            coming, going, received = under_way
            if number + 1 < self._n_rounds:
                under_way = self._post_grads(number + 1, flat)
            self._wait(coming)
            bucket = self._bucket(self._team.rank, number)
            yield number, bucket, self._contributions(bucket, flat, received) if bucket is not None else []
            self._wait(going)  # not before the step, which needs only what has come

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
                into = self._room("params", rank, odd, bucket.n_bytes(_dtypes(self._params)))
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
            for part, elements in zip(bucket.parts, bucket.unpacked(message, _dtypes(self._params)), strict=True):
                np.copyto(part.of(self._params), elements)
        self._arriving[odd] = []

    def _most_under_way(self) -> int:
        """Return how many buckets are under way at most: two rounds of gradients out and in, and of parameters in."""
        return 6 * max(self._team.size - 1, 1) + 2

    def _post_grads(self, number: int, flat: Sequence[Array]) -> tuple[list[Any], list[Any], dict[Any, Array]]:
        """Begin to exchange the gradients of a round.

        Return the requests of what comes and of what goes, and the memory of what comes from whom.
        """
        coming: list[Any] = []
        going: list[Any] = []
        received: dict[Any, Array] = {}
        own = self._bucket(self._team.rank, number)
        for rank in self._others:
            if own is not None:
                received[rank] = self._room("from", rank, number % 2, own.n_bytes(_dtypes(flat)))
                coming.append(self._team.comm.Irecv(received[rank], rank, _GRADS))
            theirs = self._bucket(rank, number)
            if theirs is not None:
                message = self._packed(theirs, flat, "to", rank, number % 2)
                going.append(self._team.comm.Isend(message, rank, _GRADS))
        return coming, going, received

    def _contributions(self, bucket: Bucket, flat: Sequence[Array], received: Mapping[Any, Array]) -> list[list[Array]]:
        """Return the parts of a bucket, of every rank."""
        return [
            bucket.unpacked(received[rank], _dtypes(flat))
            if rank in received
            else [part.of(flat) for part in bucket.parts]
            for rank in range(self._team.size)
        ]

    def _bucket(self, rank: int, number: int) -> Bucket | None:
        buckets = self._buckets[rank]
        return buckets[number] if number < len(buckets) else None

    def _packed(self, bucket: Bucket, flat: Sequence[Array], purpose: str, rank: int, odd: int) -> Array:
        """Return the elements of a bucket as one message, where they lie if that is one piece."""
        if len(bucket.parts) == 1:
            return _bytes(bucket.parts[0].of(flat))
        message = self._room(purpose, rank, odd, bucket.n_bytes(_dtypes(flat)))
        for part, elements in zip(bucket.parts, bucket.unpacked(message, _dtypes(flat)), strict=True):
            np.copyto(elements, part.of(flat))
        return message

    def _room(self, purpose: str, rank: int, odd: int, n_bytes: int) -> Array:
        """Return memory for a message, kept for later ones."""
        key = (purpose, rank, odd)
        if key not in self._rooms or self._rooms[key].size < n_bytes:
            self._rooms[key] = np.empty(n_bytes, np.uint8)
        return self._rooms[key][:n_bytes]

    def _wait(self, requests: list[Any]) -> None:
        if requests:
            MPI.Request.Waitall(requests)


class Reduction(Exchange):
    """The same, where MPI adds up the gradients, in an order of its own; only the sums come to a rank.

    MPI knows no bfloat16: gradients in fewer bits are decoded to the type that the rule computes in.
    """

    def __init__(self, spread: Spread) -> None:
        super().__init__(spread)
        self._computing = spread.cut.dtypes
        # On all ranks in the same order; the widest first, so that the others are aligned behind it.
        self._dtypes = sorted(set(self._computing), key=lambda dtype: -dtype.itemsize)

    def _most_under_way(self) -> int:
        """Return how many buckets are under way at most: as above, but only one of gradients comes in."""
        return 4 * self._team.size + 2

    def _post_grads(self, number: int, flat: Sequence[Array]) -> tuple[list[Any], list[Any], dict[Any, Array]]:
        """Begin to add up the gradients of a round; return as above, with the memory of the sums of each dtype."""
        requests: list[Any] = []
        received: dict[Any, Array] = {}
        own, buckets = self._bucket(self._team.rank, number), [self._bucket(r, number) for r in range(self._team.size)]
        room = self._room("to", 0, number % 2, sum(self._n_bytes(bucket) for bucket in buckets))
        sums = self._room("sums", 0, number % 2, self._n_bytes(own))
        for dtype in self._dtypes:
            rows = [self._parts_of(bucket, dtype) for bucket in buckets]
            counts = [sum(part.size for part in row) for row in rows]
            if not any(counts):
                continue
            message, room = _cut_off(room, sum(counts), dtype)
            received[dtype], sums = _cut_off(sums, counts[self._team.rank], dtype)
            np.concatenate([as_float(part.of(flat)) for row in rows for part in row], out=message)
            requests.append(self._team.comm.Ireduce_scatter(message, received[dtype], counts, MPI.SUM))
        return requests, [], received

    def _contributions(self, bucket: Bucket, flat: Sequence[Array], received: Mapping[Any, Array]) -> list[list[Array]]:
        """Return the parts of a bucket, of the sum of all ranks."""
        left, sums = dict(received), []
        for part in bucket.parts:
            dtype = self._computing[part.array]
            sums.append(left[dtype][: part.size])
            left[dtype] = left[dtype][part.size :]
        return [sums]

    def _parts_of(self, bucket: Bucket | None, dtype: np.dtype[Any]) -> list[Part]:
        parts = bucket.parts if bucket is not None else ()
        return [part for part in parts if self._computing[part.array] == dtype]

    def _n_bytes(self, bucket: Bucket | None) -> int:
        return bucket.n_bytes(self._computing) if bucket is not None else 0


def exchange(spread: Spread) -> Exchange:
    """Make the exchange that an optimizer asks for. What one rank has is its sum already."""
    return Reduction(spread) if spread.reduction == "fast" and spread.team.size > 1 else Exchange(spread)


def add_in_order(contributions: Sequence[Array], out: Array) -> None:
    """Add gradients one after the other, as micro-batches are added; a single one is copied.

    Those in fewer bits are decoded first, one at a time.
    """
    first, *others = contributions
    if not others:
        np.copyto(out, as_float(first))
        return
    np.add(as_float(first), as_float(others[0]), out=out)
    for other in others[1:]:
        np.add(out, as_float(other), out=out)


def _dtypes(flat: Sequence[Array]) -> list[np.dtype[Any]]:
    return [array.dtype for array in flat]


def _bytes(array: Array) -> Array:
    return array.view(np.uint8)


def _cut_off(room: Array, n: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return the first elements of some bytes, and the bytes behind them."""
    n_bytes = n * dtype.itemsize
    return room[:n_bytes].view(dtype), room[n_bytes:]
