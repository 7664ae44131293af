"""The readable counterpart of the native loops: one function per rule, on NumPy arrays.

A rule takes the prepared gradient, its state arrays (which it updates) and its scalars, already rounded to the arrays'
dtype; it returns the rate of each coordinate and the direction to move in (and what to call with the parameters after
they have moved, where a state depends on them). The few rules that compute the new parameter themselves (`FULL_UPDATE`)
take it first, and decay and l1 before their scalars, and return the new one. States and scalars come in the order of
the optimizer class. A rule is found here by its name, so a new one in these files needs no other line.

It uses no other room.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeAlias

from gdfast.reference import (
    adam,
    adam_variants,
    adaptive,
    dual_averaging,
    layerwise,
    lookahead,
    mixed_momentum,
    schedule_free,
    second_moment,
    sgd,
    sign,
)
from gdfast.reference.elementwise import Array, average, clip, flush, larger, move, prepare
from gdfast.reference.formats import FORMATS, random_bits
from gdfast.reference.norm import square_sum
from gdfast.reference.units import matrix_sums, prepare_units

__all__ = [
    "FORMATS",
    "FULL_UPDATE",
    "LAYERWISE",
    "MEASURES",
    "RULES",
    "Rule",
    "average",
    "clip",
    "flush",
    "larger",
    "matrix_sums",
    "move",
    "prepare",
    "prepare_units",
    "random_bits",
    "square_sum",
    "step",
    "step_ready",
]

Rule: TypeAlias = Callable[..., tuple[Any, ...]]


def _rules_in(module: ModuleType) -> dict[str, Rule]:
    return {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }


FAMILIES = (sgd, sign, adaptive, adam, adam_variants, second_moment, mixed_momentum)
RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in _rules_in(family).items()}
FULL_UPDATE: dict[str, Callable[..., Any]] = _rules_in(dual_averaging) | _rules_in(schedule_free) | _rules_in(lookahead)
#: rules that take the parameter behind the gradient
LAYERWISE: dict[str, Rule] = _rules_in(layerwise)
MEASURES = layerwise.MEASURES


def step(rule: str, param: Array, grad: Array, states: Sequence[Array], numbers: Sequence[float]) -> None:
    """Step one array and its state. `numbers`: grad_scale, clip_value, l2, decay, l1, then the rule's scalars."""
    grad_scale, clip_value, l2 = map(param.dtype.type, numbers[:3])
    step_ready(rule, param, prepare(grad, param, grad_scale, clip_value, l2), states, numbers[3:])


def step_ready(rule: str, param: Array, g: Array, arrays: Sequence[Array], numbers: Sequence[float]) -> None:
    """Step one array with a gradient that is ready. The numbers: decay, l1, then the rule's own."""
    decay, l1, *scalars = map(param.dtype.type, numbers)
    if rule in FULL_UPDATE:
        param[...] = FULL_UPDATE[rule](param, g, *arrays, decay, l1, *scalars)
        return
    rate, direction, *after = (
        LAYERWISE[rule](g, param, *arrays, *scalars) if rule in LAYERWISE else RULES[rule](g, *arrays, *scalars)
    )
    param[...] = move(param, rate, direction, decay, l1)
    for follow in after:
        follow(param)
