"""Steps by rows of an optimizer of which some lies in fewer bits: touched rows are decoded, stepped and encoded again.

The touched rows of a table become an array of float32, which the rule steps like any other; nothing is as large as the
table. Random bits are those of the elements' places in the table, so that a step of all rows is the dense one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from gdfast.arrays.formats import BLOCK, SCALES
from gdfast.arrays.rows import Array, coalesce_rows, extract_rows
from gdfast.engine import _plan, _rows, isa
from gdfast.engine.coding import as_float, decoded
from gdfast.engine.engines import Coding, Engine, Entry, Numbers


def check_blocks(entry: Entry, path: str) -> None:
    """Refuse a table whose rows share the scales of blocks.

    Raises
    ------
    TypeError
        If a row is no whole number of blocks.
    """
    array = entry.param.array
    width = array.size // max(len(array), 1) if array.ndim else 1
    if width % BLOCK and any(state.name.endswith(SCALES) for state in entry.reduced_states):
        raise TypeError(
            f"{path} must be a NumPy array: a row of {width} elements shares the scales of its blocks of {BLOCK} with "
            "other rows. Keep the state in bfloat16, or make rows of whole blocks"
        )


class CodedRowEngine(ABC):
    """The engine of a step in which some arrays (`tables`) have row-sparse gradients; the others are stepped as usual.

    Parameters
    ----------
    engine : Engine
        The optimizer's own, which steps the others.
    places : sequence of int
        Indices of the arrays that are stepped.
    tables : tuple of int
        Indices of those with row-sparse gradients.
    """

    def __init__(self, engine: Engine, places: Sequence[int], tables: tuple[int, ...]) -> None:
        self._engine, self._places = engine, places
        self._tables = {i: engine.checks.entries[i] for i in tables}
        self._numbers: dict[int, tuple[float, ...]] = {}
        self._dense: dict[int, Any] = {}
        self._touched: list[tuple[int, Array, Array]] = []
        self.most_parts = 1

    def take(self, grads: tuple[Any, ...], threads: int) -> tuple[Any, ...]:
        """Check the gradients of the next step; return them, row-sparse ones as the values of their rows."""
        checks, by_place = self._engine.checks, dict(zip(self._places, grads, strict=True))
        for i, entry in self._tables.items():  # reads the user's objects, so it comes before the first check
            by_place[i] = extract_rows(by_place[i], entry.param)
        for i in self._places:
            checks.bounds[i].check()
        self.release()
        touched = []
        for i, entry in self._tables.items():
            rows, by_place[i] = coalesce_rows(by_place[i], entry.param, checks.own, self._sum_repeated, as_float)
            touched.append((i, rows, by_place[i]))
        dense = {i: self._engine.take_one(i, by_place[i]) for i in self._places if i not in self._tables}
        self._engine.release()
        by_place.update(dense)
        self._dense = dense
        self._touched = touched
        values = sum(array.nbytes for _, _, array in touched)
        self.most_parts = max(self._engine.most_parts, values // _plan.GRAIN_BYTES)
        return tuple(by_place.values())

    def release(self) -> None:
        """Drop gradients that were taken and will not be stepped."""
        self._dense, self._touched = {}, []

    def norm(self, grads: tuple[Any, ...], threads: int, add_accumulated: bool) -> float:
        """Return the norm of all gradients together."""
        return self._engine.norm(grads, threads, add_accumulated)

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step, after `take`."""
        for entry in self._tables.values():
            if entry.group == group:
                isa.rules.TABLE[entry.rule].check_scalars(len(numbers[-1]))
        self._numbers[group] = (*numbers[:-1], *numbers[-1])
        if self._dense:
            self._engine.set_numbers(group, numbers)

    def run(self, threads: int, zero_grad: bool, add_accumulated: bool) -> None:
        """Carry out the step; a step by rows supports no other options.

        Signals do not interrupt a separate thread: Ctrl-C takes effect when the step is complete.
        """
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._carry_out, threads).result()

    def _carry_out(self, threads: int) -> None:
        for i in self._places:
            self._engine.checks.bounds[i].check()
        for i, grad in self._dense.items():
            self._engine.take_one(i, grad)
            self._engine.run_one(i, threads, False)
        for i, rows, values in self._touched:
            if values.size:
                self._step_table(i, self._tables[i], rows, values.reshape(len(rows), -1), threads)
        self.release()

    def _step_table(self, i: int, entry: Entry, rows: Array, values: Array, threads: int) -> None:
        states, width = entry.state_codings(), values.shape[1]
        param = self._picked(entry.param_coding(), rows, width)
        kept = [self._picked(state, rows, width) for state in states]
        self._step(entry, param, values, kept, threads)
        for k, (coding, part) in enumerate(zip(states, kept, strict=True)):
            self._put(i, coding, rows, part, k)
        self._put(i, entry.param_coding(), rows, param, _plan.PARAM_PLACE)
        if entry.copy_format:
            self._put(i, entry.copy_coding(), rows, param, 0)

    def _picked(self, coding: Coding, rows: Array, width: int) -> Array:
        """Return copies of some rows of an array, as the rule sees them."""
        codes, beside = _by_rows(coding, width)
        part: Array = codes[rows]
        if coding.form is None:
            return part
        return self._decode(
            coding.form, part.reshape(-1), None if beside is None else beside[rows].reshape(-1)
        ).reshape(part.shape)

    def _put(self, i: int, coding: Coding, rows: Array, values: Array, place: int) -> None:
        """Put the new values of some rows back, with the random bits of their elements."""
        codes, beside = _by_rows(coding, values.shape[1])
        if coding.form is None:
            codes[rows] = values
            return
        elements = (rows[:, None] * values.shape[1] + np.arange(values.shape[1])).reshape(-1)
        part = np.empty(values.size, codes.dtype)
        part_beside = None if beside is None else np.empty((len(rows), beside.shape[1]), beside.dtype)
        flat = None if part_beside is None else part_beside.reshape(-1)
        self._encode(coding.form, part, flat, values.reshape(-1), self._random(i, place // 2, elements), place % 2)
        codes[rows] = part.reshape(values.shape)
        if beside is not None:
            beside[rows] = part_beside

    def _random(self, i: int, lot: int, elements: Array) -> Array:
        from gdfast.reference.formats import random_bits_at

        return random_bits_at(self._engine.random_key, i, lot, elements)

    @abstractmethod
    def _sum_repeated(self, values: Array, order: Array, starts: Array, totals: Array) -> None:
        """Sum the rows that are named more than once."""

    @abstractmethod
    def _step(self, entry: Entry, param: Array, values: Array, states: list[Array], threads: int) -> None:
        """Step an array that consists of the touched rows."""

    @abstractmethod
    def _decode(self, form: str, codes: Array, beside: Array | None) -> Array:
        """Return codes as float32."""

    @abstractmethod
    def _encode(self, form: str, codes: Array, beside: Array | None, values: Array, random: Array, high: int) -> None:
        """Encode float32 values."""


class NativeCodedRows(CodedRowEngine):
    """The native one."""

    def _sum_repeated(self, values: Array, order: Array, starts: Array, totals: Array) -> None:
        _rows.sum_repeated(values, order, starts, totals, 1)

    def _step(self, entry: Entry, param: Array, values: Array, states: list[Array], threads: int) -> None:
        loops = isa.rules.TABLE[entry.rule], isa.rules.PREPARE
        numbers, given = np.zeros(_rows.MAX_NUMBERS, param.dtype), self._numbers[entry.group]
        with np.errstate(over="ignore"):
            numbers[: len(given)] = given
        parts = values.nbytes * (2 + len(states)) // _plan.GRAIN_BYTES
        table = (param, tuple(states), loops, np.arange(len(param)), values, numbers, parts)
        _rows.run(lambda *_: None, [table], threads, False, False)

    def _decode(self, form: str, codes: Array, beside: Array | None) -> Array:
        return decoded(form, codes, beside)

    def _encode(self, form: str, codes: Array, beside: Array | None, values: Array, random: Array, high: int) -> None:
        _plan.encode_array(isa.rules, form, codes, beside, values, random, bool(high))


class NumpyCodedRows(CodedRowEngine):
    """The reference."""

    def __init__(self, engine: Engine, places: Sequence[int], tables: tuple[int, ...]) -> None:
        super().__init__(engine, places, tables)
        from gdfast import reference
        from gdfast.reference import rows

        self._reference, self._row_reference = reference, rows

    def _sum_repeated(self, values: Array, order: Array, starts: Array, totals: Array) -> None:
        self._row_reference.sum_repeated(values, order, starts, totals)

    def _step(self, entry: Entry, param: Array, values: Array, states: list[Array], threads: int) -> None:
        with np.errstate(all="ignore"):
            self._reference.step(entry.rule, param, values, states, self._numbers[entry.group])

    def _decode(self, form: str, codes: Array, beside: Array | None) -> Array:
        return self._reference.FORMATS[form].decode(codes, beside)

    def _encode(self, form: str, codes: Array, beside: Array | None, values: Array, random: Array, high: int) -> None:
        self._reference.FORMATS[form].encode(codes, beside, values, random, high)


def _by_rows(coding: Coding, width: int) -> tuple[Array, Array | None]:
    """Return views of an array, and of what lies beside it, by rows; codes as unsigned integers."""
    codes = coding.codes if coding.form is None else coding.codes.view(f"u{coding.codes.itemsize}")
    n_rows = codes.size // width
    return codes.reshape(n_rows, width), None if coding.beside is None else coding.beside.reshape(n_rows, -1)
