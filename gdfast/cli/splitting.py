"""Which rows a model is trained on, and which it is judged by."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gdfast.cli.errors import UserError
from gdfast.cli.settings import Settings

Array = np.ndarray[Any, Any]


def split(y: Array, settings: Settings, kind: str, by: Array | None = None) -> tuple[Array, Array]:
    """Return the rows to train on and those held out.

    Each class is held out in its share where it has two rows or more; with ``--group`` whole groups, with ``--time``
    the last rows.

    Raises
    ------
    UserError
        If too few rows are left on a side.
    """
    from sklearn.model_selection import GroupShuffleSplit

    rows = np.arange(len(y))
    if settings.test_size == 0 or settings.valid is not None or settings.folds is not None:
        return (np.argsort(by, kind="stable") if settings.time is not None and by is not None else rows), rows[:0]
    try:
        if by is None:
            train, test = _random(y, settings, kind, rows)
        elif settings.time is not None:
            order = np.argsort(by, kind="stable")
            count = max(1, round(settings.test_size * len(y)))
            train, test = order[:-count], order[-count:]
        else:
            splitter = GroupShuffleSplit(1, test_size=settings.test_size, random_state=settings.seed)
            train, test = next(splitter.split(rows, groups=by))
    except ValueError as error:
        raise UserError(f"--test-size must be such that rows are left on both sides: {error}") from None
    if not len(train):
        raise UserError(f"--test-size must be such that rows are left on both sides; got {settings.test_size}")
    if kind == "classification" and len(np.unique(y[train])) < 2:
        raise UserError("--target must have rows of two classes to train on: there are too few rows")
    return train, test


def _random(y: Array, settings: Settings, kind: str, rows: Array) -> tuple[Array, Array]:
    from sklearn.model_selection import train_test_split

    counts = np.unique(y, return_counts=True)[1] if kind == "classification" else np.array([1])
    stratify = y if counts.min() >= 2 else None
    held_out = settings.test_size * len(y)
    if stratify is not None and min(held_out, len(y) - held_out) < len(counts):
        stratify = None
    train, test = train_test_split(rows, test_size=settings.test_size, random_state=settings.seed, stratify=stratify)
    return train, test


def folds(y: Array, settings: Settings, kind: str, by: Array | None = None) -> Iterator[tuple[Array, Array]]:
    """Return for each fold the rows to train on and those to judge by.

    Raises
    ------
    UserError
        If there are too few rows, groups, or rows of a class.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    rows, count = np.arange(len(y)), settings.folds or 0
    splitter: Any
    if by is not None and settings.time is not None:
        rows, splitter = np.argsort(by, kind="stable"), TimeSeriesSplit(count)
    elif by is not None:
        splitter = GroupKFold(count)
    elif kind == "classification" and np.unique(y, return_counts=True)[1].min() >= count:
        splitter = StratifiedKFold(count, shuffle=True, random_state=settings.seed)
    else:
        splitter = KFold(count, shuffle=True, random_state=settings.seed)
    try:
        found = list(splitter.split(rows, y, groups=None if settings.time is not None else by))
    except ValueError as error:
        raise UserError(f"--folds must be such that each fold has rows: {error}") from None
    for train, test in found:
        if kind == "classification" and len(np.unique(y[rows[train]])) < 2:
            raise UserError("--folds must leave rows of two classes to train on in each fold: there are too few rows")
        yield rows[train], rows[test]
