"""Cells without a value: counted by column, and refused unless the user says what to do about them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdfast.tables.errors import TableError, counted, listed, raise_all
from gdfast.tables.table import Table

POLICIES = ("error", "drop", "fill")

Array = np.ndarray[Any, Any]


def apply_missing_policy(
    table: Table,
    names: Sequence[str],
    policy: str,
    target: str | None = None,
    may_drop: bool = True,
    target_policy: str | None = None,
    strict: Sequence[str] = (),
) -> Table:
    """Return the rows that can be used.

    Parameters
    ----------
    names : sequence of str
        The columns that are used, the target not among them.
    policy : {"error", "drop", "fill"}
        "drop" leaves rows out; with "fill" a number becomes the mean of the training data, a category an unknown one.
    target : str, optional
        Its column, which nothing fills.
    may_drop : bool
        Whether rows may be left out at all, for the error.
    target_policy : {"error", "drop"}, optional
        What to do where the target is missing; without it as for the others, and an error instead of "fill".
    strict : sequence of str
        More columns, which nothing fills either.

    Raises
    ------
    TableError
        Naming the columns and how many cells they lack; or that numbers are infinite; or that no row is left.
    """
    if target is not None and missing(table.columns[target]).all():
        raise TableError(f"--target must have values; column {target!r} is empty")
    policies = {**dict.fromkeys(names, policy), **dict.fromkeys(strict, "drop" if policy == "drop" else "error")}
    if target is not None:
        policies[target] = target_policy or policy
    everything = list(policies)
    gaps = {name: gap for name in everything if (gap := missing(table.columns[name])).any()}
    filled = sum(int(gap.sum()) for name, gap in gaps.items() if policies[name] == "fill" and name != target)
    gaps = {name: gap for name, gap in gaps.items() if policies[name] != "fill" or name == target}
    leave = ", or leave it out with --drop " if may_drop else ""
    problems = [
        f"column {name!r} has {counted(count, 'infinite number')}: correct them{leave and leave + repr(name)}"
        for name in everything
        if (count := _infinite(table.columns[name]))
    ]
    if refused := {name: gap for name, gap in gaps.items() if policies[name] != "drop"}:
        problems.append(_refusal(table, refused, policy, target, may_drop))
    raise_all(problems)
    table.notes += [f"{counted(filled, 'missing value')} filled in."] if filled else []
    if not gaps:
        return table
    whole = ~np.logical_or.reduce(list(gaps.values()))
    if not whole.any():
        raise TableError(f"every row has a missing value, in {listed(map(repr, gaps))}: leave columns out with --drop")
    n_left_out = int((~whole).sum())
    were = "was" if n_left_out == 1 else "were"
    table.notes.append(f"{n_left_out:,} of {counted(len(table), 'row')} {were} left out for missing values.")
    return table.take(whole)


def _refusal(table: Table, gaps: dict[str, Array], policy: str, target: str | None, may_drop: bool) -> str:
    """Return the sentence about columns with missing values, and what can be done about them."""
    counts = listed(f"{name!r} has {counted(int(gap.sum()), 'missing value')}" for name, gap in gaps.items())
    ways = ["--missing drop leaves such rows out"] if may_drop and policy == "error" else []
    if may_drop and target in gaps and policy == "fill":
        ways.append("--missing-target drop leaves such rows out")
    if policy == "error" and set(gaps) != {target}:
        ways.append("--missing fill fills them in")
    words = [name for name in gaps if name != target and table.columns[name].dtype.kind == "O"]
    if words and may_drop:
        ways.append(f"--category {words[0]!r} reads NA and None there as words")
    return f"column {counts} in {counted(len(table), 'row')}{': ' * bool(ways)}{', '.join(ways)}"


def missing(column: Array) -> Array:
    """Return where a column has no value."""
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind in "mM":
        return np.asarray(np.isnat(column))
    if column.dtype.kind == "O":
        return np.array(
            [cell is None or (isinstance(cell, float | np.floating) and cell != cell) for cell in column], bool
        )
    return np.zeros(len(column), bool)


def _infinite(column: Array) -> int:
    return int(np.isinf(column).sum()) if column.dtype.kind == "f" else 0
