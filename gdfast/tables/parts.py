"""The kinds of columns (numbers, categories, texts, dates), each as the part of a matrix that it becomes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from gdfast.engine import _columns
from gdfast.tables import dates
from gdfast.tables.choosing import too_many
from gdfast.tables.errors import TableError
from gdfast.tables.hashing import LEAST_BITS, MOST_BITS, Coded, slots_of_rows, word_of
from gdfast.tables.missing import missing
from gdfast.tables.numerals import is_number
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

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
        _expect(_are_finite(self.means, self.deviations) and bool((self.deviations > 0).all()), self)

    @classmethod
    def learn(cls, table: Table, names: list[str]) -> "Numbers":
        """Learn means and deviations; cells that are missing are not counted."""
        moments = [Moments() for _ in names]
        for name, of in zip(names, moments, strict=True):
            of.add(table.columns[name])
        return cls.of(names, moments)

    @classmethod
    def of(cls, names: Sequence[str], moments: "Sequence[Moments]") -> "Numbers":
        """Return the columns with these means and deviations."""
        means, deviations = np.array([(of.mean, of.deviation) for of in moments], np.float64).reshape(-1, 2).T
        return cls(list(names), means.copy(), np.where(deviations > 0, deviations, 1.0))

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
    """A column of categories: one matrix column for each, 1 where the row has it. Unknown ones are all zeros.

    With `verbatim` the words "NA" and "None" are categories, too.
    """

    kind: ClassVar[str] = "category"
    name: str
    values: list[str]
    verbatim: bool = False

    def __post_init__(self) -> None:
        _expect(_are_words(self.values) and _are_words([self.name]) and type(self.verbatim) is bool, self)

    @classmethod
    def learn(cls, table: Table, name: str, verbatim: bool = False) -> "Category":
        """Learn which categories there are."""
        column = table.columns[name]
        return cls(name, sorted({word_of(cell) for cell in column[~missing(column)]}), verbatim)

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
        others = Counter(map(_other_word, self.values))  # 1.0 in one file is 1 in another
        known = {_other_word(value): i for value, i in known.items() if others[_other_word(value)] == 1} | known
        codes = np.array([known.get(word_of(cell), known.get(_other_word(cell), -1)) for cell in column], np.int64)
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
        _expect(self.idf.shape == (self.hashes,) and _are_finite(self.idf) and bool((self.idf > 0).all()), self)

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

    def ngrams(self, table: Table, columns: Sequence[int]) -> list[str]:
        """Return for each of these columns of the matrix the n-gram of the table's texts that is counted there most."""
        analyze = _hashing(self.analyzer, self.hashes).build_analyzer()
        counts = Counter(ngram for text in table.columns[self.name] for ngram in analyze(str(text)))
        ngrams = [ngram for ngram, _ in counts.most_common()]
        hashed = _hashing(lambda ngram: [ngram], self.hashes).transform(ngrams).indices
        first = dict(zip(reversed(hashed.tolist()), reversed(ngrams), strict=True))
        return [first.get(column, "") for column in columns]

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; always sparse."""
        from sklearn.preprocessing import normalize

        matrix = _counts(table.columns[self.name], self.analyzer, self.hashes)
        matrix.data = (np.log(matrix.data) + 1) * self.idf[matrix.indices]
        return normalize(matrix, copy=False)


@dataclass(frozen=True)
class Dates:
    """A column of dates, as numbers: those of its parts that differ in the training data."""

    kind: ClassVar[str] = "dates"
    name: str
    format: str
    parts: list[str]
    means: Array
    deviations: Array

    def __post_init__(self) -> None:
        _expect(_are_words([self.name]) and self.format in ("", *dates.FORMATS), self)
        _expect(_are_words(self.parts) and set(self.parts) <= set(dates.PARTS), self)
        self._numbers()

    @classmethod
    def learn(cls, table: Table, name: str) -> "Dates":
        """Learn which parts differ, their means and deviations."""
        found = {
            part: values
            for part, values in dates.parts_of(table.columns[name]).items()
            if len(np.unique(values[~np.isnan(values)])) > 1
        }
        numbers = Numbers.learn(Table(found), list(found))
        return cls(name, table.dates.get(name, ""), list(found), numbers.means, numbers.deviations)

    def _numbers(self) -> Numbers:
        return Numbers(self.parts, self.means, self.deviations)

    @property
    def names(self) -> list[str]:
        """The column's name."""
        return [self.name]

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        return len(self.parts)

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; a missing date is the mean."""
        found = dates.parts_of(table.columns[self.name])
        return self._numbers().encode(Table({"": found["days"], **found}), sparse)


@dataclass(frozen=True)
class Sparse:
    """The numbers without names, as they are."""

    kind: ClassVar[str] = "sparse"
    width: int
    zero_based: bool | None = None  # a file that lacks the first one does not show it
    names: ClassVar[list[str]] = []

    def __post_init__(self) -> None:
        _expect(type(self.width) is int and self.width >= 0 and type(self.zero_based) in (bool, type(None)), self)

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; always sparse."""
        if table.sparse is None or table.sparse.shape[1] != self.width:
            found = "none" if table.sparse is None else str(table.sparse.shape[1])
            expected = f"{self.width} numbers a row without names"
            raise TableError(f"the data must have {expected}, as in training; got {found}")
        return table.sparse


