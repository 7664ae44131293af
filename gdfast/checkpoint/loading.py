"""Reading a checkpoint: every byte is checked before anything is changed.

The file is read twice: first through a small buffer, to compare the checksums; then directly into the optimizer's
arrays. So the arrays are never in memory twice. (Those of `extra` are new arrays, which `load` returns.)
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from io import FileIO
from itertools import chain
from typing import Any, Literal, overload

import numpy as np

from gdfast.arrays.buffers import plain
from gdfast.checkpoint.contents import EXTRA, PARAMS, arrays_of, as_stored, bytes_of, rules_of, sums_of
from gdfast.checkpoint.converting import Conversion, Converted, conversions, other_formats, pieces
from gdfast.checkpoint.data import unpack
from gdfast.checkpoint.errors import CheckpointError, DamagedError, MismatchError
from gdfast.checkpoint.header import Stored, fill, read_header
from gdfast.checkpoint.lookahead import lookahead_arrays, unwrap
from gdfast.checkpoint.lookahead import read as read_lookahead
from gdfast.checkpoint.settings import from_data
from gdfast.engine.coding import write_copy
from gdfast.optimizers.lookahead import Lookahead
from gdfast.stepping import state_dict
from gdfast.stepping.accumulation import sum_like
from gdfast.stepping.base import Optimizer
from gdfast.stepping.sliced import Sliced

_CHUNK = 1 << 20  # bytes read at a time when checksums are compared


@overload
def load(path: str | os.PathLike[str], opt: Optimizer | Lookahead, *, convert: Literal[True]) -> Converted: ...
@overload
def load(path: str | os.PathLike[str], opt: Optimizer | Lookahead, *, convert: bool = ...) -> Any: ...
def load(path: str | os.PathLike[str], opt: Optimizer | Lookahead, *, convert: bool = False) -> Any:
    """Load what :func:`gdfast.save` wrote into the optimizer's own memory, and return the `extra`.

    The run resumes bit for bit, with any engine and number of threads. No code from the file is run.

    Parameters
    ----------
    path : str or path
        The file.
    opt : Optimizer or Lookahead
        Created like the one that was saved: the same class and rule, arrays of the same names, shapes and dtypes in the
        same groups, and with averages if that had them. Its hyperparameters become those of the file; only where a
        schedule was a function of your own, its function stays, because the file holds no functions.
    convert : bool
        Whether state and parameters that the file holds in another format than the optimizer (see `state_dtype` and
        `master`) are converted, through float32 and rounded to the nearest. The run then goes on, but with other bits.

    Returns
    -------
    extra
        What was given to `save`; tuples have become lists. With ``convert=True``, a named tuple of `extra` and
        `converted`, a dict from the name of an array in the file to such as ``"float32 -> 8bit"``.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    gdfast.CheckpointError
        If it is damaged (``gdfast.checkpoint.DamagedError``), of a newer format (``VersionError``), or does not fit
        this optimizer (``MismatchError``, naming every difference). It is a ValueError. The optimizer is left
        unchanged, unless the message says that the file changed while it was loaded.
    ValueError
        If an array of the optimizer was resized, or otherwise changed since it was bound.
    TypeError
        If `convert` is no bool, or True for an optimizer that is sharded over processes.
    RuntimeError
        Within ``opt.averaged()``, or if another thread is stepping this optimizer.

    See Also
    --------
    gdfast.save : Save an optimizer; with an example.
    """
    if not isinstance(convert, bool):
        raise TypeError(f"convert must be a bool; got {convert!r}")
    opt, lookahead = unwrap(opt)
    if isinstance(opt, Sliced):
        if convert:
            raise TypeError("convert must be False for an optimizer that is sharded over processes")
        return opt._load_slices(os.fsdecode(path))
    lookahead_turn = lookahead._stepping.mending() if lookahead else nullcontext()
    slow_turn = lookahead._slow._stepping.mending() if lookahead else nullcontext()
    with open(os.fsdecode(path), "rb", buffering=0) as file, lookahead_turn, slow_turn, opt._stepping.mending() as torn:
        opt._check_not_blocked(torn)
        before = stamp(file)
        stored, manifest = read_header(file)
        params = any(name.startswith(f"{PARAMS}/") for name in stored)
        own = _own(opt, lookahead, params, still=False)
        sums = sums_of(sum_like(entry.param) for entry in opt._layout.entries)
        try:
            found = _conversions(opt, params, stored, manifest, still=False)
            converted = {name for each in found for name in each.names}
            refused = [each.problem for each in found if not convert]
            refused += other_formats(opt._layout.entries, stored, manifest, converted)
            settings, adopt_lookahead = fitting(opt, lookahead, manifest, stored, own, sums, converted, refused)
            extra = read_extra(file, stored, manifest)
            for name, array in stored.items():
                if not is_extra(name):
                    verify(file, name, array)
        except CheckpointError as error:
            raise type(error)(f"{file.name} cannot be loaded: {error}") from None
        # Signals do not interrupt a separate thread: as in a step, Ctrl-C takes effect when the load is complete.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(
                _take_over, opt, lookahead, params, settings, adopt_lookahead, file, stored, manifest, before
            ).result()
    return Converted(extra, {each.name: f"{each.theirs} -> {each.own}" for each in found}) if convert else extra


def _conversions(
    opt: Optimizer, params: bool, stored: Mapping[str, Stored], manifest: Mapping[str, Any], still: bool
) -> list[Conversion]:
    """Return what can be converted; `still` as in `_own`."""
    entries = opt._check_unchanged() if still else opt._layout.entries
    return conversions(entries, opt.short_states, params, stored, manifest)


def _own(opt: Optimizer, lookahead: Lookahead | None, params: bool, still: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Return all arrays by their names in a checkpoint; `still`: as plain ones, checked to be as they were bound."""
    if still:
        return {
            **arrays_of(opt._check_unchanged(), params),
            **(lookahead_arrays(lookahead._slow._check_unchanged()) if lookahead else {}),
        }
    return {
        **arrays_of(opt._layout.entries, params),
        **(lookahead_arrays(lookahead._slow._layout.entries) if lookahead else {}),
    }


