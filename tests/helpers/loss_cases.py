"""The table of the linear models' losses: a row for each native loop, with its formula in NumPy and SciPy.

The generic tests take their losses from here: the value and the derivative of the reference are compared with the
formula, and the native loop with the reference, bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import huber


@dataclass(frozen=True)
class LossCase:
    """A loss by its formula.

    Attributes
    ----------
    formula : callable
        From score, target (-1 or 1 for classes) and parameter to the loss of each row.
    targets : {"classes", "real", "positive"}
    parameter : float
        For the tests.
    """

    formula: Callable
    targets: str
    parameter: float = 0.0

    def data(self, n, seed=0):
        """Scores and targets."""
        rng = np.random.default_rng(seed)
        target = {
            "classes": rng.choice([-1.0, 1.0], n),
            "real": rng.uniform(-3, 3, n),
            "positive": rng.uniform(0.1, 3, n),
        }[self.targets]
        return rng.uniform(-3, 3, n), target


def modified_huber(s, y, p):
    m = s * y
    return np.where(m < -1, -4 * m, np.maximum(0, 1 - m) ** 2)


def tweedie(s, y, p):
    return np.exp((2 - p) * s) / (2 - p) - y * np.exp((1 - p) * s) / (1 - p)


LOSS_CASES = {
    "log_loss": LossCase(lambda s, y, p: np.logaddexp(0, -s * y), "classes"),
    "hinge": LossCase(lambda s, y, p: np.maximum(0, p - s * y), "classes", 1.0),
    "squared_hinge": LossCase(lambda s, y, p: np.maximum(0, 1 - s * y) ** 2, "classes"),
    "modified_huber": LossCase(modified_huber, "classes"),
    "squared_error": LossCase(lambda s, y, p: (s - y) ** 2 / 2, "real"),
    "huber": LossCase(lambda s, y, p: huber(p, s - y), "real", 0.4),
    "log_cosh": LossCase(lambda s, y, p: p**2 * (np.logaddexp((s - y) / p, (y - s) / p) - np.log(2)), "real", 0.4),
    "epsilon_insensitive": LossCase(lambda s, y, p: np.maximum(0, abs(s - y) - p), "real", 0.4),
    "squared_epsilon_insensitive": LossCase(lambda s, y, p: np.maximum(0, abs(s - y) - p) ** 2, "real", 0.4),
    "quantile": LossCase(lambda s, y, p: (y - s) * (p - (y < s)), "real", 0.3),
    "poisson": LossCase(lambda s, y, p: np.exp(s) - y * s, "positive"),
    "gamma": LossCase(lambda s, y, p: s + y * np.exp(-s), "positive"),
    "tweedie": LossCase(tweedie, "positive", 1.5),
}
