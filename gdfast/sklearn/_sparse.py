"""Sparse matrices of the caller, checked so that native code stays inside their arrays.

Anyone may write into the arrays of a matrix, also another thread during a call. So the indices are copied, and the
copies are checked; the values are shared: docs/decisions/indices-are-copied.md.
"""

from collections.abc import Sequence
from itertools import chain
from operator import index
from typing import Any

import numpy as np
from scipy.sparse import bsr_array, coo_array, csc_array, csr_array, issparse

from gdfast.engine import _linear

Array = np.ndarray[Any, Any]


def own_indices(matrix: Any, name: str = "X") -> Any:
    """Return a sparse matrix of any format in CSR, with its own copy of the indices; anything else unchanged.

    Parameters
    ----------
    matrix
        Values in CSR are shared, those of other formats copied.
    name : str
        Name of the argument, for error messages.

    Raises
    ------
    ValueError
        If it is inconsistent: an index is out of range, or arrays are too short.
    """
    if not issparse(matrix):
        return matrix
    shape = tuple(index(length) for length in matrix.shape)
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"{name} must have two axes; got a sparse array of shape {shape}")
    if matrix.format == "csr":
        return csr_array(_compressed(matrix, name, shape), shape=shape)
    if matrix.format == "csc":
        return csc_array(_compressed(matrix, name, shape[::-1]), shape=shape).tocsr()
    if matrix.format == "bsr":
        return _of_blocks(matrix, name, shape)
    if matrix.format == "dia":
        return _of_diagonals(matrix, name, shape)
    if matrix.format == "lil":
        return _of_lists(matrix, name, shape)
    if matrix.format == "dok":
        return _of_keys(matrix, name, shape)
    return _of_coordinates(matrix.data, matrix.row, matrix.col, name, shape)


def csr_arrays(matrix: Any) -> tuple[Array, Array, Array]:
    """Return values, indices and row pointers of a matrix from `own_indices`, contiguous and aligned."""
    return np.require(matrix.data, requirements=["C", "A"]), matrix.indices, matrix.indptr


def without_repetition(matrix: Any) -> Any:
    """Return CSR from `own_indices` with no column twice in a row: duplicates are summed."""
    if not matrix.has_canonical_format and _linear.repeats(matrix.indices, matrix.indptr, matrix.shape[1]):
        matrix = matrix.copy()  # with the values
        matrix.sum_duplicates()
    return matrix


def _compressed(matrix: Any, name: str, shape: Sequence[int], axes: int = 1) -> tuple[Array, Array, Array]:
    """Return values, indices and pointers of a matrix of this shape; for CSC it is transposed, for BSR in blocks."""
    values, indices = _of_axes(matrix.data, f"{name}.data", axes), _of_axes(matrix.indices, f"{name}.indices", 1)
    pointers = _whole_numbers(matrix.indptr, f"{name}.indptr", shape[0] + 1)
    if pointers[0] != 0 or (pointers[1:] < pointers[:-1]).any():
        raise ValueError(f"{name}.indptr must begin with 0 and never decrease; got {pointers}")
    stored, room = int(pointers[-1]), min(len(values), indices.size)
    if stored > room:
        raise ValueError(
            f"{name}.indptr must end with at most {room}, what {name}.indices and {name}.data hold; got {stored}"
        )
    return values[:stored], _places(indices[:stored], f"{name}.indices", stored, shape[1]), pointers


def _of_blocks(matrix: Any, name: str, shape: Sequence[int]) -> Any:
    blocks = np.asarray(matrix.data)
    if blocks.ndim != 3 or 0 in blocks.shape[1:] or shape[0] % blocks.shape[1] or shape[1] % blocks.shape[2]:
        raise ValueError(f"{name}.data must hold blocks that {shape} is made of; got shape {blocks.shape}")
    parts = _compressed(
        matrix, name, [length // block for length, block in zip(shape, blocks.shape[1:], strict=True)], 3
    )
    return bsr_array(parts, shape=shape).tocsr()


def _of_diagonals(matrix: Any, name: str, shape: Sequence[int]) -> Any:
    diagonals = _of_axes(matrix.data, f"{name}.data", 2)
    offsets = _whole_numbers(matrix.offsets, f"{name}.offsets", len(diagonals))
    column = np.broadcast_to(np.arange(diagonals.shape[1]), diagonals.shape)
    row = column - offsets[:, None]
    there = (row >= 0) & (row < shape[0]) & (column < shape[1]) & (diagonals != 0)
    return _of_coordinates(diagonals[there], row[there], column[there], name, shape)


def _of_lists(matrix: Any, name: str, shape: Sequence[int]) -> Any:
    columns, values = list(map(list, matrix.rows)), list(map(list, matrix.data))
    lengths = list(map(len, columns))
    if len(lengths) != shape[0] or lengths != list(map(len, values)):
        raise ValueError(f"{name}.rows and {name}.data must hold {shape[0]} lists, as long in the one as in the other")
    row, column = np.repeat(np.arange(shape[0]), lengths), list(chain.from_iterable(columns))
    data = np.array(list(chain.from_iterable(values)), matrix.dtype)
    return _of_coordinates(data, row, np.array(column) if column else row, name, shape)


def _of_keys(matrix: Any, name: str, shape: Sequence[int]) -> Any:
    items = dict(matrix.items())
    keys = np.array(list(items)) if items else np.zeros((0, 2), np.intp)
    row, column = keys.T
    return _of_coordinates(np.array(list(items.values()), matrix.dtype), row, column, name, shape)


def _of_coordinates(data: Any, row: Any, column: Any, name: str, shape: Sequence[int]) -> Any:
    values = _of_axes(data, f"{name}.data", 1)
    places = [
        _places(given, f"{name}.{axis}", len(values), length)
        for given, axis, length in zip((row, column), ("row", "col"), shape, strict=True)
    ]
    return coo_array((values, tuple(places)), shape=shape).tocsr()


def _of_axes(given: Any, name: str, axes: int) -> Array:
    """Return a plain array with this number of axes, without a copy."""
    array = np.asarray(given)
    if array.ndim != axes:
        raise ValueError(f"{name} must have {axes} {'axis' if axes == 1 else 'axes'}; got shape {array.shape}")
    return array


def _places(given: Any, name: str, length: int, limit: int) -> Array:
    """Return a copy of `length` indices, each at least 0 and below `limit`."""
    places = _whole_numbers(given, name, length)
    if length and not 0 <= places.min() <= places.max() < limit:
        raise ValueError(f"{name} must be from 0 to {limit - 1}; got {places.min()} to {places.max()}")
    return places


def _whole_numbers(given: Any, name: str, length: int) -> Array:
    """Return a plain copy of `length` integers: it is the copy that is checked, because no one else can write to it."""
    given = np.asarray(given)
    if given.shape != (length,) or given.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {length} integers in one axis; got {given.dtype} of shape {given.shape}")
    copied: Array = given.astype(given.dtype.newbyteorder("="))
    return copied
