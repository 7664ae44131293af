"""Statistics of all rows of a source, by a pass over them in their own order."""

from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier

from gdfast.engine import _linear, threads
from gdfast.sklearn._native_loops import linear_loops
from gdfast.sklearn._scaling import (
    SparseMoments,
    common_dense_scale,
    common_sparse_scale,
    scale_of_largest,
    scale_of_moments,
    sparse_moments,
    usable_deviation,
)
from gdfast.sklearn._sparse import csr_arrays, own_indices, without_repetition
from gdfast.tables.batches import Batch, in_steps

Array = np.ndarray[Any, Any]

#: rows that are summed at a time: the bits do not depend on the batches of the source
CHUNK = 1 << 14
#: of weights
LARGEST_TOTAL = 1e300
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class _Sums:
    """Sums of columns, minus their values in the first row, and of the squares of these."""

    def __init__(self, first: Array, center: bool) -> None:
        self.shift = first.copy() if center else np.zeros_like(first)
        self.sums, self.squares = np.zeros(len(first)), np.zeros(len(first))

    def add(self, data: Array, rows: Array, weights: Array | None, n_threads: int) -> None:
        sums, squares = _linear.column_moments(linear_loops(), data, rows, weights, self.shift, n_threads)
        self.sums += sums
        self.squares += squares


def check_weights(batch: Batch) -> None:
    """Check the weights of rows.

    Raises
    ------
    ValueError
    """
    if batch.weights is not None and not ((batch.weights >= 0.0) & (batch.weights < np.inf)).all():
        raise ValueError("weights must be finite and not negative in every batch of the source")


def _check_finite(*found: Array) -> None:
    if not all(np.isfinite(numbers).all() for numbers in found):
        raise ValueError("X and y must be finite, and their squares; a batch of the source has other numbers")


class AllRows:
    """Sums over all rows of a source, each of which counts what its own weight says.

    Parameters
    ----------
    estimator : estimator
    batches : generator of Batch
        The rows in their order.
    center : bool
        Whether means are taken out.

    Attributes
    ----------
    rows : int
        How many rows there are.
    classes : array or None
        Those of a single target of classes.
    """

    def __init__(self, estimator: Any, batches: Generator[Batch], center: bool) -> None:
        self._center, self._classifies = center, is_classifier(estimator)
        self._n_threads = threads.resolve(estimator.n_threads)
        self.rows, self._counted, self._total = 0, 0, 0.0
        self.classes: Array | None = None
        self._features: _Sums | None = None
        self._targets: _Sums | None = None
        self._sparse: SparseMoments | None = None
        with closing(batches):
            for batch in in_steps(batches, CHUNK):
                self._add(batch)
        self._check()

    def _check(self) -> None:
        found = [sums.squares for sums in (self._features, self._targets) if sums is not None]
        _check_finite(*found, *(() if self._sparse is None else (self._sparse.sums,)))
        if self.rows and not self._total > 0.0:
            self._refuse_total()

    def _refuse_total(self) -> None:
        raise ValueError(f"the weights of the rows must have a sum above 0 and below 1e300; got {self._total}")

    def _add(self, batch: Batch) -> None:
        check_weights(batch)
        X = own_indices(batch.X)
        dtype = X.dtype if X.dtype in FLOATS else np.dtype(np.float64)
        if issparse(X):
            X = without_repetition(X)
            X.data = np.require(X.data, dtype)
        else:
            X = np.require(X, dtype, ["C", "A"])
        if self._classifies and batch.y.ndim == 1:
            found = np.unique(batch.y[batch.order])
            self.classes = found if self.classes is None else np.union1d(self.classes, found)
        targets = None if self._classifies else np.ascontiguousarray(batch.y, np.float64).reshape(len(batch.y), -1)
        weights = None if batch.weights is None else np.asarray(batch.weights, np.float64)
        for at in range(0, len(batch.order), CHUNK):
            rows = batch.order[at : at + CHUNK]
            self.rows += len(rows)
            if weights is not None:
                rows = rows[weights[rows] > 0]
            if len(rows):
                self._sum(X, targets, weights, rows)

    def _sum(self, X: Any, targets: Array | None, weights: Array | None, rows: Array) -> None:
        self._counted += len(rows)
        with np.errstate(over="ignore"):
            self._total += float(len(rows) if weights is None else weights[rows].sum())
        if not self._total < LARGEST_TOTAL:  # before the sums of X and y, which are finite, overflow by them
            self._refuse_total()
        if issparse(X):
            part, at = csr_arrays(X[rows]), np.arange(len(rows))
            with np.errstate(invalid="ignore"):  # infinite numbers are found at the end
                moments = sparse_moments(
                    part, at, None if weights is None else weights[rows], X.shape[1], self._n_threads
                )
                self._sparse = moments if self._sparse is None else self._sparse + moments
        else:
            self._features = self._features or _Sums(X[rows[0]], self._center)
            self._features.add(X, rows, weights, self._n_threads)
        if targets is not None:
            self._targets = self._targets or _Sums(targets[rows[0]], self._center)
            self._targets.add(targets, rows, weights, self._n_threads)

    def scale(self) -> tuple[Array | None, Array, float | None]:
        """Return mean and inverse scale of each column, and of CSR `filled`, for a linear model."""
        if self._sparse is not None:
            return self._sparse.scale(self._total, self._counted, self._center)
        return *self._dense_scale(), None

    def _dense_scale(self) -> tuple[Array | None, Array]:
        sums = self._features
        assert sums is not None
        mean, square = sums.sums / self._total, sums.squares / self._total
        return scale_of_moments(sums.shift, mean, square, self._counted, self._center)

    def common_scale(self) -> tuple[Array | None, Array]:
        """Return mean and inverse scale of each column, for a network."""
        if self._sparse is None:
            return common_dense_scale(*self._dense_scale())
        squares = self._sparse.mean_squares(self._total)
        _check_finite(squares)
        return common_sparse_scale(scale_of_largest(self._sparse.largest), squares)

    def target_moments(self) -> tuple[Array, Array]:
        """Return mean and deviation of each target."""
        sums = self._targets
        assert sums is not None
        mean, square = sums.sums / self._total, sums.squares / self._total
        if not self._center:
            return np.zeros_like(mean), usable_deviation(np.zeros_like(mean), np.sqrt(square))
        return sums.shift + mean, usable_deviation(sums.shift + mean, np.sqrt(np.maximum(square - mean * mean, 0.0)))
