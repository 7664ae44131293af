"""Rules that give each coordinate a rate of its own, from the size of its gradients, on NumPy arrays."""

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, flush, sign


def adagrad(g: Array, sum: Array, clr: Scalar, eps: Scalar) -> tuple[Array, Array]:
    """Adagrad: the root of the sum of all squares."""
    sum[...] = flush(sum + g * g)
    return clr / (np.sqrt(sum) + eps), g


def rmsprop(
    g: Array, square_avg: Array, lr: Scalar, alpha: Scalar, rest: Scalar, eps: Scalar, *_: Scalar
) -> tuple[Array, Array]:
    """RMSprop: the root of an exponential average of squares. Momentum's number is not read."""
    square_avg[...] = flush(alpha * square_avg + rest * (g * g))
    return lr / (np.sqrt(square_avg) + eps), g


def rmsprop_centered(
    g: Array, square_avg: Array, grad_avg: Array, lr: Scalar, alpha: Scalar, rest: Scalar, eps: Scalar, *_: Scalar
) -> tuple[Array, Array]:
    """RMSprop with the variance instead of the mean square. Momentum's number is not read."""
    square_avg[...] = flush(alpha * square_avg + rest * (g * g))
    grad_avg[...] = flush(grad_avg + rest * (g - grad_avg))
    return lr / (_spread(square_avg, grad_avg) + eps), g


def rmsprop_momentum(
    g: Array,
    square_avg: Array,
    momentum_buffer: Array,
    lr: Scalar,
    alpha: Scalar,
    rest: Scalar,
    eps: Scalar,
    mu: Scalar,
) -> tuple[Scalar, Array]:
    """RMSprop with momentum over the divided gradients."""
    square_avg[...] = flush(alpha * square_avg + rest * (g * g))
    momentum_buffer[...] = flush(mu * momentum_buffer + g / (np.sqrt(square_avg) + eps))
    return lr, momentum_buffer


def rmsprop_centered_momentum(
    g: Array,
    square_avg: Array,
    grad_avg: Array,
    momentum_buffer: Array,
    lr: Scalar,
    alpha: Scalar,
    rest: Scalar,
    eps: Scalar,
    mu: Scalar,
) -> tuple[Scalar, Array]:
    """RMSprop with the variance, and momentum over the divided gradients."""
    square_avg[...] = flush(alpha * square_avg + rest * (g * g))
    grad_avg[...] = flush(grad_avg + rest * (g - grad_avg))
    momentum_buffer[...] = flush(mu * momentum_buffer + g / (_spread(square_avg, grad_avg) + eps))
    return lr, momentum_buffer


def adadelta(
    g: Array, square_avg: Array, acc_delta: Array, lr: Scalar, rho: Scalar, rest: Scalar, eps: Scalar
) -> tuple[Array, Array]:
    """Adadelta: the root of the average squared change over the average squared gradient."""
    square_avg[...] = flush(rho * square_avg + rest * (g * g))
    ratio = np.sqrt((acc_delta + eps) / (square_avg + eps))
    delta = ratio * g
    acc_delta[...] = flush(rho * acc_delta + rest * (delta * delta))
    return lr * ratio, g


def rprop(
    g: Array, prev: Array, step_size: Array, minus: Scalar, plus: Scalar, least: Scalar, most: Scalar
) -> tuple[Array, Array]:
    """Rprop: steps that grow while the gradient keeps its sign, and shrink and pause when it changes."""
    agree = g * prev
    factor = np.where(agree > 0, plus, np.where(agree < 0, minus, 1 + agree))  # NaN stays NaN
    size = step_size * factor
    step_size[...] = flush(np.where(size > most, most, np.where(size < least, least, size)))
    kept = np.where(agree >= 0, g, np.where(agree < 0, g.dtype.type(0), agree))
    prev[...] = flush(kept)
    return step_size, sign(kept)


def _spread(square_avg: Array, grad_avg: Array) -> Array:
    """Return the root of the centred second moment; cancellation can leave it a little below zero."""
    variance = square_avg - grad_avg * grad_avg
    root: Array = np.sqrt(np.where(variance < 0, variance.dtype.type(0), variance))
    return root
