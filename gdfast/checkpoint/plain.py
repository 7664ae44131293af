"""Plain data without an optimizer, in a file of the same format as a checkpoint."""

import os
from typing import Any

import numpy as np

from gdfast.checkpoint.contents import EXTRA
from gdfast.checkpoint.data import pack
from gdfast.checkpoint.errors import CheckpointError, MismatchError
from gdfast.checkpoint.header import read_header
from gdfast.checkpoint.loading import read_extra
from gdfast.checkpoint.saving import manifest_text, write_file


def write_data(path: str | os.PathLike[str], kind: str, data: Any) -> None:
    """Write arrays, numbers, strings, None, and lists and dicts of such; see the `extra` of :func:`gdfast.save`.

    Parameters
    ----------
    path : str or path
        The file; an existing one is replaced at the end.
    kind : str
        A name for this kind of data, which `read_data` checks.
    data
        Arrays are written as safetensors, the rest as JSON.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    packed = pack(data, EXTRA, arrays)
    write_file(os.fsdecode(path), arrays, manifest_text({"kind": kind, "extra": packed}, arrays))


def read_data(path: str | os.PathLike[str], kind: str) -> Any:
    """Return what `write_data` wrote; every byte is checked, and no code is run.

    Raises
    ------
    OSError
        If the file cannot be read.
    DamagedError, VersionError
        If it is damaged, or written by a newer gdfast.
    MismatchError
        If it holds another kind of data.
    """
    with open(os.fsdecode(path), "rb", buffering=0) as file:
        stored, manifest = read_header(file)
        if manifest.get("kind") != kind or "extra" not in manifest:
            raise MismatchError(f"{file.name} holds no {kind}")
        try:
            return read_extra(file, stored, manifest)
        except CheckpointError as error:
            raise type(error)(f"{file.name} cannot be loaded: {error}") from None
