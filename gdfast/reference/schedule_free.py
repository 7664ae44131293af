"""Schedule-free SGD and AdamW, on NumPy arrays. They return the new parameter itself, which follows z."""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, clip, flush, move


def schedule_free_sgd(
    p: Array, g: Array, z: Array, decay: Scalar, l1: Scalar, lr: Scalar, share: Scalar, gain: Scalar
) -> Array:
    """Step z by the gradient at y, which is p."""
    z_new = flush(move(z, lr, g, decay, l1))
    y = _follow(p, z, z_new, share, gain)
    z[...] = z_new
    return y


def schedule_free_adamw(
    p: Array,
    g: Array,
    exp_avg_sq: Array,
    z: Array,
    decay: Scalar,
    l1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
    shrink: Scalar,
    share: Scalar,
    gain: Scalar,
) -> Array:
    """Step z by the gradient at y, divided as in Adam; the decay is of y."""
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    rate = step / (np.sqrt(exp_avg_sq) + eps)
    z_new = z - (rate * g + shrink * p)
    if l1 != 0:
        z_new = z_new - clip(z_new, rate * l1)
    z_new = flush(z_new)
    y = _follow(p, z, z_new, share, gain)
    z[...] = z_new
    return y


def _follow(y: Array, z: Array, z_new: Array, share: Scalar, gain: Scalar) -> Array:
    return y + share * (z - y) - gain * (z - z_new)
