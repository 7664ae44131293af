"""The target: what kind of task it makes, and its cells as classes or numbers."""

from typing import Any

import numpy as np

from gdfast.cli.errors import UserError
from gdfast.cli.settings import Settings
from gdfast.tables.errors import listed
from gdfast.tables.missing import missing
from gdfast.tables.parts import check_category

Array = np.ndarray[Any, Any]

#: whole numbers are classes if there are at most n different ones, and of each n rows on average; words likewise
MOST_CLASSES, ROWS_A_CLASS = 20, 5


def kind_of(labels: Array, target: str, settings: Settings) -> tuple[str, list[str]]:
    """Return "classification" or "regression", as was chosen or as the target looks like, and what to say about it.

    Raises
    ------
    UserError
        If the target holds more different words than there can be classes, and nobody has asked for classes.
    """
    if settings.task != "auto":
        return settings.task, []
    if labels.dtype.kind in "OmM":
        check_category(target, labels, often=False)
    different: Any = set(labels.tolist()) if labels.dtype.kind == "O" else np.unique(labels)
    count = f"{len(different):,} different"
    if labels.dtype.kind in "OmM":
        if len(different) > max(MOST_CLASSES, len(labels) // ROWS_A_CLASS):
            raise UserError(
                f"--target must hold numbers or classes; {target!r} holds {count} words in {len(labels):,} rows, such "
                f"as {listed(map(repr, sorted(map(str, different))), 3)}: --task classification takes them all the same"
            )
        return "classification", [f"{target!r} holds {count} words: taken as classes."]
    if labels.dtype.kind == "b":
        return "classification", []
    whole = bool((different == np.round(different)).all())
    few = len(different) <= max(2, min(MOST_CLASSES, len(labels) // ROWS_A_CLASS))
    if whole and few:
        return "classification", [
            f"{target!r} holds {count} whole numbers: taken as classes, --task regression otherwise."
        ]
    said = f"{target!r} holds {count} numbers: taken as numbers"
    return "regression", [f"{said}, --task classification otherwise." if whole else f"{said}."]


def as_classes(labels: Array, target: str) -> Array:
    """Return labels as whole numbers, bools or strings.

    Raises
    ------
    UserError
        If there is only one class.
    """
    if labels.dtype.kind == "f" and (labels == np.round(labels)).all() and np.abs(labels).max() < 2**63:
        labels = labels.astype(np.int64)
    check_category(target, labels, often=False)
    classes = labels.astype(str) if labels.dtype.kind in "Of" else labels
    found = np.unique(classes)
    if len(found) < 2:
        raise UserError(
            f"--target must have at least two classes to tell apart; {target!r} is always {found[0].item()!r}"
        )
    return classes


def as_numbers(labels: Array, target: str) -> Array:
    """Return labels as float64.

    Raises
    ------
    UserError
        If they are words or dates.
    """
    if labels.dtype.kind not in "biuf":
        what = "dates" if labels.dtype.kind == "M" else f"words, such as {labels[0]!r}"
        raise UserError(f"--target must hold numbers for a regression; {target!r} holds {what}")
    return labels.astype(np.float64)


def known_labels(labels: Array, target: str, classes: Array | None) -> tuple[Array, Array]:
    """Return the rows that have the target, and their labels as a model knows them.

    Parameters
    ----------
    labels : (rows,) array
        The column.
    classes : (classes,) array or None
        Those of the model; None for a regression.

    Returns
    -------
    rows : (rows,) bool array
    labels : array
        Of these rows; some may be classes that the model does not know.

    Raises
    ------
    UserError
        If no row has the target, or none a class that the model knows, or one has words or fractions where its classes
        are whole numbers.
    """
    rows = ~missing(labels)
    there = labels[rows]
    if not len(there):
        raise UserError(f"no row has a value of {target!r}")
    if classes is None:
        numbers = as_numbers(there, target)
        if not np.isfinite(numbers).all():
            raise UserError(f"column {target!r} has infinite numbers")
        return rows, numbers
    there = _of_kind(there, classes)
    of_kind = there.dtype.kind in ("iu" if classes.dtype.kind in "iu" else classes.dtype.kind)
    if not of_kind or not np.isin(there, classes).any():
        found = sorted({str(cell) for cell in there} - set(map(str, classes.tolist())))
        raise UserError(f"{target!r} holds classes that the model does not know, such as {listed(found, 3)}")
    return rows, there


def _of_kind(labels: Array, classes: Array) -> Array:
    """Return labels in the type of a model's classes, where they can be."""
    if classes.dtype.kind == "U":
        return labels.astype(str)
    if classes.dtype.kind == "b":  # a gap makes 1.0 of True
        return (
            labels.astype(bool) if all(type(cell) is bool or cell in (0.0, 1.0) for cell in labels.tolist()) else labels
        )
    whole = labels.dtype.kind == "f" and (labels == np.round(labels)).all() and np.abs(labels).max() < 2**63
    return labels.astype(np.int64) if whole else labels
