"""The shrinkage of coefficients in a step of plain SGD, which never goes beyond zero."""

from collections.abc import Callable
from dataclasses import dataclass

from gdfast.optimizers import SGD
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Hyperparameter


@dataclass(frozen=True)
class LimitedDecay:
    """A schedule of the l2 penalty's weight, at most the inverse of the learning rate of the same step."""

    l2: float
    lr: Callable[[int], float]

    def __call__(self, step: int) -> float:
        """Return the weight in this step."""
        return limited(self.l2, float(self.lr(step)))


def limited(l2: float, lr: float) -> float:
    """Return `l2`, or less: a step multiplies a coefficient by ``1 - lr * l2``, which must not become negative."""
    return min(l2, 1.0 / lr) if lr > 0.0 else l2


def weight_decay(optimizer: type[Optimizer], l2: float, lr: Hyperparameter) -> Hyperparameter:
    """Return the weight decay with which an optimizer applies a penalty of weight `l2`.

    SGD diverges where ``lr * l2`` is above 2, so the shrinkage is clipped, as in scikit-learn's SGDClassifier. The
    others divide the gradient by its size, and take the penalty as it is.
    """
    if not issubclass(optimizer, SGD) or l2 == 0.0:
        return l2
    return LimitedDecay(l2, lr) if callable(lr) else limited(l2, float(lr))
