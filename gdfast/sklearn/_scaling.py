"""Standardisation of features and targets: applied while a model trains, and undone in its coefficients afterwards.

The data are not copied: features are standardised on their way into the cache (src/linear/loops.pxi, src/mlp/part.pxi).
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse

from gdfast.engine import _linear
from gdfast.sklearn._native_loops import linear_loops
from gdfast.sklearn._sparse import csr_arrays

Array: TypeAlias = np.ndarray[Any, Any]

ROWS_AT_A_TIME = 1 << 18
MANY_COLUMNS = 20  # of CSR, above which a rare value is expected to mean no more than a common one
MOSTLY = 0.5  # the share of its mean in a sparse column's mean square above which it is taken off
ROOM = 1000.0  # below the largest float32, for the sums of a prediction
FAR = 1000.0  # deviations between a mean and zero from which float32 loses more than a tenth of a thousandth of them


@dataclass(frozen=True)
class Standardizer:
    """Features and targets in standard units: ``(X - mean) * inv_scale`` and ``(y - target_mean) / target_scale``.

    The default leaves both as they are. The methods convert the weights (features, units) and biases (units,) of the
    layer that takes the features, or of the one that gives the predictions, to standard units and back; a linear model
    has one layer, which is both. They return new float64 arrays.

    Attributes
    ----------
    mean, inv_scale : float64 arrays of shape (features,), or None
        Of sparse features most means are left alone, and 0 here, so that zeros stay zeros; None if all are.
    target_mean, target_scale : float64 arrays of shape (outputs,)
        Or of shape (1,), for all outputs.
    log_link : bool
        Whether the prediction is the exponential of the score: the target's scale is then added to the score as a
        logarithm.
    filled : float, or None
        Of the sparse features of a linear model: about how many of them a row fills, the sum of the squares of each
        one's share of values other than zero.
    """

    mean: Array | None = None
    inv_scale: Array | None = None
    target_mean: Array = field(default_factory=lambda: np.zeros(1))
    target_scale: Array = field(default_factory=lambda: np.ones(1))
    log_link: bool = False
    filled: float | None = None

    @property
    def dense(self) -> bool:
        """Whether the features are centred as only dense ones are."""
        return self.mean is not None and self.filled is None

    @property
    def columns(self) -> float:
        """About how many standardised features a row fills."""
        return len(self.inv_scale) if self.filled is None and self.inv_scale is not None else self.filled or 0.0

    def feature_scales(self, dtype: Any) -> tuple[Array | None, Array | None]:
        """Return `mean` and `inv_scale` in this dtype."""
        mean, inv_scale = (None if array is None else array.astype(dtype) for array in (self.mean, self.inv_scale))
        return mean, inv_scale

    def in_raw_dtype(self, dtype: Any, *arrays: Array) -> list[Array]:
        """Return coefficients for data in their own units as copies in this dtype, or in float64 if it does not do.

        Where a column's mean is many deviations from zero, the product with a float32 coefficient and the intercept
        that takes it back would cancel. Large targets, or tiny columns, need numbers beyond float32.
        """
        narrow = True
        if self.mean is not None and self.inv_scale is not None:
            narrow = bool(np.abs(self.mean * self.inv_scale).max(initial=0.0) < FAR)
        largest = max(np.abs(array).max(initial=0.0) for array in (*arrays, self.target_mean, self.target_scale))
        fits = narrow and largest < np.finfo(dtype).max / ROOM
        return [np.array(array, dtype if fits else np.float64) for array in arrays]

    def scale_targets(self, y: Array) -> Array:
        """Return targets in standard units, as float64; the same array if nothing changes."""
        targets = np.asarray(y, np.float64)
        if not self.target_mean.any() and (self.target_scale == 1).all():
            return targets
        scaled = targets - self.target_mean
        scaled /= self.target_scale
        return scaled

    def features_to_raw(self, weights: Array, biases: Array) -> tuple[Array, Array]:
        """Return the first layer for features in their own units."""
        weights, biases = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        if self.inv_scale is not None:
            weights = weights * self.inv_scale[:, None]
        return weights, biases if self.mean is None else biases - self.mean @ weights

    def features_to_standard(self, weights: Array, biases: Array) -> tuple[Array, Array]:
        """Return the first layer for features in standard units."""
        weights, biases = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        if self.mean is not None:
            biases = biases + self.mean @ weights
        return weights if self.inv_scale is None else weights / self.inv_scale[:, None], biases

    def to_standard(self, weights: Array, biases: Array) -> tuple[Array, Array]:
        """Return the one layer of a linear model, in standard units."""
        return self.features_to_standard(*self.targets_to_standard(weights, biases))

    def targets_to_raw(self, weights: Array, biases: Array) -> tuple[Array, Array]:
        """Return the last layer for targets in their own units."""
        weights, biases = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        if self.log_link:
            return weights, biases + np.log(self.target_scale)
        return weights * self.target_scale, biases * self.target_scale + self.target_mean

    def targets_to_standard(self, weights: Array, biases: Array) -> tuple[Array, Array]:
        """Return the last layer for targets in standard units."""
        weights, biases = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        if self.log_link:
            return weights, biases - np.log(self.target_scale)
        return weights / self.target_scale, (biases - self.target_mean) / self.target_scale


def dense_scale(
    data: Array, rows: Array, weights: Array | None, center: bool, n_threads: int
) -> tuple[Array | None, Array]:
    """Return each column's mean, or None, and inverse standard deviation over these rows, computed in one pass.

    Both are numbers of the data's type, in float64. A column that is constant, up to rounding, keeps its scale: centred
    it is zero and gets no coefficient. Without `center` the deviation is from zero.
    """
    # Sums of x - shift, with a shift among the values, do not cancel as sums of x would.
    shift = data[rows[0]] if center else np.zeros(data.shape[1], data.dtype)
    sums, squares = _linear.column_moments(linear_loops(), data, rows, weights, shift, n_threads)
    total = _total(rows, weights)
    return scale_of_moments(shift, sums / total, squares / total, len(rows), center)


def scale_of_moments(shift: Array, mean: Array, square: Array, rows: int, center: bool) -> tuple[Array | None, Array]:
    """Return what `dense_scale` does, by the means of values minus `shift`, of the data's dtype, and their squares.

    Raises
    ------
    ValueError
        If a column is so large that its squares overflow.
    """
    overflowing = np.flatnonzero(~(square < np.finfo(np.float64).max / rows**2))
    if overflowing.size:
        raise ValueError(
            f"X must have columns whose squares do not overflow: numbers below 1e150; divide column {overflowing[0]}"
        )
    variance = np.maximum(square - mean * mean, 0.0) if center else square
    # What rounding alone may leave of a constant column.
    noise = np.finfo(np.float64).eps * (rows * square + (rows * mean) ** 2 * np.finfo(np.float64).eps)
    constant = variance <= noise if center else variance == 0
    scale = np.sqrt(np.where(constant, 1.0, variance))
    inv_scale = (1.0 / scale).astype(shift.dtype)
    # A deviation whose inverse is no normal number of the type is left alone.
    unusable = ~np.isfinite(inv_scale) | (inv_scale < np.finfo(shift.dtype).smallest_normal)
    inv_scale[unusable] = 1.0
    center_of = (shift + mean).astype(shift.dtype).astype(np.float64) if center else None
    return center_of, inv_scale.astype(np.float64)


def largest_scale(data: tuple[Array, Array, Array], rows: Array, columns: int, n_threads: int) -> Array:
    """Return the inverse of each column's largest absolute value over these rows of CSR; 1 for an empty column."""
    return scale_of_largest(_linear.largest_of_columns(*data, rows, columns, n_threads))


