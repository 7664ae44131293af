"""What carries a step out: `NativeEngine` (Cython, on all threads) or `NumpyEngine` (the readable reference).

Both are made from the same entries, take the same gradients and the same numbers, and leave the same bits. An engine
takes every gradient, and checks it, before it runs; `others` are entries whose memory the same step writes elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound, ChangedError
from gdfast.arrays.formats import SCALES
from gdfast.arrays.rows import RowSparseError, is_row_sparse
from gdfast.arrays.structure import Named
from gdfast.engine import _plan, isa, norms

#: a group's numbers of a step: what gradients are multiplied by, the largest absolute value that is left of an element,
#: how much of the parameter joins it (L2), how much of the parameter is taken away, l1, and the rule's own
Numbers: TypeAlias = tuple[float, float, float, float, float, tuple[float, ...]]


@dataclass(frozen=True)
class Entry:
    """One parameter array and what belongs to it."""

    param: Named
    states: tuple[Named, ...]
    rule: str
    group: int
    small: tuple[Named, ...] = ()  # state that is not like the parameter: a number, or one of each row, or scales
    formats: tuple[str, ...] = ()  # of each state the name of its format's loops, "" for the parameter's own type

    def codings(self) -> list[tuple[str | None, Any]]:
        """Return the format of each state, or None, and the array of its scales, or None."""
        scales = {named.name: named.array for named in self.small}
        return [
            (form or None, scales.get(state.name + SCALES)) for state, form in zip(self.states, self.formats, strict=True)
        ]

    @property
    def all_states(self) -> tuple[Named, ...]:
        """All of its state."""
        return *self.states, *self.small

    @property
    def all_arrays(self) -> tuple[Named, ...]:
        """The parameter and all of its state."""
        return self.param, *self.states, *self.small


class Checks:
    """What was bound, the native comparison with it, and the close look at a gradient, that says what is wrong.

    Attributes
    ----------
    entries : list of Entry
        With the arrays as plain ones that nobody else has; these are read and written.
    bounds : list of Bound
        What the arrays of each entry were when the engine was made.
    own : Memory
        All memory that a step writes.
    """

    def __init__(self, entries: Sequence[Entry], others: Sequence[Entry]) -> None:
        self.bounds = [Bound([a.path for a in e.all_arrays], [a.array for a in e.all_arrays]) for e in entries]
        self.entries = [_plain(entry, bound.views) for entry, bound in zip(entries, self.bounds, strict=True)]
        self.own = buffers.Memory([named for entry in (*entries, *others) for named in entry.all_arrays])

    def still(self, written: bool = True) -> None:
        """Check that all arrays are what they were when the engine was made, and writeable if asked."""
        for bound in self.bounds:
            bound.check(written)

    def look(self, i: int, grad: Any) -> None:
        """Check a gradient, after the arrays that it is for."""
        self.bounds[i].check()
        param = self.entries[i].param
        if is_row_sparse(grad):
            raise RowSparseError(f"{param.grad_path} must be a NumPy array here; got {type(grad).__name__}")
        buffers.check_grad(grad, param, self.own)


def _plain(entry: Entry, views: Sequence[Any]) -> Entry:
    """Return an entry with these arrays in the place of its own."""
    param, *states = (replace(named, array=view) for named, view in zip(entry.all_arrays, views, strict=True))
    n = len(entry.states)
    return replace(entry, param=param, states=tuple(states[:n]), small=tuple(states[n:]))


class Engine(Protocol):
    """What an optimizer asks of an engine."""

    most_parts: int  # among how many threads the work is worth sharing
    checks: Checks
    refused: bool  # whether the last run wrote nothing, because of what it found in gradients that were offered

    def offer(self, grads: tuple[Any, ...]) -> bool:
        """Keep the gradients of the next step, which `run` is to check; return False where only `take` will do."""

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check the gradients of the next step, in the order of the entries; bind them, return them as plain arrays."""

    def take_none(self) -> None:
        """Bind no gradients, for a rule that reads none."""

    def release(self) -> None:
        """Let go of gradients that were taken and are not to be stepped."""

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""

    def set_random(self, step_key: int) -> None:
        """Set what the random bits of the next step are hashed from."""

    def bind_sums(self, sums: Bound) -> None:
        """Bind arrays, one a parameter, that a step may be asked to add to the gradients."""

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together, with the bound sums added if asked to."""

    def run(self, threads: int, zero_grad: bool, summed: bool) -> None:
        """Carry the step out, with the bound sums added; zero the gradients in the same pass if asked to.

        Raises
        ------
        ChangedError
            If an array is not what was bound, or a gradient not what was taken; nothing has been written then.
        """

    def take_one(self, i: int, grad: Any) -> Any:
        """Check the gradient of one entry and bind it; return it as a plain array."""

    def run_one(self, i: int, threads: int, zero_grad: bool) -> None:
        """Carry the step of one entry out."""


class NativeEngine(_plan.Plan):
    """The native plan; its own check of a gradient says yes or no, and `buffers` says why not."""

    _sums: Bound | None = None

    def __init__(self, entries: Sequence[Entry], n_groups: int, averaged: bool, others: Sequence[Entry] = ()) -> None:
        elsewhere = [buffers.plain(named.array) for entry in others for named in entry.all_arrays]
        self.checks = Checks(entries, others)
        super().__init__(isa.rules, self._planned(), n_groups, averaged, elsewhere)
        self.watch(self.checks.bounds)
        for i, entry in enumerate(self.checks.entries):
            if entry.formats:
                self.set_formats(isa.rules, i, entry.codings())

    def _planned(self) -> list[tuple[Any, tuple[Any, ...], str, int]]:
        """Return the entries as the plan takes them."""
        return [(e.param.array, tuple(s.array for s in e.states), e.rule, e.group) for e in self.checks.entries]

    def look(self, i: int, grad: Any) -> None:
        """Take the close look at one gradient."""
        self.checks.look(i, grad)

    def changed(self, i: int, zero_grad: bool) -> None:
        """Say which gradient was changed after it was taken."""
        raise _changed(self.checks.entries[i].param, zero_grad)

    def bind_sums(self, sums: Bound) -> None:
        """Bind arrays, one a parameter, that a step may be asked to add to the gradients."""
        self._sums = sums
        super().bind_sums(sums)

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together, with the bound sums added if asked to."""
        return norms.native_norm(grads, threads, _checked(self._sums) if summed else ())


