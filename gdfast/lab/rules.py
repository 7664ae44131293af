"""The optimizers of gdfast as a page can offer them: what each has, its ranges and defaults, from the classes."""

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

import numpy as np

from gdfast import optimizers, schedules
from gdfast.arrays.formats import FORMATS, PLAIN
from gdfast.checkpoint.errors import MismatchError
from gdfast.checkpoint.settings import CLASSES, from_data
from gdfast.lab.errors import LabError
from gdfast.schedules import _checks as checks
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import FRACTION, POSITIVE, Choice, Count, Flag, Pair, Range, Spec

__all__ = [
    "RULES",
    "around",
    "as_value",
    "catalogue",
    "defaults",
    "made_with",
    "make",
    "moments",
    "point_of",
    "schedule_catalogue",
    "specs",
    "stepper",
]

#: Every optimizer that takes one gradient a step. `LBFGS` asks for loss and gradient as often as its line search wants,
#: so that its steps are no match for theirs; `Lookahead` goes around any of them: each has its `lookahead_k`.
RULES: Mapping[str, type[Optimizer]] = {
    kind.__name__: kind for kind in sorted(optimizers.by_name().values(), key=lambda kind: kind.__name__)
}


class _Made(Choice):
    """One of a few strings, settled when the optimizer is made."""

    fixed: ClassVar[bool] = True


class _MadeCount(Count):
    """A count or None, settled when the optimizer is made."""

    fixed: ClassVar[bool] = True

    def check(self, name: str, value: Any, is_float32: bool) -> Any:
        """Return the value."""
        return None if value is None else super().check(name, value, is_float32)


#: what an optimizer does about its gradients as a whole: settled when it is made
AROUND: Mapping[str, Spec] = {
    "clip_norm": Range(POSITIVE.low, POSITIVE.high, positive=True, optional=True, fixed=True),
    "clip_value": Range(POSITIVE.low, POSITIVE.high, positive=True, optional=True, fixed=True),
    "ema_decay": Range(FRACTION.low, FRACTION.high, optional=True, fixed=True),
    "lookahead_k": _MadeCount(low=1),
}
#: and how it keeps its numbers: the parameters, which have no master then, and its averages
SHORT_PARAMS: Mapping[str, Choice] = {"dtype": _Made((None, "bfloat16")), "rounding": _Made(("stochastic", "nearest"))}
SHORT_STATE: Mapping[str, Choice] = {"state_dtype": _Made((PLAIN, *FORMATS))}
#: Muon takes matrices only.
SHAPES: Mapping[str, tuple[int, ...]] = {"Muon": (1, 2)}
#: The states that are an average of gradients, and those that are one of their squares.
FIRST = ("exp_avg", "momentum_buffer", "exp_avg_fast", "s")
SECOND = ("exp_avg_sq", "square_avg", "exp_avg_var", "grad_sum_sq", "sum", "variance")


def specs(rule: str) -> Mapping[str, Spec]:
    """Return what an optimizer's hyperparameters may be, by name."""
    return {**RULES[rule].specs, **around(rule)}


def around(rule: str) -> Mapping[str, Spec]:
    """Return what an optimizer has beside its hyperparameters, by name."""
    kind = RULES[rule]
    short_state = any(name in kind.short_states for states in kind.rules.values() for name in states)
    short_params = kind.short_params and not kind.needs_master  # which a point does not have
    return {**AROUND, **(SHORT_PARAMS if short_params else {}), **(SHORT_STATE if short_state else {})}


@cache
def defaults(rule: str) -> Mapping[str, Any]:
    """Return the hyperparameters that an optimizer has if one gives none."""
    made = make(rule, {}, np.zeros(2))
    beside = {name: spec.words[0] if isinstance(spec, Choice) else None for name, spec in around(rule).items()}
    return {**made.param_groups[0].values_now, **beside}


