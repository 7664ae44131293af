"""Adam and AMSGrad, on NumPy arrays; AdamW is the same with the decay elsewhere."""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, flush, larger


def adam(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    eps_root: Scalar,
) -> tuple[Array, Array]:
    """Adam, with both bias corrections in `step`, `eps` and `eps_root`."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return step / (np.sqrt(exp_avg_sq + eps_root) + eps), exp_avg


def amsgrad(
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    eps_root: Scalar,
) -> tuple[Array, Array]:
    """Adam with the largest second moment so far in the root."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    max_exp_avg_sq[...] = flush(larger(max_exp_avg_sq, exp_avg_sq))
    return step / (np.sqrt(max_exp_avg_sq + eps_root) + eps), exp_avg
