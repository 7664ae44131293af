"""State as a plain dict: copied both ways, loaded all or nothing, with every mismatch named.

The keys are part of the file format and older than some names in the code: `memory` holds `carried_scalars`, `born` is
a group's `start_step`.
"""

import copy
import numbers
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from gdfast.arrays.buffers import plain
from gdfast.arrays.structure import NamedArray, is_array
from gdfast.stepping.accumulation import KINDS, sum_like
from gdfast.stepping.averaging import Averaging
from gdfast.stepping.guard import Guard
from gdfast.stepping.step import Stepping

#: the keys of what `described` returns
KEYS = (
    "optimizer",
    "step_count",
    "skipped_steps",
    "seed",
    "guard",
    "averaging",
    "accumulation",
    "memory",
    "param_groups",
)


def described(opt: Stepping) -> dict[str, Any]:
    """Return the state of an optimizer without its arrays; nothing is copied."""
    return {
        "optimizer": type(opt).__name__,
        "step_count": opt.step_count,
        "skipped_steps": opt.skipped_steps,
        "seed": int(opt._short.seed),
        "guard": opt.guard.settings(),
        "averaging": opt.averaging.settings(),
        "accumulation": {"kind": opt.accumulation.kind, "count": opt.accumulation.count},
        "memory": opt._carried,
        "param_groups": [
            {"params": [named.name for named in group.params], "born": group.start_step, **group.values_now}
            for group in opt._layout.groups
        ],
    }


def dump(opt: Stepping) -> dict[str, Any]:
    """Return the state of an optimizer as an independent dict."""
    opt._check_unchanged(written=False)
    state = {name: {key: array.copy() for key, array in arrays.items()} for name, arrays in opt._layout.state().items()}
    sums = {named.name: named.array.copy() for named in opt.accumulation.waiting()}
    return {**copy.deepcopy(described(opt)), "state": state, "sums": sums}


def load(opt: Stepping, state_dict: Mapping[str, Any]) -> None:
    """Check a state against an optimizer, then load it; nothing is changed unless all of it is valid."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict must be a dict; got {type(state_dict).__name__}")
    missing = [key for key in (*KEYS, "state", "sums") if key not in state_dict]
    if missing:
        raise ValueError(f"state_dict lacks {', '.join(missing)}")
    settings, problems = read(opt, copy.deepcopy({key: state_dict[key] for key in KEYS}))
    state, sums = _laid_out(state_dict["state"]), _laid_out(state_dict["sums"])
    problems += [*_state_problems(opt, state), *_sums_problems(opt, settings, sums)]
    if problems:
        raise ValueError("state_dict does not fit this optimizer:\n" + listed(problems))
    # The last of the user's code has run: from here on nothing can fail.
    for entry in opt._check_unchanged():
        for named in entry.all_states:
            np.copyto(named.array, state[entry.param.name][named.name])
    for named, total in settings.make_sums(opt):
        np.copyto(total, sums[named.name])
    settings.adopt(opt)


def _laid_out(given: Any) -> Any:
    """Return nested mappings as dicts, with plain arrays; anything else is unchanged."""
    if isinstance(given, Mapping):
        return {key: _laid_out(value) for key, value in given.items()}
    return plain(given) if is_array(given) and not issubclass(type(given), np.ma.MaskedArray) else given


def listed(problems: Iterable[str]) -> str:
    """Return one line per problem."""
    return "\n".join(f"- {problem}" for problem in problems)


@dataclass(eq=False, repr=False)
class Settings:
    """The settings that `read` found in a description."""

    given: Mapping[str, Any]
    groups: Sequence[tuple[int, dict[str, Any]]]

    @property
    def waiting(self) -> bool:
        """Whether there are accumulated micro-batches."""
        accumulation = self.given["accumulation"]
        return isinstance(accumulation, Mapping) and accumulation.get("count") not in (0, None)

    def make_sums(self, opt: Stepping) -> Sequence[tuple[NamedArray, Any]]:
        """Allocate the optimizer's sums of micro-batches if there are any; return each with its plain array."""
        if not self.waiting:
            return ()
        opt._allocate_sums()
        bound = opt.accumulation.bound()
        bound.check()
        return list(zip(opt.accumulation.sums, bound.views, strict=True))

    def adopt(self, opt: Stepping) -> None:
        """Set all of it; only if `read` found no problem."""
        given = self.given
        for group, (born, values) in zip(opt._layout.groups, self.groups, strict=True):
            group.start_step = born
            group.update_checked(_adopted(group, values))
        opt._carried = [{name: float(memory[name]) for name in opt.carried_scalars} for memory in given["memory"]]
        opt.step_count = operator.index(given["step_count"])
        opt.skipped_steps = operator.index(given["skipped_steps"])
        opt._short = replace(opt._short, seed=operator.index(given["seed"]))
        opt.guard = Guard(**_adopted(opt.guard.settings(), given["guard"]))
        opt.accumulation.kind = given["accumulation"]["kind"]
        opt.accumulation.count = operator.index(given["accumulation"]["count"])
        opt.averaging = Averaging(**_adopted(opt.averaging.settings(), given["averaging"]))
        opt.note_options()