def made_with(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that make an optimizer with these values: without the dtype, which is its point's."""
    options = {name: value for name, value in values.items() if name not in SHORT_PARAMS and name != "lookahead_k"}
    if values.get("dtype"):
        options |= {"master": None, "rounding": values.get("rounding", "stochastic")}
    if "state_dtype" in values:
        options["state_dtype_min_size"] = 1  # a point has two elements
    return options


def stepper(rule: str, values: Mapping[str, Any], opt: Optimizer) -> Optimizer | optimizers.Lookahead:
    """Return what makes the steps: the optimizer itself, or a Lookahead around it.

    Raises
    ------
    LabError
        If there can be no Lookahead around it.
    """
    if values.get("lookahead_k") is None:
        return opt
    try:
        return optimizers.Lookahead(opt, k=values["lookahead_k"])
    except (TypeError, ValueError) as error:
        raise LabError(f"{rule} with lookahead_k: {error}") from None


def point_of(values: Mapping[str, Any], start: Any, dtype: str) -> Any:
    """Return an array of shape (2,) to be optimized, where a racer starts; `dtype` is that of the race.

    Raises
    ------
    LabError
        If the racer keeps its numbers in fewer bits than a race of float64 has, or ml_dtypes is not there.
    """
    short = values.get("dtype")
    if dtype != PLAIN and (short or values.get("state_dtype", PLAIN) != PLAIN):
        raise LabError("dtype and state_dtype need float32: first set numbers to float32, under Surface")
    if short:
        try:
            importlib.import_module("ml_dtypes")  # NumPy knows its dtypes from here on
        except ImportError:
            raise LabError('bfloat16 needs ml_dtypes, which is not installed: pip install "gdfast[lab]"') from None
    return np.array(start, short or dtype)


def make(rule: str, values: Mapping[str, Any], point: Any) -> Optimizer:
    """Return an optimizer over a point, an array of shape (2,).

    Raises
    ------
    LabError
        If there is no such optimizer, or it does not take these hyperparameters.
    """
    if rule not in RULES:
        raise LabError(f"rule must be an optimizer of gdfast: {', '.join(RULES)}; got {rule!r}")
    try:
        return RULES[rule](point.reshape(SHAPES.get(rule, (2,))), **made_with(values), n_threads=1)
    except (TypeError, ValueError) as error:
        raise LabError(f"{rule}: {error}") from None


def as_value(rule: str, name: str, data: Any) -> Any:
    """Return a hyperparameter from JSON data: a number, a list of them, or a schedule as checkpoints write it.

    Raises
    ------
    LabError
        If the optimizer has no such hyperparameter, or it cannot be this.
    """
    known = specs(rule)
    if name not in known:
        raise LabError(f"{rule} has no hyperparameter {name!r}; it has {', '.join(known)}")
    if isinstance(data, dict) and "schedule" not in data:
        raise LabError(f"{rule}: {name} must be a number or a schedule; got {data!r}")
    try:
        return known[name].check(name, from_data(data, None, name), False)
    except (MismatchError, TypeError, ValueError, RecursionError) as error:
        raise LabError(f"{rule}: {error}") from None


def moments(opt: Optimizer) -> tuple[Any, Any]:
    """Return the averages of gradients and of their squares that an optimizer keeps; None for what it does not."""
    ((path, states),) = opt.state.items()
    kept = [next((name for name in names if name in states), None) for names in (FIRST, SECOND)]
    found = [None if name is None else opt.state_value(path, name) for name in kept]
    return tuple(None if array is None or array.size != 2 else array.reshape(2) for array in found)  # type: ignore


@cache
def catalogue() -> list[dict[str, Any]]:
    """Return every optimizer with its controls, as JSON data."""
    return [
        {
            "rule": rule,
            "about": _about(kind).partition(": ")[2] or _about(kind),
            "controls": [
                {**_control(name, spec, defaults(rule)[name]), "own": name in kind.own_specs or name == "clip_norm"}
                for name, spec in specs(rule).items()
            ],
        }
        for rule, kind in RULES.items()
    ]


def _about(kind: type) -> str:
    """Return the first sentences of a class's docstring."""
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _control(name: str, spec: Spec, default: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "default": default, "fixed": spec.fixed}
    match spec:
        case Pair():
            return {**found, "kind": "numbers", "count": spec.count, **_range(spec.each), "scheduled": not spec.fixed}
        case Range():
            return {**found, "kind": "number", **_range(spec), "scheduled": not spec.fixed}
        case Flag():
            return {**found, "kind": "flag"}
        case Count():
            return {**found, "kind": "count", "low": spec.low, "optional": isinstance(spec, _MadeCount)}
    assert isinstance(spec, Choice)
    return {**found, "kind": "choice", "words": list(spec.words)}


def _range(spec: Range) -> dict[str, Any]:
    low, high = (None if math.isinf(end) else end for end in (spec.low, spec.high))
    return {"low": low, "high": high, "closed": spec.closed, "positive": spec.positive, "optional": spec.optional}


@cache
def schedule_catalogue() -> list[dict[str, Any]]:
    """Return the schedules whose fields are numbers, words and flags, with these fields, as JSON data.

    Those that hold other schedules, and `ReduceOnPlateau`, which follows a metric, are for programs.
    """
    found = []
    for name, kind in CLASSES.items():
        hints = get_type_hints(kind, include_extras=True)
        own = [field for field in fields(kind) if field.init]
        described = [_field(field, hints[field.name]) for field in own]
        if kind is not schedules.ReduceOnPlateau and all(described):
            found.append({"schedule": name, "about": _about(kind), "fields": described})
    return found


def _field(field: Any, hint: Any) -> dict[str, Any] | None:
    check = get_args(hint)[1] if get_origin(hint) is Annotated else None
    optional = isinstance(check, checks.OrNone)
    if isinstance(check, checks.OrNone):
        check = check.check
    default = None if field.default is MISSING else field.default
    found = {"name": field.name, "default": default, "optional": optional, "needed": field.default is MISSING}
    match check:
        case checks.Number():
            return {**found, "kind": "number"}
        case checks.Count():
            return {**found, "kind": "count", "low": check.minimum}
        case checks.Choice():
            return {**found, "kind": "choice", "words": list(check.words)}
        case checks.Flag():
            return {**found, "kind": "flag"}
    return None
