"""What a training is given: a table of which some rows are held out, and what to learn from the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.cli.settings import Settings, Shape
from gdfast.tables.encoding import Encoder
from gdfast.tables.reading import Table

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Task:
    """What is to be learned: rows to train on, rows held out, and the estimator."""

    kind: str
    target: str
    train: Table
    train_y: Array
    test: Table
    test_y: Array
    encoder: Encoder
    matrix: Any
    settings: Settings
    notes: list[str]

    def make(self, lr: float | None = None, **options: Any) -> Any:
        """Return an estimator to train."""
        classes = len(np.unique(self.train_y)) if self.kind == "classification" else 1
        outputs = classes if classes > 2 else 1
        shape = Shape(len(self.train), self.matrix.shape[1] * outputs, self.encoder.is_sparse, bool(self.encoder.texts))
        return self.settings.estimator(self.kind, shape, lr).set_params(**options)
