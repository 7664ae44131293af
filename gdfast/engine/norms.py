"""Norms of gradients, summed in a fixed order, so that their bits depend on neither threads nor instruction set."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays.formats import code_format
from gdfast.arrays.structure import flatten
from gdfast.engine import _plan, _reduce, isa, threads
from gdfast.engine.coding import as_float

# A float64 sum of squares outside this range may have overflowed, or lost bits to underflow.
_SAFE = (1e-290, 1e300)


def global_norm(arrays: Any) -> float:
    """Return the Euclidean norm of all elements of all arrays.

    The squares are summed in double precision in a fixed order: the bits are the same for any number of threads and any
    instruction set. float32 values neither overflow nor vanish.

    Parameters
    ----------
    arrays : array, nested list/tuple/dict of arrays
        float32 or float64, C-contiguous, of any shapes.

    Returns
    -------
    float
        NaN or infinity if any element is.

    Raises
    ------
    TypeError, ValueError
        If an array is of another dtype, or not C-contiguous.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> gdfast.global_norm([np.array([3.0]), np.array([[4.0]], np.float32)])
    5.0
    """
    found, _ = flatten(arrays, "arrays", "arrays", first=0)
    buffers.check_readable(found)
    return native_norm(tuple(buffers.plain(named.array) for named in found), threads.resolve(None))


def native_norm(arrays: tuple[Any, ...], n_threads: int, others: tuple[Any, ...] = ()) -> float:
    """Return the norm of checked arrays (of their sums with others, if there are any), by the native engine."""
    worth = sum(array.nbytes for array in arrays) // _plan.GRAIN_BYTES
    if any(code_format(array.dtype) for array in arrays):
        return _root(_short_sum(arrays, others), arrays, others)
    total = _reduce.square_sum(isa.rules.SQUARE_SUM, arrays, others, min(n_threads, worth))
    return _root(total, arrays, others)


def _short_sum(arrays: tuple[Any, ...], others: tuple[Any, ...]) -> float:
    """Return the sum of squares of arrays of which some are short: block by block, decoded."""
    total = 0.0
    for i, array in enumerate(arrays):
        flat, beside = array.reshape(-1), others[i].reshape(-1) if others else None
        for start in range(0, flat.size, _reduce.BLOCK):
            part = as_float(flat[start : start + _reduce.BLOCK])
            added = () if beside is None else (beside[start : start + _reduce.BLOCK],)
            total = _reduce.square_sum(isa.rules.SQUARE_SUM, (part,), added, 1, total)
    return total


def numpy_norm(arrays: tuple[Any, ...], others: tuple[Any, ...] = ()) -> float:
    """Return the norm of checked arrays (of their sums with others, if there are any), by the reference."""
    from gdfast.reference.norm import square_sum

    arrays = tuple(map(as_float, arrays))
    return _root(square_sum(_sums(arrays, others)), arrays, others)


def _sums(arrays: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
    with np.errstate(all="ignore"):
        return [a + b for a, b in zip(arrays, others, strict=True)] if others else arrays


def gathered_norm(
    arrays: tuple[Any, ...],
    n_threads: int,
    gather: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
    single: bool,
) -> float:
    """Return the norm of arrays that lie in several processes, with the bits of one process that holds them all.

    Parameters
    ----------
    arrays : tuple of array
        This process's: each begins at a border of blocks of the whole array.
    n_threads : int
    gather : callable
        Takes a vector, and returns those of all processes, one after the other.
    single : bool
        Whether all arrays of all processes are float32.
    """
    kernels = isa.rules.SQUARE_SUM
    total = _in_turn(gather(_reduce.block_sums(kernels, arrays, n_threads)))
    if single or _SAFE[0] < total < _SAFE[1]:
        return math.sqrt(total)
    exponent = _exponent(gather(np.array(_peaks(arrays))).tolist())
    if exponent is None:
        return math.sqrt(total)
    sums = _reduce.block_sums(kernels, tuple(_scaled(arrays, exponent)), n_threads)
    return _scaled_back(math.sqrt(_in_turn(gather(sums))), exponent)


def _in_turn(sums: np.ndarray[Any, Any]) -> float:
    """Return the sum, one after the other, where np.sum would go pairwise."""
    with np.errstate(all="ignore"):
        return float(np.cumsum(np.concatenate([np.zeros(1), sums]))[-1])


def _root(total: float, arrays: Sequence[Any], others: Sequence[Any]) -> float:
    """Return the root of a sum of squares; recompute it from scaled values if it left the range of float64."""
    if _SAFE[0] < total < _SAFE[1] or all(array.dtype != np.float64 for array in arrays):
        return math.sqrt(total)
    from gdfast.reference.norm import square_sum

    arrays = _sums(tuple(map(as_float, arrays)), others)
    exponent = _exponent(_peaks(arrays))
    if exponent is None:
        return math.sqrt(total)
    return _scaled_back(math.sqrt(square_sum(_scaled(arrays, exponent))), exponent)


def _peaks(arrays: Sequence[Any]) -> list[float]:
    return [float(np.max(np.abs(array))) for array in arrays if array.size]


def _exponent(peaks: Sequence[float]) -> int | None:
    """Return the power of two by which to scale, which is exact; None where it would not help."""
    largest = max(peaks, default=0.0)
    if largest == 0.0 or not all(map(math.isfinite, peaks)):
        return None
    return math.frexp(largest)[1]


def _scaled(arrays: Sequence[Any], exponent: int) -> Iterator[np.ndarray[Any, Any]]:
    return (np.ldexp(array.astype(np.float64), -exponent) for array in arrays)


def _scaled_back(root: float, exponent: int) -> float:
    try:
        return math.ldexp(root, exponent)
    except OverflowError:
        return math.inf
