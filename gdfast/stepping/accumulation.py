"""Gradients of micro-batches, summed in separate memory until `step` is called with the last one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound, ChangedError
from gdfast.arrays.formats import computing_dtype
from gdfast.arrays.structure import NamedArray
from gdfast.engine.engines import Engine, Entry, NativeEngine, NumpyEngine

KINDS = ("mean", "sum")


def sum_like(param: NamedArray) -> NamedArray:
    """Return an array of the shape and dtype of a parameter's sum: the parameter itself where that has them."""
    array = buffers.plain(param.array)
    return param if array.dtype in buffers.DTYPES else replace(param, array=np.empty(array.shape, np.float32))


class Accumulation:
    """The sum so far. Adding a gradient is a step of plain gradient descent with a rate of -1, done by the engines.

    Parameters
    ----------
    accumulation : {"mean", "sum"}
        Whether a step uses the mean or the sum of its micro-batches.

    Attributes
    ----------
    count : int
        Number of micro-batches added since the last step.
    sums : tuple of NamedArray
        Their sum, one array per parameter; empty before the first micro-batch.

    Raises
    ------
    ValueError
        If it is neither of these.
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
        """Return the weight of each micro-batch in the next step, whose own gradients count as the last micro-batch."""
        return 1.0 / (self.count + 1) if self.kind == "mean" else 1.0

    def bound(self) -> Bound:
        """Return the sums, bound when this was first called."""
        self._bound = self._bound or Bound([named.path for named in self.sums], [named.array for named in self.sums])
        return self._bound

    def waiting(self) -> tuple[NamedArray, ...]:
        """Return the sums if there are micro-batches to be stepped, else an empty tuple."""
        return self.sums if self.count else ()

    def allocate(self, entries: Sequence[Entry]) -> None:
        """Allocate a sum for each parameter."""
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
        """Add checked gradients; the first ones are copied."""
        self.bound().check()
        if self.count == 0:
            for total, grad in zip(self.bound().views, row, strict=True):
                np.copyto(total, grad)
            self.count = 1
            return
        engine = self._engine = self._engine or self._made(engine_type)
        engine.take(row)
        self.count += 1  # before the call, as in a step: no signal can arrive between this line and the sum
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
        """Return the sums plus the last micro-batch, with the names of its gradients."""
        if self.count == 0:
            return list(grads)
        with np.errstate(all="ignore"):
            return [
                NamedArray(total.array + g.array, g.name, g.path) for total, g in zip(self.sums, grads, strict=True)
            ]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for `pickle` and `copy`: the sums only if they are in use."""
        return {**self.__dict__, "sums": self.waiting(), "_engine": None, "_bound": None}
