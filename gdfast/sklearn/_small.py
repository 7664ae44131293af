"""Small fits: where the rows fit a cache, Newton's method or L-BFGS instead of mini-batches.

What was tried: docs/decisions/small-fits.md.
"""

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from gdfast.optimizers import SGD
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._linear_data import Data
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._native_loops import limited_blas
from gdfast.sklearn._newton import CURVED, Problem, newton
from gdfast.sklearn._polish import Minimum, minimise
from gdfast.sklearn._scaling import Standardizer

Array = np.ndarray[Any, Any]
Point: TypeAlias = tuple[Array, Array]

MOST_VALUES = 1 << 17  # rows times columns: a megabyte
MOST_COEFFICIENTS = 1 << 12
NEWTON_WORK = 1 << 20  # multiplications of a step, above which L-BFGS is faster
SMOOTH = (*CURVED, "squared_hinge", "modified_huber", "huber", "log_cosh", "squared_epsilon_insensitive")
TOLERANCE, MOST_STEPS = 1e-7, 500  # of L-BFGS
NEARLY = 1e-6  # gradient times coefficients, beside the objective, where steps of L-BFGS end by rounding
UNMOVED = 1e-3  # the gradient for columns of largest value 1, beside the objective, of coefficients that are no minimum
METHODS = {"newton": "Newton's method", "lbfgs": "L-BFGS"}
LEAST = 1e-280  # a gradient that can be divided by


