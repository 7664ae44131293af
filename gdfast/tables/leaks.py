"""Columns from which the target can be computed, each alone."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from gdfast.tables.missing import missing

Array = np.ndarray[Any, Any]

#: what is explained of the target's variance is 1 within the rounding of a report, from here on
ALL = 0.99995
#: a value of a column says something of the target if it comes back so often, on average
ROWS_A_VALUE = 2
#: rows of either class that a bound has to divide, wholly or nearly
FEWEST_DIVIDED, FEWEST_NEARLY_DIVIDED = 10, 100
#: the share of either class that lies on its side of a bound, where it nearly divides them
NEARLY_ALL = 0.975


def determining(columns: Mapping[str, Array], y: Array, classes: bool) -> list[str]:
    """Return the columns that determine the target.

    A column does if each of its values comes with one target, or if it is a number that follows the target: above and
    below of bounds between the classes, or in proportion.

    Parameters
    ----------
    columns : mapping of str to (rows,) array
        The features.
    y : (rows,) array
        Classes or numbers.
    classes : bool
        Which of them.
    """
    with np.errstate(all="ignore"):  # of a constant, or of numbers too large, nothing follows
        return [name for name, column in columns.items() if _determines(column, y, classes)]


def dividing(columns: Mapping[str, Array], y: Array) -> dict[str, float]:
    """Return the columns of which one bound divides two classes, with the share of rows on the right side of it.

    The share is that of the class of which it is smaller: 1, or at least `NEARLY_ALL` where each class has many rows,
    since among many columns of few rows one may do so by chance, or because it is a good feature.

    Parameters
    ----------
    columns : mapping of str to (rows,) array
        The features, of which those of words are passed over.
    y : (rows,) array
        Classes; of more than two nothing is said.
    """
    labels, number = np.unique(y, return_inverse=True)
    if len(labels) != 2:
        return {}
    shares = {name: _divided(column, number) for name, column in columns.items() if column.dtype.kind in "biufM"}
    return {name: share for name, share in shares.items() if share}


def _divided(column: Array, y: Array) -> float:
    """Return the share of rows on the right side of the best bound, of the class where it is smaller; 0 if too few."""
    there = ~missing(column)
    cells, y = column[there], y[there]
    counts = np.bincount(y, minlength=2)
    if there.mean() < 0.5 or counts.min() < FEWEST_DIVIDED:
        return 0.0
    order = np.argsort(cells, kind="stable")
    cells, below = cells[order], np.cumsum(np.eye(2)[y[order]], axis=0) / counts
    below = below[:-1][cells[1:] != cells[:-1]]  # the share of each class below each bound
    one_way, other_way = np.minimum(below[:, 0], 1 - below[:, 1]), np.minimum(below[:, 1], 1 - below[:, 0])
    share = float(np.maximum(one_way, other_way).max(initial=0.0))
    least = NEARLY_ALL if counts.min() >= FEWEST_NEARLY_DIVIDED else 1.0
    return share if share >= least else 0.0


def _determines(column: Array, y: Array, classes: bool) -> bool:
    there = ~missing(column)
    if there.mean() < 0.5 or len(np.unique(y[there])) < 2:
        return False
    cells, y = column[there], y[there]
    if cells.dtype.kind == "O":
        cells = cells.astype(str)
    values, number = np.unique(cells, return_inverse=True)
    if len(values) * ROWS_A_VALUE <= len(cells) and _by_value(number, y, classes):
        return True
    if cells.dtype.kind == "U":
        return False
    numbers = cells.astype(np.float64)
    return _by_bounds(numbers, y) if classes else _explained(np.corrcoef(numbers, y)[0, 1] ** 2)


def _by_value(number: Array, y: Array, classes: bool) -> bool:
    """Return whether each value, given by its number, comes with one target."""
    if classes:
        targets = np.unique(y, return_inverse=True)[1]
        return bool(len(np.unique(np.stack([number, targets]), axis=1).T) == number.max() + 1)
    means = np.bincount(number, y) / np.bincount(number)
    return _explained(1 - np.var(y - means[number]) / np.var(y))


def _by_bounds(numbers: Array, y: Array) -> bool:
    """Return whether each class has an interval of its own."""
    spans = sorted((numbers[y == label].min(), numbers[y == label].max()) for label in np.unique(y))
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _explained(share: Any) -> bool:
    return bool(share >= ALL)