def scale_of_largest(largest: Array) -> Array:
    """Return what `largest_scale` does, by the largest absolute value of each column."""
    tiny = np.finfo(largest.dtype).smallest_normal
    inv_scale: Array = 1.0 / np.where(largest > tiny, largest, largest.dtype.type(1))
    return inv_scale.astype(np.float64)


@dataclass(frozen=True)
class SparseMoments:
    """Of each column of CSR, over rows with weights: its largest absolute value, and sums. They can be added.

    Attributes
    ----------
    largest : array of shape (columns,)
        In the data's dtype.
    sums : float64 array of shape (3, columns)
        Of the weights where the value is not zero, of the values, and of their squares. The values are divided by the
        largest, so that no square overflows.
    """

    largest: Array
    sums: Array

    def __add__(self, other: "SparseMoments") -> "SparseMoments":
        """Return the moments of both groups of rows."""
        largest = np.maximum(self.largest, other.largest)
        return SparseMoments(largest, self._divided_by(largest) + other._divided_by(largest))

    def _divided_by(self, largest: Array) -> Array:
        ratio = scale_of_largest(largest) / scale_of_largest(self.largest)
        share, mean, square = self.sums
        return np.stack([share, mean * ratio, square * ratio * ratio])

    def scale(self, total: float, rows: int, center: bool) -> tuple[Array | None, Array, float]:
        """Return what `sparse_scale` does, by the sum of the rows' weights and their number."""
        center_of, inv_scale = np.zeros(len(self.largest)), np.ones(len(self.largest))
        there = np.flatnonzero(self.largest)  # of a million hashed columns, few have any number
        inv_largest, (share, mean, square) = scale_of_largest(self.largest[there]), self.sums[:, there] / total
        variance = np.maximum(square - mean * mean, 0.0) if center else square
        constant = variance <= (np.finfo(np.float64).eps * rows * square if center else 0.0)
        few = min(1.0, (MANY_COLUMNS / max(1, int(np.count_nonzero(share)))) ** 2)
        inv = inv_largest / np.sqrt(np.where(constant, 1.0, variance / np.maximum(share, few)))
        inv_scale[there] = np.where(inv < np.finfo(self.largest.dtype).max, inv, inv_largest)
        centered = center & (mean * mean > MOSTLY * square)
        center_of[there] = np.where(centered, mean / inv_largest, 0.0)
        return center_of if centered.any() else None, inv_scale, float(share @ share)

    def mean_squares(self, total: float) -> Array:
        """Return each column's mean square; it may overflow."""
        inv_largest = scale_of_largest(self.largest)
        with np.errstate(over="ignore"):
            squares: Array = self.sums[2] / total / inv_largest / inv_largest
        return squares


