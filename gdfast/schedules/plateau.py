"""The one schedule with state: it depends on a metric, not on the step."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from math import inf
from typing import Annotated, Any, Literal, SupportsFloat

from gdfast.schedules._base import Schedule
from gdfast.schedules._checks import NON_NEGATIVE, Check, Choice, Count, Number, StepCount, Value, check_order

__all__ = ["ReduceOnPlateau"]

_FACTOR = Number("a number in [0, 1)", lambda x: 0.0 <= x < 1.0)
_STATE: dict[str, Check] = {
    "value": NON_NEGATIVE,
    "best": Number("a number, not NaN", lambda x: -inf <= x <= inf),
    "num_bad": Count(0),
    "cooldown_counter": Count(0),
}


@dataclass(slots=True)
class ReduceOnPlateau(Schedule):
    """Multiplied by a factor when a metric has stopped improving.

    An update is bad if the metric does not improve on the best so far by more than the threshold. After more than
    `patience` bad updates in a row, ``value = max(value * factor, min_lr)``; the next `cooldown` updates do not count.

    Parameters
    ----------
    lr : float
        The initial value, finite and not negative.
    mode : {"min", "max"}, default "min"
        Whether a lower or a higher metric is better.
    factor : float, default 0.1
        The factor, in [0, 1).
    patience : int, default 10
        Bad updates in a row that are tolerated.
    threshold : float, default 1e-4
        Minimum improvement, finite and not negative.
    threshold_mode : {"rel", "abs"}, default "rel"
        Better than ``best * (1 - threshold)`` ("min") or ``best * (1 + threshold)`` ("max"), or than
        ``best - threshold`` or ``best + threshold``.
    cooldown : int, default 0
        Updates after a reduction in which no update counts as bad.
    min_lr : float, default 0.0
        The floor, in [0, `lr`].
    eps : float, default 1e-8
        Reductions by at most this are skipped; finite and not negative.

    Attributes
    ----------
    value : float
        The current value, which a call returns at any step.
    best : float
        The best metric so far.
    num_bad : int
        Bad updates since the last better one.
    cooldown_counter : int
        Remaining updates of the cooldown.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.ReduceLROnPlateau``, whose ``step(metric)`` is `update` here; `best` and the
    counters behave as there, and a NaN counts as a bad update. Two schedules are equal if their arguments and their
    states are. The repr does not contain the state: see `state_dict`. Because it is mutable, it cannot be hashed.

    Examples
    --------
    >>> from gdfast.schedules import ReduceOnPlateau
    >>> schedule = ReduceOnPlateau(0.5, factor=0.5, patience=1)
    >>> [schedule.update(loss) for loss in (1.0, 0.9, 0.9, 0.9)]
    [0.5, 0.5, 0.5, 0.25]
    >>> schedule(step=4)
    0.25
    """

    lr: Value
    _: KW_ONLY
    mode: Annotated[Literal["min", "max"], Choice(("min", "max"))] = "min"
    factor: Annotated[float, _FACTOR] = 0.1
    patience: StepCount = 10
    threshold: Value = 1e-4
    threshold_mode: Annotated[Literal["rel", "abs"], Choice(("rel", "abs"))] = "rel"
    cooldown: StepCount = 0
    min_lr: Value = 0.0
    eps: Value = 1e-8
    value: float = field(init=False, repr=False)
    best: float = field(init=False, repr=False)
    num_bad: int = field(init=False, repr=False)
    cooldown_counter: int = field(init=False, repr=False)

    def _validate(self) -> None:
        check_order(self, "min_lr", "lr")
        self.reset()

    def reset(self) -> None:
        """Reset to the initial value and state."""
        self.value = self.lr
        self.best = inf if self.mode == "min" else -inf
        self.num_bad = 0
        self.cooldown_counter = 0

    def update(self, metric: SupportsFloat) -> float:
        """Process a new metric, and return the new value.

        Parameters
        ----------
        metric : float
            A number, or anything that ``float`` converts to one. NaN is worse than any number.

        Raises
        ------
        TypeError
            If `metric` is not a number.
        """
        if isinstance(metric, bool) or not isinstance(metric, SupportsFloat):
            raise TypeError(f"metric must be a number; got {metric!r}")
        current = float(metric)
        if self._is_better(current):
            self.best = current
            self.num_bad = 0
        else:
            self.num_bad += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad = 0
        if self.num_bad > self.patience:
            self._reduce()
        return self.value

    def state_dict(self) -> dict[str, float]:
        """Return the state as plain numbers: `value`, `best`, `num_bad` and `cooldown_counter`."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned.

        Parameters
        ----------
        state : mapping
            The state. All of it is checked before any of it is set.

        Raises
        ------
        TypeError, ValueError
            If an entry is missing, unknown, or not a number of its kind.
        """
        if set(state) != set(_STATE):
            raise ValueError(f"state must have the entries {', '.join(_STATE)}; got {', '.join(map(str, state))}")
        checked = {name: check(name, state[name]) for name, check in _STATE.items()}
        for name, entry in checked.items():
            setattr(self, name, entry)

    def _value(self, step: int) -> float:
        return self.value

    def _is_better(self, metric: float) -> bool:
        if self.mode == "min":
            margin = self.best * (1.0 - self.threshold) if self.threshold_mode == "rel" else self.best - self.threshold
            return metric < margin
        margin = self.best * (1.0 + self.threshold) if self.threshold_mode == "rel" else self.best + self.threshold
        return metric > margin

    def _reduce(self) -> None:
        reduced = max(self.value * self.factor, self.min_lr)
        if self.value - reduced > self.eps:
            self.value = reduced
        self.cooldown_counter = self.cooldown
        self.num_bad = 0
