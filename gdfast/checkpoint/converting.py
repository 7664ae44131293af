"""Conversion of a checkpoint's arrays to the formats of an optimizer: float32 into fewer bits and back.

What is converted is a value that a step computes with, such as a state or a parameter with its master; in the file and
in the optimizer it may lie in one array or in two. It passes through float32, a piece of whole blocks at a time.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gdfast.arrays.buffers import plain
from gdfast.arrays.formats import BLOCK, FORMATS, MASTER, PLAIN, REMAINDER, SCALES, blocks, short_format
from gdfast.checkpoint.contents import PARAMS, STATE, as_stored, bytes_of, formats_of
from gdfast.checkpoint.header import Stored
from gdfast.engine.coding import decoded, encode_nearest
from gdfast.engine.engines import Coding, Entry

_PIECE = 512 * BLOCK  # elements
_SHORT = {np.dtype("<u2"): "bfloat16", np.dtype("<f2"): "float16"}  # a parameter's dtype in the file -> its format


class Converted(NamedTuple):
    """What ``gdfast.load(..., convert=True)`` returns.

    Attributes
    ----------
    extra
        What was given to `save`.
    converted : dict of str
        What was converted: an array's name in the file -> such as ``"float32 -> 8bit"``.
    """

    extra: Any
    converted: dict[str, str]


class Source(NamedTuple):
    """Where a value lies in the file: its format's loops (None for float32), and the names of its arrays."""

    form: str | None
    codes: str
    beside: str | None


@dataclass(frozen=True)
class Conversion:
    """A value that lies in one format in the file and in another one in the optimizer.

    Attributes
    ----------
    name : str
        Of its array in a checkpoint.
    theirs, own : str
        The formats, in words.
    problem : str
        What to say if it must not be converted.
    source : Source
    targets : tuple of Coding
        The optimizer's arrays that receive it.
    names : frozenset of str
        All arrays that it is made of, in the file and in the optimizer.
    """

    name: str
    theirs: str
    own: str
    problem: str
    source: Source
    targets: tuple[Coding, ...]
    names: frozenset[str]


def conversions(
    entries: Iterable[Entry],
    short_states: Mapping[str, bool],
    params: bool,
    stored: Mapping[str, Stored],
    manifest: Mapping[str, Any],
) -> list[Conversion]:
    """Return what can be converted; where anything else differs (a name, a shape), that is left to be found later.

    Parameters
    ----------
    entries : iterable of Entry
    short_states : mapping
        The rule's states that may be short -> whether they are never negative.
    params : bool
        Whether the file holds the parameters.
    stored, manifest
        What the file holds.
    """
    formats = manifest.get("formats")
    known = formats if isinstance(formats, dict) else {}
    found = []
    for entry in entries:
        if params:
            found.append(_of_param(entry, stored))
        for name, coding in zip(entry.states, entry.state_codings(), strict=True):
            if name.name in short_states:
                path = f"{STATE}/{entry.param.name}/{name.name}"
                found.append(_of_state(path, coding, short_states[name.name], stored, known))
    return [conversion for conversion in found if conversion is not None]


def other_formats(
    entries: Iterable[Entry], stored: Mapping[str, Stored], manifest: Mapping[str, Any], converted: Collection[str]
) -> Iterator[str]:
    """Yield the arrays whose bytes mean something else in the file than in the optimizer, unless they are converted."""
    formats = manifest.get("formats")
    known = formats if isinstance(formats, dict) else {}
    for name, form in formats_of(entries).items():
        if name in stored and name not in converted and known.get(name, form) != form:
            yield f"{name} must be in the format {form}; the file has it in {known[name]!r}"


def pieces(found: Iterable[Conversion], stored: Mapping[str, Stored]) -> Iterator[tuple[int, memoryview]]:
    """Yield places in the file and memory to be filled from there before the next is asked for; convert it then."""
    for conversion in found:
        form, codes, beside = conversion.source
        size = conversion.targets[0].codes.size
        for start in range(0, size, _PIECE):
            stop = min(start + _PIECE, size)
            read = [_piece(stored[name], name == beside, form, start, stop) for name in (codes, beside) if name]
            for begin, array in read:
                yield begin, bytes_of(array)
            arrays = [array for _, array in read]
            values = arrays[0] if form is None else decoded(form, arrays[0], arrays[1] if beside else None)
            for target in conversion.targets:
                _put(target, start, stop, values)