def fitting(
    opt: Optimizer,
    lookahead: Lookahead | None,
    manifest: Mapping[str, Any],
    stored: Mapping[str, Stored],
    own: Mapping[str, Any],
    sums: Mapping[str, Any],
    converted: Collection[str] = (),
    refused: Iterable[str] = (),
) -> tuple[state_dict.Settings, Callable[[], None]]:
    """Return the settings in the file, and a function that sets those of the Lookahead; raise if anything differs.

    Of the optimizer's arrays, and of those that the sums of micro-batches would have, only the forms are looked at,
    and of those in `converted` not even these. `refused` are the problems that are known already.
    """
    missing = [key for key in (*state_dict.KEYS, "lookahead", "extra") if key not in manifest]
    if missing:
        raise DamagedError(f"it lacks {', '.join(missing)}")
    description, problems = _description(opt, manifest)
    settings, more = state_dict.read(opt, description)
    adopt_lookahead, more_lookahead = read_lookahead(lookahead, manifest["lookahead"])
    problems += [*more, *more_lookahead, *refused]
    problems += _array_problems({**own, **(sums if settings.waiting else {})}, stored, converted)
    if problems:
        raise MismatchError(f"it does not fit this optimizer:\n{state_dict.listed(problems)}")
    return settings, adopt_lookahead


