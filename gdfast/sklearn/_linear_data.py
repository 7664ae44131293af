"""What a call of `fit` of a linear estimator was given, checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gdfast.sklearn._narrowing import Narrowing

Array = np.ndarray[Any, Any]


@dataclass
class Data:
    """The arguments of a call of `fit`, checked.

    Attributes
    ----------
    X, y
        As given.
    table : array of shape (rows, columns), or (data, indices, indptr) of CSR
        The columns that are trained. The indices are our own copy, and never handed out.
    in_order : bool
        Whether every row of CSR has its columns in order.
    narrowing : Narrowing
        Which columns these are.
    targets : array
        For the training: int32 class indices of shape (n,), or float64 of shape (n, outputs).
    outputs : int
    weights : float64 array of shape (n,), or None
        Of mean 1 over `rows`.
    rows, held_out : arrays of int
        The rows to train on, and those to validate with.
    total : float
        The sum of the given weights of `rows`.
    """

    X: Any
    y: Array
    table: Any
    in_order: bool
    narrowing: Narrowing
    targets: Array
    outputs: int
    weights: Array | None
    rows: Array
    held_out: Array
    total: float

    @property
    def sparse(self) -> bool:
        """Whether the data are in CSR."""
        return isinstance(self.table, tuple)


def dense_coef(coef: Any) -> Array:
    """Return fitted coefficients as an array of shape (outputs, columns), also after `sparsify`."""
    return np.atleast_2d(coef.toarray() if issparse(coef) else coef)


def given_start(start: tuple[Any, Any], shape: tuple[int, int], fit_intercept: bool) -> tuple[Array, Array]:
    """Return what `coef_init` and `intercept_init` give, (columns, outputs) and (outputs,); zeros for None.

    `shape` is (outputs, columns).

    Raises
    ------
    ValueError
        If a shape does not suit the data, a number is not finite, or there is to be no intercept.
    """
    found = []
    for name, value, needed in (("coef_init", start[0], shape), ("intercept_init", start[1], shape[:1])):
        try:
            array = np.zeros(needed) if value is None else np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be numbers of shape {needed}; got {value!r}") from error
        if array.shape != needed and not (shape[0] == 1 and array.shape == needed[1:]):
            raise ValueError(f"{name} must have shape {needed}; got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite; got {array[~np.isfinite(array)].flat[0]}")
        found.append(array.reshape(needed))
    if not fit_intercept and found[1].any():
        raise ValueError(f"intercept_init must be None or zero with fit_intercept=False; got {found[1]}")
    return found[0].T, found[1]
