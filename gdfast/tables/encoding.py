"""Columns as the matrix that a model takes: numbers as they are, categories as 0 and 1, texts by TF-IDF.

What is learned from the training data (means, categories, how rare an n-gram is) is kept as plain data, so that a model
file can hold it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from gdfast.tables.errors import TableError, listed
from gdfast.tables.missing import missing
from gdfast.tables.reading import Table

Array = np.ndarray[Any, Any]
Data: TypeAlias = dict[str, Any]

#: from so many columns of 0 and 1 on the matrix is sparse
SPARSE_FROM = 64
#: so many categories are never too many
FEW = 20
#: what is counted, and the lengths of the n-grams; those of characters stay within words
NGRAMS = {"char": ("char_wb", (2, 4)), "word": ("word", (1, 2))}


@dataclass(frozen=True)
class Numbers:
    """Columns of numbers: as they come, or standardised where they stand in a sparse matrix."""

    kind: ClassVar[str] = "numbers"
    names: list[str]
    means: Array
    deviations: Array

    def __post_init__(self) -> None:
        _expect(_are_words(self.names) and self.means.shape == self.deviations.shape == (len(self.names),), self)
        _expect(self.means.dtype.kind == self.deviations.dtype.kind == "f", self)

    @classmethod
    def learn(cls, table: Table, names: Sequence[str]) -> "Numbers":
        """Learn means and deviations; cells that are missing are not counted."""
        columns = [table.columns[name] for name in names]
        means = np.array([np.nanmean(column, dtype=float) if _any(column) else 0.0 for column in columns])
        deviations = np.array([np.nanstd(column, dtype=float) if _any(column) else 0.0 for column in columns])
        return cls(list(names), means, np.where(deviations > 0, deviations, 1.0))

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        return len(self.names)

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; a missing number is the mean."""
        columns = [table.columns[name] for name in self.names]
        dtype = np.result_type(np.float32, *(column.dtype for column in columns))
        matrix = np.empty((len(table), len(columns)), np.float64 if sparse else dtype)
        for i, column in enumerate(columns):
            matrix[:, i] = column
            if column.dtype.kind == "f":
                matrix[np.isnan(column), i] = self.means[i]
        return (matrix - self.means) / self.deviations if sparse else matrix


@dataclass(frozen=True)
class Category:
    """A column of categories: one matrix column for each, 1 where the row has it. Unknown ones are all zeros."""

    kind: ClassVar[str] = "category"
    name: str
    values: list[str]

    def __post_init__(self) -> None:
        _expect(_are_words(self.values) and _are_words([self.name]), self)

    @classmethod
    def learn(cls, table: Table, name: str) -> "Category":
        """Learn which categories there are."""
        column = table.columns[name]
        return cls(name, sorted({_word(cell) for cell in column[~missing(column)]}))

    @property
    def names(self) -> list[str]:
        """The column's name."""
        return [self.name]

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        return len(self.values)

    def codes(self, table: Table) -> Array:
        """Return each row's category by number; -1 where it is unknown or missing."""
        known, column = {value: i for i, value in enumerate(self.values)}, table.columns[self.name]
        codes = np.array([known.get(_word(cell), -1) for cell in column], np.int64)
        codes[missing(column)] = -1
        return codes

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix."""
        from scipy.sparse import csr_matrix

        codes = self.codes(table)
        rows = np.flatnonzero(codes >= 0)
        ones = np.ones(len(rows), np.float32)
        matrix = csr_matrix((ones, (rows, codes[rows])), shape=(len(codes), self.width))
        return matrix if sparse else matrix.toarray()


@dataclass(frozen=True)
class Text:
    """A column of texts: hashed n-grams, weighed by TF-IDF with sublinear counts, each row of length 1."""

    kind: ClassVar[str] = "text"
    name: str
    analyzer: str
    hashes: int
    idf: Array

    def __post_init__(self) -> None:
        _expect(_are_words([self.name]) and self.analyzer in NGRAMS, self)
        _expect(self.idf.shape == (self.hashes,) and self.idf.dtype.kind == "f", self)

    @classmethod
    def learn(cls, table: Table, name: str, analyzer: str, hashes: int) -> "Text":
        """Learn how rare each n-gram is."""
        counts = _counts(table.columns[name], analyzer, hashes)
        found = np.bincount(counts.indices, minlength=hashes)
        return cls(name, analyzer, hashes, (np.log((1 + len(table)) / (1 + found)) + 1).astype(np.float32))

    @property
    def names(self) -> list[str]:
        """The column's name."""
        return [self.name]

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        return self.hashes

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; always sparse."""
        from sklearn.preprocessing import normalize

        matrix = _counts(table.columns[self.name], self.analyzer, self.hashes)
        matrix.data = (np.log(matrix.data) + 1) * self.idf[matrix.indices]
        return normalize(matrix, copy=False)


@dataclass(frozen=True)
class Sparse:
    """The numbers without names, as they are."""

    kind: ClassVar[str] = "sparse"
    width: int
    names: ClassVar[list[str]] = []

    def __post_init__(self) -> None:
        _expect(type(self.width) is int and self.width >= 0, self)

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; always sparse."""
        if table.sparse is None or table.sparse.shape[1] != self.width:
            found = "none" if table.sparse is None else str(table.sparse.shape[1])
            expected = f"{self.width} numbers a row without names"
            raise TableError(f"the data must have {expected}, as in training; got {found}")
        return table.sparse


Part: TypeAlias = Numbers | Category | Text | Sparse
KINDS: Mapping[str, Callable[..., Part]] = {part.kind: part for part in (Numbers, Category, Text, Sparse)}


