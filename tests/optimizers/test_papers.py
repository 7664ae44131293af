"""Rules that optax lacks, against the papers' algorithms written out in plain Python, one number at a time.

Each of these functions takes an iterator of one coordinate's gradients and yields its parameter after each step. They
share nothing with the package, and divide by the bias corrections where the papers do.
"""

from collections.abc import Callable, Iterator
from math import log, sqrt

import numpy as np
import pytest
from cases import CASES
from vectors.make_torch_vectors import SIZE, gradient, start

import gdfast

STEPS = 100
Path = Iterator[float]


def adam_eps_hat(p: float, grads: Path, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-3, eps_root=1e-4, decay=0.1) -> Path:
    """Kingma and Ba, section 2: alpha_t and epsilon hat; with optax's eps_root in the same place."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        g += decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v + eps_root) + eps)
        yield p


def amsgrad_eps_hat(p: float, grads: Path, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-3, eps_root=1e-3) -> Path:
    """The same with the largest second moment."""
    m = v = w = 0.0
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = max(w, v)
        p -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(w + eps_root) + eps)
        yield p


def qhadam(
    p: float, grads: Path, lr=1e-3, betas=(0.9, 0.999), nus=(0.7, 1.0), eps=1e-8, decay=0.0, decoupled=0.0
) -> Path:
    """Ma and Yarats, algorithm 2, with the decays of their code."""
    (beta1, beta2), (nu1, nu2) = betas, nus
    g_avg = s_avg = 0.0
    for t, g in enumerate(grads, start=1):
        g += decay * p
        p *= 1 - lr * decoupled
        g_avg = beta1 * g_avg + (1 - beta1) * g
        s_avg = beta2 * s_avg + (1 - beta2) * g**2
        g_hat, s_hat = g_avg / (1 - beta1**t), s_avg / (1 - beta2**t)
        p -= lr * ((1 - nu1) * g + nu1 * g_hat) / (sqrt((1 - nu2) * g**2 + nu2 * s_hat) + eps)
        yield p


def qhadam_odd(p: float, grads: Path) -> Path:
    return qhadam(p, grads, betas=(0.5, 0.9), nus=(0.8, 0.6), decay=0.1)


def qhadam_decoupled(p: float, grads: Path) -> Path:
    return qhadam(p, grads, lr=0.02, nus=(0.7, 0.9), decoupled=0.2)


def adopt_decoupled(p: float, grads: Path, lr=0.02, beta1=0.9, beta2=0.9999, eps=1e-6, decay=0.2) -> Path:
    """Taniguchi et al., algorithm 2, with the clipping of their code and its decoupled decay."""
    m, v = 0.0, next(grads) ** 2
    yield p
    for t, g in enumerate(grads, start=1):
        c = t**0.25
        m = beta1 * m + (1 - beta1) * min(max(g / max(sqrt(v), eps), -c), c)
        p = p - lr * decay * p - lr * m
        v = beta2 * v + (1 - beta2) * g**2
        yield p


def ademamix_warmup(
    p: float, grads: Path, lr=1e-3, betas=(0.9, 0.999, 0.99), alpha=5.0, t_alpha=40, t_beta3=60, eps=1e-8
) -> Path:
    """Pagliardini et al., algorithm 1, with the schedules of equations 5 and 6."""
    beta1, beta2, beta3 = betas
    fast = slow = v = 0.0
    for t, g in enumerate(grads, start=1):
        alpha_t = min(t * alpha / t_alpha, alpha) if t_alpha else alpha
        share = t / t_beta3
        start_log = log(beta1) if beta1 else -float("inf")
        if share >= 1:
            beta_t = beta3
        elif beta1:
            beta_t = np.exp(start_log * log(beta3) / ((1 - share) * log(beta3) + share * start_log))
        else:  # the limit
            beta_t = np.exp(log(beta3) / share)
        fast = beta1 * fast + (1 - beta1) * g
        slow = beta_t * slow + (1 - beta_t) * g
        v = beta2 * v + (1 - beta2) * g**2
        p -= lr * (fast / (1 - beta1**t) + alpha_t * slow) / (sqrt(v / (1 - beta2**t)) + eps)
        yield p


def ademamix_warmup_from_0(p: float, grads: Path) -> Path:
    return ademamix_warmup(p, grads, lr=0.02, betas=(0.0, 0.9, 0.95), t_alpha=0)


def adan(p: float, grads: Path, lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, eps_root=1e-8) -> Path:
    """Xie et al., algorithm 1, with 1 - beta for their beta and the bias corrections of their code."""
    m = v = n = before = 0.0
    for t, g in enumerate(grads, start=1):
        if t == 1:
            before = g
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g - before)
        n = beta3 * n + (1 - beta3) * (g + beta2 * (g - before)) ** 2
        before = g
        direction = m / (1 - beta1**t) + beta2 * v / (1 - beta2**t)
        p -= lr * direction / (sqrt(n / (1 - beta3**t) + eps_root) + eps)
        yield p


def madgrad(p: float, grads: Path, lr=0.01, momentum=0.9, decay=0.0, eps=1e-6) -> Path:
    """Defazio and Jelassi, algorithm 1, with eps as in their code. (optax takes the root of t in single precision.)"""
    x0, s, v = p, 0.0, 0.0
    for k, g in enumerate(grads):
        g += decay * p
        weight = (lr + eps) * sqrt(k + 1)
        s += weight * g
        v += weight * g**2
        z = x0 - s / (float(np.cbrt(v)) + eps) if v else x0
        p = momentum * p + (1 - momentum) * z
        yield p


def madgrad_odd(p: float, grads: Path) -> Path:
    return madgrad(p, grads, 0.1, 0.5, 0.1, 1e-3)


def madgrad_l1(p: float, grads: Path) -> Path:
    return madgrad(p, grads, 0.01, 0.0, 0.0, 1e-12)


def ftrl(w: float, grads: Path, alpha=1e-3, beta=0.0, l1=0.0, l2=0.0, n=0.1, decay=0.0) -> Path:
    """McMahan et al., algorithm 1."""
    z = 0.0
    for g in grads:
        g += decay * w
        sigma = (sqrt(n + g**2) - sqrt(n)) / alpha
        z += g - sigma * w
        n += g**2
        if abs(z) <= l1:
            w = 0.0 if n or beta or l2 else w
        else:
            w = -(z - (l1 if z > 0 else -l1)) / ((beta + sqrt(n)) / alpha + l2)
        yield w


def ftrl_odd(w: float, grads: Path) -> Path:
    return ftrl(w, grads, 0.1, 1.0, 0.2, 0.02, 0.0)


def ftrl_decay(w: float, grads: Path) -> Path:
    return ftrl(w, grads, 0.1, n=0.0, decay=0.1)


def schedule_free(p: float, grads: Path, lr=1.0, beta=0.9, decay=0.0, warmup=0, r=0.0, power=2.0, adam=None) -> Path:
    """Defazio et al., algorithm 1, and with `adam` their code's AdamW; the parameters are y."""
    x = y = z = p
    v = weights = largest = 0.0
    for t, g in enumerate(grads, start=1):
        gamma = lr * min(1.0, t / warmup) if warmup else lr
        if adam:
            beta2, eps = adam
            v = beta2 * v + (1 - beta2) * g**2
            g /= sqrt(v / (1 - beta2**t)) + eps
        z -= gamma * (g + decay * y)
        largest = max(gamma, largest)
        weights += t**r * largest**power
        c = t**r * largest**power / weights
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
        yield y


