"""Engines that measure whole arrays before the step: for layer-wise rules, and for options that work unit by unit.

A unit is the part of an array that shares an index of the first axis, such as the weights of a neuron. Measuring only
reads; see docs/decisions/measure-then-step.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from gdfast.engine import _plan, isa
from gdfast.engine.engines import Checks, Engine, Entry, NativeEngine, NumpyEngine

# The smallest norm of a unit's parameters in adaptive clipping, so that units that start at zero can move.
LEAST = 1e-3


class LayerEngine(Engine, Protocol):
    """What a layer-wise rule asks of an engine. `set_numbers` takes the index of an array instead of a group."""

    def measure(
        self, first: int, stop: int, threads: int, add_accumulated: bool, with_params: bool
    ) -> list[tuple[float, float]]:
        """Return, for each array in [first, stop), the sums of squares of what is measured and of the parameters."""

    def measure_matrices(self, i: int, rows: int, columns: int, threads: int, add_accumulated: bool) -> tuple[Any, Any]:
        """Return the sums of squares of each row and of each column of the matrices in an array's gradient."""

    def set_output(self, i: int, output: Any) -> None:
        """Set the array that the measured quantity of array i is written to."""

    def set_extras(self, i: int, extras: tuple[Any, ...], rows: int = 0, columns: int = 0) -> None:
        """Set further arrays that the loops of array i read before its state.

        With `rows` and `columns`, the shape of its matrices: one has a number per row, the other one per column.
        """

    def set_reduced(self, i: int, state: Any, value: Any) -> None:
        """Set the value that a reduced state array of array i gets when its step begins."""


class NativeLayers(NativeEngine, _plan.LayerPlan):
    """The native engine that can measure."""

    _short = False

    def __init__(
        self, entries: Sequence[Entry], groups: Sequence[Mapping[str, Any]], averaged: bool, layerwise: bool
    ) -> None:
        self.checks = Checks(_placed(entries, layerwise), ())
        self._grad_formats = {}
        units = _units(entries, self.checks, groups)
        numbers = max(len(entries), len(groups))
        _plan.LayerPlan.__init__(self, isa.rules, self._planned(), numbers, averaged, units)
        self.watch(self.checks.bounds)


