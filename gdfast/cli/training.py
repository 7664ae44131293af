"""From a table to a trained model, and to the files that a training leaves."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from gdfast.checkpoint.files import replacing
from gdfast.cli.encoding import Encoder, check_category
from gdfast.cli.errors import UserError, listed
from gdfast.cli.missing import missing, settle
from gdfast.cli.model import FILE, Model
from gdfast.cli.settings import Settings, Shape
from gdfast.cli.tables import Table, check_columns, read

Array = np.ndarray[Any, Any]

#: whole numbers are classes if there are at most so many different ones, and of each so many rows on average
MOST_CLASSES, ROWS_A_CLASS = 20, 5
#: columns of the matrix that a text's n-grams share: a network has weights for each in every hidden unit
HASHES = {"linear": 2**18, "mlp": 2**14}
LOG, CURVE = "log.csv", "curve.png"
FILES = (FILE, CURVE, LOG)


@dataclass(frozen=True)
class Task:
    """What is to be learned: rows to train on, rows held out, and the estimator."""

    kind: str
    target: str
    train: Table
    train_y: Array
    test: Table
    test_y: Array
    encoder: Encoder
    matrix: Any
    settings: Settings
    notes: list[str]

    def make(self, lr: float | None = None, **options: Any) -> Any:
        """Return an estimator to train."""
        classes = len(np.unique(self.train_y)) if self.kind == "classification" else 1
        outputs = classes if classes > 2 else 1
        shape = Shape(len(self.train), self.matrix.shape[1] * outputs, self.encoder.is_sparse, bool(self.encoder.texts))
        return self.settings.estimator(self.kind, shape, lr).set_params(**options)


def prepare(data: str, settings: Settings) -> Task:
    """Read the data, decide what kind of task it is, hold rows out, and learn the encoding from the others.

    Raises
    ------
    UserError
        If anything about the data or the choices is wrong.
    """
    table = read(data, settings.text)
    target = _target(table, settings)
    check_columns(settings.text, table, "--text")
    check_columns(settings.drop, table, "--drop")
    if target in (*settings.text, *settings.drop):
        raise UserError(f"--target must not be left out or read as text; got {target!r} for both")
    table = table.without(settings.drop)
    table = settle(table, [name for name in table.columns if name != target], settings.missing, target)
    labels, features = table.columns[target], table.without([target])
    kind = _kind(labels, target, settings)
    y = _as_classes(labels, target) if kind == "classification" else _as_numbers(labels, target)
    train, test = _split(y, settings, kind)
    part = features.take(train)
    encoder = Encoder.learn(part, settings.text, settings.analyzer, HASHES[settings.model])
    settings.loss_for(kind)
    return Task(
        kind, target, part, y[train], features.take(test), y[test], encoder, encoder.encode(part), settings, table.notes
    )


def fit(task: Task, callbacks: Any = None) -> Model:
    """Train.

    Raises
    ------
    UserError
        If a choice does not suit the data, or the training diverges.
    """
    settings = task.settings
    found = find_lr(task).lr if settings.lr == "find" else None
    with fitting():
        estimator = task.make(found, callbacks=callbacks)
        begin = perf_counter()
        estimator.fit(task.matrix, task.train_y)
    about = {
        "rows": len(task.train),
        "epochs": estimator.n_iter_,
        "seconds": perf_counter() - begin,
        "loss": estimator.loss_curve_[-1],
        "lr found": found,
    }
    return Model(task.encoder, estimator, task.target, settings.missing, about)


def find_lr(task: Task) -> Any:
    """Sweep over the learning rate.

    Raises
    ------
    UserError
        As `fit`; or if the loss falls at no rate.
    """
    with fitting():
        found = task.make().lr_find(task.matrix, task.train_y)
        found.lr  # noqa: B018 - raises where there is none
    return found


@contextmanager
def fitting() -> Iterator[None]:
    """Say in one sentence what an estimator has against its data or parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about epochs that did not suffice: the report and the curve show it
        try:
            yield
        except (ValueError, TypeError, FloatingPointError) as error:
            raise UserError(" ".join(str(error).split())) from None


