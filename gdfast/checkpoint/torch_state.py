"""Conversion of state from and to PyTorch's optimizers of the same names: arrays by position there, by name here."""

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gdfast.arrays.formats import FORMATS, MASTER, PLAIN, REMAINDER, SCALES, short_format
from gdfast.arrays.structure import NamedArray, is_array
from gdfast.engine.coding import as_float, decoded, encode_nearest
from gdfast.engine.engines import Coding
from gdfast.stepping.averaging import STATE as EMA
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import is_on
from gdfast.stepping.hyperparameters import as_float as as_number
from gdfast.stepping.hyperparameters import is_scheduled
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.sliced import check_not_sliced
from gdfast.stepping.state_dict import described

#: PyTorch's class -> the numbers derived from the step count that it stores for each array
NUMBERS: dict[str, tuple[str, ...]] = {
    "SGD": (),
    "ASGD": ("eta", "mu"),
    "Adagrad": (),
    "Adadelta": (),
    "RMSprop": (),
    "Rprop": (),
    "Adam": (),
    "AdamW": (),
    "Adamax": (),
    "NAdam": (),
    "RAdam": (),
    "Adafactor": (),
}
_UNCOUNTED = "SGD"  # does not store its step count
_EAGER = "Adagrad"  # creates its state before the first step
# How PyTorch carries out a step, and what its schedulers started from: none of it changes the mathematics.
_IGNORED = ("params", "param_names", "initial_lr", "foreach", "fused", "capturable", "differentiable")


def load_torch_state(
    opt: Optimizer, state_dict: Mapping[str, Any], *, step_count: int | None = None, convert: bool = False
) -> dict[str, str]:
    """Load a copy of the state of PyTorch's optimizer of the same name, all or nothing.

    Parameters
    ----------
    opt : Optimizer
        With the same arrays in the same order and groups. The parameters themselves are not in PyTorch's state.
    state_dict : dict
        ``torch_optimizer.state_dict()``: arrays by position. Hyperparameters are loaded too, except where this
        optimizer has a schedule: PyTorch's state holds only the last value of its scheduler. What PyTorch does not have
        (``l1``, clipping, averages) is left unchanged; waiting micro-batches are dropped.
    step_count : int, optional
        Number of steps made; for SGD only, whose steps PyTorch does not count. By default 1 if there is momentum.
    convert : bool
        Whether state of bfloat16, float16 or float32 is converted where this optimizer keeps it in another format (see
        `state_dtype`), rounded to the nearest. The masters of parameters are left as they are, like the parameters.

    Returns
    -------
    dict of str
        What was converted: ``"<parameter>/<state>"`` -> such as ``"float32 -> 8bit"``; empty without `convert`.

    Raises
    ------
    TypeError, ValueError
        Naming what does not fit: another optimizer or structure, other shapes or dtypes, hyperparameters that this
        optimizer lacks, or arrays of one group that were not stepped equally often. Nothing is changed then.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> saved = {
    ...     "state": {0: {"step": 3, "exp_avg": np.array([0.5, 0.0]), "exp_avg_sq": np.array([0.25, 0.0])}},
    ...     "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "params": [0]}],
    ... }
    >>> opt = gdfast.Adam({"w": np.zeros(2)})
    >>> gdfast.load_torch_state(opt, saved)
    {}
    >>> opt.step_count, opt.lr, opt.state["w"]["exp_avg"]
    (3, 0.1, array([0.5, 0. ]))
    """
    name = _name(opt, convert)
    pairs = _paired(opt, state_dict, name, convert)
    steps = [int(_shared(pair, "step", 0)) for pair in pairs]
    total = max(steps, default=0)
    if step_count is not None:
        total = _checked_total(step_count, total, name)
    if name == _UNCOUNTED:
        steps = [total if count or not pair.own.states else 0 for count, pair in zip(steps, pairs, strict=True)]
    groups = [
        {**_values(opt, pair), "params": [named.name for named in pair.own.params], "born": total - count}
        for count, pair in zip(steps, pairs, strict=True)
    ]
    state = dict(found for pair, group in zip(pairs, groups, strict=True) for found in _states(opt, pair, group))
    converted = _coded(opt, pairs, state) if convert else {}
    opt.load_state_dict(
        {
            **described(opt),
            "step_count": total,
            "accumulation": {"kind": opt.accumulation.kind, "count": 0},
            "memory": [
                {key: _shared(pair, key, first) for key, first in opt.carried_scalars.items()}
                for pair in pairs
                if opt.carried_scalars
            ],
            "param_groups": groups,
            "state": state,
            "sums": {},
        }
    )
    return converted


