"""Losses of two parameters to walk on: each a formula with a view, a start and what there is to see."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from gdfast.lab.errors import LabError
from gdfast.lab.formula import Formula, read

__all__ = ["SURFACES", "Pair", "Surface", "described", "grid", "of_formula"]

Array: TypeAlias = np.ndarray[Any, Any]
Pair: TypeAlias = tuple[float, float]

GRID = 161  # points each way
FARTHEST = 1e6


@dataclass(frozen=True)
class Surface:
    """A loss of x and y.

    Attributes
    ----------
    title, about : str
        What it is called, and a sentence on what there is to see.
    text : str
        Its formula.
    start : pair of float
        Where racers begin unless one says otherwise.
    xlim, ylim : pairs of float
        What the map shows.
    minima : tuple of pairs of float
        Where the loss is least; marked.
    noise : float
        Standard deviation of what is added to each element of a gradient, as in mini-batches.
    """

    title: str
    about: str
    text: str
    start: Pair
    xlim: Pair
    ylim: Pair
    minima: tuple[Pair, ...] = ()
    noise: float = 0.0

    @cached_property
    def formula(self) -> Formula:
        """The formula, read."""
        return read(self.text)


#: Rosenbrock: The Computer Journal 3 (1960). Beale: Princeton report 25 (1958). Himmelblau: Applied Nonlinear
#: Programming (1972). The cliff is after Pascanu, Mikolov and Bengio, arXiv:1211.5063.
SURFACES: Mapping[str, Surface] = {
    "bowl": Surface(
        "Bowl", "Equally steep on all sides: everything works, if the rate is right.",
        "0.5*(x**2 + y**2)", (-3.2, 1.6), (-4.0, 4.0), (-2.6, 2.6), ((0.0, 0.0),),
    ),
    "ravine": Surface(
        "Ravine", "40 times as steep across as along: plain descent zigzags or crawls.",
        "0.5*(x**2 + 40*y**2)", (-9.0, 1.4), (-10.0, 3.0), (-2.0, 2.0), ((0.0, 0.0),),
    ),
    "rosenbrock": Surface(
        "Rosenbrock's valley", "Easy to get into the bent valley, hard to follow it to its end.",
        "(1 - x)**2 + 100*(y - x**2)**2", (-1.6, 1.8), (-2.0, 2.0), (-1.0, 3.0), ((1.0, 1.0),),
    ),
    "beale": Surface(
        "Beale's function", "Flat ground between steep corners.",
        "(1.5 - x + x*y)**2 + (2.25 - x + x*y**2)**2 + (2.625 - x + x*y**3)**2",
        (1.0, 1.6), (-0.5, 4.5), (-1.5, 2.0), ((3.0, 0.5),),
    ),
    "saddle": Surface(
        "Saddle", "Down on two sides, up on two: a start close to the ridge is held for long.",
        "0.5*x**2 + 0.25*y**4 - 0.5*y**2", (-1.6, 1e-3), (-2.1, 2.1), (-1.6, 1.6), ((0.0, 1.0), (0.0, -1.0)),
    ),
    "himmelblau": Surface(
        "Himmelblau's function", "Four minima, equally good: where one ends depends on the way.",
        "(x**2 + y - 11)**2 + (x + y**2 - 7)**2", (-0.3, -1.2), (-6.0, 6.0), (-5.5, 5.5),
        ((3.0, 2.0), (-2.8051180869527448, 3.1313125182505730), (-3.7793102533777469, -3.2831859912861694),
         (3.5844283403304917, -1.8481265269644036)),
    ),
    "cliff": Surface(
        "Plateau with a cliff", "A gentle slope that ends at a wall, whose gradient throws one far out.",
        "0.1*(x - 2)**2 + 0.4*y**2 + 2*(1 + tanh(15*(x - 1.2)))",
        (-3.0, 1.5), (-6.0, 3.0), (-3.0, 3.0), ((0.987302407854029, 0.0),),
    ),
    "flat": Surface(
        "Flat valley", "Far out the slope along the valley all but vanishes.",
        "x**2/(1 + x**2) + 0.2*y**2", (-7.0, 1.5), (-8.0, 3.0), (-2.5, 2.5), ((0.0, 0.0),),
    ),
    "noisy": Surface(
        "Noisy bowl", "Each gradient is that of a small batch: right on average only.",
        "0.5*(x**2 + 4*y**2)", (-3.4, 1.6), (-4.0, 2.5), (-2.2, 2.2), ((0.0, 0.0),), 2.0,
    ),
}  # fmt: skip


def of_formula(text: Any, view: Any) -> Surface:
    """Return a surface of one's own.

    Parameters
    ----------
    text : str
        See :func:`gdfast.lab.formula.read`.
    view : four numbers
        The map's left, right, lower and upper border.

    Raises
    ------
    LabError
        If the formula cannot be read, the view is none, or the loss is nowhere finite in it.
    """
    read(text)
    left, right, low, high = _view(view)
    start = left + 0.2 * (right - left), low + 0.75 * (high - low)
    surface = Surface("Your own formula", "", text, start, (left, right), (low, high))
    heights = grid(surface, 41)
    if not np.isfinite(heights).any():
        raise LabError(f"the formula {text!r} has no finite value in the view; move the view, or change the formula")
    column, row = divmod(int(np.nanargmin(np.where(np.isfinite(heights), heights, np.nan).T)), 41)
    deepest = left + (right - left) * column / 40, low + (high - low) * row / 40
    inside = 0 < column < 40 and 0 < row < 40
    return replace(surface, about="A star marks the lowest point of the map.", minima=(deepest,) if inside else ())


def grid(surface: Surface, points: int = GRID) -> Array:
    """Return the loss over the view, float32 of shape (points, points): rows from low to high y, columns by x."""
    x, y = np.meshgrid(np.linspace(*surface.xlim, points), np.linspace(*surface.ylim, points))
    with np.errstate(all="ignore"):
        return np.broadcast_to(surface.formula.value(x, y), x.shape).astype(np.float32)


def described(surface: Surface) -> dict[str, Any]:
    """Return what a page must know of a surface, as JSON data."""
    return {
        "title": surface.title,
        "about": surface.about,
        "text": surface.text,
        "xlim": surface.xlim,
        "ylim": surface.ylim,
        "minima": surface.minima,
        "floor": min((float(surface.formula.value(*at)) for at in surface.minima), default=None),
        "points": GRID,
    }


def _view(view: Any) -> tuple[float, ...]:
    if not isinstance(view, list | tuple) or len(view) != 4 or not all(map(_is_near, view)):
        raise LabError(f"view must be four numbers (left, right, low, high) of at most {FARTHEST:g}; got {view!r}")
    left, right, low, high = map(float, view)
    if not (right - left >= 1e-6 and high - low >= 1e-6):
        raise LabError(f"view must have its left below its right and its low below its high border; got {view!r}")
    return left, right, low, high


def _is_near(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and -FARTHEST <= number <= FARTHEST
