"""Data as columns, from CSV, Parquet, NPZ and svmlight files, or from scikit-learn's own sets."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from gdfast.tables import dates
from gdfast.tables.csv_files import Reading, read_frame, read_text
from gdfast.tables.errors import TableError, listed
from gdfast.tables.numerals import MAYBE_CODE, are_codes
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

#: names of scikit-learn's sets: those it brings, and those it fetches and keeps
BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
FETCHED = ("20newsgroups", "20newsgroups_vectorized", "california_housing", "covtype", "olivetti_faces")
#: what the libraries say of a broken file, or of one that wants more memory than there is
BROKEN = (ValueError, KeyError, EOFError, OverflowError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
#: so many columns any file may have, and more only as many as it has bytes: a model has a number for each
MOST_COLUMNS = 1 << 22


def read(data: str, reading: Reading | None = None) -> Table:
    """Read a file, or one of scikit-learn's sets.

    Parameters
    ----------
    data : str
        A path, a name in `BUNDLED` or `FETCHED`, or "-" for CSV from standard input.
    reading : Reading, optional
        What is known about the columns, and how a CSV file is written.

    Raises
    ------
    TableError
        If it is neither, cannot be read, or has no rows.
    """
    path, reading = Path(data), reading or Reading()
    if not path.name:
        raise TableError(f"{data!r} must be a file of data")
    if not path.exists() and data in (*BUNDLED, *FETCHED):
        return _read_set(data)
    suffix = ".csv" if data == "-" else path.with_suffix("" if path.suffix == ".gz" else path.suffix).suffix.lower()
    if suffix not in READERS or (path.suffix == ".gz" and suffix not in (".csv", ".tsv")):
        raise TableError(
            f"{data} must be a file that ends in {', '.join(READERS)}, or one of scikit-learn's sets, "
            f"{', '.join((*BUNDLED, *FETCHED))}"
        )
    try:
        table: Table = READERS[suffix](path, reading)
    except TableError:
        raise
    except OSError as error:
        raise TableError(f"{data} cannot be read: {error.strerror or error}") from None
    except BROKEN as error:
        raise TableError(f"{data} cannot be read: {' '.join(str(error).split())}") from None
    if not len(table):
        raise TableError(f"{data} has no rows")
    return table


def _read_csv(path: Path, reading: Reading) -> Table:
    text, notes = read_text(path, reading)
    return table_of_csv(path, text, reading, notes)


def table_of_csv(path: Path, text: str, reading: Reading, notes: list[str]) -> Table:
    """Return the text of a CSV file as a table.

    Raises
    ------
    TableError
    """
    from gdfast.tables.typing_columns import typed

    frame, said = read_frame(path, text, reading)
    codes = _codes(path, text, frame, reading)
    found = typed(frame, reading)
    floats = [name for name in frame if frame[name].dtype.kind == "f"]
    if found.commas and floats:  # 1.234 may be a number of four digits
        frame, said = read_frame(path, text, reading, [*floats, *codes])
        found = typed(frame, reading, floats)
    notes += said
    kept = _without_row_numbers(frame, notes)
    found.columns = {name: column for name, column in found.columns.items() if name in kept}
    problems = {**found.problems, **_told_apart(frame.attrs["head"], reading)}
    table = Table(found.columns, None, None, notes + found.notes, problems, found.dates, found.decimal)
    if not len(table):
        raise TableError(f"{path} has no rows")
    return table


def _told_apart(head: list[str], reading: Reading) -> dict[str, str]:
    """Return what is wrong with columns that a model needs once, and the file has twice."""
    twice = [n for n in reading.needed if head.count(n) > 1 and f"{n}.1" not in reading.needed]
    return {name: f"the data must have one column {name!r}, as in training; got {head.count(name)}" for name in twice}


def _codes(path: Path, text: str, frame: Any, reading: Reading) -> list[str]:
    """Put the columns of whole numbers that begin with zeros into the frame as they are written; return their names."""
    whole = [
        name
        for name in frame
        if frame[name].dtype.kind in "iuf" and name not in reading.numbers and (frame[name].dropna() % 1 == 0).all()
    ]
    if not whole or not MAYBE_CODE.search(text):
        return []
    written = read_frame(path, text, reading, whole)[0]
    codes = [name for name in whole if are_codes({cell.strip() for cell in written[name].dropna()})]
    frame[codes] = written[codes]
    return codes


def _read_parquet(path: Path, reading: Reading) -> Table:
    import pandas as pd
    import pyarrow  # noqa: F401 - so that its absence is not pandas's to explain

    return _from_frame(pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True), reading)


def parquet_tables(data: str, reading: Reading, rows: int = 1 << 16) -> Iterator[Table]:
    """Yield the rows of a Parquet file, or of those in a folder, n at a time.

    Raises
    ------
    TableError
        If a file cannot be read.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    path = Path(data)
    for file in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
        try:
            with ParquetFile(file, buffer_size=1 << 16, pre_buffer=False, page_checksum_verification=True) as opened:
                for batch in filter(len, opened.iter_batches(rows)):
                    yield _from_frame(batch.to_pandas(), reading)
        except OSError as error:
            raise TableError(f"{file} cannot be read: {error.strerror or error}") from None
        except pa.ArrowException as error:
            raise TableError(f"{file} cannot be read: {' '.join(str(error).split())}") from None


