"""Evaluation: with averaged parameters, of `ema_decay` or a schedule-free optimizer; by the measure of a loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.metrics import d2_absolute_error_score, d2_pinball_score, d2_tweedie_score, r2_score

from gdfast.optimizers import ScheduleFreeAdamW, ScheduleFreeSGD
from gdfast.stepping.base import Optimizer

Array = np.ndarray[Any, Any]


LEAST = 1e-100  # a prediction by which deviances can divide


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


def regression_score(estimator: Any, true: Array, predicted: Array, weights: Array | None) -> float:
    """Return how much of the loss of the best constant the predictions avoid: 1 at best, 0 for the constant.

    That is R2 for the squared error and losses that resemble it, and D2 for the pinball loss, the absolute error and
    the deviances.
    """
    power = {"poisson": 1.0, "gamma": 2.0, "tweedie": estimator.power}.get(estimator.loss)
    if power is not None:
        return _deviance_score(true, predicted, weights, power)
    if estimator.loss == "quantile":
        return float(d2_pinball_score(true, predicted, sample_weight=weights, alpha=estimator.quantile))
    if estimator.loss == "epsilon_insensitive":
        return float(d2_absolute_error_score(true, predicted, sample_weight=weights))
    return float(r2_score(true, predicted, sample_weight=weights))


def _deviance_score(true: Array, predicted: Array, weights: Array | None, power: float) -> float:
    """Return the mean over the targets; one that never varies has no best constant to compare with, and counts 0."""
    true, predicted = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (true, predicted))
    predicted = np.maximum(predicted, LEAST)  # exp of a very low score is zero
    scores = [
        d2_tweedie_score(y, of, sample_weight=weights, power=power) if np.ptp(y) > 0 else 0.0
        for y, of in zip(true.T, predicted.T, strict=True)
    ]
    return float(np.mean(scores))