def _description(opt: Optimizer, manifest: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the file's description in the form of `state_dict`, with schedules as objects, and the problems so far."""
    own, found = state_dict.described(opt), {key: manifest[key] for key in state_dict.KEYS}
    problems: list[str] = []

    def decoded(data: Any, own: Any, path: str) -> Any:
        try:
            return from_data(data, own, path)
        except MismatchError as error:
            problems.append(str(error))
            return own

    for key in ("guard", "averaging"):
        if isinstance(found[key], dict):
            found[key] = {name: decoded(data, own[key].get(name), name) for name, data in found[key].items()}
    found["memory"] = unpack(found["memory"], {})
    if isinstance(found["param_groups"], list):
        groups = zip(found["param_groups"], own["param_groups"], rules_of(opt), strict=False)
        found["param_groups"] = [*found["param_groups"]]
        for i, (group, mine, rules) in enumerate(groups):
            if not isinstance(group, dict):
                continue
            path = f"param_groups[{i}]"
            if group.get("rules") != rules:
                problems.append(f"{path} must use {', '.join(rules) or 'no rule'}; got {group.get('rules')!r}")
            found["param_groups"][i] = {
                name: data if name == "params" else decoded(data, mine.get(name), f"{path}: {name}")
                for name, data in group.items()
                if name != "rules"
            }
    return found, problems


def _array_problems(own: Mapping[str, Any], stored: Mapping[str, Stored], converted: Collection[str]) -> Iterator[str]:
    ours = {name: array for name, array in stored.items() if not is_extra(name) and name not in converted}
    yield from state_dict.key_problems("the file", {name: own[name] for name in own if name not in converted}, ours)
    for name, array in own.items():
        if name in ours:
            yield from state_dict.form_problems(name, as_stored(array), ours[name])
        if not array.flags.writeable:
            yield f"{name} must be writeable; the optimizer's array was made read-only"


def read_extra(file: FileIO, stored: Mapping[str, Stored], manifest: Mapping[str, Any]) -> Any:
    """Return the user's extra data, with its arrays checked."""
    arrays = {}
    for name, array in stored.items():
        if is_extra(name):
            try:
                arrays[name] = np.empty(array.shape, array.dtype)
            except ValueError as error:  # more axes than NumPy has, or sizes of empty arrays that it refuses
                raise DamagedError(f"{name} cannot be created: {error}") from None
            verify(file, name, array, bytes_of(arrays[name]))
    return unpack(manifest["extra"], arrays)


def is_extra(name: str) -> bool:
    """Whether an array belongs to the user's extra data."""
    return name == EXTRA or name.startswith(f"{EXTRA}/")


def verify(file: FileIO, name: str, array: Stored, memory: memoryview | None = None) -> None:
    """Check an array's checksum; its bytes are stored in `memory`, if given."""
    buffer = memoryview(bytearray(min(array.size, _CHUNK)))
    sha256 = hashlib.sha256()
    file.seek(array.begin)
    for start in range(0, array.size, _CHUNK):
        size = min(_CHUNK, array.size - start)
        part = buffer[:size] if memory is None else memory[start : start + size]
        fill(file, part)
        sha256.update(part)
    if sha256.hexdigest() != array.sha256:
        raise DamagedError(f"the bytes of {name} are altered: their checksum differs")


def _take_over(
    opt: Optimizer,
    lookahead: Lookahead | None,
    params: bool,
    settings: state_dict.Settings,
    adopt_lookahead: Callable[[], None],
    file: FileIO,
    stored: Mapping[str, Stored],
    manifest: Mapping[str, Any],
    before: tuple[int, ...],
) -> None:
    """Read checked arrays into the optimizer; `gdfast.save` never writes into an existing file, but others may."""
    own = _own(opt, lookahead, params, still=True)
    own |= sums_of(replace(named, array=total) for named, total in settings.make_sums(opt))
    found = _conversions(opt, params, stored, manifest, still=True)
    converted = {name for each in found for name in each.names}
    places = [(stored[name].begin, bytes_of(array)) for name, array in own.items() if name not in converted]
    read_into(file, chain(places, pieces(found, stored)), before)
    for entry in opt._layout.entries:
        if params and entry.copy is not None:
            write_copy(entry.copy_format, plain(entry.copy.array), plain(entry.param.array))
    settings.adopt(opt)
    adopt_lookahead()


def read_into(file: FileIO, places: Iterable[tuple[int, memoryview]], before: tuple[int, ...]) -> None:
    """Read checked bytes into an optimizer's arrays; `before` is the file's `stamp` before they were checked."""
    try:
        for begin, memory in places:
            file.seek(begin)
            fill(file, memory)
        if stamp(file) != before:
            raise DamagedError("it was changed")
    except (OSError, DamagedError) as error:
        raise DamagedError(
            f"{file.name} failed or changed while it was loaded, after its checks ({error}): the optimizer now holds "
            "only parts of it. Load an intact checkpoint before going on."
        ) from error


def stamp(file: FileIO) -> tuple[int, ...]:
    """Return what changes when somebody writes to the file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
