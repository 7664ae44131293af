"""Rows of Parquet files, row group by row group."""

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from gdfast.tables.arrow import ArrowRows, BatchMaker, Roles, encoder_of, roles_of
from gdfast.tables.csv_layout import BROKEN
from gdfast.tables.errors import TableError
from gdfast.tables.source import BATCH_ROWS, Source, Unchanged, needs

#: bytes that are read of a column at a time, instead of all that a row group has of it
BUFFER = 1 << 16
#: bytes of row groups that are open at a time: each keeps the dictionaries of its columns
OPEN_BYTES = 128 << 20
#: bytes of the files' descriptions of their groups that are kept: else each group that is open has its own, which takes
#: ten times as much in memory
FOOTER_BYTES = 4 << 20
#: rows of a batch: whole mini-batches
LEAST_ROWS = 1024
#: bytes of the numbers of a batch
BATCH_BYTES = 16 << 20


class ArrowSource(Source):
    """Rows of files whose columns have names."""

    roles: Roles
    paths: list[str]
    names: list[str]

    @property
    def checked(self) -> bool:
        """Whether all numbers that it gives are known to be finite."""
        return True

    @property
    def learns(self) -> bool:
        """Whether the encoding learns the means and deviations of numbers."""
        return bool(self.roles.numbers)

    def column(self, number: int) -> str:
        """Return what a column of numbers is called."""
        return f"column {self.roles.numbers[number]!r}"

    def encoder(self, head: Iterable[ArrowRows]) -> BatchMaker:
        """Return what makes one batch of pieces."""
        found = encoder_of(self.roles, head)
        if found is None:
            raise TableError(f"{self.paths[0]} has no rows")
        return BatchMaker(self.roles, *found)

    def _described(self, **of_files: Any) -> dict[str, Any]:
        return {**of_files, **vars(self.roles)}


