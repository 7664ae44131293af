"""Schedules composed of values and other schedules. A part may be a schedule, any callable, or a number."""

import bisect
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from gdfast.schedules._base import LARGEST, SHAPES, Schedule, mix, value_at
from gdfast.schedules._checks import (
    NON_NEGATIVE,
    Choice,
    Each,
    Inner,
    Milestones,
    NumberOrCallable,
    ScheduleLike,
    StepCount,
    Value,
)

__all__ = ["Join", "Piecewise", "Scaled", "Warmup"]


def _check_one_more(name: str, items: Sequence[object], milestones: Sequence[int]) -> None:
    if len(items) != len(milestones) + 1:
        raise ValueError(
            f"{name} must have one item more than milestones; got {len(items)} items for {len(milestones)} milestones"
        )


@dataclass(frozen=True, slots=True)
class Piecewise(Schedule):
    """Given values at given steps, constant or interpolated linearly or by half cosines in between.

    ``value(t) = values[i]`` from step ``milestones[i - 1]`` (for i = 0 from step 0) on; with an interpolation the value
    moves on to ``values[i + 1]`` until ``milestones[i]``, and the last value stays

    Parameters
    ----------
    values : sequence of float
        The values, finite and not negative, one more than `milestones`. Stored as a tuple.
    milestones : sequence of int
        The steps from which on the second value and those after it hold; from 1, strictly increasing. Stored as a
        tuple.
    interpolation : {"constant", "linear", "cosine"}, default "constant"
        How to pass from one value to the next: at once, or from its own step on linearly or along half a cosine.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``optax.piecewise_constant_schedule`` and ``optax.piecewise_interpolate_schedule``, which take
    an initial value and factors instead of values. With "linear" the same as ``numpy.interp``.
    ``keras.optimizers.schedules.PiecewiseConstantDecay`` changes one step later: its boundary still has the old value.

    Examples
    --------
    >>> from gdfast.schedules import Piecewise
    >>> schedule = Piecewise([0.5, 0.1, 0.0], milestones=[30, 80])
    >>> schedule(29), schedule(30), schedule(79), schedule(80)
    (0.5, 0.1, 0.1, 0.0)
    >>> rising = Piecewise([0.5, 1.0], milestones=[100], interpolation="cosine")
    >>> rising(0), rising(50), rising(100), rising(10**9)
    (0.5, 0.75, 1.0, 1.0)
    """

    values: Annotated[Sequence[float], Each(NON_NEGATIVE)]
    milestones: Milestones
    _: KW_ONLY
    interpolation: Annotated[Literal["constant", "linear", "cosine"], Choice(("constant", "linear", "cosine"))] = (
        "constant"
    )

    def _validate(self) -> None:
        _check_one_more("values", self.values, self.milestones)

    def _value(self, step: int) -> float:
        piece = bisect.bisect_right(self.milestones, step)
        if self.interpolation == "constant" or piece == len(self.milestones):
            return self.values[piece]
        start = self.milestones[piece - 1] if piece else 0
        progress = (step - start) / (self.milestones[piece] - start)
        return mix(self.values[piece], self.values[piece + 1], SHAPES[self.interpolation](progress))


@dataclass(frozen=True, slots=True)
class Join(Schedule):
    """Schedules one after another, each counting its steps from its own start.

    ``value(t) = schedules[i](t - milestones[i - 1])`` from step ``milestones[i - 1]`` (for i = 0 from step 0) on

    Parameters
    ----------
    schedules : sequence of (float or callable)
        The schedules, one more than `milestones`; a number is a constant. Stored as a tuple.
    milestones : sequence of int
        The steps at which the second schedule and those after it take over; from 1, strictly increasing. Stored as a
        tuple.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``optax.join_schedules`` and ``torch.optim.lr_scheduler.SequentialLR``: at its milestone a schedule
    starts with its own step 0.

    Examples
    --------
    >>> from gdfast.schedules import Join, Linear
    >>> schedule = Join([0.5, Linear(0.5, total_steps=100)], milestones=[10])
    >>> schedule(0), schedule(10), schedule(60), schedule(110)
    (0.5, 0.5, 0.25, 0.0)
    """

    schedules: Annotated[Sequence[ScheduleLike], Each(NumberOrCallable())]
    milestones: Milestones

    def _validate(self) -> None:
        _check_one_more("schedules", self.schedules, self.milestones)

    def _value(self, step: int) -> float:
        piece = bisect.bisect_right(self.milestones, step)
        start = self.milestones[piece - 1] if piece else 0
        return value_at(self.schedules[piece], step - start)


@dataclass(frozen=True, slots=True)
class Warmup(Schedule):
    """A linear warm-up before any other schedule.

    ``value(t) = warmup_lr + (schedule(0) - warmup_lr) t / warmup_steps`` for ``t < warmup_steps``, then
    ``schedule(t - warmup_steps)``

    Parameters
    ----------
    schedule : float or callable
        The schedule after the warm-up; it counts its steps from there. A number is a constant.
    warmup_steps : int
        Steps of the warm-up; 0 for none. The step with this number is the first of `schedule`.
    warmup_lr : float, default 0.0
        The value at step 0 of the warm-up, finite and not negative. At 0 the first update changes nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The warm-up is not part of the length of `schedule`: ``Warmup(Cosine(lr, 900), 100)`` ends after 1000 steps and
    equals ``Cosine(lr, 1000, warmup_steps=100)``. The same as ``optax.warmup_constant_schedule`` and
    ``transformers.get_constant_schedule_with_warmup`` around a number, and as
    ``torch.optim.lr_scheduler.SequentialLR`` of a ``LinearLR`` with ``start_factor = warmup_lr / lr`` and another.

    Examples
    --------
    >>> from gdfast.schedules import StepDecay, Warmup
    >>> schedule = Warmup(StepDecay(0.5, step_size=100, gamma=0.5), warmup_steps=10)
    >>> schedule(0), schedule(5), schedule(10), schedule(110)
    (0.0, 0.25, 0.5, 0.25)
    """

    schedule: Inner
    warmup_steps: StepCount
    _: KW_ONLY
    warmup_lr: Value = 0.0

    def _value(self, step: int) -> float:
        if step < self.warmup_steps:
            return mix(value_at(self.schedule, 0), self.warmup_lr, step / self.warmup_steps)
        return value_at(self.schedule, step - self.warmup_steps)


@dataclass(frozen=True, slots=True)
class Scaled(Schedule):
    """A factor times any other schedule.

    ``value(t) = factor(t) * schedule(t)``

    Parameters
    ----------
    schedule : float or callable
        The schedule.
    factor : float or callable
        The factor, finite and not negative, or a schedule of factors.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    A product beyond the largest float is clipped to it. With a function as the `factor` and a number as the `schedule`
    the same as ``torch.optim.lr_scheduler.LambdaLR``; with two schedules, one of them around 1, the same as
    ``torch.optim.lr_scheduler.ChainedScheduler`` of schedulers that multiply.

    Examples
    --------
    >>> from gdfast.schedules import Linear, Scaled
    >>> schedule = Scaled(Linear(0.5, total_steps=100), 0.5)
    >>> schedule(0), schedule(50)
    (0.25, 0.125)
    """

    schedule: Inner
    factor: Inner

    def _value(self, step: int) -> float:
        return min(value_at(self.factor, step) * value_at(self.schedule, step), LARGEST)
