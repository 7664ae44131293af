"""Rows in batches: what a source gives to a training, mixed, and read one batch ahead of it."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """Rows of data, and the order in which they are to be taken.

    Attributes
    ----------
    X : array of shape (n, columns), or CSR matrix
    y : array of shape (n,), or (n, outputs)
    weights : array of shape (n,), or None
    order : array of int
        Rows of X; all of them, unless a training goes on in the middle of an epoch.
    ends : array of int, or None
        For each of `order`, how many rows of the epoch have been read with it.
    """

    X: Any
    y: Array
    weights: Array | None
    order: Array
    ends: Array | None = None

    def __len__(self) -> int:
        return len(self.order)

    @property
    def nbytes(self) -> int:
        """Memory that X takes."""
        if isinstance(self.X, np.ndarray):
            return self.X.nbytes
        return int(self.X.data.nbytes + self.X.indices.nbytes + self.X.indptr.nbytes)


class Piece(Protocol):
    """Neighbouring rows of a file, as they were read."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Memory that they take."""


#: pieces that are mixed, and the order in which their rows are taken: numbers of rows, counted over all pieces
Mixed = tuple[list[Any], Array]


def mixed_groups(
    read: Callable[[int, int], Generator[Any]],
    group_rows: Sequence[int],
    batch_rows: int,
    *,
    seed: int | None,
    epoch: int,
    mix: int,
    start: int = 0,
) -> Generator[Mixed]:
    """Yield the rows of groups that can be read in any order: the groups permuted, and the rows of some of them mixed.

    Parameters
    ----------
    read : callable
        ``read(group, rows)`` yields the pieces of a group, of at most n rows each.
    group_rows : sequence of int
        How many rows each group has.
    batch_rows : int
        Maximum number of rows that are mixed at a time.
    seed : int or None
        None: the rows as they are.
    epoch : int
        Each epoch has another order.
    mix : int
        How many groups are read at a time.
    start : int
        Rows of the epoch to leave out. What lies wholly before is not read.
    """
    order = np.arange(len(group_rows)) if seed is None else _generator(seed, epoch).permutation(len(group_rows))
    for block in range(0, len(order), mix):
        groups = order[block : block + mix]
        rows = sum(group_rows[group] for group in groups)
        if start >= rows:
            start -= rows
            continue
        readers = [read(int(group), max(1, batch_rows // len(groups))) for group in groups]
        rng = None if seed is None else _generator(seed, epoch, block + 1)
        try:
            with ThreadPoolExecutor(len(readers), thread_name_prefix="gdfast-reader") as threads:
                found = _in_turn(readers, threads) if seed is not None else _several(chain(*readers), len(groups))
                for pieces in found:
                    yield from _rest(pieces, rng, start)
                    start = max(0, start - sum(map(len, pieces)))
        finally:
            for reader in readers:
                reader.close()


def _in_turn(readers: list[Generator[Any]], threads: ThreadPoolExecutor) -> Iterator[list[Any]]:
    """Yield a piece of each reader at a time, as long as they have some; the pieces are read side by side."""
    while True:
        coming = [threads.submit(next, reader, None) for reader in readers]
        wait(coming)
        pieces = [piece for found in coming if (piece := found.result()) is not None]
        if not pieces:
            return
        yield pieces


def _several(pieces: Iterator[Any], n: int) -> Iterator[list[Any]]:
    while found := list(islice(pieces, n)):
        yield found


def mixed_sequence(
    pieces: Iterator[Any], *, seed: int | None, epoch: int, mix: int, start: int = 0
) -> Generator[Mixed]:
    """Yield the rows of pieces that come one after the other, those of `mix` pieces mixed; see `mixed_groups`."""
    rng = None if seed is None else _generator(seed, epoch)
    for held in _several(pieces, mix):
        yield from _rest(held, rng, start)
        start = max(0, start - sum(map(len, held)))


def _rest(pieces: list[Any], rng: np.random.Generator | None, start: int) -> Iterator[Mixed]:
    rows = sum(map(len, pieces))
    order = np.arange(rows) if rng is None else rng.permutation(rows)
    if start < rows:
        yield pieces, order[start:]


def _generator(seed: int, *of: int) -> np.random.Generator:
    return np.random.default_rng([seed, *of])


def read_ahead(batches: Iterable[Any]) -> Generator[Any]:
    """Yield what an iterable yields, the next one prepared by another thread meanwhile.

    An exception of the iterable is raised where its item would have come. Its own `close` is called at the end.
    """
    items, end = iter(batches), object()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="gdfast-reader") as thread:
            coming = thread.submit(next, items, end)
            while (item := coming.result()) is not end:
                coming = thread.submit(next, items, end)
                yield item
                del item
    finally:
        if hasattr(items, "close"):
            items.close()


def in_steps(batches: Iterable[Batch], batch_size: int) -> Iterator[Batch]:
    """Yield the same rows in the same order, each batch but the last one whole mini-batches.

    Only the rows at the borders are copied: a mini-batch that begins in one batch and ends in the next.
    """
    kept: Batch | None = None
    for batch in batches:
        rest = batch
        if kept is not None:
            lacking = batch_size - len(kept.order)
            kept = joined([kept, _part(batch, slice(lacking))])
            rest = _part(batch, slice(lacking, None), copy=False)
            if len(kept.order) < batch_size:
                continue
            yield kept
            kept = None
        whole = len(rest.order) // batch_size * batch_size
        if whole:
            yield _part(rest, slice(whole), copy=False)
        if whole < len(rest.order):
            kept = _part(rest, slice(whole, None))
    if kept is not None:
        yield kept


def joined(batches: Sequence[Batch]) -> Batch:
    """Return batches as one, its rows in the order in which they are taken."""
    return joined_and_emptied(list(batches))


def joined_and_emptied(batches: list[Batch]) -> Batch:
    """Do the same, and empty the list on the way, so that few rows need be in memory twice."""
    if len(batches) == 1:
        return _part(batches.pop(), slice(None))
    y = np.concatenate([batch.y[batch.order] for batch in batches])
    weights = [batch.weights[batch.order] for batch in batches if batch.weights is not None]
    ends = [batch.ends for batch in batches if batch.ends is not None]
    return Batch(
        _stacked(batches),
        y,
        np.concatenate(weights) if weights else None,
        np.arange(len(y)),
        np.concatenate(ends) if ends else None,
    )


def _stacked(batches: list[Batch]) -> Any:
    """Return the rows of all batches, and empty the list."""
    if not isinstance(batches[0].X, np.ndarray):
        from scipy.sparse import vstack

        parts = []
        while batches:
            parts.append(_part(batches.pop(0), slice(None)).X)
        return vstack(parts, format="csr")
    X = np.empty(
        (sum(map(len, batches)), *batches[0].X.shape[1:]), np.result_type(*(batch.X.dtype for batch in batches))
    )
    at = 0
    while batches:
        batch = batches.pop(0)
        rows = X[at : at + len(batch)]
        if batch.X.dtype == X.dtype and batch.X.shape[1:] == X.shape[1:]:
            np.take(batch.X, batch.order, 0, rows, "clip")
        else:
            np.concatenate([batch.X[batch.order]], out=rows)  # which refuses another number of columns
        at += len(batch)
    return X


def _part(batch: Batch, at: slice, copy: bool = True) -> Batch:
    """Return some of the rows in their order; `copy`: these rows alone, laid out in it."""
    order, ends = batch.order[at], None if batch.ends is None else batch.ends[at]
    if not copy or (len(order) == len(batch.y) and np.array_equal(order, np.arange(len(order)))):
        return replace(batch, order=order, ends=ends)
    weights = None if batch.weights is None else batch.weights[order]
    return Batch(batch.X[order], batch.y[order], weights, np.arange(len(order)), ends)
