"""How a step is done: gradients checked and bound, the step's few numbers computed, one call of the engine."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar

from gdfast import buffers, threads
from gdfast._engine import Turn
from gdfast.engines import Engine, NativeEngine, NumpyEngine
from gdfast.hyperparameters import ParamGroup
from gdfast.optimizers.averaging import Averaging
from gdfast.optimizers.guard import Guard, complaint
from gdfast.optimizers.layout import Layout

_UNSCALED = 1.0


class Stepping(ABC):
    """The part of an optimizer that steps; :class:`gdfast.Optimizer` is the whole."""

    #: whether weight decay shrinks the parameters directly (AdamW) or joins the gradient (L2)
    decoupled: ClassVar[bool] = False
    #: numbers that a group carries from step to step, by name, and what they are before the first
    memory: ClassVar[Mapping[str, float]] = {}

    n_threads: int | None
    guard: Guard
    averaging: Averaging
    last_norm: float | None
    skipped_steps: int
    step_count: int
    _layout: Layout
    _engine_type: type[NativeEngine] | type[NumpyEngine]
    _memories: list[dict[str, float]]  # of each group; empty for a rule without

    @staticmethod
    @abstractmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the rule's numbers at step t, counted from 1, in the order of the native loop.

        With a `memory`, `values` holds its numbers too, as `advance` returned them for this step.
        """

    @staticmethod
    def advance(values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the `memory` of a group after step t, from its hyperparameters and its memory before."""
        return {}

    def step(self, grads: Any = None, *, grad_scale: float = _UNSCALED, zero_grad: bool = False) -> None:
        """Update every parameter in place, once.

        Parameters
        ----------
        grads : same structure as the parameters, optional
            The gradients, each of its parameter's shape and dtype; only read. With several groups, a list with the
            structure of each group, or one dict with all names. Not needed when gradient buffers were bound.
        grad_scale : float
            The gradients are multiplied by it first (loss scaling, averaging).
        zero_grad : bool
            Zero the gradients in the same pass. Without it they are never written.

        Raises
        ------
        TypeError, ValueError
            If gradients, or hyperparameters that a schedule gives at this step, are not as they must be; nothing has
            been written then.
        FloatingPointError
            If ``nonfinite="raise"`` and a gradient holds NaN or infinity; nothing has been written then.
        RuntimeError
            If another thread is stepping this optimizer.
        """
        with self._stepping:
            if self._swapped:
                self._check_not_swapped()
            engine, guard = self._engine, self.guard
            row = (grads,) if self._lone and grads is not None else self._row(grads)
            engine.take(row)
            if zero_grad:
                self._check_zeroable(row)
            step = self.step_count
            scale = grad_scale if grad_scale is _UNSCALED else _checked_scale(grad_scale)
            n_threads = threads.resolve(self.n_threads) if engine.most_parts > 1 else 1
            if guard.needs_norm:
                norm = engine.norm(row, n_threads)
                if guard.nonfinite != "propagate" and not isfinite(norm) and self._refuse(row, norm, step):
                    return
                self.last_norm = norm = abs(scale) * norm
                scale *= guard.factor(norm, step)
            bound = math.inf if guard.clip_value is None else guard.bound(step)
            for i, group in enumerate(self._groups):
                self._set_numbers(i, group, step, scale, bound)
            memories = self._advanced.copy() if self._advanced else self._memories
            if self.averaging.on:
                engine.set_average(*self.averaging.weights(step))
            # Counted first: Python handles a signal after a call, so none can come between this line and the step.
            self.step_count, self._memories = step + 1, memories
            engine.run(n_threads, zero_grad)

    # How it is done.

    def _settle(self) -> None:
        """Make what belongs to this process: the lock, the engine over the layout's memory, no bound buffers."""
        self._stepping = Turn(type(self).__name__)
        self._swapped = False
        self._zeroable: tuple[Any, ...] | None = None
        self._bound_grads: tuple[Any, ...] | None = None
        self._make_engine()

    def _bind(self, row: tuple[Any, ...]) -> None:
        self._engine.take(row)
        self._bound_grads = row

    def _make_engine(self) -> None:
        layout = self._layout
        self._engine: Engine = self._engine_type(layout.entries, len(layout.groups), self.averaging.on)
        self._advanced = self._memories.copy()
        self._groups, self._lone = layout.groups, layout.lone  # a step looks at nothing else of it

    def _row(self, grads: Any) -> tuple[Any, ...]:
        """Lay the gradients out in the order of the parameters; the bound ones if none are given."""
        if grads is not None:
            return self._layout.row(grads)
        if self._bound_grads is None:
            raise TypeError("step needs grads, because no gradient buffers were bound at construction (grads=...)")
        return self._bound_grads

    def _check_not_swapped(self) -> None:
        if self._swapped:
            raise RuntimeError("the averages stand in the place of the parameters now: first leave averaged()")

    def _refuse(self, grads: tuple[Any, ...], norm: float, step: int) -> bool:
        """Raise, or count a skipped step and return True."""
        if self.guard.nonfinite == "raise":
            raise FloatingPointError(complaint(self._layout.named_grads(grads), step))
        self.last_norm = norm
        self.skipped_steps += 1
        return True

    def _check_zeroable(self, grads: tuple[Any, ...]) -> None:
        """Check gradients that are to be zeroed, unless they are the bound ones, checked before."""
        if grads is not self._zeroable:
            buffers.check_zeroable(self._layout.named_grads(grads))
            self._zeroable = self._bound_grads if grads is self._bound_grads else None

    def _set_numbers(self, i: int, group: ParamGroup, step: int, scale: float, bound: float) -> None:
        """Compute a group's numbers of this step and give them to the engine."""
        values = group.at_step(step) if group.scheduled else group.values_now
        t = step - group.born + 1
        if self._memories:
            self._advanced[i] = self.advance({**values, **self._memories[i]}, t)
            values = {**values, **self._advanced[i]}
        l2, decay = values["weight_decay"], 1.0
        if self.decoupled:
            l2, decay = 0.0, 1.0 - values["lr"] * l2
        scalars = self.scalars(values, t)
        self._engine.set_numbers(i, -scale if values["maximize"] else scale, bound, l2, decay, values["l1"], scalars)


def _checked_scale(grad_scale: float) -> float:
    if type(grad_scale) is float and -math.inf < grad_scale < math.inf:
        return grad_scale
    if isinstance(grad_scale, bool) or not isinstance(grad_scale, numbers.Real):
        raise TypeError(f"grad_scale must be a number; got {grad_scale!r}")
    if not -math.inf < grad_scale < math.inf:
        raise ValueError(f"grad_scale must be finite; got {grad_scale!r}")
    return float(grad_scale)
