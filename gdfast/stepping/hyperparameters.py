"""Ranges of hyperparameters, checked when a value is set, and at each step if it comes from a schedule."""

import math
import numbers
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

Schedule: TypeAlias = Callable[[int], float]
Hyperparameter: TypeAlias = float | Schedule

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
#: dtype's name -> its smallest normal number
_SMALLEST = {name: float(np.finfo(name).smallest_normal) for name in ("float32", "float64")}


def as_float(name: str, value: numbers.Real) -> float:
    """Return a number as a float.

    Raises
    ------
    ValueError
        If it is an int, or another exact number, that overflows a float.
    """
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must fit into a float; got a number beyond {sys.float_info.max:.3g}") from None


@dataclass(eq=False, repr=False)
class Range:
    """A number from `low` on, below `high` (or up to it); or a schedule of such numbers."""

    low: float = 0.0
    high: float = math.inf
    closed: bool = False
    nonzero_in_dtype: bool = False  # a positive value must not be subnormal, or round to zero, in the arrays' dtype
    fixed: bool = False  # cannot change after the optimizer was made, nor be a schedule
    positive: bool = False  # `low` itself is excluded
    optional: bool = False  # None is allowed

    def __str__(self) -> str:
        return f"in {'(' if self.positive else '['}{self.low:g}, {self.high:g}{']' if self.closed else ')'}"

    def check(self, name: str, value: Any, is_float32: bool) -> Any:
        """Return the value as a float, or the schedule unchanged; `is_float32`: whether float32 arrays use it.

        Raises
        ------
        TypeError, ValueError
            If it is invalid.
        """
        if (self.optional and value is None) or (
            not isinstance(value, tuple) and is_scheduled(value) and not self.fixed
        ):
            return value
        return self.number(name, value, is_float32)

    def number(self, name: str, value: Any, is_float32: bool) -> float:
        """Return the value as a float, checked."""
        if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
            schedule = "" if self.fixed else " or a schedule (step -> number)"
            raise TypeError(f"{name} must be a number {self}{schedule}; got {value!r}")
        number = as_float(name, value)
        inside = self.low <= number < self.high or (self.closed and number == self.high)
        if not inside or (self.positive and number == self.low):
            raise ValueError(f"{name} must be {self}; got {number!r}")
        if is_float32 and abs(number) > _LARGEST_FLOAT32:
            raise ValueError(f"{name} must fit into float32, the dtype of the parameters; got {number!r}")
        dtype = "float32" if is_float32 else "float64"
        if self.nonzero_in_dtype and 0 < number < _SMALLEST[dtype]:
            raise ValueError(
                f"{name} must not round to zero in {dtype}, the dtype of the parameters, nor when a step scales it: "
                f"give 0 or at least {_SMALLEST[dtype]:.3g}; got {number!r}"
            )
        return number


@dataclass(eq=False, repr=False)
class Pair:
    """Two numbers of the same range, each of which may be a schedule."""

    each: Range
    count: ClassVar[int] = 2
    words: ClassVar[str] = "a pair of"

    @property
    def fixed(self) -> bool:
        """Whether they cannot change after the optimizer was made, nor be schedules."""
        return self.each.fixed

    def check(self, name: str, value: Any, is_float32: bool) -> tuple[Any, ...]:
        """Return the numbers, checked; see `Range.check`."""
        if not isinstance(value, tuple | list) or len(value) != self.count:
            raise TypeError(f"{name} must be {self.words} numbers {self.each}; got {value!r}")
        return tuple(self.each.check(f"{name}[{i}]", item, is_float32) for i, item in enumerate(value))


class Triple(Pair):
    """Three numbers of the same range, each of which may be a schedule."""

    count: ClassVar[int] = 3
    words: ClassVar[str] = "three"


