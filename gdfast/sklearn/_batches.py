"""The order of the rows, epoch after epoch, and the mini-batches that it is cut into."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from gdfast.engine import _linear

Rows: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

CHUNK = 16  # neighbours that stay together when an order is reshuffled
CHUNKS_FROM = 1024  # rows of a mini-batch from which that does no harm


class BatchOrder:
    """The order in which each epoch takes the rows.

    Parameters
    ----------
    rows : array of int
        The rows to train on.
    rng : numpy.random.Generator
    shuffle : bool
        Draw a new order for each epoch; otherwise take the rows as they are, as if one mini-batch holds all of them.
    batch_size : int
    in_place : bool
        True: reshuffle the order of the epoch before, in the memory of `rows`. With large mini-batches, runs of CHUNK
        rows then stay together from the second epoch on, which is much cheaper and leaves the batches as mixed.
        False: permute `rows`, which are not written; an epoch's order then depends on the state of `rng` alone, so that
        calls of `partial_fit` can go on where a fit stopped.
    """

    def __init__(
        self, rows: Rows, rng: np.random.Generator, shuffle: bool, batch_size: int, *, in_place: bool = False
    ) -> None:
        self.batch_size = batch_size
        self._rows, self._rng, self._in_place = rows, rng, in_place
        self._shuffle = shuffle and batch_size < len(rows)
        self._chunk, self._next_chunk = 1, CHUNK if CHUNKS_FROM <= batch_size < len(rows) else 1

    @property
    def n_rows(self) -> int:
        """How many rows an epoch has."""
        return len(self._rows)

    def epoch(self) -> Rows:
        """Return the next epoch's order; with `in_place` it is valid until the next call."""
        if not self._shuffle:
            return self._rows
        if not self._in_place:
            return self._rng.permutation(self._rows)
        _linear.shuffle_chunks(self._rows, self._rng.bit_generator, self._chunk)
        self._chunk = self._next_chunk
        return self._rows

    def batches(self) -> Iterator[Rows]:
        """Yield the mini-batches of one epoch after the other, without end; the last one of an epoch may be shorter."""
        while True:
            order = self.epoch()
            for start in range(0, len(order), self.batch_size):
                yield order[start : start + self.batch_size]
