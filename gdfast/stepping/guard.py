"""Clipping by norm and by value, and the response to gradients that are not finite."""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound
from gdfast.arrays.structure import NamedArray, flatten
from gdfast.engine import threads
from gdfast.engine.coding import as_float
from gdfast.engine.norms import native_norm
from gdfast.stepping.hyperparameters import POSITIVE, Hyperparameter, at_step

NONFINITE = ("propagate", "skip", "raise")


class Guard:
    """Clipping, and the response to NaN and infinity, for all groups of an optimizer.

    Called a guard rather than checks, because clipping changes the gradients.

    Parameters
    ----------
    clip_norm, clip_value : float or schedule, optional
        The largest norm of all gradients together, and the largest absolute value of an element.
    nonfinite : {"propagate", "skip", "raise"}
        What to do with gradients that hold NaN or infinity.

    Raises
    ------
    TypeError, ValueError
        If one is invalid.
    """

    def __init__(self, clip_norm: Hyperparameter | None, clip_value: Hyperparameter | None, nonfinite: str) -> None:
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite must be one of {', '.join(map(repr, NONFINITE))}; got {nonfinite!r}")
        self.clip_norm = None if clip_norm is None else POSITIVE.check("clip_norm", clip_norm, is_float32=False)
        self.clip_value = None if clip_value is None else POSITIVE.check("clip_value", clip_value, is_float32=False)
        self.nonfinite = nonfinite
        self.needs_norm = clip_norm is not None or nonfinite != "propagate"

    def clip_value_at(self, step: int) -> float:
        """Return the largest absolute value of an element at this step."""
        if self.clip_value is None:
            return inf
        value: float = at_step(POSITIVE, "clip_value", self.clip_value, step, False)
        return value

    def clip_norm_at(self, step: int) -> float:
        """Return the largest norm of all gradients at this step."""
        if self.clip_norm is None:
            return inf
        value: float = at_step(POSITIVE, "clip_norm", self.clip_norm, step, False)
        return value

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"clip_norm": self.clip_norm, "clip_value": self.clip_value, "nonfinite": self.nonfinite}


def complaint(grads: Sequence[NamedArray], step: int) -> str:
    """Name the gradients that hold NaN or infinity, and how many of each."""
    return refusal(not_finite(grads), step)


def refusal(bad: Sequence[str], step: int) -> str:
    """Say why a step was refused."""
    named = ", ".join(bad) or "their norm overflows"
    return f"gradients at step {step} are not finite: {named}; nothing was updated"


def not_finite(grads: Sequence[NamedArray]) -> list[str]:
    """Return which gradients hold NaN or infinity, and how many of each."""
    found = [(g.path, as_float(g.array)) for g in grads]
    counts = [(path, np.count_nonzero(np.isnan(array)), np.count_nonzero(np.isinf(array))) for path, array in found]
    return [f"{path} ({nan} NaN, {inf} infinite)" for path, nan, inf in counts if nan or inf]


def clip_by_global_norm(arrays: Any, max_norm: float) -> float:
    """Scale all arrays in place by ``min(1, max_norm/(norm + 1e-6))``, and return the norm they had.

    An optimizer's ``clip_norm`` does the same within the step, without a separate pass over memory.

    Parameters
    ----------
    arrays : array, nested list/tuple/dict of arrays
        float32 or float64, C-contiguous, writeable, sharing no memory.
    max_norm : float
        The largest norm after scaling, positive.

    Returns
    -------
    float
        The norm before scaling.

    Raises
    ------
    TypeError, ValueError
        If an array or `max_norm` is invalid; nothing has been written then.

    Notes
    -----
    As `torch.nn.utils.clip_grad_norm_`. Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent
    neural networks, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> grads = [np.array([3.0]), np.array([4.0])]
    >>> gdfast.clip_by_global_norm(grads, 1.0)
    5.0
    >>> round(gdfast.global_norm(grads), 5)
    1.0
    """
    limit = POSITIVE.number("max_norm", max_norm, is_float32=False)
    found, _ = flatten(arrays, "arrays", "arrays", first=0)
    buffers.check_params(found)
    bound = Bound([named.path for named in found], [named.array for named in found])
    norm = native_norm(tuple(bound.views), threads.resolve(None))
    factor = clip_factor(norm, limit)
    if factor != 1.0:
        bound.check()
        with np.errstate(all="ignore"):
            for array in bound.views:
                np.multiply(array, array.dtype.type(factor), out=array)
    return norm


def clip_factor(norm: float, clip_norm: float) -> float:
    """Return min(1, clip_norm/(norm + 1e-6)); NaN if the norm is."""
    factor = clip_norm / (norm + 1e-6)
    return 1.0 if factor > 1.0 else factor


class Guarded:
    """What every optimizer with a `Guard` does once it knows the norm of a step's gradients."""

    guard: Guard
    last_norm: float | None
    skipped_steps: int

    def _clipped_scale(self, norm: float, scale: float, limit: float) -> float | None:
        """Return `scale` times the clipping factor, and keep the norm; None if the step must be refused."""
        if self.guard.nonfinite != "propagate" and not isfinite(norm):
            return None
        self.last_norm = norm = abs(scale) * norm
        return scale * clip_factor(norm, limit)

    def _refuse_step(self, norm: float, describe: Callable[[], str]) -> None:
        """Raise FloatingPointError with a description of the gradients, or count a skipped step."""
        if self.guard.nonfinite == "raise":
            raise FloatingPointError(describe())
        self.last_norm = norm
        self.skipped_steps += 1
