"""What a step does about its gradients as a whole: their norm, clipping, and values that are not finite."""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from gdfast.hyperparameters import POSITIVE, Hyperparameter, at_step
from gdfast.norms import clip_factor
from gdfast.structure import Named

NONFINITE = ("propagate", "skip", "raise")


class Guard:
    """Clipping and the answer to NaN and infinity, over all groups of an optimizer.

    Parameters
    ----------
    clip_norm, clip_value : float or schedule, optional
        The largest norm of all gradients together, and the largest absolute value of an element.
    nonfinite : {"propagate", "skip", "raise"}
        What to do with gradients that hold NaN or infinity.

    Raises
    ------
    TypeError, ValueError
        If one is not as it must be.
    """

    def __init__(self, clip_norm: Hyperparameter | None, clip_value: Hyperparameter | None, nonfinite: str) -> None:
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite must be one of {', '.join(map(repr, NONFINITE))}; got {nonfinite!r}")
        self.clip_norm = None if clip_norm is None else POSITIVE.check("clip_norm", clip_norm, single=False)
        self.clip_value = None if clip_value is None else POSITIVE.check("clip_value", clip_value, single=False)
        self.nonfinite = nonfinite
        self.needs_norm = clip_norm is not None or nonfinite != "propagate"

    def bound(self, step: int) -> float:
        """Return the largest absolute value of an element at this step."""
        if self.clip_value is None:
            return inf
        value: float = at_step(POSITIVE, "clip_value", self.clip_value, step, False)
        return value

    def limit(self, step: int) -> float:
        """Return the largest norm of all gradients at this step."""
        if self.clip_norm is None:
            return inf
        value: float = at_step(POSITIVE, "clip_norm", self.clip_norm, step, False)
        return value

    def factor(self, norm: float, step: int) -> float:
        """Return what gradients of this norm are to be multiplied by."""
        return clip_factor(norm, self.limit(step))

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make such a guard."""
        return {"clip_norm": self.clip_norm, "clip_value": self.clip_value, "nonfinite": self.nonfinite}


def complaint(grads: Sequence[Named], step: int) -> str:
    """Name the gradients that hold NaN or infinity, and how many of each."""
    counts = [(g.path, np.count_nonzero(np.isnan(g.array)), np.count_nonzero(np.isinf(g.array))) for g in grads]
    bad = [f"{path} ({nan} NaN, {inf} infinite)" for path, nan, inf in counts if nan or inf]
    return f"gradients at step {step} are not finite: {', '.join(bad) or 'their norm overflows'}; nothing was updated"
