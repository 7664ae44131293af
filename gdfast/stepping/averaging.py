"""An average of the parameters, updated in the same pass as the step, and swapped in for evaluation."""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gdfast.arrays.formats import NEAREST, short_format
from gdfast.engine.coding import write_copy
from gdfast.engine.engines import Entry
from gdfast.stepping.hyperparameters import FRACTION, Hyperparameter, at_step

STATE = "ema"
_CHUNK = 1 << 16  # elements swapped at a time, so that no large array is copied


class Averaging:
    """Which average of the parameters is kept, if any.

    Parameters
    ----------
    ema_decay : float, schedule, "average" or None
        Weight of the old average in [0, 1); "average" for the uniform average of all steps; None for no average.
    ema_start : int
        Steps before the averaging begins; until then the average is the parameters.

    Raises
    ------
    TypeError, ValueError
        If one is invalid.
    """

    def __init__(self, ema_decay: Hyperparameter | str | None, ema_start: int) -> None:
        if isinstance(ema_start, bool) or not isinstance(ema_start, int):
            raise TypeError(f"ema_start must be an int; got {ema_start!r}")
        if ema_start < 0:
            raise ValueError(f"ema_start must be at least 0; got {ema_start!r}")
        if isinstance(ema_decay, str) and ema_decay != "average":
            raise ValueError(f'ema_decay must be a number {FRACTION}, a schedule or "average"; got {ema_decay!r}')
        self.on = ema_decay is not None
        self.uniform = ema_decay == "average"
        self.decay = None if not self.on or self.uniform else FRACTION.check("ema_decay", ema_decay, is_float32=False)
        self.start = ema_start

    def weight(self, step: int) -> float:
        """Return the weight of the new parameters in the average, after a step counted from 0."""
        if step < self.start:
            return 1.0
        if self.uniform:
            return 1.0 / (step - self.start + 1)
        decay: float = at_step(FRACTION, "ema_decay", self.decay, step, False)
        return 1.0 - decay

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"ema_decay": "average" if self.uniform else self.decay, "ema_start": self.start}


@contextmanager
def swapped(entries: Callable[[], Sequence[Entry]]) -> Iterator[None]:
    """Exchange the parameters with their averages for a ``with`` block, and back at its end, also after an error.

    A parameter of 16 bits cannot hold its average: it is kept in a copy meanwhile, and shows the nearest numbers.
    `entries` returns the checked arrays; it is called twice, because they may change in the block.
    """
    found = entries()
    kept = {i: entry.param.array.copy() for i, entry in enumerate(found) if short_format(entry.param.array.dtype)}
    _exchange(found, kept)
    for i in kept:
        param = found[i].param.array
        write_copy(NEAREST[short_format(param.dtype) or ""], param, found[i].states[-1].array)
    try:
        yield
    finally:
        found = entries()
        _exchange(found, kept)
        for i, array in kept.items():
            found[i].param.array[...] = array


def _exchange(entries: Sequence[Entry], but: Container[int]) -> None:
    for i, entry in enumerate(entries):
        if i in but:
            continue
        param, average = entry.param.array.reshape(-1), entry.states[-1].array.reshape(-1)
        for start in range(0, param.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            kept = param[part].copy()
            param[part] = average[part]
            average[part] = kept
