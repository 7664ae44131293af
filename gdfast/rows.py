"""Gradients that touch some rows of a table: what they may be, and their rows sorted and summed.

The work is in proportion to the rows named, never to the table.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gdfast import buffers
from gdfast.structure import Named

Array: TypeAlias = np.ndarray[Any, Any]
#: (values, order, starts, summed): fills row k of `summed` from the rows ``order[starts[k]:starts[k + 1]]`` of `values`
SumRepeated: TypeAlias = Callable[[Array, Array, Array, Array], None]

INDICES = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True, eq=False)
class Rows:
    """A gradient that is zero but for some rows, as an embedding table has it.

    It stands in the place of an array in what `Optimizer.step` takes. A row named more than once has the sum of its
    values, added in the order in which they stand. A ``scipy.sparse`` CSR matrix of the table's shape does as well: it
    touches the rows with a stored element.

    Parameters
    ----------
    rows : array of int32 or int64, shape (n,)
        Indices along the first axis of the parameter; in any order, repeated or not.
    values : array, shape (n, ...)
        The gradient of each of these rows, of the parameter's dtype, C-contiguous; only read.

    Notes
    -----
    The step is lazy: it changes the touched rows of parameter and state, and leaves everything else as it is. While a
    row is not touched its momentum and averages do not decay, and neither weight decay nor `l1` reaches it; bias
    corrections count the optimizer's steps. `clip_norm`, `clip_value` and `nonfinite` see the summed rows. Refused:
    `ema_decay`, whose average of every row moves, `zero_grad`, and rules that are not row by row.

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
    """A row-sparse gradient came where only arrays are taken; a step takes it as a cue to go by rows."""


def is_row_sparse(grad: Any) -> bool:
    """Whether a gradient is row-sparse, of whatever kind."""
    scipy_sparse = sys.modules.get("scipy.sparse")  # nobody has such a matrix without it
    return isinstance(grad, Rows) or (scipy_sparse is not None and scipy_sparse.issparse(grad))


def coalesce(grad: Any, param: Named, own: buffers.Memory, sum_repeated: SumRepeated) -> tuple[Array, Array]:
    """Check a row-sparse gradient, and return its rows, sorted and each once, and the values of each.

    Parameters
    ----------
    grad : Rows or CSR matrix
    param : Named
    own : Memory
        What the step writes.
    sum_repeated : callable

    Raises
    ------
    TypeError, ValueError
        If the rows or the values are not as they must be for this parameter.
    """
    path = param.grad_path
    if param.array.ndim == 0:
        raise ValueError(f"{path} must be an array: {param.path} is a single number and has no rows")
    if not isinstance(grad, Rows):
        grad = _from_csr(grad, param)
    _check_rows(grad.rows, f"{path}.rows", param)
    _check_values(grad.values, f"{path}.values", len(grad.rows), param, own)
    rows = grad.rows.astype(np.int64)
    if np.all(rows[1:] > rows[:-1]):
        return rows, grad.values
    rows, order = _sorted(rows, len(param.array))
    firsts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    rows = rows[firsts]
    summed = np.empty((len(rows), *param.array.shape[1:]), param.array.dtype)
    sum_repeated(grad.values, order, np.append(firsts, len(order)).astype(np.int64, copy=False), summed)
    return rows, summed


def _sorted(rows: Array, n_rows: int) -> tuple[Array, Array]:
    """Return the rows sorted, and where each stood; a row named again keeps the order in which it stands.

    Sorting row and place together as one number is several times as fast as a stable sort, where both fit.
    """
    bits = len(rows).bit_length()
    if n_rows.bit_length() + bits > 63:
        order = np.argsort(rows, kind="stable").astype(np.int64, copy=False)
        return rows[order], order
    keys = rows << bits | np.arange(len(rows))
    keys.sort()
    return keys >> bits, keys & ((1 << bits) - 1)


def _check_rows(rows: Any, path: str, param: Named) -> None:
    if not isinstance(rows, np.ndarray) or rows.dtype not in INDICES:
        got = f"dtype {rows.dtype}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise TypeError(f"{path} must be a NumPy array of int32 or int64; got {got}")
    if rows.ndim != 1:
        raise ValueError(f"{path} must have one dimension; got shape {rows.shape}")
    n_rows = param.array.shape[0]
    if rows.size and not (rows.min() >= 0 and rows.max() < n_rows):
        wrong = rows[(rows < 0) | (rows >= n_rows)][0]
        raise ValueError(f"{path} must be in [0, {n_rows}), the rows of {param.path}; got {wrong}")


def _check_values(values: Any, path: str, n: int, param: Named, own: buffers.Memory) -> None:
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{path} must be a NumPy array; got {type(values).__name__}")
    buffers.check_readable([Named(values, path, path)])
    if values.dtype != param.array.dtype:
        raise TypeError(f"{path} must have the dtype of {param.path}, {param.array.dtype}; got {values.dtype}")
    shape = (n, *param.array.shape[1:])
    if values.shape != shape:
        raise ValueError(f"{path} must have shape {shape}, a row of {param.path} for each index; got {values.shape}")
    holder = own.holder(values)
    if holder is not None:
        raise ValueError(f"{path} must not share memory with {holder}, which the step writes")


def _from_csr(matrix: Any, param: Named) -> Rows:
    """Return the rows of a CSR matrix with a stored element, as arrays; nothing here is as long as the table."""
    path = param.grad_path
    if matrix.format != "csr":
        raise TypeError(
            f"{path} must be an array, gdfast.Rows or a CSR matrix; got format {matrix.format!r}. Use .tocsr()"
        )
    if param.array.ndim != 2 or matrix.shape != param.array.shape:
        raise ValueError(
            f"{path} must have the shape of {param.path}, {param.array.shape}, and two dimensions; got {matrix.shape}"
        )
    borders = matrix.indptr
    stored = int(borders[-1])
    rows = np.unique(np.searchsorted(borders, np.arange(stored), side="right") - 1)
    lengths = borders[rows + 1] - borders[rows]
    if borders[0] != 0 or np.any(lengths <= 0) or lengths.sum() != stored:
        raise ValueError(f"{path}.indptr must rise from 0 to the number of stored elements")
    columns = matrix.indices[:stored]
    if stored and not (columns.min() >= 0 and columns.max() < matrix.shape[1]):
        raise ValueError(f"{path}.indices must be in [0, {matrix.shape[1]}), the columns of {param.path}")
    return Rows(rows.astype(np.int64, copy=False), matrix[rows].toarray())
