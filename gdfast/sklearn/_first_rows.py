"""The first rows of `partial_fit`: the scale of columns and targets is taken from them, until there are enough."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

Array: TypeAlias = np.ndarray[Any, Any]

ENOUGH = 100  # rows; means and deviations are then known to about a tenth of a deviation


@dataclass(frozen=True)
class FirstRows:
    """Copies of the rows that the calls so far have brought.

    Attributes
    ----------
    X : (rows, columns) array or CSR array
    targets : array
        With a row for each.
    weights : float64 array of shape (rows,)
    """

    X: Any
    targets: Array
    weights: Array

    @property
    def enough(self) -> bool:
        """Whether the scale can stay what it is now."""
        return len(self.weights) >= ENOUGH


def join_rows(earlier: FirstRows | None, X: Any, targets: Array, weights: Array | None) -> FirstRows:
    """Return the rows of earlier calls, if there were any, followed by copies of those of a call."""
    ones = np.ones(len(targets)) if weights is None else np.array(weights, np.float64)
    rows = FirstRows(X.copy(), np.array(targets), ones)
    if earlier is None:
        return rows
    return FirstRows(
        _stacked(earlier.X, rows.X),
        np.concatenate([earlier.targets, rows.targets]),
        np.concatenate([earlier.weights, rows.weights]),
    )


def check_alike(X: Any, centered: bool) -> None:
    """Check that sparse rows do not follow dense ones, whose columns are centred.

    Raises
    ------
    ValueError
    """
    if centered and sparse.issparse(X):
        raise ValueError(
            "X must be dense, as in the first call: the columns are centred, which would fill a sparse matrix. Give "
            "X.toarray(), or set standardize=False"
        )


def _stacked(X: Any, later: Any) -> Any:
    if sparse.issparse(X) or sparse.issparse(later):
        return sparse.vstack([sparse.csr_array(X), sparse.csr_array(later)], format="csr")
    return np.concatenate([X, later])
