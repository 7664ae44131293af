"""From a file to a task: what is read, left out, refused, and held out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gdfast.cli.errors import UserError
from gdfast.cli.labels import as_classes, as_numbers, kind_of, known_labels
from gdfast.cli.model import Model
from gdfast.cli.settings import Settings
from gdfast.cli.splitting import split
from gdfast.cli.task import Rows, Task
from gdfast.tables.choosing import left_out, suspects
from gdfast.tables.encoding import check_categories
from gdfast.tables.errors import TableError, counted, listed, raise_all
from gdfast.tables.missing import apply_missing_policy
from gdfast.tables.numerals import are_codes, to_numbers
from gdfast.tables.parts import example
from gdfast.tables.reading import check_columns, read
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

#: columns of which it is said one by one why they are left out
MOST_NOTES = 10


def prepare(data: str, settings: Settings, continued: Model | None = None) -> Task:
    """Read the data, decide what kind of task it is, hold rows out, and learn the encoding from the others.

    Parameters
    ----------
    continued : Model, optional
        A model to train further: its columns, their types and encoding are taken as they are.

    Raises
    ------
    UserError, TableError
        If anything about the data or the choices is wrong.
    """
    options = settings.file_options()
    reading = continued.reading(**options) if continued else settings.reading()
    table = read(data, reading)
    target = continued.target if continued else _target(table, settings)
    rows = _rows(table, target, settings, continued)
    settings.loss_for(rows.kind)
    if continued is None:
        check_categories(rows.features, settings.text, settings.category)
    train, test = split(rows.y, settings, rows.kind, rows.by)
    training, held_out = rows.take(train), rows.take(test)
    task = Task.learn(training, held_out, settings, rows, continued.encoder if continued else None)
    return task if settings.valid is None else replace(task, held_out=_valid_rows(task, table.decimal))


def _rows(table: Table, target: str, settings: Settings, continued: Model | None) -> Rows:
    for option, names in settings.columns().items():
        check_columns(names, table, option)
    if target in (*settings.text, *settings.drop):
        raise UserError(f"--target must not be left out or read as text; got {target!r} for both")
    aside = {option: names[0] for option, names in settings.columns().items() if option in ASIDE and names}
    for option, name in aside.items():
        if name == target:
            raise UserError(f"{option} must be another column than the target; got {target!r}")
    asked = (*settings.text, *settings.category, *settings.number, *settings.keep)
    _check_numbers(table, settings.number)
    features = table.without([target, *settings.drop, *(name for name in aside.values() if name not in settings.keep)])
    if continued:
        check_columns([target, *continued.encoder.names], table, "--continue: the model's columns")
        features = features.without([name for name in features.columns if name not in continued.encoder.names])
    else:
        reasons = left_out(features.columns, asked)
        table.notes += _shortened(reasons)
        features = features.without(list(reasons))
        if not features.columns and features.sparse is None and reasons:
            raise TableError(f"no column is left beside the target: {'; '.join(reasons.values())}")
        table.notes += suspects(features.columns, asked)
    names = list(features.columns)
    used = table.without([name for name in table.columns if name not in (*names, target, *aside.values())])
    used = _whole(used, names, target, settings, list(aside.values()))
    labels = used.columns[target]
    if continued:
        for name, count in continued.encoder.unknown(used).items():
            hold = "holds" if count == 1 else "hold"
            used.notes.append(f"{counted(count, 'cell')} of {name!r} {hold} what is no category of the model.")
        classes = continued.estimator.classes_ if continued.classifies else None
        kind, y = "classification" if continued.classifies else "regression", known_labels(labels, target, classes)[1]
        unknown = [] if classes is None else sorted({str(label) for label in y[~np.isin(y, classes)]})
        if unknown:
            raise UserError(f"--continue: {target!r} holds classes that the model does not know: {listed(unknown, 3)}")
        if classes is not None and len(np.unique(y)) < len(classes):
            raise UserError(f"--continue: the data must have rows of every class of the model, {listed(classes)}")
    else:
        kind, said = kind_of(labels, target, settings)
        used.notes += said
        y = as_classes(labels, target) if kind == "classification" else as_numbers(labels, target)
    weights = None if settings.weight is None else weights_of(used.columns[settings.weight], settings.weight)
    by = _by(used, settings)
    features = used.without([name for name in used.columns if name not in names])
    return Rows(kind, target, features, y, weights, by, used.notes)


def _shortened(reasons: dict[str, str]) -> list[str]:
    """Return why columns are left out, each in a line: of many columns those of the first, and the names of others."""
    names, notes = list(reasons), list(reasons.values())
    if len(notes) <= MOST_NOTES + 1:
        return notes
    others = names[MOST_NOTES:]
    return [*notes[:MOST_NOTES], f"{len(others):,} more columns are left out likewise: {listed(map(repr, others))}"]


def _check_numbers(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if table.columns[name].dtype.kind not in "biuf":
            raise UserError(f"--number must be a column of numbers; {name!r} holds {example(table.columns[name])}")


#: options that name a column which is used, but not as a feature
ASIDE = ("--weight", "--group", "--time")


def _whole(table: Table, names: list[str], target: str, settings: Settings, aside: list[str]) -> Table:
    """Return the rows without gaps, or say all that is wrong with the columns at once."""
    problems = [sentence for name, sentence in table.problems.items() if name in table.columns]
    try:
        table = apply_missing_policy(
            table, names, settings.missing, target, target_policy=settings.missing_target, strict=aside
        )
    except TableError as error:
        problems.append(str(error))
    raise_all(problems)
    return table


def _target(table: Table, settings: Settings) -> str:
    target = settings.target or table.target
    if target is None:
        raise UserError(f"--target must name the column to predict, one of {listed(table.columns)}")
    check_columns([target], table, "--target")
    return target


def weights_of(column: Array, name: str) -> Array:
    """Return what each row counts.

    Raises
    ------
    UserError
        If the column holds something else than numbers of at least 0, or only zeros.
    """
    if column.dtype.kind not in "biuf" or not (column >= 0).all() or not column.any():
        raise UserError(f"--weight must be a column of numbers of at least 0, not all of them 0; {name!r} is not")
    return column.astype(np.float64)


def _by(table: Table, settings: Settings) -> Array | None:
    """Return the groups, by number, or the times."""
    if settings.time is not None:
        column = table.columns[settings.time]
        if column.dtype.kind == "O" and are_codes(set(map(str, column))):
            return to_numbers(column, ".")
        if column.dtype.kind not in "biufM":
            raise UserError(f"--time must be a column of numbers or dates; {settings.time!r} holds {column[0]!r}")
        return column
    if settings.group is None:
        return None
    words = table.columns[settings.group].astype(str)
    groups = np.unique(words, return_inverse=True)[1]
    if groups.max() == 0:
        raise UserError(f"--group must have at least two groups; {settings.group!r} is always {str(words[0])!r}")
    return np.asarray(groups)


def _valid_rows(task: Task, decimal: str | None) -> Rows:
    """Read the file of rows to judge by, with the types of the training."""
    settings, classes = task.settings, np.unique(task.train_y) if task.kind == "classification" else None
    path = str(settings.valid)
    model = Model(task.encoder, None, task.target, decimal=decimal)
    table = read(path, model.reading(classes, **settings.file_options()))
    check_columns([task.target], table, f"--target in {path}")
    check_columns(task.encoder.names, table, f"the columns of {path}")
    aside = [settings.weight] if settings.weight else []
    check_columns(aside, table, "--weight")
    names = task.encoder.names
    used = table.without([name for name in table.columns if name not in (*names, task.target, *aside)])
    used = _whole(used, names, task.target, settings, aside)
    y = known_labels(used.columns[task.target], task.target, classes)[1]
    weights = weights_of(used.columns[aside[0]], aside[0]) if aside else None
    return Rows(task.kind, task.target, used.without([task.target]), y, weights)
