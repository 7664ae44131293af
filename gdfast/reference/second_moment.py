"""Yogi, AdaBelief and ADOPT, on NumPy arrays."""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, clip, flush, larger, sign


def yogi(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    eps_root: Scalar,
) -> tuple[Array, Array]:
    """Adam whose second moment moves by a share of the squared gradient, up or down."""
    square = g * g
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(exp_avg_sq - rest2 * (sign(exp_avg_sq - square) * square))
    return step / (np.sqrt(exp_avg_sq + eps_root) + eps), exp_avg


def adabelief(
    g: Array,
    exp_avg: Array,
    exp_avg_var: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    eps_root: Scalar,
) -> tuple[Array, Array]:
    """Adam whose second moment is that of the gradient's distance from its average."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    surprise = g - exp_avg
    exp_avg_var[...] = flush(beta2 * exp_avg_var + rest2 * (surprise * surprise) + eps_root)
    return step / (np.sqrt(exp_avg_var) + eps), exp_avg


def adopt(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    lr: Scalar,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    eps: Scalar,
    bound: Scalar,
) -> tuple[Scalar, Array]:
    """Average gradients that were divided by the root of the second moment before them."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * clip(g / larger(np.sqrt(exp_avg_sq), eps), bound))
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return lr, exp_avg
