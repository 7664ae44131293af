"""The numbers of a step, computed once per group in double precision."""

from collections.abc import Mapping
from typing import Any

from gdfast.engine.engines import Numbers
from gdfast.stepping.rule import Rule


def step_numbers(
    rule: Rule | type[Rule],
    values: Mapping[str, Any],
    carried: Mapping[str, float],
    t: int,
    grad_scale: float,
    clip_value: float,
) -> tuple[Numbers, Mapping[str, float]]:
    """Return the numbers of one group in one step, and the scalars that the group carries to the next step.

    Parameters
    ----------
    rule : Rule
    values : mapping
        Hyperparameter -> value at this step.
    carried : mapping
        The rule's `carried_scalars` after the previous step; empty if it has none.
    t : int
        The step, counted from 1.
    grad_scale, clip_value : float
        What gradients are multiplied by, and the largest absolute value of an element afterwards.

    Raises
    ------
    ValueError
        If t is no number of a step.
    """
    if not 1 <= t <= 2**63 or t % 1:  # the last step count that can be loaded is 2**63 - 1
        raise ValueError(
            "step_count must be an integer, at least the count at which its parameters were added, and below 2**63; "
            f"got one with which the next step is their step number {t}"
        )
    if carried:
        carried = rule.next_carried({**values, **carried}, t)
        values = {**values, **carried}
    l2, decay = values["weight_decay"], 0.0
    if rule.decoupled:
        l2, decay = rule.decays(values, t)
    if values["maximize"]:
        grad_scale = -grad_scale
    return (grad_scale, clip_value, l2, decay, values["l1"], rule.scalars(values, t)), carried


def are_kept(rule: type[Rule]) -> bool:
    """Whether native code can have the numbers of a rule's later steps: Adam's, or those that stay the same."""
    scalars = rule.scalars
    known = hasattr(scalars, "computed_natively") or hasattr(scalars, "same_in_all_steps")
    return known and rule.decays is Rule.decays


def kept_numbers(rule: Rule | type[Rule], values: Mapping[str, Any], t: int) -> tuple[float, ...] | None:
    """Return what native code computes the numbers of steps after t from: see `Adam.scalars`; () if from nothing.

    None if they are not those of step t.
    """
    if hasattr(rule.scalars, "computed_natively"):
        return (values["lr"], *values["betas"], values["eps"], values["eps_root"], values["eps_hat"])
    unless: tuple[str, ...] = getattr(rule.scalars, "same_in_all_steps")  # noqa: B009  (mypy knows no such attribute)
    return () if t > 1 and not any(values[name] for name in unless) else None
