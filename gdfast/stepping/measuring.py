"""The base of rules with numbers of each array in them: what they measure before a step, and how they set it."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from gdfast.arrays.buffers import DTYPES
from gdfast.engine import threads
from gdfast.engine.engines import Engine, Entry
from gdfast.engine.measured import LayerEngine
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Spec
from gdfast.stepping.open_step import OpenStep
from gdfast.stepping.param_group import ParamGroup

if TYPE_CHECKING:
    from gdfast.engine.row_engine import RowEngine

# What is smaller is stored in a state array as zero.
TINY = {dtype: np.finfo(dtype).smallest_normal for dtype in DTYPES}


@dataclass(frozen=True)
class Layers:
    """Some arrays of one group in a step: their numbers are set, what depends on them is measured, the rest is set.

    Attributes
    ----------
    engine : LayerEngine
    entries : sequence of Entry
        All arrays of the optimizer.
    first, stop : int
        The places of these.
    threads : int
    add_accumulated : bool
        Whether micro-batches wait to be added.
    grad_scale, clip_value : float
        How every gradient is prepared.
    """

    engine: LayerEngine
    entries: Sequence[Entry]
    first: int
    stop: int
    threads: int
    add_accumulated: bool
    grad_scale: float
    clip_value: float

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        return ((i, self.entries[i]) for i in range(self.first, self.stop))

    def set(self, i: int, scalars: tuple[float, ...], *, l2: float = 0.0, decay: float = 0.0, l1: float = 0.0) -> None:
        """Set the numbers of one array."""
        self.engine.set_numbers(i, (self.grad_scale, self.clip_value, l2, decay, l1, scalars))

    def measure(self, with_params: bool = True) -> list[tuple[int, float, float]]:
        """Return place, norm of what the rule measures, and norm of the parameters, of each array."""
        sums = self.engine.measure(self.first, self.stop, self.threads, self.add_accumulated, with_params)
        return [(i, sqrt(ready), sqrt(param)) for i, (ready, param) in enumerate(sums, start=self.first)]

    def put(self, i: int, state: Any, value: Any) -> Any:
        """Put a value into a small state array as the step begins; return what it will hold."""
        with np.errstate(all="ignore"):
            held = np.asarray(value).astype(state.dtype)
            held[np.abs(held) < TINY[state.dtype]] = 0.0
        self.engine.set_reduced(i, state, held)
        return held


class Layerwise(Optimizer):
    """The base of rules with numbers of each array. A subclass arranges them; see :class:`gdfast.Optimizer`."""

    layerwise: ClassVar[bool] = True
    own_specs: ClassVar[Mapping[str, Spec]] = {}
    short_states: ClassVar[Mapping[str, bool]] = {}  # what measures them reads float32
    short_params: ClassVar[bool] = False
    #: how many arrays like the parameter are read, or written, to measure before the step
    measure_traffic: ClassVar[int]

    # `scalars` are the numbers that the arrays of a group have in common.

    @classmethod
    @abstractmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Set all numbers of these arrays for step t, counted from 1. Nothing may be written."""

    def _set_numbers(
        self, engine: "Engine | RowEngine", i: int, group: ParamGroup, step: int, grad_scale: float, clip_value: float
    ) -> None:
        first = sum(len(before.params) for before in self._groups[:i])
        self._set_layer_scalars(first, first + len(group.params), group, step, grad_scale, clip_value)

    def _begin_numbers(self, i: int, group: ParamGroup, step: int, clip_value: float) -> None:
        """Compute nothing: the gradients are still to come."""

    def _set_numbers_of_one(self, i: int, group: int, scale: float, open_step: OpenStep) -> None:
        self._set_layer_scalars(i, i + 1, self._groups[group], self.step_count, scale, open_step.clip_value)

    def _set_layer_scalars(
        self, first: int, stop: int, group: ParamGroup, step: int, grad_scale: float, clip_value: float
    ) -> None:
        values = group.asked
        engine = cast("LayerEngine", self._engine)
        n_threads = threads.resolve(self.n_threads) if engine.most_parts > 1 else 1
        add_accumulated = self.accumulation.count > 0
        grad_scale = -grad_scale if values["maximize"] else grad_scale
        layers = Layers(engine, engine.checks.entries, first, stop, n_threads, add_accumulated, grad_scale, clip_value)
        self.set_layer_scalars(layers, values, step - group.start_step + 1)
