"""Common style of all plots: colours, and figures that need no display."""

from itertools import cycle
from typing import Any

from matplotlib.figure import Figure

# A palette for all kinds of colour vision (Okabe and Ito); the colours differ in lightness too.
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#555555"
#: Dashes for successive lines, so that they differ without colours too.
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
LINES = tuple(zip((BLUE, ORANGE, GREEN, PINK, YELLOW, SKY), DASHES, strict=True))


def make_figure(width: float, height: float, dpi: int = 150) -> Any:
    """Return a figure of this size in inches, made without pyplot: it needs no display and no global state."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def make_axes(ax: Any, width: float = 7.0, height: float = 4.2) -> Any:
    """Return the given axes, or those of a new figure."""
    return make_figure(width, height).subplots() if ax is None else ax


def line_styles() -> Any:
    """Return an endless iterator of colours and dashes for successive lines."""
    return cycle(LINES)


def plain(words: str) -> str:
    """Return words of a user's data for a picture: what is between two $ would be read as mathematics."""
    return words.replace("$", r"\$")


def tidy(ax: Any) -> None:
    """Remove the top and right spines, and add a pale grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.set_axisbelow(True)
