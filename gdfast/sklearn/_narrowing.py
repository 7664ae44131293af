"""Training on those columns of a sparse matrix that hold anything: the others have no gradient, and stay at zero.

Hashed text leaves most columns empty. A step over the rest alone moves a fraction of the memory, and ends at the same
coefficients.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gdfast.engine import _linear
from gdfast.sklearn._scaling import Scaling

Array = np.ndarray[Any, Any]

WORTH = 0.75  # the share of columns in use above which new indices cost more than they save


@dataclass(frozen=True)
class Narrowing:
    """Which columns are trained.

    Attributes
    ----------
    columns : array of their numbers, rising; None for all of them
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

    def scaling(self, scaling: Scaling) -> Scaling:
        """Return the scaling of all columns: an empty one has scale 1."""
        if self.columns is None or scaling.inverse is None:
            return scaling
        inverse = np.ones(self.width, scaling.inverse.dtype)
        inverse[self.columns] = scaling.inverse
        return replace(scaling, inverse=inverse)


def narrow(table: tuple[Array, Array, Array], width: int, n_threads: int) -> tuple[Any, Narrowing]:
    """Return the checked arrays of a matrix in CSR without its empty columns, all but the indices the same arrays."""
    data, indices, indptr = table
    stored = _linear.stored_columns(indices, width, n_threads)
    columns = np.flatnonzero(stored)
    if not 0 < len(columns) <= WORTH * width:
        return table, Narrowing(None, width)
    numbers = np.zeros(width, indices.dtype)
    numbers[columns] = np.arange(len(columns))
    return (data, _linear.renumbered(indices, numbers, n_threads), indptr), Narrowing(columns, width)
