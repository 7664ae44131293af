"""Layer-wise rules, whose scalars differ from array to array, on NumPy arrays.

They take the parameter after the gradient. The functions in `MEASURES` return what a rule measures before the step:
they take the same arguments as the rule, and compute the new state without storing it.
"""

from collections.abc import Callable

import numpy as np

from gdfast.reference.elementwise import Array, Scalar, flush, larger, sign


def lamb(g: Array, p: Array, exp_avg: Array, exp_avg_sq: Array, *scalars: Scalar) -> tuple[Scalar, Array]:
    """LAMB: Adam's direction and the decay, with a rate per array."""
    exp_avg[...], exp_avg_sq[...], direction = _lamb(g, p, exp_avg, exp_avg_sq, *scalars)
    return scalars[-1], direction


def cautious_adamw(
    g: Array,
    p: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    beta1: Scalar,
    rest1: Scalar,
    beta2: Scalar,
    rest2: Scalar,
    step: Scalar,
    eps: Scalar,
) -> tuple[Array, Array]:
    """Cautious AdamW: only where momentum and gradient have one sign, with the array's own rescaling in `step`."""
    exp_avg[...] = flush(beta1 * exp_avg + rest1 * g)
    exp_avg_sq[...] = flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return step / (np.sqrt(exp_avg_sq) + eps), exp_avg * _agrees(g, exp_avg)


def novograd(
    g: Array, p: Array, exp_avg: Array, lr: Scalar, beta1: Scalar, share: Scalar, l2: Scalar
) -> tuple[Scalar, Array]:
    """NovoGrad: momentum over gradients divided by a number per array, with the decay added."""
    exp_avg[...] = flush(beta1 * exp_avg + (share * g + l2 * p))
    return lr, exp_avg


def adafactor(g: Array, p: Array, row: Array, column: Array, rate: Scalar, floor: Scalar) -> tuple[Array, Array]:
    """Adafactor on matrices: the second moment is a product of a row's and a column's factor."""
    return rate / _floored_root(row * column, floor), g


def adafactor_vector(
    g: Array, p: Array, variance: Array, rate: Scalar, floor: Scalar, keep: Scalar, rest: Scalar
) -> tuple[Array, Array]:
    """Adafactor on vectors."""
    variance[...] = flush(keep * variance + rest * (g * g))
    return rate / _floored_root(variance, floor), g


def muon(
    g: Array, p: Array, orthogonal: Array, momentum_buffer: Array, rate: Scalar, mu: Scalar, rest: Scalar, *_: Scalar
) -> tuple[Scalar, Array]:
    """Muon: along the orthogonalised momentum. The scalars that it was computed with are not read."""
    momentum_buffer[...] = flush(mu * momentum_buffer + rest * g)
    return rate, orthogonal


def _lamb(g: Array, p: Array, exp_avg: Array, exp_avg_sq: Array, *scalars: Scalar) -> tuple[Array, Array, Array]:
    """Return both moments and the direction."""
    beta1, rest1, beta2, rest2, step, eps, l2, _ = scalars
    m, v = flush(beta1 * exp_avg + rest1 * g), flush(beta2 * exp_avg_sq + rest2 * (g * g))
    return m, v, step / (np.sqrt(v) + eps) * m + l2 * p


def _lamb_measure(g: Array, p: Array, exp_avg: Array, exp_avg_sq: Array, *scalars: Scalar) -> Array:
    return _lamb(g, p, exp_avg, exp_avg_sq, *scalars)[2]


def _agrees(g: Array, m: Array) -> Array:
    return (sign(g) * m > 0).astype(g.dtype)


def _cautious_adamw_measure(
    g: Array, p: Array, exp_avg: Array, exp_avg_sq: Array, beta1: Scalar, rest1: Scalar, *_: Scalar
) -> Array:
    return _agrees(g, flush(beta1 * exp_avg + rest1 * g))


def _adafactor_measure(g: Array, p: Array, row: Array, column: Array, rate: Scalar, floor: Scalar) -> Array:
    return g / _floored_root(row * column, floor)


def _adafactor_vector_measure(
    g: Array, p: Array, variance: Array, rate: Scalar, floor: Scalar, keep: Scalar, rest: Scalar
) -> Array:
    return g / _floored_root(flush(keep * variance + rest * (g * g)), floor)


def _muon_measure(
    g: Array, p: Array, momentum_buffer: Array, rate: Scalar, mu: Scalar, rest: Scalar, own: Scalar, behind: Scalar
) -> Array:
    return own * g + behind * flush(mu * momentum_buffer + rest * g)


def _floored_root(v: Array, floor: Scalar) -> Array:
    root: Array = np.sqrt(larger(v, floor))
    return root


#: rule -> function that returns what it measures; a rule that is not listed measures the gradient
MEASURES: dict[str, Callable[..., Array]] = {
    "lamb": _lamb_measure,
    "cautious_adamw": _cautious_adamw_measure,
    "adafactor": _adafactor_measure,
    "adafactor_vector": _adafactor_vector_measure,
    "muon": _muon_measure,
}
