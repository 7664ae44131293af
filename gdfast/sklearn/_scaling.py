"""Training in standardised columns and targets without a copy of the data, and the way back to the data's own units."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.engine import _linear

Array = np.ndarray[Any, Any]

ROWS_AT_A_TIME = 1 << 18


@dataclass
class Scaling:
    """What the training sees: ``(x - mean) * inverse``, and ``(y - target_mean) / target_scale``.

    Attributes
    ----------
    mean, inverse : arrays of shape (columns,), or None
        In the data's own type; None where the columns are left as they are (for sparse data the mean alone).
    target_mean, target_scale : float64 arrays of shape (outputs,)
    """

    mean: Array | None
    inverse: Array | None
    target_mean: Array
    target_scale: Array

    def to_scaled(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Return coefficients of shape (outputs, columns) and intercepts as the training sees them, in float64."""
        coef = np.asarray(coef, np.float64) / self.target_scale[:, None]
        intercept = (np.asarray(intercept, np.float64) - self.target_mean) / self.target_scale
        if self.mean is not None:
            intercept = intercept + coef @ self.mean.astype(np.float64)
        return coef if self.inverse is None else coef / self.inverse, intercept

    def to_raw(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Return what was trained, in the data's own units."""
        coef = np.asarray(coef, np.float64) * self.target_scale[:, None]
        intercept = np.asarray(intercept, np.float64) * self.target_scale + self.target_mean
        coef = coef if self.inverse is None else coef * self.inverse
        if self.mean is not None:
            intercept = intercept - coef @ self.mean.astype(np.float64)
        return coef, intercept


def dense_columns(
    loops: Any, data: Array, rows: Array, weights: Array | None, center: bool, threads: int
) -> tuple[Array | None, Array]:
    """Return the mean, or None, and the inverse of the standard deviation of each column, in one pass over these rows.

    A column that is constant, up to rounding, keeps its scale: centred it is zero and gets no coefficient. Without
    `center` the deviation is taken from zero.
    """
    # Sums of x - shift, with a shift among the values, do not cancel as sums of x would.
    shift = data[rows[0]] if center else np.zeros(data.shape[1], data.dtype)
    sums, squares = _linear.column_moments(loops, data, rows, weights, shift, threads)
    total = _total(rows, weights)
    mean, square = sums / total, squares / total
    variance = np.maximum(square - mean * mean, 0.0) if center else square
    # What rounding alone may leave of a constant column.
    noise = np.finfo(np.float64).eps * (len(rows) * square + (len(rows) * mean) ** 2 * np.finfo(np.float64).eps)
    constant = variance <= noise if center else variance == 0
    # A deviation so small or so large that its inverse is no normal number of the type is left alone.
    scale = np.sqrt(np.where(constant, 1.0, variance))
    inverse = (1.0 / scale).astype(data.dtype)
    odd = ~np.isfinite(inverse) | (inverse < np.finfo(data.dtype).smallest_normal)
    inverse[odd] = 1.0
    return ((shift + mean).astype(data.dtype) if center else None), inverse


def sparse_columns(data: tuple[Array, Array, Array], rows: Array, columns: int, n_threads: int) -> Array:
    """Return the inverse of each column's largest absolute value over these rows; one for an empty column."""
    largest = _linear.largest_of_columns(*data, rows, columns, n_threads)
    tiny = np.finfo(largest.dtype).smallest_normal
    inverse: Array = 1.0 / np.where(largest > tiny, largest, largest.dtype.type(1))
    return inverse


def parts_of(rows: Array) -> list[Array]:
    """Cut rows, or their numbers, into parts: what is computed part by part needs no second array of their number."""
    return [rows[at : at + ROWS_AT_A_TIME] for at in range(0, len(rows), ROWS_AT_A_TIME)]


def target_mean(loops: Any, targets: Array, rows: Array, weights: Array | None, threads: int) -> Array:
    """Return the mean of each target over these rows."""
    sums, _ = _linear.column_moments(loops, targets, rows, weights, np.zeros(targets.shape[1]), threads)
    mean: Array = sums / _total(rows, weights)
    return mean


def target_moments(
    loops: Any, targets: Array, rows: Array, weights: Array | None, center: bool, threads: int
) -> tuple[Array, Array]:
    """Return the mean (zero without `center`) and the deviation of each target, one where it is constant."""
    mean = target_mean(loops, targets, rows, weights, threads) if center else np.zeros(targets.shape[1])
    _, squares = _linear.column_moments(loops, targets, rows, weights, mean, threads)
    scale = np.sqrt(squares / _total(rows, weights))
    usable = np.isfinite(scale) & (scale > 1e-12 * np.abs(mean)) & (scale > 1e-150)
    return mean, np.where(usable, scale, 1.0)


def class_shares(codes: Array, rows: Array, weights: Array | None, classes: int) -> Array:
    """Return the share of each class in these rows."""
    counts = [np.bincount(codes[at], None if weights is None else weights[at], classes) for at in parts_of(rows)]
    shares: Array = np.sum(counts, axis=0) / _total(rows, weights)
    return shares


def _total(rows: Array, weights: Array | None) -> float:
    return float(len(rows) if weights is None else weights[rows].sum())
