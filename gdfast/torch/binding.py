"""An optimizer's tensors bound to the engine, with all the state that PyTorch's users expect to see."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gdfast import buffers
from gdfast._tensors import DUPLICATE, NO_GRADIENT_YET, Tensors
from gdfast.engines import Entry, NativeEngine
from gdfast.optimizers.averaging import STATE
from gdfast.structure import Named
from gdfast.torch.memory import alike, check_param, flat, like
from gdfast.torch.rule import Group, Rule

_API = torch.Tensor.__dlpack_c_exchange_api__


class Binding:
    """What a step works on, until something of it changes.

    Parameters
    ----------
    rule : Rule
    param_groups, state
        The optimizer's own. What its state lacks is made, and what lies in another order than its parameter is copied.
    averaged : bool
        Whether an average of each parameter is kept.
    before : Binding, optional
        What was bound until now.
    whole : bool
        Whether to bind parameters too that have had no gradient yet.

    Raises
    ------
    TypeError, ValueError
        If a parameter cannot be updated in place, or its state does not fit it.
    """

    def __init__(
        self,
        rule: Rule,
        param_groups: Sequence[dict[str, Any]],
        state: dict[torch.Tensor, dict[str, Any]],
        averaged: bool,
        before: "Binding | None" = None,
        whole: bool = False,
    ) -> None:
        self.rule, self.state, self.averaged = rule, state, averaged
        self.groups = [Group(rule, i, group) for i, group in enumerate(param_groups)]
        self.places: dict[torch.Tensor, int] = {}
        self._before = before
        walk: list[tuple[torch.Tensor, int, int]] = []
        entries: list[Entry] = []
        self.param_at: list[torch.Tensor] = []
        arrays, numbers = [], []
        for i, group in enumerate(param_groups):
            for k, param in enumerate(group["params"]):
                place = len(entries)
                if param in self.places:
                    place = DUPLICATE
                elif not (whole or param.grad is not None or state.get(param) or (before and param in before.places)):
                    place = NO_GRADIENT_YET
                walk.append((param, i, place))
                if place < 0:
                    continue
                self.places[param] = place
                path = f'param_groups[{i}]["params"][{k}]'
                check_param(param, path)
                numbers.append(self._numbers(param, self.groups[i]))
                own = self._arrays(param, self.groups[i], path)
                arrays.append(list(own.values()))
                named = Named(flat(param), path, path, f"{path}.grad")
                self.param_at.append(param)
                states = tuple(Named(flat(array), name, f'state[{path}]["{name}"]') for name, array in own.items())
                entries.append(Entry(named, states, self.groups[i].name, i))
        self._before = None
        buffers.check_params([named for entry in entries for named in (entry.param, *entry.states)])
        self.entries = entries
        self.engine = NativeEngine(entries, max(len(entries), len(self.groups)), averaged)  # so many slots there may be
        self.tensors = Tensors(_API, walk, state, arrays, numbers)

    def holds(self, param_groups: list[dict[str, Any]], state: Mapping[torch.Tensor, Any]) -> bool:
        """Whether everything is as it was bound; then the gradients of the next step are taken."""
        if len(param_groups) != len(self.groups):
            return False
        same = [mine.read(group) for mine, group in zip(self.groups, param_groups, strict=True)]
        try:
            if all(same) and self.tensors.look(param_groups, state):
                return True
        except RuntimeError:  # a tensor that PyTorch does not lend any more: binding it anew says why
            pass
        self.tensors.release()
        return False

    def _arrays(self, param: torch.Tensor, group: Group, path: str) -> dict[str, torch.Tensor]:
        """Return the state arrays of a parameter in the engine's order."""
        firsts = {name: group.owner.initial(name, group.values) for name in group.owner.rules[group.name]}
        if self.averaged:  # the last one, where the engine looks for it
            firsts[STATE] = None
        found = {}
        for name, first in firsts.items():
            own = self.state[param]
            array = own.get(name)
            if array is None:
                own[name] = like(param, param if first is None else first)
            elif _kind(array) != _kind(param):
                raise ValueError(
                    f'state "{name}" of {path} must be a tensor like it, {_kind(param)}; got {_kind(array)}'
                )
            elif not alike(array, param):
                own[name] = like(param, array)
            found[name] = own[name]
        return found

    def _numbers(self, param: torch.Tensor, group: Group) -> list[tuple[float, torch.Tensor | None]]:
        """Return what a parameter carries from step to step, the step count first, and the tensors that show it."""
        before = self._before.numbers(param) if self._before else None
        if not self.rule.counted:  # whether a step has been made shows in the state
            own = self.state.get(param, {})
            begun = all(own.get(name) is not None for name in group.owner.rules[group.name])
            return [((before[0] if before else 1.0) if begun else 0.0, None)]
        numbers: list[tuple[float, torch.Tensor | None]] = []
        for k, (name, first) in enumerate(group.first_numbers().items()):
            dtype = torch.float64 if name in group.owner.memory else _count_dtype()
            number = _shown(self.state[param], name, first, dtype)
            numbers.append((before[k] if before else number.item(), number))
        return numbers

    def numbers(self, param: torch.Tensor) -> tuple[float, ...] | None:
        """Return the numbers of a parameter, if it is bound."""
        return self.tensors.numbers(self.places[param]) if param in self.places else None


def _shown(own: dict[str, Any], name: str, first: float, dtype: torch.dtype) -> torch.Tensor:
    """Return the tensor that shows a number; where there is none that can, make one with its value."""
    number = own.get(name, first)
    if isinstance(number, torch.Tensor) and number.dtype in (torch.float64, dtype) and number.numel() == 1:
        return number
    made = own[name] = torch.tensor(float(number), dtype=dtype)
    return made


def _kind(tensor: object) -> str:
    """Return what must be the same of a parameter and its state."""
    if not isinstance(tensor, torch.Tensor):
        return repr(tensor)
    return f"{tensor.dtype}, shape {tuple(tensor.shape)}, device {tensor.device}"


def _count_dtype() -> torch.dtype:
    """Return what PyTorch counts steps in."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
