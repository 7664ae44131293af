"""Schedules of a given length: a linear warm-up, a decay, and then the last value."""

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from gdfast.schedules._base import SHAPES, Schedule, half_cosine, mix
from gdfast.schedules._checks import POSITIVE, Choice, StepCount, Steps, Value, check_order

__all__ = ["Cosine", "Linear", "Polynomial", "WarmupStableDecay"]


@dataclass(frozen=True, slots=True)
class _Decay(Schedule):
    """Linear warm-up from `warmup_lr` to `lr`, then `_decayed`; the fields that the schedules here share."""

    lr: Value
    total_steps: Steps
    _: KW_ONLY
    warmup_steps: StepCount = 0
    warmup_lr: Value = 0.0

    def _validate(self) -> None:
        if not self.warmup_steps < self.total_steps:
            raise ValueError(
                f"warmup_steps must be < total_steps, which includes the warm-up; "
                f"got warmup_steps={self.warmup_steps} and total_steps={self.total_steps}"
            )

    def _value(self, step: int) -> float:
        if step < self.warmup_steps:
            return mix(self.lr, self.warmup_lr, step / self.warmup_steps)
        length = self.total_steps - self.warmup_steps
        return self._decayed(min(step - self.warmup_steps, length), length)

    @abstractmethod
    def _decayed(self, done: int, length: int) -> float:
        """Return the value `done` steps after the warm-up, of `length`."""


@dataclass(frozen=True, slots=True)
class Linear(_Decay):
    """Linear decay (or growth) from one value to another, after an optional warm-up.

    ``value(t) = end_lr + (lr - end_lr) (total_steps - t) / (total_steps - warmup_steps)`` after the warm-up, which is
    ``warmup_lr + (lr - warmup_lr) t / warmup_steps``; `end_lr` from step `total_steps` on

    Parameters
    ----------
    lr : float
        The value after the warm-up; without one, the initial value. Finite and not negative.
    total_steps : int
        Steps until `end_lr`, the warm-up included; at least 1.
    warmup_steps : int, default 0
        Steps of the linear warm-up, fewer than `total_steps`. The step with this number is the first at `lr`.
    warmup_lr : float, default 0.0
        The value at step 0 of a warm-up, finite and not negative. At 0 the first update changes nothing.
    end_lr : float, default 0.0
        The last value, finite and not negative; above `lr` the value rises.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``transformers.get_linear_schedule_with_warmup`` (which goes from 0 over `lr` to 0) and, without a
    warm-up, as ``optax.linear_schedule``. PyTorch's ``LinearLR(start_factor=s, end_factor=e, total_iters=n)`` is
    ``Linear(s * lr, n, end_lr=e * lr)``: there `lr` stands for the factor 1, the defaults rise (1/3 to 1 in 5 steps),
    and the value that PyTorch itself carries from step to step accumulates rounding errors.

    Examples
    --------
    >>> from gdfast.schedules import Linear
    >>> schedule = Linear(0.5, total_steps=110, warmup_steps=10)
    >>> schedule(0), schedule(5), schedule(10), schedule(60), schedule(110), schedule(10**9)
    (0.0, 0.25, 0.5, 0.25, 0.0, 0.0)
    """

    _: KW_ONLY
    end_lr: Value = 0.0

    def _decayed(self, done: int, length: int) -> float:
        return mix(self.lr, self.end_lr, (length - done) / length)


@dataclass(frozen=True, slots=True)
class Polynomial(_Decay):
    """Polynomial decay (or growth) from one value to another, after an optional warm-up.

    ``value(t) = end_lr + (lr - end_lr) ((total_steps - t) / (total_steps - warmup_steps)) ** power`` after the warm-up,
    which is ``warmup_lr + (lr - warmup_lr) t / warmup_steps``; `end_lr` from step `total_steps` on

    Parameters
    ----------
    lr : float
        The value after the warm-up; without one, the initial value. Finite and not negative.
    total_steps : int
        Steps until `end_lr`, the warm-up included; at least 1.
    warmup_steps : int, default 0
        Steps of the linear warm-up, fewer than `total_steps`. The step with this number is the first at `lr`.
    warmup_lr : float, default 0.0
        The value at step 0 of a warm-up, finite and not negative. At 0 the first update changes nothing.
    end_lr : float, default 0.0
        The last value, finite and not negative; above `lr` the value rises.
    power : float, default 1.0
        The exponent, finite and positive; 1 is `Linear`.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``transformers.get_polynomial_decay_schedule_with_warmup`` (whose default ``lr_end`` is 1e-7) and,
    without a warm-up, as ``optax.polynomial_schedule``, ``torch.optim.lr_scheduler.PolynomialLR`` (which ends at 0, in
    5 steps by default; the value that PyTorch itself carries from step to step accumulates rounding errors) and
    ``keras.optimizers.schedules.PolynomialDecay`` (which ends at 1e-4 by default).

    Examples
    --------
    >>> from gdfast.schedules import Polynomial
    >>> schedule = Polynomial(0.8, total_steps=100, power=2)
    >>> schedule(0), schedule(50), schedule(100)
    (0.8, 0.2, 0.0)
    """

    _: KW_ONLY
    end_lr: Value = 0.0
    power: Annotated[float, POSITIVE] = 1.0

    def _decayed(self, done: int, length: int) -> float:
        return mix(self.lr, self.end_lr, ((length - done) / length) ** self.power)


