"""A parameter group of PyTorch's, read as the hyperparameters of one of gdfast's optimizers."""

import inspect
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import torch

from gdfast.arrays.structure import NamedArray
from gdfast.engine.engines import Numbers
from gdfast.stepping.base import Optimizer
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.short_state import StateDtype
from gdfast.stepping.step_numbers import are_kept, step_numbers

#: names of a group's hyperparameters, the objects that it had under them, and what the engine knows their numbers by
Settings: TypeAlias = tuple[tuple[str, ...], tuple[Any, ...], dict[str, Any]]

_PLAIN = frozenset((float, int, bool))


@dataclass(frozen=True)
class Rule:
    """How gdfast carries out an optimizer of PyTorch. Hyperparameters have the same names in both.

    Attributes
    ----------
    owner : type
        gdfast's optimizer.
    decoupled : type, optional
        The one used instead for groups with ``decoupled_weight_decay``.
    exposed_scalars : tuple of str
        Names under which PyTorch shows, in the state of each parameter, the first of the rule's scalars for the next
        step.
    sparse : bool
        Whether it takes sparse gradients, as PyTorch's class does.
    by_rows : tuple of str
        The rules of gdfast for which a zero gradient leaves a row unchanged, so that only the other rows are stepped.
    lazy : bool
        Whether it takes only sparse gradients, and leaves rows that they do not name unchanged.
    fixed : dict
        gdfast's hyperparameters that PyTorch's formula implies.
    last : tuple of str
        The state arrays that come last in PyTorch's state.
    counted : bool
        Whether its state has a ``step``.
    """

    owner: type[Optimizer]
    decoupled: type[Optimizer] | None = None
    exposed_scalars: tuple[str, ...] = ()
    sparse: bool = False
    by_rows: tuple[str, ...] = ()
    lazy: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    last: tuple[str, ...] = ()
    counted: bool = True

    def owner_of(self, group: Mapping[str, Any]) -> type[Optimizer]:
        """Return gdfast's optimizer for a group."""
        return self.decoupled if self.decoupled and group["decoupled_weight_decay"] else self.owner

    def defaults(self) -> dict[str, Any]:
        """Return gdfast's own hyperparameters with their defaults, in the order of its constructor."""
        found = inspect.signature(self.owner).parameters.values()
        own = {p.name: p.default for p in found if p.name in self.owner.specs}
        return {**own, "maximize": False, "l1": 0.0, **self.fixed}


