"""How a CSV file is written, as its first megabytes show, for readers that never see all of it."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gdfast.tables.csv_files import OTHERS, Reading, encoding_of, separator_of
from gdfast.tables.errors import TableError

#: bytes that show how a file is written, and lines that show its decimal sign
HEAD, LINES = 1 << 20, 1000
#: the first bytes of packed files
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
UNPACKING: dict[str | None, Callable[[Path], Any]] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
#: what cannot be read, whatever a file's name says
REFUSED = {**OTHERS, b"\x28\xb5\x2f\xfd": "packed by Zstandard"}
#: what the readers of packed files raise, beside OSError
BROKEN = (EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Layout:
    """How a CSV file is written.

    Attributes
    ----------
    encoding, sep, decimal : str
    notes : sequence of str
        What the user should know about how that was found.
    """

    encoding: str
    sep: str
    decimal: str
    notes: Sequence[str] = ()


def packing_of(path: Path) -> str | None:
    """Return how a file is packed, "gzip", "bz2" or "xz", by its first bytes; None if it is not.

    Raises
    ------
    OSError, TableError
    """
    with open(path, "rb") as file:
        first = file.read(8)
    for magic, what in REFUSED.items():
        if first.startswith(magic):
            raise TableError(f"{path} is {what}, not CSV: make it a CSV file, packed as .gz, .bz2 or .xz or not at all")
    return next((name for magic, name in PACKED.items() if first.startswith(magic)), None)


def opened(path: Path) -> BinaryIO:
    """Open a file, packed or not, for reading its bytes.

    Raises
    ------
    OSError, TableError
    """
    unpack = UNPACKING.get(packing_of(path))
    return open(path, "rb") if unpack is None else unpack(path)


def layout_of(path: Path, reading: Reading) -> Layout:
    """Return how a file is written: as `reading` says, or as its beginning shows.

    Raises
    ------
    OSError, TableError
    """
    with opened(path) as file:
        head = file.read(HEAD)
        whole = not file.read(1)
    encoding, note = (reading.encoding, None) if reading.encoding else encoding_of(head, whole=whole)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head, whole)
    except UnicodeError as error:
        raise TableError(f"{path} cannot be read as {encoding} ({getattr(error, 'reason', error)})") from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if text.startswith("#"):
        raise TableError(f"{path} begins with a comment: leave it out, or read the file without --stream")
    separator = reading.sep or separator_of(text, reading)
    decimal = reading.decimal or ("," if separator != "," and _has_commas(text, separator) else ".")
    return Layout(encoding, separator, decimal, [note] if note else [])


def _has_commas(text: str, separator: str) -> bool:
    """Return whether numbers have a decimal comma: some cells have one, and none a point."""
    lines = io.StringIO("\n".join(text.split("\n", LINES)[1:LINES]))
    cells = [cell.strip() for row in csv.reader(lines, delimiter=separator) for cell in row]
    return any(re.fullmatch(r"[-+]?\d*,\d+", cell) for cell in cells) and not any(
        re.fullmatch(r"[-+]?\d*\.\d+", cell) for cell in cells
    )
