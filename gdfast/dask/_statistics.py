"""What all partitions have in common, from their summaries: columns, classes, weights, the scale of the columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.dask import _rows
from gdfast.dask._cluster import Cluster
from gdfast.dask._plan import Encoding
from gdfast.sklearn._scaling import (
    Standardizer,
    common_deviation,
    scale_of_moments,
    usable_deviation,
)
from gdfast.sklearn._weights import in_reach, weights_of_classes
from gdfast.sklearn.linear_classifier import log_odds

Array = np.ndarray[Any, Any]


@dataclass
class Statistics:
    """Of the rows of all partitions.

    Attributes
    ----------
    total : float
        The sum of the weights that the parts are encoded with.
    given_total : float
        The same, in the user's units; it may be infinite.
    n_rows : int
        Rows with a weight.
    standardizer : Standardizer
    start : float64 array of shape (outputs,)
        The intercepts of a model without coefficients; zeros if the estimator has no intercept.
    """

    total: float
    given_total: float
    n_rows: int
    standardizer: Standardizer
    start: Array


def check_alike(summaries: list[dict[str, Any] | None]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the partitions have in common, and the summaries of those with rows.

    Raises
    ------
    ValueError
        If a partition differs from the first one with rows, or there are no rows with a weight.
    """
    found = [(i, summary) for i, summary in enumerate(summaries) if summary is not None]
    if not any(summary["kept"] for _, summary in found):
        raise ValueError("X must have rows with a weight above zero; the partitions have none")
    at, first = found[0]
    for i, summary in found:
        for name, what in (("columns", "columns of X"), ("sparse", "sparse X"), ("outputs", "targets in a row of y")):
            if summary[name] != first[name]:
                raise ValueError(f"partition {i}: {what}: {summary[name]}; partition {at} has {first[name]}")
        if not np.array_equal(_listed(summary["names"]), _listed(first["names"])):
            raise ValueError(
                f"partition {i}: names of columns: {_listed(summary['names'])}; partition {at} has "
                f"{_listed(first['names'])}"
            )
    of_rows = [summary for _, summary in found]
    dtype = np.result_type(*[summary["dtype"] for summary in of_rows])
    return {**first, "dtype": dtype}, of_rows


def _listed(names: Any) -> list[str]:
    return [] if names is None else list(names)


def classes_of(summaries: list[dict[str, Any]]) -> tuple[Array, Array, int]:
    """Return the classes of all partitions, the weight of each, and the exponent of the weights.

    Raises
    ------
    ValueError
        If labels are words in one partition and numbers in another.
    """
    kinds = {summary["labels"].dtype.kind in "iufb" for summary in summaries}
    if len(kinds) > 1:
        raise ValueError("y must be of one kind; some partitions have numbers, others words")
    classes = np.unique(np.concatenate([summary["labels"] for summary in summaries]))
    exponent = exponent_of(summaries)
    counts = np.zeros(len(classes))
    for summary in summaries:
        at = np.searchsorted(classes, summary["labels"])
        counts[at] += np.ldexp(summary["counts"], summary["exponent"] - exponent)
    return classes, counts, exponent


def exponent_of(summaries: list[dict[str, Any]]) -> int:
    """Return the power of two that is divided out of the weights of all partitions."""
    return max(int(summary["exponent"]) for summary in summaries if summary["kept"])


def encoding_of(estimator: Any, summaries: list[dict[str, Any]], weighted: bool) -> tuple[Encoding, int]:
    """Return how rows are encoded, and the exponent of all that is divided out of their weights."""
    if "labels" not in summaries[0]:
        exponent = exponent_of(summaries)
        return Encoding(estimator, None, None, weighted, exponent), exponent
    classes, counts, exponent = classes_of(summaries)
    if estimator.class_weight is None:
        return Encoding(estimator, classes, None, weighted, exponent), exponent
    factors, more = in_reach(weights_of_classes(estimator.class_weight, classes, classes, counts))
    return Encoding(estimator, classes, factors, True, exponent), exponent + more


def measure(
    cluster: Cluster, parts: list[Any], encoding: Encoding, common: dict[str, Any], summaries: list[Any], exponent: int
) -> Statistics:
    """Return the statistics of all rows: sums of the partitions, in their order.

    Raises
    ------
    ValueError
        If the weights are zero for every row.
    """
    estimator = encoding.estimator
    loss, center = estimator._losses[estimator.loss], estimator.fit_intercept
    first = next(summary for summary in summaries if summary["kept"])
    row = target = None
    if estimator.standardize and not common["sparse"]:
        row = first["row"].astype(common["dtype"])
        row = row if center else np.zeros_like(row)
    if encoding.classes is None:
        target = first["target"] if center else np.zeros_like(first["target"])
    total, n_rows, of_columns, of_targets = cluster.combined(
        _rows.added, cluster.each(_rows.moments, parts, row, target)
    )
    if not total > 0.0:
        raise ValueError("the weights of rows and classes must not be zero for every row")
    mean = inv_scale = filled = None
    if row is not None:
        sums, squares = of_columns / total
        mean, inv_scale = scale_of_moments(row, sums, squares, int(n_rows), center)
    elif estimator.standardize:
        (found,) = cluster.combined(_rows.added, cluster.each(_rows.moments_of_csr, parts, common["columns"]))
        mean, inv_scale, filled = found.scale(total, int(n_rows), center)
    standardizer, target_mean = Standardizer(mean, inv_scale, filled=filled), None
    if target is not None:
        sums, squares = of_targets / total
        target_mean = target + sums
        if estimator.standardize and loss.standardizes:
            variance = np.maximum(squares - sums * sums, 0.0) if center else squares
            scale = usable_deviation(target_mean if center else np.zeros_like(sums), np.sqrt(variance))
            if loss.parameter is not None and loss.parameter.target_units:
                scale = common_deviation(scale)
            target_center = target_mean if center else np.zeros_like(sums)
            standardizer = Standardizer(mean, inv_scale, target_center, scale, filled=filled)
    with np.errstate(over="ignore"):  # infinite: the automatic penalty is then zero
        given = float(np.ldexp(total, exponent))
    start = _start(encoding, summaries, target_mean, standardizer, int(n_rows))
    return Statistics(total, given, int(n_rows), standardizer, start)


def _start(
    encoding: Encoding, summaries: list[Any], target_mean: Array | None, standardizer: Standardizer, n_rows: int
) -> Array:
    """Return the intercepts, in standard units, of a model without coefficients."""
    estimator = encoding.estimator
    link = estimator._losses[estimator.loss].link
    if encoding.classes is None:
        assert target_mean is not None
        mean = (target_mean - standardizer.target_mean) / standardizer.target_scale
        start = np.log(np.maximum(mean, 1e-10)) if link == "log" else mean
    else:
        _, counts, _ = classes_of(summaries)
        weights = counts if encoding.class_factors is None else counts * encoding.class_factors
        start = log_odds(weights / weights.sum(), n_rows)
        if link != "logit":
            start = np.zeros_like(start)
    return start if estimator.fit_intercept else np.zeros_like(start)
