"""Sparse gradients of tables: only their rows are stepped, where the rule leaves all other rows as they are."""

from typing import Any

import numpy as np
import torch

from gdfast import _native, _rows
from gdfast._engine import GRAIN_BYTES
from gdfast.rows import Rows, coalesce
from gdfast.structure import Named
from gdfast.torch.binding import Binding
from gdfast.torch.rule import Numbers


class RowStep:
    """The part of one step that goes by rows; stands in the place of the engine, whose `run` it includes.

    Parameters
    ----------
    bound : Binding
    threads : int
        Among how many a gradient's repeated rows are summed, at most.
    """

    def __init__(self, bound: Binding, threads: int) -> None:
        self._bound, self._threads = bound, threads
        self._tables: list[tuple[Any, ...]] = []
        #: the gradients by place: the values of their rows, sorted, each row once
        self.grads: dict[int, np.ndarray[Any, Any]] = {}
        self._rows: dict[int, np.ndarray[Any, Any]] = {}

    @staticmethod
    def takes(param: torch.Tensor, grad: torch.Tensor) -> bool:
        """Whether a sparse gradient is made of rows of a table that lies row by row."""
        return bool(grad.layout == torch.sparse_coo and grad.sparse_dim() == 1 and param.is_contiguous())

    def take(self, place: int, param: torch.Tensor, grad: torch.Tensor) -> None:
        """Take a parameter's gradient, repeated rows summed in a fixed order."""
        known = self._bound.entries[place].param
        table = Named(param.detach().numpy(), known.name, known.path, known.grad_path)
        given = Rows(grad._indices()[0].numpy(), grad._values().detach().contiguous().numpy())
        self._rows[place], self.grads[place] = coalesce(given, table, self._bound.engine.checks.own, self._sum_repeated)

    def set_numbers(self, numbers: list[Numbers]) -> None:
        """Set the numbers of each slot."""
        for place, values in self.grads.items():
            entry = self._bound.entries[place]
            *preparing, scalars = numbers[self._bound.tensors.slot_of[place]]
            loops = _native.rules.TABLE[entry.rule], _native.rules.PREPARE
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

    def _sum_repeated(self, values: Any, order: Any, starts: Any, summed: Any) -> None:
        _rows.sum_repeated(values, order, starts, summed, min(self._threads, values.nbytes // GRAIN_BYTES))
