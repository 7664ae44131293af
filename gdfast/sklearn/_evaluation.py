"""Evaluation with averaged parameters: those of `ema_decay`, or of a schedule-free optimizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gdfast.optimizers import ScheduleFreeAdamW, ScheduleFreeSGD
from gdfast.stepping.base import Optimizer

Array = np.ndarray[Any, Any]


@contextmanager
def evaluating(opt: Optimizer) -> Iterator[None]:
    """Put the averages into the parameters for a ``with`` block; afterwards they are what they were, to the bit.

    Nothing is done for an optimizer without averages.
    """
    if opt.averaging.on:
        with opt.averaged():
            yield
    elif isinstance(opt, ScheduleFreeSGD | ScheduleFreeAdamW):
        params = [entry.param.array for entry in opt._layout.entries]
        trained = [param.copy() for param in params]  # `train` alone would restore them up to rounding
        opt.eval()
        try:
            yield
        finally:
            opt.train()
            for param, values in zip(params, trained, strict=True):
                param[...] = values
    else:
        yield


def averaging_state(opt: Optimizer) -> list[Array]:
    """Return the state that the averages are computed from, for keeping it with the parameters of the best epoch."""
    entries = opt._layout.entries
    if opt.averaging.on:
        return [entry.states[-1].array for entry in entries]
    if isinstance(opt, ScheduleFreeSGD | ScheduleFreeAdamW):
        return [state.array for entry in entries for state in entry.states if state.name == "z"]
    return []
