"""Sources: rows that can be read again and again, a batch at a time, so that no memory need hold them all."""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from gdfast.tables.batches import Batch, Mixed, mixed_groups, mixed_sequence, read_ahead
from gdfast.tables.errors import TableError

#: statistics are those of the first n rows, or of as many as take n bytes
STATISTICS_ROWS, STATISTICS_BYTES = 1_000_000, 32 << 20
BATCH_ROWS = 1 << 16


class Source(ABC):
    """Rows that come in batches; an estimator's `fit` takes it instead of X and y.

    Parameters
    ----------
    batch_rows : int
        Maximum number of rows in memory at a time; while they are trained on, the next ones are read.
    mix : int
        How many groups of rows are read at a time, and their rows mixed, where the rows are shuffled.
    statistics : {"first", "all"}
        Whether classes and scales are those of the first rows, or of all, which are read once more for them.
    """

    def __init__(self, batch_rows: int, mix: int, statistics: str = "first") -> None:
        for name, value in (("batch_rows", batch_rows), ("mix", mix)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int; got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value!r}")
        if statistics not in ("first", "all"):
            raise ValueError(f"statistics must be 'first' or 'all'; got {statistics!r}")
        self.batch_rows, self.mix, self.statistics = batch_rows, min(mix, batch_rows), statistics

    @property
    @abstractmethod
    def n_rows(self) -> int | None:
        """How many rows there are, or None where only reading them all would tell."""

    @property
    def group_rows(self) -> Sequence[int] | None:
        """How many rows each group has, if groups can be read in any order."""
        return None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what tells these rows from others, as plain data: a training goes on only with the same rows."""

    @abstractmethod
    def read(self, group: int, rows: int) -> Generator[Any]:
        """Yield the pieces of a group, of at most n rows each; all rows are group 0 where there are no groups."""

    @property
    def checked(self) -> bool:
        """Whether all numbers that it gives are known to be finite."""
        return False

    @property
    def learns(self) -> bool:
        """Whether the encoding of the columns depends on the first rows."""
        return False

    def column(self, number: int) -> str:
        """Return what a column of X is called, for a sentence about it."""
        return f"column {number}"

    @abstractmethod
    def encoder(self, head: Iterable[Any]) -> Callable[[list[Any]], Batch]:
        """Return the function that makes one batch of pieces; `head` are the pieces to learn from, read once."""

    def open(self, seed: int | None = None) -> "Stream":
        """Return the rows for one training.

        Parameters
        ----------
        seed : int or None
            Of the order of the rows; None: as they are.
        """
        return Stream(self, seed)


class Stream:
    """The rows of a source for one training: its epochs, each in an order of its own.

    Attributes
    ----------
    encode : callable or None
        Makes one batch of pieces; None until the first rows are read.
    rows : int or None
        How many there are, once a training has read them all.
    """

    def __init__(self, source: Source, seed: int | None) -> None:
        self.source, self.seed = source, seed
        self.encode: Callable[[list[Any]], Batch] | None = None
        self.rows: int | None = None

    def epoch(self, number: int, start: int = 0) -> Generator[Batch]:
        """Yield the rows of an epoch, from the row `start` of its order on; the next batch is read meanwhile."""
        return read_ahead(self._batches(number, start))

    def _batches(self, number: int, start: int) -> Generator[Batch]:
        first, head = number == start == 0, deque[Mixed]()
        with closing(self._mixed(number, start)) as mixed:
            if self.encode is None:
                with nullcontext(mixed) if first else closing(self._mixed(0, 0)) as begin:
                    head = self._head(begin)
                self.encode = self.source.encoder(self._to_learn_from(head))
            if not first:
                head.clear()
            while found := head.popleft() if head else next(mixed, None):
                pieces, order = found
                ends = np.arange(start + 1, start + len(order) + 1)
                start += len(order)
                yield replace(self.encode(pieces), order=order, ends=ends)
                del found, pieces

    def _to_learn_from(self, head: Iterable[Mixed]) -> Iterator[Any]:
        """Yield the pieces that the encoding learns from: those of all rows in their order, or the first ones."""
        if self.source.learns and self.source.statistics == "all":
            with closing(Stream(self.source, None)._mixed(0, 0)) as head:
                for pieces, _ in head:
                    yield from pieces
            return
        for pieces, _ in head:
            yield from pieces

    def _head(self, mixed: Iterator[Mixed]) -> deque[Mixed]:
        """Return the first rows, for the encoding to learn from; none if it need not learn."""
        head = deque[Mixed]()
        rows = size = 0
        learns = self.source.learns and self.source.statistics == "first"
        while learns and rows < STATISTICS_ROWS and size < STATISTICS_BYTES:
            found = next(mixed, None)
            if found is None:
                break
            head.append(found)
            rows, size = rows + len(found[1]), size + sum(piece.nbytes for piece in found[0])
        return head

    def _mixed(self, number: int, start: int) -> Generator[Mixed]:
        source, how = self.source, {"seed": self.seed, "epoch": number, "mix": self.source.mix, "start": start}
        if source.group_rows is not None:
            return mixed_groups(source.read, source.group_rows, source.batch_rows, **how)  # type: ignore[arg-type]
        return mixed_sequence(source.read(0, max(1, source.batch_rows // source.mix)), **how)  # type: ignore[arg-type]


class Unchanged:
    """Which files a source was made of: rows of another file in between would be learned from in silence."""

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._stamps = {str(path): _stamp(path) for path in paths}

    @property
    def sizes(self) -> list[int]:
        """The size of each file, in bytes."""
        return [stamp[0] for stamp in self._stamps.values()]

    def holds(self, path: str) -> bool:
        """Return whether a file is there, and is the one it was."""
        return os.path.exists(path) and _stamp(path) == self._stamps[path]

    def check(self, path: str | os.PathLike[str]) -> None:
        """Refuse a file that is not the one it was.

        Raises
        ------
        TableError, OSError
        """
        if _stamp(path) != self._stamps[str(path)]:
            raise TableError(f"{path} has changed since the source was made of it: begin anew with a new source")


def _stamp(path: str | os.PathLike[str]) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def count_rows(source: Source) -> int:
    """Return how many rows a source has; they are read if nothing else tells."""
    if source.n_rows is not None:
        return source.n_rows
    return sum(len(piece) for piece in source.read(0, source.batch_rows))


@cache
def needs(module: str, what: str) -> Any:
    """Import a module of pyarrow.

    Raises
    ------
    ImportError
        Saying how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'{what} needs pyarrow, which is not installed: pip install "gdfast[stream]"') from error
