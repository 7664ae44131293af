"""What "auto" means in the linear models: the size of a mini-batch, the number of epochs, the learning rate.

Found on every second data set of benchmarks/defaults.py. The columns are standardised, so that few rates suit all data.
"""

from dataclasses import dataclass

from gdfast.schedules import Cosine
from gdfast.stepping.hyperparameters import Hyperparameter

BATCH, LARGE_BATCH = 256, 1024
LARGE_FROM = 50_000  # rows
FEWEST_EPOCHS = 3
HIGHEST_PEAK = 0.5
COLUMNS = 10  # up to so many standardised ones, the penalty is that of scikit-learn's linear models
PARTIAL_RATE = 0.05  # where no one knows how many steps there will be


@dataclass(frozen=True)
class Pace:
    """How many steps there are to be at least, and the rate that they begin with."""

    steps: int
    peak: float


USUAL = Pace(500, 0.1)
# Few rows cost little, and where the coefficients are not far fewer than the rows the minimum is hard to find.
THOROUGH = Pace(1000, 0.05)
# A row touches few of many columns, whose weights have a long way to go.
SPARSE = Pace(300, 0.2)


def automatic_pace(rows: int, coefficients: int, sparse: bool) -> Pace:
    """Return the pace for so many rows, and coefficients of all outputs together."""
    if sparse:
        return SPARSE
    return THOROUGH if rows <= max(BATCH, 2 * coefficients) else USUAL


def automatic_alpha(rows: float, columns: int) -> float:
    """Return the penalty's weight for so many rows, and standardised columns; 0 columns where they are not.

    The more columns explain the targets, the less there is for each: their coefficients are expected the smaller. Rows
    of so little weight that they count for less than one, count for one.
    """
    return max(1.0, columns / COLUMNS) / max(rows, 1.0)


def automatic_batch_size(n: int) -> int:
    """Return the rows of a mini-batch for n rows to train on."""
    return min(n, BATCH if n < LARGE_FROM else LARGE_BATCH)


def automatic_epochs(pace: Pace, n: int, batch_size: int) -> int:
    """Return how many epochs to train."""
    steps = -(-n // batch_size)
    return max(FEWEST_EPOCHS, -(-pace.steps // steps))


def automatic_schedule(pace: Pace, steps: int | None, found: float | None = None) -> Hyperparameter:
    """Return the learning rate for so many steps; a constant where no one knows how many.

    It begins with what was found, or else as the pace says, higher where the steps are few.
    """
    if steps is None:
        return PARTIAL_RATE
    peak = min(HIGHEST_PEAK, pace.peak * max(1.0, pace.steps / steps)) if found is None else found
    return Cosine(peak, total_steps=steps)