@dataclass(eq=False, repr=False)
class Flag:
    """True or False; if `fixed`, it cannot change after the optimizer was made, because the state depends on it."""

    fixed: bool = True

    def check(self, name: str, value: Any, is_float32: bool) -> bool:
        """Return the flag as a bool."""
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False; got {value!r}")
        return bool(value)


@dataclass(eq=False, repr=False)
class Count:
    """An int of at least `low`."""

    low: int = 0
    fixed: ClassVar[bool] = False

    def check(self, name: str, value: Any, is_float32: bool) -> int:
        """Return the count as an int."""
        if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} must be an int; got {value!r}")
        if value < self.low:
            raise ValueError(f"{name} must be at least {self.low}; got {value!r}")
        return int(value)


@dataclass(eq=False, repr=False)
class Choice:
    """One of a few strings, or None."""

    words: tuple[str | None, ...]
    fixed: ClassVar[bool] = False

    def check(self, name: str, value: Any, is_float32: bool) -> str | None:
        """Return the value."""
        if value not in self.words:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, self.words))}; got {value!r}")
        chosen: str | None = value
        return chosen


Spec: TypeAlias = Range | Pair | Flag | Count | Choice

NON_NEGATIVE = Range()
POSITIVE = Range(positive=True)
EPS = Range(nonzero_in_dtype=True)
FIRST = Range(nonzero_in_dtype=True, fixed=True)  # the initial value of a state array
FRACTION = Range(0.0, 1.0)
UNIT = Range(0.0, 1.0, closed=True)
FINITE = Range(-math.inf, positive=True)


def is_scheduled(value: Any) -> bool:
    """Whether a hyperparameter is, or contains, a schedule; a class is none (it had to be instantiated)."""
    if isinstance(value, tuple):
        return any(map(is_scheduled, value))
    return callable(value) and not isinstance(value, type)


def at_step(spec: Spec, name: str, value: Any, step: int, is_float32: bool) -> Any:
    """Return the value of a hyperparameter at a step; the value of a schedule is checked."""
    if callable(value):
        assert isinstance(spec, Range)
        number = value(step)
        # Fast path: a plain float well inside the range. A step takes only microseconds.
        if type(number) is float and spec.low <= number < spec.high and 1e-30 < number < 1e30:
            return number
        return spec.number(f"{name} at step {step}", number, is_float32)
    if isinstance(value, tuple) and isinstance(spec, Pair):
        return tuple(at_step(spec.each, f"{name}[{i}]", item, step, is_float32) for i, item in enumerate(value))
    return value


def at_steps(spec: Spec, name: str, value: Any, steps: range, is_float32: bool) -> list[Any]:
    """Return the values of a hyperparameter at several steps."""
    if not (isinstance(spec, Range) and hasattr(value, "values_at")):
        return [at_step(spec, name, value, step, is_float32) for step in steps]
    return [
        number
        if type(number) is float and spec.low <= number < spec.high and 1e-30 < number < 1e30
        else spec.number(f"{name} at step {step}", number, is_float32)
        for step, number in zip(steps, value.values_at(steps), strict=True)
    ]


# The names of the same hyperparameters in other libraries.
_ELSEWHERE: dict[object, str] = {
    "learning_rate": "lr",
    "epsilon": "eps",
    "beta_1": "betas",
    "rho": "alpha",
    "b1": "betas",
    "l1_regularization_strength": "l1",
    "l2_regularization_strength": "l2",
    "l2_shrinkage_regularization_strength": "weight_decay",
    "decouple": "decoupled_weight_decay",
    "clip_value_fn": "clip_exp",
}


def unknown(name: object, known: Iterable[str], owner: str) -> TypeError:
    """Return the error for an unknown hyperparameter, which suggests the closest known name."""
    import difflib  # imported late: only needed for an error

    close = difflib.get_close_matches(_ELSEWHERE.get(name, str(name)), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return TypeError(f"{owner} has no hyperparameter {name!r}{hint} It has {', '.join(known)}")
