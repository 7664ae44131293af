"""The two engines that carry out a step: `NativeEngine` (Cython, multi-threaded) and `NumpyEngine` (the reference).

Both are made from the same entries, take the same gradients and the same numbers, and give the same bits. An engine
checks every gradient before it writes anything; `others` are entries that the same step writes outside this engine.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound, ChangedError
from gdfast.arrays.formats import MASTER, REMAINDER, SCALES, short_format
from gdfast.arrays.rows import RowSparseError, is_row_sparse
from gdfast.arrays.structure import NamedArray
from gdfast.engine import _plan, isa, norms
from gdfast.engine.coding import as_float

#: the numbers of one group in one step: grad_scale, clip_value (the largest absolute value of a gradient's element), l2
#: (coupled weight decay), decay (the share of the parameter that is subtracted), l1, and the rule's own scalars
Numbers: TypeAlias = tuple[float, float, float, float, float, tuple[float, ...]]


class Coding(NamedTuple):
    """What an array lies in: the name of its format's loops (None for float32 or float64), and what lies beside it."""

    form: str | None
    codes: Any
    beside: Any


@dataclass(eq=False, repr=False)
class Entry:
    """One parameter array, its state, the name of its rule, and the index of its group."""

    param: NamedArray
    states: tuple[NamedArray, ...]
    rule: str
    group: int
    reduced_states: tuple[NamedArray, ...] = ()  # not like the parameter: a number, or one of each row, or scales
    formats: tuple[str, ...] = ()  # of each state the name of its format's loops, "" for the parameter's own type
    param_format: str = ""  # of the parameter, where the rule steps what is decoded from it
    copy_format: str = ""  # of what receives the new parameter: `copy`, or the parameter itself beside its master
    copy: NamedArray | None = None
    origin: tuple[int, int] | None = None  # of a slice: its array's number and first element, for random bits

    @property
    def is_coded(self) -> bool:
        """Whether some of it lies in fewer bits than the rule computes in."""
        return bool(self.formats or self.param_format or self.copy_format)

    @property
    def value(self) -> Any:
        """The array that the rule steps, decoded or not: the parameter, or its master."""
        return next((named.array for named in self.reduced_states if named.name == MASTER), self.param.array)

    def state_codings(self) -> list[Coding]:
        """Return the format of each state."""
        beside = {named.name: named.array for named in self.reduced_states}
        formats = self.formats or ("",) * len(self.states)
        return [
            Coding(form or None, state.array, beside.get(state.name + SCALES))
            for state, form in zip(self.states, formats, strict=True)
        ]

    def param_coding(self) -> Coding:
        """Return the format of what the rule steps."""
        remainder = next((named.array for named in self.reduced_states if named.name == REMAINDER), None)
        return Coding(self.param_format or None, self.value, remainder)

    def copy_coding(self) -> Coding:
        """Return the format of what receives the new parameter."""
        if not self.copy_format:
            return Coding(None, None, None)
        return Coding(self.copy_format, self.param.array if self.copy is None else self.copy.array, None)

    @property
    def all_states(self) -> tuple[NamedArray, ...]:
        """Its state arrays of every shape."""
        return *self.states, *self.reduced_states

    @property
    def all_arrays(self) -> tuple[NamedArray, ...]:
        """The parameter and all of its state."""
        return self.param, *self.states, *self.reduced_states, *(() if self.copy is None else (self.copy,))


class Checks:
    """The arrays as they were bound, the native comparison with that, and the full check of a gradient.

    Attributes
    ----------
    entries : list of Entry
        With private plain views of the arrays, which are read and written.
    bounds : list of Bound
        The arrays of each entry as they were when the engine was made.
    own : Memory
        All memory that a step writes.
    """

    def __init__(self, entries: Sequence[Entry], others: Sequence[Entry]) -> None:
        self.bounds = [Bound([a.path for a in e.all_arrays], [a.array for a in e.all_arrays]) for e in entries]
        self.entries = [_plain(entry, bound.views) for entry, bound in zip(entries, self.bounds, strict=True)]
        self.own = buffers.Memory([named for entry in (*entries, *others) for named in entry.all_arrays])

    def check_unchanged(self, written: bool = True) -> None:
        """Check that no array has changed since the engine was made, and that all are writeable if `written`."""
        for bound in self.bounds:
            bound.check(written)

    def check_grad(self, i: int, grad: Any, short: bool = False) -> None:
        """Check a gradient in full, after the parameter and state that it is for.

        It may be bfloat16 or float16 if `short`; see `buffers.check_grad`.
        """
        self.bounds[i].check()
        param = self.entries[i].param
        if is_row_sparse(grad):
            raise RowSparseError(f"{param.grad_path} must be a NumPy array here; got {type(grad).__name__}")
        buffers.check_grad(grad, param, self.own, short)


