"""The one-cycle policy, and the momentum that goes with it."""

from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from math import inf
from typing import Annotated, Literal

from gdfast.schedules._base import SHAPES, Schedule, mix
from gdfast.schedules._checks import POSITIVE, Choice, InstanceOf, Steps, Switch, UnitValue, Value, check_order

__all__ = ["OneCycle", "OneCycleMomentum"]


@dataclass(frozen=True, slots=True)
class OneCycle(Schedule):
    """The one-cycle policy: once up to a peak, and down to far below the initial value.

    From ``max_lr / div_factor`` to `max_lr` at step ``pct_start * total_steps - 1``, then to
    ``max_lr / div_factor / final_div_factor`` at step ``total_steps - 1``, each along half a cosine or a line

    Parameters
    ----------
    max_lr : float
        The peak, finite and not negative.
    total_steps : int
        Steps of the cycle, at least 1. The last of them, number ``total_steps - 1``, has the last value.
    pct_start : float, default 0.3
        The fraction of the steps in which the value rises, in [0, 1].
    anneal_strategy : {"cosine", "linear"}, default "cosine"
        The shape of each phase.
    div_factor : float, default 25.0
        How many times the initial value is below the peak, finite and positive.
    final_div_factor : float, default 1e4
        How many times the last value is below the *initial* one, finite and positive.
    three_phase : bool, default False
        Fall back to the initial value first, at step ``2 * pct_start * total_steps - 2``, then on to the last value.
        `pct_start` is then at most 0.5.

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.OneCycleLR``, which raises an error after step `total_steps`, and in that
    step goes beyond the end of its last phase: here the last value stays. Its "cos" is "cosine" here; the last value of
    its "linear" has a rounding error, and is exact here. PyTorch cycles the momentum as well unless told otherwise: see
    `momentum`. ``optax.cosine_onecycle_schedule`` differs: its
    peak is at ``int(pct_start * transition_steps)`` and its end at step ``transition_steps``, one step later each; it
    is ``Piecewise(values, milestones, interpolation="cosine")`` with these.

    References
    ----------
    Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.

    Examples
    --------
    >>> from gdfast.schedules import OneCycle
    >>> schedule = OneCycle(1.0, total_steps=100, anneal_strategy="linear", div_factor=10, final_div_factor=100)
    >>> [round(schedule(step), 12) for step in (0, 29, 64, 99, 10**9)]
    [0.1, 1.0, 0.5005, 0.001, 0.001]
    >>> momentum = schedule.momentum(0.85, 0.95)
    >>> momentum(0), momentum(29), momentum(99)
    (0.95, 0.85, 0.95)
    """

    max_lr: Value
    total_steps: Steps
    _: KW_ONLY
    pct_start: UnitValue = 0.3
    anneal_strategy: Annotated[Literal["cosine", "linear"], Choice(("cosine", "linear"))] = "cosine"
    div_factor: Annotated[float, POSITIVE] = 25.0
    final_div_factor: Annotated[float, POSITIVE] = 1e4
    three_phase: Switch = False

    def _validate(self) -> None:
        if self.three_phase and not self.pct_start <= 0.5:
            raise ValueError(f"pct_start must be <= 0.5 with three_phase; got {self.pct_start!r}")
        initial, last = self._ends()
        if not max(initial, last) < inf:
            raise ValueError(
                f"div_factor and final_div_factor must be such that max_lr divided by them is finite; got "
                f"max_lr={self.max_lr!r}, div_factor={self.div_factor!r}, final_div_factor={self.final_div_factor!r}"
            )

    def momentum(self, base_momentum: float = 0.85, max_momentum: float = 0.95) -> "OneCycleMomentum":
        """Return the schedule of a momentum (or of Adam's beta1) that falls where this one rises.

        Parameters
        ----------
        base_momentum, max_momentum : float
            The lowest and the highest momentum, in [0, 1].

        Returns
        -------
        OneCycleMomentum
            As PyTorch's ``cycle_momentum``, with the same defaults.
        """
        return OneCycleMomentum(self, base_momentum=base_momentum, max_momentum=max_momentum)

    def _ends(self) -> tuple[float, float]:
        initial = self.max_lr / self.div_factor
        return initial, initial / self.final_div_factor

    def _value(self, step: int) -> float:
        initial, last = self._ends()
        return self._anneal(step, low=initial, high=self.max_lr, last=last)

    def _anneal(self, step: int, low: float, high: float, last: float) -> float:
        """Go from `low` to `high`, in three phases back to `low`, and to `last`."""
        peak_step = self.pct_start * self.total_steps - 1
        corners = [(0.0, low), (peak_step, high), (self.total_steps - 1.0, last)]
        if self.three_phase:
            corners.insert(2, (2 * self.pct_start * self.total_steps - 2, low))
        done = min(step, self.total_steps - 1)
        (start, first), (end, second) = next(phase for phase in pairwise(corners) if done <= phase[1][0])
        # A rise that takes one step begins and ends at step 0.
        progress = (done - start) / (end - start) if end > start else 1.0
        return mix(first, second, SHAPES[self.anneal_strategy](progress))


@dataclass(frozen=True, slots=True)
class OneCycleMomentum(Schedule):
    """The momentum that falls where a `OneCycle` learning rate rises; made by `OneCycle.momentum`.

    From `max_momentum` to `base_momentum` while the learning rate rises to its peak, back while it falls from there,
    and `max_momentum` in a third phase

    Parameters
    ----------
    cycle : OneCycle
        The schedule of the learning rate.
    base_momentum : float, default 0.85
        The momentum at the peak of the learning rate, in [0, `max_momentum`].
    max_momentum : float, default 0.95
        The momentum at the start and at the end, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument, or the step of a call, is invalid.

    Notes
    -----
    The same as the momentum of ``torch.optim.lr_scheduler.OneCycleLR(..., cycle_momentum=True)``, with the differences
    of `OneCycle`.

    Examples
    --------
    >>> from gdfast.schedules import OneCycle
    >>> momentum = OneCycle(0.1, total_steps=100).momentum()
    >>> momentum(0), momentum(29), momentum(99)
    (0.95, 0.85, 0.95)
    """

    cycle: Annotated[OneCycle, InstanceOf(OneCycle)]
    _: KW_ONLY
    base_momentum: UnitValue = 0.85
    max_momentum: UnitValue = 0.95

    def _validate(self) -> None:
        check_order(self, "base_momentum", "max_momentum")

    def _value(self, step: int) -> float:
        high = self.max_momentum
        return self.cycle._anneal(step, low=high, high=self.base_momentum, last=high)
