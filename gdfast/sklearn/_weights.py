"""Weights of rows, taken so that what is computed with them neither overflows nor vanishes."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def in_reach(*factors: Array | None) -> tuple[Array | None, int]:
    """Return the product of weights as an array whose largest is in [1/2, 1), and the power of two that is left out.

    Powers of two change no bit of what depends on the weights' proportions alone.

    Parameters
    ----------
    *factors : (rows,) arrays of finite float64 from 0 on, or None
        None stands for ones; the product of nothing else is None.
    """
    product, exponent = None, 0
    for weights in factors:
        if weights is not None:
            scaled, power = _scaled(weights)
            product, exponent = scaled if product is None else scaled * product, exponent + power
    if product is None:
        return None, 0
    product, power = _scaled(product)
    return product, exponent + power


def checked_class_weights(weights: Array) -> Array:
    """Return the weights that `class_weight` gives to classes or rows.

    Raises
    ------
    ValueError
        If one is negative, infinite or NaN.
    """
    bad = weights[~((weights >= 0.0) & (weights < np.inf))]
    if bad.size:
        raise ValueError(f"class_weight must be finite and not negative; got {bad[0]}")
    return weights


def _scaled(weights: Array) -> tuple[Array, int]:
    exponent = int(np.frexp(weights.max())[1])
    return np.ldexp(weights, -exponent), exponent