def _plain(entry: Entry, views: Sequence[Any]) -> Entry:
    """Return an entry with these arrays instead of its own."""
    param, *states = (replace(named, array=view) for named, view in zip(entry.all_arrays, views, strict=True))
    copy = states.pop() if entry.copy is not None else None
    n = len(entry.states)
    return replace(entry, param=param, states=tuple(states[:n]), reduced_states=tuple(states[n:]), copy=copy)


class Engine(Protocol):
    """What an optimizer asks of an engine."""

    most_parts: int  # the largest number of threads that pays off
    checks: Checks
    refused: bool  # whether the last run wrote nothing because an offered gradient was invalid
    random_key: int  # what the random bits of the next step are hashed from

    def offer(self, grads: tuple[Any, ...]) -> bool:
        """Keep the gradients of the next step for `run` to check; return False if `take` must be called instead."""

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check and bind the gradients of the next step, in the order of the entries; return them as plain arrays."""

    def take_none(self) -> None:
        """Step without gradients, for a rule that reads none."""

    def release(self) -> None:
        """Drop gradients that were taken and will not be stepped."""

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""

    def set_random(self, step_key: int) -> None:
        """Set what the random bits of the next step are hashed from."""

    def bind_sums(self, sums: Bound) -> None:
        """Bind the sums of micro-batches, one array per parameter, that a step can add to the gradients."""

    def norm(self, grads: tuple[Any, ...], threads: int, add_accumulated: bool) -> float:
        """Return the norm of all gradients together, of their sums with the bound arrays if `add_accumulated`."""

    def run(self, threads: int, zero_grad: bool, add_accumulated: bool) -> None:
        """Carry out the step, adding the bound sums if `add_accumulated`; zero the gradients too if `zero_grad`.

        Raises
        ------
        ChangedError
            If an array or a gradient was changed since it was bound; nothing has been written then.
        """

    def take_one(self, i: int, grad: Any) -> Any:
        """Check the gradient of one entry and bind it; return it as a plain array."""

    def run_one(self, i: int, threads: int, zero_grad: bool) -> None:
        """Carry out the step of one entry."""


class NativeEngine(_plan.Plan):
    """The native plan. Its check of a gradient is fast and only says that it failed; `buffers` raises the error."""

    _sums: Bound | None = None
    _short = True  # whether it takes gradients in fewer bits
    random_key = 0

    def __init__(self, entries: Sequence[Entry], n_groups: int, averaged: bool, others: Sequence[Entry] = ()) -> None:
        elsewhere = [buffers.plain(named.array) for entry in others for named in entry.all_arrays]
        self.checks = Checks(entries, others)
        elsewhere += [entry.copy_coding().codes for entry in self.checks.entries if entry.copy_format]
        elsewhere += [named.array for entry in self.checks.entries for named in entry.reduced_states]
        super().__init__(isa.rules, self._planned(), n_groups, averaged, elsewhere)
        self.watch(self.checks.bounds)
        self._rules, self._grad_formats = isa.rules, dict[int, str | None]()
        for i, entry in enumerate(self.checks.entries):
            if entry.is_coded:
                param, copy = entry.param_coding(), entry.copy_coding()
                states = [(state.form, state.beside) for state in entry.state_codings()]
                self.set_formats(isa.rules, i, (param.form, param.beside), (copy.form, copy.codes), states)
                self.set_origin(i, *(entry.origin or (i, 0)))
                if param.form is not None:  # the gradients' dtype is the parameter's, until others come
                    self.tell_grad_format(i, short_format(param.codes.dtype))

    def set_random(self, step_key: int) -> None:
        """Set what the random bits of the next step are hashed from."""
        self.random_key = step_key
        super().set_random(step_key)

    def _planned(self) -> list[tuple[Any, tuple[Any, ...], str, int]]:
        """Return the entries as the plan takes them."""
        return [(e.value, tuple(s.array for s in e.states), e.rule, e.group) for e in self.checks.entries]

    def explain(self, i: int, grad: Any) -> None:
        """Raise the error for a gradient that the native check refused; return if it is valid (of a subclass, say)."""
        self.checks.check_grad(i, grad, self._short)
        self.tell_grad_format(i, short_format(grad.dtype))

    def tell_grad_format(self, i: int, form: str | None) -> None:
        """Set what the gradients of an entry lie in from now on; None for what the rule computes in."""
        if form != self._grad_formats.get(i):
            self.set_grad_format(self._rules, i, form)
            self._grad_formats[i] = form

    def changed(self, i: int, zero_grad: bool) -> None:
        """Raise the error for a gradient that was changed after it was taken."""
        raise _changed(self.checks.entries[i].param, zero_grad)

    def bind_sums(self, sums: Bound) -> None:
        """Bind the sums of micro-batches, one array per parameter, that a step can add to the gradients."""
        self._sums = sums
        super().bind_sums(sums)

    def norm(self, grads: tuple[Any, ...], threads: int, add_accumulated: bool) -> float:
        """Return the norm of all gradients together, of their sums with the bound arrays if `add_accumulated`."""
        return norms.native_norm(grads, threads, _checked(self._sums) if add_accumulated else ())


class NumpyEngine:
    """The reference: each array in turn, each operation a NumPy call."""

    most_parts = 1
    refused = False
    _short = True
    _sums: Bound | None = None

    def __init__(self, entries: Sequence[Entry], n_groups: int, averaged: bool, others: Sequence[Entry] = ()) -> None:
        from gdfast import reference  # imported late, to keep `import gdfast` fast

        self._reference = reference
        self.checks = Checks(entries, others)
        self._entries = self.checks.entries
        self._numbers: list[tuple[float, ...]] = [()] * n_groups
        self._grads: dict[int, Bound] = {}
        self._averaged = averaged
        self._loops = [isa.rules.TABLE[entry.rule] for entry in self._entries]  # for how many states and scalars
        for entry, loop in zip(self._entries, self._loops, strict=True):
            loop.check_states(len(entry.states) - averaged)
        self._average, self.random_key = 1.0, 0

    def bind_sums(self, sums: Bound) -> None:
        """Bind the sums of micro-batches, one array per parameter, that a step can add to the gradients."""
        self._sums = sums

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""
        self._average = weight

    def set_random(self, step_key: int) -> None:
        """Set what the random bits of the next step are hashed from."""
        self.random_key = step_key

    def offer(self, grads: tuple[Any, ...]) -> bool:
        """Return False: this engine checks gradients in `take`, and compares them again before it steps."""
        return False

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check the gradients of the next step and bind them; return them as plain arrays."""
        if len(grads) != len(self._entries):
            raise ValueError(f"grads must be {len(self._entries)} arrays, one per parameter; got {len(grads)}")
        return tuple(self.take_one(i, grad) for i, grad in enumerate(grads))

    def take_one(self, i: int, grad: Any) -> Any:
        """Check the gradient of one entry and bind it; return it as a plain array."""
        self.checks.check_grad(i, grad, self._short)
        self._grads[i] = Bound([self._entries[i].param.grad_path], [grad])
        return self._grads[i].views[0]

    def take_none(self) -> None:
        """Step without gradients, for a rule that reads none."""
        self._grads = {i: Bound([""], [entry.param.array]) for i, entry in enumerate(self._entries)}

    def release(self) -> None:
        """Drop gradients that were taken and will not be stepped."""
        self._grads.clear()

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""
        for entry, loop in zip(self._entries, self._loops, strict=True):
            if entry.group == group:
                loop.check_scalars(len(numbers[-1]))
        self._numbers[group] = (*numbers[:-1], *numbers[-1])

    def norm(self, grads: tuple[Any, ...], threads: int, add_accumulated: bool) -> float:
        """Return the norm of all gradients together, of their sums with the bound arrays if `add_accumulated`."""
        return norms.numpy_norm(grads, _checked(self._sums) if add_accumulated else ())

    def run(self, threads: int, zero_grad: bool, add_accumulated: bool) -> None:
        """Carry out the step, on the calling thread."""
        self._check(range(len(self._entries)), zero_grad, add_accumulated)
        for i in range(len(self._entries)):
            self._step(i, zero_grad, add_accumulated)

    def run_one(self, i: int, threads: int, zero_grad: bool) -> None:
        """Carry out the step of one entry."""
        self._check((i,), zero_grad, False)
        self._step(i, zero_grad, add_accumulated=False)

    def _check(self, places: Iterable[int], zero_grad: bool, add_accumulated: bool) -> None:
        """Check that the arrays of some entries, and their gradients, have not changed since they were bound."""
        for i in places:
            self.checks.bounds[i].check()
            try:
                self._grads[i].check(written=zero_grad)
            except ChangedError:
                raise _changed(self._entries[i].param, zero_grad) from None
        if add_accumulated:
            _checked(self._sums)

    def _step(self, i: int, zero_grad: bool, add_accumulated: bool) -> None:
        entry, given = self._entries[i], self._grads.pop(i).views[0]
        coded = entry.is_coded
        param = self._decoded(entry.param_coding()) if coded else entry.param.array
        states = [self._decoded(state) for state in entry.state_codings()]
        mean = states.pop() if self._averaged else None
        with np.errstate(all="ignore"):
            self._carry_out(i, param, self._total(i, as_float(given), add_accumulated), states)
            if mean is not None:
                mean[...] = self._reference.average(mean, param, param.dtype.type(self._average))
            if coded:
                self._encode_all(i, entry, param, states)
        if zero_grad:
            given[...] = 0

    def _decoded(self, coding: Coding) -> Any:
        """Return an array as the rule sees it."""
        if coding.form is None:
            return coding.codes
        codes, beside = _flat(coding)
        return self._reference.FORMATS[coding.form].decode(codes, beside).reshape(coding.codes.shape)

    def _encode(self, i: int, coding: Coding, values: Any, place: int) -> None:
        """Put the new values of an array back, with the random bits of its place."""
        if coding.form is not None:
            codes, beside = _flat(coding)
            array, first = self._entries[i].origin or (i, 0)
            random = self._reference.random_bits(self.random_key, array, place // 2, codes.size, first)
            self._reference.FORMATS[coding.form].encode(codes, beside, values.reshape(-1), random, place % 2)

    def _encode_all(self, i: int, entry: Entry, param: Any, states: list[Any]) -> None:
        """Put back what was decoded, and fill in the copy."""
        for k, (coding, values) in enumerate(zip(entry.state_codings(), states, strict=False)):  # without the average
            self._encode(i, coding, values, k)
        self._encode(i, entry.param_coding(), param, _plan.PARAM_PLACE)
        self._encode(i, entry.copy_coding(), param, 0)

    def _total(self, i: int, given: Any, add_accumulated: bool) -> Any:
        """Return a gradient, with the bound sum added if `add_accumulated`."""
        return self._sums.views[i] + given if add_accumulated and self._sums else given

    def _carry_out(self, i: int, param: Any, grad: Any, states: list[Any]) -> None:
        entry = self._entries[i]
        self._reference.step(entry.rule, param, grad, states, self._numbers[entry.group])


def _flat(coding: Coding) -> tuple[Any, Any]:
    """Return the codes of a format as a vector of unsigned integers, and what lies beside them as another, or None."""
    codes = coding.codes.view(f"u{coding.codes.itemsize}").reshape(-1)
    return codes, None if coding.beside is None else coding.beside.reshape(-1)


def _checked(sums: Bound | None) -> tuple[Any, ...]:
    """Return the sums of micro-batches, after a check that they have not changed."""
    if sums is None:
        raise ChangedError("there are no micro-batches to add: accumulate() was never called")
    sums.check()
    return tuple(sums.views)


def _changed(param: NamedArray, zero_grad: bool) -> ChangedError:
    """Make the error for a gradient that was changed after it was taken."""
    writeable = ", and must be writeable for zero_grad=True" if zero_grad else ""
    return ChangedError(f"{param.grad_path} must stay as it was checked until the step has been made{writeable}")


ENGINES: dict[str, type[NativeEngine] | type[NumpyEngine]] = {"native": NativeEngine, "numpy": NumpyEngine}