class Group:
    """One group's hyperparameters: read before every step, and checked again when one has changed.

    Parameters
    ----------
    rule : Rule
    index : int
        Index of the group.
    group : dict
    is_float32 : bool
        Whether float32 parameters are stepped with them.

    Attributes
    ----------
    owner : type
        gdfast's optimizer for it.
    values : dict
        Its hyperparameters; those that PyTorch's groups lack have gdfast's defaults.
    name : str
        The rule of gdfast.
    state_dtype : str, dict or None
        What it asks for; None for what the optimizer does.
    numbers_are_kept : bool
        Whether the engine can compute the numbers of a step by itself.
    settings : tuple or None
        For `same_settings`: the names and the values read, and `values`; None if the group must be read in any case.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is invalid.
    """

    owner: type[Optimizer]
    values: dict[str, Any]
    _given: tuple[Any, ...]

    def __init__(self, rule: Rule, index: int, group: Mapping[str, Any], is_float32: bool) -> None:
        self._rule, self._index = rule, index
        self._defaults = rule.defaults()
        self._names = [name for name in self._defaults if name in group]
        self._read = (*self._names, *(["decoupled_weight_decay"] if rule.decoupled else []))
        self._get = itemgetter(*self._read)
        self._lr_at = self._names.index("lr") if "lr" in self._names else None
        self._is_float32 = is_float32
        self._like = [NamedArray(np.empty(0, np.float32 if is_float32 else np.float64), "", "")]
        self.state_dtype: StateDtype | None
        self._take(group)

    def read(self, group: Mapping[str, Any]) -> bool:
        """Read the group again. Return False if its rule, or how its state is kept, has changed."""
        if self._constant and group.get("state_dtype") == self.state_dtype:
            given = self._get(group)
            if given == self._given or self._takes_lr(given):
                self._given = given  # maybe other objects
                self._note_settings()
                return True
        before = self.owner, self.name, self.state_dtype
        self._take(group)
        return before == (self.owner, self.name, self.state_dtype)

    def _takes_lr(self, given: tuple[Any, ...]) -> bool:
        """Take a new learning rate, if nothing else has changed: a scheduler sets it at every step."""
        at = self._lr_at
        if at is None or type(given[at]) is not float:
            return False
        if (*given[:at], self._given[at], *given[at + 1 :]) != self._given:
            return False
        try:
            lr = self.owner.specs["lr"].check("lr", given[at], self._is_float32)
            values = {**self.values, "lr": lr}
            self.owner.check_together(values)
        except ValueError:  # reading all again raises it, with the group's number
            return False
        self.values = values
        return True

    def next_step(self, made: float) -> int:
        """Return the number of a step, counted from 1, of parameters that have made this number of them."""
        if not 0.0 <= made < math.inf:
            raise ValueError(f'"step" in the state of param_groups[{self._index}] must be in [0, inf); got {made!r}')
        return int(made) + 1

    def step(self, t: int, carried: tuple[float, ...], scale: float, bound: float) -> tuple[Numbers, tuple[float, ...]]:
        """Return the engine's numbers of step t of parameters that carry some, and what they carry after it."""
        before = dict(zip(self.owner.carried_scalars, carried, strict=False))
        numbers, after = step_numbers(self.owner, self.values, before, t, scale, bound)
        shown = self.shown({**self.values, **after}, t + 1).values() if self._rule.exposed_scalars else ()
        return numbers, (float(t), *(after[name] for name in self.owner.carried_scalars), *shown)

    def first_numbers(self) -> dict[str, float]:
        """Return the numbers that a parameter carries before its first step, by their names in PyTorch's state."""
        shown = self.shown(self.values, 1) if self._rule.exposed_scalars else {}
        return {"step": 0.0, **self.owner.carried_scalars, **shown}

    def shown(self, values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the exposed scalars of step t."""
        return dict(zip(self._rule.exposed_scalars, self.owner.scalars(values, t), strict=False))

    def _take(self, group: Mapping[str, Any]) -> None:
        given = self._get(group)
        self._constant = all(map(_is_constant, given))
        owner = self._rule.owner_of(group)
        try:
            plain = {name: _plain(name, value) for name, value in zip(self._names, given, strict=False)}
            self.values = ParamGroup(owner, {**self._defaults, **plain}, self._like, start_step=0).values_now
        except (TypeError, ValueError) as error:
            error.add_note(f"in param_groups[{self._index}]")
            raise
        self.owner, self.name, self._given = owner, owner.rule_of(self.values), given
        self.numbers_are_kept = are_kept(owner)
        self.state_dtype = deepcopy(group.get("state_dtype"))
        self._note_settings()

    def _note_settings(self) -> None:
        same = self._constant and self.state_dtype is None
        self.settings: Settings | None = (self._read, self._given, self.values) if same else None


def _is_constant(value: Any) -> bool:
    """Whether a value is immutable."""
    return type(value) in _PLAIN or (type(value) is tuple and all(map(_is_constant, value)))


def _plain(name: str, value: Any) -> Any:
    """Return a tensor as a number, and a pair as a tuple of numbers."""
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"{name} must be a number or a tensor of one element; got shape {tuple(value.shape)}")
        return value.item()
    if isinstance(value, tuple | list):
        return tuple(_plain(f"{name}[{i}]", item) for i, item in enumerate(value))
    if callable(value):
        raise TypeError(
            f"{name} must be a number; got {value!r}. For a schedule, use torch.optim.lr_scheduler.LambdaLR"
        )
    return value
