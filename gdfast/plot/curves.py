"""Curves over steps, epochs and learning rates."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.ticker import MaxNLocator

from gdfast.plot.style import BLUE, GREEN, GREY, ORANGE, PINK, line_styles, make_axes, tidy

__all__ = ["losses", "lr_find", "progress", "schedules"]

#: colour and marker of the finder's suggestions
MARKS = {"steepest": (ORANGE, "s"), "valley": (GREEN, "o"), "minimum": (PINK, "D")}


def losses(runs: Any, *, ax: Any = None) -> Any:
    """Plot the training loss by epoch, and validation scores if there are any.

    Parameters
    ----------
    runs : fitted estimator, sequence of float, or dict of name to one of them
        For an estimator, its ``loss_curve_`` is plotted and, on a second axis and dashed, its ``validation_scores_``,
        with a marker at the best.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        With a logarithmic axis if all losses are positive.

    Raises
    ------
    ValueError
        If there is nothing to plot, or an estimator is not fitted.

    Examples
    --------
    >>> from gdfast import plot
    >>> axes = plot.losses({"small steps": [3.0, 2.5, 2.2], "large steps": [3.0, 1.5, 1.1]})
    >>> axes.get_xlabel(), len(axes.lines)
    ('Epoch', 2)
    """
    named = runs if isinstance(runs, Mapping) else {_name(runs): runs}
    curves = {str(name): _curve(run) for name, run in named.items()}
    scores = {str(name): getattr(run, "validation_scores_", None) for name, run in named.items()}
    if not curves or not all(len(curve) for curve in curves.values()):
        raise ValueError("runs must hold at least one loss each; got " + (", ".join(curves) or "no run"))
    ax = make_axes(ax)
    right = ax.twinx() if any(score is not None for score in scores.values()) else None
    for (name, curve), (color, _) in zip(curves.items(), line_styles(), strict=False):
        ax.plot(np.arange(1, len(curve) + 1), curve, color=color, linewidth=1.8, label=name, **_dots(curve))
        if scores[name] is not None:
            _draw_scores(right, np.asarray(scores[name], float), color, name if len(curves) > 1 else "")
    if all((curve > 0).all() for curve in curves.values()):
        ax.set_yscale("log")
    ax.set_xlabel("Epoch")
    ax.set_ylabel("Training loss" if right is None else "Training loss (solid)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(ax)
    if right is not None:
        right.set_ylabel("Validation score (dashed; dot: the best)")
        right.spines["top"].set_visible(False)
    if len(curves) > 1:  # above the axes, where it covers no lines
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(curves), 4))
    return ax


def progress(
    epochs: Any, training: Any, held_out: Any = (), *, measure: str = "loss", best: int | None = None, ax: Any = None
) -> Any:
    """Plot an error by epoch on rows of the training and on rows held out, from the epoch on that matters.

    The first epochs, whose errors are far above the others, are left out: see `Notes`.

    Parameters
    ----------
    epochs : (n,) array of int
        Their numbers.
    training, held_out : (n,) arrays of float
        The errors; the second may be empty.
    measure : str
        What they are.
    best : int, optional
        The epoch whose weights are kept, for a line there.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        With a linear axis.

    Raises
    ------
    ValueError
        If there is nothing to plot.

    Notes
    -----
    The plot begins at the first epoch in the first half whose training error is at most four times as far above the
    smallest of the second half as the largest of the second half is.

    Examples
    --------
    >>> from gdfast import plot
    >>> axes = plot.progress([1, 2, 3, 4, 5, 6], [90.0, 8.0, 3.0, 2.5, 2.2, 2.0], [95.0, 9.0, 4.0, 3.6, 3.5, 3.6])
    >>> axes.get_xlabel(), axes.get_ylabel(), len(axes.lines)
    ('Epoch, from 3 on', 'loss', 2)
    """
    numbers, curve = np.asarray(epochs), np.asarray(training, float)
    if not len(curve):
        raise ValueError("training must hold at least one error; got none")
    first, ax = _first_that_matters(curve), make_axes(ax)
    ax.plot(numbers[first:], curve[first:], color=BLUE, linewidth=1.8, label="training", **_dots(curve[first:]))
    if len(held_out):
        rest = np.asarray(held_out, float)[first:]
        ax.plot(numbers[first:], rest, "--", color=ORANGE, linewidth=1.8, label="held out", **_dots(rest))
    if best is not None:
        ax.axvline(best, color=GREY, linestyle=":", linewidth=1.2, label=f"kept: epoch {best}")
    ax.set_xlabel(f"Epoch, from {numbers[first]} on" if first else "Epoch")
    ax.set_ylabel(measure)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(ax)
    ax.legend(frameon=False)
    return ax


def _first_that_matters(curve: np.ndarray[Any, Any]) -> int:
    """Return the index of the first error that is not far above those of the second half."""
    half = curve[len(curve) // 2 :]
    low, high = half.min(), half.max()
    near = np.flatnonzero(curve <= low + 4 * max(high - low, 0.01 * abs(low)))
    return min(int(near[0]), len(curve) // 2) if len(near) else len(curve) // 2


def _name(run: Any) -> str:
    return type(run).__name__ if hasattr(run, "loss_curve_") else "loss"


def _curve(run: Any) -> np.ndarray[Any, Any]:
    if not hasattr(run, "loss_curve_") and hasattr(run, "fit"):
        raise ValueError(f"runs must be fitted; {type(run).__name__} has no loss_curve_ yet")
    return np.asarray(getattr(run, "loss_curve_", run), float)


def _dots(curve: Any) -> dict[str, Any]:
    """Mark every epoch, unless there are so many that the markers would overlap."""
    return {"marker": "o", "markersize": 3.5} if len(curve) <= 40 else {}


def _draw_scores(ax: Any, scores: np.ndarray[Any, Any], color: str, name: str) -> None:
    epochs, best = np.arange(1, len(scores) + 1), int(scores.argmax())
    ax.plot(epochs, scores, "--", color=color, linewidth=1.2, label=f"{name} score".strip())
    ax.plot(epochs[best], scores[best], "o", color=color, markersize=6, markerfacecolor="white", clip_on=False)


class Sweep(Protocol):
    """The attributes of a learning-rate finder's result that are plotted."""

    @property
    def lrs(self) -> Any:
        """The learning rate of each step."""

    @property
    def losses(self) -> Any:
        """The losses at these rates."""

    @property
    def smoothed(self) -> Any:
        """The smoothed losses."""

    @property
    def suggestions(self) -> Mapping[str, float]:
        """The suggested rates, by name."""


