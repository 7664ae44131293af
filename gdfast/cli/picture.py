"""The picture of a training: the error by epoch, and what the model says of the rows held out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gdfast import plot
from gdfast.cli import report
from gdfast.cli.course import takes_all_rows
from gdfast.cli.model import Model
from gdfast.cli.task import Task
from gdfast.cli.watching import Watching
from gdfast.plot.style import BLUE, GREY, make_figure, plain, tidy
from gdfast.tables.errors import counted

#: the numbers in a larger confusion matrix could not be read
MOST_NUMBERS = 15
#: nor could more names
MOST_NAMES = 40
MOST_POINTS = 5000


def draw(model: Model, task: Task, watching: Watching, path: Path) -> None:
    """Write the picture, a PNG."""
    panels = _panels(model, task) if len(task.test) else []
    figure = make_figure(5.0 * (1 + len(panels)), 4.4, dpi=120)
    axes = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    early = task.settings.early_stopping
    best = int(np.argmax(model.estimator.validation_scores_)) + 1 if early else None
    curves = watching.epochs, watching.training, watching.held_out
    plot.progress(*curves, measure=watching.measure, best=best, ax=axes[0])
    if takes_all_rows(model.estimator):
        axes[0].set_xlabel(axes[0].get_xlabel().replace("Epoch", "Step on all rows"))
    axes[0].set_title(f"{type(model.estimator).__name__}, {counted(len(task.train), 'row')}")
    for ax, panel in zip(axes[1:], panels, strict=True):
        panel(ax)
    if panels:
        axes[1].set_title(f"{counted(len(task.test), 'row')} held out")
    figure.savefig(path, format="png")


def _panels(model: Model, task: Task) -> list[Callable[[Any], None]]:
    """Return what draws the answers on rows held out."""
    found, true = model.answers(model.encoder.encode(task.test)), task.test_y
    predicted = found["prediction"]
    if not model.classifies:
        return [
            partial(_draw_scatter, model=model, predicted=predicted, true=true),
            partial(_draw_residuals, predicted=predicted, true=true),
        ]
    matrix = partial(_draw_confusion, model=model, predicted=predicted, true=true)
    last = model.estimator.classes_[-1]
    if len(model.estimator.classes_) > 2 or f"probability_{last}" not in found:
        return [matrix]
    calibration = partial(_draw_calibration, name=str(last), given=found[f"probability_{last}"], true=true == last)
    return [matrix, calibration]


def _draw_confusion(ax: Any, model: Model, predicted: Any, true: Any) -> None:
    classes = model.estimator.classes_
    counts = report.confusion(true, predicted, classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ax.set_xlabel("Predicted")
    ax.set_ylabel("True")
    if len(classes) > MOST_NAMES:
        ax.set_xlabel(f"Predicted ({len(classes):,} classes are too many to name, in their order)")
        return
    names = [plain(str(label)[:12]) for label in classes.tolist()]
    few = len(classes) <= MOST_NUMBERS
    size, turned = (None, 45 if max(map(len, names)) > 3 else 0) if few else (6, 90)
    ax.set_xticks(range(len(names)), names, rotation=turned, ha="right" if turned == 45 else "center", fontsize=size)
    ax.set_yticks(range(len(names)), names, fontsize=size)
    for (i, j), count in np.ndenumerate(counts) if few else ():
        ax.text(j, i, f"{count}", ha="center", va="center", size=8, color="white" if shares[i, j] > 0.5 else "black")


def _draw_calibration(ax: Any, name: str, given: Any, true: Any) -> None:
    """Draw how often the class occurs by its probability: each point is a tenth of the rows, of like probability."""
    from sklearn.calibration import calibration_curve

    occurring, said = calibration_curve(true, given, n_bins=min(10, max(1, len(true) // 10)), strategy="quantile")
    ax.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
    ax.plot(said, occurring, "o-", color=BLUE, markersize=5, linewidth=1.2, clip_on=False)
    ax.set(
        xlim=(0, 1), ylim=(0, 1), xlabel=f"Probability given for {plain(name[:20])}", ylabel="Share of rows that are"
    )
    ax.set_title("calibration")
    tidy(ax)


def _draw_residuals(ax: Any, predicted: Any, true: Any) -> None:
    every = -(-len(true) // MOST_POINTS)
    rest = true[::every] - predicted[::every]
    ax.plot(predicted[::every], rest, "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
    ax.axhline(0.0, color=GREY, linestyle="--", linewidth=1)
    ax.set_xlabel("Predicted")
    ax.set_ylabel("True - predicted")
    ax.set_title("residuals")
    tidy(ax)


def _draw_scatter(ax: Any, model: Model, predicted: Any, true: Any) -> None:
    every = -(-len(true) // MOST_POINTS)
    ax.plot(true[::every], predicted[::every], "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    ax.plot(ends, ends, "--", color=GREY, linewidth=1)
    ax.set_xlabel(f"True {plain(model.target)}")
    ax.set_ylabel("Predicted")
    tidy(ax)