def read(opt: Stepping, given: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Return the settings in a description that has all `KEYS`, and all problems; nothing is copied."""
    groups, group_problems = _read_groups(opt, given["param_groups"], given["step_count"])
    problems = [*_header_problems(opt, given), *group_problems, *_memory_problems(opt, given["memory"])]
    problems += _accumulation_problems(given["accumulation"])
    return Settings(given, groups), problems


def _adopted(own: Mapping[str, Any], loaded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _adopt(own[name], value) for name, value in loaded.items()}


def _adopt(own: Any, loaded: Any) -> Any:
    """Return the loaded hyperparameter. A stateful schedule is loaded in place, because the user holds that object."""
    mine = list(_stateful(own))
    if not mine or repr(own) != repr(loaded):
        return loaded
    for schedule, theirs in zip(mine, _stateful(loaded), strict=True):
        schedule.load_state_dict(theirs.state_dict())
    return own


def _stateful(value: Any) -> Iterator[Any]:
    """Yield the stateful schedules in a hyperparameter, including those nested in other schedules."""
    if hasattr(value, "load_state_dict"):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _stateful(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _stateful(getattr(value, field.name))


def _header_problems(opt: Stepping, state_dict: Mapping[str, Any]) -> Iterator[str]:
    if state_dict["optimizer"] != type(opt).__name__:
        yield f"optimizer must be {type(opt).__name__}; got {state_dict['optimizer']!r}"
    for key in ("step_count", "skipped_steps"):
        if not _is_count(state_dict[key]):
            yield f"{key} must be an int in [0, 2**63); got {state_dict[key]!r}"
    if not _is_count(state_dict["seed"]) or state_dict["seed"] >= 2**32:
        yield f"seed must be an int in [0, 2**32); got {state_dict['seed']!r}"
    for key, make in (("guard", Guard), ("averaging", Averaging)):
        try:
            made = make(**state_dict[key])
        except (TypeError, ValueError) as error:
            yield f"{key}: {error}"
        else:
            if isinstance(made, Averaging) and made.on != opt.averaging.on:
                yield f"averaging must be {'on' if opt.averaging.on else 'off'}; got {state_dict[key]!r}"


def _state_problems(opt: Stepping, state: Any) -> Iterator[str]:
    if not isinstance(state, Mapping):
        yield f"state must be a dict; got {type(state).__name__}"
        return
    yield from key_problems("state", opt._layout.state(), state)
    for name, arrays in opt._layout.state().items():
        if name not in state:
            continue
        if not isinstance(state[name], Mapping):
            yield f'state["{name}"] must be a dict; got {type(state[name]).__name__}'
            continue
        yield from key_problems(f'state["{name}"]', arrays, state[name])
        for key in arrays.keys() & state[name].keys():
            yield from _array_problems(f'state["{name}"]["{key}"]', arrays[key], state[name][key])


def _memory_problems(opt: Stepping, memories: Any) -> Iterator[str]:
    own = opt._carried
    if not isinstance(memories, list | tuple) or len(memories) != len(own):
        yield f"memory must be a list of {len(own)} dicts; got {memories!r}"
        return
    for i, memory in enumerate(memories):
        if not isinstance(memory, Mapping) or memory.keys() != opt.carried_scalars.keys():
            yield f"memory[{i}] must be a dict with {', '.join(opt.carried_scalars)}; got {memory!r}"
        elif not all(map(_is_float, memory.values())):
            yield f"memory[{i}] must hold numbers; got {memory!r}"


def _accumulation_problems(theirs: Any) -> Iterator[str]:
    if not isinstance(theirs, Mapping) or theirs.keys() != {"kind", "count"}:
        yield f"accumulation must be a dict with kind, count; got {theirs!r}"
        return
    if theirs["kind"] not in KINDS:
        yield f"accumulation must be one of {', '.join(map(repr, KINDS))}; got {theirs['kind']!r}"
    if not _is_count(theirs["count"]):
        yield f"accumulation must have a count; got {theirs['count']!r}"


def _sums_problems(opt: Stepping, settings: Settings, sums: Any) -> Iterator[str]:
    if not isinstance(sums, Mapping):
        yield f"sums must be a dict; got {type(sums).__name__}"
        return
    own = {entry.param.name: sum_like(entry.param).array for entry in opt._layout.entries} if settings.waiting else {}
    yield from key_problems("sums", own, sums)
    for name in own.keys() & sums.keys():
        yield from _array_problems(f'sums["{name}"]', own[name], sums[name])


def key_problems(path: str, own: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the missing and the unexpected keys."""
    for key in own:
        if key not in theirs:
            yield f'{path} lacks "{key}"'
    for key in theirs:
        if key not in own:
            yield f'{path} has "{key}", which this optimizer does not'


def _array_problems(path: str, own: Any, theirs: Any) -> Iterator[str]:
    if type(theirs) is not np.ndarray:
        yield f"{path} must be a NumPy array; got {type(theirs).__name__}"
    else:
        yield from form_problems(path, own, theirs)


def form_problems(path: str, own: Any, theirs: Any) -> Iterator[str]:
    """Yield how two arrays, or their descriptions, differ in dtype or shape."""
    if theirs.dtype != own.dtype:
        yield f"{path} must have dtype {own.dtype}; got {theirs.dtype}"
    elif theirs.shape != own.shape:
        yield f"{path} must have shape {own.shape}; got {theirs.shape}"


def _read_groups(opt: Stepping, groups: Any, step_count: Any) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """Return the settings of each group, and all problems."""
    settings: list[tuple[int, dict[str, Any]]] = []
    own = opt._layout.groups
    if not isinstance(groups, list | tuple) or len(groups) != len(own):
        got = len(groups) if isinstance(groups, list | tuple) else type(groups).__name__
        return settings, [f"param_groups must be a list of {len(own)}; got {got}"]
    problems = []
    for i, (group, theirs) in enumerate(zip(own, groups, strict=True)):
        path = f"param_groups[{i}]"
        names = [named.name for named in group.params]
        if not isinstance(theirs, Mapping):
            problems.append(f"{path} must be a dict; got {type(theirs).__name__}")
            continue
        held = theirs.get("params")
        if not isinstance(held, list | tuple) or list(held) != names:
            problems.append(f"{path} must hold the arrays {names}; got {held!r}")
        born: Any = theirs.get("born")
        if not _is_count(born) or (_is_count(step_count) and born > step_count):
            problems.append(f"{path} must have a count born, at most step_count; got {born!r}")
        values = {name: value for name, value in theirs.items() if name not in ("params", "born")}
        lacking = [name for name in group.values_now if name not in values]
        if lacking:
            problems.append(f"{path} lacks {', '.join(lacking)}")
        try:
            settings.append((born, group.checked(values)))
        except (TypeError, ValueError) as error:
            problems.append(f"{path}: {error}")
    return settings, problems


def _is_count(value: Any) -> bool:
    """Whether a value is a count, below 2**63: no arithmetic on it can then be too large for a float."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(0 <= value < 2**63)


def _is_float(value: Any) -> bool:
    try:
        return isinstance(value, numbers.Real) and isinstance(float(value), float)
    except OverflowError:
        return False