@dataclass(frozen=True)
class Encoder:
    """All columns that a model takes, in their order."""

    parts: tuple[Part, ...]

    @classmethod
    def learn(cls, table: Table, texts: Sequence[str] = (), analyzer: str = "char", hashes: int = 2**18) -> "Encoder":
        """Learn from the training data, without the target.

        Parameters
        ----------
        texts : sequence of str
            Columns to read as texts.
        analyzer : {"char", "word"}
            Whether their n-grams are of characters or of words.
        hashes : int
            A text is its n-grams, each counted in one of so many columns.

        Raises
        ------
        TableError
            If there is nothing to learn from, or a column is neither numbers nor categories.
        """
        numbers = [name for name, column in table.columns.items() if column.dtype.kind in "biuf"]
        parts: list[Part] = [Numbers.learn(table, numbers)] if numbers else []
        for name, column in table.columns.items():
            if name in texts:
                parts.append(Text.learn(table, name, analyzer, hashes))
            elif name not in numbers:
                check_category(name, column)
                parts.append(Category.learn(table, name))
        if table.sparse is not None:
            parts.append(Sparse(table.sparse.shape[1]))
        if not sum(part.width for part in parts):
            raise TableError("the data must have at least one column beside the target")
        return cls(tuple(parts))

    @property
    def is_sparse(self) -> bool:
        """Whether the matrix is sparse."""
        always = any(isinstance(part, Text | Sparse) for part in self.parts)
        return always or sum(part.width for part in self.parts if isinstance(part, Category)) >= SPARSE_FROM

    @property
    def texts(self) -> list[str]:
        """The columns of texts."""
        return [part.name for part in self.parts if isinstance(part, Text)]

    @property
    def names(self) -> list[str]:
        """All columns that are needed."""
        return [name for part in self.parts for name in part.names]

    @property
    def sparse_width(self) -> int | None:
        """How many numbers without names there are."""
        return next((part.width for part in self.parts if isinstance(part, Sparse)), None)

    def encode(self, table: Table) -> Any:
        """Return the matrix: dense, or CSR.

        Raises
        ------
        TableError
            If the data lacks a column, or has words where numbers were.
        """
        self._check(table)
        matrices = [part.encode(table, self.is_sparse) for part in self.parts]
        if not self.is_sparse:
            return np.hstack(matrices)
        from scipy.sparse import csr_matrix, hstack

        return hstack([csr_matrix(matrix) for matrix in matrices], format="csr")

    def unknown(self, table: Table) -> dict[str, int]:
        """Return, for each column that has some, how many cells hold a category that training did not see."""
        counts = {}
        for part in self.parts:
            if isinstance(part, Category):
                there = ~missing(table.columns[part.name])
                counts[part.name] = int(((part.codes(table) < 0) & there).sum())
        return {name: count for name, count in counts.items() if count}

    def _check(self, table: Table) -> None:
        lacking = [name for name in self.names if name not in table.columns]
        if lacking:
            raise TableError(f"the data lacks columns that the model was trained on: {listed(lacking)}")
        for part in self.parts:
            for name in part.names:
                column = table.columns[name]
                if isinstance(part, Numbers) and column.dtype.kind not in "biuf":
                    raise TableError(f"column {name!r} must hold numbers, as in training; got {_example(column)}")
                if isinstance(part, Category):
                    check_category(name, column, often=False)

    def to_data(self) -> list[Data]:
        """Return it as plain data."""
        return [{"kind": part.kind, **vars(part)} for part in self.parts]

    @classmethod
    def from_data(cls, data: Sequence[Data]) -> "Encoder":
        """Return the encoder that was made plain data."""
        return cls(tuple(KINDS[item["kind"]](**{k: v for k, v in item.items() if k != "kind"}) for item in data))


def check_category(name: str, column: Array, often: bool = True) -> None:
    """Check that a column can be read as categories; with `often`, that they come back often enough to learn from.

    Raises
    ------
    TableError
    """
    if column.dtype.kind in "mM":
        raise TableError(f"column {name!r} holds dates, which no model here takes: leave it out with --drop {name!r}")
    odd = next((cell for cell in column if isinstance(cell, list | dict | np.ndarray | bytes)), None)
    if odd is not None:
        raise TableError(
            f"column {name!r} must hold numbers or words; it holds {type(odd).__name__}: leave it out with "
            f"--drop {name!r}"
        )
    different = len(set(column)) if often else 0
    if different > max(FEW, len(column) / 2):
        raise TableError(
            f"column {name!r} holds {different:,} different values in {len(column):,} rows, too many for categories: "
            f"read it as text with --text {name!r}, or leave it out with --drop {name!r}"
        )


def _word(cell: object) -> str:
    """Return a cell as a category's name: the same for 1, 1.0 and "1"."""
    return str(int(cell) if isinstance(cell, float | np.floating) and float(cell).is_integer() else cell)


def _counts(texts: Array, analyzer: str, hashes: int) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    unit, lengths = NGRAMS[analyzer]
    hashing = HashingVectorizer(
        analyzer=unit, ngram_range=lengths, n_features=hashes, alternate_sign=False, norm=None, dtype=np.float32
    )
    return hashing.transform(str(text) for text in texts)


def _expect(holds: bool, part: Part) -> None:
    """Refuse what no training leaves: who writes a model file can write anything into it."""
    if not holds:
        raise ValueError(f"the columns of kind {part.kind!r} are not described as they must be")


def _are_words(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _any(column: Array) -> bool:
    return bool(column.dtype.kind != "f" or (~np.isnan(column)).any())


def _example(column: Array) -> str:
    return repr(column[0]) if len(column) else str(column.dtype)
