"""Columns of dates: found in words, and taken apart into numbers (year, month, weekday, hour, days)."""

import re
from collections.abc import Sequence
from datetime import date, time
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: how dates are written: what a cell looks like, and the formats to try, the first that fits every cell
SHAPES = (
    (re.compile(r"\d{4}-\d\d?-\d\d?([ T]\d\d?:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?"), ("ISO8601",)),
    (re.compile(r"\d{4}/\d\d?/\d\d?"), ("%Y/%m/%d",)),
    (re.compile(r"\d\d?\.\d\d?\.\d{4}"), ("%d.%m.%Y",)),
    (re.compile(r"\d\d?\.\d\d?\.\d{4} \d\d?:\d\d"), ("%d.%m.%Y %H:%M",)),
    (re.compile(r"\d\d?/\d\d?/\d{4}"), ("%m/%d/%Y", "%d/%m/%Y")),
    (re.compile(r"\d\d?/\d\d?/\d{4} \d\d?:\d\d"), ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M")),
    (re.compile(r"\d\d?:\d\d:\d\d"), ("%H:%M:%S",)),
    (re.compile(r"\d\d?:\d\d"), ("%H:%M",)),
)
FORMATS = tuple(form for _, forms in SHAPES for form in forms)
PARTS = ("year", "month", "weekday", "hour", "days")


def format_of(cells: Sequence[str]) -> str | None:
    """Return the format in which every cell is a date or a time of day; None if there is none."""
    for shape, forms in SHAPES:
        if cells and all(shape.fullmatch(cell) for cell in cells):
            return next((form for form in forms if parse(cells, form) is not None), None)
    return None


def is_ambiguous(cells: Sequence[str], form: str) -> bool:
    """Return whether day and month could be exchanged."""
    return form.startswith("%m/%d") and parse(cells, form.replace("%m/%d", "%d/%m")) is not None


def parse(cells: Sequence[Any], form: str) -> Array | None:
    """Return cells as datetime64[s], NaT where there is nothing; None if one is no date in this format."""
    import pandas as pd

    if not all(cell is None or cell[:1].isdigit() for cell in cells):  # pandas knows "now" and "today"
        return None
    try:
        stamps = pd.to_datetime(pd.Series(cells, dtype=object), format=form, utc=True)
    except (ValueError, OverflowError):
        return None
    return np.asarray(stamps.dt.tz_localize(None).to_numpy("M8[s]"))


def stamps_of(column: Any) -> Array | None:
    """Return a pandas column of Python's dates or times of day, which Arrow gives, as `parse` does; None of others."""
    there = column.dropna()
    first = next(iter(there), None)
    if type(first) not in (date, time):
        return None
    cells = column.astype(object).where(column.notna(), None)
    return parse([cell and cell.isoformat() for cell in cells], "ISO8601" if type(first) is date else "%H:%M:%S")


def parts_of(column: Array) -> dict[str, Array]:
    """Return the numbers that a column of dates holds, by name; NaN where there is no date."""
    stamps = column.astype("M8[s]")
    days = stamps.astype("M8[D]")
    found = {
        "year": stamps.astype("M8[Y]").astype(float) + 1970,
        "month": stamps.astype("M8[M]").astype(float) % 12 + 1,
        "weekday": (days.astype(float) + 3) % 7,
        "hour": (stamps - days).astype(float) / 3600,
        "days": stamps.astype(float) / 86400,
    }
    return {name: np.where(np.isnat(column), np.nan, values) for name, values in found.items()}
