"""How a training goes: the same score after each epoch on rows of the training and on rows held out."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from gdfast.cli.report import error_of
from gdfast.cli.task import Rows, Task

Array = np.ndarray[Any, Any]

#: n rows of either kind are scored at most
MOST_ROWS = 1000
#: every epoch is scored up to this one, later ones ever more rarely: of the epoch's number each n-th part
EVERY_UNTIL = 50


@dataclass
class Watching:
    """A callback of a training.

    Attributes
    ----------
    measure : str
        What is scored: "log loss", "share of wrong classes" or "RMSE"; empty before the first epoch.
    epochs : list of int
        The numbers of the epochs scored, from 1.
    training, held_out : lists of float
        Their scores; the latter is empty where no rows are held out.
    seconds : float
        How long the scoring took.
    """

    task: Task
    measure: str = ""
    epochs: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def on_fit_begin(self, estimator: Any) -> None:
        """Take some rows of each kind."""
        self._estimator, task = estimator, self.task
        some = _some(len(task.train_y), task.settings.seed)
        self._rows = [(task.matrix[some], task.training, some)]
        if len(task.test):
            some = _some(len(task.test_y), task.settings.seed)
            self._rows.append((task.encoder.encode(task.test.take(some)), task.held_out, some))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Score the epoch, if it is due."""
        if epoch % max(1, epoch // EVERY_UNTIL):
            return
        begin = perf_counter()
        self.epochs.append(epoch + 1)
        for curve, (matrix, rows, some) in zip((self.training, self.held_out), self._rows, strict=False):
            self.measure, value = error_of(self._estimator, matrix, rows.y[some], _weights(rows, some))
            curve.append(value)
        self.seconds += perf_counter() - begin

    def on_fit_end(self, estimator: Any) -> None:
        """Release the estimator and the rows."""
        del self._estimator, self._rows


def _some(count: int, seed: int) -> Array:
    rows = np.arange(count)
    return rows if count <= MOST_ROWS else np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))


def _weights(rows: Rows, some: Array) -> Array | None:
    weights = None if rows.weights is None else rows.weights[some]
    return weights if weights is None or weights.any() else None
