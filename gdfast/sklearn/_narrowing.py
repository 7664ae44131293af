"""Training on the non-empty columns of a sparse matrix only: the others have no gradient, and stay at zero.

Hashed text leaves most columns empty. A step over the rest alone moves a fraction of the memory, and ends at the same
coefficients.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gdfast.engine import _linear
from gdfast.sklearn._scaling import Standardizer

Array = np.ndarray[Any, Any]

WORTH = 0.75  # the share of columns in use above which new indices cost more than they save


@dataclass(frozen=True)
class Narrowing:
    """Which columns are trained.

    Attributes
    ----------
    columns : array of their indices in rising order, or None for all
    width : int
        How many columns there are.
    """

    columns: Array | None
    width: int

    @property
    def trained(self) -> int:
        """How many columns are trained."""
        return self.width if self.columns is None else len(self.columns)

    def coef(self, coef: Array) -> Array:
        """Return coefficients of shape (outputs, trained columns) as (outputs, columns)."""
        if self.columns is None:
            return coef
        wide = np.zeros((len(coef), self.width), coef.dtype)
        wide[:, self.columns] = coef
        return wide

    def standardizer(self, standardizer: Standardizer) -> Standardizer:
        """Return the standardizer of all columns: the scale of an empty one is 1."""
        if self.columns is None or standardizer.inv_scale is None:
            return standardizer
        inv_scale, mean = np.ones(self.width), None
        inv_scale[self.columns] = standardizer.inv_scale
        if standardizer.mean is not None:
            mean = np.zeros(self.width)
            mean[self.columns] = standardizer.mean
        return replace(standardizer, mean=mean, inv_scale=inv_scale)


def narrow(table: tuple[Array, Array, Array], width: int, n_threads: int) -> tuple[Any, Narrowing]:
    """Return the arrays of a checked CSR matrix without its empty columns; only the indices are a copy."""
    data, indices, indptr = table
    stored = _linear.stored_columns(indices, width, n_threads)
    columns = np.flatnonzero(stored)
    if not 0 < len(columns) <= WORTH * width:
        return table, Narrowing(None, width)
    numbers = np.zeros(width, indices.dtype)
    numbers[columns] = np.arange(len(columns))
    return (data, _linear.renumbered(indices, numbers, n_threads), indptr), Narrowing(columns, width)
