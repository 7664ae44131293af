"""Standardisation of features and targets inside a network: applied while it learns, then folded into its layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse

Array: TypeAlias = np.ndarray[Any, Any]
# How many rows are looked at at a time, so that no copy of the data is made.
BLOCK = 4096


@dataclass(frozen=True)
class Scaling:
    """What the network sees in the place of the data: ``(X - offset) * scale``, and ``(y - target_offset) / target_scale``.

    Attributes
    ----------
    offset, scale : (features,) arrays of float64, or None
        None: the features as they come. Sparse features have a scale, and an offset of None.
    target_offset, target_scale : (outputs,) arrays of float64
        (1,) arrays with 0 and 1 for the targets as they come.
    log_scale : bool
        The outputs are exponentials of the scores: `target_scale` is added to the scores as a logarithm.
    """

    offset: Array | None = None
    scale: Array | None = None
    target_offset: Array = field(default_factory=lambda: np.zeros(1))
    target_scale: Array = field(default_factory=lambda: np.ones(1))
    log_scale: bool = False

    def cast(self, dtype: Any) -> tuple[Array | None, Array | None]:
        """Return offset and scale in the network's dtype."""
        return tuple(None if part is None else part.astype(dtype) for part in (self.offset, self.scale))  # type: ignore[return-value]

    def targets(self, y: Array, dtype: Any) -> Array:
        """Return what the network is to learn."""
        return np.ascontiguousarray((y - self.target_offset) / self.target_scale, dtype)

    def fold(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Return the network that takes the data as they come and does the same, as new arrays."""
        weights, biases = [c.astype(np.float64) for c in coefs], [b.astype(np.float64) for b in intercepts]
        if self.scale is not None:
            weights[0] *= self.scale[:, None]
        if self.offset is not None:
            biases[0] -= self.offset @ weights[0]
        if self.log_scale:
            biases[-1] += np.log(self.target_scale)
        else:
            weights[-1] *= self.target_scale
            biases[-1] *= self.target_scale
            biases[-1] += self.target_offset
        return _as(weights, coefs), _as(biases, intercepts)

    def unfold(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Return the network that `fold` makes this one of."""
        weights, biases = [c.astype(np.float64) for c in coefs], [b.astype(np.float64) for b in intercepts]
        if self.log_scale:
            biases[-1] -= np.log(self.target_scale)
        else:
            biases[-1] -= self.target_offset
            biases[-1] /= self.target_scale
            weights[-1] /= self.target_scale
        if self.offset is not None:
            biases[0] += self.offset @ weights[0]
        if self.scale is not None:
            weights[0] /= self.scale[:, None]
        return _as(weights, coefs), _as(biases, intercepts)


def feature_scaling(X: Any, weights: Array | None) -> tuple[Array | None, Array | None]:
    """Return the offset and the scale that give each feature of X mean 0 and variance 1.

    Parameters
    ----------
    X : (rows, features) array or CSR matrix
        Only read. Sparse features keep their zeros: they come as they are.
    weights : (rows,) array, optional
        Of the rows.

    Returns
    -------
    offset, scale : (features,) arrays of float64, or None
        A feature that is constant has scale 1.
    """
    if issparse(X):
        return None, None
    if weights is not None and not weights.sum() > 0:
        weights = None
    offset = _mean(X, weights, np.zeros(X.shape[1]), power=1)
    variance = _mean(X, weights, offset, power=2)
    return offset, 1.0 / _positive(np.sqrt(variance), offset)


def target_scaling(y: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return mean and standard deviation of each target (rows, outputs); 1 in the place of a deviation of zero."""
    mean, scale = feature_scaling(y, weights)
    assert mean is not None
    assert scale is not None
    return mean, 1.0 / scale


def _mean(X: Array, weights: Array | None, offset: Array, power: int) -> Array:
    """Return the weighted mean of ``(X - offset)**power`` over the rows, in float64."""
    total = np.zeros(X.shape[1])
    for start in range(0, X.shape[0], BLOCK):
        block = X[start : start + BLOCK] - offset
        if power == 2:
            np.multiply(block, block, out=block)
        total += block.sum(axis=0) if weights is None else weights[start : start + BLOCK].astype(np.float64) @ block
    mean: Array = total / (X.shape[0] if weights is None else weights.sum(dtype=np.float64))
    return mean


def _positive(deviation: Array, mean: Array) -> Array:
    """Return the deviations, with 1 for those that rounding alone makes of a constant feature."""
    constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    return np.where(constant, 1.0, deviation)


def _as(arrays: Sequence[Array], like: Sequence[Array]) -> list[Array]:
    return [array.astype(other.dtype, copy=False) for array, other in zip(arrays, like, strict=True)]
