"""SignSGD, Signum and Lion, on NumPy arrays."""

from gdfast.reference.elementwise import Array, Scalar, flush, sign


def sign_sgd(g: Array, lr: Scalar) -> tuple[Scalar, Array]:
    """Step by the sign of the gradient."""
    return lr, sign(g)


def signum(g: Array, exp_avg: Array, lr: Scalar, beta: Scalar, rest: Scalar) -> tuple[Scalar, Array]:
    """Step by the sign of the averaged gradient."""
    exp_avg[...] = flush(beta * exp_avg + rest * g)
    return lr, sign(exp_avg)


def lion(
    g: Array, exp_avg: Array, lr: Scalar, beta1: Scalar, rest1: Scalar, beta2: Scalar, rest2: Scalar
) -> tuple[Scalar, Array]:
    """Step by the sign of one average, and keep another."""
    direction = sign(beta1 * exp_avg + rest1 * g)
    exp_avg[...] = flush(beta2 * exp_avg + rest2 * g)
    return lr, direction
