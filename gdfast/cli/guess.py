"""What a model is compared with: the simplest guess from the training rows; and which rows those were."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: n rows of the training are remembered, by a hash of each
SKETCH = 1000
#: rows of training data that repeat more than this say nothing about other rows that are equal to them
LEAST_DISTINCT = 0.9


def guess_of(y: Array, kind: str, weights: Array | None) -> dict[str, Any]:
    """Return what always saying the same would say: each class's share of the training rows, or mean and median."""
    weights = np.ones(len(y)) if weights is None else weights
    if kind == "classification":
        number = np.unique(y, return_inverse=True)[1]
        return {"shares": np.bincount(number, weights) / weights.sum()}
    order = np.argsort(y)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return {"mean": float(np.average(y, weights=weights)), "median": float(y[order][middle])}


def hashes(matrix: Any) -> Array:
    """Return a number for each row of a matrix, dense or CSR: equal rows have equal ones (rounded to nine digits)."""
    direction = np.random.default_rng(0).standard_normal(matrix.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(matrix @ direction, np.float64)
        mantissa, exponent = np.frexp(np.nan_to_num(values))
        keys = np.round(mantissa * 2**30).astype(np.int64) * 4096 + exponent
        return np.asarray(keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def seen_of(matrix: Any) -> dict[str, Any]:
    """Return what tells rows of the training from others: the smallest hashes, and the share of rows that differ."""
    found = hashes(matrix)
    different = np.unique(found)
    return {"hashes": different[:SKETCH].view(np.int64), "distinct": len(different) / len(found)}


def share_seen(about: dict[str, Any], matrix: Any) -> float:
    """Return which share of the rows, about, were in the training; 0 where that cannot be told."""
    seen = about.get("seen")
    if seen is None or seen["distinct"] < LEAST_DISTINCT:
        return 0.0
    known = seen["hashes"].view(np.uint64)
    found = hashes(matrix)
    found = found[found <= known.max()] if len(known) == SKETCH else found
    return float(np.isin(found, known).mean()) if len(found) else 0.0


def check_about(about: dict[str, Any], classes: Array | None) -> None:
    """Check what a model file says about the training, as far as it is used.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
    """
    if (seen := about.get("seen")) is not None:
        good = seen["hashes"].ndim == 1 and len(seen["hashes"]) and seen["hashes"].dtype == np.int64
        if not good or type(seen["distinct"]) is not float:
            raise ValueError("about must hold hashes of rows as whole numbers")
    if (guess := about.get("guess")) is not None:
        good = _averages(guess) if classes is None else _shares(guess, classes)
        if not good:
            raise ValueError("about must hold the shares of the classes, or mean and median")
    for name in ("importances", "notes"):
        if not isinstance(about.get(name, []), list):
            raise TypeError(f"{name} must be a list")


def _averages(guess: dict[str, Any]) -> bool:
    return all(type(guess[name]) is float and np.isfinite(guess[name]) for name in ("mean", "median"))


def _shares(guess: dict[str, Any], classes: Array) -> bool:
    shares = guess["shares"]
    good = shares.shape == classes.shape and shares.dtype == np.float64 and (shares >= 0).all()
    return bool(good and np.isclose(shares.sum(), 1))
