"""Row-sparse gradients of a table (a parameter stepped by rows): checked, their rows sorted and repeated ones summed.

The work is proportional to the rows named, never to the table.
"""

import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import backed
from gdfast.arrays.formats import computing_dtype, short_format
from gdfast.arrays.structure import NamedArray, is_array

Array: TypeAlias = np.ndarray[Any, Any]
#: (values, order, starts, totals): fills row k of `totals` from the rows ``order[starts[k]:starts[k + 1]]`` of `values`
SumRepeated: TypeAlias = Callable[[Array, Array, Array, Array], None]
#: returns an array of 16 bits as float32, and any other as it is
AsFloat: TypeAlias = Callable[[Array], Array]

INDICES = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True, eq=False)
class Rows:
    """A gradient that is zero except in some rows, as that of an embedding table.

    `Optimizer.step` accepts it instead of an array. The values of a row that is named more than once are added, in the
    order given. A ``scipy.sparse`` CSR matrix of the table's shape is accepted too: it touches the rows with a stored
    element.

    Parameters
    ----------
    rows : array of int32 or int64, shape (n,)
        Indices along the first axis of the parameter; in any order, repeated or not.
    values : array, shape (n, ...)
        The gradient of each of these rows, of the parameter's dtype, C-contiguous; only read. Where parameters or state
        lie in fewer bits, also float32, bfloat16 or float16.

    Notes
    -----
    The step is lazy: it changes the touched rows of parameter and state, and leaves everything else as it is. While a
    row is not touched its momentum and averages do not decay, and neither weight decay nor `l1` reaches it; bias
    corrections count the optimizer's steps. `clip_norm`, `clip_value` and `nonfinite` see the summed rows. Refused:
    `ema_decay`, whose average of every row moves, `zero_grad`, and rules that do not work row by row.

    As the sparse gradients of `torch.optim.SGD` (whose momentum is not lazy, though), `torch.optim.Adagrad` and
    `torch.optim.SparseAdam`, which is :class:`gdfast.Adam` with ``eps_hat=True``.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> params = {"table": np.zeros((1000, 2)), "bias": np.zeros(2)}
    >>> opt = gdfast.SGD(params, lr=1.0)
    >>> table_grad = gdfast.Rows(np.array([7, 3, 7]), np.array([[1.0, 0.0], [0.0, 2.0], [4.0, 0.0]]))
    >>> opt.step({"table": table_grad, "bias": np.ones(2)})
    >>> params["table"][[3, 7]]
    array([[ 0., -2.],
           [-5.,  0.]])
    """

    rows: Any
    values: Any


class RowSparseError(TypeError):
    """A row-sparse gradient was given where only arrays are accepted; `step` catches it and steps by rows."""


def is_row_sparse(grad: Any) -> bool:
    """Whether a gradient is row-sparse: `Rows`, or a SciPy sparse matrix or array."""
    sparse = sys.modules.get("scipy.sparse")  # if it was never imported, this cannot be one of its matrices
    kinds = (Rows,) if sparse is None else (Rows, sparse.spmatrix, sparse.sparray)
    return issubclass(type(grad), kinds)


def extract_rows(grad: Any, param: NamedArray) -> Rows:
    """Return a row-sparse gradient's row numbers, in the order given, and their values.

    All attributes of the user's object are read here. The row numbers are copied, so that they cannot change after the
    check.

    Raises
    ------
    TypeError, ValueError
        If they are not arrays, or a row number is outside the parameter.
    """
    path, like = param.grad_path, buffers.plain(param.array)
    if like.ndim == 0:
        raise ValueError(f"{path} must be an array: {param.path} is a single number and has no rows")
    if not issubclass(type(grad), Rows):
        return _from_csr(grad, param, like.shape)
    rows = _numbers(grad.rows, f"{path}.rows")
    _check_within(rows, f"{path}.rows", len(like), f"the rows of {param.path}")
    values = grad.values
    if not is_array(values):
        raise TypeError(f"{path}.values must be a NumPy array; got {type(values).__name__}")
    return Rows(rows, values)


def coalesce(grad: Any, param: NamedArray, own: buffers.Memory, sum_repeated: SumRepeated) -> tuple[Array, Array]:
    """Check a row-sparse gradient; return its distinct rows, sorted, and the summed values of each.

    Parameters
    ----------
    grad : Rows or CSR matrix
    param : NamedArray
    own : Memory
        All memory that the step writes.
    sum_repeated : callable

    Raises
    ------
    TypeError, ValueError
        If the rows or the values are invalid for this parameter.
    """
    return coalesce_rows(extract_rows(grad, param), param, own, sum_repeated)


def coalesce_rows(
    found: Rows, param: NamedArray, own: buffers.Memory, sum_repeated: SumRepeated, as_float: AsFloat | None = None
) -> tuple[Array, Array]:
    """Do the same as `coalesce`, from the result of `extract_rows`; with `as_float`, values may have 16 bits."""
    path, like = param.grad_path, buffers.plain(param.array)
    rows, values = (
        found.rows,
        _checked_values(found.values, f"{path}.values", len(found.rows), param, own, as_float is not None),
    )
    if as_float is not None:
        values = as_float(values)
    if np.all(rows[1:] > rows[:-1]):
        return rows, values
    rows, order = _sorted(rows, len(like))
    firsts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    rows = rows[firsts]
    sums = np.empty((len(rows), *like.shape[1:]), values.dtype)
    sum_repeated(values, order, np.append(firsts, len(order)).astype(np.int64, copy=False), sums)
    return rows, sums


