"""The engines of a step in which some gradients are row-sparse: the other arrays as ever, the tables by their rows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdfast import _engine, _native, _rows, buffers
from gdfast.engines import Engine, Entry, NativeEngine, NumpyEngine
from gdfast.rows import Array, coalesce, is_row_sparse

if TYPE_CHECKING:
    from gdfast.optimizers.stepping import Stepping


class RowEngine(ABC):
    """What the rows' engines share: an engine for the arrays with dense gradients, and the checks of the others.

    Parameters
    ----------
    entries : sequence of Entry
        All arrays of the optimizer.
    n_groups : int
    places : sequence of int
        Which of them are stepped.
    tables : tuple of int
        Which of these have row-sparse gradients.
    """

    def __init__(self, entries: Sequence[Entry], n_groups: int, places: Sequence[int], tables: tuple[int, ...]) -> None:
        self._places = places
        self._tables = {i: entries[i] for i in tables}
        others = [entry for i, entry in enumerate(entries) if i in tables or i not in places]
        self._dense = self._make_dense([entries[i] for i in places if i not in tables], n_groups, others)
        self._own = buffers.Memory([named for entry in entries for named in (entry.param, *entry.states)])
        self._bound = {i: (e.param.array.ctypes.data, e.param.array.size) for i, e in self._tables.items()}
        self._numbers: list[tuple[float, ...]] = [()] * n_groups
        self._touched: dict[int, tuple[Array, Array]] = {}

    @abstractmethod
    def _make_dense(self, dense: list[Entry], n_groups: int, others: list[Entry]) -> Engine:
        """Return the engine of the arrays with dense gradients."""

    @abstractmethod
    def _sum_repeated(self, values: Array, order: Array, starts: Array, summed: Array) -> None:
        """Sum the rows that are named more than once."""

    @abstractmethod
    def _run(self, threads: int) -> None:
        """Step all arrays."""

    @property
    def most_parts(self) -> int:
        """Among how many threads the work is worth sharing."""
        return max(self._dense.most_parts, *(self._parts(i) for i in self._touched))

    def _parts(self, i: int) -> int:
        """Return among how many threads the touched rows of a table are worth sharing."""
        parts: int = self._touched[i][1].nbytes * (2 + len(self._tables[i].states)) // _engine.GRAIN_BYTES
        return parts

    def take(self, grads: tuple[Any, ...], threads: int) -> tuple[Any, ...]:
        """Check the gradients of the next step; return them, the row-sparse ones as the values of their rows."""
        self._threads, self._touched = threads, {}
        by_place = dict(zip(self._places, grads, strict=True))
        for i, entry in self._tables.items():
            buffers.check_still(entry.param, self._bound[i])
            self._touched[i] = coalesce(by_place[i], entry.param, self._own, self._sum_repeated)
            by_place[i] = self._touched[i][1]
        self._dense.take(tuple(grad for i, grad in by_place.items() if i not in self._tables))
        return tuple(by_place.values())

    def set_numbers(
        self, group: int, scale: float, bound: float, l2: float, decay: float, l1: float, scalars: tuple[float, ...]
    ) -> None:
        """Set a group's numbers of the next step."""
        self._dense.set_numbers(group, scale, bound, l2, decay, l1, scalars)
        self._numbers[group] = (scale, bound, l2, decay, l1, *scalars)

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of all gradients together."""
        return self._dense.norm(grads, threads, summed)

    def run(self, threads: int, zero_grad: bool, summed: bool) -> None:
        """Carry the step out; what else a step may be asked to do does not go by rows (see `row_engine`)."""
        self._run(threads)
        self._touched = {}


class NativeRowEngine(RowEngine):
    """The native one: tables and all other arrays in one call."""

    def _make_dense(self, dense: list[Entry], n_groups: int, others: list[Entry]) -> Engine:
        self._rules = _native.rules
        return NativeEngine(dense, n_groups, False, others)

    def _sum_repeated(self, values: Array, order: Array, starts: Array, summed: Array) -> None:
        _rows.sum_repeated(values, order, starts, summed, min(self._threads, values.nbytes // _engine.GRAIN_BYTES))

    def _run(self, threads: int) -> None:
        _rows.run(self._dense.run, [self._table(i) for i in self._tables], threads)

    def _table(self, i: int) -> tuple[Any, ...]:
        """Return a table, its gradient, loops and numbers as `_rows.run` takes them."""
        entry, (rows, values) = self._tables[i], self._touched[i]
        dtype = values.dtype
        double_precision = dtype == np.float64
        loops = self._rules.TABLE[entry.rule][double_precision], self._rules.PREPARE[double_precision]
        states = tuple(state.array for state in entry.states)
        numbers = np.array(self._numbers[entry.group], dtype)
        return entry.param.array, states, loops, rows, values, numbers[3:], numbers[:3], self._parts(i)


class NumpyRowEngine(RowEngine):
    """The reference: the touched rows taken out, stepped like any array, and put back."""

    def _make_dense(self, dense: list[Entry], n_groups: int, others: list[Entry]) -> Engine:
        return NumpyEngine(dense, n_groups, False, others)

    def _sum_repeated(self, values: Array, order: Array, starts: Array, summed: Array) -> None:
        from gdfast.reference.rows import sum_repeated

        sum_repeated(values, order, starts, summed)

    def _run(self, threads: int) -> None:
        from gdfast.reference.rows import step_rows

        self._dense.run(threads, False, False)
        for i, (rows, values) in self._touched.items():
            entry = self._tables[i]
            states = [state.array for state in entry.states]
            step_rows(entry.rule, entry.param.array, rows, values, states, self._numbers[entry.group])


def row_engine(
    opt: "Stepping", grads: Sequence[Any], zero_grad: bool, places: Sequence[int] | None = None
) -> RowEngine:
    """Return an optimizer's engine for gradients of all arrays (or of these places) of which some are row-sparse.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If an array cannot be stepped by rows, or not in this step.
    """
    entries, engines = opt._layout.entries, opt._row_engines
    places = range(len(entries)) if places is None else places
    tables = tuple(i for i, grad in zip(places, grads, strict=True) if is_row_sparse(grad))
    for i in tables:
        _check_lazy(opt, entries[i], zero_grad)
    key = (len(places), *tables)
    if key not in engines:
        if len(engines) > 2 * len(entries):  # each array alone, and as many sets of tables, are worth keeping
            engines.clear()
        kind = NativeRowEngine if opt._engine_type is NativeEngine else NumpyRowEngine
        engines[key] = kind(entries, len(opt._layout.groups), places, tables)
    return engines[key]


def _check_lazy(opt: "Stepping", entry: Entry, zero_grad: bool) -> None:
    """Check that an array may be stepped by rows, in this step."""
    path = entry.param.grad_path
    if entry.rule not in opt.lazy_rules:
        raise TypeError(f"{path} must be a NumPy array: {type(opt).__name__} must step the rows without a gradient too")
    if opt.averaging.on:
        raise TypeError(f"{path} must be a NumPy array with ema_decay: every row of the average moves each step")
    if zero_grad:
        raise ValueError(f"zero_grad must be False with row-sparse gradients, as {path} is")
    if opt.accumulation.count:
        raise RuntimeError(
            f"{path} must be a NumPy array to be added to the micro-batches that wait since accumulate()"
        )
