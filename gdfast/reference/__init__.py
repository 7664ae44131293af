"""The readable twin of the native engine: one function a rule, on NumPy arrays.

A rule takes the prepared gradient, its state arrays (which it updates) and its scalars, already rounded to the arrays'
dtype; it returns the rate of each coordinate and the direction to move in (and what to call with the parameters after
they have moved, where a state depends on them). The few rules that set the parameter in another way (`SETTING`) take it
first, and decay and l1 before their scalars, and return the new one. States and scalars come in the order of the
optimizer class. A rule is found here by its name, so a new one in these files needs no other line.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeAlias

from gdfast.reference import (
    adam,
    adam_variants,
    adaptive,
    dual_averaging,
    lookahead,
    mixed_momentum,
    schedule_free,
    second_moment,
    sgd,
    sign,
)
from gdfast.reference.elementwise import Array, average, clip, flush, larger, move, prepare

__all__ = ["RULES", "SETTING", "Rule", "average", "clip", "flush", "larger", "move", "prepare", "step"]

Rule: TypeAlias = Callable[..., tuple[Any, ...]]


def _rules_in(module: ModuleType) -> dict[str, Rule]:
    return {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }


FAMILIES = (sgd, sign, adaptive, adam, adam_variants, second_moment, mixed_momentum)
RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in _rules_in(family).items()}
SETTING: dict[str, Callable[..., Any]] = _rules_in(dual_averaging) | _rules_in(schedule_free) | _rules_in(lookahead)


def step(rule: str, param: Array, grad: Array, states: Sequence[Array], numbers: Sequence[float]) -> None:
    """Step one array and its state in place. The numbers: scale, bound, l2, decay, l1, then the rule's own."""
    scale, bound, l2, decay, l1, *scalars = map(param.dtype.type, numbers)
    g = prepare(grad, param, scale, bound, l2)
    if rule in SETTING:
        param[...] = SETTING[rule](param, g, *states, decay, l1, *scalars)
        return
    rate, direction, *after = RULES[rule](g, *states, *scalars)
    param[...] = move(param, rate, direction, decay, l1)
    for follow in after:
        follow(param)
