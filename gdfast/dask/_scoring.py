"""Scores of the rows of all partitions: sums in the order of partitions, without the rows on the client."""

from typing import Any

import numpy as np

from gdfast.dask import _rows
from gdfast.dask._cluster import Cluster

Array = np.ndarray[Any, Any]


def accuracy(cluster: Cluster, local: Any, parts: list[tuple[Any, Any, Any]]) -> float:
    """Return the share of the weights whose label is predicted."""
    total, right = cluster.combined(_rows.added, cluster.compute(_right, parts, local))
    return _share(right, total)


def r2(cluster: Cluster, local: Any, parts: list[tuple[Any, Any, Any]]) -> float:
    """Return R2, the mean of all targets'; as in scikit-learn it is 1 or 0 for a target that does not vary."""
    total, sums, errors = cluster.combined(_rows.added, cluster.compute(_errors, parts, local))
    _share(0.0, total)
    spread = cluster.combined(_rows.added, cluster.compute(_spread, parts, sums / total))[0]
    scores = np.where(errors == 0, 1.0, 0.0)
    varies = spread > 0
    scores[varies] = 1.0 - errors[varies] / spread[varies]
    return float(scores.mean())


def _share(part: float, total: float) -> float:
    if not total > 0:
        raise ValueError("X must have rows with a weight above zero to be scored; the partitions have none")
    return float(part / total)


def _right(number: int, X: Any, y: Any, weights: Any, local: Any) -> tuple[float, float]:
    with _rows.of_partition(number):
        y, of_rows = _targets(X, y, weights)
        right = local.predict(X) == y if len(y) else np.zeros(0, bool)
        return float(of_rows.sum()), float(of_rows[right].sum())


def _errors(number: int, X: Any, y: Any, weights: Any, local: Any) -> tuple[float, Array, Array]:
    with _rows.of_partition(number):
        y, of_rows = _targets(X, y, weights)
        y = y.reshape(len(y), len(np.atleast_2d(local.coef_))).astype(np.float64)
        predicted = local.predict(X).reshape(y.shape) if len(y) else y
        return float(of_rows.sum()), of_rows @ y, of_rows @ (y - predicted) ** 2


def _spread(number: int, X: Any, y: Any, weights: Any, mean: Array) -> tuple[Array]:
    y, of_rows = _targets(X, y, weights)
    return (of_rows @ (y.reshape(len(y), len(mean)) - mean) ** 2,)


def _targets(X: Any, y: Any, weights: Any) -> tuple[Array, Array]:
    """Return targets and weights of a partition."""
    n_rows, y = _rows.common_length(X, y, weights), np.asarray(y)
    return y, np.ones(n_rows) if weights is None else _rows.checked_weights(weights)
