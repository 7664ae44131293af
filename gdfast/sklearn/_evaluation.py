"""What an optimizer has a model evaluated with, where that is not what it trains: an average of the parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gdfast.optimizers import ScheduleFreeAdamW, ScheduleFreeSGD
from gdfast.stepping.base import Optimizer

Array = np.ndarray[Any, Any]


@contextmanager
def evaluated(opt: Optimizer) -> Iterator[None]:
    """Have in the parameters, for a ``with`` block, what is to predict; after it what is trained, to the bit."""
    if opt.averaging.on:
        with opt.averaged():
            yield
    elif isinstance(opt, ScheduleFreeSGD | ScheduleFreeAdamW):
        params = [entry.param.array for entry in opt._layout.entries]
        trained = [param.copy() for param in params]  # the way back by `train` alone would be rounded
        opt.eval()
        try:
            yield
        finally:
            opt.train()
            for param, values in zip(params, trained, strict=True):
                param[...] = values
    else:
        yield


def remembered(opt: Optimizer) -> list[Array]:
    """Return what `evaluated` takes into account beside the parameters: the best epoch is kept with it."""
    entries = opt._layout.entries
    if opt.averaging.on:
        return [entry.states[-1].array for entry in entries]
    if isinstance(opt, ScheduleFreeSGD | ScheduleFreeAdamW):
        return [state.array for entry in entries for state in entry.states if state.name == "z"]
    return []
