"""Arrays in fewer bits, to and from float32 as a whole; in a step the engines do that tile by tile."""

from typing import Any

import numpy as np

from gdfast.engine import _plan, isa

Array = np.ndarray[Any, Any]


def decoded(form: str, codes: Array, scales: Array | None) -> Array:
    """Return an array of a format as float32."""
    values = np.empty(codes.shape, np.float32)
    _plan.decode_array(isa.rules, form, codes, scales, values)
    return values


def encode_nearest(form: str, codes: Array, scales: Array | None, values: Array) -> None:
    """Encode a float32 array of the same size: to the nearest, ties up in magnitude, without random bits."""
    half = np.full(codes.size, 0x8000, np.uint32)
    _plan.encode_array(isa.rules, form, codes, scales, np.ascontiguousarray(values, np.float32), half, 0)


def encode(form: str, codes: Array, scales: Array | None, values: Array, step_key: int, array: int, place: int) -> None:
    """Encode a float32 array as a step does it for a state at this place."""
    random = _plan.random_bits(isa.rules, step_key, array, place // 2, 0, codes.size)
    _plan.encode_array(isa.rules, form, codes, scales, np.ascontiguousarray(values, np.float32), random, 16 * (place % 2))
