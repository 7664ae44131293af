"""Rows of data: sources that give them in batches; files read as columns, missing values, columns encoded as numbers.

`Parquet` and `CSV` need pyarrow (``pip install "gdfast[stream]"``), which is imported with the first of them.

It uses no other room.
"""

from gdfast.tables.arrays import Arrays, Batches
from gdfast.tables.batches import Batch
from gdfast.tables.csv_source import CSV
from gdfast.tables.errors import TableError
from gdfast.tables.parquet import Parquet
from gdfast.tables.source import Source, Stream

__all__ = ["CSV", "Arrays", "Batch", "Batches", "Parquet", "Source", "Stream", "TableError"]
