"""What the words of a file are: numbers as people write them, dates, or words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdfast.tables import dates, numerals
from gdfast.tables.choosing import FEW
from gdfast.tables.csv_files import Reading

Array = np.ndarray[Any, Any]

BOOLS = {"true": True, "false": False}


@dataclass
class Typed:
    """Columns with their types, the formats of dates, whether there are decimal commas, and what to say about them."""

    columns: dict[str, Array] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    decimal: str | None = None
    commas: bool = False
    notes: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def typed(frame: Any, reading: Reading, as_written: Sequence[str] = ()) -> Typed:
    """Return the columns of a frame that was read from CSV, by name: floats, whole numbers, bools, dates, or words.

    Columns of words that are numbers in another dress become numbers. The decimal sign is one for the whole file where
    a column leaves it open ("1,234"); a column in `as_written`, which pandas takes for numbers with a point, is only
    read with a comma if the user says so.
    """
    import pandas as pd

    found, open_columns, signs = Typed(), [], set()
    words: dict[str, list[str | None]] = {}
    for name, column in frame.items():
        if name in reading.texts:
            found.columns[name] = column.to_numpy(object)
        elif name in reading.categories or column.dtype.kind not in "biufM":
            words[name] = [_cleaned(cell) for cell in column.astype(object)]
            found.columns[name] = np.array([None])  # keeps the order
        else:
            found.columns[name] = column.to_numpy()
            if column.dtype.kind == "f" and not (column.dropna() % 1 == 0).all():
                signs.add(".")
    fits = {name: _fits(name, cells, reading) for name, cells in words.items()}
    signs |= {next(iter(fit)) for fit in fits.values() if len(fit) == 1}
    decided = reading.decimal or (next(iter(signs)) if len(signs) == 1 else reading.usual_decimal)
    for name, cells in words.items():
        fit = fits[name]
        if len(fit) == 2 and (decided is None or (name in as_written and reading.decimal is None)):
            if np.array_equal(numerals.to_numbers(cells, "."), numerals.to_numbers(cells, ","), equal_nan=True):
                fit = {"."}
            else:
                open_columns.append(name)
                continue
        if fit:
            decimal = decided if decided in fit else next(iter(fit))
            found.columns[name] = numerals.to_numbers(cells, str(decimal))
            if not reading.needed or name in reading.needed:
                hint = "" if reading.needed else f" (--category {name!r}: as words)"
                found.notes += _how(name, cells, hint, found.columns[name])
        else:
            _words_or_dates(name, cells, reading, found)
    found.decimal, found.commas = decided, decided == "," or {","} in fits.values()
    for name in open_columns:
        cell = next(c for c in words[name] if c and len(numerals.decimals_of([c])) == 2 and not c.isdigit())
        found.columns[name] = pd.Series(words[name], dtype=object).to_numpy(object)
        found.problems[name] = (
            f"column {name!r} holds {cell!r}, which may be {numerals.to_numbers([cell], '.')[0]:g} or "
            f"{numerals.to_numbers([cell], ',')[0]:g}: say --decimal . or --decimal ,"
        )
    return found


def _cleaned(cell: Any) -> str | None:
    """Return a cell without blanks around; None if it is empty."""
    return (str(cell).strip() or None) if cell is not None and cell == cell else None


def _fits(name: str, cells: list[str | None], reading: Reading) -> set[str]:
    if name in (*reading.categories, *reading.words, *reading.dates):
        return set()
    there = {cell for cell in cells if cell is not None}
    if name not in reading.numbers and numerals.are_codes(there):
        return set()
    return numerals.decimals_of(there)


def _how(name: str, cells: list[str | None], hint: str, column: Array) -> list[str]:
    """Say how a column was read as numbers, by an example."""
    there = [i for i, cell in enumerate(cells) if cell is not None]
    shown = next((i for i in there if not cells[i].isdigit() and not np.isnan(column[i])), None)  # type: ignore[union-attr]
    notes = []
    if shown is not None:
        notes.append(f"{name!r} is read as numbers, {cells[shown]!r} as {column[shown]:g}{hint}.")
    empty = sorted({str(cells[i]) for i in there if np.isnan(column[i])})
    if empty:
        notes.append(f"{', '.join(map(repr, empty))} in {name!r} is taken for a missing value.")
    return notes


def _words_or_dates(name: str, cells: list[str | None], reading: Reading, found: Typed) -> None:
    there = [cell for cell in cells if cell is not None]
    form = reading.dates.get(name)
    if form is None and name not in (*reading.categories, *reading.words, *reading.numbers):
        form = dates.format_of(sorted(set(there)))
        if form and dates.is_ambiguous(there, form) and not reading.needed:
            found.notes.append(f"{name!r} is read as month/day/year: write dates as 2026-12-31 if they are not.")
    stamps = dates.parse(cells, form) if form is not None else None
    if stamps is not None and form is not None:
        found.columns[name], found.dates[name] = stamps, form
        return
    found.columns[name] = np.array(cells, object)
    if name in (*reading.categories, *reading.words):
        return
    if name not in reading.numbers and numerals.are_codes(there):
        code = next(cell for cell in there if numerals.CODE.fullmatch(cell))
        said = f"{name!r} holds codes, such as {code!r}: read as words, not as numbers (--number {name!r}: as numbers)."
        found.notes += [] if reading.needed else [said]
        return
    if there and {cell.lower() for cell in there} <= BOOLS.keys():
        bools = np.array([cell and BOOLS[cell.lower()] for cell in cells], object)
        found.columns[name] = bools.astype(bool) if len(there) == len(cells) else bools
        if name in reading.numbers:
            found.columns[name] = bools.astype(float)  # None becomes NaN
        return
    problem = _not_all_numbers(name, cells, reading) if len(set(there)) > FEW or name in reading.numbers else None
    if problem is not None:
        found.problems[name] = problem


def _not_all_numbers(name: str, cells: list[str | None], reading: Reading) -> str | None:
    """Return what keeps a column of numbers from being one; None if it is none."""
    signs = {cell: numerals.decimals_of([cell]) for cell in cells if cell is not None and cell not in numerals.NOTHING}
    there = [i for i, cell in enumerate(cells) if cell in signs]
    odd = [i for i in there if not signs[str(cells[i])]]
    hint = "" if reading.needed else f", or read words with --category {name!r}"
    if odd and len(odd) < len(there) / 2:
        return (
            f"column {name!r} holds numbers in {len(there) - len(odd):,} rows, but {cells[odd[0]]!r} in row "
            f"{odd[0] + 1:,}: correct the {len(odd):,} that are none{hint}"
        )
    point, comma = (next((cell for cell, found in signs.items() if found == {sign}), None) for sign in ".,")
    if odd or point is None or comma is None:
        return None
    return f"column {name!r} holds {point!r} with a decimal point, and {comma!r} with a comma: correct them{hint}"
