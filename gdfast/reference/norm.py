"""Sums of squares and dot products on NumPy arrays, in the order that src/rules/norm.pxi fixes."""

from collections.abc import Iterable

import numpy as np

from gdfast.reference.elementwise import Array

LANES = 16
BLOCK = 65536


def square_sum(arrays: Iterable[Array]) -> float:
    """Return the sum of squares in double precision: lanes within a block, a tree over the lanes, blocks in order."""
    return _in_turn([_block_sums(array, array) for array in arrays])


def axpy_dot(y: Array, x: Array | None, z: Array, a: float, c: float) -> float:
    """Set y to c*(y + a*x), unless x is None, and return its dot product with z, summed like the squares."""
    if x is not None:
        rounded = y.dtype.type
        with np.errstate(all="ignore"):
            y[...] = rounded(c) * (y + rounded(a) * x)
    return _in_turn([_block_sums(y, z)])


def _in_turn(sums: list[Array]) -> float:
    """Return the sequential sum of all (np.sum would sum pairwise)."""
    return float(np.cumsum(np.concatenate([np.zeros(1), *sums]))[-1])


def _block_sums(left: Array, right: Array) -> Array:
    """Return the sum of the products in each block; the last one is padded with zeros."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        products = _padded(left) * _padded(right)
        return fold(products.reshape(-1, BLOCK // LANES, LANES))


def fold(rows: Array) -> Array:
    """Return the sum over the last two axes: lanes, row after row, then a tree over the lanes."""
    lanes: Array = np.add.reduce(rows, axis=1) + 0.0
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _padded(array: Array) -> Array:
    padded = np.zeros(-(-array.size // BLOCK) * BLOCK)
    padded[: array.size] = array.ravel()
    return padded
