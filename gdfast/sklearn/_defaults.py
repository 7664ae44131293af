"""What "auto" means in the linear models: the size of a mini-batch, the number of epochs, the learning rate.

Found on every second data set of benchmarks/defaults.py. The columns are standardised, so that one rate suits all data.
"""

from gdfast.hyperparameters import Hyperparameter
from gdfast.schedules import Cosine

BATCH, LARGE_BATCH = 256, 1024
LARGE_FROM = 50_000  # rows
STEPS = 1000  # at least, in all
FEWEST_EPOCHS = 5
PEAK = 0.05


def automatic_batch_size(n: int) -> int:
    """Return the rows of a mini-batch for n rows to train on."""
    return min(n, BATCH if n < LARGE_FROM else LARGE_BATCH)


def automatic_epochs(n: int, batch_size: int) -> int:
    """Return how many epochs to train."""
    steps = -(-n // batch_size)
    return max(FEWEST_EPOCHS, -(-STEPS // steps))


def automatic_schedule(steps: int | None) -> Hyperparameter:
    """Return the learning rate for so many steps; None where no one knows how many there will be."""
    return PEAK if steps is None else Cosine(PEAK, total_steps=steps)
