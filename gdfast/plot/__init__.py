"""Plots: losses, the learning-rate finder, schedules, and paths of optimizers over a surface.

Needs matplotlib (``pip install "gdfast[plot]"``), but no display: figures are made without pyplot, and no setting is
changed. Functions that take ``ax`` draw into it, or into a new figure, and return the axes; save a figure with
``axes.figure.savefig("picture.png")``. docs/watching.md has an example of each.

It uses optimizers and schedules, for the paths that it draws.
"""

try:
    import matplotlib
except ImportError as error:
    raise ImportError('gdfast.plot needs matplotlib, which is not installed: pip install "gdfast[plot]"') from error

from gdfast.plot.curves import losses, lr_find, progress, schedules
from gdfast.plot.paths import animate, gallery, paths, trace
from gdfast.plot.surfaces import SURFACES, Surface

__all__ = ["SURFACES", "Surface", "animate", "gallery", "losses", "lr_find", "paths", "progress", "schedules", "trace"]
