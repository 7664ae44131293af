"""Dask arrays and frames as partitions of rows: each a task that gives X, y and the weights of the same rows."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np


def is_frame(data: Any) -> bool:
    """Return whether this is a Dask frame or series."""
    return type(data).__module__.startswith("dask.dataframe") and hasattr(data, "to_delayed")


def check_collection(name: str, data: Any, axes: Sequence[int]) -> None:
    """Check that an argument is a Dask array or frame with this number of axes.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if not isinstance(data, da.Array) and not is_frame(data):
        raise TypeError(
            f"{name} must be a Dask array or frame; got {type(data).__name__}. For data in memory take gdfast.sklearn"
        )
    if data.ndim not in axes:
        raise ValueError(f"{name} must have {' or '.join(map(str, axes))} axes; got {data.ndim}")


def with_whole_rows(X: Any) -> Any:
    """Return a Dask array that is not cut along its columns."""
    return X.rechunk({1: -1}) if isinstance(X, da.Array) and X.ndim == 2 and X.numblocks[1] > 1 else X


def partitions(X: Any, y: Any, sample_weight: Any = None) -> list[tuple[Any, Any, Any]]:
    """Return the delayed X, y and weights of each partition.

    Arrays of known length are cut like X. What has unknown lengths, as frames have, must have the same partitions:
    whether they are as long is found when they are computed.

    Raises
    ------
    TypeError, ValueError
        If an argument is no Dask collection, or the numbers of rows or partitions differ.
    """
    check_collection("X", X, (2,))
    check_collection("y", y, (1, 2))
    parts = _delayed(X)
    found = [parts, _like("y", y, X, len(parts))]
    if sample_weight is None:
        found.append([None] * len(parts))
    else:
        check_collection("sample_weight", sample_weight, (1,))
        found.append(_like("sample_weight", sample_weight, X, len(parts)))
    return list(zip(*found, strict=True))


def _like(name: str, data: Any, X: Any, n: int) -> list[Any]:
    """Return the partitions of an argument, cut like X where that can be."""
    chunks, own = (_row_chunks(of) for of in (X, data))
    if chunks is not None and own is not None and chunks != own:
        if sum(chunks) != sum(own):
            raise ValueError(f"{name} must have as many rows as X, {sum(chunks)}; got {sum(own)}")
        data = data.rechunk({0: chunks})
    parts = _delayed(data)
    if len(parts) != n:
        raise ValueError(
            f"{name} must have the partitions of X, {n}; got {len(parts)}. Lengths are unknown: repartition one of them"
        )
    return parts


def _row_chunks(data: Any) -> tuple[int, ...] | None:
    """Return the lengths of an array's partitions, or None if they are unknown."""
    if not isinstance(data, da.Array) or np.isnan(data.chunks[0]).any():
        return None
    return tuple(int(length) for length in data.chunks[0])


def _delayed(data: Any) -> list[Any]:
    return list(np.ravel(with_whole_rows(data).to_delayed()))
