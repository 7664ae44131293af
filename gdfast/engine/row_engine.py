"""The engines of a step with row-sparse gradients: tables are stepped by their touched rows, other arrays as usual."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gdfast.arrays.rows import Array, coalesce_rows, extract_rows
from gdfast.engine import _plan, _rows, isa
from gdfast.engine.coded_rows import CodedRowEngine, NativeCodedRows, NumpyCodedRows
from gdfast.engine.engines import Checks, Engine, Entry, NativeEngine, Numbers, NumpyEngine


class Touched(NamedTuple):
    """A table (a parameter with a row-sparse gradient), its touched rows, distinct and sorted, and their values."""

    entry: Entry
    rows: Array
    values: Array
    parts: int  # the largest number of threads that pays off


class RowEngine(ABC):
    """The common part: an engine for the arrays with dense gradients, and the checks of the tables.

    Parameters
    ----------
    entries : sequence of Entry
        All arrays of the optimizer.
    n_groups : int
    places : sequence of int
        Indices of those that are stepped.
    tables : tuple of int
        Indices of those with row-sparse gradients.
    checks : Checks
        Those of the optimizer's engine, made when its arrays were bound.
    """

    most_parts: int  # the largest number of threads that pays off for the gradients taken
    #: (threads, zero_grad, add_accumulated): carries the step out; a step by rows supports no other options
    run: Callable[[int, bool, bool], None]

    def __init__(
        self, entries: Sequence[Entry], n_groups: int, places: Sequence[int], tables: tuple[int, ...], checks: Checks
    ) -> None:
        self._places, self._checks = places, checks
        self._bounds = [checks.bounds[i] for i in places]
        self._tables = {i: entries[i] for i in tables}
        others = [entry for i, entry in enumerate(entries) if i in tables or i not in places]
        self._dense = self._make_dense([entries[i] for i in places if i not in tables], n_groups, others)

    @abstractmethod
    def _make_dense(self, dense: list[Entry], n_groups: int, others: list[Entry]) -> Engine:
        """Return the engine of the arrays with dense gradients."""

    @abstractmethod
    def _sum_repeated(self, values: Array, order: Array, starts: Array, totals: Array) -> None:
        """Sum the rows that are named more than once."""

    @abstractmethod
    def _bind(self, touched: list[Touched]) -> None:
        """Bind tables and their touched rows for the next step, by setting `run`."""

    @abstractmethod
    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step, after `take`."""
        for entry in self._tables.values():
            if entry.group == group:
                isa.rules.TABLE[entry.rule].check_scalars(len(numbers[-1]))
        self._dense.set_numbers(group, numbers)

    def take(self, grads: tuple[Any, ...], threads: int) -> tuple[Any, ...]:
        """Check and bind the gradients of the next step; return them, row-sparse ones as the values of their rows."""
        self._threads = threads
        by_place = dict(zip(self._places, grads, strict=True))
        for i, entry in self._tables.items():  # reads the user's objects, so it comes before the first check
            by_place[i] = extract_rows(by_place[i], entry.param)
        for bound in self._bounds:
            bound.check()
        touched = []
        for i, entry in self._tables.items():
            rows, by_place[i] = coalesce_rows(by_place[i], entry.param, self._checks.own, self._sum_repeated)
            parts = by_place[i].nbytes * (2 + len(entry.states)) // _plan.GRAIN_BYTES
            touched.append(Touched(entry, rows, by_place[i], parts))
        dense = [i for i in by_place if i not in self._tables]
        by_place.update(zip(dense, self._dense.take(tuple(by_place[i] for i in dense)), strict=True))
        self.most_parts = max(self._dense.most_parts, *(table.parts for table in touched))
        self._bind(touched)
        return tuple(by_place.values())

    @abstractmethod
    def release(self) -> None:
        """Drop gradients that were taken and will not be stepped."""
        self._dense.release()

    def norm(self, grads: tuple[Any, ...], threads: int, add_accumulated: bool) -> float:
        """Return the norm of all gradients together."""
        return self._dense.norm(grads, threads, add_accumulated)


