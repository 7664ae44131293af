"""The losses by their names in scikit-learn, and what each needs of the targets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """A loss as the native loops know it.

    Attributes
    ----------
    name : str
        The loop.
    parameter : str or None
        The estimator's parameter that it takes.
    constant : float
        What it takes where that is no parameter of the estimator.
    scales : bool
        Whether the targets may be standardised: a change of their units changes nothing but the units of the loss.
    log : bool
        Whether the score is the logarithm of the prediction.
    """

    name: str
    parameter: str | None = None
    constant: float = 0.0
    scales: bool = False
    log: bool = False


CLASSIFIER = {
    "log_loss": Loss("log_loss"),
    "hinge": Loss("hinge", constant=1.0),
    "squared_hinge": Loss("squared_hinge"),
    "modified_huber": Loss("modified_huber"),
    "perceptron": Loss("hinge", constant=0.0),
}
REGRESSOR = {
    "squared_error": Loss("squared_error", scales=True),
    "huber": Loss("huber", "epsilon", scales=True),
    "epsilon_insensitive": Loss("epsilon_insensitive", "epsilon", scales=True),
    "squared_epsilon_insensitive": Loss("squared_epsilon_insensitive", "epsilon", scales=True),
    "quantile": Loss("quantile", "quantile", scales=True),
    "poisson": Loss("poisson", log=True),
    "gamma": Loss("gamma", log=True),
    "tweedie": Loss("tweedie", "power", log=True),
}
