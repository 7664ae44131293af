"""CSV files in blocks of lines, each read like a file of its own, with the types of a model."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gdfast.tables.csv_files import Reading
from gdfast.tables.csv_layout import BROKEN, layout_of, opened
from gdfast.tables.errors import TableError
from gdfast.tables.reading import table_of_csv
from gdfast.tables.table import Table

#: characters of a block
BLOCK = 4 << 20


def csv_tables(data: str, reading: Reading, block: int = BLOCK) -> Iterator[Table]:
    """Yield the rows of a CSV file, or of those in a folder, some megabytes at a time.

    The names of the columns are in the first line of each file.

    Raises
    ------
    TableError
        If a file cannot be read.
    """
    path = Path(data)
    for file in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
        encoding = reading.encoding
        try:
            layout = layout_of(file, reading)
            encoding, how = layout.encoding, replace(reading, sep=layout.sep)
            with opened(file) as packed, io.TextIOWrapper(packed, encoding=encoding) as lines:
                head, signs = lines.readline().removeprefix("\ufeff"), set()
                for text in _blocks(lines, block):
                    if "\x00" in text:
                        raise TableError(f"{file} holds zero bytes, as no text does")
                    if text.strip():
                        table = table_of_csv(file, head + text, how, [])
                        signs |= {table.decimal} - {None}
                        if len(signs) > 1 and reading.decimal is None:  # 1,234 before may have been read wrongly
                            raise TableError(f"{file} shows its decimal sign late: say --decimal . or --decimal ,")
                        yield table
        except UnicodeError as error:
            reason = getattr(error, "reason", error)
            raise TableError(f"{file} cannot be read as {encoding} ({reason}): --encoding names another") from None
        except (OSError, *BROKEN) as error:
            raise TableError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _blocks(lines: io.TextIOBase, size: int) -> Iterator[str]:
    """Yield whole lines together; a line break within quotes ends none."""
    kept: list[str] = []
    length = quotes = 0
    for line in lines:
        kept.append(line)
        length, quotes = length + len(line), quotes + line.count('"')
        if length >= size and quotes % 2 == 0:
            yield "".join(kept)
            kept, length = [], 0
    yield "".join(kept)
