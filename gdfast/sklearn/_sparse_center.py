"""Centred columns of CSR: in exact arithmetic, what subtracting their means from every row would give.

The rows stay as they are. A score is ``x @ coef + intercept - mean @ coef``, so the native loops are given an intercept
of their own, and from a column's gradient its mean times the gradient of the intercept is subtracted. Sums are NumPy's,
over the centred columns in their order: the same bits at any number of threads.
"""

from typing import Any, TypeAlias

import numpy as np

from gdfast.sklearn._scaling import Standardizer

Array: TypeAlias = np.ndarray[Any, Any]


class Center:
    """The centred columns of a linear model in training.

    Parameters
    ----------
    standardizer : Standardizer
        With a mean, which is zero for the columns that are not centred.
    intercept : array of shape (outputs,)
        The model's, in standard units.

    Attributes
    ----------
    intercept : array of shape (outputs,)
        The one that suits rows which are not centred, set by `set_intercept`.
    """

    def __init__(self, standardizer: Standardizer, intercept: Array) -> None:
        mean, inv_scale = standardizer.mean, standardizer.inv_scale
        assert mean is not None
        assert inv_scale is not None
        self._columns = np.flatnonzero(mean)
        self._mean = (mean * inv_scale)[self._columns, None]  # in standard units, a row for each
        self.intercept = intercept.copy()

    def set_intercept(self, coef: Array, intercept: Array) -> None:
        """Set `intercept` for these parameters; `coef` is of shape (columns,) or (columns, outputs)."""
        centered = coef[self._columns].reshape(len(self._columns), -1)
        self.intercept[...] = intercept - (self._mean * centered).sum(axis=0)

    def finish_gradient(self, coef_grad: Array, intercept_grad: Array) -> None:
        """Turn the gradient of the coefficients for rows as they are into the one for centred rows."""
        change = self._mean * intercept_grad
        coef_grad[self._columns] -= change.reshape(-1, *coef_grad.shape[1:])
