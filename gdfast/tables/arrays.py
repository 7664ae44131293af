"""Sources of rows in arrays: in memory, in .npy files, or as an iterable gives them."""

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gdfast.tables.batches import Batch, joined
from gdfast.tables.errors import TableError
from gdfast.tables.source import BATCH_ROWS, Source, Unchanged

Array = np.ndarray[Any, Any]
Given = Array | str | os.PathLike[str]


class Arrays(Source):
    """Rows of arrays, which may lie in .npy files.

    Parameters
    ----------
    X : array of shape (n, columns), or path of a .npy file
        Numbers. Rows of a file are read, a batch at a time, when they are needed; a memory map of one works too.
    y : array of shape (n,) or (n, outputs), or path of a .npy file
    weights : array of shape (n,), or path of a .npy file, optional
    batch_rows : int
        Maximum number of rows that are read at a time.
    mix : int
        From how many places rows are read and mixed, where they are shuffled.
    statistics : {"first", "all"}
        "all": classes and scales are those of all rows, which are read once more for them.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from gdfast.tables import Arrays
    >>> source = Arrays(np.eye(4), np.array([0, 1, 0, 1]), batch_rows=3)
    >>> [batch.y.tolist() for batch in source.open().epoch(0)]
    [[0, 1, 0], [1]]
    """

    def __init__(
        self,
        X: Given,
        y: Given,
        weights: Given | None = None,
        *,
        batch_rows: int = BATCH_ROWS,
        mix: int = 4,
        statistics: str = "first",
    ) -> None:
        super().__init__(batch_rows, mix, statistics)
        self._X, self._y = _Rows("X", X, (2,)), _Rows("y", y, (1, 2))
        self._weights = None if weights is None else _Rows("weights", weights, (1,))
        for rows in (self._y, self._weights):
            if rows is not None and rows.shape[0] != self._X.shape[0]:
                raise ValueError(
                    f"{rows.name} must have the rows of X, {self._X.shape[0]:,}; got {rows.shape[0]:,} in {rows.where}"
                )
        group = batch_rows // self.mix
        n = self._X.shape[0]
        self._starts = range(0, n, group)
        self._group_rows = [min(group, n - start) for start in self._starts]

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return self._X.shape[0]

    @property
    def group_rows(self) -> list[int]:
        """How many rows each group has."""
        return self._group_rows

    def describe(self) -> dict[str, Any]:
        """Return what tells these rows from others."""
        parts = [rows for rows in (self._X, self._y, self._weights) if rows is not None]
        return {rows.name: [str(rows.dtype), *rows.shape] for rows in parts}

    def read(self, group: int, rows: int) -> Generator[Batch]:
        """Yield the rows of a group."""
        start, stop = self._starts[group], self._starts[group] + self._group_rows[group]
        for at in range(start, stop, rows):
            to = min(at + rows, stop)
            weights = None if self._weights is None else self._weights.take(at, to)
            yield Batch(self._X.take(at, to), self._y.take(at, to), weights, np.arange(to - at))

    def encoder(self, head: Iterable[Batch]) -> Callable[[list[Batch]], Batch]:
        """Return the function that makes one batch of pieces."""
        return joined


class Batches(Source):
    """Rows of an iterable that gives ``(X, y)`` or ``(X, y, weights)`` for each batch, and can be iterated again.

    Parameters
    ----------
    batches : iterable of tuples
        Each iteration begins anew and gives the same rows: a list, or an object of a class with ``__iter__``. X are
        arrays or CSR matrices of shape (n, columns).
    n_rows : int, optional
        How many rows there are; without it they are counted, by reading them all once. The schedule of a fit depends on
        it, so a first pass that finds another number is an error.
    mix : int
        How many batches are mixed at a time, where the rows are shuffled.
    statistics : {"first", "all"}
        "all": classes and scales are those of all rows, which are read once more for them.

    Raises
    ------
    TypeError
        If the iterable can be read only once, as a generator.
    ValueError
        If `n_rows` is not the number of rows; when the first pass over them shows it.

    Examples
    --------
    >>> import numpy as np
    >>> from gdfast.tables import Batches
    >>> source = Batches([(np.eye(2), [0, 1]), (np.eye(2), [1, 0])])
    >>> [batch.y.tolist() for batch in source.open().epoch(0)]
    [[0, 1, 1, 0]]
    """

    def __init__(
        self, batches: Iterable[Any], *, n_rows: int | None = None, mix: int = 4, statistics: str = "first"
    ) -> None:
        super().__init__(BATCH_ROWS, mix, statistics)
        if not isinstance(batches, Iterable) or isinstance(batches, str | np.ndarray):
            raise TypeError(f"batches must be an iterable of (X, y) or (X, y, weights); got {type(batches).__name__}")
        if isinstance(batches, Iterator):
            raise TypeError(
                f"batches must be iterable again and again, and a {type(batches).__name__} is read once: pass a list, "
                "or an object of a class with __iter__"
            )
        if n_rows is not None and (isinstance(n_rows, bool) or not isinstance(n_rows, int) or n_rows < 1):
            raise ValueError(f"n_rows must be a positive int or None; got {n_rows!r}")
        self._batches, self._n_rows = batches, n_rows
        self._counted = n_rows is None  # or as many rows came in a pass

    @property
    def n_rows(self) -> int | None:
        """How many rows there are, if that was said."""
        return self._n_rows

    def describe(self) -> dict[str, Any]:
        """Return what tells these rows from others: nothing but their number, if known."""
        return {"n_rows": self._n_rows}

    def read(self, group: int, rows: int) -> Generator[Batch]:
        """Yield the batches, as they come."""
        kind: tuple[Any, ...] | None = None
        labels, given = None, 0
        for number, batch in enumerate(self._batches, 1):
            piece = _checked(batch, f"batch {number} of batches")
            if kind not in (None, _kind(piece)):
                raise ValueError(
                    f"batch {number} of batches must be like the first one, {_said(kind)}; got {_said(_kind(piece))}"
                )
            kind = _kind(piece)
            if len(piece):
                if labels not in (None, found := _kind_of_labels(piece.y)):
                    raise ValueError(f"batch {number} must have {labels} in y like the first one; got {found}")
                labels = found
                given += len(piece)
                self._compare(given, " or more", wrong=given > (self._n_rows or given))
                yield piece
        self._compare(given, "", wrong=given != self._n_rows)
        self._counted = True

    def _compare(self, given: int, more: str, *, wrong: bool) -> None:
        if wrong and not self._counted:
            raise ValueError(
                f"n_rows must be the number of rows that batches have: it is {self._n_rows:,}, and they have "
                f"{given:,}{more}"
            )

    def encoder(self, head: Iterable[Batch]) -> Callable[[list[Batch]], Batch]:
        """Return the function that makes one batch of pieces."""
        return joined


