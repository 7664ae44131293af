"""The learning-rate finder of the estimators: a sweep instead of a training, on a copy."""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from gdfast.sklearn._batches import BatchOrder, Rows
from gdfast.sklearn._training import History
from gdfast.stepping.base import Optimizer
from gdfast.training.lr_finder import LRFindResult, Sweep, kept, kept_random


class Probe:
    """A sweep that `fit` makes instead of training; its outcome is `result`."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self.result: LRFindResult

    def run(self, opt: Optimizer, order: BatchOrder, step: Callable[[Rows], float]) -> History:
        """Sweep over mini-batches: `step` makes a step with these rows and returns their loss."""
        batches = order.batches()
        with kept(opt):
            self.result = self._sweep.run(opt, lambda: float(step(next(batches))))
        return History(losses=self.result.losses.tolist())


def quiet_copy(estimator: Any) -> Any:
    """Return a copy of an estimator, with its random state, that calls no callbacks."""
    stand_in = copy.copy(estimator)
    stand_in.callbacks = None  # a callback may hold what cannot be copied
    stand_in.__dict__.pop("_skl_callbacks", None)
    return copy.deepcopy(stand_in)


class FindsRate:
    """Mixin with `lr_find`, and the meaning of ``lr="find"``."""

    lr: Any
    lr_: float

    #: set on a copy, whose fit then sweeps
    _probe: ClassVar[Probe | None] = None

    def lr_find(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        lr_min: float = 1e-7,
        lr_max: float = 10.0,
        n_steps: int = 100,
        smoothing: float = 0.9,
        divergence: float = 4.0,
    ) -> LRFindResult:
        """Find a learning rate for this data: see :func:`gdfast.lr_find`, whose result this returns.

        It begins where `fit` would, with the estimator's optimizer, batch size and scaling, and makes one step a
        mini-batch. The estimator is not changed, nor is its random state; all rows are used, callbacks are not called.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        lr_min, lr_max, n_steps, smoothing, divergence
            As in :func:`gdfast.lr_find`.

        Returns
        -------
        LRFindResult
            ``model.set_params(lr=result.lr)`` takes its suggestion; ``result.plot()`` shows the curve.

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter is invalid.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from gdfast.sklearn import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MLPClassifier(random_state=0)
        >>> found = model.lr_find(X, y)
        >>> 1e-4 < found.lr < 1.0
        True
        """
        made = Probe(Sweep(lr_min, lr_max, n_steps, smoothing, divergence))
        stand_in = quiet_copy(self)
        stand_in.early_stopping, stand_in._probe = False, made
        with kept_random(()), np.errstate(all="ignore"):  # what diverges overflows
            stand_in.fit(X, y, sample_weight)
        return made.result

    def _found_rate(self, X: Any, y: Any, sample_weight: Any, partial: bool) -> float | None:
        """Return the rate that a sweep suggests and set `lr_` if `lr` is "find"; otherwise return None.

        Raises
        ------
        ValueError
            In `partial_fit`, which sees a part of the data; or if no rate makes the loss fall.
        """
        if self._probe is not None or not isinstance(self.lr, str) or self.lr != "find":
            self.__dict__.pop("lr_", None)
            return None
        if partial:
            raise ValueError('lr="find" needs all data at once: with partial_fit give a number, a schedule or "auto"')
        self.lr_ = self.lr_find(X, y, sample_weight).lr
        return self.lr_
