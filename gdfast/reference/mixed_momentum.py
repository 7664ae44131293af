"""QHAdam, AdEMAMix and Adan, on NumPy arrays."""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, flush


def qhadam(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    lr: Scalar,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    old1: Scalar,
    new1: Scalar,
    old2: Scalar,
    new2: Scalar,
    eps: Scalar,
) -> tuple[Array, Array]:
    """Adam with both averages mixed with what is new; bias corrections are in `old1` and `old2`."""
    square = g * g
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * square)
    return lr / (np.sqrt(old2 * exp_avg_sq + new2 * square) + eps), old1 * exp_avg + new1 * g


def ademamix(
    g: Array,
    exp_avg_fast: Array,
    exp_avg_slow: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    beta3: Scalar,
    rest3: Scalar,
    share: Scalar,
    step: Scalar,
    eps: Scalar,
    eps_root: Scalar,
) -> tuple[Array, Array]:
    """Adam with a share of a slow average in the direction."""
    exp_avg_fast[...] = flush(beta1 * exp_avg_fast + rest1 * g)
    exp_avg_slow[...] = flush(beta3 * exp_avg_slow + rest3 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return step / (np.sqrt(exp_avg_sq + eps_root) + eps), exp_avg_fast + share * exp_avg_slow


def adan(
    g: Array,
    exp_avg: Array,
    exp_avg_diff: Array,
    exp_avg_sq: Array,
    previous_grad: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    beta3: Scalar,
    rest3: Scalar,
    share: Scalar,
    step: Scalar,
    eps: Scalar,
    eps_root: Scalar,
    first: Scalar,
) -> tuple[Array, Array]:
    """Adam with the average change of the gradient in the direction, and in the second moment."""
    change = g - (g if first != 0 else previous_grad)
    ahead = g + beta2 * change
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_diff[...] = flush(beta2 * exp_avg_diff + rest2 * change)
    exp_avg_sq[...] = flush(beta3 * exp_avg_sq + rest3 * (ahead * ahead))
    previous_grad[...] = flush(g)
    return step / (np.sqrt(exp_avg_sq + eps_root) + eps), exp_avg + share * exp_avg_diff
