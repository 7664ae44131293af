"""Adam with another norm, start, momentum or direction, on NumPy arrays."""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, flush, larger, sign


def adamax(
    g: Array,
    exp_avg: Array,
    exp_inf: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    clr: Scalar,
    eps: Scalar,
) -> tuple[Array, Array]:
    """Adamax: a decaying maximum of the gradients instead of the root."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_inf[...] = flush(larger(beta2 * exp_inf, np.abs(g) + eps))
    return clr / exp_inf, exp_avg


def radam(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    rectified: Scalar,
) -> tuple[Array | Scalar, Array]:
    """RAdam, with the rectification and both bias corrections in `step`; momentum alone until it is rectified."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return step / (np.sqrt(exp_avg_sq) + eps) if rectified else step, exp_avg


def nadam(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    now: Scalar,
    ahead: Scalar,
) -> tuple[Array, Array]:
    """NAdam: Adam's rate, with the gradient and the momentum of the next step as the direction."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return step / (np.sqrt(exp_avg_sq) + eps), now * g + ahead * exp_avg


def grams(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
) -> tuple[Array, Array]:
    """Grams: as far as Adam, against the sign of the gradient."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return step / (np.sqrt(exp_avg_sq) + eps), sign(g) * np.abs(exp_avg)
