"""Newton's method for linear models with few coefficients: iterated least squares, in float64."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lstsq
from scipy.linalg.lapack import dposv

from gdfast.reference.losses import LOSSES

Array = np.ndarray[Any, Any]

CURVED = ("log_loss", "multinomial", "squared_error", "poisson", "gamma")  # convex, with a second derivative
MOST_STEPS = 100
MOST_HALVINGS = 40
ENOUGH = 1e-11  # the decrease that a step promises, beside the objective, after which no more is worth it
ARMIJO = 1e-4  # the share of the promised decrease that is asked for
SAFE = 1e-9  # the penalty, beside the largest curvature, from which Cholesky's answer is to be trusted


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
    """

    columns: Array
    targets: Array
    shares: Array
    loss: str
    l2: float
    fit_intercept: bool

    def __post_init__(self) -> None:
        self._l2 = np.full((self.columns.shape[1], 1), self.l2)
        if self.fit_intercept:
            self._l2[-1] = 0.0

    def at(self, coef: Array) -> tuple[float, Array]:
        """Return the objective, and the losses' derivatives (multinomial: the probabilities), (n, outputs)."""
        scores = self.columns @ coef
        if self.loss == "multinomial":
            losses, slopes = _multinomial(scores, self.targets)
        else:
            losses, slopes = LOSSES[self.loss](scores, self.targets, 0.0)
        value = float((self.shares * losses).sum()) + 0.5 * float((self._l2 * coef * coef).sum())
        return value, slopes

    def step(self, coef: Array, slopes: Array) -> tuple[Array, float]:
        """Return Newton's step from a point, and the decrease that it promises."""
        if self.loss == "multinomial":
            of_scores = slopes.copy()
            of_scores[np.arange(len(slopes)), self.targets] -= 1.0
            gradient = self.columns.T @ (self.shares * of_scores) + self._l2 * coef
            step = self._solved(self._multinomial_curvature(slopes), gradient.ravel()).reshape(coef.shape)
        else:
            gradient = self.columns.T @ (self.shares * slopes) + self._l2 * coef
            step = self._separate_step(slopes, gradient)
        return step, -float(np.vdot(gradient, step))

    def _separate_step(self, slopes: Array, gradient: Array) -> Array:
        """Return the step of losses that are sums over the outputs."""
        if self.loss == "squared_error":
            return self._solved(self._curvature(self.shares), gradient)
        seconds = self.shares * _second_derivatives(self.loss, slopes, self.targets)
        steps = [
            self._solved(self._curvature(seconds[:, [i]]), gradient[:, i]) for i in range(gradient.shape[1])
        ]
        return np.stack(steps, axis=1)

    def _curvature(self, seconds: Array) -> Array:
        matrix: Array = self.columns.T @ (self.columns * seconds)
        np.einsum("ii->i", matrix)[...] += self._l2[:, 0]
        return matrix

    def _multinomial_curvature(self, probabilities: Array) -> Array:
        (n, columns), outputs = self.columns.shape, probabilities.shape[1]
        weighted = self.shares * probabilities
        spread = (self.columns[:, :, None] * (np.sqrt(self.shares) * probabilities)[:, None, :]).reshape(n, -1)
        matrix = -(spread.T @ spread)
        blocks = matrix.reshape(columns, outputs, columns, outputs)
        for i in range(outputs):
            blocks[:, i, :, i] += self._curvature(weighted[:, [i]])
        if self.l2 > 0.0 and self.fit_intercept:
            blocks[-1, :, -1, :] += 1.0 / outputs  # all intercepts alike change nothing, and the gradient has no such part
        return matrix

    def _solved(self, matrix: Array, gradient: Array) -> Array:
        """Return minus the inverse matrix times the gradient; the shortest solution if there are many."""
        if self.l2 > SAFE * np.einsum("ii->i", matrix).max():
            _, solution, failed = dposv(matrix, gradient, lower=1)
            if not failed:
                return -solution
        return -lstsq(matrix, gradient, check_finite=False)[0]


def newton(problem: Problem, coef: Array) -> tuple[list[float], list[Array]]:
    """Return the objective and the coefficients (columns, outputs) after every step of Newton's method.

    Steps are halved until the objective decreases enough. The lists are empty if no step could be taken.

    Raises
    ------
    numpy.linalg.LinAlgError
        If numbers overflow.

    Notes
    -----
    Source: Boyd, Vandenberghe, Convex Optimization, Cambridge 2004, section 9.5.
    """
    values: list[float] = []
    points: list[Array] = []
    value, slopes = problem.at(coef)
    for _ in range(MOST_STEPS):
        step, promised = problem.step(coef, slopes)
        rounding = 4 * np.finfo(np.float64).eps * abs(value)
        for halvings in range(MOST_HALVINGS):
            length = 0.5**halvings
            found = coef + length * step
            new_value, new_slopes = problem.at(found)
            if new_value <= value - ARMIJO * length * promised + rounding:
                break
        else:
            break
        coef, value, slopes = found, new_value, new_slopes
        values.append(value)
        points.append(coef)
        if promised <= ENOUGH * (1.0 + abs(value)):
            break
    return values, points


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
    return slopes + targets if loss == "poisson" else 1.0 - slopes
