"""The few element functions that every rule is made of, on NumPy arrays. The native ones are in src/rules/common.pxi.

Each operation rounds once, in the written order, which is why the two engines agree to the last bit. Comparisons pass a
NaN on; a NaN is never hidden.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Scalar: TypeAlias = np.floating[Any]


def flush(x: Array) -> Array:
    """Flush subnormal numbers to zero, for values that are stored in a state array."""
    zero = x.dtype.type(0)
    return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, zero, x)


def clip(x: Array, bound: Array | Scalar) -> Array:
    """Return min(max(x, -bound), bound); NaN stays NaN."""
    return np.where(x > bound, bound, np.where(x < -bound, -bound, x))


def larger(a: Array, b: Array | Scalar) -> Array:
    """Return the larger of the two; NaN where either is."""
    return np.where((a >= b) | (a != a), a, b)


def sign(x: Array) -> Array:
    """Return 1, -1, or x itself where it is neither above nor below zero; NaN stays NaN."""
    one = x.dtype.type(1)
    return np.where(x > 0, one, np.where(x < 0, -one, x))


def move(param: Array, rate: Array | Scalar, direction: Array, decay: Scalar, l1: Scalar) -> Array:
    """Return the parameter after decoupled decay, the step, and the proximal step of the l1 penalty."""
    step = rate * direction
    if decay != 0:
        step = (
            np.where(np.isfinite(param), decay * param, param.dtype.type(0)) + step
        )  # infinite parameters stay infinite
    moved = param - step
    return moved - clip(moved, rate * l1) if l1 != 0 else moved


def prepare(grad: Array, param: Array, grad_scale: Scalar, clip_value: Scalar, l2: Scalar) -> Array:
    """Return the prepared gradient: scaled, clipped, with the coupled decay added."""
    g = clip(grad_scale * grad, clip_value)
    return g + l2 * param if l2 != 0 else g


def approach(old: Array, new: Array, share: Scalar) -> Array:
    """Return the linear interpolation from old to new; exactly `new` if share is 1."""
    return new if share == 1 else np.where(old == new, old, old + share * (new - old))  # both may be infinite


def average(mean: Array, param: Array, rest: Scalar) -> Array:
    """Return the average of the parameters after a step."""
    return flush(approach(mean, param, rest))
