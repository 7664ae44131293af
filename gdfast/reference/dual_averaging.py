"""MADGRAD and FTRL, on NumPy arrays. They return the new parameter itself, found from sums over all gradients."""

from typing import Any

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, clip, flush

_BITS: dict[Any, tuple[Any, int]] = {
    np.dtype(np.float32): (np.uint32, 0x54A232A8),
    np.dtype(np.float64): (np.uint64, 0x553EF10000000000),
}


def madgrad(
    p: Array,
    g: Array,
    grad_sum_sq: Array,
    s: Array,
    x0: Array,
    decay: Scalar,
    l1: Scalar,
    weight: Scalar,
    eps: Scalar,
    old: Scalar,
    new: Scalar,
    penalty: Scalar,
) -> Array:
    """Average with what the weighted sum of the gradients says, seen from the first parameters."""
    grad_sum_sq[...] = flush(grad_sum_sq + weight * (g * g))
    s[...] = flush(s + weight * g)
    rms = _cube_root(grad_sum_sq) + eps
    z = x0 - np.where(rms == 0, rms, s / rms)
    if penalty != 0:
        z = z - clip(z, penalty / rms)
    return old * p + new * z


def ftrl(
    p: Array,
    g: Array,
    sum: Array,
    z: Array,
    decay: Scalar,
    l1: Scalar,
    slope: Scalar,
    slope_before: Scalar,
    drift: Scalar,
    least: Scalar,
) -> Array:
    """Follow the regularised leader: the minimum of all gradients' planes with a parabola at every parameter so far."""
    before = slope_before * np.sqrt(sum)
    sum[...] = flush(sum + g * g)
    after = slope * np.sqrt(sum)
    z[...] = flush(z + g - (after - before + drift) * p)
    curvature = after + least
    return np.where(curvature == 0, p, (clip(z, l1) - z) / curvature)


def _cube_root(x: Array) -> Array:
    """Return the cube root of x >= 0: a third of the bits as a guess of x**(-1/3), then Newton's method."""
    unsigned, constant = _BITS[x.dtype]
    bits = x.view(unsigned)
    third_of_bits = (bits >> unsigned(2)) + (bits >> unsigned(4))
    for shift in (4, 8, 16):
        third_of_bits = third_of_bits + (third_of_bits >> unsigned(shift))
    y = (unsigned(constant) - third_of_bits).view(x.dtype)
    one, third = x.dtype.type(1), x.dtype.type(1.0 / 3.0)
    for _ in range(3 if x.dtype == np.float32 else 4):
        y = y + (third * y) * (one - ((x * y) * y) * y)
    return np.where(x + x == x, x, (x * y) * y)
