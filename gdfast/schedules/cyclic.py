"""Periodic schedules without an end: cosine restarts, and triangular cycles with their momentum."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from gdfast.schedules._base import Schedule, half_cosine, mix
from gdfast.schedules._checks import Choice, Count, InstanceOf, OrNone, Steps, UnitValue, Value, check_order

__all__ = ["CosineRestarts", "Cyclic", "CyclicMomentum"]


@dataclass(frozen=True, slots=True)
class CosineRestarts(Schedule):
    """Cosine annealing with warm restarts.

    ``value(t) = min_lr + (lr - min_lr) gamma ** n (1 + cos(pi t_cur / T)) / 2`` in cycle n, counted from 0, with t_cur
    the steps since the last restart and ``T = cycle_steps * cycle_mult ** n``

    Parameters
    ----------
    lr : float
        The peak of the first cycle, finite and not negative.
    cycle_steps : int
        Steps of the first cycle, at least 1.
    cycle_mult : int, default 1
        Ratio of the length of each cycle to the previous one, at least 1.
    gamma : float, default 1.0
        Ratio of the height of each peak above the floor to the previous one, in [0, 1].
    min_lr : float, default 0.0
        The floor, in [0, `lr`].

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    It never ends. The same as ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`` (``T_0``, ``T_mult``,
    ``eta_min``; no `gamma`) and ``keras.optimizers.schedules.CosineDecayRestarts`` (whose ``m_mul`` is `gamma`, whose
    ``t_mul`` is 2 by default and may be a fraction, and whose floor is a fraction: ``alpha = min_lr / lr``). The n
    cycles of ``transformers.get_cosine_with_hard_restarts_schedule_with_warmup``, which ends at 0, are
    ``Warmup(Join((CosineRestarts(lr, steps), 0.0), milestones=(n * steps,)), warmup_steps)``. optax's ``sgdr_schedule``
    is a `Join` of `Cosine` with warm-up.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.

    Examples
    --------
    >>> from gdfast.schedules import CosineRestarts
    >>> schedule = CosineRestarts(0.5, cycle_steps=10, cycle_mult=2)
    >>> [round(schedule(step), 12) for step in (0, 5, 10, 20, 30)]
    [0.5, 0.25, 0.5, 0.25, 0.5]
    """

    lr: Value
    cycle_steps: Steps
    _: KW_ONLY
    cycle_mult: Steps = 1
    gamma: UnitValue = 1.0
    min_lr: Value = 0.0

    def _validate(self) -> None:
        check_order(self, "min_lr", "lr")

    def _value(self, step: int) -> float:
        cycle, done, length = self._locate(step)
        return mix(self.lr, self.min_lr, self.gamma**cycle * half_cosine(done, length))

    def _locate(self, step: int) -> tuple[int, int, int]:
        """Return the cycle, the steps done in it, and its length; in integers, so that no restart is missed."""
        length = self.cycle_steps
        if self.cycle_mult == 1:
            return *divmod(step, length), length
        cycle = 0
        while step >= length:  # once a cycle, and each is at least twice as long as the one before
            step -= length
            length *= self.cycle_mult
            cycle += 1
        return cycle, step, length


@dataclass(frozen=True, slots=True)
class Cyclic(Schedule):
    """Linear cycles up and down between two values.

    ``value(t) = base_lr + (max_lr - base_lr) * height(t)``: the height rises from 0 to 1 in `step_size_up` steps and
    falls to 0 in `step_size_down`; it is multiplied by ``1 / 2 ** n`` in cycle n, counted from 0 ("triangular2"), or by
    ``gamma ** t`` ("exp_range")

    Parameters
    ----------
    base_lr : float
        The value at the start and the end of a cycle, finite and not negative.
    max_lr : float
        The value at the top of the first cycle (in "exp_range" the value before the decay), at least `base_lr`.
    step_size_up : int, default 2000
        Steps of the rise, at least 1.
    step_size_down : int, optional
        Steps of the fall, at least 1; `step_size_up` if not given.
    mode : {"triangular", "triangular2", "exp_range"}, default "triangular"
        Whether the height of the cycles is constant, halves with each cycle, or decays with the step.
    gamma : float, default 1.0
        The factor of "exp_range" for one step, in [0, 1]; the other modes do not use it.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    It never ends. The same as ``torch.optim.lr_scheduler.CyclicLR`` without a ``scale_fn``; PyTorch cycles the momentum
    as well unless told otherwise: see `momentum`. PyTorch computes the position in the cycle in floating point, and
    loses precision as the steps grow; here it is computed in integers.

    References
    ----------
    Smith, "Cyclical Learning Rates for Training Neural Networks", 2017.

    Examples
    --------
    >>> from gdfast.schedules import Cyclic
    >>> schedule = Cyclic(0.0, 0.5, step_size_up=10, mode="triangular2")
    >>> schedule(5), schedule(10), schedule(20), schedule(30)
    (0.25, 0.5, 0.0, 0.25)
    """

    base_lr: Value
    max_lr: Value
    _: KW_ONLY
    step_size_up: Steps = 2000
    step_size_down: Annotated[int | None, OrNone(Count(1))] = None
    mode: Annotated[
        Literal["triangular", "triangular2", "exp_range"], Choice(("triangular", "triangular2", "exp_range"))
    ] = "triangular"
    gamma: UnitValue = 1.0

    def _validate(self) -> None:
        check_order(self, "base_lr", "max_lr")

    def momentum(self, base_momentum: float = 0.8, max_momentum: float = 0.9) -> "CyclicMomentum":
        """Return the schedule of a momentum (or of Adam's beta1) that falls where this one rises.

        Parameters
        ----------
        base_momentum, max_momentum : float
            The lowest and the highest momentum, in [0, 1].

        Returns
        -------
        CyclicMomentum
            As PyTorch's ``cycle_momentum``, with the same defaults.
        """
        return CyclicMomentum(self, base_momentum=base_momentum, max_momentum=max_momentum)

    def _value(self, step: int) -> float:
        return mix(self.max_lr, self.base_lr, self._height(step))

    def _height(self, step: int) -> float:
        up = self.step_size_up
        down = self.step_size_down or up
        cycle, done = divmod(step, up + down)
        height = done / up if done <= up else (up + down - done) / down
        if self.mode == "triangular2":
            return height * 0.5**cycle
        if self.mode == "exp_range":
            return height * self.gamma**step
        return height


@dataclass(frozen=True, slots=True)
class CyclicMomentum(Schedule):
    """The momentum that falls where a `Cyclic` learning rate rises; made by `Cyclic.momentum`.

    ``value(t) = max_momentum - (max_momentum - base_momentum) * height(t)`` with the height of the cycle

    Parameters
    ----------
    cycle : Cyclic
        The schedule of the learning rate.
    base_momentum : float, default 0.8
        The momentum at the top of the first cycle, in [0, `max_momentum`].
    max_momentum : float, default 0.9
        The momentum at the start and the end of a cycle, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as the momentum of ``torch.optim.lr_scheduler.CyclicLR(..., cycle_momentum=True)``.

    Examples
    --------
    >>> from gdfast.schedules import Cyclic
    >>> momentum = Cyclic(0.0, 0.5, step_size_up=10).momentum(0.5, 1.0)
    >>> momentum(0), momentum(10), momentum(15)
    (1.0, 0.5, 0.75)
    """

    cycle: Annotated[Cyclic, InstanceOf(Cyclic)]
    _: KW_ONLY
    base_momentum: UnitValue = 0.8
    max_momentum: UnitValue = 0.9

    def _validate(self) -> None:
        check_order(self, "base_momentum", "max_momentum")

    def _value(self, step: int) -> float:
        return mix(self.base_momentum, self.max_momentum, self.cycle._height(step))
