"""Optimizers on their way over a surface, step by step: what a page draws, as float32 numbers.

A race is made of its settings alone: two races of equal settings go through the same bits.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gdfast.lab import rules
from gdfast.lab.errors import LabError
from gdfast.lab.settings import MOST_CHANGES, Change, Racer, Settings

__all__ = ["FIELDS", "Lane", "Race"]

Array: TypeAlias = np.ndarray[Any, Any]
Gradient: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]

#: What a frame says of a racer: where it is, the loss there, the learning rate of the next step, the lengths of the
#: last step and of its gradient, and its averages of gradients (m) and of their squares (v); NaN where there is none.
FIELDS = ("x", "y", "loss", "lr", "move", "slope", "m_x", "m_y", "v_x", "v_y")


class Lane:
    """One racer on its way.

    Attributes
    ----------
    point : array of shape (2,)
        Where it is.
    opt : Optimizer
        What moves it.
    ended : str or None
        Why it goes no further, in words.
    """

    def __init__(self, racer: Racer, settings: Settings) -> None:
        self.rule = racer.rule
        self.ended: str | None = None
        self.point = rules.point_of(racer.values, settings.start, settings.dtype)
        self.opt = rules.make(racer.rule, racer.values, self.point)
        self._stepper = rules.stepper(racer.rule, racer.values, self.opt)
        self._formula = settings.surface.formula
        self._dtype = settings.dtype
        self._noise = settings.noise
        self._rng = np.random.default_rng(settings.seed)
        self._shape = self.opt.param_groups[0]["params"][0].shape
        self._lengths = 0.0, 0.0

    def step(self) -> None:
        """Take one step, unless it has ended."""
        if self.ended is not None:
            return
        before = self.point.astype(float)
        slope = np.array(self._formula.gradient(*before), self._dtype)
        if self._noise:
            slope += (self._noise * self._rng.standard_normal(2)).astype(slope.dtype)
        try:
            self._stepper.step(slope.reshape(self._shape))
        except ValueError as error:
            self.ended = f"{self.rule} cannot take step {self.opt.step_count + 1}: {error}"
            return
        self._lengths = float(np.linalg.norm(self.point - before)), float(np.linalg.norm(slope))
        if not np.isfinite(self.point).all():
            self.ended = (
                f"{self.rule} diverged at step {self.opt.step_count}: its steps grew until no number could hold them. "
                "Give it a smaller learning rate, or clip its gradients (clip_norm)."
            )

    def frame(self) -> list[float]:
        """Return the numbers of `FIELDS`."""
        x, y = self.point.astype(float)
        first, second = rules.moments(self.opt)
        numbers: list[float] = [x, y, self._formula.value(x, y), self._lr(), *self._lengths]
        for moment in (first, second):
            numbers.extend((np.nan, np.nan) if moment is None else moment.tolist())
        return numbers

    def _lr(self) -> float:
        try:
            return self.opt.lr
        except ValueError:  # a schedule out of range: the step says so
            return np.nan


class Race:
    """Several optimizers, from one start, over one surface.

    Parameters
    ----------
    settings : Settings
        Those of the race; `settings` keeps what is changed on the way.

    Raises
    ------
    LabError
        If an optimizer does not take its hyperparameters.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.step_count = 0
        self.lanes = [Lane(racer, settings) for racer in settings.racers]
        self._due = list(settings.changes)

    @property
    def over(self) -> bool:
        """Whether nobody goes any further."""
        return self.step_count >= self.settings.steps or all(lane.ended is not None for lane in self.lanes)

    def frame(self) -> Array:
        """Return where all are, float32 of shape (racers, fields)."""
        with np.errstate(all="ignore"):
            frames = [lane.frame() for lane in self.lanes]
            return np.array(frames, float).reshape(len(self.lanes), len(FIELDS)).astype(np.float32)

    def advance(self, steps: int) -> Array:
        """Go a number of steps, or to the end, and return the frame after each: float32 (steps, racers, fields)."""
        frames: list[Array] = []
        with np.errstate(all="ignore"):
            while len(frames) < steps and not self.over:
                self._apply_due()
                for lane in self.lanes:
                    lane.step()
                self.step_count += 1
                frames.append(self.frame())
        return np.array(frames, np.float32).reshape(len(frames), len(self.lanes), len(FIELDS))

    def change(self, racer: Any, name: str, data: Any) -> bool:
        """Set a hyperparameter of a racer before its next step.

        Returns
        -------
        bool
            Whether it holds from here on; otherwise it is settled when the optimizer is made, and the race is to begin
            again with `with_value`.

        Raises
        ------
        LabError
            If there is no such racer or hyperparameter, it cannot be this, or there were too many changes.
        """
        lane = self._lane(racer)
        value = rules.as_value(lane.rule, name, data)
        change = Change(self.step_count, racer, name, value)
        same = (self.step_count, racer, name)
        kept = tuple(old for old in self.settings.changes if (old.step, old.racer, old.name) != same)
        if len(kept) >= MOST_CHANGES:
            raise LabError(f"a race remembers {MOST_CHANGES} changes; go back to the start to make more")
        if self.step_count == 0 or rules.specs(lane.rule)[name].fixed:
            return False
        _set(lane, change)
        self.settings = replace(self.settings, changes=(*kept, change))
        self._due = [due for due in self._due if (due.step, due.racer, due.name) != same]
        return True

    def with_value(self, racer: Any, name: str, data: Any) -> Settings:
        """Return the settings of the race from its start, the sliders as they stand and this one set."""
        value = rules.as_value(self._lane(racer).rule, name, data)
        now = list(self.from_here().racers)
        now[racer] = Racer(now[racer].rule, {**now[racer].values, name: value})
        return replace(self.settings, racers=tuple(now), changes=())

    def from_here(self) -> Settings:
        """Return settings that begin as the sliders stand, without changes on the way."""
        values = [dict(racer.values) for racer in self.settings.racers]
        for change in self.settings.changes:
            if change.step <= self.step_count:
                values[change.racer][change.name] = change.value
        racers = (Racer(racer.rule, own) for racer, own in zip(self.settings.racers, values, strict=True))
        return replace(self.settings, racers=tuple(racers), changes=())

    def _lane(self, racer: Any) -> Lane:
        if isinstance(racer, bool) or not isinstance(racer, int) or not 0 <= racer < len(self.lanes):
            raise LabError(f"racer must be one of the {len(self.lanes)}, counted from 0; got {racer!r}")
        return self.lanes[racer]

    def _apply_due(self) -> None:
        while self._due and self._due[0].step <= self.step_count:
            change = self._due.pop(0)
            lane = self.lanes[change.racer]
            if lane.ended is None:
                try:
                    _set(lane, change)
                except LabError as error:
                    lane.ended = str(error)


def _set(lane: Lane, change: Change) -> None:
    try:
        lane.opt.param_groups[0][change.name] = change.value
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{lane.rule}: {error}") from None