@dataclass(frozen=True)
class Hashed:
    """Columns of categories and texts, hashed to the same ``2**bits`` columns: a category is 1, a text its words.

    A text's words are counted, and each row of counts has length 1. Nothing is learned, so that the categories need not
    be known, and fit into any memory.
    """

    kind: ClassVar[str] = "hashed"
    categories: list[str]
    texts: list[str]
    bits: int

    def __post_init__(self) -> None:
        _expect(_are_words(self.categories) and _are_words(self.texts) and type(self.bits) is int, self)
        _expect(LEAST_BITS <= self.bits <= MOST_BITS, self)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [*self.categories, *self.texts]

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        return int(2**self.bits)

    def encode(self, table: Table, sparse: bool) -> Any:
        """Return the matrix; always sparse, in float32, each row's columns in order and none of them twice."""
        matrix = self.encode_after(np.empty((len(table), 0), np.float32), table)
        for name in self.texts:
            matrix = matrix + self._words(table.columns[name])
        return matrix

    def encode_after(self, numbers: Array, table: Table) -> Any:
        """Return the matrix of the categories alone, with the columns of a dense float32 one in front."""
        from scipy.sparse import csr_matrix

        places = slots_of_rows({name: table.columns[name] for name in self.categories}, len(table), self.bits)
        arrays = _columns.csr_of_columns(np.ascontiguousarray(numbers), places)
        matrix = csr_matrix(arrays, (len(table), numbers.shape[1] + self.width))
        matrix.has_canonical_format = True
        return matrix

    def _words(self, column: Array | Coded) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(n_features=self.width, alternate_sign=False, dtype=np.float32)
        if isinstance(column, Coded):
            return hashing.transform([*column.words, ""])[column.codes]
        return hashing.transform("" if text is None else str(text) for text in column)


Part: TypeAlias = Numbers | Category | Text | Dates | Sparse | Hashed
KINDS: Mapping[str, Callable[..., Part]] = {
    part.kind: part for part in (Numbers, Category, Text, Dates, Sparse, Hashed)
}


def check_category(name: str, column: Array, often: bool = True) -> None:
    """Check that a column can be read as categories; with `often`, that they come back often enough to learn from.

    Raises
    ------
    TableError
    """
    if column.dtype.kind in "mM":
        raise TableError(f"column {name!r} holds dates, not numbers or words: leave it out with --drop {name!r}")
    odd = next((cell for cell in column if isinstance(cell, list | dict | np.ndarray | bytes)), None)
    if odd is not None:
        raise TableError(
            f"column {name!r} must hold numbers or words; it holds {type(odd).__name__}: leave it out with "
            f"--drop {name!r}"
        )
    different = len(set(column)) if often else 0
    if too_many(different, len(column)):
        raise TableError(
            f"column {name!r} holds {different:,} different values in {len(column):,} rows, too many for categories: "
            f"read it as text with --text {name!r}, or leave it out with --drop {name!r}"
        )


def _other_word(cell: object) -> str:
    """Return how the same number or bool is written otherwise: 1 for 1.0, True for TRUE."""
    word = word_of(cell)
    whole, _, rest = word.partition(".")
    return whole if rest and not rest.strip("0") else word.capitalize() if word.lower() in ("true", "false") else word


def _counts(texts: Array, analyzer: str, hashes: int) -> Any:
    return _hashing(analyzer, hashes).transform(str(text) for text in texts)


def _hashing(analyzer: Any, hashes: int) -> Any:
    """Return what counts n-grams, of a name in `NGRAMS`, or as a function makes them of a text."""
    from sklearn.feature_extraction.text import HashingVectorizer

    unit, lengths = NGRAMS.get(analyzer, (analyzer, (1, 1)))
    return HashingVectorizer(
        analyzer=unit, ngram_range=lengths, n_features=hashes, alternate_sign=False, norm=None, dtype=np.float32
    )


def _expect(holds: bool, part: Part) -> None:
    """Refuse what no training leaves: who writes a model file can write anything into it."""
    if not holds:
        raise ValueError(f"the description of the columns of kind {part.kind!r} is invalid")


def _are_words(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _are_finite(*arrays: Array) -> bool:
    return all(array.dtype.kind == "f" and bool(np.isfinite(array).all()) for array in arrays)


class Moments:
    """Mean and deviation of numbers that come in parts; cells that are missing are not counted.

    Attributes
    ----------
    count, mean, deviation : int, float, float
    """

    def __init__(self) -> None:
        self.count, self.mean, self.deviation = 0, 0.0, 0.0

    def add(self, column: Array) -> None:
        """Count a part.

        Notes
        -----
        Source: Chan, Golub and LeVeque, COMPSTAT 1982.
        """
        count = int(np.count_nonzero(~missing(column)))
        if not count:
            return
        mean, deviation = mean_and_deviation(column)
        self.count += count
        share = count / self.count
        apart = mean - self.mean
        within = np.hypot((1 - share) ** 0.5 * self.deviation, share**0.5 * deviation)
        self.deviation = float(np.hypot(within, (share * (1 - share)) ** 0.5 * apart))
        self.mean += share * apart


def mean_and_deviation(column: Array) -> tuple[float, float]:
    """Return mean and deviation of the numbers in a column; 0 and 0 if there are none."""
    numbers = column[~missing(column)].astype(np.float64)
    if not len(numbers):
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(numbers.mean()), float(numbers.std())
    if np.isfinite(found).all():
        return found
    scale = float(np.abs(numbers).max())  # their squares or their sum are too large
    numbers /= scale
    return float(numbers.mean()) * scale, float(numbers.std()) * scale


def example(column: Array) -> str:
    """Return the first cell that is no number."""
    return repr(next((cell for cell in column if isinstance(cell, str) and not is_number(cell)), column[0]))
