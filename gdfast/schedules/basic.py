"""Schedules with one formula and no end: constant, stepwise, exponential, and inverse powers of the step."""

import math
from bisect import bisect_right
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from gdfast.schedules._base import Schedule, geometric, mix
from gdfast.schedules._checks import (
    NON_NEGATIVE,
    POSITIVE,
    Count,
    Milestones,
    OrNone,
    StepCount,
    Steps,
    Value,
)

__all__ = [
    "Constant",
    "Exponential",
    "InvScaling",
    "InverseSqrt",
    "InverseTime",
    "MultiStep",
    "StepDecay",
]


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same value at every step.

    ``value(t) = lr``

    Parameters
    ----------
    lr : float
        The value, finite and not negative.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``optax.constant_schedule`` and ``transformers.get_constant_schedule``. PyTorch's ``ConstantLR`` is
    different, a factor for the first steps: ``Join((factor * lr, lr), milestones=(total_iters,))``.

    Examples
    --------
    >>> from gdfast.schedules import Constant
    >>> Constant(0.1)(1000)
    0.1
    """

    lr: Value

    def _value(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True, slots=True)
class StepDecay(Schedule):
    """Multiplied by a factor every `step_size` steps.

    ``value(t) = lr * gamma ** floor(t / step_size)``

    Parameters
    ----------
    lr : float
        The initial value, finite and not negative.
    step_size : int
        Steps between two decays, at least 1.
    gamma : float, default 0.1
        The factor, finite and not negative. A growing value is held at the largest float.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.StepLR`` (its closed form: PyTorch itself multiplies step by step, and so
    accumulates rounding errors) and as ``optax.exponential_decay(..., staircase=True)``, except that optax takes a
    ``decay_rate`` of 0 for no decay at all.

    Examples
    --------
    >>> from gdfast.schedules import StepDecay
    >>> schedule = StepDecay(0.8, step_size=30, gamma=0.5)
    >>> schedule(29), schedule(30), schedule(90)
    (0.8, 0.4, 0.1)
    """

    lr: Value
    step_size: Steps
    gamma: Value = 0.1

    def _value(self, step: int) -> float:
        return geometric(self.lr, self.gamma, step // self.step_size)


@dataclass(frozen=True, slots=True)
class MultiStep(Schedule):
    """Multiplied by a factor at each of the given steps.

    ``value(t) = lr * gamma ** (number of milestones <= t)``

    Parameters
    ----------
    lr : float
        The initial value, finite and not negative.
    milestones : sequence of int
        The steps at which the value decays, from 1 and strictly increasing. Stored as a tuple.
    gamma : float, default 0.1
        The factor, finite and not negative. A growing value is held at the largest float.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    See Also
    --------
    Piecewise : the values themselves rather than one factor.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.MultiStepLR`` and ``optax.piecewise_constant_schedule`` with equal scales:
    the milestone is the first step with the new value. PyTorch also accepts milestones in any order, and duplicates.

    Examples
    --------
    >>> from gdfast.schedules import MultiStep
    >>> schedule = MultiStep(0.8, milestones=[30, 80], gamma=0.5)
    >>> schedule(29), schedule(30), schedule(80)
    (0.8, 0.4, 0.2)
    """

    lr: Value
    milestones: Milestones
    gamma: Value = 0.1

    def _value(self, step: int) -> float:
        return geometric(self.lr, self.gamma, bisect_right(self.milestones, step))


@dataclass(frozen=True, slots=True)
class Exponential(Schedule):
    """Exponential decay (or growth): multiplied by a factor over every `step_size` steps, continuously.

    ``value(t) = lr * gamma ** (t / step_size)``, not beyond `end_lr` if that is given

    Parameters
    ----------
    lr : float
        The initial value, finite and not negative.
    gamma : float
        The factor, finite and not negative: above 1 the value grows, as in a search for a learning rate.
    step_size : int, default 1
        Steps in which the value changes by `gamma`, at least 1.
    end_lr : float, optional
        Where the value stops, finite and not negative: a lower bound if ``gamma < 1``, else an upper bound. Without
        it, a growing value is held at the largest float.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    See Also
    --------
    StepDecay : the same, stepwise.

    Notes
    -----
    With ``step_size=1`` the same as ``torch.optim.lr_scheduler.ExponentialLR`` (its closed form: PyTorch itself
    multiplies step by step, and so accumulates rounding errors). The same as ``optax.exponential_decay`` with
    ``transition_steps=step_size``, ``decay_rate=gamma`` and ``end_value=end_lr``, except that optax takes a
    ``decay_rate`` of 0 for no decay at all.

    Examples
    --------
    >>> from gdfast.schedules import Exponential
    >>> schedule = Exponential(0.8, 0.5, step_size=10, end_lr=0.1)
    >>> schedule(0), schedule(10), schedule(1000)
    (0.8, 0.4, 0.1)
    """

    lr: Value
    gamma: Value
    _: KW_ONLY
    step_size: Steps = 1
    end_lr: Annotated[float | None, OrNone(NON_NEGATIVE)] = None

    def _value(self, step: int) -> float:
        value = geometric(self.lr, self.gamma, step / self.step_size)
        if self.end_lr is None:
            return value
        bound = max if self.gamma < 1.0 else min
        return bound(value, self.end_lr)


@dataclass(frozen=True, slots=True)
class InverseTime(Schedule):
    """Divided by a number that grows in proportion to the step.

    ``value(t) = lr / (1 + decay_rate * t / step_size)``

    Parameters
    ----------
    lr : float
        The initial value, finite and not negative.
    decay_rate : float
        How much the divisor grows in `step_size` steps, finite and not negative.
    step_size : int, default 1
        Steps in which the divisor grows by `decay_rate`, at least 1.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``keras.optimizers.schedules.InverseTimeDecay`` with ``decay_steps=step_size`` and no ``staircase``, and
    as ``lr_decay`` of ``torch.optim.Adagrad``.

    Examples
    --------
    >>> from gdfast.schedules import InverseTime
    >>> schedule = InverseTime(0.5, 1.0, step_size=100)
    >>> schedule(0), schedule(100), schedule(400)
    (0.5, 0.25, 0.1)
    """

    lr: Value
    decay_rate: Value
    _: KW_ONLY
    step_size: Steps = 1

    def _value(self, step: int) -> float:
        return self.lr / (1.0 + self.decay_rate * step / self.step_size)


@dataclass(frozen=True, slots=True)
class InvScaling(Schedule):
    """Divided by a power of the update's number, counted from 1.

    ``value(t) = lr / (t + 1) ** power``

    Parameters
    ----------
    lr : float
        The initial value, finite and not negative.
    power : float, default 0.5
        The exponent, finite and positive.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``learning_rate="invscaling"`` of scikit-learn's ``SGDClassifier`` and ``SGDRegressor``, which count
    their updates from 1 (and whose ``power_t`` is 0.5 and 0.25). Its multi-layer perceptrons use the formula with t the
    number of samples seen, not of steps.

    Examples
    --------
    >>> from gdfast.schedules import InvScaling
    >>> schedule = InvScaling(0.5)
    >>> schedule(0), schedule(3), schedule(24)
    (0.5, 0.25, 0.1)
    """

    lr: Value
    power: Annotated[float, POSITIVE] = 0.5

    def _value(self, step: int) -> float:
        # A negative power underflows to 0 where the positive one would overflow.
        decay: float = float(step + 1) ** -self.power
        return self.lr * decay


@dataclass(frozen=True, slots=True)
class InverseSqrt(Schedule):
    """Linear warm-up, then divided by the square root of the step.

    ``value(t) = warmup_lr + (lr - warmup_lr) t / warmup_steps`` for ``t < warmup_steps``, then
    ``lr / sqrt((t - warmup_steps + timescale) / timescale)``

    Parameters
    ----------
    lr : float
        The value at the end of the warm-up, its largest; finite and not negative.
    warmup_steps : int, default 0
        Steps of the warm-up. The step with this number is the first at `lr`.
    warmup_lr : float, default 0.0
        The value at step 0 of a warm-up, finite and not negative.
    timescale : int, optional
        How slowly the value decays: after ``3 * timescale`` steps it is half of `lr`. At least 1. The default is
        `warmup_steps`, which is the schedule of "Attention Is All You Need", or 10000 without a warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``transformers.get_inverse_sqrt_schedule``, which always starts at 0.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, section 5.3.

    Examples
    --------
    >>> from gdfast.schedules import InverseSqrt
    >>> schedule = InverseSqrt(0.5, warmup_steps=100)
    >>> schedule(0), schedule(50), schedule(100), schedule(400)
    (0.0, 0.25, 0.5, 0.25)
    """

    lr: Value
    _: KW_ONLY
    warmup_steps: StepCount = 0
    warmup_lr: Value = 0.0
    timescale: Annotated[int | None, OrNone(Count(1))] = None

    def _value(self, step: int) -> float:
        if step < self.warmup_steps:
            return mix(self.lr, self.warmup_lr, step / self.warmup_steps)
        timescale = self.timescale or self.warmup_steps or 10_000
        return self.lr / math.sqrt((step - self.warmup_steps + timescale) / timescale)
