"""Plain NumPy, as textbooks and course notes have it: state updated in place, the rest as written on paper."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.peers.base import Contender, Run, copy_into
from benchmarks.workloads import RULES, Workload

Array = np.ndarray


def sgd(p: Array, g: Array, t: int, *, lr: float) -> None:
    p -= lr * g


def momentum(p: Array, g: Array, t: int, b: Array, *, lr: float, momentum: float) -> None:
    b *= momentum
    b += g
    p -= lr * b


def nesterov(p: Array, g: Array, t: int, b: Array, *, lr: float, momentum: float, nesterov: bool) -> None:
    b *= momentum
    b += g
    p -= lr * (g + momentum * b)


def adagrad(p: Array, g: Array, t: int, s: Array, *, lr: float, eps: float) -> None:
    s += g * g
    p -= lr * g / (np.sqrt(s) + eps)


def rmsprop(p: Array, g: Array, t: int, s: Array, *, lr: float, alpha: float, eps: float) -> None:
    s *= alpha
    s += (1 - alpha) * g * g
    p -= lr * g / (np.sqrt(s) + eps)


def _centered(g: Array, s: Array, a: Array, alpha: float) -> Array:
    s *= alpha
    s += (1 - alpha) * g * g
    a += (1 - alpha) * (g - a)
    return np.sqrt(np.maximum(s - a * a, 0))


def rmsprop_centered(
    p: Array, g: Array, t: int, s: Array, a: Array, *, lr: float, alpha: float, eps: float, centered: bool
) -> None:
    p -= lr * g / (_centered(g, s, a, alpha) + eps)


def rmsprop_momentum(
    p: Array, g: Array, t: int, s: Array, b: Array, *, lr: float, alpha: float, eps: float, momentum: float
) -> None:
    s *= alpha
    s += (1 - alpha) * g * g
    b *= momentum
    b += g / (np.sqrt(s) + eps)
    p -= lr * b


def rmsprop_centered_momentum(
    p: Array,
    g: Array,
    t: int,
    s: Array,
    a: Array,
    b: Array,
    *,
    lr: float,
    alpha: float,
    eps: float,
    centered: bool,
    momentum: float,
) -> None:
    b *= momentum
    b += g / (_centered(g, s, a, alpha) + eps)
    p -= lr * b


def adam(
    p: Array,
    g: Array,
    t: int,
    m: Array,
    v: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
) -> None:
    beta1, beta2 = betas
    if weight_decay:
        p *= 1 - lr * weight_decay
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p -= lr * m_hat / (np.sqrt(v_hat) + eps)


def amsgrad(
    p: Array,
    g: Array,
    t: int,
    m: Array,
    v: Array,
    w: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    amsgrad: bool,
) -> None:
    beta1, beta2 = betas
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    np.maximum(w, v, out=w)
    p -= lr * (m / (1 - beta1**t)) / (np.sqrt(w / (1 - beta2**t)) + eps)


UPDATES: dict[str, Callable[..., None]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "rmsprop_centered": rmsprop_centered,
    "rmsprop_momentum": rmsprop_momentum,
    "rmsprop_centered_momentum": rmsprop_centered_momentum,
    "adam": adam,
    "adamw": adam,
    "amsgrad": amsgrad,
}


class PlainNumpy(Contender):
    """A Python loop over the arrays."""

    name = "NumPy"

    def setup(self, work: Workload) -> Run:
        """Make the state arrays."""
        params, grads = work.arrays()
        rule = RULES[work.rule]
        step = looped(UPDATES[work.rule], params, grads, rule.states, rule.options)
        return Run(step, lambda: params, copy_into(grads))


def looped(
    update: Callable[..., None], params: Sequence[Array], grads: Sequence[Array], states: int, options: dict
) -> Callable[[], None]:
    """Return a step that updates each array in turn."""
    rows = [(p, g, [np.zeros_like(p) for _ in range(states)]) for p, g in zip(params, grads, strict=True)]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for p, g, state in rows:
            update(p, g, t, *state, **options)

    return step
