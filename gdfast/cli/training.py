"""From a task to a trained model, and to the files that a training leaves."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from gdfast.checkpoint.files import replacing
from gdfast.cli.course import optimizer_of, takes_all_rows
from gdfast.cli.errors import UserError
from gdfast.cli.guess import guess_of, seen_of
from gdfast.cli.model import FILE, Model
from gdfast.cli.outputs import check_folder
from gdfast.cli.preparing import prepare
from gdfast.cli.settings import Settings
from gdfast.cli.splitting import folds
from gdfast.cli.task import Task

#: parameters of estimators by their options, for what estimators say
OPTIONS = {
    "alpha": "--alpha",
    "batch_size": "--batch-size",
    "early_stopping": "--early-stopping",
    "hidden_layer_sizes": "--hidden",
    "lr": "--lr",
    "max_iter": "--epochs",
}
LOG, CURVE = "log.csv", "curve.png"
FILES = (FILE, CURVE, LOG)


def fit(task: Task, callbacks: Sequence[Any] = (), continued: Model | None = None) -> Model:
    """Train; what callbacks say of their own `seconds` does not count.

    Raises
    ------
    UserError
        If a choice does not suit the data, or the training diverges.
    """
    settings = task.settings
    found = find_lr(task).lr if settings.lr == "find" else None
    with fitting() as warned:
        estimator = task.make(found, callbacks=list(callbacks))
        begin = perf_counter()
        if continued:
            _go_on(estimator, continued, task)
        estimator.fit(task.matrix, task.train_y, sample_weight=task.training.weights)
    about = {
        "rows": len(task.train),
        "epochs": estimator.n_iter_,
        "seconds": perf_counter() - begin - sum(getattr(callback, "seconds", 0.0) for callback in callbacks),
        "loss": estimator.loss_curve_[-1],
        "optimizer": optimizer_of(estimator, settings.optimizer),
        "said": list(_said(estimator, warned, continued)),
        "lr found": found,
        "guess": guess_of(task.train_y, task.kind, task.training.weights),
        "seen": seen_of(task.matrix),
        "notes": task.notes,
        "balanced": settings.balanced,
    }
    return Model(task.encoder, estimator, task.target, settings.missing, about, task.all.features.decimal)


def _said(estimator: Any, warned: Sequence[warnings.WarningMessage], continued: Model | None) -> Iterator[str]:
    """Yield what the user should know of a training whose steps take all rows."""
    if not takes_all_rows(estimator):
        return  # epochs that did not suffice: the report and the curve show it
    yield from (_in_options(str(w.message)) for w in warned if issubclass(w.category, ConvergenceWarning))
    if continued:
        yield "Its steps go to the minimum wherever they begin; --epochs N trains N epochs from the old weights."


def _go_on(estimator: Any, continued: Model, task: Task) -> None:
    """Give an estimator the weights of a model to begin with."""
    if hasattr(estimator, "hidden_layer_sizes"):  # an epoch makes what a network needs beside its weights
        epochs, callbacks = estimator.max_iter, estimator.callbacks
        estimator.set_params(max_iter=1, callbacks=None).fit(task.matrix, task.train_y)
        estimator.set_params(max_iter=epochs, callbacks=callbacks)
    estimator.set_params(warm_start=True)
    estimator.n_features_in_ = continued.estimator.n_features_in_
    vars(estimator).update(continued.fitted())


def find_lr(task: Task) -> Any:
    """Sweep over the learning rate.

    Raises
    ------
    UserError
        As `fit`; or if the loss falls at no rate.
    """
    with fitting():
        found = task.make().lr_find(task.matrix, task.train_y, task.training.weights)
    if not found.suggestions:
        raise UserError(
            f"the loss falls at no learning rate from {found.lrs[0]:.2g} to {found.lrs[-1]:.2g}: leave --lr away, give "
            "it a number, or try another --optimizer"
        )
    return found


@contextmanager
def fitting() -> Iterator[list[warnings.WarningMessage]]:
    """Say in one sentence what an estimator has against its data or parameters; give its warnings, unshown."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            yield warned
        except (ValueError, TypeError, FloatingPointError) as error:
            raise UserError(_in_options(str(error))) from None
        except MemoryError as error:
            raise UserError(
                f"the model does not fit into memory ({error}): leave columns out, or take fewer units in --hidden"
            ) from None


def _in_options(said: str) -> str:
    """Return what an estimator says with the options instead of its parameters."""
    return re.sub(r"\b[a-z_]+\b", lambda word: OPTIONS.get(word[0], word[0]), " ".join(said.split()))


def train(
    data: str, settings: Settings, out: Path, continued: Model | None = None
) -> tuple[Task, Model, dict[str, Any]]:
    """Train, score on the rows held out, and write model, curve and log: all of them or none.

    Parameters
    ----------
    continued : Model, optional
        A model to train further.

    Returns
    -------
    task, model, scores
        `scores` is empty where no rows are held out.
    """
    import safetensors  # noqa: F401 - its absence is said before the training, not after it

    from gdfast.cli import picture, report
    from gdfast.cli.importances import importances
    from gdfast.cli.watching import Watching
    from gdfast.training.callbacks import CSVLogger

    check_folder(out, FILES, [data, *([str(settings.valid)] if settings.valid else [])])
    task = prepare(data, settings, continued)
    with _files(out) as (log, curve, file):
        each = list(_cross_validated(task))
        watching = Watching(task)
        model = fit(task, [CSVLogger(log), watching], continued)
        scores = _judged(model, task) if len(task.test) else {}
        measured, found = importances(model, task)
        said = report.verdict(scores) or scores["leak"] if scores else None
        about = {**model.about, "held out": scores, "folds": each, "measured": measured, "importances": found}
        model = replace(model, about={**about, "beware": said})
        picture.draw(model, task, watching, curve)
        model.save(file)
    return task, model, scores


def _cross_validated(task: Task) -> Iterator[dict[str, Any]]:
    """Return the scores of each fold, by a model that was trained on the others."""
    if task.settings.folds is None:
        return
    rows = task.all
    for train_rows, test_rows in folds(rows.y, task.settings, rows.kind, rows.by):
        part = Task.learn(rows.take(train_rows), rows.take(test_rows), task.settings, rows, None)
        yield _judged(fit(part), part)


def _judged(model: Model, task: Task) -> dict[str, Any]:
    """Return the scores on the rows held out, and the column that makes them so good, if one does."""
    from gdfast.cli import report

    scores = report.scores(model, task.test, task.test_y, task.held_out.weights)
    return {**scores, "leak": report.leak_of(scores, task.target, task.train.columns, task.train_y)}


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
