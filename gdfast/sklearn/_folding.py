"""Standardisation of features and targets inside a network: applied while it learns, then folded into its layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse

from gdfast.sklearn._problem import loops
from gdfast.sklearn._scaling import dense_columns, sparse_columns
from gdfast.sklearn._sparse import csr_arrays

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Folding:
    """What the network sees: ``(X - offset) * scale``, and ``(y - target_offset) / target_scale``.

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
        offset, scale = (None if part is None else part.astype(dtype) for part in (self.offset, self.scale))
        return offset, scale

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


def feature_scaling(X: Any, weights: Array | None, n_threads: int) -> tuple[Array | None, Array | None]:
    """Return the offset and the scale that give the features of X mean 0 and variance 1, each or on the average.

    Parameters
    ----------
    X : (rows, features) array or CSR matrix
        Only read. Sparse features keep their zeros, and get one largest absolute value instead.
    weights : (rows,) array of float64, optional
        Of the rows.
    n_threads : int
        At most so many.

    Returns
    -------
    offset, scale : (features,) arrays of float64, or None
        A feature that is constant has scale 1.
    """
    rows = np.arange(X.shape[0]) if weights is None else np.flatnonzero(weights)
    if issparse(X):
        return None, _sparse_scale(X, rows, weights, n_threads)
    mean, inverse = dense_columns(loops(), X, rows, weights, True, n_threads)
    assert mean is not None
    return mean.astype(np.float64), _commensurate(inverse.astype(np.float64))


def _sparse_scale(X: Any, rows: Array, weights: Array | None, n_threads: int) -> Array:
    """Return the scale that gives CSR features one largest absolute value, and rows the mean square norm 1."""
    scale = _commensurate(sparse_columns(csr_arrays(X), rows, X.shape[1], n_threads).astype(np.float64))
    counts = np.ones(X.shape[0]) if weights is None else weights
    squares = X.multiply(X).T @ (counts / counts.sum())  # of each feature, their mean over the rows
    norm = np.sqrt(squares @ (scale * scale))
    return scale / norm if norm > 0 else scale


def _commensurate(scale: Array) -> Array:
    """Return one scale for all features where their scales are of one order: what differs then may mean something.

    They are so if their logarithms deviate by less than 1. A constant feature, of scale 1, has no say.
    """
    said = np.log(scale[scale != 1.0])
    return np.full_like(scale, np.exp(said.mean())) if said.size and said.std() < 1.0 else scale


def _as(arrays: Sequence[Array], like: Sequence[Array]) -> list[Array]:
    return [array.astype(other.dtype, copy=False) for array, other in zip(arrays, like, strict=True)]
