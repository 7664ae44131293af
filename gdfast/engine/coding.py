"""Arrays in fewer bits, to and from float32 as a whole or by blocks; in a step the engines do that tile by tile."""

from typing import Any

import numpy as np

from gdfast.arrays.formats import BLOCK, blocks, code_format
from gdfast.engine import _plan, isa

Array = np.ndarray[Any, Any]
_CHUNK = 1 << 16  # elements


def decoded(form: str, codes: Array, beside: Array | None) -> Array:
    """Return an array of a format as float32."""
    values = np.empty(codes.shape, np.float32)
    _plan.decode_array(isa.rules, form, codes, beside, values)
    return values


def as_float(array: Array) -> Array:
    """Return an array of bfloat16 (or of uint16, its memory) or float16 as float32, and any other as it is."""
    form = code_format(array.dtype)
    return array if form is None else decoded(form, array.view(np.uint16), None)


def write_copy(form: str, copy: Array, values: Array) -> None:
    """Write a float32 array to one of bfloat16 or float16, as a step does, without a large array beside them."""
    encode_all(form, copy.reshape(-1), None, values.reshape(-1))


def encode_all(form: str, codes: Array, beside: Array | None, values: Array) -> None:
    """Encode a vector, with the scales of its blocks beside it if there are some, without a large array beside them."""
    for start in range(0, codes.size, _CHUNK):
        part = codes[start : start + _CHUNK]
        of_part = None if beside is None else beside[start // BLOCK : start // BLOCK + blocks(part.size)]
        encode_nearest(form, part, of_part, values[start : start + _CHUNK])


def encode_nearest(form: str, codes: Array, beside: Array | None, values: Array) -> None:
    """Encode a float32 array of the same size: to the nearest, ties up in magnitude, without random bits."""
    half = np.full(codes.size, 0x8000 if codes.itemsize == 2 else 0x80000, np.uint32)  # of the bits that are dropped
    _plan.encode_array(isa.rules, form, codes, beside, np.ascontiguousarray(values, np.float32), half, False)