def train(data: str, settings: Settings, out: Path) -> tuple[Task, Model, dict[str, Any]]:
    """Train, score on the rows held out, and write model, curve and log: all of them or none.

    Returns
    -------
    task, model, scores
        `scores` is empty where no rows are held out.
    """
    import safetensors  # noqa: F401 - its absence is said before the training, not after it

    from gdfast.callbacks import CSVLogger
    from gdfast.cli import picture, report

    task = prepare(data, settings)
    with _files(out) as (log, curve, file):
        model = fit(task, [CSVLogger(log)])
        scores = report.scores(model, task.test, task.test_y) if len(task.test) else {}
        model = replace(model, about={**model.about, "held out": scores})
        picture.draw(model, task, curve)
        model.save(file)
    return task, model, scores


@contextmanager
def _files(out: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Give names for log, curve and model, which take their places in the folder when the block ends well."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            with (
                replacing(str(out / LOG)) as log,
                replacing(str(out / CURVE)) as curve,
                replacing(str(out / FILE)) as file,
            ):
                yield Path(log), Path(curve), Path(file)
        except OSError as error:
            raise UserError(
                f"--out must be a folder that can be written ({error.strerror}); got {str(out)!r}"
            ) from None
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _target(table: Table, settings: Settings) -> str:
    target = settings.target or table.target
    if target is None:
        raise UserError(f"--target must name the column to predict, one of {listed(table.columns)}")
    check_columns([target], table, "--target")
    return target


def _kind(labels: Array, target: str, settings: Settings) -> str:
    """Return what was chosen, or what the target looks like."""
    if settings.task != "auto":
        return settings.task
    if labels.dtype.kind in "bOmM":
        return "classification"
    different = np.unique(labels)
    whole = bool((different == np.round(different)).all())
    few = len(different) <= max(2, min(MOST_CLASSES, len(labels) // ROWS_A_CLASS))
    return "classification" if whole and few else "regression"


def _as_classes(labels: Array, target: str) -> Array:
    """Return labels as whole numbers, bools or strings."""
    if labels.dtype.kind == "f" and (labels == np.round(labels)).all():
        labels = labels.astype(np.int64)
    check_category(target, labels, often=False)
    classes = labels.astype(str) if labels.dtype.kind == "O" else labels
    found = np.unique(classes)
    if len(found) < 2:
        raise UserError(
            f"--target must have at least two classes to tell apart; {target!r} is always {found[0].item()!r}"
        )
    return classes


def _as_numbers(labels: Array, target: str) -> Array:
    if labels.dtype.kind not in "biuf":
        raise UserError(f"--target must hold numbers for a regression; {target!r} holds words, such as {labels[0]!r}")
    return labels.astype(np.float64)


def _split(y: Array, settings: Settings, kind: str) -> tuple[Array, Array]:
    """Return the rows to train on and those held out, each class in its share where it has two rows or more."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    if settings.test_size == 0:
        return rows, rows[:0]
    classify = kind == "classification"
    counts = np.unique(y, return_counts=True)[1] if classify else np.array([1])
    stratify = y if counts.min() >= 2 else None
    held_out = settings.test_size * len(y)
    if stratify is not None and min(held_out, len(y) - held_out) < len(counts):
        stratify = None
    try:
        train, test = train_test_split(
            rows, test_size=settings.test_size, random_state=settings.seed, stratify=stratify
        )
    except ValueError as error:
        raise UserError(f"--test-size must be such that rows are left on both sides: {error}") from None
    if classify and len(np.unique(y[train])) < 2:
        raise UserError("--target must have rows of two classes to train on: there are too few rows")
    return train, test


def labels_of(model: Model, table: Table) -> Array | None:
    """Return the true labels or numbers, where the data has the target in every row, as the model knows it."""
    labels = table.columns.get(model.target)
    if labels is None or missing(labels).any():
        return None
    if not model.classifies:
        return labels.astype(np.float64) if labels.dtype.kind in "biuf" else None
    classes = model.estimator.classes_
    labels = labels.astype(str) if classes.dtype.kind == "U" else labels
    return labels if labels.dtype.kind != "O" and np.isin(labels, classes).all() else None