def _sorted(rows: Array, n_rows: int) -> tuple[Array, Array]:
    """Return the rows sorted, and the former index of each; equal rows keep their order.

    Sorting row and index packed into one integer is several times as fast as a stable sort, where both fit.
    """
    bits = len(rows).bit_length()
    if n_rows.bit_length() + bits > 63:
        order = np.argsort(rows, kind="stable").astype(np.int64, copy=False)
        return rows[order], order
    keys = rows << bits | np.arange(len(rows))
    keys.sort()
    return keys >> bits, keys & ((1 << bits) - 1)


def _whole_numbers(array: Any, path: str) -> Array:
    """Return an array of row or column numbers as a plain one."""
    if not is_array(array) or buffers.plain(array).dtype not in INDICES:
        got = f"dtype {buffers.plain(array).dtype}" if is_array(array) else type(array).__name__
        raise TypeError(f"{path} must be a NumPy array of int32 or int64; got {got}")
    plain = buffers.plain(array)
    if plain.ndim != 1:
        raise ValueError(f"{path} must have one dimension; got shape {plain.shape}")
    if not backed(plain):
        raise ValueError(f"{path} must not be a view of an array that was resized since: its memory is gone")
    return plain


def _numbers(array: Any, path: str) -> Array:
    """Return a private copy of row or column numbers; checks are made on the copy, which nobody can change."""
    return np.array(_whole_numbers(array, path), np.int64)


def _check_within(numbers: Array, path: str, stop: int, meaning: str) -> None:
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < stop):
        wrong = numbers[(numbers < 0) | (numbers >= stop)][0]
        raise ValueError(f"{path} must be in [0, {stop}), {meaning}; got {wrong}")


def _checked_values(values: Any, path: str, n: int, param: NamedArray, own: buffers.Memory, short: bool) -> Array:
    """Return the values of n rows as a plain array; `short`: of 16 bits too, where the rule computes in float32."""
    buffers.check_readable([NamedArray(values, path, path)], short=short)
    values, like = buffers.plain(values), buffers.plain(param.array)
    computing = computing_dtype(like.dtype)
    fits = values.dtype in (like.dtype, computing) or (computing == np.float32 and short_format(values.dtype))
    if not (fits if short else values.dtype == like.dtype):
        raise TypeError(f"{path} must have the dtype of {param.path}, {like.dtype}; got {values.dtype}")
    shape = (n, *like.shape[1:])
    if values.shape != shape:
        raise ValueError(f"{path} must have shape {shape}, a row of {param.path} for each index; got {values.shape}")
    holder = own.holder(values)
    if holder is not None:
        raise ValueError(f"{path} must not share memory with {holder}, which the step writes")
    plain: Array = values
    return plain


def _from_csr(matrix: Any, param: NamedArray, shape: tuple[int, ...]) -> Rows:
    """Return the rows of a CSR matrix that have a stored element, as new arrays.

    The matrix is not trusted: its arrays are copied, the copies are checked, and the rows are made from them. No array
    here is as large as the table.
    """
    path = param.grad_path
    if matrix.format != "csr":
        raise TypeError(
            f"{path} must be an array, gdfast.Rows or a CSR matrix; got format {matrix.format!r}. Use .tocsr()"
        )
    theirs = tuple(map(operator.index, matrix.shape))
    if len(shape) != 2 or theirs != shape:
        raise ValueError(f"{path} must have the shape of {param.path}, {shape}, and two dimensions; got {theirs}")
    height, width = shape
    given = matrix.indptr, matrix.indices, matrix.data
    borders = _borders(given[0], f"{path}.indptr", height)
    data = _stored(given[2], f"{path}.data", param)
    columns = _numbers(given[1], f"{path}.indices")
    if len(columns) != len(data):
        raise ValueError(
            f"{path}.indices and {path}.data must have the same length; got {len(columns)} and {len(data)}"
        )
    if borders[-1] > len(data):
        raise ValueError(f"{path}.indptr must end with at most {len(data)}, the stored elements; got {borders[-1]}")
    stored = slice(0, borders[-1])  # the arrays may be longer; what comes after is undefined
    columns, data = columns[stored], data[stored]
    _check_within(columns, f"{path}.indices", width, f"the columns of {param.path}")
    counts = np.diff(borders)
    rows = np.flatnonzero(counts)
    values = np.zeros((len(rows), width), data.dtype)
    places = np.repeat(np.arange(len(rows)) * width, counts[rows]) + columns
    with np.errstate(all="ignore"):
        np.add.at(values.reshape(-1), places, data)  # sequentially, in the order stored
    return Rows(rows.astype(np.int64, copy=False), values)


def _borders(array: Any, path: str, height: int) -> Array:
    """Return a private copy of the row pointers, checked."""
    plain = _whole_numbers(array, path)
    if plain.size != height + 1:
        raise ValueError(f"{path} must have {height + 1} elements, one more than rows; got {plain.size}")
    own = np.array(plain, np.int64)
    if len(own) != height + 1 or own[0] != 0 or np.any(own[1:] < own[:-1]):
        raise ValueError(f"{path} must rise from 0 to the number of stored elements")
    return own


def _stored(array: Any, path: str, param: NamedArray) -> Array:
    """Return a private copy of the stored elements."""
    if not is_array(array):
        raise TypeError(f"{path} must be a NumPy array; got {type(array).__name__}")
    plain, dtype = buffers.plain(array), computing_dtype(buffers.plain(param.array).dtype)
    if plain.dtype != dtype:
        raise TypeError(f"{path} must have the dtype of {param.path}, {dtype}; got {plain.dtype}")
    if plain.ndim != 1:
        raise ValueError(f"{path} must have one dimension; got shape {plain.shape}")
    if not backed(plain):
        raise ValueError(f"{path} must not be a view of an array that was resized since: its memory is gone")
    return np.array(plain)