class NumpyEngine:
    """The reference: each array in turn, each operation a NumPy call."""

    most_parts = 1
    refused = False
    _sums: Bound | None = None

    def __init__(self, entries: Sequence[Entry], n_groups: int, averaged: bool, others: Sequence[Entry] = ()) -> None:
        from gdfast import reference  # not before it is asked for: imports should be quick

        self._reference = reference
        self.checks = Checks(entries, others)
        self._entries = self.checks.entries
        self._numbers: list[tuple[float, ...]] = [()] * n_groups
        self._grads: dict[int, Bound] = {}
        self._averaged = averaged
        self._loops = [isa.rules.TABLE[entry.rule] for entry in self._entries]  # which say how much a rule takes
        for entry, loop in zip(self._entries, self._loops, strict=True):
            loop.check_states(len(entry.states) - averaged)
        self._average, self._step_key = 1.0, 0

    def bind_sums(self, sums: Bound) -> None:
        """Bind arrays, one a parameter, that a step may be asked to add to the gradients."""
        self._sums = sums

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""
        self._average = weight

    def set_random(self, step_key: int) -> None:
        """Set what the random bits of the next step are hashed from."""
        self._step_key = step_key

    def offer(self, grads: tuple[Any, ...]) -> bool:
        """Return False: here gradients are checked when they are taken, and again before they are stepped."""
        return False

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check the gradients of the next step and bind them; return them as plain arrays."""
        if len(grads) != len(self._entries):
            raise ValueError(f"grads must be {len(self._entries)} arrays, one a parameter; got {len(grads)}")
        return tuple(self.take_one(i, grad) for i, grad in enumerate(grads))

    def take_one(self, i: int, grad: Any) -> Any:
        """Check the gradient of one entry and bind it; return it as a plain array."""
        self.checks.look(i, grad)
        self._grads[i] = Bound([self._entries[i].param.grad_path], [grad])
        return self._grads[i].views[0]

    def take_none(self) -> None:
        """Bind no gradients, for a rule that reads none."""
        self._grads = {i: Bound([""], [entry.param.array]) for i, entry in enumerate(self._entries)}

    def release(self) -> None:
        """Let go of gradients that were taken and are not to be stepped."""
        self._grads.clear()

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""
        for entry, loop in zip(self._entries, self._loops, strict=True):
            if entry.group == group:
                loop.check_scalars(len(numbers[-1]))
        self._numbers[group] = (*numbers[:-1], *numbers[-1])

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together, with the bound sums added if asked to."""
        return norms.numpy_norm(grads, _checked(self._sums) if summed else ())

    def run(self, threads: int, zero_grad: bool, summed: bool) -> None:
        """Carry the step out, on the calling thread."""
        self._check(range(len(self._entries)), zero_grad, summed)
        for i in range(len(self._entries)):
            self._step(i, zero_grad, summed)

    def run_one(self, i: int, threads: int, zero_grad: bool) -> None:
        """Carry the step of one entry out."""
        self._check((i,), zero_grad, False)
        self._step(i, zero_grad, summed=False)

    def _check(self, places: Iterable[int], zero_grad: bool, summed: bool) -> None:
        """Compare the arrays of some entries, and the gradients taken, with what was bound."""
        for i in places:
            self.checks.bounds[i].check()
            try:
                self._grads[i].check(written=zero_grad)
            except ChangedError:
                raise _changed(self._entries[i].param, zero_grad) from None
        if summed:
            _checked(self._sums)

    def _step(self, i: int, zero_grad: bool, summed: bool) -> None:
        entry, given = self._entries[i], self._grads.pop(i).views[0]
        param = entry.param.array
        states = self._decoded(entry)
        mean = states.pop() if self._averaged else None
        with np.errstate(all="ignore"):
            self._carry_out(i, self._total(i, given, summed), states)
            if mean is not None:
                mean[...] = self._reference.average(mean, param, param.dtype.type(self._average))
            self._encode(i, entry, states)
        if zero_grad:
            given[...] = 0

    def _decoded(self, entry: Entry) -> list[Any]:
        """Return an array's states as the rule sees them: those in fewer bits are decoded."""
        states = [state.array for state in entry.states]
        for k, (form, scales) in enumerate(entry.codings() if entry.formats else ()):
            if form is not None:
                codes = states[k]
                states[k] = self._reference.FORMATS[form].decode(codes.reshape(-1), scales).reshape(codes.shape)
        return states

    def _encode(self, i: int, entry: Entry, states: list[Any]) -> None:
        """Put the new values of the states in fewer bits back."""
        for k, (form, scales) in enumerate(entry.codings() if entry.formats else ()):
            if form is not None:
                codes = entry.states[k].array.reshape(-1)
                random = self._reference.random_bits(self._step_key, i, k // 2, codes.size)
                self._reference.FORMATS[form].encode(codes, scales, states[k].reshape(-1), random, 16 * (k % 2))

    def _total(self, i: int, given: Any, summed: bool) -> Any:
        """Return a gradient, with the bound sum added if asked to."""
        return self._sums.views[i] + given if summed and self._sums else given

    def _carry_out(self, i: int, grad: Any, states: list[Any]) -> None:
        entry = self._entries[i]
        self._reference.step(entry.rule, entry.param.array, grad, states, self._numbers[entry.group])


def _checked(sums: Bound | None) -> tuple[Any, ...]:
    """Return the sums of micro-batches, after a check that they are what was bound."""
    if sums is None:
        raise ChangedError("no micro-batches can wait: none was given to accumulate")
    sums.check()
    return tuple(sums.views)


def _changed(param: Named, zero_grad: bool) -> ChangedError:
    """Make the error for a gradient that was changed after it was taken."""
    writeable = ", and must be writeable for zero_grad=True" if zero_grad else ""
    return ChangedError(f"{param.grad_path} must stay as it was checked until the step has been made{writeable}")


ENGINES: dict[str, type[NativeEngine] | type[NumpyEngine]] = {"native": NativeEngine, "numpy": NumpyEngine}