def sparse_scale(
    data: tuple[Array, Array, Array], rows: Array, weights: Array | None, columns: int, center: bool, n_threads: int
) -> tuple[Array | None, Array, float]:
    """Return mean, inverse scale and `filled` of CSR, by these rows: docs/decisions/sparse-scale.md.

    The scale is the standard deviation, over the square root of the column's share of values other than zero if there
    are many columns. Only a mean far from zero is taken off, so that most of the steps take only what is stored.
    """
    moments = sparse_moments(data, rows, weights, columns, n_threads)
    return moments.scale(_total(rows, weights), len(rows), center)


def sparse_moments(
    data: tuple[Array, Array, Array], rows: Array, weights: Array | None, columns: int, n_threads: int
) -> SparseMoments:
    """Return the moments of these rows of CSR."""
    largest = _linear.largest_of_columns(*data, rows, columns, n_threads)
    of_rows = np.zeros(len(data[2]) - 1)
    of_rows[rows] = 1.0 if weights is None else weights[rows]
    return SparseMoments(largest, _linear.moments_of_columns(*data, of_rows, scale_of_largest(largest)))


def common_scale(X: Any, weights: Array | None, n_threads: int) -> tuple[Array | None, Array]:
    """Return mean and inverse scale of the features of a network, all with one scale if theirs are of one order.

    Parameters
    ----------
    X : array or CSR matrix of shape (rows, features)
        Dense features get mean 0 and variance 1, each or on average. Sparse ones are divided by their largest absolute
        value, then all by the number that makes the rows' mean square norm 1.
    weights : float64 array of shape (rows,), optional
    n_threads : int
        Maximum number of threads.

    Returns
    -------
    mean, inv_scale : float64 arrays of shape (features,)
        No mean for sparse features. The scale of a constant feature is 1.
    """
    rows = np.arange(X.shape[0]) if weights is None else np.flatnonzero(weights)
    if not issparse(X):
        return common_dense_scale(*dense_scale(X, rows, weights, True, n_threads))
    counts = np.ones(X.shape[0]) if weights is None else weights
    squares = X.multiply(X).T @ (counts / counts.sum())  # of each feature, their mean over the rows
    return common_sparse_scale(largest_scale(csr_arrays(X), rows, X.shape[1], n_threads), squares)


