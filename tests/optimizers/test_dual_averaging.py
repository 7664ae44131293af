"""The cube root of MADGRAD, its l1, and FTRL's zeros and learning rates."""

import numpy as np
import pytest

import gdfast
from gdfast import schedules
from gdfast.reference import dual_averaging

ENGINES = ["native", "numpy"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cube_root(dtype):
    """Both engines' is the same (test_exact); here against the C library's, over the whole range of numbers."""
    limits = np.finfo(dtype)
    powers = np.linspace(limits.minexp, limits.maxexp, 100_001, endpoint=False)
    x = np.exp2(powers.astype(np.longdouble)).astype(dtype)
    x = np.append(x, [limits.smallest_normal, limits.max, 1, 8]).astype(dtype)
    expected = np.cbrt(x.astype(np.longdouble))
    with np.errstate(all="ignore"):  # as in the engine
        assert np.max(np.abs(dual_averaging._cube_root(x) / expected - 1)) < 2.5 * limits.eps
        assert dual_averaging._cube_root(np.array([0.0, np.inf], dtype)).tolist() == [0.0, np.inf]
        assert np.isnan(dual_averaging._cube_root(np.array([np.nan], dtype)))


@pytest.mark.parametrize("engine", ENGINES)
def test_madgrad_without_gradient_or_eps_stays(engine):
    w = np.array([1.0, -2.0])
    opt = gdfast.MADGRAD(w, eps=0.0, engine=engine)
    for _ in range(3):
        opt.step(np.array([0.0, 1.0]))
    assert w[0] == 1.0
    assert w[1] < -2.0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lr", [0.1, schedules.Linear(0.2, total_steps=4000, end_lr=0.05)])
def test_madgrad_l1_finds_the_true_minimum(engine, lr):
    a, b, l1 = np.array([1.0, 2.0, 0.5, 1.0]), np.array([1.0, -1.0, 0.4, 0.05]), 0.3
    w = np.full(4, 0.5)
    opt = gdfast.MADGRAD(w, lr=lr, momentum=0.0, l1=l1, engine=engine)
    for _ in range(4000):
        opt.step(a * (w - b))
    np.testing.assert_allclose(w, np.sign(b) * np.maximum(np.abs(b) - l1 / a, 0), atol=2e-3)
    assert w[2] == 0.0
    assert w[3] == 0.0


@pytest.mark.parametrize("engine", ENGINES)
def test_ftrl_leaves_exact_zeros(engine):
    """Features that say nothing of the target end at zero; the others do not."""
    rng = np.random.default_rng(0)
    true = np.array([1.0, -2.0, 0.0, 0.0, 0.0])
    w = np.zeros(5)
    opt = gdfast.FTRL(w, lr=0.2, beta=1.0, l1=20.0, engine=engine)
    for _ in range(500):
        x = rng.standard_normal((20, 5))
        opt.step(x.T @ (x @ (w - true)) / 20)
    assert (w != 0).tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(w[:2], true[:2], atol=0.3)


@pytest.mark.parametrize("engine", ENGINES)
def test_ftrl_leaves_a_coordinate_with_zero_denominator_unchanged(engine):
    w = np.array([1.5, 1.5])
    opt = gdfast.FTRL(w, lr=0.1, initial_accumulator_value=0.0, engine=engine)
    opt.step(np.array([0.0, 3.0]))
    np.testing.assert_allclose(w, [1.5, 1.4], rtol=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
def test_ftrl_is_adagrad_when_nothing_is_regularised(engine):
    """Also while the learning rate changes."""
    rng = np.random.default_rng(1)
    lr = schedules.Cosine(0.5, total_steps=60, warmup_steps=10, warmup_lr=0.1)
    left, right = rng.standard_normal((2, 20))
    right[:] = left
    ftrl = gdfast.FTRL(left, lr=lr, initial_accumulator_value=0.0, engine=engine)
    adagrad = gdfast.Adagrad(right, lr=lr, eps=0.0)
    for _ in range(50):
        grad = rng.standard_normal(20)
        ftrl.step(grad)
        adagrad.step(grad)
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-11)


def test_ftrl_needs_a_learning_rate():
    for lr in (0.0, 1e-40):
        with pytest.raises(ValueError, match="lr must"):
            gdfast.FTRL(np.zeros(2, np.float32), lr=lr)
    opt = gdfast.FTRL(np.zeros(2), lr=lambda step: 0.0)
    with pytest.raises(ValueError, match=r"lr at step 0 must be in \(0, inf\); got 0.0"):
        opt.step(np.ones(2))


@pytest.mark.parametrize("engine", ENGINES)
def test_ftrl_after_a_step_count_that_was_set_before_any_step(engine):
    """There is no learning rate of the previous step then: as in a first step it is this one's."""
    ends = []
    for count in (0, 5):
        w = np.ones(3)
        opt = gdfast.FTRL(w, lr=0.5, engine=engine)
        opt.step_count = count
        for _ in range(3):
            opt.step(np.array([0.5, -1.0, 2.0]))
        ends.append(w)
    np.testing.assert_array_equal(*ends)
