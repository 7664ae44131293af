"""The course of a training as a picture: loss and accuracy above, the learning rate below."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from gdfast.demo.settings import Settings
from gdfast.demo.training import Run
from gdfast.plot.style import BLUE, GREEN, ORANGE, make_figure


def draw(run: Run, settings: Settings, path: Path) -> None:
    """Write the picture of a training.

    Parameters
    ----------
    run : Run
        The training.
    settings : Settings
        Its choices, for the title.
    path : Path
        The PNG, replaced if it exists.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    figure = make_figure(8, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    figure.suptitle(f"Digits, {settings.optimizer}, seed {settings.seed}: test accuracy {run.accuracies[-1]:.2%}")
    _draw_loss(upper, run)
    _draw_accuracy(upper.twinx(), run)
    _draw_rate(lower, run)
    lower.set_xlabel("Epochs")
    lower.set_xlim(0, settings.epochs)
    figure.savefig(path, format="png")


def _draw_loss(axes: Any, run: Run) -> None:
    """Draw every batch in pale and, in the middle of each epoch, its mean."""
    by_epoch = np.array(run.losses).reshape(len(run.accuracies), -1)
    axes.plot(_epochs(run, first=1), run.losses, color=BLUE, alpha=0.3, linewidth=0.6)
    axes.plot(_ends(run) - 0.5, by_epoch.mean(axis=1), _style("-", run), color=BLUE, linewidth=2, markersize=4)
    axes.set_yscale("log")
    axes.set_ylabel("Training loss (nats)\npale: each batch, bold: mean of an epoch", color=BLUE)
    axes.tick_params(axis="y", colors=BLUE, which="both")
    axes.grid(alpha=0.3)


def _draw_accuracy(axes: Any, run: Run) -> None:
    axes.plot(_ends(run), run.accuracies, _style("--", run), color=ORANGE, linewidth=1.2, markersize=4, clip_on=False)
    axes.set_ylabel("Test accuracy", color=ORANGE)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", colors=ORANGE)


def _draw_rate(axes: Any, run: Run) -> None:
    axes.plot(_epochs(run, first=0), run.rates, color=GREEN, linewidth=2)
    axes.set_ylabel("Learning rate")
    axes.set_ylim(0, 1.08 * max(run.rates))
    axes.grid(alpha=0.3)


def _style(line: str, run: Run) -> str:
    """Return the style of a line with a mark at each epoch, unless they are so many that they would run together."""
    return f"o{line}" if len(run.accuracies) <= 50 else line


def _ends(run: Run) -> np.ndarray[Any, Any]:
    return np.arange(1, len(run.accuracies) + 1)


def _epochs(run: Run, first: int) -> np.ndarray[Any, Any]:
    """Return where each step stands, in epochs, the first being step 0 or 1."""
    steps = len(run.losses)
    return np.arange(first, steps + first) * (len(run.accuracies) / steps)
