"""Sparse gradients: for rules that leave other rows unchanged, only the rows or elements named are stepped."""

import math
from typing import Any

import numpy as np
import torch

from gdfast.arrays.rows import Rows, coalesce
from gdfast.arrays.structure import NamedArray
from gdfast.engine import _rows, isa
from gdfast.engine._plan import GRAIN_BYTES
from gdfast.engine.engines import Numbers
from gdfast.torch.binding import Binding
from gdfast.torch.memory import checked


class RowStep:
    """The part of one step that goes by rows; used instead of the engine, whose `run` it includes.

    Parameters
    ----------
    bound : Binding
    threads : int
        Maximum number of threads that sum a gradient's repeated rows.
    """

    def __init__(self, bound: Binding, threads: int) -> None:
        self._bound, self._threads = bound, threads
        self._tables: list[tuple[Any, ...]] = []
        #: place of the parameter -> its gradient: the values of the rows, sorted, each row once
        self.grads: dict[int, np.ndarray[Any, Any]] = {}
        self._rows: dict[int, np.ndarray[Any, Any]] = {}

    def takes(self, place: int, grad: torch.Tensor, name: str) -> bool:
        """Whether a sparse gradient is stepped by rows, instead of being made dense; `name` is the optimizer's.

        The parameter must be C-contiguous, real and of the gradient's dtype. Raises RuntimeError where PyTorch does.
        """
        bound, entry, work = self._bound, self._bound.entries[place], self._bound.works[place]
        if not bound.rule.sparse:
            raise RuntimeError(f"{name} does not support sparse gradients")
        if bound.groups[entry.group].values["weight_decay"]:
            raise RuntimeError(f"weight_decay of {name} must be 0 with sparse gradients")
        if entry.rule not in bound.rule.by_rows or bound.averaged or entry.is_coded:
            return False
        return work.is_contiguous() and not work.is_complex() and work.dtype == grad.dtype

    def take(self, place: int, grad: torch.Tensor) -> None:
        """Take a parameter's gradient; repeated rows are summed in a fixed order.

        If the indices span several dimensions (all, if single elements are sparse), the parameter is reshaped to a
        table with one row for each combination of them.
        """
        known, work = self._bound.entries[place].param, self._bound.works[place]
        if grad.sparse_dim() != 1:
            grad = checked(grad, known.grad_path)
        named = work.shape[: grad.sparse_dim()]
        array = work.detach().numpy().reshape(math.prod(named), *work.shape[len(named) :])
        table = NamedArray(array, known.name, known.path, known.grad_path)
        given = Rows(_rows_of(grad._indices(), named).numpy(), grad._values().detach().contiguous().numpy())
        self._rows[place], self.grads[place] = coalesce(given, table, self._bound.engine.checks.own, self._sum_repeated)

    def set_numbers(self, numbers: list[Numbers]) -> None:
        """Set the numbers of each slot."""
        for place, values in self.grads.items():
            entry = self._bound.entries[place]
            *preparing, scalars = numbers[self._bound.tensors.slot_of[place]]
            loops = isa.rules.TABLE[entry.rule], isa.rules.PREPARE
            loops[0].check_scalars(len(scalars))
            own = np.zeros(_rows.MAX_NUMBERS, values.dtype)
            with np.errstate(over="ignore"):
                own[: len(preparing) + len(scalars)] = (*preparing, *scalars)
            states = tuple(state.array for state in entry.states)
            parts = values.nbytes * (2 + len(states)) // GRAIN_BYTES
            self._tables.append((entry.param.array, states, loops, self._rows[place], values, own, parts))

    def run(self, threads: int, zero_grad: bool) -> None:
        """Carry out the whole step."""
        _rows.run(self._bound.engine.run, self._tables, threads, zero_grad, False)

    def _sum_repeated(self, values: Any, order: Any, starts: Any, totals: Any) -> None:
        _rows.sum_repeated(values, order, starts, totals, min(self._threads, values.nbytes // GRAIN_BYTES))


def check_lazy(bound: Binding, name: str) -> None:
    """Refuse what would change elements that no gradient names.

    Raises
    ------
    TypeError, RuntimeError
        If a gradient is dense, or the parameters are averaged, or something lies in fewer bits.
    """
    if coded := next((entry for entry in bound.entries if entry.is_coded), None):
        raise TypeError(f"{coded.param.path} and its state must be float32 or float64 for {name}, which steps rows")
    if not all(getattr(param.grad, "is_sparse", False) for param in bound.tensors.stepped):
        raise RuntimeError(f"{name} does not support dense gradients, please consider Adam instead")
    if bound.averaged:
        raise RuntimeError(f"ema_decay must be None for {name}: it would change the average of every element")


def _rows_of(coordinates: torch.Tensor, named: torch.Size) -> torch.Tensor:
    """Return the row numbers of coordinates, in the table with one row for each combination of them."""
    if len(named) == 1:
        return coordinates[0]
    rows = torch.zeros(coordinates.shape[1], dtype=torch.int64)
    for at, size in zip(coordinates, named, strict=True):
        rows = rows * size + at
    return rows