def _without_row_numbers(frame: Any, notes: list[str]) -> Any:
    """Leave out a first column that has no name and counts the rows."""
    frame.columns = [str(name) for name in frame.columns]
    first = frame.iloc[:, 0] if frame.shape[1] else None
    if first is None or str(first.name) not in ("Unnamed: 0", "__index_level_0__") or not first.is_unique:
        return frame
    notes.append("The first column, which has no name, was taken for row numbers and left out.")
    return frame.iloc[:, 1:]


def _from_frame(frame: Any, reading: Reading) -> Table:
    """Return a pandas frame's columns, in its own types."""
    import pandas as pd

    notes: list[str] = []
    frame = _without_row_numbers(frame, notes)
    if not frame.columns.is_unique:
        raise TableError(f"the data must have a different name for each column; got {listed(map(repr, frame.columns))}")
    columns: dict[str, Array] = {}
    words = (*reading.categories, *reading.words)
    for name, column in frame.items():
        kind = column.dtype
        if name in reading.texts:
            columns[name] = column.astype(object).where(column.notna(), "").map(str).to_numpy(object)
        elif kind.kind == "O" and isinstance(next(iter(column.dropna()), None), Decimal):
            columns[name] = column.astype(np.float64).to_numpy()
        elif pd.api.types.is_bool_dtype(kind) and not column.isna().any():
            columns[name] = column.to_numpy(bool)
        elif pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
            columns[name] = column.to_numpy(np.float64, na_value=np.nan) if column.isna().any() else column.to_numpy()
        elif pd.api.types.is_datetime64_any_dtype(kind):
            stamps = pd.to_datetime(column, utc=True).dt.tz_localize(None)
            columns[name] = stamps.to_numpy("M8[s]")
        elif pd.api.types.is_timedelta64_dtype(kind):
            columns[name] = column.dt.total_seconds().to_numpy(np.float64)
        elif name in reading.numbers and column.isna().all():
            columns[name] = np.full(len(column), np.nan)
        elif name not in words and (stamps := dates.stamps_of(column)) is not None:
            columns[name] = stamps
        else:
            columns[name] = column.astype(object).where(column.notna(), None).to_numpy(object)
    return Table(columns, notes=notes, dates=dict.fromkeys((n for n, c in columns.items() if c.dtype.kind == "M"), ""))


