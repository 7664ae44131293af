"""What a training is given: a table of which some rows are held out, and what to learn from the others."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gdfast.cli.settings import Settings, Shape
from gdfast.tables.encoding import Encoder
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

#: columns of the matrix that a text's n-grams share: a network has weights for each in every hidden unit
HASHES = {"linear": 2**18, "mlp": 2**14}


@dataclass(frozen=True)
class Rows:
    """All rows of the data that can be used.

    Attributes
    ----------
    kind : {"classification", "regression"}
    target : str
    features : Table
        The columns to learn from.
    y : (rows,) array
        Classes or numbers.
    weights : (rows,) array or None
        What each row counts.
    by : (rows,) array or None
        The groups that stay together, or the times by which the rows are held out.
    notes : list of str
        What the user should know.
    """

    kind: str
    target: str
    features: Table
    y: Array
    weights: Array | None = None
    by: Array | None = None
    notes: list[str] = field(default_factory=list)

    def take(self, rows: Array) -> "Rows":
        """Return these rows."""
        return replace(
            self,
            features=self.features.take(rows),
            y=self.y[rows],
            weights=None if self.weights is None else self.weights[rows],
            by=None if self.by is None else self.by[rows],
        )


@dataclass(frozen=True)
class Task:
    """What is to be learned: rows to train on, rows held out, and the estimator."""

    training: Rows
    held_out: Rows
    encoder: Encoder
    matrix: Any
    settings: Settings
    all: Rows

    @classmethod
    def learn(cls, training: Rows, held_out: Rows, settings: Settings, rows: Rows, encoder: Encoder | None) -> "Task":
        """Learn the encoding from the rows to train on, unless there is one."""
        encoder = encoder or Encoder.learn(
            training.features, settings.text, settings.analyzer, HASHES[settings.model], settings.category, True
        )
        return cls(training, held_out, encoder, encoder.encode(training.features), settings, rows)

    @property
    def kind(self) -> str:
        """Whether it is a classification or a regression."""
        return self.training.kind

    @property
    def target(self) -> str:
        """The column to predict."""
        return self.training.target

    @property
    def train(self) -> Table:
        """The columns of the rows to train on."""
        return self.training.features

    @property
    def train_y(self) -> Array:
        """Their targets."""
        return self.training.y

    @property
    def test(self) -> Table:
        """The columns of the rows held out."""
        return self.held_out.features

    @property
    def test_y(self) -> Array:
        """Their targets."""
        return self.held_out.y

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        return self.training.notes

    def make(self, lr: float | None = None, **options: Any) -> Any:
        """Return an estimator to train."""
        classes = len(np.unique(self.train_y)) if self.kind == "classification" else 1
        outputs = classes if classes > 2 else 1
        shape = Shape(len(self.train), self.matrix.shape[1] * outputs, self.encoder.is_sparse, bool(self.encoder.texts))
        return self.settings.estimator(self.kind, shape, lr).set_params(**options)
