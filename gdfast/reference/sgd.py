"""Gradient descent with and without momentum, or averaged, on NumPy arrays."""

from collections.abc import Callable

from gdfast.reference.elementwise import Array, Scalar, approach, flush


def sgd(g: Array, lr: Scalar, *_: Scalar) -> tuple[Scalar, Array]:
    """Plain gradient descent; momentum's numbers are not read."""
    return lr, g


def momentum(g: Array, momentum_buffer: Array, lr: Scalar, mu: Scalar, damp: Scalar) -> tuple[Scalar, Array]:
    """Heavy-ball momentum with dampening."""
    momentum_buffer[...] = flush(mu * momentum_buffer + damp * g)
    return lr, momentum_buffer


def nesterov(g: Array, momentum_buffer: Array, lr: Scalar, mu: Scalar, damp: Scalar) -> tuple[Scalar, Array]:
    """Nesterov's momentum: the gradient plus the momentum of the next step."""
    momentum_buffer[...] = flush(mu * momentum_buffer + damp * g)
    return lr, damp * g + mu * momentum_buffer


def asgd(g: Array, ax: Array, eta: Scalar, mu: Scalar) -> tuple[Scalar, Array, Callable[[Array], None]]:
    """Averaged gradient descent: the average is updated with the new parameters."""

    def average(param: Array) -> None:
        ax[...] = flush(approach(ax, param, mu))

    return eta, g, average
