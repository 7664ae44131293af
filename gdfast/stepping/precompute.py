"""The numbers of many steps, computed before the first: for native loops that carry out several steps in one call."""

from collections.abc import Mapping
from math import inf
from typing import Any, cast

import numpy as np

from gdfast.engine.engines import NativeEngine
from gdfast.stepping.base import Optimizer
from gdfast.stepping.step import Stepping
from gdfast.stepping.step_numbers import step_numbers

Array = np.ndarray[Any, Any]

L2, L1, OWN = 2, 4, 5  # indices into a group's numbers: grad_scale, clip_value, l2, decay, l1, the rule's own
PENALTIES = ("weight_decay", "l1")


def _differ_in_penalties_only(opt: Optimizer) -> bool:
    """Whether all groups have the numbers of the first, except for the weights of constant penalties."""
    first, *others = (
        {name: value for name, value in group.values_now.items() if name not in PENALTIES} for group in opt._groups
    )
    return (
        all(values == first for values in others)
        and not (opt.decoupled or opt.carried_scalars)
        and not any(callable(group[name]) for group in opt._groups for name in PENALTIES)
        and len({group.start_step for group in opt._groups}) == 1
    )


def can_run_natively(opt: Optimizer) -> bool:
    """Whether native loops can carry out several steps by themselves: the update is elementwise and needs no norm."""
    plain = type(opt._engine) is NativeEngine  # not a subclass that measures whole arrays first
    return plain and not opt._coded and type(opt).step is Stepping.step and not opt.guard.needs_norm


def precompute_numbers(opt: Optimizer, steps: int, width: int) -> tuple[Array, Array, list[Mapping[str, float]]]:
    """Compute the numbers of the optimizer's next steps.

    Parameters
    ----------
    opt : Optimizer
        Left unchanged; call `commit` once the steps have been made.
    steps : int
        Number of steps.
    width : int
        Length of the last axis of `numbers`.

    Returns
    -------
    numbers : array of shape (steps, groups, width)
        grad_scale, clip_value, l2, decay, l1 and the rule's scalars, padded with zeros.
    averages : array of shape (steps,)
        The weight of the new parameters in their average; zeros without averaging.
    carried_by_group : list of dict
        The carried scalars of each group after the last of these steps, for `commit`.
    """
    numbers, averages = np.zeros((steps, len(opt._groups), width)), np.zeros(steps)
    engine, carried_by_group = cast(NativeEngine, opt._engine), list(opt._carried)
    groups = opt._groups[:1] if _differ_in_penalties_only(opt) else opt._groups
    every_step = range(opt.step_count, opt.step_count + steps)
    guard = opt.guard
    bounds = [inf] * steps if guard.clip_value is None else [guard.clip_value_at(step) for step in every_step]
    for i, group in enumerate(groups):
        carried, rows = carried_by_group[i] if carried_by_group else {}, []
        first = opt.step_count - group.start_step + 1
        for t, (values, clip_value) in enumerate(zip(group.at_steps(every_step), bounds, strict=True), first):
            (*prepared, own), carried = step_numbers(opt, values, carried, t, 1.0, clip_value)
            rows.append((*prepared, *own))
        engine.check_numbers(i, len(rows[0]) - OWN)
        numbers[:, i, : len(rows[0])] = rows
        if carried_by_group:
            carried_by_group[i] = carried
    if opt.averaging.on:
        averages[:] = [opt.averaging.weight(step) for step in every_step]
    for i, group in enumerate(opt._groups[len(groups) :], len(groups)):
        numbers[:, i] = numbers[:, 0]
        numbers[:, i, L2], numbers[:, i, L1] = group["weight_decay"], group["l1"]
    return numbers, averages, carried_by_group


def commit(opt: Optimizer, steps: int, carried_by_group: list[Mapping[str, float]]) -> None:
    """Advance the optimizer's counters after native loops have made these steps for it."""
    opt.step_count += steps
    opt._carried = carried_by_group
