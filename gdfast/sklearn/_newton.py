"""Newton's method for linear models with few coefficients: iterated least squares, in float64."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.linalg import lstsq
from scipy.linalg.lapack import dposv

from gdfast.reference.losses import LOSSES, exponential

Array = np.ndarray[Any, Any]

CURVED = ("log_loss", "multinomial", "squared_error", "poisson", "gamma", "tweedie")  # with a second derivative
MOST_STEPS = 100
MOST_HALVINGS = 40
ENOUGH = 1e-11  # the decrease that a step promises, beside the objective, after which no more is worth it
ENOUGH_ENDLESS = 1e-8  # where the minimum may be infinitely far away
ARMIJO = 1e-4  # the share of the promised decrease that is asked for
SAFE = 1e-9  # the penalty, beside the columns' largest mean square, from which there is one minimum, and well defined
DAMPING, LEAST_DAMPING = 0.01, 1e-12  # of the gradient's norm; beside the columns' mean squares
NOISE = 1e-18  # the mean square, beside the largest, of a column that is rounding


@dataclass
class Problem:
    """The objective: weighted sum of the losses, plus ``l2/2`` times the sum of the squared coefficients.

    Attributes
    ----------
    columns : float64 array of shape (n, columns)
        In standard units; the last is of ones if there is an intercept.
    targets : array of shape (n, outputs), or (n,) of class indices for the multinomial loss
        -1 and 1 for the log loss.
    shares : float64 array of shape (n, 1)
        The rows' weights, of sum 1.
    loss : str
        One of CURVED.
    l2 : float
    fit_intercept : bool
    parameter : float
        The power, of tweedie.
    """

    columns: Array
    targets: Array
    shares: Array
    loss: str
    l2: float
    fit_intercept: bool
    parameter: float = 0.0

    def __post_init__(self) -> None:
        self._l2 = np.full((self.columns.shape[1], 1), self.l2)
        if self.fit_intercept:
            self._l2[-1] = 0.0
        squares = (self.shares * self.columns * self.columns).sum(axis=0)
        self._squares = np.where(squares > NOISE * squares.max(), squares, 1.0)[:, None]
        self._unique = self.l2 > SAFE * squares.max()
        self.enough = ENOUGH if self._unique else ENOUGH_ENDLESS
        self.unit = self._unit()

    def _unit(self) -> float:
        """Return what the losses are in proportion to, 1 at most: the mean target, or its power; 1 for the others."""
        if self.loss not in ("poisson", "tweedie"):
            return 1.0
        power = self.parameter if self.loss == "tweedie" else 1.0
        mean = float((self.shares * self.targets).sum(axis=0).min())
        return min(1.0, mean ** (2.0 - power)) if mean > 0.0 else 1.0

    def at(self, coef: Array) -> tuple[float, Array]:
        """Return the objective, and the losses' derivatives (multinomial: the probabilities), (n, outputs)."""
        scores = self.columns @ coef
        if self.loss == "multinomial":
            losses, slopes = _multinomial(scores, self.targets)
        else:
            losses, slopes = LOSSES[self.loss](scores, self.targets, self.parameter)
        value = float((self.shares * losses).sum()) + 0.5 * float((self._l2 * coef * coef).sum())
        return value, slopes

    def step(self, coef: Array, slopes: Array) -> tuple[Array, float]:
        """Return Newton's step from a point, and the decrease that it promises."""
        if self.loss == "multinomial":
            of_scores, own = slopes.copy(), (np.arange(len(slopes)), self.targets)
            of_scores[own] = 0.0
            of_scores[own] = -of_scores.sum(axis=1)  # probability - 1, which would cancel
            gradient = self.columns.T @ (self.shares * of_scores) + self._l2 * coef
            step = self._solved(self._multinomial_curvature(slopes), gradient.ravel()).reshape(coef.shape)
        else:
            gradient = self.columns.T @ (self.shares * slopes) + self._l2 * coef
            step = self._separate_step(coef, slopes, gradient)
        return step, -float(np.vdot(gradient, step))

    def _separate_step(self, coef: Array, slopes: Array, gradient: Array) -> Array:
        """Return the step of losses that are sums over the outputs."""
        if self.loss == "squared_error":
            return self._solved(self._curvature(self.shares), gradient)
        if self.loss == "tweedie":
            return self._tweedie_step(coef, slopes, gradient)
        return self._step_by(_second_derivatives(self.loss, slopes, self.targets), gradient)

    def _tweedie_step(self, coef: Array, slopes: Array, gradient: Array) -> Array:
        """Return the step by the second derivatives; where the loss is not convex, by their mean for true scores.

        That is Fisher's scoring, and always leads down.
        """
        expected = exponential((2.0 - self.parameter) * (self.columns @ coef))
        step = self._step_by(expected - (self.parameter - 1.0) * slopes, gradient)
        failed = ~np.isfinite(step).all(axis=0)
        if failed.any():
            step[:, failed] = self._step_by(expected, gradient)[:, failed]
        return step

    def _step_by(self, seconds: Array, gradient: Array) -> Array:
        """Return the step by second derivatives (n, outputs), output by output."""
        seconds = self.shares * seconds
        steps = [self._solved(self._curvature(seconds[:, [i]]), gradient[:, i]) for i in range(gradient.shape[1])]
        return np.stack(steps, axis=1)

    def _curvature(self, seconds: Array) -> Array:
        matrix: Array = self.columns.T @ (self.columns * seconds)
        np.einsum("ii->i", matrix)[...] += self._l2[:, 0]
        return matrix

    def _multinomial_curvature(self, probabilities: Array) -> Array:
        """Return a matrix that is made of pairs of classes: nothing cancels where a probability is nearly 1."""
        columns, outputs = self.columns.shape[1], probabilities.shape[1]
        blocks = np.zeros((columns, outputs, columns, outputs))
        for i, j in combinations(range(outputs), 2):
            seconds = self.shares * (probabilities[:, [i]] * probabilities[:, [j]])
            block = self.columns.T @ (self.columns * seconds)
            blocks[:, i, :, i] += block
            blocks[:, j, :, j] += block
            blocks[:, i, :, j] = blocks[:, j, :, i] = -block
        matrix = blocks.reshape(columns * outputs, columns * outputs)
        np.einsum("ii->i", matrix)[...] += np.repeat(self._l2[:, 0], outputs)
        if self.l2 > 0.0 and self.fit_intercept:
            blocks[-1, :, -1, :] += (
                1.0 / outputs
            )  # all intercepts alike change nothing, and the gradient has no such part
        return matrix

    def _solved(self, matrix: Array, gradient: Array) -> Array:
        """Return minus the inverse matrix times the gradient, both with `matrix`'s rows as gradients are raveled.

        Without a penalty the minimum may be anywhere along a line, or infinitely far away: least squares take the
        shortest solution; for the other losses the step is held back in the measure of the gradient that is left.
        """
        if not np.isfinite(matrix).all():
            return np.full_like(gradient, np.nan)
        if not self._unique and self.loss == "squared_error":
            # With a penalty there is one solution, which columns of very different size are not to hide.
            units = np.sqrt(np.diag(matrix))[:, None] if self.l2 > 0.0 else np.ones((len(matrix), 1))
            shortest: Array = -lstsq(matrix / units / units.T, gradient / units, check_finite=False)[0] / units
            return shortest
        if not self._unique:
            squares = np.repeat(self._squares, len(matrix) // len(self._squares))
            damping = np.sqrt(float((gradient * gradient / squares).sum()))
            np.einsum("ii->i", matrix)[...] += max(DAMPING * damping, LEAST_DAMPING * self.unit) * squares
        _, solution, failed = dposv(matrix, gradient, lower=1)
        return -solution if not failed else np.full_like(solution, np.nan)


def newton(problem: Problem, coef: Array) -> tuple[list[float], list[Array], bool]:
    """Return the objective and the coefficients (columns, outputs) after every step of Newton's method.

    Steps are halved until the objective decreases enough. The lists are empty if no step could be taken, because
    numbers overflow. Last comes whether the minimum was reached.

    Notes
    -----
    Sources: Boyd, Vandenberghe, Convex Optimization, Cambridge 2004, section 9.5; damping by the gradient's norm: Li,
    Fukushima, Qi, Yamashita, Comput. Optim. Appl. 28, 2004.
    """
    values: list[float] = []
    points: list[Array] = []
    value, slopes = problem.at(coef)
    arrived = False
    for _ in range(MOST_STEPS):
        step, promised = problem.step(coef, slopes)
        rounding = 4 * np.finfo(np.float64).eps * abs(value)
        for halvings in range(MOST_HALVINGS):
            length = 0.5**halvings
            found = coef + length * step
            new_value, new_slopes = problem.at(found)
            if new_value <= value - ARMIJO * length * promised + rounding:
                break
        else:  # at the minimum, as far as rounding shows, or lost
            arrived = promised <= ENOUGH_ENDLESS * (problem.unit + abs(value))
            break
        coef, value, slopes = found, new_value, new_slopes
        values.append(value)
        points.append(coef)
        if promised <= problem.enough * (problem.unit + abs(value)):
            arrived = True
            break
    return values, points, arrived


def _multinomial(scores: Array, codes: Array) -> tuple[Array, Array]:
    """Return the losses (n, 1) and the probabilities (n, outputs)."""
    scores = scores - scores.max(axis=1, keepdims=True)
    probabilities = np.exp(scores)
    sums = probabilities.sum(axis=1, keepdims=True)
    losses = np.log(sums) - scores[np.arange(len(codes)), codes][:, None]
    return losses, probabilities / sums


def _second_derivatives(loss: str, slopes: Array, targets: Array) -> Array:
    """Return the losses' second derivatives, by their first ones."""
    if loss == "log_loss":
        size = np.abs(slopes)
        return size * (1.0 - size)
    seconds: Array = slopes + targets if loss == "poisson" else 1.0 - slopes
    return seconds
