"""The numbers of many steps, computed before the first of them: for native loops that take the steps by themselves."""

from typing import Any

import numpy as np

from gdfast.engines import NativeEngine
from gdfast.optimizers.base import Optimizer
from gdfast.optimizers.stepping import Stepping

Array = np.ndarray[Any, Any]

L2, L1 = 2, 4  # their places among a group's numbers: scale, bound, l2, decay, l1
PENALTIES = ("weight_decay", "l1")


class _Recorder:
    """Stands in for an engine and notes what it is told."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.noted: list[tuple[float, ...]] = []

    def set_numbers(
        self, group: int, scale: float, bound: float, l2: float, decay: float, l1: float, scalars: tuple[float, ...]
    ) -> None:
        self.engine.check_numbers(group, len(scalars))
        self.noted.append((scale, bound, l2, decay, l1, *scalars))

    def table(self, steps: int, groups: int, width: int) -> Array:
        """Return what was noted, step by step and group by group, filled up with zeros."""
        numbers = np.zeros((steps, groups, width))
        noted = np.array(self.noted).reshape(steps, len(self.noted) // steps, -1)
        numbers[:, :, : noted.shape[2]] = noted  # of one group, or of each
        return numbers


def _differ_in_penalties_only(opt: Optimizer) -> bool:
    """Whether the groups' numbers are those of the first, but for the weights of their constant penalties."""
    first, *others = (
        {name: value for name, value in group.values_now.items() if name not in PENALTIES} for group in opt._groups
    )
    return (
        all(values == first for values in others)
        and not (opt.decoupled or opt.memory)
        and not any(callable(group[name]) for group in opt._groups for name in PENALTIES)
        and len({group.born for group in opt._groups}) == 1
    )


def is_elementwise(opt: Optimizer) -> bool:
    """Whether a step does to each element what its own gradient says, by native loops, and asks for nothing else."""
    plain = type(opt._engine) is NativeEngine  # and not one that measures whole arrays first
    return plain and type(opt).step is Stepping.step and not opt.guard.needs_norm


def numbers_ahead(opt: Optimizer, steps: int, width: int) -> tuple[Array, Array, list[dict[str, float]]]:
    """Compute the numbers of the optimizer's next steps.

    Parameters
    ----------
    opt : Optimizer
        Is as before afterwards: `took` is to be called once the steps have been taken.
    steps : int
        How many.
    width : int
        Room for a group's numbers in a step.

    Returns
    -------
    numbers : array of shape (steps, groups, width)
        Scale, bound, l2, decay, l1 and the rule's own, then zeros.
    averages : array of shape (steps,)
        The weight of the new parameters in their average; zeros without averaging.
    memories : list of dict
        What the groups remember after the last of these steps, for `took`.
    """
    recorder: Any = _Recorder(opt._engine)
    averages = np.zeros(steps)
    before = opt._memories
    groups = opt._groups[:1] if _differ_in_penalties_only(opt) else opt._groups
    try:
        for at in range(steps):
            step = opt.step_count + at
            bound = opt.guard.bound(step)
            for i, group in enumerate(groups):
                group.ask(step)
                opt._set_numbers(recorder, i, group, step, 1.0, bound)
            opt._memories = opt._advanced.copy()
            if opt.averaging.on:
                averages[at] = opt.averaging.weight(step)
        numbers = recorder.table(steps, len(opt._groups), width)
    finally:
        memories, opt._memories = opt._memories, before
    for i, group in enumerate(opt._groups[len(groups) :], len(groups)):
        numbers[:, i, L2], numbers[:, i, L1] = group["weight_decay"], group["l1"]
    return numbers, averages, memories


def took(opt: Optimizer, steps: int, memories: list[dict[str, float]]) -> None:
    """Note that steps have been taken in the optimizer's place."""
    opt.step_count += steps
    opt._memories = memories