def schedule_free_sgd(p: float, grads: Path) -> Path:
    return schedule_free(p, grads)


def schedule_free_sgd_odd(p: float, grads: Path) -> Path:
    return schedule_free(p, grads, 0.1, 0.6, 0.1, 30, 1.5)


def schedule_free_adamw(p: float, grads: Path) -> Path:
    return schedule_free(p, grads, 0.0025, adam=(0.999, 1e-8))


def schedule_free_adamw_odd(p: float, grads: Path) -> Path:
    return schedule_free(p, grads, 0.02, 0.8, 0.1, 30, 0.0, 1.0, adam=(0.9, 1e-8))


def grams(p: float, grads: Path, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0) -> Path:
    """Cao, Li and Song, algorithm 1."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
        sign = float(g > 0) - float(g < 0)
        p = p - lr * sign * abs(u) - lr * decay * p
        yield p


def grams_odd(p: float, grads: Path) -> Path:
    return grams(p, grads, 0.02, 0.5, 0.99, 1e-3, 0.2)


def cautious_adamw_plain(p: float, grads: Path, lr=0.02, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.2) -> Path:
    """Liang et al., algorithm 1, without the mean of the mask, which is of a whole array (see test_layerwise.py)."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p -= lr * decay * p
        if m * g > 0:
            p -= lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
        yield p


PAPERS: dict[str, Callable[[float, Path], Path]] = {
    paper.__name__: paper
    for paper in (
        *(adam_eps_hat, amsgrad_eps_hat, qhadam, qhadam_odd, qhadam_decoupled, adopt_decoupled),
        *(ademamix_warmup, ademamix_warmup_from_0, adan, grams, grams_odd, cautious_adamw_plain),
        *(madgrad, madgrad_odd, madgrad_l1, ftrl, ftrl_odd, ftrl_decay),
        *(schedule_free_sgd, schedule_free_sgd_odd, schedule_free_adamw, schedule_free_adamw_odd),
    )
}


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("name", PAPERS)
def test_same_numbers_as_the_paper(name, engine):
    (case,) = (case for case in CASES if case.name == name)
    sign = -1.0 if case.options.get("maximize") else 1.0
    grads = np.array([gradient(step) for step in range(STEPS)])
    expected = [list(PAPERS[name](float(p), iter(sign * grads[:, i]))) for i, p in enumerate(start())]
    param = start()
    l1 = case.options.get("l1", 0.0) if case.optimizer is gdfast.FTRL else 0.0  # its own; the papers have no other
    opt = case.make(param, l1=l1, engine=engine)
    for step in range(STEPS):
        opt.step(grads[step])
        theirs = [expected[i][step] for i in range(SIZE)]
        np.testing.assert_allclose(param, theirs, rtol=1e-12, atol=1e-14, err_msg=f"step {step + 1}")