def common_dense_scale(mean: Array | None, inv_scale: Array) -> tuple[Array | None, Array]:
    """Return what `common_scale` makes of the scale of each dense feature."""
    return mean, _commensurate(inv_scale)


def common_sparse_scale(inv_scale: Array, squares: Array) -> tuple[None, Array]:
    """Return what `common_scale` makes of the scale of each sparse feature, and the mean of its squares."""
    inv_scale = _commensurate(inv_scale)
    norm = np.sqrt(squares @ (inv_scale * inv_scale))
    return None, inv_scale / norm if norm > 0 else inv_scale


def _commensurate(inv_scale: Array) -> Array:
    """Return one scale for all features if theirs are of one order, because their ratios may then carry meaning.

    They are if the standard deviation of their logarithms is below 1. Constant features, of scale 1, are ignored.
    """
    logs = np.log(inv_scale[inv_scale != 1.0])
    return np.full_like(inv_scale, np.exp(logs.mean())) if logs.size and logs.std() < 1.0 else inv_scale


def parts_of(rows: Array) -> list[Array]:
    """Cut rows, or their indices, into parts: temporary arrays then have the length of a part."""
    return [rows[at : at + ROWS_AT_A_TIME] for at in range(0, len(rows), ROWS_AT_A_TIME)]


def target_mean(targets: Array, rows: Array, weights: Array | None, n_threads: int) -> Array:
    """Return the mean of each target over these rows."""
    zero = np.zeros(targets.shape[1])
    sums, _ = _linear.column_moments(linear_loops(), targets, rows, weights, zero, n_threads)
    mean: Array = sums / _total(rows, weights)
    return mean


def target_moments(
    targets: Array, rows: Array, weights: Array | None, center: bool, n_threads: int
) -> tuple[Array, Array]:
    """Return the mean (zero without `center`) and the standard deviation of each target; 1 for a constant one."""
    mean = target_mean(targets, rows, weights, n_threads) if center else np.zeros(targets.shape[1])
    _, squares = _linear.column_moments(linear_loops(), targets, rows, weights, mean, n_threads)
    return mean, usable_deviation(mean, np.sqrt(squares / _total(rows, weights)))


def usable_deviation(mean: Array, scale: Array) -> Array:
    """Return the deviation of each target; 1 where it is constant, up to rounding.

    Raises
    ------
    ValueError
        If a target is so large that its squares overflow.
    """
    if not np.isfinite(scale).all():
        raise ValueError("y must have squares that do not overflow: numbers below 1e150; divide it")
    usable = (scale > 1e-12 * np.abs(mean)) & (scale > 1e-150)
    return np.where(usable, scale, 1.0)


def common_deviation(deviations: Array) -> Array:
    """Return one deviation for all targets, the geometric mean: for losses with a parameter in the targets' units."""
    return np.full_like(deviations, np.exp(np.log(deviations).mean()))


def class_frequencies(codes: Array, rows: Array, weights: Array | None, classes: int) -> Array:
    """Return the relative frequency of each class in these rows."""
    counts = [np.bincount(codes[at], None if weights is None else weights[at], classes) for at in parts_of(rows)]
    frequencies: Array = np.sum(counts, axis=0) / _total(rows, weights)
    return frequencies


def _total(rows: Array, weights: Array | None) -> float:
    return float(len(rows) if weights is None else weights[rows].sum())
