"""Checks of what L-BFGS is given."""

import numbers
import operator
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np


def check_options(unexpected: Mapping[str, Any]) -> None:
    """Refuse options that L-BFGS does not have.

    Raises
    ------
    TypeError
        If there is one.
    """
    for name in unexpected:
        raise TypeError(
            f"LBFGS has no {name!r}: it minimises one function of all parameters in their own dtype, and has only the "
            "options in its signature"
        )


def loss_number(loss: Any) -> float:
    """Return a closure's loss.

    Raises
    ------
    TypeError, ValueError
        If it is no number, or one beyond those of a float.
    """
    if isinstance(loss, np.ndarray) and loss.size == 1:
        loss = loss.item()
    if isinstance(loss, bool | np.bool_) or not isinstance(loss, numbers.Real):
        raise TypeError(f"closure must return the loss as a number; got {type(loss).__name__}")
    try:
        return float(loss)
    except OverflowError:  # an int, or a fraction of ints
        raise ValueError(
            f"closure must return a loss that fits into a float; got {type(loss).__name__} beyond 1.8e308"
        ) from None


def check_keys(path: str, given: Any, names: Sequence[str]) -> None:
    """Raise if a part of a state has missing or unknown keys."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{path} must be a dict; got {type(given).__name__}")
    if set(given) != set(names):
        raise ValueError(f"{path} must have the keys {', '.join(names)}; got {', '.join(map(str, given)) or 'none'}")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return an int of at least `least`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an int; got {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    return number
