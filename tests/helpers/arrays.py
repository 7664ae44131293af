"""Arrays to test on: awkward sizes, hostile values, and how to compare bits."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Around vectors, cache lines, and tiles of either kind in either element type.
SIZES = [0, 1, 7, 15, 16, 17, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025, 2100]
HOSTILE = [np.nan, np.inf, -np.inf, 0.0, -0.0, "subnormal", "tiny", "huge", "-huge", 1e-20, -1e-20]


def hostile_values(dtype: Any) -> np.ndarray:
    limits = np.finfo(dtype)
    words = {
        "subnormal": limits.smallest_subnormal * 5,
        "tiny": limits.smallest_normal,
        "huge": limits.max,
        "-huge": -limits.max,
    }
    return np.array([words.get(v, v) for v in HOSTILE], dtype)


def plain(rng: np.random.Generator, size: int, dtype: Any) -> np.ndarray:
    """Values of very different magnitudes."""
    return (rng.standard_normal(size) * 10.0 ** rng.integers(-6, 4, size)).astype(dtype)


def hostile(rng: np.random.Generator, size: int, dtype: Any) -> np.ndarray:
    """Values of which one in four is hostile."""
    values = plain(rng, size, dtype)
    chosen = rng.random(size) < 0.25
    values[chosen] = rng.choice(hostile_values(dtype), size)[chosen]
    return values


def unaligned(values: np.ndarray) -> np.ndarray:
    """The same values one element further than any vector or cache line begins."""
    room = np.empty(values.size + 32, values.dtype)
    start = (-room.ctypes.data % 64) // values.itemsize + 1
    view = room[start : start + values.size].reshape(values.shape)
    view[...] = values
    return view


def bits(array: np.ndarray) -> bytes:
    """The bits of an array, with every NaN made alike."""
    copy = array.copy()
    if copy.dtype.kind not in "iu":
        copy[np.isnan(copy)] = np.nan
    return copy.tobytes()


def assert_same_bits(left: Any, right: Any, where: str = "") -> None:
    """Compare arrays, or nested dicts and lists of them, bit for bit."""
    if isinstance(left, Mapping):
        assert list(left) == list(right), where
        for key in left:
            assert_same_bits(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same_bits(a, b, f"{where}[{i}]")
    else:
        assert left.dtype == right.dtype, where
        assert left.shape == right.shape, where
        if bits(left) != bits(right):
            differ = np.flatnonzero(~((left == right) | (np.isnan(left) & np.isnan(right))).ravel())
            raise AssertionError(f"{where}: {len(differ)} of {left.size} elements differ, at {differ[:5]}")


def snapshot(opt: Any, params: Any) -> tuple[Any, ...]:
    """Every byte that a step could change."""
    arrays = params if isinstance(params, list) else [params]
    return (
        [array.tobytes() for array in arrays],
        {name: {key: array.tobytes() for key, array in states.items()} for name, states in opt.state.items()},
        opt.step_count,
    )
