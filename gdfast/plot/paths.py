"""The paths of several optimizers over a surface, as a figure and as an animation."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gdfast.plot.style import GREY, line_styles, make_figure, tidy
from gdfast.plot.surfaces import SURFACES, Make, Surface

__all__ = ["animate", "gallery", "paths", "trace"]

Array: TypeAlias = np.ndarray[Any, Any]

LEVELS = 22
SHADES = 0.5, 0.99  # the pale part of the colour map "bone", so that the paths stand out
MOST_DOTS = 130
DECADES = 4.5  # range of the contour levels, in powers of ten


def trace(surface: str | Surface, make: Make, steps: int | None = None) -> Array:
    """Return the path of an optimizer over a surface.

    Parameters
    ----------
    surface : str or Surface
        A name in `SURFACES`, or your own surface.
    make : callable
        Creates the optimizer for the array of shape (2,) that it is given.
    steps : int, optional
        Number of steps; by default the surface's.

    Returns
    -------
    array of shape (steps + 1, 2), float64
        The start, and the point after each step; fewer if one is not finite.

    Examples
    --------
    >>> import gdfast
    >>> from gdfast import plot
    >>> path = plot.trace("ravine", lambda point: gdfast.SGD(point, lr=0.01), steps=10)
    >>> path.shape, bool(abs(path[-1]).sum() < abs(path[0]).sum())
    ((11, 2), True)
    """
    surface = _surface(surface)
    point = np.array(surface.start, float)
    opt = make(point)
    points = [point.copy()]
    with np.errstate(all="ignore"):
        for _ in range(surface.steps if steps is None else steps):
            opt.step(np.array(surface.gradient(*point.tolist()), float))
            if not np.isfinite(point).all():
                break
            points.append(point.copy())
    return np.array(points)


def paths(
    surface: str | Surface = "ravine", optimizers: Mapping[str, Make] | None = None, *, steps: int | None = None
) -> Any:
    """Plot the paths of optimizers over a surface, and beside them their losses by step.

    Parameters
    ----------
    surface : str or Surface
        A name in `SURFACES` ("ravine", "saddle", "rosenbrock", "beale"), or your own surface.
    optimizers : dict of str to callable, optional
        Name -> function that creates an optimizer for an array of shape (2,), such as
        ``{"Lion": lambda point: gdfast.Lion(point, lr=0.1)}``; by default the surface's.
    steps : int, optional
        Number of steps; by default the surface's.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with its ``savefig``.

    Raises
    ------
    TypeError, ValueError
        If there is no such surface, or nothing to see of it.
    """
    surface, traces = _traced(surface, optimizers, steps)
    figure = make_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_surface(left, surface)
    lines = _draw_lines(left, traces)
    left.set_title(surface.name)
    _draw_losses(right, surface, traces)
    _add_legend(figure, lines)
    return figure


def gallery(surfaces: Sequence[str | Surface] = tuple(SURFACES), *, columns: int = 2) -> Any:
    """Plot several surfaces in one figure, each with the paths of its optimizers.

    Parameters
    ----------
    surfaces : sequence of str or Surface
        By default all of `SURFACES`.
    columns : int
        Number of columns.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = -(-len(surfaces) // columns)
    figure = make_figure(4.8 * columns, 3.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    labels: dict[str, Any] = {}
    for ax, chosen in zip(grid, surfaces, strict=False):
        surface, traces = _traced(chosen, None, None)
        _draw_surface(ax, surface)
        lines = _draw_lines(ax, traces)
        labels |= lines
        ax.set_title(f"{surface.name}, {surface.steps} steps")
    for ax in grid[len(surfaces) :]:
        ax.remove()
    _add_legend(figure, labels)
    return figure


def animate(
    path: str | os.PathLike[str],
    surface: str | Surface = "ravine",
    optimizers: Mapping[str, Make] | None = None,
    *,
    steps: int | None = None,
    frames: int = 60,
    fps: int = 12,
) -> None:
    """Write an animation (GIF) of the paths of optimizers over a surface.

    Parameters
    ----------
    path : str or path
        The file; an existing one is replaced.
    surface, optimizers, steps
        As for :func:`paths`.
    frames : int
        Maximum number of frames: if there are more steps, a frame covers several.
    fps : int
        Frames per second. The last one is shown for a second and a half.

    Raises
    ------
    TypeError, ValueError
        If there is no such surface, or nothing to see of it.
    OSError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    surface, traces = _traced(surface, optimizers, steps)
    last = max(len(points) for points in traces.values()) - 1
    shown = np.unique(np.linspace(0, last, min(frames, last + 1)).astype(int))
    figure = make_figure(6.4, 4.6, dpi=100)
    ax = figure.subplots()
    _draw_surface(ax, surface)
    styles = zip(traces.items(), line_styles(), strict=False)
    moving = [_Path(ax, name, points, color) for (name, points), (color, _) in styles]
    _add_legend(figure, {path_.name: path_.line for path_ in moving})
    ax.set_title(" ")  # reserves its space
    title = ax.text(0.5, 1.02, "", transform=ax.transAxes, ha="center", va="bottom", size="large", animated=True)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # the static part, once
    still = canvas.copy_from_bbox(figure.bbox)
    images = []
    for step in shown:
        canvas.restore_region(still)
        for path_ in moving:
            path_.draw(ax, step)
        title.set_text(f"{surface.name}: step {step} of {last}")
        ax.draw_artist(title)
        images.append(Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB"))
    colors = images[-1].quantize(256)  # one palette for all frames, so that nothing flickers
    first, *others = [image.quantize(palette=colors, dither=Image.Dither.NONE) for image in images]
    times = [1000 // fps] * (len(images) - 1) + [1500]
    first.save(os.fspath(path), format="GIF", save_all=True, append_images=others, duration=times, loop=0)


class _Path:
    """A path in an animation: the way so far, and where it is now."""

    def __init__(self, ax: Any, name: str, points: Array, color: str) -> None:
        self.name, self._points = name, points
        _, self.line, _ = self._artists = _draw_line(ax, name, points, color)
        for artist in self._artists:
            artist.set_animated(True)

    def draw(self, ax: Any, step: int) -> None:
        """Draw the path up to a step; a path that ended early stays where it ended."""
        seen = self._points[: step + 1]
        *ways, head = self._artists
        for way in ways:
            way.set_data(seen[:, 0], seen[:, 1])
        head.set_data(seen[-1:, 0], seen[-1:, 1])
        for artist in self._artists:
            ax.draw_artist(artist)


def _surface(surface: str | Surface) -> Surface:
    if isinstance(surface, Surface):
        return surface
    if not isinstance(surface, str):
        raise TypeError(f"surface must be a name or a Surface; got {type(surface).__name__}")
    if surface not in SURFACES:
        raise ValueError(f"surface must be one of {', '.join(SURFACES)}, or a Surface; got {surface!r}")
    return SURFACES[surface]


def _traced(
    surface: str | Surface, optimizers: Mapping[str, Make] | None, steps: int | None
) -> tuple[Surface, dict[str, Array]]:
    surface = _surface(surface)
    chosen = surface.optimizers if optimizers is None else optimizers
    return surface, {name: trace(surface, make, steps) for name, make in chosen.items()}


def _draw_surface(ax: Any, surface: Surface) -> None:
    """Draw contour lines, geometrically spaced above the minimum (which shows a ravine), the start and the minima."""
    from matplotlib import colormaps

    x, y, z = _grid(surface)
    height = z - _least(surface)
    if not np.nanmax(height) > 0.0:
        raise ValueError(
            f"surface must not be flat between its xlim and ylim; {surface.name} is {np.nanmax(z):g} there"
        )
    levels = np.nanmax(height) * np.geomspace(10**-DECADES, 1.0, LEVELS)
    shades = colormaps["bone"](np.linspace(*SHADES, LEVELS))
    ax.contourf(x, y, height, levels=[0.0, *levels], colors=shades)
    ax.contour(x, y, height, levels=levels, colors=GREY, linewidths=0.35, alpha=0.6)
    ax.plot(*surface.start, "o", color="white", markersize=9, markeredgecolor="black", markeredgewidth=1.5, zorder=5)
    for at in surface.minima:
        ax.plot(*at, "*", color="black", markersize=11, markeredgecolor="white", zorder=4)
    ax.set_xlim(surface.xlim)
    ax.set_ylim(surface.ylim)
    ax.set_xlabel("x")
    ax.set_ylabel("y")


def _grid(surface: Surface) -> tuple[Array, Array, Array]:
    """Return the grid of points, and the loss at each; NaN where it is not finite."""
    x, y = np.meshgrid(np.linspace(*surface.xlim, 300), np.linspace(*surface.ylim, 300))
    with np.errstate(all="ignore"):
        z = np.broadcast_to(np.asarray(surface.value(x, y), float), x.shape)
    if not np.isfinite(z).any():
        raise ValueError(f"surface must have finite values between its xlim and ylim; {surface.name} has none")
    return x, y, np.where(np.isfinite(z), z, np.nan)


def _least(surface: Surface) -> float:
    """Return the smallest known loss: on the grid or at the minima."""
    return min([float(np.nanmin(_grid(surface)[2])), *(float(surface.value(*at)) for at in surface.minima)])


def _draw_lines(ax: Any, traces: Mapping[str, Array]) -> dict[str, Any]:
    """Draw the paths, longer ones below shorter ones; return a line for each name."""
    lines = {}
    order = sorted(traces, key=lambda name: _length(traces[name]), reverse=True)
    for (name, points), (color, _) in zip(traces.items(), line_styles(), strict=False):
        _, lines[name], _ = artists = _draw_line(ax, name, points, color)
        for artist in artists:
            artist.set_zorder(3 + order.index(name) / len(order))
    return lines


def _draw_line(ax: Any, name: str, points: Array, color: str) -> list[Any]:
    """Draw a path: a white outline, the line (with a dot for each step, unless there are many) and its end."""
    x, y = points.T
    dots = {"marker": "o", "markersize": 3.0} if len(points) <= MOST_DOTS else {}
    (rim,) = ax.plot(x, y, color="white", linewidth=3.4, alpha=0.8)
    (line,) = ax.plot(x, y, color=color, linewidth=1.7, label=name, **dots)
    (head,) = ax.plot(x[-1:], y[-1:], "o", color=color, markersize=7.5, markeredgecolor="white")
    return [rim, line, head]


def _add_legend(figure: Any, lines: Mapping[str, Any]) -> None:
    """Add a legend below all axes, where it covers nothing."""
    ncols = max(1, min(len(lines), 6))
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=ncols, frameon=False)


def _length(points: Array) -> float:
    return float(np.abs(np.diff(points, axis=0)).sum())


def _draw_losses(ax: Any, surface: Surface, traces: Mapping[str, Array]) -> None:
    """Plot the difference between the loss of each step and the smallest loss."""
    least = _least(surface)
    for (name, points), (color, dashes) in zip(traces.items(), line_styles(), strict=False):
        with np.errstate(all="ignore"):
            above = np.array([surface.value(*point) for point in points]) - least
        ax.plot(np.where(above > 0, above, np.nan), color=color, linestyle=dashes, linewidth=1.8, label=name)
    ax.set_yscale("log")
    ax.set_xlabel("Step")
    ax.set_ylabel("Loss above the minimum")
    tidy(ax)
