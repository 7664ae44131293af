"""What all pictures share: colours, and figures that need no screen."""

from itertools import cycle
from typing import Any

from matplotlib.figure import Figure

# Colours that all kinds of colour vision tell apart (Okabe and Ito), and that differ in lightness too.
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#555555"
#: For one line after another; the dashes tell them apart where colours do not.
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
LINES = tuple(zip((BLUE, ORANGE, GREEN, PINK, YELLOW, SKY), DASHES, strict=True))


def make_figure(width: float, height: float, dpi: int = 150) -> Any:
    """Return a figure of this size in inches: no pyplot, so it needs no screen and keeps no state."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def make_axes(ax: Any, width: float = 7.0, height: float = 4.2) -> Any:
    """Return the axes given, or those of a new figure."""
    return make_figure(width, height).subplots() if ax is None else ax


def line_styles() -> Any:
    """Return colours and dashes for one line after another, without end."""
    return cycle(LINES)


def tidy(ax: Any) -> None:
    """Take away what carries no information, and add a pale grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.set_axisbelow(True)