class NativeRowEngine(RowEngine):
    """The native one: it steps tables and all other arrays in one call, so that no signal handler runs in between."""

    def _make_dense(self, dense: list[Entry], n_groups: int, others: list[Entry]) -> Engine:
        self._rules = isa.rules
        return NativeEngine(dense, n_groups, False, others)

    def _sum_repeated(self, values: Array, order: Array, starts: Array, totals: Array) -> None:
        _rows.sum_repeated(values, order, starts, totals, min(self._threads, values.nbytes // _plan.GRAIN_BYTES))

    def _bind(self, touched: list[Touched]) -> None:
        tables = []
        self._numbers: list[tuple[int, Array]] = []
        for entry, rows, values, parts in touched:
            loops = self._rules.TABLE[entry.rule], self._rules.PREPARE
            states = tuple(state.array for state in entry.states)
            numbers = np.zeros(_rows.MAX_NUMBERS, values.dtype)
            self._numbers.append((entry.group, numbers))
            tables.append((entry.param.array, states, loops, rows, values, numbers, parts))
        self._tables_now = tables
        self.run = partial(_rows.run, self._dense.run, tables, bounds=self._bounds)

    def release(self) -> None:
        """Drop gradients that were taken and will not be stepped."""
        super().release()
        self._tables_now.clear()

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step, after `take`."""
        super().set_numbers(group, numbers)
        flat = (*numbers[:-1], *numbers[-1])
        for own, rounded in self._numbers:
            if own == group:
                with np.errstate(over="ignore"):
                    rounded[: len(flat)] = flat


class NumpyRowEngine(RowEngine):
    """The reference: touched rows are copied out, stepped like any array, and copied back."""

    def _make_dense(self, dense: list[Entry], n_groups: int, others: list[Entry]) -> Engine:
        from gdfast.reference import rows

        self._reference = rows
        self._numbers: list[tuple[float, ...]] = [()] * n_groups
        return NumpyEngine(dense, n_groups, False, others)

    def _sum_repeated(self, values: Array, order: Array, starts: Array, totals: Array) -> None:
        self._reference.sum_repeated(values, order, starts, totals)

    def _bind(self, touched: list[Touched]) -> None:
        self._touched = touched
        self.run = partial(self._carry_out, touched)

    def release(self) -> None:
        """Drop gradients that were taken and will not be stepped."""
        super().release()
        self._touched.clear()

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""
        super().set_numbers(group, numbers)
        self._numbers[group] = (*numbers[:-1], *numbers[-1])

    def _carry_out(self, touched: list[Touched], threads: int, zero_grad: bool, add_accumulated: bool) -> None:
        for bound in self._bounds:
            bound.check()
        self._dense.run(threads, zero_grad, add_accumulated)
        for entry, rows, values, _ in touched:
            states = [state.array for state in entry.states]
            self._reference.step_rows(entry.rule, entry.param.array, rows, values, states, self._numbers[entry.group])
        touched.clear()


AnyRowEngine: TypeAlias = RowEngine | CodedRowEngine


class RowEngines:
    """The row engines of an optimizer, made on demand and cached.

    Parameters
    ----------
    engine : Engine
        The optimizer's own, whose checks know all arrays.
    n_groups : int
    """

    def __init__(self, engine: Engine, n_groups: int) -> None:
        self._checks, self._n_groups, self._engine = engine.checks, n_groups, engine
        self._native = isinstance(engine, NativeEngine)
        self._coded = any(entry.is_coded for entry in engine.checks.entries)
        self._kept: dict[tuple[int, ...], AnyRowEngine] = {}

    def of(self, places: Sequence[int], tables: tuple[int, ...]) -> AnyRowEngine:
        """Return the engine that steps the arrays at `places`, of which those in `tables` have row-sparse gradients."""
        entries, key = self._checks.entries, (len(places), *tables)
        if key not in self._kept:
            if len(self._kept) > 2 * len(entries):  # room for each array alone and for as many combinations of tables
                self._kept.clear()
            self._kept[key] = self._made(places, tables)
        return self._kept[key]

    def _made(self, places: Sequence[int], tables: tuple[int, ...]) -> AnyRowEngine:
        if self._coded:
            return (NativeCodedRows if self._native else NumpyCodedRows)(self._engine, places, tables)
        kind = NativeRowEngine if self._native else NumpyRowEngine
        return kind(self._checks.entries, self._n_groups, places, tables, self._checks)
