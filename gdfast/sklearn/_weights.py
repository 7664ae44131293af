"""Weights of rows and classes, scaled so that sums of them neither overflow nor vanish."""

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

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


def penalty_share(alpha: float | str, weights: Array | None, power: int, dtype: Any) -> float:
    """Return the factor of a network's penalty for weights that were divided by ``2**power``.

    With ``alpha="auto"``, weights with a sum below 1 count as 1.

    Raises
    ------
    ValueError
        If the penalty leaves nothing of the rows.
    """
    if weights is None or alpha == 0:
        return 1.0
    if alpha == "auto" and np.ldexp(weights.sum(), min(power, 0)) < 1.0:
        return float(weights.sum())
    share = float(np.ldexp(1.0, min(-power, 1023)))
    if not isinstance(alpha, str) and not alpha * share < float(np.finfo(dtype).max) ** 0.5:
        raise ValueError(
            f"sample_weight must be larger for alpha={alpha}, beside which the rows count for nothing; got at "
            f"most {np.ldexp(weights.max(), power):.3g}"
        )
    return share


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


def balanced_weights(labels: Array, sample_weight: Array | None) -> Array:
    """Return the weight of each row with which all classes weigh the same, (rows,).

    Parameters
    ----------
    labels : array of shape (rows,), or (rows, labels)
        For several labels, the product of their weights.
    sample_weight : float64 array of shape (rows,), optional
    """
    product = np.ones(len(labels))
    for column in np.atleast_2d(labels.T):
        classes, codes = np.unique(column, return_inverse=True)
        product *= weights_of_classes("balanced", classes, column, sample_weight)[codes]
    return product


def weights_of_classes(class_weight: Any, classes: Array, y: Array, sample_weight: Array | None) -> Array:
    """Return the weight of each class; 1, if "balanced", where no row of a class has a weight.

    Raises
    ------
    ValueError
        If a weight is negative, infinite or NaN, or belongs to no class.
    """
    with np.errstate(divide="ignore"):
        weights = compute_class_weight(class_weight, classes=classes, y=y, sample_weight=sample_weight)
    if isinstance(class_weight, str):
        weights[np.isinf(weights)] = 1.0
    return checked_class_weights(weights)


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
