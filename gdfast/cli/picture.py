"""The picture of a training: the loss by epoch, and what the model says of the rows held out."""

from pathlib import Path
from typing import Any

import numpy as np

from gdfast import plot
from gdfast.cli.model import Model
from gdfast.cli.task import Task
from gdfast.plot.style import BLUE, GREY, make_figure, tidy

#: the numbers in a larger confusion matrix could not be read
MOST_NUMBERS = 15
MOST_POINTS = 5000


def draw(model: Model, task: Task, path: Path) -> None:
    """Write the picture, a PNG."""
    figure = make_figure(10.0, 4.4, dpi=120)
    if len(task.test):
        left, right = figure.subplots(1, 2)
        predicted = model.estimator.predict(model.encoder.encode(task.test))
        (_draw_confusion if model.classifies else _draw_scatter)(right, model, predicted, task.test_y)
        right.set_title(f"{len(task.test):,} rows held out")
    else:
        left = figure.subplots()
    plot.losses(model.estimator, ax=left)
    left.set_title(f"{type(model.estimator).__name__}, {len(task.train):,} rows")
    figure.savefig(path, format="png")


def _draw_confusion(ax: Any, model: Model, predicted: Any, true: Any) -> None:
    from sklearn.metrics import confusion_matrix

    classes = model.estimator.classes_
    counts = confusion_matrix(true, predicted, labels=classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ax.set_xlabel("Predicted")
    ax.set_ylabel("True")
    if len(classes) > MOST_NUMBERS:
        return
    names = [str(label)[:12] for label in classes.tolist()]
    turned = 45 if max(map(len, names)) > 3 else 0
    ax.set_xticks(range(len(names)), names, rotation=turned, ha="right" if turned else "center")
    ax.set_yticks(range(len(names)), names)
    for (i, j), count in np.ndenumerate(counts):
        ax.text(j, i, f"{count}", ha="center", va="center", size=8, color="white" if shares[i, j] > 0.5 else "black")


def _draw_scatter(ax: Any, model: Model, predicted: Any, true: Any) -> None:
    every = -(-len(true) // MOST_POINTS)
    ax.plot(true[::every], predicted[::every], "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    ax.plot(ends, ends, "--", color=GREY, linewidth=1)
    ax.set_xlabel(f"True {model.target}")
    ax.set_ylabel("Predicted")
    tidy(ax)
