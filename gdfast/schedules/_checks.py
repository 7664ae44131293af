"""Argument checks, declared beside the type of each field: ``lr: Annotated[float, NON_NEGATIVE]``.

A check takes the argument's name and value and returns the value as plain data (``float``, ``int``, ``str``,
``tuple``), so that two schedules made from Python and from NumPy numbers are equal and print alike. It raises
``TypeError`` for a wrong type and ``ValueError`` for a wrong value, naming the argument, what was expected and what was
given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from math import inf, nan
from numbers import Real
from operator import index
from typing import Annotated, Any, Protocol

__all__ = [
    "NON_NEGATIVE",
    "POSITIVE",
    "Choice",
    "Count",
    "Each",
    "Inner",
    "InstanceOf",
    "Milestones",
    "Number",
    "OrNone",
    "ScheduleLike",
    "StepCount",
    "Steps",
    "Switch",
    "UnitValue",
    "Value",
    "check_order",
]


class Check(Protocol):
    """A check in the ``Annotated`` of a field."""

    def __call__(self, name: str, value: Any) -> Any:
        """Return `value` as plain data, or raise."""


@dataclass(frozen=True)
class Number:
    """A real number that `contains` accepts; NaN fails every comparison, hence every range."""

    expected: str
    contains: Callable[[float], bool]

    def __call__(self, name: str, value: Any) -> float:
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(f"{name} must be {self.expected}; got {value!r}")
        try:
            number = float(value)
        except OverflowError:  # an int or a fraction beyond the largest float
            number = nan
        if not self.contains(number):
            raise ValueError(f"{name} must be {self.expected}; got {value!r}")
        return number


@dataclass(frozen=True)
class Count:
    """An integer in [`minimum`, 2**63), so that no later arithmetic on steps can overflow a float."""

    minimum: int

    def __call__(self, name: str, value: Any) -> int:
        if type(value) is int and self.minimum <= value < 2**63:  # the fast path: called in every training step
            return value
        expected = f"{name} must be an integer >= {self.minimum} and < 2**63; got {value!r}"
        if isinstance(value, bool):
            raise TypeError(expected)
        try:
            count = index(value)
        except TypeError:
            raise TypeError(expected) from None
        if not self.minimum <= count < 2**63:
            raise ValueError(expected)
        return count


@dataclass(frozen=True)
class Choice:
    """One of several strings."""

    words: tuple[str, ...]

    def __call__(self, name: str, value: Any) -> str:
        expected = f"{name} must be one of {', '.join(map(repr, self.words))}; got {value!r}"
        if not isinstance(value, str):
            raise TypeError(expected)
        if value not in self.words:
            raise ValueError(expected)
        return str(value)


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def __call__(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False; got {value!r}")
        return value


@dataclass(frozen=True)
class OrNone:
    """None, or what `check` accepts."""

    check: Check

    def __call__(self, name: str, value: Any) -> Any:
        return None if value is None else self.check(name, value)


@dataclass(frozen=True)
class Each:
    """A sequence of which `check` accepts every item; stored as a tuple."""

    check: Check

    def __call__(self, name: str, value: Any) -> tuple[Any, ...]:
        # Mappings and sets can be iterated, but iteration loses the values, or has no defined order.
        if not isinstance(value, Iterable) or isinstance(value, str | Mapping | Set):
            raise TypeError(f"{name} must be a sequence; got {value!r}")
        return tuple(self.check(f"{name}[{i}]", item) for i, item in enumerate(value))


@dataclass(frozen=True)
class Increasing:
    """A sequence of step counts, each larger than the one before, none 0."""

    def __call__(self, name: str, value: Any) -> tuple[int, ...]:
        steps = Each(Count(1))(name, value)
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"{name} must be strictly increasing; got {steps!r}")
        return steps


@dataclass(frozen=True)
class NumberOrCallable:
    """A number, or a callable ``step -> value``."""

    def __call__(self, name: str, value: Any) -> Any:
        if isinstance(value, Real):
            return NON_NEGATIVE(name, value)
        # A class is callable too, but `Warmup(Cosine, 10)` is a schedule that was not instantiated.
        if not callable(value) or isinstance(value, type):
            raise TypeError(f"{name} must be a number or a callable step -> value; got {value!r}")
        return value


@dataclass(frozen=True)
class InstanceOf:
    """An instance of one class."""

    kind: type

    def __call__(self, name: str, value: Any) -> Any:
        if not isinstance(value, self.kind):
            raise TypeError(f"{name} must be a {self.kind.__name__}; got {value!r}")
        return value


def check_order(schedule: Any, lower: str, upper: str) -> None:
    """Refuse a lower bound above the upper bound; most likely the two were swapped."""
    low, high = getattr(schedule, lower), getattr(schedule, upper)
    if not low <= high:
        raise ValueError(f"{lower} must be <= {upper}; got {lower}={low!r} and {upper}={high!r}")


ScheduleLike = float | Callable[[int], float]
"""A hyperparameter's value over the steps: a number, or a callable ``step -> value``."""

NON_NEGATIVE = Number("a finite number >= 0", lambda x: 0.0 <= x < inf)
POSITIVE = Number("a finite number > 0", lambda x: 0.0 < x < inf)
UNIT = Number("a number in [0, 1]", lambda x: 0.0 <= x <= 1.0)

# Types of fields that occur more than once.
Value = Annotated[float, NON_NEGATIVE]
UnitValue = Annotated[float, UNIT]
Steps = Annotated[int, Count(1)]
StepCount = Annotated[int, Count(0)]
Milestones = Annotated[Sequence[int], Increasing()]
Switch = Annotated[bool, Flag()]
Inner = Annotated[ScheduleLike, NumberOrCallable()]
