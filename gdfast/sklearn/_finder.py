"""The learning-rate finder of the estimators: a sweep in the place of their training, on a copy."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from gdfast.sklearn._choices import Rows, batches
from gdfast.sklearn._training import History
from gdfast.stepping.base import Optimizer
from gdfast.training.lr_finder import LRFindResult, Sweep, kept, kept_random


class Probe:
    """A sweep that an estimator's fit makes instead of training; its result is in `result`."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self.result: LRFindResult

    def run(self, opt: Optimizer, deal: Callable[[], Rows], run: Callable[[Rows], float], size: int) -> History:
        """Sweep over mini-batches: `deal` gives an epoch's order; `run` steps with rows and returns their loss."""
        rows = _endless(deal, size)
        with kept(opt):
            self.result = self._sweep.run(opt, lambda: float(run(next(rows))))
        return History(losses=self.result.losses.tolist())


def _endless(deal: Callable[[], Rows], batch_size: int) -> Iterator[Rows]:
    while True:
        yield from batches(deal(), batch_size)


class FindsRate:
    """Gives an estimator its `lr_find`, and what `lr="find"` means."""

    lr: Any
    lr_: float

    #: set on a copy, whose fit then makes a sweep
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
            If the data or a parameter is not as it must be.

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
        stand_in: Any = copy.copy(self)
        stand_in.callbacks = None  # a callback may hold what cannot be copied
        stand_in.__dict__.pop("_skl_callbacks", None)
        stand_in = copy.deepcopy(stand_in)
        stand_in.early_stopping, stand_in._probe = False, made
        with kept_random(()), np.errstate(all="ignore"):  # what diverges overflows
            stand_in.fit(X, y, sample_weight)
        return made.result

    def _found_rate(self, X: Any, y: Any, sample_weight: Any, partial: bool) -> float | None:
        """Return the rate that a sweep over this data suggests where `lr` is "find", and set `lr_`; None elsewhere.

        Raises
        ------
        ValueError
            If a part of the data is all there is, or no rate makes the loss fall.
        """
        if self._probe is not None or not isinstance(self.lr, str) or self.lr != "find":
            self.__dict__.pop("lr_", None)
            return None
        if partial:
            raise ValueError('lr="find" needs all data at once: with partial_fit give a number, a schedule or "auto"')
        self.lr_ = self.lr_find(X, y, sample_weight).lr
        return self.lr_
