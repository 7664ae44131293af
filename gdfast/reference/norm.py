"""The sum of squares of arrays, on NumPy arrays, in the order that src/rules/norm.pxi and src/reduce.pyx fix."""

from collections.abc import Iterable

import numpy as np

from gdfast.reference.elementwise import Array

LANES = 16
BLOCK = 65536


def square_sum(arrays: Iterable[Array]) -> float:
    """Return the sum of squares in double precision: lanes within a block, a tree over the lanes, blocks in order."""
    sums = np.concatenate([np.zeros(1), *map(_block_sums, arrays)])
    return float(np.cumsum(sums)[-1])  # one after the other, where np.sum would go pairwise


def _block_sums(array: Array) -> Array:
    """Return the sum of squares of each block; zeros that fill up the last one change nothing."""
    padded = np.zeros(-(-array.size // BLOCK) * BLOCK)
    padded[: array.size] = array.ravel()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = (padded * padded).reshape(-1, BLOCK // LANES, LANES)
        lanes: Array = np.add.reduce(squares, axis=1)  # row after row
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
