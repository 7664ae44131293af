"""What "auto" means in the linear models: batch size, number of epochs, learning rate, weight of the penalty.

Found on every second data set of benchmarks/defaults.py. The columns are standardised, so that few rates suit all data.
"""

from dataclasses import dataclass

from gdfast.schedules import Cosine
from gdfast.stepping.hyperparameters import Hyperparameter

BATCH, LARGE_BATCH = 256, 1024
LARGE_FROM = 50_000  # rows
FEWEST_EPOCHS = 3
HIGHEST_LR = 0.5
COLUMNS = 10  # up to this number, if standardised, the penalty is that of scikit-learn's linear models
PARTIAL_RATE = 0.05  # of partial_fit, whose number of steps is unknown


@dataclass(frozen=True)
class StepBudget:
    """Minimum number of steps of a training, and its initial learning rate."""

    steps: int
    lr: float


USUAL = StepBudget(500, 0.1)
# Few rows cost little, and where the coefficients are not far fewer than the rows the minimum is hard to find.
THOROUGH = StepBudget(1000, 0.05)
# A row touches few of many columns, whose weights have a long way to go.
SPARSE = StepBudget(500, 0.2)


@dataclass(frozen=True)
class ResolvedSchedule:
    """The schedule of a fit, with every "auto" resolved.

    Attributes
    ----------
    batch_size : int
        Rows of a mini-batch, each of which is a step.
    max_iter : int
        Maximum number of epochs.
    n_steps : int
        Steps of that many epochs.
    lr : float or schedule
    """

    batch_size: int
    max_iter: int
    n_steps: int
    lr: Hyperparameter

    @property
    def initial_lr(self) -> float:
        """The learning rate of the first step."""
        return float(self.lr(0) if callable(self.lr) else self.lr)


def automatic_budget(n_rows: int, n_coefficients: int, sparse: bool) -> StepBudget:
    """Return the steps for this many rows, and coefficients of all outputs together."""
    if n_rows <= BATCH:
        return THOROUGH
    if sparse:
        return SPARSE
    return THOROUGH if n_rows <= 2 * n_coefficients else USUAL


def automatic_alpha(rows: float, columns: float) -> float:
    """Return the weight of the penalty: ``max(1, columns / 10) / rows``.

    The more columns share in the explanation of the targets, the smaller each coefficient is expected.

    Parameters
    ----------
    rows : float
        The sum of the rows' weights; less than 1 counts as 1.
    columns : float
        Number of standardised columns, of CSR about how many of them a row fills; 0 if they are not standardised.
    """
    return max(1.0, columns / COLUMNS) / max(rows, 1.0)


def automatic_batch_size(n: int) -> int:
    """Return the rows of a mini-batch for n rows to train on."""
    return min(n, BATCH if n < LARGE_FROM else LARGE_BATCH)


def automatic_epochs(budget: StepBudget, n: int, batch_size: int) -> int:
    """Return the number of epochs."""
    return max(FEWEST_EPOCHS, -(-budget.steps // -(-n // batch_size)))


def automatic_lr(budget: StepBudget, n_steps: int | None, found: float | None = None) -> Hyperparameter:
    """Return a cosine over all steps, or a constant if their number is unknown (None).

    It begins with the rate found by a sweep, or else with that of the budget, higher if there are fewer steps.
    """
    if n_steps is None:
        return PARTIAL_RATE
    initial = min(HIGHEST_LR, budget.lr * max(1.0, budget.steps / n_steps)) if found is None else found
    return Cosine(initial, total_steps=n_steps)