class SmallTrainer:
    """A linear model whose path to the minimum is known: every epoch is a step along it.

    It stands for a `LinearTrainer` in `fit`.

    Parameters
    ----------
    solver : {"newton", "lbfgs"}
    standardizer : Standardizer
    dtype : numpy.dtype
        Of the data.
    losses : list of float
        The objective after every step.
    points : list of (coef, intercept)
        Of shape (columns, outputs) and (outputs,), in standard units.
    arrived : bool
        Whether the last one is the minimum.
    """

    needs_blas = False
    lr = 1.0
    batch_size = MOST_VALUES  # all rows

    def __init__(
        self,
        solver: str,
        standardizer: Standardizer,
        dtype: Any,
        losses: list[float],
        points: list[Point],
        arrived: bool,
    ) -> None:
        self.solver, self._standardizer, self._dtype = solver, standardizer, dtype
        self._losses, self._points, self._arrived, self._taken = losses, points, arrived, 0

    @property
    def n_epochs(self) -> int:
        """Number of steps."""
        return len(self._losses)

    def epoch(self, order: BatchOrder | int) -> float:
        """Take a step; return the objective after it."""
        self._taken += 1
        return self._losses[self._taken - 1]

    def run_epochs(self, order: BatchOrder, n_epochs: int) -> list[float]:
        """Take all steps."""
        self._taken = n_epochs
        return self._losses

    def weights(self) -> list[Array]:
        """Return no arrays: without early stopping no epoch is gone back to."""
        return []

    def warn(self, name: str) -> None:
        """Warn if all steps were taken and do not lead to the minimum; `name` is the estimator's."""
        if not self._arrived and self._taken == self.n_epochs:
            warnings.warn(
                f"{name}: {METHODS[self.solver]} ended at step {self.n_epochs}, before it reached the minimum: "
                "with a larger penalty (alpha), or columns of similar scale, it needs fewer.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def raw(self) -> Point:
        """Return coefficients of shape (outputs, columns) and intercepts in the units of the data."""
        last = self._standardizer.targets_to_raw(*self._points[self._taken - 1])
        coef, intercept = self._standardizer.features_to_raw(*last)
        coef, intercept = self._standardizer.in_raw_dtype(self._dtype, coef, intercept)
        return coef.T, intercept


def small_trainer(
    estimator: Any, data: Data, standardizer: Standardizer, start: Point, penalty: tuple[float, float]
) -> SmallTrainer | None:
    """Return the trained model if the data are small, the loss smooth, and everything about the steps is automatic.

    None also where numbers overflow: then mini-batches find out, or say so.
    """
    loss = estimator._native_loss(data.outputs, standardizer)
    if penalty[1] or loss[0] not in SMOOTH or not _is_automatic(estimator) or not _is_small(data, start):
        return None
    solver = "newton" if loss[0] in CURVED and _newton_work(loss[0], data, start) <= NEWTON_WORK else "lbfgs"
    problem = (data, standardizer, loss, start, penalty[0], estimator.fit_intercept)
    with np.errstate(all="ignore"), limited_blas(True):
        if solver == "newton":
            losses, points, arrived = _by_newton(*problem)
        else:
            origin = np.zeros_like(start[0]), estimator._initial_intercept(data)
            losses, points, arrived = _by_lbfgs(*problem, origin)
    if not losses or not np.isfinite(losses[-1]):
        return None
    dtype = (data.table[0] if data.sparse else data.table).dtype
    return SmallTrainer(solver, standardizer, dtype, losses, points, arrived)


def _is_automatic(estimator: Any) -> bool:
    named = [getattr(estimator, name) for name in ("optimizer", "lr", "batch_size", "max_iter")]
    if any(not isinstance(value, str) or value != "auto" for value in named):
        return False
    return not (estimator.early_stopping or estimator.average or estimator.tol is not None or estimator._probe)


def _is_small(data: Data, start: Point) -> bool:
    return len(data.rows) * len(start[0]) <= MOST_VALUES and start[0].size <= MOST_COEFFICIENTS


def _newton_work(loss: str, data: Data, start: Point) -> int:
    """Return about how many multiplications a step takes."""
    unknowns, outputs = len(start[0]) + 1, data.outputs
    if loss == "multinomial":
        return len(data.rows) * unknowns**2 * outputs * (outputs - 1) // 2 + (unknowns * outputs) ** 3 // 3
    return int((len(data.rows) * unknowns**2 + unknowns**3 // 3) * outputs)


def _by_newton(
    data: Data, standardizer: Standardizer, loss: tuple[str, float], start: Point, l2: float, fit_intercept: bool
) -> tuple[list[float], list[Point], bool]:
    table, targets, n_columns = data.table, data.targets[data.rows], len(start[0])
    if data.sparse:
        table = csr_array(table, shape=(len(data.y), n_columns)).toarray()
    columns = np.ones((len(data.rows), n_columns + fit_intercept))
    columns[:, :n_columns] = table[data.rows]
    if standardizer.mean is not None:
        columns[:, :n_columns] -= standardizer.mean
    if standardizer.inv_scale is not None:
        columns[:, :n_columns] *= standardizer.inv_scale
    if loss[0] == "log_loss":
        targets = np.where(targets == 1, 1.0, -1.0)[:, None]
    shares = np.ones(len(columns)) if data.weights is None else data.weights[data.rows]
    problem = Problem(columns, targets, shares[:, None] / len(columns), loss[0], l2, fit_intercept, loss[1])
    losses, points, arrived = newton(problem, np.vstack([start[0], start[1]]) if fit_intercept else start[0])
    none = np.zeros(data.outputs)
    return losses, [(point[:n_columns], point[-1] if fit_intercept else none) for point in points], arrived


def _by_lbfgs(
    data: Data,
    standardizer: Standardizer,
    loss: tuple[str, float],
    start: Point,
    l2: float,
    fit_intercept: bool,
    origin: Point,
) -> tuple[list[float], list[Point], bool]:
    if data.sparse:
        table: Any = (data.table[0].astype(np.float64), *data.table[1:])
    else:
        table = data.table.astype(np.float64)
    trainer = LinearTrainer(
        table,
        data.targets,
        data.weights,
        standardizer,
        loss,
        start,
        (SGD, {"lr": 1.0}),  # takes no step
        penalty=(0.0, 0.0),
        fit_intercept=fit_intercept,
        batch_size=len(data.rows),
        n_threads=1,
        indices_sorted=data.in_order,
    )
    shape, size, none = start[0].shape, start[0].size, np.zeros(data.outputs)

    def point(x: Array) -> Point:
        return x[:size].reshape(shape), x[size:] if fit_intercept else none

    def objective(x: Array) -> tuple[float, Array]:
        coef, intercept = point(x)
        trainer.coef[...], trainer.intercept[...] = coef.reshape(trainer.coef.shape), intercept
        total, coef_grad, intercept_grad = trainer.gradient(data.rows)
        slope = joined(coef_grad, intercept_grad) / len(data.rows)
        slope[:size] += l2 * x[:size]
        return total / len(data.rows) + 0.5 * l2 * float(x[:size] @ x[:size]), slope

    def joined(coef: Array, intercept: Array) -> Array:
        return np.concatenate([coef.ravel(), intercept if fit_intercept else none[:0]])

    # Tiny targets, or a huge one beside a small epsilon, have tiny gradients everywhere, which are no minimum.
    steepest = float(np.abs(objective(joined(*origin))[1]).max(initial=0.0))
    unit = 2.0 ** min(0, int(np.frexp(steepest)[1])) if steepest > LEAST else 1.0

    def in_units(x: Array) -> tuple[float, Array]:
        value, slope = objective(x)
        return value / unit, slope / unit

    begin = joined(*start)
    losses, passed = list[float](), list[Point]()

    def stops(x: Array, loss: float) -> bool:
        losses.append(loss * unit)
        passed.append(point(x))
        return False

    minimum = minimise(in_units, begin, np.zeros(len(begin)), TOLERANCE, MOST_STEPS, stops)
    if not passed:  # it begins at the minimum, or finds no step down
        return [objective(begin)[0]], [start], minimum.left <= TOLERANCE
    largest = None if standardizer.inv_scale is not None else _largest(table, data, start)
    return losses, passed, _is_minimum(minimum, in_units, len(losses), largest)


def _largest(table: Any, data: Data, start: Point) -> Array:
    """Return the largest absolute value that each coefficient is multiplied by; 1 for an empty column."""
    if data.sparse:
        table = csr_array(table, shape=(len(data.y), len(start[0])))
    largest = abs(table).max(axis=0)
    of_columns = np.ravel(largest.toarray() if data.sparse else largest)
    return np.repeat(np.where(of_columns > 0.0, of_columns, 1.0), data.outputs)


def _is_minimum(
    minimum: Minimum, objective: Callable[[Array], tuple[float, Array]], steps: int, largest: Array | None
) -> bool:
    """Return whether the gradient is small, or as small as rounding lets it become: then changes are small with it.

    In columns that are not standardised no coefficient has moved where one column is larger than the others by far:
    that is told by the gradient for columns of largest absolute value 1, from the columns' own, `largest`.
    """
    if minimum.left <= TOLERANCE or steps == MOST_STEPS:
        return minimum.left <= TOLERANCE
    loss, gradient = objective(minimum.x)
    if largest is not None and (np.abs(gradient[: len(largest)]) > UNMOVED * largest * (1.0 + abs(loss))).any():
        return False
    return bool(np.abs(gradient) @ np.abs(minimum.x) <= NEARLY * (1.0 + abs(loss)))
