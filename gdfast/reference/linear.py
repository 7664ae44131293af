"""The gradient of a linear model with one output on dense data, on NumPy arrays, in the order of src/linear/linear.pyx.

Sums over the columns, and over the losses of a tile of rows, go in sixteen lanes and a tree over them; a block's
gradient is a sum row after row; the blocks are added one after the other.
"""

from typing import Any

import numpy as np

from gdfast.reference.losses import LOSSES

LANES = 16
Array = np.ndarray[Any, Any]


def lane_sum(x: Array) -> Array:
    """Return the sums along the last axis, in lanes; zeros that fill up the last lanes change nothing."""
    n = x.shape[-1]
    padded = np.zeros((*x.shape[:-1], -(-n // LANES) * LANES), x.dtype)
    padded[..., :n] = x
    rows = padded.reshape(*x.shape[:-1], -1, LANES)
    lanes = np.zeros((*x.shape[:-1], LANES), x.dtype)
    for i in range(rows.shape[-2]):
        lanes = lanes + rows[..., i, :]
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    total: Array = lanes[..., 0]
    return total


class LinearKernel:
    """The twin of the native class of the same name, for one output and dense data; see there for the arguments.

    It computes gradients only: the steps are the optimizer's, with ``engine="numpy"``.
    """

    def __init__(
        self,
        data: Array,
        targets: Array,
        weights: Array | None,
        mean: Array | None,
        inv_scale: Array | None,
        loss: tuple[str, float],
        coef: Array,
        intercept: Array,
        coef_grad: Array,
        intercept_grad: Array,
        block_rows: int,
        tile_rows: int,
    ) -> None:
        self._data, self._targets, self._weights = data, targets, weights
        self._mean, self._inv_scale = mean, inv_scale
        self._loss, self._parameter = LOSSES[loss[0]], loss[1]
        self._coef, self._intercept, self._coef_grad, self._intercept_grad = coef, intercept, coef_grad, intercept_grad
        self._block, self._tile = block_rows, tile_rows

    def gradient(self, rows: Array, threads: int = 1) -> float:
        """Write the mean gradient of these rows into the gradient buffers; return the sum of their losses."""
        with np.errstate(all="ignore"):
            partials = [
                self._partial(rows[at : at + self._block], 1.0 / len(rows)) for at in range(0, len(rows), self._block)
            ]
        losses, coefs, intercepts = zip(*partials, strict=True)
        self._coef_grad[...] = _in_order(coefs)
        self._intercept_grad[0] = _in_order((0.0, *intercepts))
        return float(_in_order((0.0, *losses)))

    def scores(self, rows: Array, out: Array, threads: int = 1) -> None:
        """Write the scores of these rows into an array of shape (rows, 1)."""
        out[:, 0] = self._scores(self._gathered(rows))

    def _partial(self, rows: Array, scale: float) -> tuple[float, Array, float]:
        """Return a block's loss, and its partial gradients of the coefficients and of the intercept."""
        tile = self._gathered(rows)
        loss, derivative = self._loss(self._scores(tile), self._wanted(rows), self._parameter)
        if self._weights is None:
            derivative = derivative * scale
        else:
            loss, derivative = loss * self._weights[rows], derivative * (self._weights[rows] * scale)
        grad = np.zeros_like(self._coef)
        for row, d in zip(tile, derivative.astype(tile.dtype), strict=True):
            grad = grad + d * row
        starts = range(0, len(rows), self._tile)
        sums = [(lane_sum(loss[at : at + self._tile]), lane_sum(derivative[at : at + self._tile])) for at in starts]
        losses, intercepts = zip(*sums, strict=True)
        return float(_in_order((0.0, *losses))), grad, float(_in_order((0.0, *intercepts)))

    def _gathered(self, rows: Array) -> Array:
        tile: Array = self._data[rows]
        return tile if self._mean is None else (tile - self._mean) * self._inv_scale

    def _scores(self, tile: Array) -> Array:
        scores: Array = (lane_sum(tile * self._coef) + self._intercept[0]).astype(np.float64)
        return scores

    def _wanted(self, rows: Array) -> Array:
        if self._targets.dtype == np.int32:
            return np.where(self._targets[rows] == 1, 1.0, -1.0)
        wanted: Array = self._targets[rows, 0]
        return wanted


def _in_order(parts: Any) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
