"""The losses by their names in scikit-learn, and what each needs of the targets."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Loss:
    """A loss as the native loops know it.

    Attributes
    ----------
    name : str
        The loop.
    parameter : str or None
        The estimator's parameter that it takes.
    degree : int
        By which power of c it grows when targets, scores and `parameter` grow by c; 0 where it does not scale so.
    log : bool
        Whether the score is the logarithm of the prediction.
    lowest : float or None
        The least target, and whether it is allowed itself.
    """

    name: str
    parameter: str | None = None
    constant: float = 0.0
    degree: int = 0
    log: bool = False


CLASSIFIER = {
    "log_loss": Loss("log_loss"),
    "hinge": Loss("hinge", constant=1.0),
    "squared_hinge": Loss("squared_hinge"),
    "modified_huber": Loss("modified_huber"),
    "perceptron": Loss("hinge", constant=0.0),
}
REGRESSOR = {
    "squared_error": Loss("squared_error", degree=2),
    "huber": Loss("huber", "epsilon", degree=2),
    "epsilon_insensitive": Loss("epsilon_insensitive", "epsilon", degree=1),
    "squared_epsilon_insensitive": Loss("squared_epsilon_insensitive", "epsilon", degree=2),
    "quantile": Loss("quantile", "quantile", degree=1),
    "poisson": Loss("poisson", log=True),
    "gamma": Loss("gamma", log=True),
    "tweedie": Loss("tweedie", "power", log=True),
}
