"""Which rank holds what: contiguous runs of blocks, of equal size in bytes as far as the blocks allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.arrays.formats import BLOCK as FORMAT_BLOCK
from gdfast.arrays.formats import computing_dtype
from gdfast.engine._reduce import BLOCK

Array = np.ndarray[Any, Any]
_ALIGNED = 8  # bytes at which each array's part begins in a packed message


@dataclass(frozen=True)
class Part:
    """Some elements of one array."""

    array: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.stop - self.start

    def of(self, flat: Sequence[Array]) -> Array:
        """Return these elements of the flat arrays."""
        return flat[self.array][self.start : self.stop]


@dataclass(frozen=True)
class Bucket:
    """What is exchanged, and stepped, at a time."""

    parts: tuple[Part, ...]

    def n_bytes(self, dtypes: Sequence[np.dtype[Any]]) -> int:
        """Return the size of a packed message, if arrays are of these dtypes."""
        return sum(_aligned(part, dtypes[part.array]) for part in self.parts)

    def unpacked(self, message: Array, dtypes: Sequence[np.dtype[Any]]) -> list[Array]:
        """Return the elements of each part in a packed message, of arrays of these dtypes."""
        found = []
        for part in self.parts:
            dtype = dtypes[part.array]
            found.append(message[: part.size * dtype.itemsize].view(dtype))
            message = message[_aligned(part, dtype) :]
        return found


def _aligned(part: Part, dtype: np.dtype[Any]) -> int:
    return -(-part.size * dtype.itemsize // _ALIGNED) * _ALIGNED


@dataclass(frozen=True)
class Cut:
    """Where arrays are cut.

    Attributes
    ----------
    dtypes : tuple of dtype
        What the rule computes in, for each array: what gradients and their sums take at most.
    bounds : tuple of tuple of int
        For each array, where the slice of each rank begins, and where the last one ends.
    in_blocks : bool
        Whether elements of a block share a scale, so that buckets must hold whole blocks.
    """

    dtypes: tuple[np.dtype[Any], ...]
    bounds: tuple[tuple[int, ...], ...]
    in_blocks: bool = False

    def slice_of(self, array: int, rank: int) -> tuple[int, int]:
        """Return where a rank's slice of an array begins and ends."""
        return self.bounds[array][rank], self.bounds[array][rank + 1]

    def owner(self, array: int) -> int:
        """Return the first rank that holds something of an array; rank 0 if there is nothing of it."""
        start, *stops = self.bounds[array]
        return next((rank for rank, stop in enumerate(stops) if stop > start), 0)

    def buckets(self, rank: int, n_bytes: int) -> list[Bucket]:
        """Return the slices of a rank as buckets of at most so many bytes (or one element, or one block)."""
        found: list[Bucket] = []
        parts: list[Part] = []
        filled = 0
        for part in self._parts(rank, n_bytes):
            size = _aligned(part, self.dtypes[part.array])
            if parts and filled + size > n_bytes:
                found.append(Bucket(tuple(parts)))
                parts, filled = [], 0
            parts.append(part)
            filled += size
        return [*found, Bucket(tuple(parts))] if parts else found

    def _parts(self, rank: int, n_bytes: int) -> Iterator[Part]:
        for array, dtype in enumerate(self.dtypes):
            first, last = self.slice_of(array, rank)
            step = max(n_bytes // dtype.itemsize, FORMAT_BLOCK if self.in_blocks else 1)
            step -= step % FORMAT_BLOCK if self.in_blocks else 0
            for start in range(first, last, step):
                yield Part(array, start, min(start + step, last))


def cut(arrays: Sequence[Array], whole: Sequence[bool], n_ranks: int, in_blocks: bool = False) -> Cut:
    """Cut arrays for so many ranks: at borders of the norm's blocks, or only between arrays where they are `whole`.

    The slices of a rank follow one another, so that the blocks of all ranks, rank by rank, are those of one process.
    """
    dtypes = tuple(computing_dtype(array.dtype) for array in arrays)
    total = sum(array.size * dtype.itemsize for array, dtype in zip(arrays, dtypes, strict=True))
    bounds: list[tuple[int, ...]] = []
    before = 0
    for array, dtype, as_one in zip(arrays, dtypes, whole, strict=True):
        block = max(array.size, 1) if as_one else BLOCK
        n_blocks = -(-array.size // block)
        middle, size = 2 * before * n_ranks, 2 * block * dtype.itemsize * n_ranks
        # The block whose middle is the first at or behind the border between two equal shares begins the next slice.
        borders = [-((middle + size // 2 - 2 * rank * total) // size) for rank in range(1, n_ranks)]
        starts = [0, *(min(max(border, 0), n_blocks) for border in borders), n_blocks]
        bounds.append(tuple(min(start * block, array.size) for start in starts))
        before += array.size * dtype.itemsize
    return Cut(dtypes, tuple(bounds), in_blocks)