class NumpyLayers(NumpyEngine):
    """The `numpy` engine that can measure."""

    _short = False

    def __init__(
        self, entries: Sequence[Entry], groups: Sequence[Mapping[str, Any]], averaged: bool, layerwise: bool
    ) -> None:
        super().__init__(_placed(entries, layerwise), max(len(entries), len(groups)), averaged)
        units = _units(entries, self.checks, groups)
        self._units = [
            unit[:3] if by_unit(groups[entry.group]) else None for entry, unit in zip(entries, units, strict=True)
        ]
        self._outputs: dict[int, Any] = {}
        self._extras: dict[int, tuple[Any, ...]] = {}
        self._reduced: dict[int, list[tuple[Any, Any]]] = {}

    def take_one(self, i: int, grad: Any) -> Any:
        """Check and bind the gradient of one entry; drop what was set for its previous gradient."""
        for kept in (self._outputs, self._extras, self._reduced):
            kept.pop(i, None)
        return super().take_one(i, grad)

    def set_output(self, i: int, output: Any) -> None:
        """Set the array that the measured quantity of array i is written to."""
        self._outputs[i] = output

    def set_extras(self, i: int, extras: tuple[Any, ...], rows: int = 0, columns: int = 0) -> None:
        """Set further arrays that the rule of array i reads before its state, in shapes that broadcast with it."""
        self._extras[i] = extras

    def set_reduced(self, i: int, state: Any, value: Any) -> None:
        """Set the value that a reduced state array of array i gets when its step begins."""
        self._reduced.setdefault(i, []).append((state, value))

    def measure(
        self, first: int, stop: int, threads: int, add_accumulated: bool, with_params: bool
    ) -> list[tuple[float, float]]:
        """Return, for each array in [first, stop), the sums of squares of what is measured and of the parameters."""
        square_sum = self._reference.square_sum
        self._check(range(first, stop), False, add_accumulated)
        sums = []
        for i in range(first, stop):
            measured = self._measured(i, add_accumulated)
            if i in self._outputs:
                self._outputs[i][...] = measured
            params = (self._entries[i].param.array,) if with_params else ()
            sums.append((square_sum((measured,)), square_sum(params)))
        return sums

    def measure_matrices(self, i: int, rows: int, columns: int, threads: int, add_accumulated: bool) -> tuple[Any, Any]:
        """Return the sums of squares of each row and of each column of the matrices in an array's gradient."""
        self._check((i,), False, add_accumulated)
        with np.errstate(all="ignore"):
            sums: tuple[Any, Any] = self._reference.matrix_sums(self._ready_now(i, add_accumulated), rows, columns)
        return sums

    def _measured(self, i: int, add_accumulated: bool) -> Any:
        entry, rounded = self._entries[i], self._entries[i].param.array.dtype.type
        with np.errstate(all="ignore"):
            g = self._ready_now(i, add_accumulated)
            if entry.rule not in self._reference.MEASURES:
                return g
            arrays = (entry.param.array, *self._extras.get(i, ()), *(state.array for state in entry.states))
            scalars = map(rounded, self._numbers[entry.group][5:])
            own = arrays[: len(arrays) - self._averaged]
            return self._reference.MEASURES[entry.rule](g, *own, *scalars)

    def _ready_now(self, i: int, add_accumulated: bool) -> Any:
        return self._ready(i, self._total(i, self._grads[i].views[0], add_accumulated))

    def _ready(self, i: int, grad: Any) -> Any:
        param, units = self._entries[i].param.array, self._units[i]
        grad_scale, clip_value, l2 = map(param.dtype.type, self._numbers[self._entries[i].group][:3])
        if units is None or param.size == 0:
            return self._reference.prepare(grad, param, grad_scale, clip_value, l2)
        return self._reference.prepare_units(grad, param, grad_scale, clip_value, l2, *units)

    def _carry_out(self, i: int, param: Any, grad: Any, states: list[Any]) -> None:
        entry = self._entries[i]
        g, arrays = self._ready(i, grad), (*self._extras.pop(i, ()), *states)
        for state, value in self._reduced.pop(i, ()):
            state[...] = value
        self._reference.step_ready(entry.rule, param, g, arrays, self._numbers[entry.group][3:])


ENGINES: dict[type[NativeEngine] | type[NumpyEngine], type[NativeLayers] | type[NumpyLayers]] = {
    NativeEngine: NativeLayers,
    NumpyEngine: NumpyLayers,
}


def by_unit(values: Mapping[str, Any]) -> bool:
    """Whether a group's gradients are centralised or clipped unit by unit."""
    return bool(values["centralize"] or values["clip_adaptive"] > 0)


def _units(
    entries: Sequence[Entry], checks: Checks, groups: Sequence[Mapping[str, Any]]
) -> list[tuple[bool, float, float, int]]:
    """Return for each array: whether its units are centralised, clip_adaptive, the smallest norm, and a unit's size."""
    found = []
    for entry, plain in zip(entries, checks.entries, strict=True):
        values, param = groups[entry.group], plain.param.array
        matrix = param.ndim > 1
        unit = param.size // max(param.shape[0], 1) if matrix else param.size
        found.append((values["centralize"] and matrix, values["clip_adaptive"], LEAST, max(unit, 1)))
    return found


def _placed(entries: Sequence[Entry], layerwise: bool) -> list[Entry]:
    """Return the entries; for a layer-wise rule, each in a group of its own, because it has numbers of its own."""
    return [replace(entry, group=i) for i, entry in enumerate(entries)] if layerwise else list(entries)
