"""How a training went, in the words of the report."""

from typing import Any

#: what fits small data, by the estimators' `optimizer_`: all rows in every step, at no learning rate
ON_ALL_ROWS = {"newton": "Newton's method", "lbfgs": "L-BFGS"}


def takes_all_rows(estimator: Any) -> bool:
    """Return whether an estimator was trained by a method that takes all rows in every step."""
    return getattr(estimator, "optimizer_", None) in ON_ALL_ROWS


def optimizer_of(estimator: Any, chosen: str) -> str:
    """Return what an estimator was trained with: the optimizer that was chosen, or what "auto" took."""
    if chosen != "auto":
        return chosen
    taken = getattr(estimator, "optimizer_", "Adam")  # networks have Adam
    return ON_ALL_ROWS.get(taken, taken.lower())


def steps(about: dict[str, Any]) -> str:
    """Return how long a training was."""
    number = about["epochs"]
    if about.get("optimizer") in ON_ALL_ROWS.values():
        return f"{number} step{'s' * (number != 1)} on all rows"
    return f"{number} epoch{'s' * (number != 1)}"
