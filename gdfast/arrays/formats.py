"""The formats that arrays may lie in, besides the type that rules compute in: one row each.

The native loops of a format are in src/formats, its readable twin in gdfast/reference/formats.py, both under the names
in the row. NumPy has no bfloat16, so state in it is an array of uint16: the upper halves of float32 values.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

#: arrays of fewer elements keep the state that they compute with
LEAST_SIZE = 4096
#: elements of a state in eight bits that share a scale
BLOCK = 128
#: behind the name of a state in eight bits: the array of its scales
SCALES = ".scales"


#: state beside a parameter in fewer bits: what its bfloat16 lacks of float32, or a whole float32
REMAINDER, MASTER = "remainder", "master"


class Format(NamedTuple):
    """How a state lies in memory.

    Attributes
    ----------
    dtype : np.dtype
        Of its array.
    signed, non_negative : str
        The names of its loops, for states of either sign and for those that are never negative.
    scaled : bool
        Whether a second array beside it has a uint8 for each block of `BLOCK` elements.
    """

    dtype: np.dtype[np.generic]
    signed: str
    non_negative: str
    scaled: bool


FORMATS: Mapping[str, Format] = {
    "bfloat16": Format(np.dtype(np.uint16), "bfloat16", "bfloat16", False),
    "8bit": Format(np.dtype(np.uint8), "8bit_signed", "8bit_non_negative", True),
}
PLAIN = "float32"
#: format of 16 bits -> its loops that round to the nearest
NEAREST: Mapping[str, str] = {"bfloat16": "bfloat16_nearest", "float16": "float16"}


def blocks(size: int) -> int:
    """Return how many blocks an array of this size has."""
    return -(-size // BLOCK)


def short_format(dtype: np.dtype[Any]) -> str | None:
    """Return the format of a dtype of 16 bits that parameters and gradients may have: "bfloat16", "float16"; or None.

    NumPy's bfloat16 is that of the ml_dtypes package, recognised by its name: who has such arrays has the package.
    """
    if dtype.itemsize != 2:  # before the name, which NumPy makes anew each time
        return None
    return "float16" if dtype == np.float16 else "bfloat16" if dtype.name == "bfloat16" else None


def code_format(dtype: np.dtype[Any]) -> str | None:
    """Return the same for an array of checked memory, where bfloat16 without ml_dtypes is uint16."""
    return "bfloat16" if dtype == np.uint16 else short_format(dtype)


def computing_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that rules compute in for parameters of a dtype."""
    return np.dtype(np.float32) if short_format(dtype) else dtype
