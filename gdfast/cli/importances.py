"""What a model's predictions depend on: its largest coefficients, or what shuffling a column costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdfast.cli.model import Model
from gdfast.cli.task import Task
from gdfast.tables.encoding import Encoder
from gdfast.tables.parts import Text, mean_and_deviation
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

MOST = 10
MEASURED = "loss of score when the column is shuffled"
#: rows and columns with which a network's importances are measured at most
MOST_ROWS, MOST_COLUMNS = 1000, 50
#: texts in which the n-grams that matter are looked for
MOST_TEXTS = 5000


def importances(model: Model, task: Task) -> tuple[str, list[list[Any]]]:
    """Return what is measured, and the names and values of what matters most, largest first.

    Of a linear model: coefficients times the deviation of their column, with the class where there are several. Of a
    network: how much worse its score on rows held out becomes when a column is shuffled; nothing where no rows are.
    """
    if hasattr(model.estimator, "coef_"):
        return "coefficients, each for a standard deviation of its column", _coefficients(model, task)
    names = model.encoder.names
    if len(names) <= MOST_COLUMNS:
        return MEASURED, _permutations(model, task, names)
    largest = _largest(model, task)
    few = f", of the {MOST_COLUMNS} of {len(names):,} columns with the largest weights"
    return f"{MEASURED}{few}", _permutations(model, task, largest)


def _coefficients(model: Model, task: Task) -> list[list[Any]]:
    effects = np.atleast_2d(model.estimator.coef_) * _deviations(task.matrix)
    order = np.argsort(-np.abs(effects), axis=None, kind="stable")[:MOST]
    names = _names(model.encoder, task.train, sorted({int(column) for column in order % effects.shape[1]}))
    found = []
    for row, column in zip(*np.unravel_index(order, effects.shape), strict=True):
        of = f" -> {model.estimator.classes_[row]}" if len(effects) > 1 else ""
        found.append([f"{names[column]}{of}", float(effects[row, column])])
    return [item for item in found if item[1]]


def _names(encoder: Encoder, table: Table, columns: list[int]) -> dict[int, str]:
    """Return names for columns of the matrix; those of n-grams are found again in the first texts."""
    every, start = encoder.feature_names, 0
    names = {column: every[column] for column in columns}
    for part in encoder.parts:
        own = [column for column in columns if start <= column < start + part.width]
        if isinstance(part, Text) and own:
            texts = table.take(np.arange(min(len(table), MOST_TEXTS)))
            ngrams = part.ngrams(texts, [column - start for column in own])
            names |= {column: f"{part.name}: {ngram!r}" for column, ngram in zip(own, ngrams, strict=True)}
        start += part.width
    return names


def _deviations(matrix: Any) -> Array:
    if isinstance(matrix, np.ndarray):
        return np.array([mean_and_deviation(column)[1] for column in matrix.T])
    squares = matrix.multiply(matrix).mean(axis=0)
    variances = np.asarray(squares - np.square(matrix.mean(axis=0))).ravel()
    return np.asarray(np.sqrt(np.maximum(variances, 0.0)))


class _Columns:
    """The model as an estimator of rows of a pandas frame, for scikit-learn's permutations."""

    def __init__(self, model: Model, others: Mapping[str, Array]) -> None:
        self.model, self.others = model, others

    def fit(self, rows: Any, y: Any) -> "_Columns":
        """Do nothing: it is fitted."""
        return self

    def score(self, rows: Any, y: Array, sample_weight: Array | None = None) -> float:
        """Return accuracy or R2."""
        table = Table({**self.others, **{str(name): rows[name].to_numpy() for name in rows}})
        return float(self.model.estimator.score(self.model.encoder.encode(table), y, sample_weight))


def _largest(model: Model, task: Task) -> list[str]:
    """Return the columns with the largest weights of the first layer, each for a deviation of its input."""
    sizes = np.linalg.norm(model.estimator.coefs_[0], axis=1) * _deviations(task.matrix)
    found: dict[str, float] = {}
    start = 0
    for part in model.encoder.parts:
        own = sizes[start : start + part.width]
        each = own if len(own) == len(part.names) else np.full(len(part.names), np.linalg.norm(own))
        found |= dict(zip(part.names, each.tolist(), strict=True))
        start += part.width
    return sorted(found, key=lambda name: -found[name])[:MOST_COLUMNS]


def _permutations(model: Model, task: Task, names: list[str]) -> list[list[Any]]:
    if not len(task.test) or len(names) < 2 or task.test.sparse is not None:
        return []
    import pandas as pd
    from sklearn.inspection import permutation_importance

    weights = task.held_out.weights
    rows = task.test.take(np.arange(min(len(task.test), MOST_ROWS)))
    frame = pd.DataFrame({name: pd.Series(rows.columns[name], dtype=rows.columns[name].dtype) for name in names})
    found = permutation_importance(
        _Columns(model, rows.columns),
        frame,
        task.test_y[: len(rows)],
        n_repeats=3,
        random_state=task.settings.seed,
        sample_weight=None if weights is None else weights[: len(rows)],
    ).importances_mean
    order = np.argsort(-found, kind="stable")[:MOST]
    return [[names[i], float(found[i])] for i in order if found[i] > 0]
