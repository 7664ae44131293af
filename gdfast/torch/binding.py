"""An optimizer's tensors bound to the engine, with the state that PyTorch users expect to see."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch._C import _increment_version

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound
from gdfast.arrays.structure import NamedArray
from gdfast.engine._plan import step_key
from gdfast.engine._tensors import DUPLICATE, GRAD_FORMATS, NO_GRADIENT_YET, Tensors, same_settings
from gdfast.engine.engines import Entry, NativeEngine, Numbers
from gdfast.stepping.averaging import STATE
from gdfast.stepping.short_state import ShortState
from gdfast.stepping.step_numbers import kept_numbers
from gdfast.torch.memory import (
    HALF,
    SINGLE,
    array_of,
    can_step,
    check_apart,
    check_number,
    check_param,
    flat,
    workspace,
)
from gdfast.torch.rule import Group, Rule
from gdfast.torch.short import CODES, Formats, Named, Part, drop_master, follow, formats_of, settle, settle_master

# A number that a parameter carries from step to step, and the memory of the tensor in the state that exposes it.
Number: TypeAlias = tuple[float, "np.ndarray[Any, Any] | None"]


class _Engine(NativeEngine):
    """The engine over arrays that nobody else has; what they are views of is compared by `Tensors`."""

    def watch(self, bounds: Sequence[Bound]) -> None:
        """Do nothing."""


class Binding:
    """The arrays and numbers that a step works on, valid until one of them changes.

    Parameters
    ----------
    rule : Rule
    param_groups, state
        The optimizer's own. Missing state is created; state with another memory layout than its parameter is copied.
    averaged : bool
        Whether an average of each parameter is kept.
    short : ShortState
        How parameters of 16 bits and state are kept.
    first : int
        The number of the first parameter, for the random bits.
    before : Binding, optional
        The previous binding.
    parts : mapping
        Of parameters of which other processes have the rest: which elements these are.

    Raises
    ------
    TypeError, ValueError
        If a parameter that has a gradient cannot be stepped, or its state does not fit it.
    """

    def __init__(
        self,
        rule: Rule,
        param_groups: Sequence[dict[str, Any]],
        state: dict[torch.Tensor, dict[str, Any]],
        averaged: bool,
        short: ShortState,
        first: int = 0,
        before: "Binding | None" = None,
        parts: Mapping[torch.Tensor, Part] = MappingProxyType({}),
    ) -> None:
        self.rule, self.state, self.averaged, self.short = rule, state, averaged, short
        self.places: dict[torch.Tensor, int] = {}
        self.param_at: list[torch.Tensor] = []
        self._before = before
        walk: list[tuple[torch.Tensor, int, int]] = []
        order: dict[torch.Tensor, int] = {}  # the number of each parameter, whether it has a gradient or not
        bound: list[tuple[int, str]] = []
        for i, given in enumerate(param_groups):
            group = Group(rule, i, given, False) if before else None
            names = group.owner.rules[group.name] if group else ()
            for k, param in enumerate(given["params"]):
                path = f'param_groups[{i}]["params"][{k}]'
                walk.append((param, i, self._place(param, path, names)))
                order.setdefault(param, first + len(order))
                if walk[-1][2] >= 0:
                    self.param_at.append(param)
                    bound.append((i, path))
        single = {i for param, (i, _) in zip(self.param_at, bound, strict=True) if param.dtype in SINGLE}
        self.groups = [Group(rule, i, group, i in single) for i, group in enumerate(param_groups)]
        #: the memory of the tensors that expose numbers
        self.shown: dict[torch.Tensor, np.ndarray[Any, Any]] = {}
        #: what the engine steps: the parameters themselves, or dense copies
        self.works = [workspace(param, rule.lazy) for param in self.param_at]
        # of the parameters of which something is rounded at random: number, and elements that come before it
        origins: dict[int, tuple[int, int]] = {}
        #: parameters with their float32 masters, and PyTorch's count of what was written to each
        self._masters: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._versions: list[int] = []
        self.entries: list[Entry] = []
        arrays, numbers = [], []
        for param, work, (i, path) in zip(self.param_at, self.works, bound, strict=True):
            group = self.groups[i]
            part = parts.get(param) or Part(work.numel())
            formats = formats_of(short, group.owner, group.name, work, path, group.state_dtype, part)
            if formats.is_random:
                origins[len(self.entries)] = order[param], part.skipped or 0
            numbers.append(self._numbers(param, group, path, formats.is_random))
            states, beside = self._arrays(param, work, group, formats, path)
            arrays.append([array for _, array in states + beside])
            if formats.master == "float32":
                self._masters.append((param, beside[-1][1]))
            self.entries.append(_entry(work, path, group, i, states, beside, formats))
        self._before = None
        self._check_apart()
        n_slots = max(len(self.entries), len(self.groups))  # the maximum
        self.engine = _Engine(self.entries, n_slots, averaged)
        #: places of the parameters of which something is rounded at random
        self.random = list(origins)
        for place, origin in origins.items():
            self.engine.set_origin(place, *origin)
        for place, param in enumerate(self.param_at):
            if param.dtype in HALF:  # of which the engine expects gradients like it
                self.engine.tell_grad_format(place, None)
        self.tensors = Tensors(torch.Tensor, walk, state, self.works, arrays, numbers)
        self._grad_kinds = self.tensors.grad_kinds.tobytes()
        self._settings = [group.settings for group in self.groups]
        self._outdated = False
        self._has_options = bool(averaged or rule.lazy or origins or self._masters)
        for param, master in self._masters:
            follow(master, param)
        self.note_versions()

    def holds(self, param_groups: list[dict[str, Any]], state: Mapping[torch.Tensor, Any]) -> bool:
        """Whether everything is still as it was bound; if so, the next step's gradients are now bound too."""
        if self._outdated or len(param_groups) != len(self.groups):
            return False
        same = True
        if not same_settings(param_groups, self._settings):
            same = all(mine.read(group) for mine, group in zip(self.groups, param_groups, strict=True))
            self._settings = [mine.settings for mine in self.groups]
            self._outdated = not same  # also if binding anew fails: the groups have been read
        try:
            if same and self.tensors.try_take(param_groups, state):
                return True
        except RuntimeError:  # a tensor that PyTorch cannot export any more: binding anew raises the exact error
            pass
        self.tensors.release()
        return False

    def set_grad_formats(self) -> None:
        """Tell the engine in which formats the gradients are that have been taken."""
        if self.tensors.new_kinds:
            kinds = self.tensors.grad_kinds.tobytes()
            for place, (kind, before) in enumerate(zip(kinds, self._grad_kinds, strict=True)):
                if kind != before:
                    self.engine.tell_grad_format(place, GRAD_FORMATS[kind])
            self._grad_kinds = kinds
            self.tensors.kinds_told()

    def try_step(self, n_threads: int) -> bool:
        """Make the step natively, with nothing but the rule in it; return False, before it, if more belongs to it."""
        if self._has_options:
            return False
        return self.tensors.try_run(self.engine, self._settings, _increment_version, n_threads)

    def set_numbers(
        self, scale: float, largest: float, may_keep: bool
    ) -> tuple[list[Numbers], list[tuple[float, ...]]]:
        """Give the engine each slot's numbers; return them, and what the slot's parameters carry after the step.

        With `may_keep` the engine computes those that it can, which are then left out of what is returned.
        """
        numbers, after = list[Numbers](), list[tuple[float, ...]]()
        may_keep = may_keep and scale == 1.0 and largest == math.inf
        for i, (index, now) in enumerate(self.tensors.slots_now()):
            group = self.groups[index]
            t, keep = group.next_step(now[0]), may_keep and group.numbers_are_kept
            if keep and self.engine.renew_numbers(i, group.values, t):
                after.append((float(t),))
                continue
            of_slot, then = group.step(t, now[1:], scale, largest)
            self.engine.set_numbers(i, of_slot)
            own = kept_numbers(group.owner, group.values, t) if keep else None
            if own is not None:
                self.engine.keep_numbers(i, group.values, own)
            numbers.append(of_slot)
            after.append(then)
        return numbers, after

    def follow_params(self) -> None:
        """Take into the masters what others have written to their parameters since the last step."""
        for (param, master), version in zip(self._masters, self._versions, strict=True):
            if param._version != version:
                follow(master, param)

    def note_versions(self) -> None:
        """Note that nothing but the step has written to the parameters until now."""
        self._versions = [param._version for param, _ in self._masters]

    def set_random(self) -> None:
        """Set what the random bits of the step are hashed from, with each parameter's own count of steps."""
        for place in self.random:
            if self.tensors.grad_addresses[place]:
                step = int(self.tensors.numbers(place)[0])
                self.engine.set_random_of(place, step_key(self.short.seed, step))

    def _place(self, param: torch.Tensor, path: str, names: Sequence[str]) -> int:
        """Return the index of a parameter in the engine; one that has a gradient is checked first.

        `names` are those of the states that its rule has now.
        """
        if param in self.places:
            return DUPLICATE
        if param.grad is not None:
            check_param(param, path)
        elif not (self._before and self._before.keeps(param, names) and can_step(param)):
            return NO_GRADIENT_YET  # until then it may be of any kind, and has no state
        return self.places.setdefault(param, len(self.places))

    def _check_apart(self) -> None:
        """Check that no memory would be updated twice."""
        written = [named for entry in self.entries for named in entry.all_arrays]
        buffers.check_memory(written)
        copied = [
            NamedArray(array_of(param), entry.param.name, entry.param.path)
            for param, work, entry in zip(self.param_at, self.works, self.entries, strict=True)
            if work is not param
        ]
        if copied:
            check_apart(copied, written)

    def _arrays(
        self, param: torch.Tensor, work: torch.Tensor, group: Group, formats: Formats, path: str
    ) -> tuple[Named, Named]:
        """Return the state arrays of a parameter in the engine's order, and what lies beside them and the parameter."""
        names, short = group.owner.rules[group.name], group.owner.short_states
        firsts = {name: group.owner.initial(name, group.values) for name in names}
        loops = dict(zip(names, formats.states, strict=False))
        if self.averaged:  # the engine expects it last
            firsts[STATE] = None
        settled = {
            name: settle(self.state[param], name, work, loops.get(name, ""), firsts[name], short.get(name, False), path)
            for name in sorted(firsts, key=self.rule.last.__contains__)
        }
        beside = [scales for name in firsts for scales in settled[name][1:]]
        if param.dtype in HALF:
            beside += settle_master(self.state[param], work, formats.master, path)
        else:
            drop_master(self.state.get(param, {}))
        return [settled[name][0] for name in firsts], beside

    def _numbers(self, param: torch.Tensor, group: Group, path: str, random: bool) -> list[Number]:
        """Return the numbers that a parameter carries from step to step, the step count first.

        A rule without a count in its state gets one where something is rounded at random, which depends on it.
        """
        before = self._before.numbers(param) if self._before else None
        if not self.rule.counted:  # the state arrays tell whether a step has been made
            own, names = self.state.get(param, {}), group.owner.rules[group.name]
            begun = _has(own, names)
            if random:
                first = 1.0 if names and begun else 0.0
                value, shown = self._shown(self.state[param], "step", first, _count_dtype(), path)
                return [(before[0] if before else value, shown)]
            return [((before[0] if before else 1.0) if begun else 0.0, None)]
        numbers: list[Number] = []
        for k, (name, first) in enumerate(group.first_numbers().items()):
            dtype = torch.float64 if name in group.owner.carried_scalars else _count_dtype()
            value, shown = self._shown(self.state[param], name, first, dtype, path)
            numbers.append((before[k] if before else value, shown))
        return numbers

    def _shown(
        self, own: dict[str, Any], name: str, first: float, dtype: torch.dtype, path: str
    ) -> tuple[float, "np.ndarray[Any, Any]"]:
        """Return a number and the memory of the tensor that exposes it, which is moved to memory of ours if needed."""
        number: Any = own.get(name, first)
        shape: tuple[int, ...] = ()
        memory: np.ndarray[Any, Any] | None = None
        check_number(number, f'state[{path}]["{name}"]')
        if isinstance(number, torch.Tensor):
            shape, dtype = tuple(number.shape), torch.float64 if number.dtype == torch.float64 else dtype
            memory = self.shown.get(number, self._before.shown.get(number) if self._before else None)
        value = float(number)
        if memory is None or memory.ctypes.data != number.data_ptr() or number.dtype != dtype:
            memory = np.full(shape, value, np.float64 if dtype == torch.float64 else np.float32)
            ours = torch.from_numpy(memory)
            if not (isinstance(number, torch.Tensor) and number.dtype == dtype) or number.is_inference():
                number = own[name] = ours
            elif number.is_shared():  # with other processes: its memory stays
                memory = number.detach().numpy()
            else:
                number.data = ours  # references to this tensor see the updates too
        self.shown[number] = memory
        return value, memory

    def keeps(self, param: torch.Tensor, names: Sequence[str]) -> bool:
        """Whether a parameter is bound, and has these states: those that it lacks are made with the next gradient."""
        return param in self.places and _has(self.state.get(param, {}), names)

    def numbers(self, param: torch.Tensor) -> tuple[float, ...] | None:
        """Return the carried numbers of a parameter, if it is bound."""
        return self.tensors.numbers(self.places[param]) if param in self.places else None


def _has(own: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether a parameter's state has all of some arrays."""
    return all(own.get(name) is not None or name + CODES in own for name in names)


def _count_dtype() -> torch.dtype:
    """Return the dtype in which PyTorch counts steps."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def _entry(
    work: torch.Tensor, path: str, group: Group, index: int, states: Named, beside: Named, formats: Formats
) -> Entry:
    """Return what the engine is told of a parameter."""
    kept, reduced = (
        tuple(NamedArray(flat(array), name, f'state[{path}]["{name}"]') for name, array in named)
        for named in (states, beside)
    )
    loops = (*formats.states, *("" for _ in kept[len(formats.states) :])) if formats.states else ()
    param = NamedArray(flat(work), path, path, f"{path}.grad")
    return Entry(param, kept, group.name, index, reduced, loops, formats.param, formats.copy)