def _kind(batch: Batch) -> tuple[Any, ...]:
    """Return what all batches have in common."""
    X = batch.X
    return isinstance(X, np.ndarray), X.shape[1], X.dtype, batch.y.shape[1:], batch.weights is not None


def _kind_of_labels(y: Array) -> str:
    """Return what y holds: NumPy would make words of numbers that are joined with words."""
    words = y.dtype.kind in "USO" and isinstance(y.flat[0], str)
    return "words" if words else "bools" if y.dtype.kind == "b" else "numbers"


def _checked(batch: Any, name: str) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TypeError(f"{name} must be (X, y) or (X, y, weights); got {type(batch).__name__}")
    X, y, weights = (*batch, None)[:3]
    if any(isinstance(part, np.ma.MaskedArray) for part in (X, y, weights)):
        raise TypeError(f"{name} must not have masked arrays, whose masks would be lost: leave out such rows")
    try:
        X = _csr(X, name) if hasattr(X, "tocsr") else np.asarray(X)
        y, weights = np.asarray(y), None if weights is None else np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be arrays of numbers: {error}") from None
    if X.dtype.kind in "mMcV":
        raise TypeError(f"{name} must have numbers in X; got {X.dtype}")
    if X.ndim != 2 or y.ndim not in (1, 2) or len(y) != X.shape[0]:
        raise ValueError(f"{name} must have X of two axes and a y of as many rows; got {X.shape} and {y.shape}")
    if weights is not None and weights.shape != (len(y),):
        raise ValueError(f"{name} must have a weight for each of its {len(y)} rows; got {weights.shape}")
    if y.dtype.kind == "O" and len({isinstance(label, str) for label in y.flat}) > 1:
        raise ValueError(f"{name} must have numbers in y, or words; got both, or missing ones among words")
    return Batch(X, y, weights, np.arange(len(y)))


def _csr(X: Any, name: str) -> Any:
    """Return a sparse matrix as CSR; SciPy itself writes outside of arrays where the indices are invalid."""
    try:
        if X.format == "coo":
            X = type(X)((X.data, (X.row, X.col)), shape=X.shape)
        if hasattr(X, "check_format"):
            X.check_format()
    except ValueError as error:
        raise ValueError(f"{name} must have a valid sparse X: {error}") from None
    return X.tocsr()


def _said(kind: Any) -> str:
    dense, columns, dtype, outputs, weighted = kind
    rest = f"y of {outputs[0]} columns, " if outputs else ""
    return (
        f"{'dense' if dense else 'sparse'} {dtype} of {columns} columns, {rest}with{'' if weighted else 'out'} weights"
    )


class _Rows:
    """Rows of an array, or of a .npy file, which is read and not mapped: a file that becomes shorter is an error."""

    def __init__(self, name: str, given: Given, axes: tuple[int, ...]) -> None:
        self.name, self.where = name, f"an array of {name}"
        if isinstance(given, str | os.PathLike):
            self._path: Path | None = Path(given)
            self.where = str(given)
            self.shape, self.dtype, self._offset = _header(self._path)
            self._unchanged = Unchanged([self._path])
        else:
            self._path, self._array = None, np.asarray(given)
            self.shape, self.dtype = self._array.shape, self._array.dtype
        if len(self.shape) not in axes or (self.dtype.hasobject and self._path is not None):
            expected = " or ".join(map(str, axes))
            raise ValueError(
                f"{name} must have {expected} axes, and no objects in a file; got {self.dtype} of shape {self.shape}"
            )
        if not math.prod(self.shape):
            raise ValueError(f"{name} must not be empty; got shape {self.shape}")

    def take(self, start: int, stop: int) -> Array:
        if self._path is None:
            rows: Array = self._array[start:stop]
            return rows
        width = math.prod(self.shape[1:])
        offset = self._offset + start * width * self.dtype.itemsize
        read = np.fromfile(self._path, self.dtype, (stop - start) * width, offset=offset)
        if read.size != (stop - start) * width:
            raise TableError(f"{self._path} ends before row {stop:,} of {self.shape[0]:,}")
        self._unchanged.check(self._path)
        return read.reshape(stop - start, *self.shape[1:])


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and place of the data of a .npy file."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = reader(file)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise TableError(f"{path} is no .npy file: {' '.join(str(error).split())}") from None
    if fortran and len(shape) > 1:
        raise TableError(f"{path} must hold its rows one after the other; it has Fortran's order, column by column")
    if not dtype.hasobject and size < offset + math.prod(shape) * dtype.itemsize:
        raise TableError(f"{path} must have {math.prod(shape):,} numbers of {dtype}, shape {shape}; it ends before")
    return shape, dtype, offset
