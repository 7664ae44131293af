"""Losses of two parameters, for plots of what an optimizer does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from gdfast.optimizers import SGD, Adam, RMSprop
from gdfast.stepping.base import Optimizer

__all__ = ["SURFACES", "Make", "Surface"]

#: Creates an optimizer for an array of shape (2,).
Make: TypeAlias = Callable[[Any], Optimizer]


@dataclass(frozen=True)
class Surface:
    """A loss of two parameters x and y.

    Attributes
    ----------
    name : str
        The title.
    value : callable
        ``value(x, y)``, also for arrays of equal shape.
    gradient : callable
        ``gradient(x, y)`` returns the two partial derivatives at one point.
    start : pair of float
        The initial point.
    xlim, ylim : pairs of float
        The limits of the axes.
    minima : tuple of pairs of float
        The minima, which are marked.
    optimizers : dict of str to callable
        The default optimizers, with suitable learning rates: name -> function that creates an optimizer for an array of
        shape (2,).
    steps : int
        The default number of steps.
    """

    name: str
    value: Callable[[Any, Any], Any]
    gradient: Callable[[float, float], tuple[float, float]]
    start: tuple[float, float]
    xlim: tuple[float, float]
    ylim: tuple[float, float]
    minima: tuple[tuple[float, float], ...] = ()
    optimizers: Mapping[str, Make] = field(default_factory=lambda: _usual(1e-2, (1e-2, 0.9), 1e-2, 1e-1))
    steps: int = 200


def _usual(sgd: float, momentum: tuple[float, float], rmsprop: float, adam: float) -> dict[str, Make]:
    """Return SGD, momentum, RMSprop and Adam with these learning rates; for momentum, the rate and the momentum."""
    return {
        "SGD": partial(SGD, lr=sgd),
        "momentum": partial(SGD, lr=momentum[0], momentum=momentum[1]),
        "RMSprop": partial(RMSprop, lr=rmsprop),
        "Adam": partial(Adam, lr=adam),
    }


def _rosenbrock(x: Any, y: Any) -> Any:
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


def _rosenbrock_gradient(x: float, y: float) -> tuple[float, float]:
    inner = y - x**2
    return -2.0 * (1.0 - x) - 400.0 * x * inner, 200.0 * inner


def _beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _beale_gradient(x: float, y: float) -> tuple[float, float]:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    by_x = 2.0 * (a * (y - 1.0) + b * (y**2 - 1.0) + c * (y**3 - 1.0))
    return by_x, 2.0 * x * (a + 2.0 * b * y + 3.0 * c * y**2)


def _saddle(x: Any, y: Any) -> Any:
    return 0.5 * x**2 + 0.25 * y**4 - 0.5 * y**2


def _saddle_gradient(x: float, y: float) -> tuple[float, float]:
    return x, y**3 - y


def _ravine(x: Any, y: Any) -> Any:
    return 0.5 * (x**2 + 40.0 * y**2)


def _ravine_gradient(x: float, y: float) -> tuple[float, float]:
    return x, 40.0 * y


#: The surfaces by name. Rosenbrock: The Computer Journal 3 (1960); Beale: Princeton report 25 (1958).
SURFACES: dict[str, Surface] = {
    "ravine": Surface(
        "Ravine", _ravine, _ravine_gradient, (-9.0, 1.4), (-10.0, 3.0), (-2.0, 2.0), ((0.0, 0.0),),
        _usual(0.046, (0.02, 0.8), 0.25, 0.6), 60,
    ),
    "saddle": Surface(
        "Saddle between two minima", _saddle, _saddle_gradient, (-1.6, 1e-3), (-1.9, 0.9), (-0.5, 1.5),
        ((0.0, 1.0), (0.0, -1.0)), _usual(0.05, (0.05, 0.8), 0.03, 0.06), 120,
    ),
    "rosenbrock": Surface(
        "Rosenbrock's valley", _rosenbrock, _rosenbrock_gradient, (-1.6, 1.8), (-2.0, 2.0), (-1.0, 3.0), ((1.0, 1.0),),
        _usual(5e-4, (4e-4, 0.9), 0.01, 0.2), 400,
    ),
    "beale": Surface(
        "Beale's function", _beale, _beale_gradient, (1.0, 1.6), (-0.5, 4.5), (-1.5, 2.0), ((3.0, 0.5),),
        _usual(4e-3, (1e-3, 0.9), 0.03, 0.1), 200,
    ),
}  # fmt: skip
