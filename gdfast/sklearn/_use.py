"""gdfast's steps under scikit-learn's own networks."""

import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from sklearn.neural_network import _multilayer_perceptron as networks
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from gdfast.optimizers import SGD, Adam
from gdfast.stepping.base import Optimizer

__all__ = ["use_gdfast"]

Array = np.ndarray[Any, Any]


class _InPlace:
    """The part that both replacements share: a step is one pass over memory, and allocates no arrays."""

    learning_rate: float
    _opt: Optimizer

    @abstractmethod
    def _make(self, params: Sequence[Array]) -> Optimizer:
        """Return gdfast's optimizer over the network's arrays."""

    def _bind(self, params: Sequence[Array]) -> None:
        """Make an optimizer over these arrays, with the state of the one before."""
        state = self._opt.state_dict() if hasattr(self, "_opt") else None
        self._opt = self._make(params)
        if state is not None:
            self._opt.load_state_dict(state)

    def _step(self, params: Sequence[Array], grads: Sequence[Array], scale: float) -> None:
        bound = self._opt.param_groups[0]["params"]
        if len(bound) != len(params) or any(a is not b for a, b in zip(bound, params, strict=False)):
            self._bind(params)  # other arrays, or unpickled
        # scikit-learn's gradients are in float64 where sample_weight is and the network is not.
        fitting = [np.ascontiguousarray(grad, param.dtype) for param, grad in zip(params, grads, strict=True)]
        self._opt.step(fitting, grad_scale=scale)


class GdfastSGD(_InPlace, SGDOptimizer):  # type: ignore[misc]
    """SGD with or without momentum: the rate scales the gradient, because scikit-learn's velocity contains it."""

    def __init__(
        self,
        params: Sequence[Array],
        learning_rate_init: float = 0.1,
        lr_schedule: str = "constant",
        momentum: float = 0.9,
        nesterov: bool = True,
        power_t: float = 0.5,
    ) -> None:
        super().__init__([], learning_rate_init, lr_schedule, momentum, nesterov, power_t)
        del self.velocities  # kept by the optimizer
        self._bind(params)

    def _make(self, params: Sequence[Array]) -> Optimizer:
        nesterov = bool(self.nesterov) and self.momentum > 0.0
        return SGD(list(params), lr=1.0, momentum=self.momentum, nesterov=nesterov)

    def update_params(self, params: Sequence[Array], grads: Sequence[Array]) -> None:
        """Update the parameters with their gradients."""
        self._step(params, grads, float(self.learning_rate))


class GdfastAdam(_InPlace, AdamOptimizer):  # type: ignore[misc]
    """Adam with ``eps_hat``, scikit-learn's form."""

    def __init__(
        self,
        params: Sequence[Array],
        learning_rate_init: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__([], learning_rate_init, beta_1, beta_2, epsilon)
        del self.ms, self.vs  # kept by the optimizer
        self._bind(params)

    def _make(self, params: Sequence[Array]) -> Optimizer:
        betas = self.beta_1, self.beta_2
        return Adam(list(params), lr=self.learning_rate_init, betas=betas, eps=self.epsilon, eps_hat=True)

    def update_params(self, params: Sequence[Array], grads: Sequence[Array]) -> None:
        """Update the parameters with their gradients."""
        self._step(params, grads, 1.0)
        self.t = self._opt.step_count
        root = np.sqrt(1.0 - self.beta_2**self.t)
        self.learning_rate = self.learning_rate_init * root / (1.0 - self.beta_1**self.t)


_SWAPS: dict[str, tuple[type, type]] = {
    "SGDOptimizer": (SGDOptimizer, GdfastSGD),
    "AdamOptimizer": (AdamOptimizer, GdfastAdam),
}


class _Users:
    """The number of open ``with`` blocks, in all threads."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    count: ClassVar[int] = 0

    @classmethod
    def change(cls, by: int) -> None:
        with cls.lock:
            cls.count += by
            for name, (theirs, ours) in _SWAPS.items():
                setattr(networks, name, ours if cls.count else theirs)


@contextmanager
def use_gdfast() -> Iterator[None]:
    """Train scikit-learn's own `MLPClassifier` and `MLPRegressor` with gdfast's steps within a ``with`` block.

    With ``solver="adam"`` and ``solver="sgd"`` (momentum, Nesterov's too, and every ``learning_rate``), what is fitted
    in the block is the same as without it, up to rounding. A step is one pass over memory and allocates nothing of the
    weights' size; the rest of the training is scikit-learn's. :class:`gdfast.sklearn.MLPClassifier` is faster.

    Notes
    -----
    The block affects the whole process: networks whose training begins in another thread take gdfast's steps too.
    Blocks may be nested, and entered and left by several threads; leaving the last one restores scikit-learn, also
    after an error. Worker processes (``n_jobs`` with joblib's default) are not affected.

    A network trained by ``partial_fit`` keeps the optimizer it began with, also outside of the block and in a pickle,
    which then needs gdfast to be loaded.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from gdfast.sklearn import use_gdfast
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(learning_rate_init=0.01, max_iter=500, random_state=0)
    >>> with use_gdfast():
    ...     bool(model.fit(X, y).score(X, y) > 0.95)
    True
    """
    _Users.change(1)
    try:
        yield
    finally:
        _Users.change(-1)
