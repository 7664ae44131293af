"""Gradients of micro-batches, summed in memory of their own until the last one comes with the step."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound, ChangedError
from gdfast.arrays.formats import computing_dtype
from gdfast.arrays.structure import NamedArray
from gdfast.engine.engines import Engine, Entry, NativeEngine, NumpyEngine

KINDS = ("mean", "sum")


class Accumulation:
    """The sum so far. Adding to it is a step of plain gradient descent with a rate of -1, so the engines can do it.

    Parameters
    ----------
    accumulation : {"mean", "sum"}
        What a step makes of its micro-batches.

    Attributes
    ----------
    count : int
        How many micro-batches wait for the last one.
    sums : tuple of NamedArray
        Their sum, an array a parameter; no arrays before the first micro-batch.

    Raises
    ------
    ValueError
        If it is neither.
    """

    def __init__(self, accumulation: str) -> None:
        if accumulation not in KINDS:
            raise ValueError(f"accumulation must be one of {', '.join(map(repr, KINDS))}; got {accumulation!r}")
        self.kind = accumulation
        self.count = 0
        self.sums: tuple[NamedArray, ...] = ()
        self._engine: Engine | None = None
        self._bound: Bound | None = None

    def weight(self) -> float:
        """Return the weight of each micro-batch in a step, the last one counted."""
        return 1.0 / (self.count + 1) if self.kind == "mean" else 1.0

    def bound(self) -> Bound:
        """Return the sums as they were when this was first asked for."""
        self._bound = self._bound or Bound([named.path for named in self.sums], [named.array for named in self.sums])
        return self._bound

    def waiting(self) -> tuple[NamedArray, ...]:
        """Return the sums if micro-batches wait."""
        return self.sums if self.count else ()

    def allocate(self, entries: Sequence[Entry]) -> None:
        """Make room for a sum beside each parameter."""
        arrays = [buffers.plain(e.param.array) for e in entries]
        self.sums = tuple(
            NamedArray(
                np.zeros(a.shape, computing_dtype(a.dtype)).view(),
                e.param.name,
                f"the micro-batches' sum of {e.param.path}",
            )
            for e, a in zip(entries, arrays, strict=True)
        )
        self._engine = self._bound = None

    def add(self, row: tuple[Any, ...], engine_type: type[NativeEngine] | type[NumpyEngine], n_threads: int) -> None:
        """Add gradients that were checked; the first ones are copied."""
        self.bound().check()
        if self.count == 0:
            for total, grad in zip(self.bound().views, row, strict=True):
                np.copyto(total, grad)
            self.count = 1
            return
        engine = self._engine = self._engine or self._made(engine_type)
        engine.take(row)
        self.count += 1  # first, as in a step: no signal can come between this line and the sum
        try:
            engine.run(n_threads, False, False)
        except ChangedError:
            self.count -= 1
            raise

    def _made(self, engine_type: type[NativeEngine] | type[NumpyEngine]) -> Engine:
        engine = engine_type([Entry(named, (), "sgd", 0) for named in self.sums], 1, False)
        engine.set_numbers(0, (1.0, math.inf, 0.0, 0.0, 0.0, (-1.0, 0.0, 1.0)))
        return engine

    def named_totals(self, grads: Sequence[NamedArray]) -> list[NamedArray]:
        """Return the sums with the last micro-batch in them, under its names."""
        if self.count == 0:
            return list(grads)
        with np.errstate(all="ignore"):
            return [NamedArray(total.array + g.array, g.name, g.path) for total, g in zip(self.sums, grads, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes along: the sums only if they are in use."""
        return {**self.__dict__, "sums": self.waiting(), "_engine": None, "_bound": None}
