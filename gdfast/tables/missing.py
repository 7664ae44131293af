"""Cells without a value: counted by column, and refused unless the user says what to do about them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdfast.tables.errors import TableError, listed
from gdfast.tables.reading import Table

POLICIES = ("error", "drop", "fill")

Array = np.ndarray[Any, Any]


def apply_missing_policy(
    table: Table, names: Sequence[str], policy: str, target: str | None = None, may_drop: bool = True
) -> Table:
    """Return the rows that can be used.

    Parameters
    ----------
    names : sequence of str
        The columns that are used, the target not among them.
    policy : {"error", "drop", "fill"}
        "drop" leaves rows out; with "fill" a number becomes the mean of the training data, a category an unknown one.
    target : str, optional
        Its column, which nothing fills.
    may_drop : bool
        Whether rows may be left out at all, for the error.

    Raises
    ------
    TableError
        Naming the columns and how many cells they lack; or that numbers are infinite; or that no row is left.
    """
    everything = [*names, *([] if target is None else [target])]
    for name in everything:
        count = _infinite(table.columns[name])
        if count:
            raise TableError(f"column {name!r} has {_count(count, 'infinite number')}: correct them, or leave it out")
    gaps = {name: gap for name in everything if (gap := missing(table.columns[name])).any()}
    if policy == "fill":
        filled = sum(int(gap.sum()) for name, gap in gaps.items() if name != target)
        table.notes += [f"{_count(filled, 'missing value')} filled in."] if filled else []
        gaps = {name: gap for name, gap in gaps.items() if name == target}
    if not gaps:
        return table
    if policy != "drop":
        counts = listed(f"{name!r} has {_count(int(gap.sum()), 'missing value')}" for name, gap in gaps.items())
        ways = ["--missing drop leaves such rows out"] * may_drop + ["--missing fill fills them in"] * (
            policy == "error"
        )
        raise TableError(f"column {counts} in {len(table):,} rows: {', '.join(ways)}")
    whole = ~np.logical_or.reduce(list(gaps.values()))
    if not whole.any():
        raise TableError(f"every row has a missing value, in {listed(map(repr, gaps))}: leave columns out with --drop")
    table.notes.append(f"{int((~whole).sum()):,} of {len(table):,} rows were left out for missing values.")
    return table.take(whole)


def missing(column: Array) -> Array:
    """Return where a column has no value."""
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind == "O":
        return np.array([cell is None or cell != cell for cell in column], bool)
    return np.zeros(len(column), bool)


def _infinite(column: Array) -> int:
    return int(np.isinf(column).sum()) if column.dtype.kind == "f" else 0


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
