"""Checkpoints of a training on a source: where it stands, beside the state of its optimizer."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from gdfast.checkpoint import load, save
from gdfast.checkpoint.errors import CheckpointError
from gdfast.checkpoint.header import read_header
from gdfast.checkpoint.loading import read_extra
from gdfast.stepping.base import Optimizer

#: between two checkpoints
SECONDS = 60.0


@dataclass
class Position:
    """Where a training stands.

    Attributes
    ----------
    seed : int or None
        Of the order of the rows.
    fit : dict
        What the training is of: its source and the parameters of its estimator, as plain data.
    losses : list of float
        Of the epochs that are complete.
    rows : int
        How many rows of the next epoch have been taken.
    loss, penalty, taken : float
        The sum of their losses, of the penalty's share of these, and how many of them have a weight.
    state : dict
        What else the training needs to go on, as plain data.
    done : bool
        Whether the training is complete.
    """

    seed: int | None
    fit: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    rows: int = 0
    loss: float = 0.0
    penalty: float = 0.0
    taken: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    done: bool = False


class Checkpoint:
    """The file in which a training is kept while it runs; without a path nothing is written."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"checkpoint must be a path or None; got {path!r}")
        self._path = None if path is None else Path(path)
        self._written = monotonic()

    def position(self, seed: int | None, fit: dict[str, Any]) -> Position:
        """Return where to go on: the beginning, if there is no file.

        Raises
        ------
        CheckpointError
            If the file is damaged, or of a training on other rows or with other parameters.
        """
        if self._path is None or not self._path.exists():
            return Position(seed, fit)
        with open(self._path, "rb", buffering=0) as file:
            try:
                found = read_extra(file, *read_header(file))
                position = Position(**found)
            except CheckpointError as error:
                raise type(error)(f"{self._path} cannot be loaded: {error}") from None
            except TypeError:
                raise CheckpointError(f"{self._path} holds no training on a source") from None
        for name in {**fit, **position.fit}:
            if fit.get(name) != position.fit.get(name):
                raise CheckpointError(
                    f"{self._path} is of a training with {name} {position.fit.get(name)}; got {fit.get(name)}: give "
                    "another checkpoint to begin anew"
                )
        return position

    def load(self, optimizer: Optimizer) -> None:
        """Take over the state of the optimizer, if there is a file."""
        if self._path is not None and self._path.exists():
            load(self._path, optimizer)

    def save(self, optimizer: Optimizer, position: Position, *, now: bool = False) -> None:
        """Write the file, `now` or if the last time is some while ago."""
        if self._path is not None and (now or monotonic() - self._written >= SECONDS):
            save(self._path, optimizer, extra=asdict(position))
            self._written = monotonic()

    def done(self) -> None:
        """Remove the file, because the training is complete."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
