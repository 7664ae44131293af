"""Gradient descent with and without momentum, on NumPy arrays."""

from gdfast.reference.elementwise import Array, Scalar, flush


def sgd(g: Array, lr: Scalar, *_: Scalar) -> tuple[Scalar, Array]:
    """Plain gradient descent; momentum's numbers are not read."""
    return lr, g


def momentum(g: Array, momentum_buffer: Array, lr: Scalar, mu: Scalar, damp: Scalar) -> tuple[Scalar, Array]:
    """Heavy-ball momentum with dampening."""
    momentum_buffer[...] = flush(mu * momentum_buffer + damp * g)
    return lr, momentum_buffer


def nesterov(g: Array, momentum_buffer: Array, lr: Scalar, mu: Scalar, damp: Scalar) -> tuple[Scalar, Array]:
    """Nesterov's momentum: the gradient, and the buffer as it will be a step on."""
    momentum_buffer[...] = flush(mu * momentum_buffer + damp * g)
    return lr, g + mu * momentum_buffer