def torch_state(opt: Optimizer, *, convert: bool = False) -> dict[str, Any]:
    """Return a copy of the state in the form that PyTorch's optimizer of the same name loads.

    Parameters
    ----------
    opt : Optimizer
    convert : bool
        Whether state in fewer bits is decoded to float32, which is exact, and the masters of parameters are left out.

    Returns
    -------
    dict
        For ``torch_optimizer.load_state_dict``. Schedules are replaced by their values at the next step. Clipping,
        averages and waiting micro-batches are not included.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If PyTorch has no such optimizer, it lacks a hyperparameter that is in use (``l1``), or state is kept in fewer
        bits than float32 and `convert` is False.
    RuntimeError
        While a step in pieces is open, or in ``averaged()``.
    """
    name = _name(opt, convert)
    try:
        import torch
    except ImportError as error:
        raise ImportError("gdfast.torch_state needs PyTorch: pip install torch") from error
    defaults = getattr(torch.optim, name)([torch.zeros(1)]).defaults
    saved = _decoded(opt, opt.state_dict()["state"])
    state: dict[int, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = []
    first = 0
    for i, group in enumerate(opt.param_groups):
        values, steps = group.at_step(opt.step_count), opt.step_count - group.start_step
        lacking = [key for key, value in values.items() if key not in defaults and is_on(value)]
        if lacking:
            raise ValueError(f"{', '.join(lacking)} must be off: PyTorch's {name} does not have it")
        numbers = _numbers(opt, name, i, steps)
        for position, named in enumerate(group.params, start=first):
            arrays = {key: torch.from_numpy(array) for key, array in saved[named.name].items() if key != EMA}
            own = {key: torch.tensor(value, dtype=torch.float64) for key, value in numbers.items()}
            count = {} if name == _UNCOUNTED else {"step": torch.tensor(float(steps))}
            if (arrays or count) and (steps or name == _EAGER):
                state[position] = {**count, **own, **arrays}
        positions = list(range(first, first + len(group.params)))
        groups.append({**defaults, **{key: values[key] for key in values if key in defaults}, "params": positions})
        first += len(group.params)
    return {"state": state, "param_groups": groups}


@dataclass(frozen=True)
class _Pair:
    """A group of the optimizer, its counterpart in PyTorch, and PyTorch's state of each of its arrays."""

    path: str
    own: ParamGroup
    theirs: Mapping[str, Any]
    raw: list[Any]
    states: list[dict[str, Any]]


def _name(opt: Optimizer, convert: bool) -> str:
    """Return the name of the optimizer's class, which PyTorch must have too."""
    if not isinstance(opt, Optimizer):
        raise TypeError(f"opt must be a gdfast optimizer; got {type(opt).__name__}")
    check_not_sliced(opt, "opt")
    name = type(opt).__name__
    if name not in NUMBERS:  # subclasses are refused too: they may have another rule
        raise TypeError(f"opt must be of a class that PyTorch has too: {', '.join(NUMBERS)}; got {name}")
    if not isinstance(convert, bool):
        raise TypeError(f"convert must be a bool; got {convert!r}")
    for entry in () if convert else opt._layout.entries:
        short = [state.path for state, form in zip(entry.states, entry.formats, strict=False) if form]
        short += [state.path for state in entry.reduced_states if state.name in (MASTER, REMAINDER)]
        if short:
            raise ValueError(
                f"opt has {', '.join(short)}: PyTorch has no such state. convert=True makes float32 of it."
            )
    return name


def _paired(opt: Optimizer, state_dict: Any, kind: str, convert: bool) -> list[_Pair]:
    """Find the counterparts of the groups and arrays."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        raise TypeError("state_dict must be what a PyTorch optimizer's state_dict() returns: state, param_groups")
    state, groups, own = state_dict["state"], state_dict["param_groups"], opt.param_groups
    if not isinstance(groups, list | tuple) or len(groups) != len(own) or not isinstance(state, Mapping):
        raise ValueError(f"state_dict must have {len(own)} param_groups and a dict of states, as the optimizer has")
    pairs = []
    for i, (group, theirs) in enumerate(zip(own, groups, strict=True)):
        positions = theirs.get("params") if isinstance(theirs, Mapping) else None
        if not isinstance(positions, list | tuple) or len(positions) != len(group.params):
            raise ValueError(f'state_dict["param_groups"][{i}] must have {len(group.params)} params; got {positions!r}')
        names = [named.name for named in group.params]
        raw = [state.get(position, {}) for position in positions]
        states = [_state(name, given, convert) for name, given in zip(names, raw, strict=True)]
        if kind == _UNCOUNTED:
            states = [{**found, "step": int("momentum_buffer" in found)} for found in states]
        pairs.append(_Pair(f"param_groups[{i}]", group, theirs, raw, states))
    return pairs


def _state(name: str, state: Any, convert: bool) -> dict[str, Any]:
    """Return PyTorch's state of an array, with tensors as arrays and without None."""
    if not isinstance(state, Mapping):
        raise ValueError(f"the state of {name} must be a dict; got {type(state).__name__}")
    try:
        return {key: _array(value, convert) for key, value in state.items() if value is not None}
    except TypeError as error:  # such as bfloat16, or sparse
        raise ValueError(f"the state of {name} must be arrays of float32 or float64: {error}") from None


def _shared(pair: _Pair, key: str, first: float) -> float:
    """Return a number that all arrays of a group have in common; `first` is its value for an array never stepped."""
    params = pair.own.params
    numbers = [_number(key, state.get(key, first), named) for named, state in zip(params, pair.states, strict=True)]
    if not numbers:
        return first
    if any(number != numbers[0] for number in numbers):
        found = ", ".join(f"{named.name} {number:g}" for named, number in zip(params, numbers, strict=True))
        raise ValueError(f"the arrays of {pair.path} must have the same {key}, as gdfast counts by group; got {found}")
    return numbers[0]


def _number(key: str, value: Any, named: NamedArray) -> float:
    plain = _plain(value)
    number = as_number(f"{key} of {named.name}", plain) if isinstance(plain, Real) else math.nan
    whole = "whole " if key == "step" else ""
    if math.isnan(number) or (whole and not (number >= 0 and number % 1 == 0)):
        raise ValueError(f"{key} of {named.name} must be a {whole}number; got {value!r}")
    return number


def _checked_total(step_count: Any, least: int, name: str) -> int:
    total = operator.index(step_count)
    if total < least or (total != least and name != _UNCOUNTED):
        expected = f"at least {least}" if name == _UNCOUNTED else f"{least}, as in the state,"
        raise ValueError(f"step_count must be {expected} or omitted; got {step_count!r}")
    return total


def _values(opt: Optimizer, pair: _Pair) -> dict[str, Any]:
    """Return a group's hyperparameters: PyTorch's; the optimizer's own for schedules and for what PyTorch lacks."""
    values = dict(pair.own.values_now)
    for key, value in pair.theirs.items():
        if key in values:
            values[key] = values[key] if is_scheduled(values[key]) else _plain(value)
        elif key == "decoupled_weight_decay":
            if value != opt.decoupled:
                raise ValueError(f"{pair.path}: decoupled_weight_decay must be {opt.decoupled}; got {value!r}")
        elif key not in _IGNORED:
            raise ValueError(f"{pair.path} has {key}={value!r}, which {type(opt).__name__} does not have")
    return values


def _states(opt: Optimizer, pair: _Pair, values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the state of each array; for one that was never stepped, the initial state."""
    numbers = ("step", *NUMBERS[type(opt).__name__], *opt.carried_scalars)
    for named, state in zip(pair.own.params, pair.states, strict=True):
        theirs = {key: value for key, value in state.items() if key not in numbers}
        if not theirs:
            own = {key: opt.state_value(named.name, key) for key in opt.state[named.name] if _is_shared(key)}
            theirs = {key: _filled(array, named.array, opt.initial(key, values)) for key, array in own.items()}
        kept = {EMA: opt.state[named.name][EMA]} if opt.averaging.on else {}
        yield named.name, {**theirs, **kept}


def _filled(state: np.ndarray[Any, Any], param: np.ndarray[Any, Any], first: float | None) -> np.ndarray[Any, Any]:
    """Return the initial value of a state array: a copy of the parameter (None), or one number everywhere."""
    array = np.empty_like(state)
    array[...] = param if first is None else first
    return array


def _numbers(opt: Optimizer, name: str, group: int, steps: int) -> dict[str, float]:
    """Return the numbers that PyTorch stores with each array, except the step count."""
    values = {**opt.param_groups[group].at_step(opt.step_count), **(opt._carried[group] if opt.carried_scalars else {})}
    derived = dict(zip(NUMBERS[name], opt.scalars(values, steps + 1), strict=True)) if NUMBERS[name] else {}
    return {**derived, **{key: values[key] for key in opt.carried_scalars}}


def _plain(value: Any) -> Any:
    """Return a hyperparameter or count with tensors converted to numbers."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return value.item() if hasattr(value, "item") else value


def _array(value: Any, convert: bool) -> Any:
    """Return a tensor as an array, which shares its memory unless it must be converted; an array as it is."""
    if not hasattr(value, "detach"):
        return value
    array = value.detach().cpu()
    return (array.float() if convert and _word(value) == "bfloat16" else array).numpy()


def _is_shared(state: str) -> bool:
    """Whether PyTorch may have a state: no average of parameters, and nothing that belongs to a format."""
    return state not in (EMA, MASTER, REMAINDER) and not state.endswith(SCALES)


def _word(value: Any) -> str:
    """Return the name of a tensor's or array's dtype."""
    return str(value.dtype).removeprefix("torch.")


def _decoded(opt: Optimizer, state: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return copied state with what lies in fewer bits as float32, and without what PyTorch lacks."""
    found = {name: {key: array for key, array in of.items() if _is_shared(key)} for name, of in state.items()}
    for entry in opt._layout.entries:
        of = state[entry.param.name]
        for named, coding in zip(entry.states, entry.state_codings(), strict=True):
            if coding.form is not None:
                found[entry.param.name][named.name] = decoded(coding.form, of[named.name], of.get(named.name + SCALES))
    return found


def _coded(opt: Optimizer, pairs: Iterable[_Pair], state: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Put state of floating-point numbers into the optimizer's formats, in `state`; return what was converted."""
    raw = {named.name: given for pair in pairs for named, given in zip(pair.own.params, pair.raw, strict=True)}
    said = {}
    for entry in opt._layout.entries:
        name, of = entry.param.name, state[entry.param.name]
        of.update({own.name: own.array for own in entry.reduced_states if own.name in {MASTER, REMAINDER} - of.keys()})
        for own, coding in zip(entry.states, entry.state_codings(), strict=True):
            values: Any = of.get(own.name)
            if not is_array(values) or values.shape != own.array.shape or entry.value.dtype == np.float64:
                continue  # what is wrong is said when it is loaded
            if values.dtype != np.float32 and short_format(values.dtype) is None:
                continue
            theirs = _word(raw[name][own.name]) if own.name in raw[name] else PLAIN
            words = next(
                (form for form, row in FORMATS.items() if coding.form in (row.signed, row.non_negative)), PLAIN
            )
            of.update(_encoded(own.name, coding, as_float(np.ascontiguousarray(values))))
            if own.name in raw[name] and theirs != words:
                said[f"{name}/{own.name}"] = f"{theirs} -> {words}"
    return said


def _encoded(name: str, coding: Coding, values: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return a state in its format, and its scales if there are some."""
    if coding.form is None:
        return {name: values}
    arrays = {name: np.empty_like(coding.codes)}
    if coding.beside is not None:
        arrays[name + SCALES] = np.empty_like(coding.beside)
    encode_nearest(coding.form, arrays[name], arrays.get(name + SCALES), values)
    return arrays
