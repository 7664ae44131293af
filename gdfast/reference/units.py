"""Gradients prepared unit by unit, and sums over rows, on NumPy arrays, in the same order as src/engine/layers.pxi.

A unit is the part of an array that shares an index of the first axis, or a whole vector.
"""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, clip
from gdfast.reference.norm import LANES, fold

ROWS = 256
BLOCK = 65536


def prepare_units(
    grad: Array,
    param: Array,
    grad_scale: Scalar,
    clip_value: Scalar,
    l2: Scalar,
    centralize: bool,
    clipping: float,
    least: float,
) -> Array:
    """Return the prepared gradient: scaled, clipped, each unit centralised and clipped, with the coupled decay."""
    rounded = grad.dtype.type
    units = param.shape[0] if param.ndim > 1 else 1
    g, p = clip(grad_scale * grad, clip_value).reshape(units, -1), param.reshape(units, -1)
    shift, factor = np.zeros((units, 1)), np.ones((units, 1))
    if centralize:
        shift = lane_sums(g.astype(np.float64))[:, None] / g.shape[1]
    g = g - shift.astype(rounded)
    if clipping > 0:
        norm, limit = (np.sqrt(lane_sums(a.astype(np.float64) ** 2))[:, None] for a in (g, p))
        limit = clipping * np.where(limit < least, least, limit)
        factor = np.where(norm < limit, 1.0, limit / np.where(norm < 1e-6, 1e-6, norm))
    ready: Array = (g * factor.astype(rounded)).reshape(param.shape)
    return ready + l2 * param if l2 != 0 else ready


def lane_sums(rows: Array) -> Array:
    """Return the sum of each row in double precision: lanes, then a tree over them."""
    padded = np.zeros((rows.shape[0], -(-rows.shape[1] // LANES) * LANES))
    padded[:, : rows.shape[1]] = rows
    return fold(padded.reshape(rows.shape[0], -1, LANES))


def matrix_sums(g: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """Return the sums of squares of the rows and of the columns of each matrix."""
    matrices = g.reshape(-1, rows, columns).astype(np.float64)
    of_rows = lane_sums((matrices * matrices).reshape(-1, columns)).reshape(-1, rows)
    height = max(ROWS, BLOCK // columns)
    of_columns = np.zeros((matrices.shape[0], columns))
    for start in range(0, rows, height):
        part = np.zeros_like(of_columns)
        for row in range(start, min(start + height, rows)):
            part += matrices[:, row] * matrices[:, row]
        of_columns += part
    return of_rows, of_columns
