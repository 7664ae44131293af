"""A parallel loop in numba, as a good user would write it: all of a step in one compiled function, numbers included.

`error_model="numpy"` is what lets the compiler vectorise it; `fastmath` also lets it reorder and approximate, so the
same loop without it stands beside it, whose arithmetic is as exact as gdfast's. One call an array.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.base import Contender, Run, copy_into
from benchmarks.peers.process import one_level_of_openmp
from benchmarks.workloads import RULES, Workload

try:
    import numba
    from numba import prange
except ImportError:
    numba = None
    prange = range


class Numba(Contender):
    """`@numba.njit(parallel=True)` over `prange`."""

    needs = "numba"

    def __init__(self, fastmath: bool = True) -> None:
        self.fastmath = fastmath
        self.name = "numba" if fastmath else "numba, exact"

    def supports(self, rule: str) -> bool:
        """Only the rules below are written."""
        return rule in ARGUMENTS

    def setup(self, work: Workload) -> Run:
        """Compile the loop and make the state arrays."""
        numba.set_num_threads(min(work.threads, numba.config.NUMBA_NUM_THREADS))
        one_level_of_openmp()
        params, grads = work.arrays()
        rule = RULES[work.rule]
        kernel, names = ARGUMENTS[work.rule]
        step = looped(compiled(kernel, self.fastmath), params, grads, rule.states, numbers(rule.options, names))
        return Run(step, lambda: params, copy_into(grads))


def looped(
    kernel: Callable[..., None],
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray],
    states: int,
    numbers: tuple[float, ...],
) -> Callable[[], None]:
    """Return a step that calls the kernel for each array in turn."""
    rows = [(p, g, *(np.zeros_like(p) for _ in range(states))) for p, g in zip(params, grads, strict=True)]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for row in rows:
            kernel(*row, t, *numbers)

    return step


def numbers(options: dict[str, Any], names: Sequence[str]) -> tuple[float, ...]:
    """Return the kernel's numbers in its order."""
    betas = dict(zip(("beta1", "beta2"), options.get("betas", ()), strict=False))
    known = {"weight_decay": 0.0, **options, **betas}
    return tuple(known[name] for name in names)


@functools.cache
def compiled(kernel: Callable[..., None], fastmath: bool = True) -> Callable[..., None]:
    """Compile a kernel, once for each element type."""
    return numba.njit(parallel=True, fastmath=fastmath, error_model="numpy")(kernel)


def sgd(p, g, t, lr):
    rate = p.dtype.type(lr)
    for i in prange(p.size):
        p[i] -= rate * g[i]


def momentum(p, g, b, t, lr, momentum):
    rate, mu = p.dtype.type(lr), p.dtype.type(momentum)
    for i in prange(p.size):
        b[i] = mu * b[i] + g[i]
        p[i] -= rate * b[i]


def nesterov(p, g, b, t, lr, momentum):
    rate, mu = p.dtype.type(lr), p.dtype.type(momentum)
    for i in prange(p.size):
        b[i] = mu * b[i] + g[i]
        p[i] -= rate * (g[i] + mu * b[i])


def adagrad(p, g, s, t, lr, eps):
    rate, small = p.dtype.type(lr), p.dtype.type(eps)
    for i in prange(p.size):
        s[i] += g[i] * g[i]
        p[i] -= rate * g[i] / (np.sqrt(s[i]) + small)


def rmsprop(p, g, s, t, lr, alpha, eps):
    rate, small = p.dtype.type(lr), p.dtype.type(eps)
    old, new = p.dtype.type(alpha), p.dtype.type(1 - alpha)
    for i in prange(p.size):
        s[i] = old * s[i] + new * (g[i] * g[i])
        p[i] -= rate * g[i] / (np.sqrt(s[i]) + small)


def adam(p, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    real = p.dtype.type
    root = math.sqrt(1 - beta2**t)
    rate, small, decay = real(lr * root / (1 - beta1**t)), real(eps * root), real(1 - lr * weight_decay)
    old1, new1, old2, new2 = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2)
    for i in prange(p.size):
        m[i] = old1 * m[i] + new1 * g[i]
        v[i] = old2 * v[i] + new2 * (g[i] * g[i])
        p[i] = decay * p[i] - rate * m[i] / (np.sqrt(v[i]) + small)


def amsgrad(p, g, m, v, w, t, lr, beta1, beta2, eps):
    real = p.dtype.type
    root = math.sqrt(1 - beta2**t)
    rate, small = real(lr * root / (1 - beta1**t)), real(eps * root)
    old1, new1, old2, new2 = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2)
    for i in prange(p.size):
        m[i] = old1 * m[i] + new1 * g[i]
        v[i] = old2 * v[i] + new2 * (g[i] * g[i])
        w[i] = max(w[i], v[i])
        p[i] -= rate * m[i] / (np.sqrt(w[i]) + small)


# rule -> its kernel and the names of its numbers
ARGUMENTS: dict[str, tuple[Callable[..., None], Sequence[str]]] = {
    "sgd": (sgd, ("lr",)),
    "momentum": (momentum, ("lr", "momentum")),
    "nesterov": (nesterov, ("lr", "momentum")),
    "adagrad": (adagrad, ("lr", "eps")),
    "rmsprop": (rmsprop, ("lr", "alpha", "eps")),
    "adam": (adam, ("lr", "beta1", "beta2", "eps", "weight_decay")),
    "adamw": (adam, ("lr", "beta1", "beta2", "eps", "weight_decay")),
    "amsgrad": (amsgrad, ("lr", "beta1", "beta2", "eps")),
}
