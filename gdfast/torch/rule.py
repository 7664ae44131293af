"""What stands in a group of PyTorch's, as one of gdfast's optimizers reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import torch

import gdfast
from gdfast.hyperparameters import ParamGroup
from gdfast.structure import Named

_PLAIN = frozenset((float, int, bool))


@dataclass(frozen=True)
class Rule:
    """How an optimizer of PyTorch is carried out by gdfast's: an entry of the table.

    Attributes
    ----------
    owner : type
        gdfast's optimizer.
    decoupled : type, optional
        The one in its place where a group has ``decoupled_weight_decay``.
    renamed : dict
        gdfast's name of a hyperparameter, state array or number -> PyTorch's, where they differ.
    sparse : bool
        Whether it takes sparse gradients, as PyTorch's does.
    eager : bool
        Whether its state is made with it, not at the first step.
    counted : bool
        Whether its state has a ``step``.
    """

    owner: type[gdfast.Optimizer]
    decoupled: type[gdfast.Optimizer] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    sparse: bool = False
    eager: bool = False
    counted: bool = True

    def owner_of(self, group: Mapping[str, Any]) -> type[gdfast.Optimizer]:
        """Return gdfast's optimizer for a group."""
        return self.decoupled if self.decoupled and group["decoupled_weight_decay"] else self.owner

    def theirs(self, name: str) -> str:
        """Return PyTorch's name of what gdfast calls so."""
        return self.renamed.get(name, name)


class Group:
    """One group's hyperparameters, read before every step, and checked again when one has changed.

    Attributes
    ----------
    owner : type
        gdfast's optimizer for it.
    values : dict
        Its hyperparameters by gdfast's names.
    name : str
        gdfast's rule.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is not as it must be.
    """

    def __init__(self, rule: Rule, index: int, group: Mapping[str, Any]) -> None:
        self._rule, self._index = rule, index
        self._names = [name for name in rule.owner.specs if name != "l1"]
        self._get = itemgetter(*map(rule.theirs, self._names), *(["decoupled_weight_decay"] if rule.decoupled else []))
        single = any(param.dtype == torch.float32 for param in group["params"])
        self._like = [Named(np.empty(0, np.float32 if single else np.float64), "", "")]
        self._take(group)

    def read(self, group: Mapping[str, Any]) -> bool:
        """Read the group again. Return False if it asks for another rule than before."""
        if self._constant and self._get(group) == self._given:
            return True
        before = self.owner, self.name
        self._take(group)
        return before == (self.owner, self.name)

    def _take(self, group: Mapping[str, Any]) -> None:
        given = self._get(group)
        self._constant = all(map(_is_constant, given))
        owner = self._rule.owner_of(group)
        try:
            plain = {name: _plain(name, value) for name, value in zip(self._names, given, strict=False)}
            self.values = ParamGroup(owner, {**plain, "l1": 0.0}, self._like, born=0).values_now
        except (TypeError, ValueError) as error:
            error.add_note(f"in param_groups[{self._index}]")
            raise
        self.owner, self.name, self._given = owner, owner.rule_of(self.values), given


def _is_constant(value: Any) -> bool:
    """Whether nobody can change a value without replacing it."""
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
        raise TypeError(f"{name} must be a number; got {value!r}. For a schedule, use torch.optim.lr_scheduler.LambdaLR")
    return value
