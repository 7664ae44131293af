"""A table: columns of equal length, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass
class Table:
    """Columns of equal length, by name.

    Attributes
    ----------
    columns : dict of str to (rows,) array
        Numbers, bools, dates, or objects: anything, and None where there is nothing.
    sparse : CSR matrix or None
        More numbers, without names.
    target : str or None
        The column to predict, where the data says which it is.
    notes : list of str
        What the user should know about how it was read.
    problems : dict of str to str
        Columns that cannot be used as they are, and the sentence that says why.
    dates : dict of str to str
        The format in which each column of dates was written.
    decimal : str or None
        The decimal sign, where the file shows it.
    zero_based : bool or None
        Whether the file counts the numbers without names from 0, not from 1; None where it does not count them.
    """

    columns: dict[str, Array]
    sparse: Any = None
    target: str | None = None
    notes: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    decimal: str | None = None
    zero_based: bool | None = None

    def __len__(self) -> int:
        if self.sparse is not None:
            return int(self.sparse.shape[0])
        return len(next(iter(self.columns.values()), ()))

    def take(self, rows: Array) -> "Table":
        """Return the table of these rows, given by number or as a mask."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return replace(self, columns=columns, sparse=None if self.sparse is None else self.sparse[rows])

    def without(self, names: Sequence[str]) -> "Table":
        """Return the table without these columns."""
        columns = {name: column for name, column in self.columns.items() if name not in names}
        return replace(self, columns=columns)
