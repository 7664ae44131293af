"""How good a model is on rows that it has not seen: numbers, and the lines that show them."""

from typing import Any

import numpy as np

from gdfast.cli.model import Model
from gdfast.tables.reading import Table

Array = np.ndarray[Any, Any]

#: a confusion matrix of more classes would not fit
MOST_SHOWN = 15


def scores(model: Model, table: Table, true: Array) -> dict[str, Any]:
    """Return the scores as plain data: accuracy, f1 and the confusion matrix, or R2, MAE and RMSE.

    F1 is that of the last class where there are two, else the mean over the classes.
    """
    return compare(model, model.estimator.predict(model.encoder.encode(table)), true)


def compare(model: Model, predicted: Array, true: Array) -> dict[str, Any]:
    """Return the scores of predictions."""
    from sklearn import metrics

    if not model.classifies:
        return {
            "r2": float(metrics.r2_score(true, predicted)) if len(true) > 1 else float("nan"),
            "mae": float(metrics.mean_absolute_error(true, predicted)),
            "rmse": float(metrics.root_mean_squared_error(true, predicted)),
        }
    classes = model.estimator.classes_
    matrix = metrics.confusion_matrix(true, predicted, labels=classes)
    each = metrics.f1_score(true, predicted, labels=classes, average=None, zero_division=0.0)
    return {
        "accuracy": float(metrics.accuracy_score(true, predicted)),
        "f1": float(each[-1] if len(classes) == 2 else each.mean()),
        "confusion matrix": matrix.tolist(),
    }


def lines(model: Model, found: dict[str, Any]) -> list[str]:
    """Return the report on held-out rows, line by line."""
    if not model.classifies:
        return [
            _line("R2", f"{found['r2']:.4f}"),
            _line("MAE", f"{found['mae']:.4g}"),
            _line("RMSE", f"{found['rmse']:.4g}"),
        ]
    classes = [str(label) for label in model.estimator.classes_.tolist()]
    matrix = np.array(found["confusion matrix"])
    usual = matrix.sum(axis=1).max() / max(matrix.sum(), 1)
    of = f"of class {classes[-1]}" if len(classes) == 2 else f"mean of {len(classes)} classes"
    shown = [
        _line("accuracy", f"{found['accuracy']:.4f}  (always the most frequent class: {usual:.4f})"),
        _line("F1", f"{found['f1']:.4f}  ({of})"),
    ]
    return shown + (_confusion(classes, matrix) if len(classes) <= MOST_SHOWN else [])


def _confusion(classes: list[str], matrix: Array) -> list[str]:
    names = [name if len(name) <= 12 else name[:11] + "~" for name in classes]
    width = max(5, *(len(name) for name in names), len(str(matrix.max())))
    left = max(len("true"), *(len(name) for name in names))
    head = "".join(f" {name:>{width}}" for name in names)
    rows = [
        f"  {name:>{left}}{''.join(f' {count:>{width}}' for count in row)}"
        for name, row in zip(names, matrix, strict=True)
    ]
    return ["confusion matrix, predicted in columns", f"  {'true':>{left}}{head}", *rows]


def _line(name: str, value: str) -> str:
    return f"{name:<15}{value}"
