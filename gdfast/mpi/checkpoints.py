"""One file for all ranks: byte for byte the file that one process would write, and read by any number of ranks.

Each rank writes its slices where they belong in the file, and reads them there; nothing is gathered in memory. The
checksums, which are those of whole arrays, are made from the file: each array by one rank.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from math import prod
from typing import Any

import numpy as np

from gdfast.arrays.formats import BLOCK, MASTER, REMAINDER, SCALES, blocks, computing_dtype
from gdfast.arrays.structure import NamedArray
from gdfast.checkpoint.contents import EXTRA, KEY, PARAMS, STATE, SUMS, bytes_of, formats_of
from gdfast.checkpoint.converting import other_formats
from gdfast.checkpoint.data import pack
from gdfast.checkpoint.errors import CheckpointError
from gdfast.checkpoint.files import replacing
from gdfast.checkpoint.header import Stored, fill, read_header
from gdfast.checkpoint.loading import fitting, is_extra, read_extra, read_into, stamp, verify
from gdfast.checkpoint.saving import about, bfloat16_state, check_header, check_names, code_of, manifest, metadata
from gdfast.mpi.spread import Spread
from gdfast.stepping import state_dict
from gdfast.stepping.base import Optimizer

Array = np.ndarray[Any, Any]
_CHUNK = 1 << 20
_UNKNOWN = "0" * 64  # as long as a checksum
#: in which order the safetensors package writes arrays: by their dtypes, then by name
_ORDER = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL")


@dataclass(frozen=True)
class Own:
    """An array of the file, and what of it this rank holds.

    Attributes
    ----------
    dtype, shape
        Of the whole array.
    array : array
        What this rank holds.
    start : int
        Where that begins in the flat whole array.
    here : bool
        Whether this rank has it to write, or has room for it to be read.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    array: Array
    start: int = 0
    here: bool = True

    @property
    def flags(self) -> Any:
        """What NumPy says of the array's memory."""
        return self.array.flags

    @property
    def n_bytes(self) -> int:
        """The size of the whole array in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def view(self, dtype: Any) -> "Own":
        """Return the same as another dtype of this size, as arrays do."""
        return replace(self, dtype=np.dtype(dtype))


def save(opt: Optimizer, spread: Spread, path: str, params: bool, extra: Any) -> None:
    """Write the file together; all ranks call this, and have told one another of errors before it ends."""
    team = spread.team
    found: dict[str, Array] = {}
    packed = pack(extra, EXTRA, found)
    opt._check_unchanged(written=False)
    owns = {**_arrays(opt, spread, params, whole=False), **_sums(opt, spread, bool(opt.accumulation.count))}
    if team.rank == 0:
        owns |= {name: Own(array.dtype, array.shape, array) for name, array in found.items()}
    check_names(owns)
    with ExitStack() as stack:
        planned = None
        if team.rank == 0:
            data = manifest(opt, None, packed, formats_of(opt._engine.checks.entries))
            planned = _planned(owns, data, stack.enter_context(_replacing(path)))
        team.meet({"call": "save", "path": path, "params": params, "step_count": opt.step_count})
        plan: dict[str, Any] = team.from_first(planned)
        stack.enter_context(team.telling())  # before the temporary file goes, which the others may be writing
        with _naming(path), open(plan["path"], "r+b", buffering=0) as file:
            for name, own in owns.items():
                if own.here:
                    _write(file, plan["begins"][name] + own.start * own.dtype.itemsize, bytes_of(own.array))
            os.fsync(file.fileno())
            team.meet({"call": "written"})
            sums = _checksums(team, plan, file)
            if team.rank == 0:
                _write(file, 0, _header(plan, sums))
        if team.rank == 0:
            check_header(plan["path"])
    team.meet({"call": "saved"})


def load(opt: Optimizer, spread: Spread, path: str) -> Any:
    """Read the file together: each rank its slices, all of them the parameters; nothing is changed unless all fit."""
    team = spread.team
    with open(path, "rb", buffering=0) as file:
        before = stamp(file)
        stored, described = read_header(file)
        params = any(name.startswith(f"{PARAMS}/") for name in stored)
        owns, sums = _arrays(opt, spread, params, whole=True), _sums(opt, spread, True)
        try:
            refused = other_formats(opt._engine.checks.entries, stored, described, ())
            settings, _ = fitting(opt, None, described, stored, owns, sums, refused=refused)
            extra = read_extra(file, stored, described)
            ours = [name for name in stored if not is_extra(name)]
            for name in ours[team.rank :: team.size]:
                verify(file, name, stored[name])
        except CheckpointError as error:
            raise type(error)(f"{file.name} cannot be loaded: {error}") from None
        team.meet({"call": "load", "checksums": [array.sha256 for array in stored.values()]})
        # Signals do not interrupt a separate thread: as in a step, Ctrl-C takes effect when the load is complete.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_take_over, opt, spread, owns, settings, file, stored, before).result()
        team.meet({"call": "loaded"})
    return extra


def _arrays(opt: Optimizer, spread: Spread, params: bool, whole: bool) -> dict[str, Own]:
    """Return the arrays of an optimizer by their names in a file, in its order; parameters `whole`, or as slices."""
    found: dict[str, Own] = {}
    for i, (entry, array) in enumerate(zip(opt._engine.checks.entries, spread.whole.flat, strict=True)):
        shape, (start, _) = spread.whole.params[i].array.shape, spread.cut.slice_of(i, spread.team.rank)
        if params:
            own = Own(array.dtype, shape, array) if whole else Own(array.dtype, shape, entry.param.array, start)
            found[f"{PARAMS}/{entry.param.name}"] = own
        formats = entry.formats or ("",) * len(entry.states)
        for state, form in zip(entry.states, formats, strict=True):
            dtype = bfloat16_state() if form == "bfloat16" else state.array.dtype
            found[f"{STATE}/{entry.param.name}/{state.name}"] = Own(dtype, shape, state.array, start)
        for state in entry.reduced_states:
            found[f"{STATE}/{entry.param.name}/{state.name}"] = _beside(opt, spread, i, state)
    return found


def _beside(opt: Optimizer, spread: Spread, i: int, state: NamedArray) -> Own:
    """Return a state of an array that is not like it, or that is what a format keeps beside it."""
    whole, rank = spread.whole.params[i].array, spread.team.rank
    start, _ = spread.cut.slice_of(i, rank)
    if state.name in (REMAINDER, MASTER):
        return Own(state.array.dtype, whole.shape, state.array, start)
    if state.name.endswith(SCALES):
        return Own(state.array.dtype, (blocks(whole.size),), state.array, start // BLOCK)
    reduced = opt.reduced_shape(state.name, whole.shape)
    assert reduced is not None
    return Own(state.array.dtype, reduced, state.array, here=spread.cut.owner(i) == rank)


def _sums(opt: Optimizer, spread: Spread, waiting: bool) -> dict[str, Own]:
    """Return the sums of micro-batches that wait, or that a file may bring."""
    if not waiting:
        return {}
    arrays = opt.accumulation.bound().views if opt.accumulation.sums else spread.whole.flat
    return {
        f"{SUMS}/{named.name}": Own(
            computing_dtype(whole.dtype), whole.shape, array, spread.cut.slice_of(i, spread.team.rank)[0]
        )
        for i, ((named, whole), array) in enumerate(zip(spread.whole.pairs(), arrays, strict=True))
    }


def _planned(owns: Mapping[str, Own], data: dict[str, Any], path: str) -> dict[str, Any]:
    """Return all that the ranks must know of the file: where each array begins, and what the header says but sums."""
    forms = {name: (own.dtype, own.shape) for name, own in owns.items()}
    ordered = sorted(owns, key=lambda name: (_ORDER.index(code_of(owns[name].dtype)), name))
    offsets, end = {}, 0
    for name in ordered:
        offsets[name] = (end, end + owns[name].n_bytes)
        end += owns[name].n_bytes
    plan = {"path": path, "data": data, "forms": forms, "offsets": offsets}
    start = len(_header(plan, dict.fromkeys(forms, _UNKNOWN)))
    return {**plan, "begins": {name: start + begin for name, (begin, _) in offsets.items()}}


def _header(plan: Mapping[str, Any], sums: Mapping[str, str]) -> bytes:
    """Return what the file begins with, as the safetensors package writes it."""
    forms = plan["forms"]
    text = metadata(plan["data"], {name: about(dtype, shape, sums[name]) for name, (dtype, shape) in forms.items()})
    arrays = {
        name: {"dtype": code_of(forms[name][0]), "shape": forms[name][1], "data_offsets": offsets}
        for name, offsets in plan["offsets"].items()
    }
    table = json.dumps({"__metadata__": {KEY: text}, **arrays}, ensure_ascii=False, separators=(",", ":")).encode()
    padded = table + b" " * (-len(table) % 8)
    return len(padded).to_bytes(8, "little") + padded


def _checksums(team: Any, plan: Mapping[str, Any], file: FileIO) -> dict[str, str]:
    """Return the checksums of all arrays, of which each rank reads its share."""
    names = list(plan["forms"])
    mine = {}
    for name in names[team.rank :: team.size]:
        begin, end = plan["offsets"][name]
        mine[name] = _checksum(file, plan["begins"][name], end - begin)
    team.meet({"call": "read"})
    return dict(item for text in team.texts(json.dumps(mine)) for item in json.loads(text).items())


def _checksum(file: FileIO, begin: int, n_bytes: int) -> str:
    buffer = memoryview(bytearray(min(n_bytes, _CHUNK)))
    sha256 = hashlib.sha256()
    file.seek(begin)
    for start in range(0, n_bytes, _CHUNK):
        part = buffer[: min(_CHUNK, n_bytes - start)]
        fill(file, part)
        sha256.update(part)
    return sha256.hexdigest()


@contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Yield the name of a file that replaces `path` at the end."""
    with _naming(path), replacing(path) as temporary:
        yield temporary


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Let an error of the system name the file that was to be written, not the temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename == path:
            raise  # as it is, with the note that others were told
        raise OSError(error.errno, error.strerror or str(error), path) from error


def _write(file: FileIO, begin: int, data: Any) -> None:
    """Write bytes at a place of a file, however many of them each call takes."""
    file.seek(begin)
    memory = memoryview(data)
    while memory:
        memory = memory[file.write(memory) :]


def _take_over(
    opt: Optimizer,
    spread: Spread,
    owns: Mapping[str, Own],
    settings: state_dict.Settings,
    file: FileIO,
    stored: Mapping[str, Stored],
    before: tuple[int, ...],
) -> None:
    """Read checked bytes into this rank's arrays, and set the rest."""
    spread.whole.check()
    opt._check_unchanged()
    waiting = _sums(opt, spread, bool(settings.make_sums(opt)))
    places = [
        (stored[name].begin + own.start * own.dtype.itemsize, bytes_of(own.array))
        for name, own in {**owns, **waiting}.items()
        if own.here
    ]
    read_into(file, places, before)
    settings.adopt(opt)
