"""Which rank holds what: contiguous runs of blocks, of equal size in bytes as far as the blocks allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.engine._reduce import BLOCK

Array = np.ndarray[Any, Any]
_ALIGNED = 8  # bytes at which each array's part begins in a packed message


@dataclass(frozen=True)
class Part:
    """Some elements of one array, and where they lie in the packed message of a bucket."""

    array: int
    start: int
    stop: int
    offset: int

    def of(self, flat: Sequence[Array]) -> Array:
        """Return these elements of the flat arrays."""
        return flat[self.array][self.start : self.stop]


@dataclass(frozen=True)
class Bucket:
    """What is exchanged, and stepped, at a time."""

    parts: tuple[Part, ...]
    n_bytes: int


@dataclass(frozen=True)
class Cut:
    """Where arrays are cut.

    Attributes
    ----------
    sizes, itemsizes : tuple of int
        Of each array.
    bounds : tuple of tuple of int
        For each array, where the slice of each rank begins, and where the last one ends.
    """

    sizes: tuple[int, ...]
    itemsizes: tuple[int, ...]
    bounds: tuple[tuple[int, ...], ...]

    def slice_of(self, array: int, rank: int) -> tuple[int, int]:
        """Return where a rank's slice of an array begins and ends."""
        return self.bounds[array][rank], self.bounds[array][rank + 1]

    def owner(self, array: int) -> int:
        """Return the first rank that holds something of an array; rank 0 if there is nothing of it."""
        start, *stops = self.bounds[array]
        return next((rank for rank, stop in enumerate(stops) if stop > start), 0)

    def buckets(self, rank: int, n_bytes: int) -> list[Bucket]:
        """Return the slices of a rank as buckets of at most so many bytes (or one element)."""
        found: list[Bucket] = []
        parts: list[Part] = []
        filled = 0
        for part in self._parts(rank, n_bytes):
            size = (part.stop - part.start) * self.itemsizes[part.array]
            if parts and filled + size > n_bytes:
                found.append(Bucket(tuple(parts), filled))
                parts, filled = [], 0
            parts.append(Part(part.array, part.start, part.stop, filled))
            filled += -(-size // _ALIGNED) * _ALIGNED
        return [*found, Bucket(tuple(parts), filled)] if parts else found

    def _parts(self, rank: int, n_bytes: int) -> Iterator[Part]:
        for array, itemsize in enumerate(self.itemsizes):
            first, last = self.slice_of(array, rank)
            step = max(n_bytes // itemsize, 1)
            for start in range(first, last, step):
                yield Part(array, start, min(start + step, last), 0)


def cut(arrays: Sequence[Array], whole: Sequence[bool], n_ranks: int) -> Cut:
    """Cut arrays for so many ranks: at borders of the norm's blocks, or only between arrays where they are `whole`.

    The slices of a rank follow one another, so that the blocks of all ranks, rank by rank, are those of one process.
    """
    total = sum(array.nbytes for array in arrays)
    bounds: list[tuple[int, ...]] = []
    before = 0
    for array, as_one in zip(arrays, whole, strict=True):
        block = max(array.size, 1) if as_one else BLOCK
        n_blocks = -(-array.size // block)
        middle, size = 2 * before * n_ranks, 2 * block * array.itemsize * n_ranks
        # The block whose middle is the first at or behind the border between two equal shares begins the next slice.
        borders = [-((middle + size // 2 - 2 * rank * total) // size) for rank in range(1, n_ranks)]
        starts = [0, *(min(max(border, 0), n_blocks) for border in borders), n_blocks]
        bounds.append(tuple(min(start * block, array.size) for start in starts))
        before += array.nbytes
    return Cut(tuple(array.size for array in arrays), tuple(array.itemsize for array in arrays), tuple(bounds))
