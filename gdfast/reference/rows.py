"""Steps of some rows of a table, on NumPy arrays."""

from collections.abc import Sequence

import numpy as np

from gdfast.reference import step
from gdfast.reference.elementwise import Array


def step_rows(
    rule: str, param: Array, rows: Array, values: Array, states: Sequence[Array], numbers: Sequence[float]
) -> None:
    """Step these distinct rows like an array that consists of them."""
    touched, kept = param[rows], [state[rows] for state in states]
    with np.errstate(all="ignore"):
        step(rule, touched, values, kept, numbers)
    for whole, part in zip((param, *states), (touched, *kept), strict=True):
        whole[rows] = part


def sum_repeated(values: Array, order: Array, starts: Array, totals: Array) -> None:
    """Fill row k of `totals` with the sum of the rows ``order[starts[k]:starts[k + 1]]`` of `values`, in that order."""
    firsts, counts = starts[:-1], np.diff(starts)
    totals[...] = values[order[firsts]]
    with np.errstate(all="ignore"):
        for place in range(1, counts.max()):
            more = counts > place
            totals[more] += values[order[firsts[more] + place]]
