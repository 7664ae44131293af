"""What carries a step out: `NativeEngine` (Cython, on all threads) or `NumpyEngine` (the readable reference).

Both are made from the same entries, take the same gradients and the same numbers, and leave the same bits. An engine
takes every gradient, and checks it, before it runs; `others` are entries whose memory the same step writes elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gdfast import _engine, _native, buffers, norms
from gdfast.rows import RowSparseError, is_row_sparse
from gdfast.structure import Named


@dataclass(frozen=True)
class Entry:
    """One parameter array and what belongs to it."""

    param: Named
    states: tuple[Named, ...]
    rule: str
    group: int
    small: tuple[Named, ...] = ()  # state that is not like the parameter: a number, or one of each row

    @property
    def all_states(self) -> tuple[Named, ...]:
        """All of its state."""
        return *self.states, *self.small


class Checks:
    """The close look at a parameter and its gradient, that says what is wrong."""

    def __init__(self, entries: Sequence[Entry], others: Sequence[Entry]) -> None:
        self.entries = entries
        self.bound = [(entry.param.array.ctypes.data, entry.param.array.size) for entry in entries]
        self.own = buffers.Memory(
            [named for entry in (*entries, *others) for named in (entry.param, *entry.all_states)]
        )

    def still(self, i: int) -> None:
        """Check that a parameter is what it was when the engine was made."""
        buffers.check_still(self.entries[i].param, self.bound[i])

    def look(self, i: int, grad: Any) -> None:
        """Check a parameter and its gradient."""
        self.still(i)
        param = self.entries[i].param
        if is_row_sparse(grad):
            raise RowSparseError(f"{param.grad_path} must be a NumPy array here; got {type(grad).__name__}")
        buffers.check_grad(grad, param, self.own)


class Engine(Protocol):
    """What an optimizer asks of an engine."""

    most_parts: int  # among how many threads the work is worth sharing
    checks: Checks

    def take(self, grads: tuple[Any, ...]) -> None:
        """Check the gradients of the next step, in the order of the entries, and bind them."""

    def set_numbers(
        self, group: int, scale: float, bound: float, l2: float, decay: float, l1: float, scalars: tuple[float, ...]
    ) -> None:
        """Set a group's numbers of the next step: for preparing the gradient, for moving, and the rule's own."""

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""

    def bind_sums(self, sums: tuple[Any, ...]) -> None:
        """Bind arrays, one a parameter, that a step may be asked to add to the gradients."""

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together, with the bound sums added if asked to."""

    def run(self, threads: int, zero_grad: bool, summed: bool) -> None:
        """Carry the step out, with the bound sums added; zero the gradients in the same pass if asked to."""

    def take_one(self, i: int, grad: Any) -> None:
        """Check the gradient of one entry and bind it."""

    def run_one(self, i: int, threads: int, zero_grad: bool) -> None:
        """Carry the step of one entry out."""


class NativeEngine(_engine.Plan):
    """The native plan; its own check of a gradient says yes or no, and `buffers` says why not."""

    def __init__(self, entries: Sequence[Entry], n_groups: int, averaged: bool, others: Sequence[Entry] = ()) -> None:
        elsewhere = [named.array for e in others for named in (e.param, *e.all_states)]
        super().__init__(_native.rules, self._plain(entries), n_groups, averaged, elsewhere)
        self.checks = Checks(entries, others)

    @staticmethod
    def _plain(entries: Sequence[Entry]) -> list[tuple[Any, tuple[Any, ...], str, int]]:
        """Return the entries as the plan takes them."""
        return [(e.param.array, tuple(s.array for s in e.states), e.rule, e.group) for e in entries]

    def look(self, i: int, grad: Any) -> None:
        """Take the close look at one gradient."""
        self.checks.look(i, grad)

    def bind_sums(self, sums: tuple[Any, ...]) -> None:
        """Bind arrays, one a parameter, that a step may be asked to add to the gradients."""
        self._sums = sums
        super().bind_sums(sums)

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together, with the bound sums added if asked to."""
        return norms.native_norm(grads, threads, self._sums if summed else ())


class NumpyEngine:
    """The reference: each array in turn, each operation a NumPy call."""

    most_parts = 1

    def __init__(self, entries: Sequence[Entry], n_groups: int, averaged: bool, others: Sequence[Entry] = ()) -> None:
        from gdfast import reference  # not before it is asked for: imports should be quick

        self._reference = reference
        self._entries = entries
        self.checks = Checks(entries, others)
        self._numbers: list[tuple[float, ...]] = [()] * n_groups
        self._grads: dict[int, Any] = {}
        self._averaged = averaged
        self._loops = [_native.rules.TABLE[entry.rule] for entry in entries]  # which say how much a rule takes
        for entry, loop in zip(entries, self._loops, strict=True):
            loop.check_states(len(entry.states) - averaged)
        self._average = 1.0
        self._sums: tuple[Any, ...] = ()

    def bind_sums(self, sums: tuple[Any, ...]) -> None:
        """Bind arrays, one a parameter, that a step may be asked to add to the gradients."""
        self._sums = sums

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""
        self._average = weight

    def take(self, grads: tuple[Any, ...]) -> None:
        """Check the gradients of the next step and bind them."""
        for i, grad in enumerate(grads):
            self.take_one(i, grad)

    def take_one(self, i: int, grad: Any) -> None:
        """Check the gradient of one entry and bind it."""
        self.checks.look(i, grad)
        self._grads[i] = grad

    def set_numbers(
        self, group: int, scale: float, bound: float, l2: float, decay: float, l1: float, scalars: tuple[float, ...]
    ) -> None:
        """Set a group's numbers of the next step."""
        for entry, loop in zip(self._entries, self._loops, strict=True):
            if entry.group == group:
                loop.check_scalars(len(scalars))
        self._numbers[group] = (scale, bound, l2, decay, l1, *scalars)

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together, with the bound sums added if asked to."""
        return norms.numpy_norm(grads, self._sums if summed else ())

    def run(self, threads: int, zero_grad: bool, summed: bool) -> None:
        """Carry the step out, on the calling thread."""
        for i in range(len(self._entries)):
            self._step(i, zero_grad, summed)

    def run_one(self, i: int, threads: int, zero_grad: bool) -> None:
        """Carry the step of one entry out."""
        self._step(i, zero_grad, summed=False)

    def _step(self, i: int, zero_grad: bool, summed: bool) -> None:
        entry, given = self._entries[i], self._grads.pop(i)
        param = entry.param.array
        states = [state.array for state in entry.states]
        mean = states.pop() if self._averaged else None
        with np.errstate(all="ignore"):
            self._carry_out(i, self._sums[i] + given if summed else given, states)
            if mean is not None:
                mean[...] = self._reference.average(mean, param, param.dtype.type(self._average))
        if zero_grad:
            given[...] = 0

    def _carry_out(self, i: int, grad: Any, states: list[Any]) -> None:
        entry = self._entries[i]
        self._reference.step(entry.rule, entry.param.array, grad, states, self._numbers[entry.group])


ENGINES: dict[str, type[NativeEngine] | type[NumpyEngine]] = {"native": NativeEngine, "numpy": NumpyEngine}