class Parquet(ArrowSource):
    """Rows of Parquet files.

    Numbers are taken as they are. Columns of words, and those named in `categories`, are hashed, so that no dictionary
    of them is needed; numbers beside them are standardised.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files with the same columns, or a folder of files that end in .parquet.
    target : str
        Column to predict.
    columns : sequence of str, optional
        Columns to learn from; without it all others.
    weight : str, optional
        Column of what each row counts.
    categories : sequence of str
        Columns of categories, also if they are whole numbers.
    text : sequence of str
        Columns of texts, whose words are hashed.
    hash_bits : int
        Categories and texts are hashed to ``2**hash_bits`` columns.
    missing : {"error", "fill"}
        "fill": a missing number is the mean of the first rows, a missing category none.
    batch_rows : int, optional
        Maximum number of rows that are read at a time; without it as many as take 16 MB, and at most 65,536.
    mix : int
        How many row groups are read at a time, and their rows mixed, where the rows are shuffled; fewer if they take
        more than 128 MB together.
    statistics : {"first", "all"}
        "all": classes, scales and means are those of all rows, which are read once more for them.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    TypeError, ValueError
        If an argument is invalid, or a file cannot be used.

    Examples
    --------
    >>> import os, tempfile
    >>> import pyarrow as pa, pyarrow.parquet
    >>> from gdfast.tables import Parquet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "clicks.parquet")
    ...     pa.parquet.write_table(pa.table({"ad": [17, 4, 17], "seconds": [0.5, 1.0, 1.5], "click": [0, 1, 0]}), path)
    ...     source = Parquet(path, target="click", categories=["ad"], hash_bits=10)
    ...     batches = list(source.open().epoch(0))
    >>> source.n_rows, batches[0].X.shape, batches[0].y.tolist()
    (3, (3, 1025), [0, 1, 0])
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
        batch_rows: int | None = None,
        mix: int = 4,
        statistics: str = "first",
    ) -> None:
        super().__init__(BATCH_ROWS if batch_rows is None else batch_rows, mix, statistics)
        needs("pyarrow", "gdfast.tables.Parquet")
        self.paths = paths_of(paths, ".parquet")
        self._unchanged = Unchanged(self.paths)
        self._groups: list[tuple[str, list[int], int]] = []
        self._footers: dict[str, Any] = {}
        footer_bytes = 0
        self._group_rows: list[int] = []
        schema, largest = None, 1
        for path in self.paths:
            with closing(_opened(path)) as file:
                own = file.schema_arrow
                if schema is None:
                    schema = own
                    self.names = own.names
                    self.roles = roles_of(
                        schema, path, target, columns=columns, weight=weight, categories=categories, text=text,
                        hash_bits=hash_bits, missing=missing,
                    )  # fmt: skip
                    if batch_rows is None:
                        rows = BATCH_BYTES // (8 * len(self.roles.names))
                        self.batch_rows = max(LEAST_ROWS, min(BATCH_ROWS, rows // LEAST_ROWS * LEAST_ROWS))
                for name in self.roles.names:
                    if name not in own.names or own.field(name).type != schema.field(name).type:
                        found = own.field(name).type if name in own.names else "no such column"
                        raise TableError(
                            f"{path} must have the columns of {self.paths[0]}, {name!r} of {schema.field(name).type}; "
                            f"got {found}"
                        )
                footer_bytes += file.metadata.serialized_size
                if footer_bytes <= FOOTER_BYTES:
                    self._footers[path] = file.metadata
                self._add_groups(path, file.metadata)
                largest = max([largest, *_bytes(file.metadata)])
        self.mix = max(1, min(self.mix, OPEN_BYTES // largest))
        if not sum(self._group_rows):
            raise TableError(f"{self.paths[0]} has no rows")

    def _add_groups(self, path: str, metadata: Any) -> None:
        """Take neighbouring row groups together where they are small."""
        least, first = self.batch_rows // self.mix, 1
        groups: list[int] = []
        rows = 0
        for number in range(metadata.num_row_groups):
            groups.append(number)
            rows += metadata.row_group(number).num_rows
            if rows and (rows >= least or number == metadata.num_row_groups - 1):
                self._groups.append((path, groups, first))
                self._group_rows.append(rows)
                groups, first, rows = [], first + rows, 0

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return sum(self._group_rows)

    @property
    def group_rows(self) -> list[int]:
        """How many rows each group has."""
        return self._group_rows

    def describe(self) -> dict[str, Any]:
        """Return what tells these rows from others."""
        files = [Path(path).name for path in self.paths]
        return self._described(files=files, sizes=self._unchanged.sizes, groups=self._group_rows)

    def read(self, group: int, rows: int) -> Generator[ArrowRows]:
        """Yield the rows of a group."""
        path, groups, first = self._groups[group]
        footer = self._footers.get(path) if self._unchanged.holds(path) else None
        with closing(_opened(path, footer)) as file, said_of(path):
            # Small pieces are those of several groups, each of which is read by a thread of its own.
            alone = rows >= self.batch_rows
            for batch in file.iter_batches(rows, row_groups=groups, columns=self.roles.names, use_threads=alone):
                self._unchanged.check(path)
                yield ArrowRows(batch, path, first)
                first += batch.num_rows


def _bytes(metadata: Any) -> list[int]:
    """Return the size of each row group."""
    return [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]


def paths_of(paths: Any, suffix: str) -> list[str]:
    """Return the files that are named, those of folders among them.

    Raises
    ------
    TypeError, TableError
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(given, Sequence) or not all(isinstance(path, str | os.PathLike) for path in given):
        raise TypeError(f"paths must be a path or a sequence of paths; got {paths!r}")
    found = []
    for path in map(Path, given):
        found += sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    for path in found:
        if not path.exists():
            raise TableError(f"{path} cannot be read: no such file")
    if not found:
        raise TableError(f"paths must name a file, or a folder with files that end in {suffix}; got {paths!r}")
    return [str(path) for path in found]


class said_of:  # noqa: N801 - a context, like a function
    """What the system and Arrow have against a file, in one sentence that names it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, TableError):
            return
        if isinstance(error, OSError) and error.strerror:
            raise TableError(f"{self._path} cannot be read: {error.strerror}") from None
        if isinstance(error, (OSError, ValueError, *BROKEN, needs("pyarrow", "reading a table").ArrowException)):
            raise TableError(f"{self._path} cannot be read: {' '.join(str(error).split())}") from None


def _opened(path: str, footer: Any = None) -> Any:
    parquet = needs("pyarrow.parquet", "gdfast.tables.Parquet")
    with said_of(path):
        return parquet.ParquetFile(
            path, metadata=footer, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True
        )
