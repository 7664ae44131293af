"""Numbers in fewer bits: how float32 values are encoded and decoded, on NumPy arrays. The native twin is src/formats.

A format's arrays are unsigned integers: ``codes``, one an element, and for some formats a second array: the scales of
blocks, or remainders. Rounding is stochastic where `random` says so: 32 bits an element from :func:`random_bits`, of
which a format takes the upper or the lower ones. NaN and infinities stay what they are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

#: elements that share a scale
BLOCK = 128
_INFINITY, _NAN, _MAGNITUDE = 0x7F800000, 0x7FC00000, 0x7FFFFFFF
_LAST_BFLOAT16 = 0x7F7F0000  # the largest finite one, as float32


def mix(x: Any) -> Any:
    """Return 32 well mixed bits for each of 32: two rounds of xor-shift and multiply. For Python ints and uint32."""
    word = 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & word
    x = ((x ^ (x >> 15)) * 0x846CA68B) & word
    return x ^ (x >> 16)


def random_bits(step_key: int, array: int, lot: int, size: int, first: int = 0) -> Array:
    """Return 32 random bits for each element from `first` on: a function of these numbers and its index alone."""
    return random_bits_at(step_key, array, lot, np.arange(first, first + size))


def random_bits_at(step_key: int, array: int, lot: int, elements: Array) -> Array:
    """Return those of some elements, by their indices."""
    key = mix((mix((step_key + array) & 0xFFFFFFFF) + lot) & 0xFFFFFFFF)
    with np.errstate(over="ignore"):
        found: Array = mix(elements.astype(np.uint32) + np.uint32(key))
    return found


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32).reshape(-1).view(np.int32)


def _floats(bits: Array) -> Array:
    return bits.astype(np.int32).view(np.float32)


def _noise(random: Array, high: int, bits: int) -> Array:
    """Return the upper or the lower so many random bits."""
    return (random >> np.uint32(32 - bits) if high else random & np.uint32((1 << bits) - 1)).astype(np.int64)


def decode_bfloat16(codes: Array, scales: Array | None = None) -> Array:
    """Decode bfloat16: the upper half of a float32."""
    return (codes.astype(np.uint32) << 16).view(np.float32)


def encode_bfloat16(codes: Array, scales: Array | None, values: Array, random: Array, high: int) -> None:
    """Round stochastically: add random bits, drop the lower half. What is finite stays finite; every NaN is one."""
    bits = _bits(values).astype(np.int64)
    magnitude = bits & _MAGNITUDE
    bits = np.where(magnitude < _LAST_BFLOAT16, bits + _noise(random, high, 16), bits)
    codes[...] = (np.where(magnitude > _INFINITY, _NAN, bits) >> 16) & 0xFFFF


def encode_bfloat16_nearest(codes: Array, scales: Array | None, values: Array, random: Array, high: int) -> None:
    """Round to the nearest, ties to even."""
    bits = _bits(values).astype(np.int64)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    codes[...] = (np.where((bits & _MAGNITUDE) > _INFINITY, _NAN, rounded) >> 16) & 0xFFFF


def decode_float16(codes: Array, scales: Array | None = None) -> Array:
    """Decode float16."""
    with np.errstate(all="ignore"):
        values: Array = codes.view(np.float16).astype(np.float32)
    return values


def encode_float16(codes: Array, scales: Array | None, values: Array, random: Array, high: int) -> None:
    """Round to the nearest, ties to even; every NaN is one."""
    with np.errstate(all="ignore"):
        rounded = np.asarray(values, np.float32).reshape(-1).astype(np.float16).view(np.uint16)
    codes[...] = np.where(np.isnan(values), 0x7E00, rounded)


def decode_split(codes: Array, scales: Array) -> Array:
    """Put the two halves of a float32 together."""
    lower = scales.view(np.int16)
    lower = np.where((codes & 0x7FFF == 0) & (lower < 0), 0, lower)  # no step leaves that, but who writes zeros does
    return ((codes.astype(np.int64) << 16) + lower).astype(np.uint32).view(np.float32)


def encode_split(codes: Array, scales: Array, values: Array, random: Array, high: int) -> None:
    """Take the nearest bfloat16, ties up in magnitude, and the difference of the bit patterns. Every NaN is one."""
    bits = _bits(values).astype(np.int64) & 0xFFFFFFFF
    bits = np.where((bits & _MAGNITUDE) > _INFINITY, _NAN, bits)
    codes[...] = ((bits + 0x8000) >> 16) & 0xFFFF
    scales[...] = bits & 0xFFFF


def _decode_blocks(codes: Array, scales: Array, top: int) -> Array:
    """Decode small floats; `top` is the largest magnitude: NaN, and below it infinity."""
    fields = top >> 3
    scale = np.minimum(np.repeat(scales, BLOCK)[: codes.size].astype(np.int64), 254 - fields)
    magnitude = codes.astype(np.int64) & top
    kept = magnitude << 20
    least = (scale + 1) << 23
    below = (_floats(np.where(kept < 1 << 23, kept, 0) + least) - _floats(least)).view(np.int32)
    bits = np.where(kept < 1 << 23, below, kept + (scale << 23))
    bits = np.where(magnitude == top - 1, _INFINITY, bits)
    if fields == 15:
        bits |= (codes.astype(np.int64) & 128) << 24
    return np.where(magnitude == top, _NAN, bits).astype(np.uint32).view(np.float32)


def _encode_blocks(codes: Array, scales: Array, values: Array, random: Array, high: int, top: int) -> None:
    """Encode as small floats, whose exponents begin at the scale of their block."""
    fields, signed = top >> 3, top == 127
    bits = _bits(values).astype(np.int64)
    whole = bits & _MAGNITUDE
    finite = np.where(whole < _INFINITY, whole, 0)
    starts = np.arange(0, codes.size, BLOCK)
    largest = np.maximum.reduceat(finite, starts) if codes.size else finite
    scales[...] = np.clip(((largest + 0x2FFFFF) >> 23) - fields, 0, 254 - fields)
    scale = np.repeat(scales, BLOCK)[: codes.size].astype(np.int64)
    magnitude = whole if signed else np.maximum(bits, 0)
    kept = np.where(magnitude < _INFINITY, magnitude, 0)
    least = (scale + 1) << 23
    below = (_floats(np.minimum(kept, least)) + _floats(least)).view(np.int32) - least
    code = (np.where(kept < least, below, kept - (scale << 23)) + _noise(random, high, 20)) >> 20
    code = np.minimum(code, top - 2)
    code = np.where(magnitude == _INFINITY, top - 1, code)
    code = code | ((bits >> 24) & 128) if signed else np.where((magnitude > 0) & (code < 1), 1, code)
    codes[...] = np.where(whole > _INFINITY, top, code)


def decode_signed(codes: Array, scales: Array) -> Array:
    """Decode eight bits: sign, 4 of exponent, 3 of mantissa."""
    return _decode_blocks(codes, scales, 127)


def encode_signed(codes: Array, scales: Array, values: Array, random: Array, high: int) -> None:
    """Encode as sign, 4 bits of exponent, 3 of mantissa, rounded stochastically; a block shares a power of two."""
    _encode_blocks(codes, scales, values, random, high, 127)


def decode_non_negative(codes: Array, scales: Array) -> Array:
    """Decode eight bits: 5 of exponent, 3 of mantissa."""
    return _decode_blocks(codes, scales, 255)


def encode_non_negative(codes: Array, scales: Array, values: Array, random: Array, high: int) -> None:
    """Encode as 5 bits of exponent, 3 of mantissa; what is positive never becomes zero, what is negative does."""
    _encode_blocks(codes, scales, values, random, high, 255)


class Coder(NamedTuple):
    """What decodes an array of one format, and what encodes it."""

    decode: Callable[..., Array]
    encode: Callable[..., None]


FORMATS = {
    "bfloat16": Coder(decode_bfloat16, encode_bfloat16),
    "bfloat16_nearest": Coder(decode_bfloat16, encode_bfloat16_nearest),
    "float16": Coder(decode_float16, encode_float16),
    "8bit_signed": Coder(decode_signed, encode_signed),
    "8bit_non_negative": Coder(decode_non_negative, encode_non_negative),
    "split": Coder(decode_split, encode_split),
}
