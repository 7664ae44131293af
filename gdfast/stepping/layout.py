"""An optimizer's arrays in groups, with names and state, and the flattening of gradients into the same order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import fresh, unowned
from gdfast.arrays.formats import (
    FORMATS,
    MASTER,
    NEAREST,
    REMAINDER,
    SCALES,
    blocks,
    computing_dtype,
    short_format,
)
from gdfast.arrays.rows import is_row_sparse
from gdfast.arrays.storage import Storage
from gdfast.arrays.structure import Branch, Leaf, NamedArray, Skeleton, flatten, is_array, lay_out, rebuild
from gdfast.engine.coding import encode_all
from gdfast.engine.engines import Entry
from gdfast.engine.measured import by_unit
from gdfast.stepping.averaging import STATE
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.rule import Rule
from gdfast.stepping.short_state import ShortState

_CHUNK = 1 << 16  # elements filled at a time, so that no large array is copied


class Layout:
    """All groups of an optimizer. Immutable: `extended` returns a new one.

    Attributes
    ----------
    entries : tuple of Entry
        Every array with its state, in reading order.
    groups : tuple of ParamGroup
    grouped : bool
        Whether gradients are given as a list with one item per group.
    lone : bool
        Whether the parameters are a single array, not in a container.
    form : str or tuple
        "array" for that; "sequence" for a list or tuple of arrays; the keys of a dict of arrays; otherwise "nested".
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        groups: Iterable[ParamGroup] = (),
        skeletons: Iterable[Skeleton] = (),
        grouped: bool = False,
    ) -> None:
        self.entries, self.groups, self.skeletons = tuple(entries), tuple(groups), tuple(skeletons)
        self.grouped = grouped
        only = None if grouped or len(self.skeletons) != 1 else self.skeletons[0]
        self.lone = isinstance(only, Leaf)
        self.form: str | tuple[Any, ...] = "array" if self.lone else "nested"
        if isinstance(only, Branch) and only.width >= 0:
            self.form = tuple(only.children) if only.is_mapping else "sequence"

    def extended(
        self,
        owner: type[Rule],
        new: Sequence[Mapping[str, Any]],
        defaults: Mapping[str, Any],
        *,
        grouped: bool,
        start_step: int,
        averaged: bool,
        storage: Storage,
        short: ShortState,
    ) -> "Layout":
        """Return a layout with new groups, every array and hyperparameter of them checked.

        Raises
        ------
        TypeError, ValueError
            If one is invalid.
        """
        entries, groups, skeletons = list(self.entries), list(self.groups), list(self.skeletons)
        for index, group in enumerate(new, start=len(groups)):
            paths = (f'params[{index}]["params"]', f"grads[{index}]") if grouped else ("params", "grads")
            found, skeleton = flatten(group["params"], *paths, first=len(entries))
            buffers.check_params(found, [entry.param for entry in entries], short=True)
            _check_names([*(entry.param for entry in entries), *found])
            own = {name: value for name, value in group.items() if name not in ("params", "state_dtype")}
            values = ParamGroup(owner, {**defaults, **own}, found, start_step)
            asked = group.get("state_dtype")
            for named in found:
                loops = short.loops_of(owner, owner.rule_for(values, named), named, asked)
                entry = _make_entry(owner, named, values, index, averaged, storage, loops)
                if form := short_format(buffers.plain(named.array).dtype):
                    master = short.master_of(owner, named.path, form)
                    entry = _with_master(entry, master, short.param_loop(form, master), storage)
                entries.append(entry)
            groups.append(values)
            skeletons.append(skeleton)
        if any(map(by_unit, groups)) and any(entry.is_coded for entry in entries):
            raise ValueError(
                "centralize and clip_adaptive cannot go with parameters or state in fewer bits than float32"
            )
        return Layout(entries, groups, skeletons, grouped)

    def with_copies(self, copies: Any, layerwise: bool) -> "Layout":
        """Return a layout whose float32 parameters are also written to other arrays, of 16 bits, checked.

        `layerwise` is whether the rule measures whole arrays, which then cannot have copies.

        Raises
        ------
        TypeError, ValueError
            If one is not as it must be.
        """
        if layerwise or any(map(by_unit, self.groups)):
            raise ValueError(
                "copies cannot go with centralize, clip_adaptive or an optimizer that measures whole arrays"
            )
        row = [
            NamedArray(array, e.param.name, e.param.grad_path.replace("grads", "copies", 1))
            for array, e in zip(self.flatten(copies), self.entries, strict=True)
        ]
        for named, entry in zip(row, self.entries, strict=True):
            if not is_array(named.array):
                raise TypeError(f"{named.path} must be a NumPy array; got {type(named.array).__name__}")
            copy, param = buffers.plain(named.array), buffers.plain(entry.param.array)
            if short_format(copy.dtype) is None or param.dtype != np.float32:
                raise TypeError(f"{named.path} must be bfloat16 or float16, of a float32 array; got {copy.dtype}")
            if copy.shape != param.shape:
                raise ValueError(
                    f"{named.path} must have the shape of {entry.param.path}, {param.shape}; got {copy.shape}"
                )
        buffers.check_params(row, [entry.param for entry in self.entries], short=True)
        entries = [
            replace(entry, copy=named, copy_format=NEAREST[short_format(buffers.plain(named.array).dtype) or ""])
            for named, entry in zip(row, self.entries, strict=True)
        ]
        return Layout(entries, self.groups, self.skeletons, self.grouped)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or copy, with private state arrays."""
        self.__dict__.update(state)
        self.entries = tuple(_with_own_state(entry) for entry in self.entries)

    def flatten(self, grads: Any) -> tuple[Any, ...]:
        """Flatten gradients into the order of the entries; with groups, one dict of all names is accepted too.

        Raises
        ------
        TypeError, ValueError
            If their structure is not that of the parameters.
        """
        if not self.grouped:
            return tuple(lay_out(grads, self.skeletons[0], "grads"))
        if isinstance(grads, Mapping):
            return self._flatten_by_name(grads)
        if not isinstance(grads, list | tuple) or len(grads) != len(self.skeletons):
            raise ValueError(
                f"grads must be a list with the gradients of each of the {len(self.skeletons)} groups; got "
                f"{type(grads).__name__}{f' of {len(grads)}' if isinstance(grads, list | tuple) else ''}"
            )
        return tuple(
            array
            for i, (part, skeleton) in enumerate(zip(grads, self.skeletons, strict=True))
            for array in lay_out(part, skeleton, f"grads[{i}]")
        )

    def _flatten_by_name(self, grads: Mapping[Any, Any]) -> tuple[Any, ...]:
        """Flatten one structure of all groups' gradients, by its names."""
        leaves, _ = flatten(grads, "grads", "grads", 0, lambda node: is_array(node) or is_row_sparse(node))
        found = {named.name: named.array for named in leaves}
        names = [entry.param.name for entry in self.entries]
        missing = [name for name in names if name not in found]
        extra = [name for name in found if name not in names]
        if missing or extra:
            raise ValueError(
                f"grads must have the names of the parameters; missing: {', '.join(missing) or 'none'}, "
                f"unexpected: {', '.join(extra) or 'none'}"
            )
        return tuple(found[name] for name in names)

    def tree(self, values: Sequence[Any]) -> Any:
        """Return flat values in the structure of the parameters; the inverse of `flatten`."""
        trees = [rebuild(skeleton, values) for skeleton in self.skeletons]
        return trees if self.grouped else trees[0]

    def state(self) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """Return new views of the state arrays: parameter name -> state name -> array."""
        return {e.param.name: {named.name: fresh(named.array) for named in e.all_states} for e in self.entries}

    def named_grads(self, grads: Sequence[Any]) -> list[NamedArray]:
        """Return gradients with their paths."""
        paths = (entry.param.grad_path for entry in self.entries)
        return [NamedArray(grad, path, path) for grad, path in zip(grads, paths, strict=True)]


