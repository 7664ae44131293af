"""The numbers of a training, taken in its own thread now and then, so seldom that it costs the loop next to nothing.

Design: a sample takes two turns of the loop: the first keeps a copy of the parameters, the next compares them. what
both cost is measured, and no sample follows before so much time has passed that it was a small share of it. Of large
arrays evenly spaced elements are compared. A loop asks only when a thread beside it has said that time has passed.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from gdfast.lab.sources import Source

__all__ = ["COLUMNS", "OF_ARRAY", "SHARE", "Recorder", "packed"]

Array: TypeAlias = np.ndarray[Any, Any]

#: What a row says: the step, seconds a turn, loss, score, learning rate, norm of all gradients, skipped steps;
COLUMNS = ("step", "seconds", "loss", "score", "lr", "norm", "skipped")
#: and of each array: the norm of its gradient, the size of an update over that of the array, the share of dead units.
OF_ARRAY = ("norm", "update", "dead")

ROWS = 2  # the kind of a binary message
SHARE = 0.002  # of the loop's time, at most, for samples
MOST_ROWS = 4096
MOST_ELEMENTS = 1 << 16  # of an array that are compared


class Recorder:
    """Takes rows, and gives them to the pages.

    Parameters
    ----------
    source : Source or None
        What is watched; None for a loop that gives all numbers itself.
    names : sequence of str
        The arrays that have columns of their own.
    """

    def __init__(self, source: Source | None, names: Sequence[str]) -> None:
        self._source = source
        self.names = list(names)
        self._places = [] if source is None else [source.names.index(name) for name in names]
        self._width = len(COLUMNS) + len(OF_ARRAY) * len(self.names)
        self._rows = np.empty((MOST_ROWS, self._width))
        self._count = self._version = 0
        self._lock = threading.Lock()
        self._turns_then = 0
        self._then: float | None = None
        self._due = self._spent = 0.0
        self._before: list[Array] | None = None

    def turn(self, turns: int, loss: Any, grads: Any, score: Any) -> bool:
        """Take a sample if it is time.

        Parameters
        ----------
        turns : int
            How many turns the loop has made; of an optimizer that counts its steps, these count.

        Returns
        -------
        bool
            Whether to ask again at the next turn.
        """
        now = time.perf_counter()
        if now < self._due and self._before is None:
            return False
        steps = None if self._source is None else self._source.steps()
        turns = turns if steps is None else steps
        if self._then is None:
            self._then, self._turns_then = now, turns
        if self._source is not None and self._before is None:
            self._before = [_some(array) for array in self._arrays()]
            self._spent = time.perf_counter() - now
            return True
        self._add([*self._about(turns, now, loss, score), *self._norms(grads)])
        after = time.perf_counter()
        self._due, self._before = after + (self._spent + after - now) / SHARE, None
        self._spent = 0.0
        self._then, self._turns_then = after, turns
        return False

    def rest(self) -> None:
        """Leave out the time that has passed, in which the loop waited."""
        self._then = self._before = None
        self._due = 0.0

    def rows(self, first: int, version: int) -> tuple[int, int, Array]:
        """Return the version, and the rows from `first` on as float32; all of them if rows were thinned since."""
        with self._lock:
            first = first if version == self._version else 0
            return self._version, first, self._rows[first : self._count].astype(np.float32)

    def _arrays(self) -> list[Array]:
        assert self._source is not None
        arrays = self._source.arrays()
        return [arrays[place] for place in self._places]

    def _about(self, turns: int, now: float, loss: Any, score: Any) -> list[float]:
        assert self._then is not None
        since = turns - self._turns_then
        seconds = (now - self._then) / since if since else np.nan
        lr = np.nan if self._source is None else self._source.lr()
        return [turns, seconds, _number(loss), _number(score), lr]

    def _norms(self, grads: Any) -> list[float]:
        if self._source is None or self._before is None:
            return [np.nan, 0.0]
        gradients = self._source.gradients(grads)
        found: list[float] = []
        with np.errstate(all="ignore"):
            norms = [np.nan if gradient is None else float(np.linalg.norm(gradient)) for gradient in gradients]
            for place, array, before in zip(self._places, self._arrays(), self._before, strict=True):
                gradient = gradients[place]
                size = float(np.linalg.norm(before))
                found += [
                    norms[place],
                    float(np.linalg.norm(_some(array) - before)) / size if size else np.nan,
                    np.nan if gradient is None else _dead(gradient),
                ]
        return [float(np.linalg.norm(norms)), self._source.skipped(), *found]

    def _add(self, row: list[float]) -> None:
        with self._lock:
            if self._count == MOST_ROWS:  # every second one makes room
                self._rows[: MOST_ROWS // 2] = self._rows[::2].copy()
                self._count, self._version = MOST_ROWS // 2, self._version + 1
            self._rows[self._count] = row
            self._count += 1


def packed(first: int, rows: Array) -> bytes:
    """Return rows as a page takes them: their kind, the place of the first, how many, how many columns; all float32."""
    head = np.array([ROWS, first, *rows.shape], np.float32)
    return np.concatenate([head, rows.ravel()]).astype("<f4").tobytes()


def _some(array: Array) -> Array:
    """Return a copy of an array's elements, or of evenly spaced ones of a large array, in a row."""
    flat = array.reshape(-1)
    return flat[:: max(1, -(-flat.size // MOST_ELEMENTS))].astype(float)


def _dead(gradient: Array) -> float:
    """Return the share of units whose gradient is 0; a unit is all that shares an index of the first axis."""
    if not gradient.size:
        return np.nan
    if gradient.ndim < 2:
        return 1.0 - np.count_nonzero(gradient) / gradient.size
    return float(np.mean(~gradient.reshape(gradient.shape[0], -1).any(1)))


def _number(value: Any) -> float:
    if hasattr(value, "detach"):  # a tensor of PyTorch, which would warn of its graph
        value = value.detach()
    return np.nan if value is None else float(value)
