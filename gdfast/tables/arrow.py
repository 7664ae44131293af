"""Columns of Arrow: which are numbers, categories and texts; their cells as NumPy's; what is wrong with one, where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import finalize

import numpy as np

from gdfast.engine import _columns
from gdfast.tables.batches import Batch
from gdfast.tables.encoding import Encoder
from gdfast.tables.errors import TableError, listed
from gdfast.tables.hashing import LEAST_BITS, MOST_BITS, Coded
from gdfast.tables.parts import Hashed, Moments, Numbers, Part
from gdfast.tables.source import needs
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

#: digits that always fit into 64 bits
SAFE_DIGITS = 18


@dataclass(frozen=True)
class Roles:
    """What each column is used for.

    Attributes
    ----------
    target : str
    weight : str or None
    numbers, categories, texts : list of str
    bits : int
        Categories and texts are hashed to ``2**bits`` columns.
    missing : {"error", "fill"}
    """

    target: str
    weight: str | None
    numbers: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    bits: int = 20
    missing: str = "error"

    @property
    def hashed(self) -> bool:
        """Whether some columns are hashed."""
        return bool(self.categories or self.texts)

    @property
    def names(self) -> list[str]:
        """All columns that are read."""
        others = [self.target, *([self.weight] if self.weight else [])]
        return list(dict.fromkeys([*self.numbers, *self.categories, *self.texts, *others]))

    def dtype(self, schema: Any) -> Any:
        """Return the dtype of a dense matrix of the numbers."""
        return np.result_type(np.float32, *(numpy_type(schema.field(name).type) for name in self.numbers))


@dataclass(frozen=True)
class ArrowRows:
    """Neighbouring rows of a file.

    Attributes
    ----------
    rows : pyarrow.RecordBatch
    path : str
    first : int
        The number of the first row in its file, from 1.
    """

    rows: Any
    path: str
    first: int

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return int(self.rows.nbytes)


def roles_of(
    schema: Any,
    path: str,
    target: str,
    *,
    columns: Sequence[str] | None,
    weight: str | None,
    categories: Sequence[str],
    text: Sequence[str],
    hash_bits: int,
    missing: str,
) -> Roles:
    """Return what each column of a schema is used for: words are categories, unless they are texts.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or names a column that is not there or cannot be used.
    """
    types = needs("pyarrow", "reading a table").types
    if isinstance(hash_bits, bool) or not isinstance(hash_bits, int) or not LEAST_BITS <= hash_bits <= MOST_BITS:
        raise ValueError(f"hash_bits must be an int from {LEAST_BITS} to {MOST_BITS}; got {hash_bits!r}")
    if missing not in ("error", "fill"):
        raise ValueError(f"missing must be 'error' or 'fill'; got {missing!r}")
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise TableError(f"{path} must have a different name for each column; got {twice[0]!r} twice")
    for name, given in (("columns", columns or ()), ("categories", categories), ("text", text)):
        if isinstance(given, str):
            raise TypeError(f"{name} must be a sequence of names of columns; got {given!r}")
        for column in given:
            _check_there(name, column, schema, path)
    _check_there("target", target, schema, path)
    if weight is not None:
        _check_there("weight", weight, schema, path)
        if not _is_number(_kind(schema, weight)):
            raise TableError(
                f"{path}: column {weight!r}, the weight, must hold numbers; it holds {_kind(schema, weight)}"
            )
    features = [n for n in (schema.names if columns is None else columns) if n not in (target, weight)]
    numbers: list[str] = []
    hashed: list[str] = []
    for name in features:
        kind = _kind(schema, name)
        words = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        if name in text and words:
            continue
        if name in text or not (words or _is_number(kind) or types.is_null(kind)):
            wanted = "words, to be read as text" if name in text else "numbers or words"
            raise TableError(f"{path}: column {name!r} must hold {wanted}; it holds {kind}: leave it out with columns")
        (hashed if words or name in categories else numbers).append(name)
    if not features:
        raise TableError(f"{path} must have at least one column beside the target")
    return Roles(target, weight, numbers, hashed, [n for n in features if n in text], hash_bits, missing)


def _kind(schema: Any, name: str) -> Any:
    kind = schema.field(name).type
    return kind.value_type if needs("pyarrow", "reading a table").types.is_dictionary(kind) else kind


def _is_number(kind: Any) -> bool:
    types = needs("pyarrow", "reading a table").types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def _check_there(argument: str, name: str, schema: Any, path: str) -> None:
    if name not in schema.names:
        raise TableError(f"{argument} must be a column of {path}, {listed(schema.names)}; got {name!r}")


def encoder_of(roles: Roles, head: Iterable[ArrowRows]) -> tuple[Encoder, list[str]] | None:
    """Return the encoding of the columns, and which numbers have no value in these rows.

    Means and deviations of the numbers are those of these rows. None if there are numbers, and no rows.
    """
    parts: list[Part] = []
    empty: list[str] = []
    if roles.numbers:
        moments, rows = [Moments() for _ in roles.numbers], 0
        for piece in head:
            rows += len(piece)
            for name, of in zip(roles.numbers, moments, strict=True):
                column = numbers(piece.rows.column(name))
                of.add(np.where(np.isinf(column), np.nan, column))
        if not rows:
            return None
        parts.append(Numbers.of(roles.numbers, moments))
        empty = [name for name, of in zip(roles.numbers, moments, strict=True) if not of.count]
    if roles.hashed:
        parts.append(Hashed(list(roles.categories), list(roles.texts), roles.bits))
    return Encoder(tuple(parts)), empty


class Recycled:
    """Memory of matrices, used again once nobody has them: the system clears what is new, which takes a while."""

    def __init__(self) -> None:
        self._free: list[Array] = []

    def matrix(self, shape: tuple[int, int], dtype: Any) -> Array:
        """Return an array whose numbers are undefined."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory: Any = self._free.pop() if self._free else np.empty(0, np.uint8)
        if memory.nbytes < size or not size:
            memory = np.empty(max(size, 1), np.uint8)
        # Every view of `lent` keeps it, and nothing but it: NumPy looks for the owner no further than the memoryview.
        lent: Array = np.frombuffer(memoryview(memory), dtype, size // np.dtype(dtype).itemsize)
        finalize(lent, self._free.append, memory).atexit = False
        return lent.reshape(shape)


@dataclass(frozen=True)
class BatchMaker:
    """Makes one batch of pieces.

    Attributes
    ----------
    roles : Roles
    encoder : Encoder
        How the columns become numbers.
    empty : sequence of str
        Columns of numbers without a value in the rows that it learned from: no mean fills their gaps.
    memory : Recycled
    """

    roles: Roles
    encoder: Encoder
    empty: Sequence[str] = ()
    memory: Recycled = field(default_factory=Recycled, repr=False, compare=False)

    def __call__(self, pieces: list[ArrowRows]) -> Batch:
        """Return the batch."""
        roles = self.roles
        for piece in pieces:
            _check_empty(piece, self.empty)
        X = _encoded(pieces, roles, self.encoder, self.memory)
        y = np.concatenate([_target(piece, roles.target) for piece in pieces])
        weights = None
        if roles.weight is not None:
            weights = np.concatenate([_weights(piece, roles.weight) for piece in pieces])
        return Batch(X, y, weights, np.arange(len(y)))


def _check_empty(piece: ArrowRows, names: Sequence[str]) -> None:
    """Refuse a value in a column whose gaps were filled without a mean."""
    for name in names:
        there = np.isfinite(numbers(piece.rows.column(name)))
        if there.any():
            raise TableError(
                f"{_place(piece, name, int(there.argmax()))} has a value, and the first rows have none to take the "
                "mean of: statistics='all' takes that of all rows"
            )


def _encoded(pieces: list[ArrowRows], roles: Roles, encoder: Encoder, memory: Recycled) -> Any:
    """Return the matrix."""
    if roles.hashed:
        from scipy.sparse import vstack

        tables = [_table(piece, roles) for piece in pieces]
        return vstack([encoder.encode(table) for table in tables], format="csr")
    shape = sum(map(len, pieces)), len(roles.numbers)
    matrix, at = memory.matrix(shape, roles.dtype(pieces[0].rows.schema)), 0
    for piece in pieces:
        part = matrix[at : at + len(piece)]
        if not _transposed(piece.rows.select(roles.numbers), part):
            part[...] = encoder.encode(_table(piece, roles))
        at += len(piece)
    return matrix


def _transposed(rows: Any, out: Array) -> bool:
    """Write columns of one type into the rows of an array, if that is its type, and they are complete and finite."""
    kinds = set(rows.schema.types)
    if len(kinds) > 1 or out.dtype != numpy_type(kinds.pop()):
        return False
    done: bool = _columns.rows_of_columns(rows.__arrow_c_array__()[1], out)
    return done


def _table(piece: ArrowRows, roles: Roles) -> Table:
    """Return the columns that are learned from, checked."""
    columns: dict[str, Any] = {}
    for name in roles.numbers:
        column = columns[name] = numbers(piece.rows.column(name))
        if column.dtype.kind == "f" and not _adds_up(column):
            _check_finite(column, name, piece, roles.missing)
    for name in (*roles.categories, *roles.texts):
        columns[name] = words(piece.rows.column(name))
    return Table(columns)


def _adds_up(numbers: Array) -> bool:
    """Return whether the sum is finite: then every number is. Large numbers that are may have a sum that is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(numbers.sum()))


def _check_finite(column: Array, name: str, piece: ArrowRows, policy: str) -> None:
    for bad, what in ((np.isinf(column), "an infinite number"), (np.isnan(column), "no value")):
        if bad.any() and (policy == "error" or what != "no value"):
            way = ": missing='fill' takes the mean" if what == "no value" else ""
            raise TableError(_place(piece, name, int(bad.argmax())) + f" has {what}{way}")


def _place(piece: ArrowRows, name: str, at: int) -> str:
    return f"{piece.path}: column {name!r}, row {piece.first + at:,},"


def _target(piece: ArrowRows, name: str) -> Array:
    column = piece.rows.column(name)
    kind = column.type
    types = needs("pyarrow", "reading a table").types
    if types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind):
        found = numbers(column)
        gaps = np.isnan(found) if found.dtype.kind == "f" else np.zeros(len(found), bool)
    elif types.is_boolean(kind):
        gaps, found = (
            column.is_null().to_numpy(zero_copy_only=False),
            column.fill_null(False).to_numpy(zero_copy_only=False),
        )
    else:
        coded = words(column, digits=False)
        if not isinstance(coded, Coded):
            raise TableError(f"{piece.path}: the target, column {name!r}, must hold numbers or words; it holds {kind}")
        gaps = coded.codes < 0
        found = np.array([*coded.words, ""], np.str_)[coded.codes]
    if gaps.any():
        raise TableError(_place(piece, name, int(gaps.argmax())) + " has no value, and it is the target")
    return found


def _weights(piece: ArrowRows, name: str) -> Array:
    found = numbers(piece.rows.column(name)).astype(np.float64)
    bad = ~((found >= 0) & (found < np.inf))
    if bad.any():
        at = int(bad.argmax())
        raise TableError(_place(piece, name, at) + f" must be a weight, finite and not negative; got {found[at]}")
    return found


@cache
def numpy_type(kind: Any) -> Any:
    """Return the NumPy type of a column of numbers: floats as they are, the rest so that they fit."""
    types = needs("pyarrow", "reading a table").types
    return np.dtype(np.float64 if types.is_decimal(kind) or types.is_null(kind) else kind.to_pandas_dtype())


def numbers(column: Any) -> Array:
    """Return a column of numbers as an array: floats, with NaN for missing ones, or whole numbers and bools."""
    pyarrow = needs("pyarrow", "reading a table")
    if pyarrow.types.is_decimal(column.type) or pyarrow.types.is_null(column.type):
        column = column.cast(pyarrow.float64())
    if column.null_count and not pyarrow.types.is_floating(column.type):
        column = column.cast(pyarrow.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def words(column: Any, *, digits: bool = True) -> "Array | Coded":
    """Return a column as what can be hashed: words by their numbers, whole numbers, or objects.

    With `digits` a column of words that are all digits becomes whole numbers, which have the same hashes.
    """
    pyarrow = needs("pyarrow", "reading a table")
    types, compute = pyarrow.types, needs("pyarrow.compute", "reading a table")
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    string = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    if not string:
        if column.null_count == 0 and types.is_integer(kind):
            return np.asarray(column.to_numpy(zero_copy_only=False))
        return np.array(column.to_pylist(), object)
    if not types.is_dictionary(column.type):
        if digits and not column.null_count and _all_digits(column, compute):
            return np.asarray(column.cast(pyarrow.int64()).to_numpy(zero_copy_only=False))
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.intp)
    known = column.dictionary.to_pylist()
    empty = [i for i, word in enumerate(known) if not word]
    codes[np.isin(codes, empty)] = -1
    return Coded([word or "" for word in known], codes)


def _all_digits(column: Any, compute: Any) -> bool:
    """Return whether all words are whole numbers without zeros in front, and fit into 64 bits."""
    if not compute.all(compute.ascii_is_decimal(column)).as_py():
        return False
    lengths = compute.binary_length(column)
    padded = compute.and_(compute.starts_with(column, "0"), compute.greater(lengths, 1))
    return not compute.any(padded).as_py() and compute.max(lengths).as_py() <= SAFE_DIGITS