def _read_npz(path: Path, reading: Reading) -> Table:
    """Take each array of one axis for a column, and each one with two for several: "X[0]", "X[1]", ..."""
    columns: dict[str, Array] = {}
    with open(path, "rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise TableError(f"{path} must hold named arrays, as numpy.savez writes them")
        for name in loaded.files:
            array = loaded[name]
            _check_width(path, array.shape[-1] if array.ndim > 1 else 1)
            found = _split(name, array)
            if twice := next(iter(columns.keys() & found), None):
                raise TableError(f"{path} must have a different name for each column; got {twice!r} of two arrays")
            columns |= found
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"the arrays of {path} must have equally many rows; got {lengths}")
    return Table(columns, target="y" if "y" in columns else None)


def _split(name: str, array: Array) -> dict[str, Array]:
    if array.ndim == 2:
        return {f"{name}[{i}]": array[:, i] for i in range(array.shape[1])}
    if array.ndim != 1 or array.dtype.kind == "c":
        raise TableError(
            f"array {name!r} must have one axis or two, and no complex numbers; got {array.dtype} {array.shape}"
        )
    return {name: array.astype(object) if array.dtype.kind in "US" else array}


def _read_svmlight(path: Path, reading: Reading) -> Table:
    from sklearn.datasets import load_svmlight_file

    matrix, target = load_svmlight_file(str(path), zero_based=True)
    lowest = int(matrix.indices.min()) if matrix.nnz else 1
    zero_based = lowest == 0 if reading.zero_based is None else reading.zero_based
    if lowest == 0 and not zero_based:
        raise TableError(f"{path} must count its columns from 1, as in training; got 0")
    rows, columns = matrix.shape[0], max(matrix.shape[1] - (not zero_based), 0)
    matrix.indices -= not zero_based
    if reading.width is None:
        _check_width(path, columns)
    elif columns > reading.width:
        raise TableError(f"{path} must have at most {reading.width:,} columns, as in training; got {columns:,}")
    matrix.resize(rows, columns if reading.width is None else reading.width)
    return Table({"target": target}, matrix.tocsr(), "target", zero_based=zero_based)


def _check_width(path: Path, columns: int) -> None:
    most = max(MOST_COLUMNS, path.stat().st_size)
    if columns > most:
        raise TableError(f"{path} must have at most {most:,} columns, for as small a file; got {columns:,}")


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".npz": _read_npz,
    ".svm": _read_svmlight,
    ".svmlight": _read_svmlight,
    ".libsvm": _read_svmlight,
}


def _read_set(name: str) -> Table:
    """Return one of scikit-learn's sets; its classes by their names."""
    from sklearn import datasets

    load = getattr(datasets, f"load_{name}" if name in BUNDLED else f"fetch_{name}")
    try:
        bunch = load() if name in BUNDLED else load(n_retries=1, delay=0.1)
    except OSError as error:  # a URLError is one
        raise TableError(
            f"{name} is not on this machine yet, and could not be fetched: {getattr(error, 'reason', error)}"
        ) from None
    targets, names = np.asarray(bunch.target), list(bunch.get("target_names", ()))
    if targets.ndim == 2:
        ends = dict(zip(names, targets.T, strict=True))
        target = None
    else:
        by_name = targets.dtype.kind == "i" and len(names) > targets.max()
        labels = np.asarray(names)[targets] if by_name else targets
        ends = {"target": labels.astype(object) if labels.dtype.kind == "U" else labels}
        target = "target"
    if isinstance(bunch.data, list):
        return Table({"text": np.array(bunch.data, object), **ends}, target=target)
    if not isinstance(bunch.data, np.ndarray):
        return Table(ends, bunch.data.tocsr(), target)
    features = bunch.get("feature_names", [f"x{i}" for i in range(bunch.data.shape[1])])
    columns = dict(zip(map(str, features), bunch.data.T, strict=True))
    return Table({**columns, **ends}, target=target)


def check_columns(names: Sequence[str], table: Table, option: str) -> None:
    """Check that columns are there.

    Raises
    ------
    TableError
        Naming the option, the column, and those that there are.
    """
    for name in names:
        if name not in table.columns:
            raise TableError(f"{option} must be a column of the data, {listed(table.columns)}; got {name!r}")
