"""Columns that are constant in the first rows of a source, so that these show no scale, and vary later."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gdfast.tables.source import Source

Array = np.ndarray[Any, Any]

#: from the constant, in the units that the column is trained in: a mark or a count in a few rows does no harm
FAR = 100.0


class ConstantColumns:
    """Watches the columns of dense rows that are constant in the first rows, and warns once of one that varies widely.

    Parameters
    ----------
    first : array of shape (rows, columns)
    inv_scale : array of shape (columns,)
        What the columns are multiplied by.
    source : Source
        Knows the names of columns.
    """

    def __init__(self, first: Array, inv_scale: Array, source: Source) -> None:
        likely = np.flatnonzero(first[0] == first[-1])  # few, so that not all columns are compared
        self._numbers = np.array([j for j in likely if (first[:, j] == first[0, j]).all()], np.intp)
        self._values, self._inv_scale = first[0, self._numbers].astype(np.float64), inv_scale[self._numbers]
        self._source = source

    def watch(self, X: Array, statistics: str) -> None:
        """Warn if one of the columns is far from its constant in these rows."""
        for j, value, inv_scale in zip(self._numbers, self._values, self._inv_scale, strict=True):
            largest = max(float(X[:, j].max()) - value, value - float(X[:, j].min()))
            if largest * inv_scale > FAR:
                warnings.warn(
                    f"{self._source.column(int(j))} is {value:g} in all of {statistics}, which its scale is taken "
                    f"from, and is {largest:g} away later: the fit may be bad. "
                    "statistics='all' takes the scales of all rows",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                self._numbers = self._numbers[:0]
                self._values = self._inv_scale = np.zeros(0)
                return
