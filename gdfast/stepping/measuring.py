"""The base of layer-wise rules, whose numbers differ from array to array and depend on norms measured before a step."""

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
    from gdfast.engine.row_engine import AnyRowEngine

# Smaller values are stored in state arrays as zero.
TINY = {dtype: np.finfo(dtype).smallest_normal for dtype in DTYPES}


@dataclass(eq=False, repr=False)
class Layers:
    """Some arrays of one group, in the step being prepared: for measuring them and setting their numbers.

    Attributes
    ----------
    engine : LayerEngine
    entries : sequence of Entry
        All arrays of the optimizer.
    first, stop : int
        The range of indices of these arrays.
    threads : int
    add_accumulated : bool
        Whether the sums of micro-batches are added to the gradients.
    grad_scale, clip_value : float
        What gradients are multiplied by, and the largest absolute value of an element afterwards.
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
        """Return for each array its index, the norm of what the rule measures, and the norm of the parameters."""
        sums = self.engine.measure(self.first, self.stop, self.threads, self.add_accumulated, with_params)
        return [(i, sqrt(ready), sqrt(param)) for i, (ready, param) in enumerate(sums, start=self.first)]

    def put(self, i: int, state: Any, value: Any) -> Any:
        """Set the value that a reduced state array gets when the step begins; return it, rounded to its dtype."""
        with np.errstate(all="ignore"):
            held = np.asarray(value).astype(state.dtype)
            held[np.abs(held) < TINY[state.dtype]] = 0.0
        self.engine.set_reduced(i, state, held)
        return held


class Layerwise(Optimizer):
    """The base of layer-wise rules. A subclass sets the numbers of each array; see :class:`gdfast.Optimizer`."""

    layerwise: ClassVar[bool] = True
    own_specs: ClassVar[Mapping[str, Spec]] = {}
    short_states: ClassVar[Mapping[str, bool]] = {}  # what measures them reads float32
    short_params: ClassVar[bool] = False
    #: how many arrays like the parameter are read, or written, to measure before the step
    measure_traffic: ClassVar[int]

    # `scalars` returns the numbers that all arrays of a group share.

    @classmethod
    @abstractmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Set all numbers of these arrays for step t, counted from 1. Nothing may be written."""

    def _set_numbers(
        self,
        engine: "Engine | AnyRowEngine",
        i: int,
        group: ParamGroup,
        step: int,
        grad_scale: float,
        clip_value: float,
    ) -> None:
        first = sum(len(before.params) for before in self._groups[:i])
        self._set_layer_scalars(first, first + len(group.params), group, step, grad_scale, clip_value)

    def _begin_numbers(self, i: int, group: ParamGroup, step: int, clip_value: float) -> None:
        """Compute nothing yet: these numbers depend on the gradients."""

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
