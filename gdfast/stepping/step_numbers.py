"""The few numbers of a step, computed once a group in double precision."""

from collections.abc import Mapping
from typing import Any

from gdfast.engine.engines import Numbers
from gdfast.stepping.rule import Rule


def step_numbers(
    rule: Rule | type[Rule], values: Mapping[str, Any], carried: Mapping[str, float], t: int, grad_scale: float, clip_value: float
) -> tuple[Numbers, Mapping[str, float]]:
    """Return the numbers of one group's step, and what the group carries to the next one.

    Parameters
    ----------
    rule : Rule
    values : mapping
        Hyperparameter -> its value at this step.
    carried : mapping
        What the step before left, by the names of the rule's `carried_scalars`; empty for a rule without.
    t : int
        The step, counted from 1.
    grad_scale, clip_value : float
        What gradients are multiplied by, and the largest absolute value that is left of an element.
    """
    if carried:
        carried = rule.next_carried({**values, **carried}, t)
        values = {**values, **carried}
    l2, decay = values["weight_decay"], 0.0
    if rule.decoupled:
        l2, decay = rule.decays(values, t)
    if values["maximize"]:
        grad_scale = -grad_scale
    return (grad_scale, clip_value, l2, decay, values["l1"], rule.scalars(values, t)), carried