def lr_find(result: Sweep, *, ax: Any = None) -> Any:
    """Plot the losses of a sweep over the learning rate, raw and smoothed, with its suggestions.

    Parameters
    ----------
    result : LRFindResult
        From :func:`gdfast.lr_find`, or an estimator's ``lr_find``.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = make_axes(ax)
    lrs, smoothed = result.lrs, result.smoothed
    ax.plot(lrs, result.losses, color=BLUE, alpha=0.35, linewidth=0.8, label="each step")
    ax.plot(lrs, smoothed, color=BLUE, linewidth=2.0, label="smoothed")
    for name, lr in sorted(result.suggestions.items(), key=lambda item: item[1]):
        color, mark = MARKS[name]
        height, label = np.interp(np.log(lr), np.log(lrs), smoothed), f"{name}: {lr:.1e}"
        ax.plot(lr, height, mark, color=color, markersize=8, markeredgecolor="white", label=label, zorder=3)
    ax.set_xscale("log")
    low, first = np.nanmin([result.losses, smoothed]), smoothed[0]
    room = max(first - low, 1e-12 * max(abs(first), 1.0))
    ax.set_ylim(low - 0.1 * room, first + 0.5 * room)  # cut off the divergence
    ax.set_xlabel("Learning rate")
    ax.set_ylabel("Loss")
    tidy(ax)
    ax.legend(frameon=False, loc="lower left")
    return ax


def schedules(schedules: Any, steps: int, *, ax: Any = None) -> Any:
    """Plot schedules over the steps 0 to `steps` - 1.

    Parameters
    ----------
    schedules : schedule, sequence of schedules, or dict of name to schedule
        A schedule is a callable ``step -> float``.
    steps : int
        Number of steps, at least 1.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If one is not callable, or `steps` is invalid.

    Examples
    --------
    >>> import gdfast
    >>> from gdfast import plot
    >>> from gdfast.schedules import Cosine, Exponential
    >>> axes = plot.schedules([Cosine(0.1, total_steps=100, warmup_steps=10), Exponential(0.1, 0.97)], 100)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['Cosine', 'Exponential']
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be an int of at least 1; got {steps!r}")
    named = _named(schedules)
    ax = make_axes(ax)
    for (name, schedule), (color, dashes) in zip(named.items(), line_styles(), strict=False):
        values = [float(schedule(step)) for step in range(steps)]
        ax.plot(range(steps), values, color=color, linestyle=dashes, linewidth=2.0, label=name)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.set_xlabel("Step")
    ax.set_ylabel("Value")
    ax.axhline(0.0, color=GREY, linewidth=0.6, zorder=1)
    tidy(ax)
    ax.legend(frameon=False)
    return ax


def _named(schedules: Any) -> dict[str, Callable[[int], float]]:
    """Return schedules by name; equal names get numbers."""
    if isinstance(schedules, Mapping):
        named = {str(name): schedule for name, schedule in schedules.items()}
    else:
        several: Iterable[Any] = [schedules] if callable(schedules) else list(schedules)
        named = {}
        for schedule in several:
            base = getattr(schedule, "__name__", type(schedule).__name__)
            same = sum(name.partition(" ")[0] == base for name in named)
            named[f"{base} {same + 1}" if same else base] = schedule
    for name, schedule in named.items():
        if not callable(schedule):
            raise TypeError(f"schedules must be callables step -> float; got {schedule!r} for {name}")
    return named