def is_groups(params: Any) -> bool:
    """Whether parameters are given as a list of groups."""
    return (
        isinstance(params, list | tuple)
        and len(params) > 0
        and all(isinstance(group, Mapping) and "params" in group for group in params)
    )


def _make_entry(
    owner: type[Rule],
    param: NamedArray,
    values: Mapping[str, Any],
    group: int,
    averaged: bool,
    storage: Storage,
    loops: tuple[str, ...],
) -> Entry:
    """Return the entry of an array, with newly made and initialised state."""
    rule = owner.rule_for(values, param)
    like = buffers.plain(param.array)
    shape, dtype = like.shape, computing_dtype(like.dtype)
    states: list[NamedArray] = []
    reduced: list[NamedArray] = []
    names = (*owner.rules[rule], *([STATE] if averaged else []))  # the average last, where the engines look for it
    formats = (*loops, "") if loops and averaged else loops
    for name, loop in zip(names, formats or ("",) * len(names), strict=True):
        first = None if name == STATE else owner.initial(name, values)
        path = f'opt.state["{param.name}"]["{name}"]'
        if loop:
            assert first is not None  # no short state begins as a copy of the parameter
            made = short_state(storage, param.name, name, shape, loop, first)
            states.append(NamedArray(made[0], name, path))
            reduced += [NamedArray(scales, name + SCALES, f'{path[:-2]}{SCALES}"]') for scales in made[1:]]
            continue
        own_shape = owner.reduced_shape(name, shape)
        beside = like if own_shape is None else None
        array = storage.zeros(param.name, name, shape if own_shape is None else own_shape, dtype, beside, len(states))
        if first != 0.0:
            _fill(array, like if first is None else np.asarray(first, dtype))
        (states if own_shape is None else reduced).append(NamedArray(array, name, path))
    return Entry(param, tuple(states), rule, group, tuple(reduced), formats)


