"""CSV files as people have them: any encoding, separator and decimal sign, packed or not, comments on top."""

import codecs
import csv
import gzip
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdfast.tables.errors import TableError, listed

SEPARATORS = ",;\t|"
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: what spreadsheets and databases are, whatever their name says
OTHERS = {b"PK\x03\x04": "a spreadsheet or a zip file", b"\xd0\xcf\x11\xe0": "a spreadsheet", b"PAR1": "a Parquet file"}
#: cells without a value, as pandas has them
NO_VALUE = (
    "", " ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
#: n lines show how a file is separated
SHOWN = 50


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    Attributes
    ----------
    texts, categories : sequence of str
        Columns whose cells are words, never numbers, and "NA" one of them; an empty cell is an empty text, but no
        category.
    words, numbers : sequence of str
        Columns that are known to be such, from a model or the user: words may be missing as "NA", and numbers may begin
        with zeros.
    dates : mapping of str to str
        Columns that are known to be dates, with their format.
    sep, decimal, encoding, comment : str, optional
        Of CSV files; found out where they are not given. Lines that begin with `comment` are left out.
    usual_decimal : str, optional
        The decimal sign where the file leaves it open.
    width : int, optional
        How many columns the numbers of an svmlight file have, where that is known: a file may lack the last ones.
    zero_based : bool, optional
        Whether they are counted from 0, not from 1; found out where it is not given.
    needed : sequence of str
        Columns that a model needs: those named so twice cannot be told apart, and others are not talked about.
    """

    texts: Sequence[str] = ()
    categories: Sequence[str] = ()
    words: Sequence[str] = ()
    numbers: Sequence[str] = ()
    dates: dict[str, str] = field(default_factory=dict)
    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    comment: str | None = None
    usual_decimal: str | None = None
    width: int | None = None
    zero_based: bool | None = None
    needed: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.sep is not None and len(self.sep) != 1:
            raise TableError(f"--sep must be a single character, or tab; got {self.sep!r}")
        if self.sep is not None and (not self.sep.isascii() or self.sep in '\r\n"'):
            raise TableError(f"--sep must be an ASCII character, and no quote or line break; got {self.sep!r}")
        if self.decimal not in (None, ".", ","):
            raise TableError(f"--decimal must be . or ,; got {self.decimal!r}")
        if self.sep is not None and self.sep == self.decimal:
            raise TableError(f"--sep and --decimal must differ; got {self.sep!r} for both")
        if self.comment is not None and len(self.comment) != 1:
            raise TableError(f"--comment must be a single character, such as #; got {self.comment!r}")
        try:
            codecs.lookup(self.encoding or "utf-8")
            b"a".decode(self.encoding or "utf-8")  # which refuses those of bytes, such as hex
        except UnicodeError:
            pass  # a character of utf-16 has more bytes
        except LookupError:
            raise TableError(
                f"--encoding must be one that Python knows, such as utf-8, utf-16 or cp1252; got {self.encoding!r}"
            ) from None


def read_text(path: Path, reading: Reading) -> tuple[str, list[str]]:
    """Return a CSV file as text without comments, and what the user should know about how it was read.

    Raises
    ------
    TableError, OSError
    """
    text, notes = _decoded(path, reading)
    text = _without_comments(text, reading, notes)
    if not text.strip():
        raise TableError(f"{path} is empty")
    return text, notes


def read_frame(path: Path, text: str, reading: Reading, as_written: Sequence[str] = ()) -> tuple[Any, list[str]]:
    """Return the text of a CSV file as a pandas frame, and what the user should know about how it was read.

    Parameters
    ----------
    as_written : sequence of str
        Columns of numbers that stay words.

    Raises
    ------
    TableError
    """
    import pandas as pd

    notes: list[str] = []
    separator = reading.sep or separator_of(text, reading)
    head = next(csv.reader(io.StringIO(text.lstrip("\n")), delimiter=separator))
    layout: dict[str, Any] = {"sep": separator, "skipinitialspace": separator != " "}
    try:  # pandas has its own names for a second x and for one without a name
        names = list(pd.read_csv(io.StringIO(text), nrows=0, **layout))
        layout |= _types(names, reading, as_written)
        frame = pd.read_csv(io.StringIO(text), low_memory=False, **layout)
        if _shifted(frame) and frame.iloc[:, -1].isna().all():
            text = text.lstrip("\n").replace("\n", f"{separator}\n", 1)
            frame = pd.read_csv(io.StringIO(text), low_memory=False, **layout)
    except pd.errors.ParserError as error:
        raise TableError(f"{path} cannot be read: {_ragged(error)}") from None
    if _shifted(frame):
        notes.append("The first column, which has no name, was taken for names of rows and left out.")
        frame = frame.reset_index(drop=True)
    frame.columns = [str(name).strip() for name in frame.columns]
    if not frame.columns.is_unique:
        raise TableError(f"{path} must have a different name for each column; got {listed(map(repr, frame.columns))}")
    frame.attrs["head"] = [name.strip() for name in head]
    return frame, notes + _header_notes([name.strip() for name in head], separator)


def _types(names: Sequence[str], reading: Reading, as_written: Sequence[str]) -> dict[str, Any]:
    """Return what tells pandas which columns stay as they are, and which become words."""
    untouched = {name: str for name in names if name.strip() in (*reading.texts, *reading.categories)}
    strings = (*reading.words, *reading.dates, *as_written)
    words = {name: str for name in names if name.strip() in strings and name not in untouched}
    if not untouched:
        return {"dtype": words}
    # pandas would look for missing values in what a converter returns, too
    others = {name: list(NO_VALUE) for name in names if name not in untouched}
    return {"dtype": words, "converters": untouched, "keep_default_na": False, "na_values": others}


def _shifted(frame: Any) -> bool:
    """Return whether pandas has made the first column an index, since the rows have a cell more than the names."""
    import pandas as pd

    return not frame.index.equals(pd.RangeIndex(len(frame)))


def _header_notes(head: list[str], separator: str) -> list[str]:
    notes = []
    if twice := sorted({name for name in head if name and head.count(name) > 1}):
        notes.append(f"Several columns are named {listed(map(repr, twice))}: the later ones are {twice[0]}.1, ...")
    if all(re.fullmatch(r"[-+]?\d*[.,]?\d+", name) for name in head):
        notes.append(f"The first line, {separator.join(head)[:60]}, was taken for the names of the columns.")
    return notes


def _decoded(path: Path, reading: Reading) -> tuple[str, list[str]]:
    raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    for magic, what in OTHERS.items():
        if raw.startswith(magic):
            raise TableError(f"{path} is {what}, not CSV: export it as CSV")
    encoding, note = (reading.encoding, None) if reading.encoding else encoding_of(raw)
    try:
        text = raw.decode(encoding)
    except (UnicodeError, LookupError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise TableError(f"{path} cannot be read as {encoding} ({reason}): --encoding names another") from None
    if "\x00" in text:
        raise TableError(f"{path} holds zero bytes, as no text does")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), [note] if note else []


def encoding_of(raw: bytes, *, whole: bool = True) -> tuple[str, str | None]:
    """Return the encoding that the bytes show, and a note where it is a guess; without `whole` a file goes on."""
    for bom, name in BOMS:
        if raw.startswith(bom):
            return name, None
    head = raw[:1000]
    for zeros, name in ((head[1::2], "utf-16-le"), (head[::2], "utf-16-be")):
        if zeros.count(0) > 0.7 * max(len(zeros), 1):
            return name, f"Read as {name}: --encoding otherwise."
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, whole)
    except UnicodeDecodeError:
        try:
            raw.decode("cp1252")
        except UnicodeDecodeError:
            return "latin-1", "No UTF-8, read as latin-1: --encoding otherwise."
        return "cp1252", "No UTF-8, read as cp1252 (Windows, Latin-1): --encoding otherwise."
    return "utf-8", None


def _without_comments(text: str, reading: Reading, notes: list[str]) -> str:
    """Leave out the lines of comments: those on top that begin with #, or all that begin with what the user says.

    A line such as "# x,y" above rows of numbers is the line of names.
    """
    lines = text.split("\n")
    if reading.comment is not None:
        count = sum(line.startswith(reading.comment) for line in lines)
        if count:
            notes.append(f"{count:,} lines of comments were left out.")
        return "\n".join("" if line.startswith(reading.comment) else line for line in lines)
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if first and _names_rows(lines[first - 1], lines[first:]):
        first -= 1
        lines[first] = lines[first].lstrip("# ")
    if count := sum(line.startswith("#") for line in lines[:first]):
        notes.append(f"{count:,} lines of comments on top were left out.")
    return "\n" * first + "\n".join(lines[first:])  # empty lines are skipped, and counted in errors


def _names_rows(comment: str, rows: list[str]) -> bool:
    """Return whether a comment is the line of names: of as many cells as the rows, the first of which has numbers."""
    if not rows:
        return False
    counts = [separator for separator in SEPARATORS if comment.count(separator) == rows[0].count(separator) > 0]
    return any(any(re.fullmatch(r"\s*[-+]?\d[\d.,]*\s*", c) for c in rows[0].split(s)) for s in counts)


def separator_of(text: str, reading: Reading) -> str:
    """Return the separator with which the first lines have the same number of cells, the more the better."""
    shown = "\n".join(text.lstrip("\n").split("\n", SHOWN)[:SHOWN])
    best, most = "", 1
    for separator in SEPARATORS:
        if separator == reading.decimal:
            continue
        counts = [len(row) for row in csv.reader(io.StringIO(shown), delimiter=separator) if row]
        if counts and min(counts) == max(counts) > most:
            best, most = separator, counts[0]
    head = text.lstrip("\n").split("\n", 1)[0]
    if best and head.count(best) >= max(head.count(separator) for separator in SEPARATORS if separator != best):
        return best
    return max(SEPARATORS, key=head.count)


def _ragged(error: Exception) -> str:
    """Return in words of the table what pandas's parser says."""
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found is None:
        return "a quote is opened and not closed"
    expected, line, saw = found.groups()
    return f"line {line} has {saw} cells where the lines before have {expected}: correct it, or say --sep"
