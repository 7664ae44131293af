"""A surface of your own

Its value and its gradient, and any optimizers on it.
"""

import numpy as np

import gdfast
from gdfast import plot

bowl = plot.Surface(
    "A wavy bowl",
    value=lambda x, y: x**2 + y**2 + np.sin(3 * x),
    gradient=lambda x, y: (2 * x + 3 * np.cos(3 * x), 2 * y),
    start=(2.0, 1.5),
    xlim=(-2.5, 2.5),
    ylim=(-2, 2),
)
optimizers = {
    "Lion": lambda point: gdfast.Lion(point, lr=0.05),
    "Adam": lambda point: gdfast.Adam(point, lr=0.1),
}
figure = plot.paths(bowl, optimizers, steps=60)
