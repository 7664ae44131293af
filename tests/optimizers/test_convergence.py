"""Every rule gets down a quadratic, and those that can along Rosenbrock's valley."""

import numpy as np
import pytest
from cases import CASES

import gdfast
from gdfast import schedules


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_quadratic(case, engine):
    curvature, target = np.array([1.0, 3.0, 0.5]), np.array([1.0, -2.0, 0.5])
    sign = -1.0 if case.options.get("maximize") else 1.0
    w = np.zeros(3)
    lr = schedules.Cosine(case.quadratic_lr, total_steps=600, warmup_steps=10, warmup_lr=1e-3)
    opt = case.make(w, lr=lr, weight_decay=0.0, l1=0.0, engine=engine)
    for _ in range(600):
        opt.step(sign * curvature * (w - target))
    np.testing.assert_allclose(w, target, atol=0.02)


@pytest.mark.parametrize(
    ("optimizer", "options", "steps"),
    [
        (gdfast.SGD, {"lr": 1e-3, "momentum": 0.9}, 5000),
        (gdfast.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True}, 5000),
        (gdfast.RMSprop, {"lr": schedules.Exponential(1e-2, 0.999)}, 8000),
        (gdfast.Adagrad, {"lr": 0.5}, 8000),
        (gdfast.Adam, {"lr": 2e-2}, 5000),
        (gdfast.Adam, {"lr": 2e-2, "amsgrad": True}, 5000),
        (gdfast.AdamW, {"lr": 2e-2, "weight_decay": 0.0}, 5000),
        (gdfast.Yogi, {"lr": 2e-2}, 5000),
        (gdfast.AdaBelief, {"lr": 2e-2}, 5000),
        (gdfast.ADOPT, {"lr": 2e-2, "betas": (0.9, 0.99)}, 5000),
        (gdfast.QHAdam, {"lr": 2e-2, "nus": (0.7, 1.0)}, 5000),
        (gdfast.AdEMAMix, {"lr": 5e-3, "betas": (0.9, 0.999, 0.99), "alpha": 2.0}, 5000),
        (gdfast.Adan, {"lr": 2e-2}, 5000),
        (gdfast.Grams, {"lr": schedules.Cosine(2e-2, total_steps=5000)}, 5000),
        (gdfast.CautiousAdamW, {"lr": 2e-2, "weight_decay": 0.0}, 5000),
        (gdfast.CautiousAdamW, {"lr": 2e-2, "weight_decay": 0.0, "rescale": False}, 5000),
        (gdfast.ScheduleFreeAdamW, {"lr": 2e-2}, 8000),
    ],
)
def test_rosenbrock(optimizer, options, steps):
    w = np.array([-1.5, 2.0])
    opt = optimizer(w, **options)
    for _ in range(steps):
        x, y = w
        opt.step(np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]))
    np.testing.assert_allclose(w, [1.0, 1.0], atol=0.05)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (gdfast.SGD, {"lr": 0.1}),
        (gdfast.Adagrad, {"lr": 0.5}),
        (gdfast.RMSprop, {"lr": schedules.Cosine(0.05, total_steps=2000)}),
        (gdfast.Adam, {"lr": schedules.Cosine(0.05, total_steps=2000)}),
        (gdfast.Yogi, {"lr": schedules.Cosine(0.05, total_steps=2000)}),
        (gdfast.AdaBelief, {"lr": schedules.Cosine(0.05, total_steps=2000)}),
        (gdfast.QHAdam, {"lr": schedules.Cosine(0.05, total_steps=2000), "nus": (0.7, 1.0)}),
        (gdfast.Grams, {"lr": schedules.Cosine(0.05, total_steps=2000)}),
        (gdfast.CautiousAdamW, {"lr": schedules.Cosine(0.05, total_steps=2000), "weight_decay": 0.0}),
    ],
)
def test_l1_finds_the_true_minimum_with_exact_zeros(optimizer, options):
    """The minimum of sum(a/2*(w - b)**2) + l1*|w|_1 is soft(b, l1/a), for adaptive rules too."""
    a, b, l1 = np.array([1.0, 2.0, 0.5, 1.0]), np.array([1.0, -1.0, 0.4, 0.05]), 0.3
    w = np.full(4, 0.5)
    opt = optimizer(w, l1=l1, **options)
    for _ in range(2000):
        opt.step(a * (w - b))
    expected = np.sign(b) * np.maximum(np.abs(b) - l1 / a, 0)
    np.testing.assert_allclose(w, expected, atol=2e-3)
    assert w[2] == 0.0
    assert w[3] == 0.0