def _with_master(entry: Entry, master: str | None, loop: str, storage: Storage) -> Entry:
    """Return an entry whose parameter has 16 bits, with what makes it a float32."""
    param = buffers.plain(entry.param.array)
    name, dtype = (REMAINDER, np.dtype(np.int16)) if master == "split" else (MASTER, np.dtype(np.float32))
    if master is None:
        return replace(entry, param_format=loop)
    array = storage.zeros(entry.param.name, name, param.shape, dtype)
    if master == "float32":
        array[...] = param
    own = NamedArray(array, name, f'opt.state["{entry.param.name}"]["{name}"]')
    entry = replace(entry, reduced_states=(*entry.reduced_states, own))
    return replace(entry, param_format=loop) if master == "split" else replace(entry, copy_format=loop)


def short_state(
    storage: Storage, name: str, state: str, shape: tuple[int, ...], loop: str, first: float
) -> list[np.ndarray[Any, Any]]:
    """Return a state in fewer bits that holds one value, and the scales beside it if it has some."""
    form = next(form for form in FORMATS.values() if loop in (form.signed, form.non_negative))
    codes = storage.zeros(name, state, shape, form.dtype)
    arrays = [codes]
    if form.scaled:
        arrays.append(storage.zeros(name, state + SCALES, (blocks(codes.size),), np.dtype(np.uint8)))
    if first != 0.0:
        beside = arrays[1] if form.scaled else None
        encode_all(loop, codes.reshape(-1), beside, np.broadcast_to(np.float32(first), codes.size))
    return arrays


def _with_own_state(entry: Entry) -> Entry:
    """Return an entry whose state arrays do not own their memory, so that nobody can resize them."""
    states, reduced = (
        tuple(replace(named, array=unowned(named.array)) for named in kind)
        for kind in (entry.states, entry.reduced_states)
    )
    return replace(entry, states=states, reduced_states=reduced)


def _fill(state: np.ndarray[Any, Any], first: np.ndarray[Any, Any]) -> None:
    """Fill a state with its initial values, with subnormal numbers flushed to zero as in a step."""
    flat, values = state.reshape(-1), np.broadcast_to(first, state.shape).reshape(-1)
    tiny = np.finfo(state.dtype).smallest_normal
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        part[...] = values[start : start + _CHUNK]
        part[(np.abs(part) < tiny) & (part != 0)] = 0


def _check_names(params: list[NamedArray]) -> None:
    paths: dict[str, str] = {}
    for named in params:
        if named.name in paths:
            raise ValueError(f"{paths[named.name]} and {named.path} must not both be named {named.name!r}")
        paths[named.name] = named.path
