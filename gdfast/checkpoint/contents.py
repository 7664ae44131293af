"""The contents of a checkpoint and their names: what `saving` writes and `loading` looks for."""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from gdfast.arrays.formats import short_format
from gdfast.arrays.structure import NamedArray
from gdfast.engine.engines import Entry

if TYPE_CHECKING:
    from gdfast.stepping.base import Optimizer

#: increased by one when an older version of gdfast could misread the file
FORMAT = 1
#: the key in the file's metadata; its value is "<format> <SHA-256 of the rest> <JSON>", see `digest`
KEY = "gdfast"
#: the format's own limit on its header, in bytes
MAX_HEADER = 100_000_000

PARAMS, STATE, SUMS, EXTRA = "params", "state", "sums", "extra"


def arrays_of(entries: Iterable[Entry], params: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Return an optimizer's arrays (no copies) by their names in a checkpoint, with or without the parameters."""
    found = {}
    for entry in entries:
        if params:
            found[f"{PARAMS}/{entry.param.name}"] = entry.param.array
        for state in entry.all_states:
            found[f"{STATE}/{entry.param.name}/{state.name}"] = state.array
    return found


def formats_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Return what the arrays of state in fewer bits are, by their names in a checkpoint."""
    return {
        f"{STATE}/{entry.param.name}/{state.name}": form
        for entry in entries
        for state, form in zip(entry.states, entry.formats, strict=False)  # without formats all are plain
        if form
    }


def sums_of(sums: Iterable[NamedArray]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the sums of micro-batches (or other arrays of the parameters' names) by their names in a checkpoint."""
    return {f"{SUMS}/{named.name}": named.array for named in sums}


def rules_of(opt: "Optimizer") -> list[list[str]]:
    """Return the rules that move each group's arrays."""
    entries = opt._layout.entries
    return [sorted({entry.rule for entry in entries if entry.group == i}) for i in range(len(opt.param_groups))]


def as_stored(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array with a dtype of NumPy's own: bfloat16 as its uint16."""
    return array.view(np.uint16) if short_format(array.dtype) == "bfloat16" else array


def bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """Return the memory of a contiguous array, as bytes (no copy)."""
    return array.reshape(-1).view(np.uint8).data


def digest(version: int, text: str) -> str:
    """Return the checksum of a manifest: any text that JSON can hold, also lone surrogates."""
    return hashlib.sha256(f"{version} {text}".encode(errors="surrogatepass")).hexdigest()