def _piece(array: Stored, beside: bool, form: str | None, start: int, stop: int) -> tuple[int, np.ndarray[Any, Any]]:
    """Return where a part of an array begins in the file, and memory for it."""
    if beside and form != "split":  # one scale a block
        start, stop = start // BLOCK, start // BLOCK + blocks(stop - start)
    return array.begin + start * array.dtype.itemsize, np.empty(stop - start, array.dtype)


def _put(target: Coding, start: int, stop: int, values: np.ndarray[Any, Any]) -> None:
    codes = target.codes.reshape(-1)[start:stop]
    if target.form is None:
        codes[...] = values
        return
    beside = None if target.beside is None else target.beside.reshape(-1)
    if beside is not None and target.form != "split":
        beside = beside[start // BLOCK : start // BLOCK + blocks(stop - start)]
    elif beside is not None:
        beside = beside[start:stop]
    encode_nearest(target.form, codes, beside, values)


def loops_of(form: str, non_negative: bool) -> str:
    """Return the name of the loops of a state's format."""
    return FORMATS[form].non_negative if non_negative else FORMATS[form].signed


def _of_state(
    name: str, coding: Coding, non_negative: bool, stored: Mapping[str, Stored], known: Mapping[str, Any]
) -> Conversion | None:
    theirs, array = stored.get(name), plain(coding.codes)
    if theirs is None or theirs.shape != array.shape:
        return None
    words = {PLAIN: np.dtype("<f4"), **{form: row.dtype.newbyteorder("<") for form, row in FORMATS.items()}}
    own = next((form for form in words if form != PLAIN and loops_of(form, non_negative) == coding.form), PLAIN)
    word = next((form for form, dtype in words.items() if dtype == theirs.dtype), None)
    if word in (None, own) or array.dtype != words[own]:
        return None
    assert word is not None
    form = None if word == PLAIN else loops_of(word, non_negative)
    if known.get(name) != form:
        return None
    scaled = form is not None and FORMATS[word].scaled
    scales = stored.get(name + SCALES)
    if scaled and (scales is None or scales.dtype != np.uint8 or scales.shape != (blocks(array.size),)):
        return None
    problem = _problem(name, array.dtype, own, theirs.dtype, word)
    source = Source(form, name, name + SCALES if scaled else None)
    return Conversion(name, word, own, problem, source, (coding,), frozenset((name, name + SCALES)))


def _of_param(entry: Entry, stored: Mapping[str, Stored]) -> Conversion | None:
    array, name = plain(entry.param.array), f"{PARAMS}/{entry.param.name}"
    master, remainder = (f"{STATE}/{entry.param.name}/{kind}" for kind in (MASTER, REMAINDER))
    theirs = stored.get(name)
    if theirs is None or theirs.shape != array.shape or array.dtype == np.float64:
        return None
    form = _SHORT.get(theirs.dtype)
    if form is None and theirs.dtype != np.float32:
        return None
    source, word = Source(form, name, None), form or PLAIN
    for beside, dtype in ((master, np.dtype("<f4")), (remainder, np.dtype("<i2"))):
        if beside in stored:
            if (stored[beside].dtype, stored[beside].shape) != (dtype, array.shape) or source.beside or form is None:
                return None
            source = Source(None, master, None) if beside == master else Source("split", name, remainder)
            word += f" with a {beside.rpartition('/')[2]}"
    own = short_format(array.dtype) or PLAIN
    own += "".join(f" with a {s.name}" for s in entry.reduced_states if s.name in (MASTER, REMAINDER))
    if own == word:
        return None
    copy = (entry.copy_coding(),) if entry.copy_format and entry.copy is None else ()
    problem = _problem(name, as_stored(array).dtype, own, theirs.dtype, word)
    targets = (entry.param_coding(), *copy)
    return Conversion(name, word, own, problem, source, targets, frozenset((name, master, remainder)))


def _problem(name: str, own_dtype: np.dtype[Any], own: str, dtype: np.dtype[Any], theirs: str) -> str:
    must, got = (
        f"{kind}" if kind == word else f"{kind} ({word})" for kind, word in ((own_dtype, own), (dtype, theirs))
    )
    return f"{name} must have dtype {must}; got {got}. It can be converted: convert=True"
