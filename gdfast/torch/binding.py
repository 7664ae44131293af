"""An optimizer's tensors bound to the engine, with the state that PyTorch users expect to see."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from gdfast.arrays import buffers
from gdfast.arrays.structure import NamedArray
from gdfast.engine._tensors import DUPLICATE, NO_GRADIENT_YET, Tensors
from gdfast.engine.engines import Entry, NativeEngine
from gdfast.stepping.averaging import STATE
from gdfast.torch.memory import (
    SINGLE,
    alike,
    can_step,
    check_apart,
    check_number,
    check_param,
    check_state,
    checked,
    flat,
    like,
    workspace,
)
from gdfast.torch.rule import Group, Rule

# A number that a parameter carries from step to step, and the memory of the tensor in the state that exposes it.
Number: TypeAlias = tuple[float, "np.ndarray[Any, Any] | None"]

_API = torch.Tensor.__dlpack_c_exchange_api__


class Binding:
    """The arrays and numbers that a step works on, valid until one of them changes.

    Parameters
    ----------
    rule : Rule
    param_groups, state
        The optimizer's own. Missing state is created; state with another memory layout than its parameter is copied.
    averaged : bool
        Whether an average of each parameter is kept.
    before : Binding, optional
        The previous binding.

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
        before: "Binding | None" = None,
    ) -> None:
        self.rule, self.state, self.averaged = rule, state, averaged
        self.places: dict[torch.Tensor, int] = {}
        self.param_at: list[torch.Tensor] = []
        self._before = before
        walk: list[tuple[torch.Tensor, int, int]] = []
        bound: list[tuple[int, str]] = []
        for i, group in enumerate(param_groups):
            for k, param in enumerate(group["params"]):
                path = f'param_groups[{i}]["params"][{k}]'
                walk.append((param, i, self._place(param, path)))
                if walk[-1][2] >= 0:
                    self.param_at.append(param)
                    bound.append((i, path))
        single = {i for param, (i, _) in zip(self.param_at, bound, strict=True) if param.dtype in SINGLE}
        self.groups = [Group(rule, i, group, i in single) for i, group in enumerate(param_groups)]
        #: the memory of the tensors that expose numbers
        self.shown: dict[torch.Tensor, np.ndarray[Any, Any]] = {}
        #: what the engine steps: the parameters themselves, or dense copies
        self.works = [workspace(param, rule.lazy) for param in self.param_at]
        self.entries: list[Entry] = []
        arrays, numbers = [], []
        for param, work, (i, path) in zip(self.param_at, self.works, bound, strict=True):
            numbers.append(self._numbers(param, self.groups[i], path))
            own = self._arrays(param, work, self.groups[i], path)
            arrays.append(list(own.values()))
            named = NamedArray(flat(work), path, path, f"{path}.grad")
            states = tuple(NamedArray(flat(array), name, f'state[{path}]["{name}"]') for name, array in own.items())
            self.entries.append(Entry(named, states, self.groups[i].name, i))
        self._before = None
        self._check_apart()
        n_slots = max(len(self.entries), len(self.groups))  # the maximum
        self.engine = NativeEngine(self.entries, n_slots, averaged)
        self.tensors = Tensors(_API, walk, state, self.works, arrays, numbers)

    def holds(self, param_groups: list[dict[str, Any]], state: Mapping[torch.Tensor, Any]) -> bool:
        """Whether everything is still as it was bound; if so, the next step's gradients are now bound too."""
        if len(param_groups) != len(self.groups):
            return False
        same = [mine.read(group) for mine, group in zip(self.groups, param_groups, strict=True)]
        try:
            if all(same) and self.tensors.try_take(param_groups, state):
                return True
        except RuntimeError:  # a tensor that PyTorch cannot export any more: binding anew raises the exact error
            pass
        self.tensors.release()
        return False

    def _place(self, param: torch.Tensor, path: str) -> int:
        """Return the index of a parameter in the engine; one that has a gradient is checked first."""
        if param in self.places:
            return DUPLICATE
        if param.grad is not None:
            check_param(param, path)
        elif not (self._before and param in self._before.places and can_step(param)):
            return NO_GRADIENT_YET  # until then it may be of any kind
        return self.places.setdefault(param, len(self.places))

    def _check_apart(self) -> None:
        """Check that no memory would be updated twice."""
        written = [named for entry in self.entries for named in (entry.param, *entry.states)]
        buffers.check_params(written)
        copied = [
            NamedArray(param.detach().numpy(), entry.param.name, entry.param.path)
            for param, work, entry in zip(self.param_at, self.works, self.entries, strict=True)
            if work is not param
        ]
        if copied:
            check_apart(copied, written)

    def _arrays(self, param: torch.Tensor, work: torch.Tensor, group: Group, path: str) -> dict[str, torch.Tensor]:
        """Return the state arrays of a parameter in the engine's order."""
        firsts = {name: group.owner.initial(name, group.values) for name in group.owner.rules[group.name]}
        if self.averaged:  # the engine expects it last
            firsts[STATE] = None
        for name in sorted(firsts, key=self.rule.last.__contains__):
            own, first = self.state[param], firsts[name]
            array = own.get(name)
            if array is None:
                own[name] = like(work, work if first is None else first)
                continue
            check_state(array, work, f'state "{name}" of {path}')
            if not alike(array, work):
                own[name] = like(work, checked(array, f'state "{name}" of {path}') if array.is_sparse else array)
        return {name: self.state[param][name] for name in firsts}

    def _numbers(self, param: torch.Tensor, group: Group, path: str) -> list[Number]:
        """Return the numbers that a parameter carries from step to step, the step count first."""
        before = self._before.numbers(param) if self._before else None
        if not self.rule.counted:  # the state arrays tell whether a step has been made
            own = self.state.get(param, {})
            begun = all(own.get(name) is not None for name in group.owner.rules[group.name])
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

    def numbers(self, param: torch.Tensor) -> tuple[float, ...] | None:
        """Return the carried numbers of a parameter, if it is bound."""
        return self.tensors.numbers(self.places[param]) if param in self.places else None


def _count_dtype() -> torch.dtype:
    """Return the dtype in which PyTorch counts steps."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
