"""Reading a checkpoint's header: every number in it is checked against the size of the file before it is used.

The safetensors package could read it too, but it maps the file into memory (a file that shrinks meanwhile would crash
the process), accepts duplicate keys, and cannot read into existing arrays. The format is simple enough to be read here,
strictly: 8 bytes with the length of the header, the header as JSON, the arrays.
"""

import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from typing import Any, TypeGuard

import numpy as np

from gdfast._version import __version__
from gdfast.checkpoint.contents import FORMAT, KEY, MAX_HEADER, digest
from gdfast.checkpoint.data import DTYPES, parse
from gdfast.checkpoint.errors import CheckpointError, DamagedError, VersionError


@dataclass(frozen=True)
class Stored:
    """An array in the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int  # of its bytes in the file
    size: int  # in bytes
    sha256: str


def read_header(file: FileIO) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return the entries of a checkpoint's arrays, in the order of the file, and its manifest.

    Raises
    ------
    DamagedError
        If anything differs from what :func:`gdfast.save` writes. The bytes of the arrays are not checked here.
    VersionError
        If a newer gdfast wrote it.
    """
    try:
        return _read(file)
    except CheckpointError as error:
        raise type(error)(f"{file.name} cannot be loaded: {error}") from None


def _read(file: FileIO) -> tuple[dict[str, Stored], dict[str, Any]]:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size < 8:
        raise DamagedError("it is no checkpoint")
    length = int.from_bytes(read_exactly(file, 8), "little")
    if length > min(status.st_size - 8, MAX_HEADER):
        raise DamagedError(f"it is no checkpoint, or truncated: a header of {length} bytes, in {status.st_size}")
    try:
        table = parse(read_exactly(file, length).decode())
    except UnicodeDecodeError:
        raise DamagedError("its header is not text") from None
    metadata = table.pop("__metadata__", None) if isinstance(table, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise DamagedError(f"it is no checkpoint of gdfast: its metadata has no {KEY!r}")
    manifest = _manifest(metadata[KEY])
    return _arrays(table, manifest["arrays"], 8 + length, status.st_size), manifest


def read_exactly(file: FileIO, size: int) -> bytes:
    """Read exactly `size` bytes."""
    data = bytearray(size)
    fill(file, memoryview(data))
    return bytes(data)


def fill(file: FileIO, memory: memoryview) -> None:
    """Fill `memory` with bytes from the file, which must have that many."""
    done = 0
    while done < len(memory):
        try:
            count = file.readinto(memory[done:])
        except OSError as error:
            raise OSError(error.errno, error.strerror, file.name) from error
        if not count:
            raise DamagedError("it was truncated while it was read")
        done += count


def _manifest(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"([0-9]{1,9}) ([0-9a-f]{64}) (\{.*\})", text, re.DOTALL)
    if match is None:
        raise DamagedError(f"its metadata {KEY!r} is altered")
    version, sha256, data = int(match[1]), match[2], match[3]
    if version > FORMAT:
        raise VersionError(
            f"it has format {version}, and this gdfast {__version__} reads up to {FORMAT}: update gdfast"
        )
    if version < 1:
        raise DamagedError(f"there is no version {version} of the format")
    if digest(version, data) != sha256:
        raise DamagedError(f"its metadata {KEY!r} is altered: the checksum differs")
    manifest = parse(data)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("arrays"), dict):
        raise DamagedError(f"its metadata {KEY!r} names no arrays")
    return manifest


def _arrays(table: Mapping[str, Any], known: Mapping[str, Any], start: int, end: int) -> dict[str, Stored]:
    """Check the table of arrays against the manifest and the file: each byte must belong to exactly one array."""
    if table.keys() != known.keys():
        raise DamagedError(f"its header and its metadata name different arrays: {sorted(table.keys() ^ known.keys())}")
    found = {name: _stored(name, table[name], known[name], start) for name in table}
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].begin, item[1].size)))
    position = start
    for name, array in ordered.items():
        if array.begin != position:
            raise DamagedError(f"the bytes of {name} must begin at {position}; its header says {array.begin}")
        position += array.size
    if position != end:
        raise DamagedError(f"it must have {position} bytes; got {end}: truncated, or something was appended")
    return ordered


def _stored(name: str, row: Any, known: Any, start: int) -> Stored:
    if not isinstance(row, dict) or not isinstance(known, dict):
        raise DamagedError(f"its entry for {name} is altered")
    if any(row.get(key) != known.get(key) for key in ("dtype", "shape")):
        raise DamagedError(f"its header and its metadata disagree about the dtype or shape of {name}")
    code, shape, offsets = (row.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(code, str) or code not in DTYPES or not _is_sizes(shape):
        raise DamagedError(f"its entry for {name} is altered: dtype {code!r}, shape {shape!r}")
    if not _is_sizes(offsets) or len(offsets) != 2:
        raise DamagedError(f"its entry for {name} is altered: data_offsets {offsets!r}")
    dtype, begin, size = DTYPES[code], offsets[0], offsets[1] - offsets[0]
    if size != math.prod(shape) * dtype.itemsize:
        raise DamagedError(f"the header gives {name} {size} bytes, which does not fit its dtype and shape")
    return Stored(dtype, tuple(shape), start + begin, size, str(known.get("sha256")))


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
