"""Every check of an array that is to be updated in place, or read from, made before any write.

No array is ever copied to make it valid: an update of a copy would be lost silently. The checks read the plain array,
because a subclass may override its shape, strides or flags.
"""

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from gdfast.arrays._bound import backed
from gdfast.arrays.formats import short_format
from gdfast.arrays.structure import NamedArray, is_array

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def plain(array: Any) -> np.ndarray[Any, Any]:
    """Return an array, of whatever subclass, as a plain one over the same memory.

    Raises
    ------
    TypeError
        If it is not an array, even if its ``__class__`` claims so.
    """
    return array if type(array) is np.ndarray else np.ndarray.view(array, np.ndarray)


def check_params(params: Sequence[NamedArray], others: Sequence[NamedArray] = (), short: bool = False) -> None:
    """Check arrays that are to be updated in place, alone and against one another (and against others bound before).

    Raises
    ------
    TypeError
        If one is not a plain array of float32 or float64 (or, where `short`, bfloat16 or float16) in native byte order.
    ValueError
        If one is read-only, not C-contiguous, misaligned, or shares memory with itself or another.
    """
    for named in params:
        _check_kind(named.array, named.path, "updated in place", short)
    check_memory(params, others)


def check_memory(arrays: Sequence[NamedArray], others: Sequence[NamedArray] = ()) -> None:
    """Check the memory of arrays that are to be updated in place, of whatever type; see `check_params`.

    Raises
    ------
    ValueError
        If one is read-only, not C-contiguous, misaligned, or shares memory with itself or another.
    """
    for named in arrays:
        array = plain(named.array)
        _check_layout(array, named.path, "updated in place")
        if not array.flags.writeable:
            raise ValueError(f"{named.path} must be writeable to be updated in place; got a read-only array")
    _check_apart([*others, *arrays])


def check_readable(arrays: Sequence[NamedArray], short: bool = False) -> None:
    """Check arrays that are only read in place; `short`: which may be bfloat16 or float16 too.

    Raises
    ------
    TypeError, ValueError
        If one is not a plain, C-contiguous, aligned array of float32 or float64 in native byte order.
    """
    for named in arrays:
        _check_layout(_check_kind(named.array, named.path, "read in place", short), named.path, "read in place")


def check_zeroable(grads: Sequence[NamedArray]) -> None:
    """Check gradients that are to be zeroed in the pass that reads them.

    Raises
    ------
    ValueError
        If one is read-only, or shares memory with another, which would be zeroed before it is read.
    """
    for named in grads:
        if not plain(named.array).flags.writeable:
            raise ValueError(f"{named.path} must be writeable for zero_grad=True; got a read-only array")
    _check_apart(grads, "a gradient is zeroed once it is read")


class Memory:
    """The memory of arrays that do not overlap, sorted by address."""

    def __init__(self, arrays: Sequence[NamedArray]) -> None:
        self._spans = _spans(arrays)
        self._ends = [end for _, end, _ in self._spans]

    def holder(self, array: np.ndarray[Any, Any]) -> str | None:
        """Return the path of an array that shares memory with this one, or None."""
        if array.size == 0:
            return None
        low, high = byte_bounds(array)
        i = bisect.bisect_right(self._ends, low)  # the first that ends after `low`
        return self._spans[i][2] if i < len(self._spans) and self._spans[i][0] < high else None


