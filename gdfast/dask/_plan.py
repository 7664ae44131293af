"""What the workers are told once: how rows are encoded, and what is trained."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.sklearn._scaling import Standardizer

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Encoding:
    """How the rows of every partition are encoded.

    Attributes
    ----------
    estimator : GDClassifier or GDRegressor of `gdfast.sklearn`, not fitted
    classes : array, or None
    class_factors : float64 array of shape (classes,), or None
        What a row's weight is multiplied with.
    weighted : bool
        Whether rows have weights.
    exponent : int
        Of the power of two that is divided out of all weights of rows.
    """

    estimator: Any
    classes: Array | None
    class_factors: Array | None
    weighted: bool
    exponent: int


@dataclass(frozen=True)
class Plan:
    """What is trained; see `LinearTrainer`.

    Attributes
    ----------
    estimator : GDClassifier or GDRegressor of `gdfast.sklearn`, not fitted
    standardizer : Standardizer
    loss : (name of the native loop, its parameter)
    penalty : (l2, l1)
    rounds : int
        Averaged epochs, after each of which the partitions' coefficients are combined.
    seed : int
    n_threads : int
        Of a task.
    """

    estimator: Any
    standardizer: Standardizer
    loss: tuple[str, float]
    penalty: tuple[float, float]
    rounds: int
    seed: int
    n_threads: int
