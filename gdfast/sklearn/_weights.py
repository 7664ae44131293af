"""Weights of rows and classes, scaled so that sums of them neither overflow nor vanish."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def in_reach(*factors: Array | None) -> tuple[Array | None, int]:
    """Return the product of weights, scaled so that its maximum is in [1/2, 1), and the exponent that was divided out.

    Powers of two change no bit of a result that depends only on the ratios of the weights.

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
    """Return the weights of classes or rows that come from `class_weight`.

    Raises
    ------
    ValueError
        If one is negative, infinite or NaN.
    """
    bad = weights[~((weights >= 0.0) & (weights < np.inf))]
    if bad.size:
        raise ValueError(f"class_weight must be finite and not negative; got {bad[0]}")
    return weights


def refuse_balanced(class_weight: Any) -> None:
    """Refuse ``class_weight="balanced"`` in `partial_fit`, which does not see all rows.

    Raises
    ------
    ValueError
    """
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            'class_weight="balanced" needs all data at once: with partial_fit give the weights as a dict, or '
            "sample_weight"
        )


def _scaled(weights: Array) -> tuple[Array, int]:
    exponent = int(np.frexp(weights.max())[1])
    return np.ldexp(weights, -exponent), exponent
