"""The losses of the linear models, on NumPy arrays, operation by operation as in src/linear/losses.pxi."""

from collections.abc import Callable
from math import factorial
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Pair: TypeAlias = tuple[Array, Array]
Loss: TypeAlias = Callable[[Array, Array, float], Pair]

#: loss and derivative, from score, target and parameter, by the name of the native loop
LOSSES: dict[str, Loss] = {}


def _register(loss: Loss) -> Loss:
    LOSSES[loss.__name__] = loss
    return loss


_LOG2_E = 1.4426950408889634
_SHIFT = 1.5 * 2.0**52
_LN2_HIGH, _LN2_LOW, _LN2 = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 0.6931471805599453


def _polynomial(coefficients: list[float], x: Array) -> Array:
    """Return the sum of ``coefficients[i] * x**i``: pairs first, then pairs of pairs (Estrin's scheme)."""
    sums: list[Any] = list(coefficients)
    while len(sums) > 1:
        whole = len(sums) - len(sums) % 2
        sums = [sums[i] + sums[i + 1] * x for i in range(0, whole, 2)] + sums[whole:]
        x = x * x
    total: Array = sums[0]
    return total


def exponential(x: Array) -> Array:
    """Return exp(x) to about one unit in the last place; 0 below -708, where it would be subnormal."""
    shifted = x * _LOG2_E + _SHIFT
    k = shifted - _SHIFT
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1.0 + (r + (r * r) * _polynomial([1.0 / factorial(n) for n in range(2, 14)], r))
    half_power = ((shifted.view(np.uint64) + np.uint64(1022)) << np.uint64(52)).view(np.float64)
    p = np.where(x < -708.0, 0.0, (p * half_power) * 2.0)
    return np.where(x > 709.79, np.inf, p)


def log1p_of_fraction(x: Array) -> Array:
    """Return log(1 + x) for 0 <= x <= 1: twice the inverse hyperbolic tangent of x/(2+x).

    Above sqrt(2)-1 it is log(2) more than that of half of 1+x.
    """
    halved = x > 0.41421356237309503
    s = np.where(halved, x - 1.0, x) / np.where(halved, 3.0 + x, 2.0 + x)
    q = s * s
    p = _polynomial([1.0 / odd for odd in range(3, 22, 2)], q)
    return np.where(halved, _LN2, 0.0) + 2.0 * (s + s * (q * p))


@_register
def log_loss(score: Array, target: Array, parameter: float) -> Pair:
    """Return log(1 + exp(-m)) of the margin m = target*score, for targets -1 and 1."""
    m = target * score
    e = exponential(-np.abs(m))
    q = 1.0 / (1.0 + e)
    return log1p_of_fraction(e) + np.where(m < 0, -m, 0.0), -target * np.where(m < 0, q, e * q)


@_register
def hinge(score: Array, target: Array, parameter: float) -> Pair:
    """Return max(0, parameter - m), with parameter 1, or 0 for the perceptron."""
    m = target * score
    return np.where(m > parameter, 0.0, parameter - m), np.where(m > parameter, 0.0, -target)


@_register
def squared_hinge(score: Array, target: Array, parameter: float) -> Pair:
    """Return max(0, 1 - m)**2."""
    u = 1.0 - target * score
    u = np.where(u < 0, 0.0, u)
    return u * u, (-2.0 * target) * u


@_register
def modified_huber(score: Array, target: Array, parameter: float) -> Pair:
    """Return max(0, 1 - m)**2, and -4*m below -1."""
    m = target * score
    u = 1.0 - m
    u = np.where(u < 0, 0.0, u)
    return np.where(m < -1.0, -4.0 * m, u * u), target * np.where(m < -1.0, -4.0, -2.0 * u)


@_register
def squared_error(score: Array, target: Array, parameter: float) -> Pair:
    """Return half the squared error."""
    r = score - target
    return 0.5 * (r * r), r


def _signed_as(size: Array | float, x: Array) -> Array:
    return np.where(x < 0, np.negative(size), size)


@_register
def huber(score: Array, target: Array, parameter: float) -> Pair:
    """Return half the squared error, linear above `parameter`."""
    r = score - target
    a = np.abs(r)
    far = parameter * a - 0.5 * (parameter * parameter)
    return np.where(a > parameter, far, 0.5 * (r * r)), np.where(a > parameter, _signed_as(parameter, r), r)


@_register
def log_cosh(score: Array, target: Array, parameter: float) -> Pair:
    """Return parameter**2 * log(cosh(r / parameter)) of the error r; by its series where log(cosh) would cancel."""
    r = score - target
    a = np.abs(r)
    x = np.where(a == 0, 0.0, a / parameter)
    q = x * x
    e = exponential(-2.0 * x)
    far = parameter * ((a - parameter * _LN2) + parameter * log1p_of_fraction(e))
    near = (a * a) * (0.5 - q * (1.0 / 12.0 - q * (1.0 / 45.0 - q * (17.0 / 2520.0))))
    slope_far = _signed_as(parameter * ((1.0 - e) / (1.0 + e)), r)
    slope_near = r * (1.0 - q * (1.0 / 3.0 - q * (2.0 / 15.0 - q * (17.0 / 315.0))))
    return np.where(x < 0.015625, near, far), np.where(x < 0.015625, slope_near, slope_far)


@_register
def epsilon_insensitive(score: Array, target: Array, parameter: float) -> Pair:
    """Return max(0, absolute error - parameter)."""
    r = score - target
    u = np.abs(r) - parameter
    return np.where(u < 0, 0.0, u), np.where(u > 0, _signed_as(1.0, r), 0.0)


@_register
def squared_epsilon_insensitive(score: Array, target: Array, parameter: float) -> Pair:
    """Return max(0, absolute error - parameter)**2."""
    r = score - target
    u = np.abs(r) - parameter
    u = np.where(u < 0, 0.0, u)
    return u * u, _signed_as(2.0 * u, r)


@_register
def quantile(score: Array, target: Array, parameter: float) -> Pair:
    """Return the pinball loss of the quantile `parameter`."""
    r = score - target
    slope = np.where(r > 0, 1.0 - parameter, -parameter)
    return slope * r, slope


@_register
def poisson(score: Array, target: Array, parameter: float) -> Pair:
    """Return half the Poisson deviance with log link, dropping constant terms."""
    e = exponential(score)
    return e - target * score, e - target


@_register
def gamma(score: Array, target: Array, parameter: float) -> Pair:
    """Return half the gamma deviance with log link, dropping constant terms."""
    e = target * exponential(-score)
    return score + e, 1.0 - e


@_register
def tweedie(score: Array, target: Array, parameter: float) -> Pair:
    """Return half the Tweedie deviance with log link and power `parameter` (not 1 or 2), dropping constant terms."""
    one, two = 1.0 - parameter, 2.0 - parameter
    a, b = target * exponential(one * score), exponential(two * score)
    return b / two - a / one, b - a
