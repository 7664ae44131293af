"""What "auto" means in the linear models: batch size, epochs and learning rate."""

from typing import Any

from scipy.sparse import issparse

import gdfast
from gdfast.hyperparameters import Hyperparameter
from gdfast.schedules import Cosine

BATCH = 256
BATCH_LARGE = 1024
STEPS = 1000
FEWEST_EPOCHS = 5
PEAK = 0.05


def automatic_batch_size(X: Any, n: int) -> int:
    return min(n, BATCH if n < 50_000 else BATCH_LARGE)


def automatic_epochs(n: int, batch_size: int) -> int:
    steps = -(-n // batch_size)
    return max(FEWEST_EPOCHS, -(-STEPS // steps))


def automatic_schedule(optimizer: type[gdfast.Optimizer], steps: int | None) -> Hyperparameter:
    return PEAK if steps is None else Cosine(PEAK, total_steps=steps)
