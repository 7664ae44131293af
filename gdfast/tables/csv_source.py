"""Rows of CSV files, read in blocks by Arrow."""

import codecs
import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gdfast.tables.arrow import ArrowRows, roles_of
from gdfast.tables.csv_files import Reading
from gdfast.tables.csv_layout import Layout, layout_of, opened, packing_of
from gdfast.tables.errors import TableError
from gdfast.tables.numerals import decimals_of
from gdfast.tables.parquet import ArrowSource, paths_of, said_of
from gdfast.tables.source import BATCH_ROWS, Unchanged, needs

#: bytes that are parsed at a time
BLOCK = 4 << 20
#: rows that show what the words of a column are
SHOWN = 1000
WHAT = "gdfast.tables.CSV"


class CSV(ArrowSource):
    r"""Rows of CSV files with the names of the columns in the first line; packed ones (gzip, bzip2, xz) too.

    Which columns are numbers is read from the first 4 MB of the first file. Whole numbers among the features may
    be decimal later; a column of numbers that turns out to have a word is an error.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files with the same columns, or a folder of files that end in .csv.
    target, columns, weight, categories, text, hash_bits, missing, batch_rows, mix, statistics
        As in :class:`Parquet`; as many blocks of rows as `mix` says are mixed.
    sep, decimal, encoding : str, optional
        What separates the cells, the decimal sign, and the encoding; found out from the first megabyte of each file
        where they are not given.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    TypeError, ValueError
        If an argument is invalid, or a file cannot be used.

    Examples
    --------
    >>> import os, tempfile
    >>> from gdfast.tables import CSV
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "rows.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("x,y\n0.5,no\n1,yes\n")
    ...     [(batch.X.tolist(), batch.y.tolist()) for batch in CSV(path, target="y").open().epoch(0)]
    [([[0.5], [1.0]], ['no', 'yes'])]
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        target: str,
        columns: Sequence[str] | None = None,
        weight: str | None = None,
        categories: Sequence[str] = (),
        text: Sequence[str] = (),
        hash_bits: int = 20,
        missing: str = "error",
        batch_rows: int = BATCH_ROWS,
        mix: int = 4,
        statistics: str = "first",
        sep: str | None = None,
        decimal: str | None = None,
        encoding: str | None = None,
    ) -> None:
        super().__init__(batch_rows, mix, statistics)
        pyarrow = needs("pyarrow", WHAT)
        for name, value in (("sep", sep), ("decimal", decimal)):
            if value is not None and (not isinstance(value, str) or len(value) != 1):
                raise ValueError(f"{name} must be a single character; got {value!r}")
        _check_encoding(encoding)
        self.paths = paths_of(paths, ".csv")
        self._unchanged = Unchanged(self.paths)
        how = Reading(encoding=encoding)
        how = replace(how, sep=sep, decimal=decimal) if sep is None or sep != decimal else how
        self.layouts: dict[str, Layout] = {}
        for path in self.paths:
            with said_of(path):
                self.layouts[path] = layout_of(Path(path), how)
            ends = sep or self.layouts[path].sep, decimal or self.layouts[path].decimal
            if ends[0] == ends[1]:
                raise ValueError(f"sep and decimal must differ; got {ends[0]!r} for both")
        with said_of(self.paths[0]), closing(self._reader(self.paths[0], {})) as reader:
            schema = reader.schema
            self._check_words(schema, next(reader, None), (target, *categories, *text), columns)
        for name in (*categories, *text):
            if name in schema.names:
                schema = schema.set(schema.get_field_index(name), pyarrow.field(name, pyarrow.string()))
        self.roles = roles_of(
            schema, self.paths[0], target, columns=columns, weight=weight, categories=categories, text=text,
            hash_bits=hash_bits, missing=missing,
        )  # fmt: skip
        self._types = {name: schema.field(name).type for name in self.roles.names}
        numbers = [*self.roles.numbers, *([weight] if weight else [])]
        self._types |= {name: pyarrow.float64() for name in numbers if self._types[name] != pyarrow.bool_()}
        self.names = schema.names

    @cached_property
    def _lines(self) -> int:
        """The number of line breaks, without those of the lines of names: about the number of rows."""
        found = 0
        for path in self.paths:
            last = b"\n"
            with said_of(path), opened(Path(path)) as file:
                while part := file.read(BLOCK):
                    found, last = found + part.count(b"\n"), part[-1:]
            found += (last != b"\n") - 1
        return max(found, 1)

    @property
    def n_rows(self) -> int:
        """How many rows there are, as the line breaks tell: those within quotes count too."""
        return self._lines

    def describe(self) -> dict[str, Any]:
        """Return what tells these rows from others."""
        sizes = [[Path(path).name, os.stat(path).st_size] for path in self.paths]
        layouts = [[layout.encoding, layout.sep, layout.decimal] for layout in self.layouts.values()]
        return self._described(files=sizes, layouts=layouts)

    def read(self, group: int, rows: int) -> Generator[ArrowRows]:
        """Yield the rows, file after file."""
        for path in self.paths:
            first = 1
            with self._said(path), closing(self._reader(path, self._types)) as reader:
                if reader.schema.names != self.roles.names:  # pragma: no cover - Arrow refuses it
                    raise TableError(f"{path} must have the columns of {self.paths[0]}")
                for block in reader:
                    self._unchanged.check(path)
                    for at in range(0, block.num_rows, rows):
                        batch = block.slice(at, rows)
                        yield ArrowRows(batch, path, first)
                        first += batch.num_rows
                self._unchanged.check(path)  # what was added may have come too late

    def _reader(self, path: str, types: dict[str, Any]) -> Any:
        csv, layout = needs("pyarrow.csv", WHAT), self.layouts[path]
        return csv.open_csv(
            _bytes(path),
            csv.ReadOptions(block_size=BLOCK, use_threads=False, encoding=layout.encoding),
            csv.ParseOptions(delimiter=layout.sep, newlines_in_values=True),
            csv.ConvertOptions(
                column_types=types,
                include_columns=list(types) or None,
                decimal_point=layout.decimal,
                null_values=["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>"],
            ),
        )

    def _check_words(self, schema: Any, head: Any, known: Sequence[str], columns: Sequence[str] | None) -> None:
        """Refuse columns whose cells are numbers for a person, and words for Arrow: they would be hashed as categories.

        Raises
        ------
        TableError
        """
        types = needs("pyarrow", WHAT).types
        for name in [] if head is None else schema.names:
            if name in known or (columns is not None and name not in columns):
                continue
            if schema.names.count(name) == 1 and types.is_string(schema.field(name).type):
                cells = [cell for cell in head.column(name).slice(0, SHOWN).to_pylist() if cell]
                if decimals_of(cells):
                    raise TableError(
                        f"{self.paths[0]}: column {name!r} holds numbers such as {cells[0]!r}, which cannot be read in "
                        "batches: write them plainly, say decimal, or name the column in categories"
                    )

    def _said(self, path: str) -> "_CSVSaid":
        return _CSVSaid(path, self.names)


def _bytes(path: str) -> Any:
    """Return a file's bytes as Arrow reads them."""
    pyarrow, packing = needs("pyarrow", WHAT), packing_of(Path(path))
    if packing == "xz":
        return pyarrow.PythonFile(opened(Path(path)), "r")
    file = pyarrow.OSFile(path, "rb")
    return file if packing is None else pyarrow.CompressedInputStream(file, packing)


def _check_encoding(encoding: str | None) -> None:
    if encoding is not None and not isinstance(encoding, str):
        raise TypeError(f"encoding must be a name such as utf-16, or None; got {encoding!r}")
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise ValueError(
            f"encoding must be one that Python knows, such as utf-16 or cp1252; got {encoding!r}"
        ) from None


class _CSVSaid(said_of):
    """The same, with the column by its name."""

    def __init__(self, path: str, names: list[str]) -> None:
        super().__init__(path)
        self._names = names

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        found = re.search(r"column #(\d+):(?: Row #(\d+):)? (.*)", " ".join(str(error).split()))
        if found is not None and not isinstance(error, TableError):
            number, line, what = found.groups()
            name = self._names[int(number)] if int(number) < len(self._names) else number
            where = f", line {int(line):,}" if line else ""
            raise TableError(f"{self._path}: column {name!r}{where}: {what}") from None
        super().__exit__(kind, error, trace)
