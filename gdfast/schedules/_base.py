"""The base class of all schedules: the call, the checks of the fields, and interpolation between two values."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, SupportsIndex, get_args, get_origin, get_type_hints

from gdfast.schedules._checks import Check, Count, ScheduleLike

__all__ = ["LARGEST", "SHAPES", "Schedule", "geometric", "half_cosine", "mix", "value_at"]

LARGEST = sys.float_info.max

_check_step = Count(0)


class Schedule(ABC):
    """A hyperparameter's value as a function of the step, counted from 0.

    The base of every schedule here. An optimizer takes any other callable ``step -> float`` as well; a subclass, a
    frozen dataclass that defines ``_value``, also gets its annotated fields and the step checked.

    Raises
    ------
    TypeError, ValueError
        At construction for a bad argument; in a call if `step` is not an integer in [0, 2**63).

    Examples
    --------
    >>> from gdfast.schedules import Cosine, Schedule
    >>> isinstance(Cosine(0.1, total_steps=100), Schedule)
    True
    >>> Cosine(0.1, total_steps=100)(-1)
    Traceback (most recent call last):
        ...
    ValueError: step must be an integer >= 0 and < 2**63; got -1
    """

    __slots__ = ()

    def __call__(self, step: SupportsIndex) -> float:
        """Return the value at `step`."""
        return self._value(_check_step("step", step))

    def values_at(self, steps: range) -> list[float]:
        """Return the values at several steps, in less time than one by one.

        Raises
        ------
        TypeError, ValueError
            If `steps` is not a range of integers in [0, 2**63).

        Examples
        --------
        >>> from gdfast.schedules import Linear
        >>> Linear(0.1, total_steps=100).values_at(range(0, 100, 25))
        [0.1, 0.07500000000000001, 0.05, 0.025]
        """
        if not isinstance(steps, range):
            raise TypeError(f"steps must be a range; got {type(steps).__name__}")
        if steps:
            _check_step("step", steps[0])
            _check_step("step", steps[-1])
        return [self._value(step) for step in steps]

    @abstractmethod
    def _value(self, step: int) -> float:
        """Return the value at a `step` that is already checked."""

    def __post_init__(self) -> None:
        for name, check in _field_checks(type(self)):
            # Frozen dataclasses allow no other way to store the argument as plain data.
            object.__setattr__(self, name, check(name, getattr(self, name)))
        self._validate()

    def _validate(self) -> None:
        """Check constraints between fields; each field by itself has been checked already."""
        return


@cache
def _field_checks(cls: Any) -> tuple[tuple[str, Check], ...]:
    hints = get_type_hints(cls, include_extras=True)
    names = (field.name for field in fields(cls) if field.init)
    return tuple((name, get_args(hints[name])[1]) for name in names if get_origin(hints[name]) is Annotated)


def value_at(schedule: ScheduleLike, step: int) -> float:
    """Return the value at `step` of a schedule, of any callable ``step -> value``, or of a plain number.

    Examples
    --------
    >>> from gdfast.schedules import Linear, value_at
    >>> value_at(0.1, 50), value_at(Linear(0.1, total_steps=100), 50), value_at(lambda step: step / 10, 50)
    (0.1, 0.05, 5.0)
    """
    return float(schedule(step) if callable(schedule) else schedule)


def mix(first: float, second: float, weight: float) -> float:
    """Return `first` at `weight` 1, `second` at 0, both exactly, and never a value outside of the two.

    A sum of two non-negative terms: unlike ``second + (first - second) * weight`` it cannot cancel.
    """
    value = first * weight + second * (1.0 - weight)
    low, high = (first, second) if first < second else (second, first)
    return low if value < low else high if value > high else value


def geometric(first: float, ratio: float, exponent: float) -> float:
    """Return ``first * ratio**exponent``, held at the largest float where it would overflow."""
    if first == 0.0:
        return 0.0
    try:
        power: float = ratio**exponent
    except OverflowError:
        return LARGEST
    return min(first * power, LARGEST)


def half_cosine(done: float, length: float = 1.0) -> float:
    """Return the half cosine that falls from 1 at 0 to 0 at `length`."""
    return (1.0 + math.cos(math.pi * done / length)) / 2.0


def _linear(progress: float) -> float:
    return 1.0 - progress


def _one_minus_sqrt(progress: float) -> float:
    return 1.0 - math.sqrt(progress)


SHAPES: dict[str, Callable[[float], float]] = {
    "linear": _linear,
    "cosine": half_cosine,
    "1-sqrt": _one_minus_sqrt,
}
"""Shapes of a decay: the weight of the first of two values, 1 at progress 0 and 0 at progress 1."""