def check_grad(grad: Any, param: NamedArray, own: Memory, short: bool = False) -> None:
    """Check one gradient against its parameter and against all memory that a step writes (`own`).

    Where `short`, a parameter that is not float64 may have a gradient of float32, bfloat16 or float16.

    Raises
    ------
    TypeError
        If it is not a plain array of the parameter's dtype in native byte order.
    ValueError
        If its shape is not the parameter's, it is not C-contiguous, or misaligned, or shares memory with `own`.
    """
    path, like = param.grad_path, plain(param.array)
    if not is_array(grad):
        raise TypeError(f"{path} must be a NumPy array like {param.path}; got {type(grad).__name__}")
    short = short and like.dtype != np.float64
    grad = _check_kind(grad, path, "read in place", short)
    if short and grad.dtype == np.float64:
        raise TypeError(f"{path} must be float32, float16 or bfloat16 like {param.path}; got {grad.dtype}")
    if grad.dtype != like.dtype and not short:
        raise TypeError(f"{path} must have the dtype of {param.path}, {like.dtype}; got {grad.dtype}")
    if grad.shape != like.shape:
        raise ValueError(f"{path} must have the shape of {param.path}, {like.shape}; got {grad.shape}")
    _check_layout(grad, path, "read in place")
    holder = own.holder(grad)
    if holder is not None:
        raise ValueError(f"{path} must not share memory with {holder}, which the step writes")


def _check_kind(array: Any, path: str, purpose: str, short: bool = False) -> np.ndarray[Any, Any]:
    """Return a float array as a plain one; refuse any other, which a step could not update as its owner expects."""
    if issubclass(type(array), np.ma.MaskedArray):
        raise TypeError(f"{path} must be a plain array to be {purpose}; got a masked array. Pass {_short(path)}.data")
    found = plain(array)
    if found.dtype.hasobject:
        raise TypeError(f"{path} must be float32 or float64; got an array of Python objects (dtype {found.dtype})")
    if not found.dtype.isnative:
        raise TypeError(
            f"{path} must be in native byte order to be {purpose}; got dtype {found.dtype.str}. "
            f"Pass {_short(path)}.astype({_short(path)}.dtype.newbyteorder('=')) and keep that array."
        )
    if found.dtype not in DTYPES and not (short and short_format(found.dtype)):
        decoded = ": 16 bits are decoded beside parameters that are not float64, by rules that step each element alone"
        raise TypeError(
            f"{path} must be float32 or float64; got {found.dtype}{decoded if short_format(found.dtype) else ''}. "
            f"Pass {_short(path)}.astype(np.float32) and keep that array."
        )
    return found


def _check_layout(array: np.ndarray[Any, Any], path: str, purpose: str) -> None:
    if not backed(array):
        raise ValueError(f"{path} must not be a view of an array that was resized since: its memory is gone")
    if _overlaps_itself(array):
        raise ValueError(
            f"{path} must not overlap itself; got strides {array.strides} for shape {array.shape}. "
            f"Pass {_short(path)}.copy() and keep that array."
        )
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{path} must be C-contiguous to be {purpose}; got strides {array.strides} for shape {array.shape}. "
            f"Pass np.ascontiguousarray({_short(path)}) and keep that array."
        )
    if not array.flags.aligned:
        raise ValueError(
            f"{path} must be aligned to {array.dtype.alignment} bytes to be {purpose}; got address "
            f"{array.ctypes.data:#x}. Pass {_short(path)}.copy() and keep that array."
        )


def _overlaps_itself(array: np.ndarray[Any, Any]) -> bool:
    """Whether some of its elements share memory: they need more bytes than the array spans."""
    if array.size == 0:
        return False
    low, high = byte_bounds(array)
    return array.nbytes > high - low


def _check_apart(arrays: Sequence[NamedArray], reason: str = "each element is updated once a step") -> None:
    """Refuse arrays that share memory. Sorted by address, only neighbours can overlap."""
    for (_, end, first), (begin, _, second) in itertools.pairwise(_spans(arrays)):
        if begin < end:
            raise ValueError(f"{first} and {second} must not share memory: {reason}")


def _spans(arrays: Sequence[NamedArray]) -> list[tuple[int, int, str]]:
    """Return where arrays begin and end in memory, and their paths, sorted."""
    found = [(plain(named.array), named.path) for named in arrays]
    return sorted((*byte_bounds(array), path) for array, path in found if array.size)


def _short(path: str) -> str:
    """Return the name that its owner probably uses: the last key of its path."""
    return path.rpartition("[")[2].strip('"]') if path.endswith('"]') else "the array"
