"""A race, or a training of one's own, in a notebook: widgets for Jupyter, VS Code and marimo.

Design: a kernel that runs a loop hears nothing from a page until the cell ends, but can send. So a training is shown
from the loop's own thread, where `log` takes a sample, and is changed from the page that `watch` serves.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError('gdfast.lab.Surface needs anywidget: pip install "gdfast[notebook]"') from error

from gdfast.checkpoint.settings import to_data
from gdfast.lab.errors import LabError
from gdfast.lab.export import script
from gdfast.lab.race import Race
from gdfast.lab.recorder import SHARE, Recorder, packed
from gdfast.lab.settings import number, read, write
from gdfast.lab.surfaces import described, grid

__all__ = ["Surface", "Training"]

MOST_AT_ONCE = 1000
BETWEEN = 0.2  # seconds between the messages of a training, at least
USUAL = (("SGD", {"lr": 0.02}), ("SGD", {"lr": 0.02, "momentum": 0.8}), ("Adam", {"lr": 0.5}))


class Surface(anywidget.AnyWidget):
    """Optimizers that race over a surface, in a notebook.

    Parameters
    ----------
    surface : str
        "bowl", "ravine", "rosenbrock", "beale", "saddle", "himmelblau", "cliff", "flat" or "noisy"; or, with `view`, a
        formula of x and y.
    racers : sequence of (str, dict)
        Names of optimizers of gdfast with hyperparameters, up to eight.
    view : four numbers, optional
        The map's left, right, lower and upper border, for a formula.
    **settings
        ``start``, ``noise``, ``seed``, ``steps``, ``dtype``; see :class:`gdfast.lab.settings.Settings`.

    Attributes
    ----------
    race : Race
        What is shown; its lanes hold the optimizers themselves.

    Raises
    ------
    LabError
        Naming what is wrong.

    Examples
    --------
    >>> from gdfast.lab import Surface
    >>> shown = Surface("saddle", [("SGD", {"lr": 0.05}), ("Adam", {"lr": 0.05})], steps=100)
    >>> frames = shown.advance(10)
    >>> shown.race.step_count, frames.shape
    (10, (10, 2, 10))
    """

    _esm = script("widget.js")
    about = traitlets.Dict().tag(sync=True)
    heights = traitlets.Bytes().tag(sync=True)
    frames = traitlets.Bytes().tag(sync=True)  # what a saved notebook shows: sent when it has doubled, and at the end

    def __init__(
        self,
        surface: str = "ravine",
        racers: Sequence[tuple[str, Mapping[str, Any]]] = USUAL,
        *,
        view: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        chosen = read(
            {
                "surface": surface if view is None else {"formula": surface, "view": list(view)},
                "racers": [
                    {"rule": rule, "values": {name: to_data(value) for name, value in values.items()}}
                    for rule, values in racers
                ],
                **settings,
            }
        )
        self.race = Race(chosen)
        self._frames = bytearray(_bytes(self.race.frame()))
        super().__init__(
            about={"race": write(chosen), "surface": described(chosen.surface)},
            heights=_bytes(grid(chosen.surface)),
            frames=bytes(self._frames),
        )
        self.on_msg(self._take)

    def advance(self, steps: int) -> Any:
        """Go a number of steps, show them, and return their frames, (steps, racers, fields)."""
        first = self.race.step_count + 1
        frames = self.race.advance(steps)
        self._frames += _bytes(frames)
        if self.race.over or len(self._frames) >= 2 * len(self.frames):
            self.frames = bytes(self._frames)
        self._show(first, _bytes(frames))
        return frames

    def _show(self, first: int, frames: bytes) -> None:
        ended = {str(i): lane.ended for i, lane in enumerate(self.race.lanes) if lane.ended is not None}
        self.send({"kind": "frames", "first": first, "ended": ended, "over": self.race.over}, [frames])

    def back(self) -> None:
        """Go back to the start."""
        self.race = Race(self.race.settings)
        self._frames = bytearray(_bytes(self.race.frame()))
        self.frames = bytes(self._frames)
        self.send({"kind": "back"})

    def _take(self, widget: Any, content: Any, buffers: Any) -> None:
        """Do what the page asks for."""
        try:
            if content.get("do") == "back":
                self.back()
            elif content.get("do") == "advance":
                self.advance(int(number("steps", content.get("steps"), 1, MOST_AT_ONCE)))
            elif content.get("do") == "show":  # a view that is opened later
                self._show(0, bytes(self._frames))
        except (AttributeError, LabError) as error:
            self.send({"kind": "error", "text": str(error)})


class Training(anywidget.AnyWidget):
    """A training that is watched, in a notebook; made by the `widget` of :func:`gdfast.lab.watch`.

    Parameters
    ----------
    about : dict
        What there is to see.
    recorder : Recorder
        Where the rows come from.
    """

    _esm = script("watchwidget.js")
    about = traitlets.Dict().tag(sync=True)
    rows = traitlets.Bytes().tag(sync=True)  # all of them, at the end: what a saved notebook shows

    def __init__(self, about: Mapping[str, Any], recorder: Recorder) -> None:
        self._recorder = recorder
        self._count = self._version = 0
        self._due = 0.0
        super().__init__(about=dict(about))
        self.on_msg(self._take)

    def show(self) -> None:
        """Send what is new, so seldom that it is a small share of the loop's time."""
        began = time.perf_counter()
        if began < self._due:
            return
        self._version, first, rows = self._recorder.rows(self._count, self._version)
        if not len(rows):
            return
        self.send({"kind": "rows"}, [packed(first, rows)])
        self._count = first + len(rows)
        after = time.perf_counter()
        self._due = after + max(BETWEEN, (after - began) / SHARE)

    def finish(self) -> None:
        """Hand over all rows, at the end of the training."""
        _, first, rows = self._recorder.rows(0, -1)
        self.rows = packed(first, rows)

    def _take(self, widget: Any, content: Any, buffers: Any) -> None:
        """Send all rows to a view that asks for them."""
        _, first, rows = self._recorder.rows(0, -1)
        self.send({"kind": "rows"}, [packed(first, rows)])


def _bytes(numbers: Any) -> bytes:
    return np.asarray(numbers, "<f4").tobytes()
