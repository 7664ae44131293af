"""The losses, each declared once: estimators check and document their `loss` from it, the command line offers it.

A loss has a native loop of the same name (src/linear/losses.pxi), which networks use too, and its NumPy twin
(gdfast/reference/losses.py); "Adding a loss" in docs/development.md says what else there is to do. This module imports
no scikit-learn, for the command line's sake.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from gdfast.stepping.hyperparameters import NON_NEGATIVE, POSITIVE, Range

Estimator = TypeVar("Estimator", bound=type)

OPEN_UNIT = Range(0.0, 1.0, positive=True, fixed=True)
REAL = Range(-np.inf, positive=True, fixed=True)


@dataclass(frozen=True)
class Parameter:
    """An estimator's parameter that a loss takes.

    Attributes
    ----------
    name : str
    range : Range
    gap : (float, float), optional
        Numbers strictly between these are refused.
    target_units : bool
        Whether it is in the units of the targets, and standardised with them.
    """

    name: str
    range: Range
    gap: tuple[float, float] | None = None
    target_units: bool = False

    def check(self, value: Any) -> float:
        """Return the value as a float.

        Raises
        ------
        TypeError, ValueError
            If it is no number, or out of range.
        """
        number = self.range.number(self.name, value, is_float32=False)
        if self.gap is not None and self.gap[0] < number < self.gap[1]:
            raise ValueError(f"{self.name} must not be between {self.gap[0]} and {self.gap[1]}; got {number!r}")
        return number


@dataclass(frozen=True)
class Loss:
    """A loss, and what it asks of the targets.

    Attributes
    ----------
    loop : str
        The native loop.
    summary : str
        For the documentation, with the formula.
    link : {"identity", "log", "logit", "clip"}
        What the score is: the prediction; its logarithm; of a probability the log-odds, or ``2*p - 1``. Losses of
        classes with "identity" give no probabilities.
    targets : {"real", "non-negative", "positive"}
        What targets there may be.
    parameter : Parameter, optional
        Of the estimator, passed to the loop.
    constant : float
        What the loop gets instead of a parameter.
    standardizes : bool
        Whether the targets may be standardised: a change of their units changes nothing but the units of the loss.
    several : str, optional
        The loop for three or more classes; by default each is compared with the rest.
    variant : callable, optional
        From an estimator to the loss that its parameters make of this one.
    """

    loop: str
    summary: str
    link: str = "identity"
    targets: str = "real"
    parameter: Parameter | None = None
    constant: float = 0.0
    standardizes: bool = False
    several: str | None = None
    variant: "Callable[[Any], Loss] | None" = None

    @property
    def lowest_at_zero(self) -> bool:
        """Whether no loss is below that of coefficients of zero: its training is useful, its minimum is not."""
        return self.loop == "hinge" and self.constant == 0.0  # the perceptron

    def resolve(self, estimator: Any) -> "Loss":
        """Return the loss that the parameters of an estimator make of this one."""
        return self if self.variant is None else self.variant(estimator)

    def check_targets(self, name: str, y: np.ndarray[Any, Any]) -> None:
        """Check the range of the targets.

        Raises
        ------
        ValueError
            With `name`, that of the loss.
        """
        lowest = y.min()
        if self.targets != "real" and (lowest < 0 or (lowest == 0 and self.targets == "positive")):
            raise ValueError(f"y must be {self.targets} for loss={name!r}; got a minimum of {lowest:g}")


EPSILON = Parameter("epsilon", NON_NEGATIVE, target_units=True)
WIDTH = Parameter("epsilon", POSITIVE, target_units=True)  # of a loss that is 0 everywhere without it

CLASSIFIER: Mapping[str, Loss] = {
    "log_loss": Loss(
        "log_loss",
        "logistic regression; for three or more classes the multinomial one",
        link="logit",
        several="multinomial",
    ),
    "hinge": Loss("hinge", "linear support vector machine, ``max(0, 1 - m)`` of the margin m", constant=1.0),
    "squared_hinge": Loss("squared_hinge", "``max(0, 1 - m)**2``"),
    "modified_huber": Loss(
        "modified_huber", "``max(0, 1 - m)**2``, and ``-4*m`` below -1; tolerant of outliers", link="clip"
    ),
    "perceptron": Loss("hinge", "``max(0, -m)``", constant=0.0),
}

POISSON = Loss("poisson", "half Poisson deviance with log link", link="log", targets="non-negative")
GAMMA = Loss("gamma", "half gamma deviance with log link", link="log", targets="positive")
TWEEDIE = Loss(
    "tweedie",
    "half Tweedie deviance of the given `power`, with log link",
    link="log",
    targets="non-negative",
    parameter=Parameter("power", REAL, gap=(0, 1)),
    variant=lambda estimator: _tweedie(estimator.power),
)


def _tweedie(power: float) -> Loss:
    """Return the Tweedie loss of this power: two are losses of their own, and from 2 on no target may be zero."""
    return {1.0: POISSON, 2.0: GAMMA}.get(power, replace(TWEEDIE, targets="positive") if power > 2.0 else TWEEDIE)


REGRESSOR: Mapping[str, Loss] = {
    "squared_error": Loss("squared_error", "half the squared error", standardizes=True),
    "huber": Loss("huber", "half the squared error, linear above `epsilon`", parameter=WIDTH, standardizes=True),
    "log_cosh": Loss(
        "log_cosh",
        "``epsilon**2 * log(cosh(error / epsilon))``, a smooth Huber loss",
        parameter=WIDTH,
        standardizes=True,
    ),
    "epsilon_insensitive": Loss(
        "epsilon_insensitive", "absolute error, zero up to `epsilon`", parameter=EPSILON, standardizes=True
    ),
    "squared_epsilon_insensitive": Loss(
        "squared_epsilon_insensitive",
        "square of the absolute error above `epsilon`",
        parameter=EPSILON,
        standardizes=True,
    ),
    "quantile": Loss(
        "quantile", "pinball loss of `quantile`", parameter=Parameter("quantile", OPEN_UNIT), standardizes=True
    ),
    "poisson": POISSON,
    "gamma": GAMMA,
    "tweedie": TWEEDIE,
}

#: of each estimator; the first is its default
LOSSES: Mapping[str, Mapping[str, Loss]] = {
    "GDClassifier": CLASSIFIER,
    "GDRegressor": REGRESSOR,
    "MLPClassifier": {"log_loss": CLASSIFIER["log_loss"]},
    "MLPRegressor": REGRESSOR,
}


def check_loss_parameters(estimator: Any, losses: Mapping[str, Loss]) -> None:
    """Check the estimator's parameters that some of its losses take; those of its own loss by what that one takes.

    Raises
    ------
    TypeError, ValueError
        If one is no number, or out of range.
    """
    own = losses[estimator.loss].parameter
    every = [*(loss.parameter for loss in losses.values()), own]
    for name, parameter in {parameter.name: parameter for parameter in every if parameter is not None}.items():
        parameter.check(getattr(estimator, name))


def native_loss(estimator: Any, loss: Loss, target_scale: np.ndarray[Any, Any]) -> tuple[str, float]:
    """Return the native loop of a loss, and its parameter, for targets that are divided by `target_scale`.

    Raises
    ------
    ValueError
        If the parameter is in units of the targets, and these are divided by different numbers.
    """
    if loss.parameter is None:
        return loss.loop, loss.constant
    number = float(getattr(estimator, loss.parameter.name))
    if not loss.parameter.target_units:
        return loss.loop, number
    if (target_scale != target_scale[0]).any():
        raise ValueError(
            f"loss={estimator.loss!r} cannot go on from a loss that has standardised each target by its own deviation, "
            f"because {loss.parameter.name} is one number for all; fit anew"
        )
    return loss.loop, float(number / target_scale[0])


def documents_losses(estimator: Estimator) -> Estimator:
    """Put the list of an estimator's losses into its docstring, instead of ``{losses}``."""
    listed = "\n".join(f'        - "{name}": {loss.summary}' for name, loss in LOSSES[estimator.__name__].items())
    estimator.__doc__ = (estimator.__doc__ or "").replace("        {losses}", listed)
    return estimator