@dataclass(frozen=True, slots=True)
class Cosine(_Decay):
    """Cosine decay: half a cosine from the peak down to a floor, after an optional warm-up.

    ``value(t) = min_lr + (lr - min_lr) (1 + cos(pi (t - warmup_steps) / (total_steps - warmup_steps))) / 2`` after the
    warm-up, which is ``warmup_lr + (lr - warmup_lr) t / warmup_steps``; `min_lr` from step `total_steps` on

    Parameters
    ----------
    lr : float
        The peak: the value after the warm-up, or without one the initial value. Finite and not negative.
    total_steps : int
        Steps until the floor, the warm-up included; at least 1.
    warmup_steps : int, default 0
        Steps of the linear warm-up, fewer than `total_steps`. The step with this number is the first at `lr`.
    warmup_lr : float, default 0.0
        The value at step 0 of a warm-up, finite and not negative. At 0 the first update changes nothing.
    min_lr : float, default 0.0
        The floor, in [0, `lr`]. For a cosine that rises, see `Piecewise`.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``optax.warmup_cosine_decay_schedule`` (whose ``decay_steps`` is `total_steps`: it includes the warm-up;
    its ``exponent`` is 1 here), ``transformers.get_cosine_schedule_with_warmup`` and
    ``transformers.get_cosine_with_min_lr_schedule_with_warmup`` (a warm-up from 0, half a wave; its
    values rise again after the end). ``keras.optimizers.schedules.CosineDecay`` has ``decay_steps`` *without* the
    warm-up, and ``alpha``, as optax's ``cosine_decay_schedule``, is the floor as a fraction: ``min_lr / lr``. Without a
    warm-up the same as ``torch.optim.lr_scheduler.CosineAnnealingLR`` up to ``T_max``, its `total_steps`: after it
    PyTorch's value rises again, and the one that it carries from step to step accumulates rounding errors.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.

    Examples
    --------
    >>> from gdfast.schedules import Cosine
    >>> schedule = Cosine(0.5, total_steps=1100, warmup_steps=100, min_lr=0.1)
    >>> [round(schedule(step), 12) for step in (0, 50, 100, 600, 1100, 10**9)]
    [0.0, 0.25, 0.5, 0.3, 0.1, 0.1]
    """

    _: KW_ONLY
    min_lr: Value = 0.0

    def _validate(self) -> None:
        _Decay._validate(self)
        check_order(self, "min_lr", "lr")

    def _decayed(self, done: int, length: int) -> float:
        return mix(self.lr, self.min_lr, half_cosine(done, length))


@dataclass(frozen=True, slots=True)
class WarmupStableDecay(_Decay):
    """Warm-up, a constant phase, and a decay at the end.

    ``value(t) = warmup_lr + (lr - warmup_lr) t / warmup_steps`` in the warm-up, `lr` until the last `decay_steps` of
    `total_steps`, and in those, with p the fraction completed, ``min_lr + (lr - min_lr) s(p)``, where s is ``1 - p``,
    ``(1 + cos(pi p)) / 2`` or ``1 - sqrt(p)``; `min_lr` from step `total_steps` on

    Parameters
    ----------
    lr : float
        The value of the constant phase, finite and not negative.
    total_steps : int
        Steps of the warm-up, the constant phase and the decay together; at least 1.
    warmup_steps : int, default 0
        Steps of the linear warm-up. The step with this number is the first at `lr`.
    warmup_lr : float, default 0.0
        The value at step 0 of a warm-up, finite and not negative. At 0 the first update changes nothing.
    decay_steps : int
        Steps of the decay, at least 1; with the warm-up at most `total_steps`.
    min_lr : float, default 0.0
        The last value, in [0, `lr`].
    decay_type : {"linear", "cosine", "1-sqrt"}, default "linear"
        The shape s of the decay.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``transformers.get_wsd_schedule`` with ``num_training_steps=total_steps`` and its linear warm-up, except
    that its default ``decay_type`` is "cosine", its floor is a fraction (``min_lr_ratio = min_lr / lr``) and its
    warm-up starts at this floor: ``warmup_lr=min_lr``.

    References
    ----------
    Hu et al., "MiniCPM", 2024 (the schedule); Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations", 2024 (the shape "1-sqrt").

    Examples
    --------
    >>> from gdfast.schedules import WarmupStableDecay
    >>> schedule = WarmupStableDecay(0.5, total_steps=1000, warmup_steps=10, decay_steps=200)
    >>> schedule(5), schedule(10), schedule(800), schedule(900), schedule(1000)
    (0.25, 0.5, 0.5, 0.25, 0.0)
    """

    _: KW_ONLY
    decay_steps: Steps
    min_lr: Value = 0.0
    decay_type: Annotated[Literal["linear", "cosine", "1-sqrt"], Choice(("linear", "cosine", "1-sqrt"))] = "linear"

    def _validate(self) -> None:
        _Decay._validate(self)
        check_order(self, "min_lr", "lr")
        if not self.warmup_steps + self.decay_steps <= self.total_steps:
            raise ValueError(
                f"decay_steps must be <= total_steps - warmup_steps; got decay_steps="
                f"{self.decay_steps}, warmup_steps={self.warmup_steps} and "
                f"total_steps={self.total_steps}"
            )

    def _decayed(self, done: int, length: int) -> float:
        decaying = done - (length - self.decay_steps)
        progress = max(decaying, 0) / self.decay_steps
        return mix(self.lr, self.min_lr, SHAPES[self.decay_type](progress))
