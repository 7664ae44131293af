"""Columns that teach nothing, or the wrong thing: empty ones, constants, row numbers, ids."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from gdfast.tables.missing import missing
from gdfast.tables.numerals import is_number

Array = np.ndarray[Any, Any]

#: n different values are never too many categories
FEW = 20
#: nor are more, if there are at most as many, and each comes twice; beyond, each has to come ten times
MANY, ROWS_A_CATEGORY = 1000, 10
#: fewer rows say little about whether whole numbers count them
LEAST_ROWS = 10


def too_many(different: int, rows: int) -> bool:
    """Return whether n different values are too many for categories."""
    return different > max(FEW, min(rows / 2, max(MANY, rows / ROWS_A_CATEGORY)))


def left_out(columns: Mapping[str, Array], asked: Sequence[str] = ()) -> dict[str, str]:
    """Return the columns to leave out, each with the sentence that says why, and how to have it otherwise.

    Parameters
    ----------
    columns : mapping of str to (rows,) array
        The features.
    asked : sequence of str
        Columns that the user wants as they are.
    """
    reasons = {}
    for name, column in columns.items():
        gaps = missing(column)
        if gaps.all():
            reasons[name] = "is empty"
        elif name not in asked:
            reason = _reason(name, column[~gaps], len(column))
            reasons |= {name: reason} if reason else {}
    return {name: f"{name!r} {reason}: left out" for name, reason in reasons.items()}


def _reason(name: str, cells: Array, rows: int) -> str | None:
    keep = f"(--keep {name!r} takes it)"
    if cells.dtype.kind == "O":
        if any(type(cell) not in (str, bool, int, float) for cell in cells):
            return None  # refused where it would be used
        different = len(set(cells))
        if different == 1 and len(cells) == rows:
            return f"is always {cells[0]!r} {keep}"
        every = "in every row" if different == rows else f"in {rows:,} rows"
        if _mostly_numbers(cells):
            return None  # refused where it would be used: a few cells have to be corrected
        words = f"has {different:,} different words {every} (--text {name!r} reads it as text)"
        return words if too_many(different, len(cells)) else None
    values = np.unique(cells)
    if len(values) == 1 and len(cells) == rows:
        return f"is always {values[0]} {keep}"
    if cells.dtype.kind in "iu" and len(values) == rows >= LEAST_ROWS and _counts(cells, values):
        return f"numbers the rows: a different whole number in each {keep}"
    return None


def _mostly_numbers(cells: Array) -> bool:
    """Return whether a few words stand among numbers, such as "Total" below them."""
    few = max(1, len(cells) // 20)
    odd = list(islice((cell for cell in cells if not (isinstance(cell, str) and is_number(cell))), few + 1))
    return 0 < len(odd) <= few


def _counts(cells: Array, values: Array) -> bool:
    """Return whether different whole numbers rise, fall, or leave nothing out."""
    dense = int(values[-1]) - int(values[0]) + 1 == len(values)
    rising = bool((cells[1:] > cells[:-1]).all() or (cells[1:] < cells[:-1]).all())
    return dense or rising


def suspects(columns: Mapping[str, Array], asked: Sequence[str] = ()) -> list[str]:
    """Return a sentence about each column that is used, and looks like an id."""
    found = []
    for name, column in columns.items():
        if column.dtype.kind not in "iu" or name in asked or len(column) < LEAST_ROWS:
            continue
        different = len(np.unique(column))
        if different == len(column):
            found.append(f"{name!r} has a different whole number in every row: if it is an id, --drop {name!r}")
        elif different > FEW and bool((column[1:] >= column[:-1]).all()):
            found.append(f"{name!r} rises from row to row: if it is an id, --drop {name!r}")
    return found
