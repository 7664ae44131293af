"""Decoupled weight decay: no number near 1 is rounded, and where there is none nothing changes."""

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import assert_same_bits, hostile
from gdfast import reference

ENGINES = ["native", "numpy"]
# All but the one that finds its average between two infinities.
DECOUPLED = [case for case in CASES if case.optimizer.decoupled and case.optimizer is not gdfast.ScheduleFreeAdamW]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("optimizer", "options", "error"),
    [
        (gdfast.AdamW, {"lr": 1e-3, "weight_decay": 1e-2}, 1e-5),
        (gdfast.AdamW, {"lr": 1e-4, "weight_decay": 0.1}, 1e-4),
        (gdfast.Lion, {"lr": 1e-3, "weight_decay": 0.1}, 3e-6),
        (gdfast.ASGD, {"lr": 1e-2, "lambd": 1e-3, "alpha": 0.0}, 3e-6),
    ],
)
def test_float32_keeps_a_small_decay(optimizer, options, error, engine):
    """1 - 1e-5 has three digits of the decay in float32: multiplied by that, parameters are 10 times as far off."""
    rng = np.random.default_rng(0)
    single = rng.standard_normal(500).astype(np.float32)
    start = single.astype(np.float64)
    double = start.copy()
    opts = [optimizer(w, engine=engine, **options) for w in (single, double)]
    for _ in range(2000):
        grad = (rng.standard_normal(500) + 0.1).astype(np.float32)
        for opt, w in zip(opts, (single, double), strict=True):
            opt.step(grad.astype(w.dtype))
    assert np.linalg.norm(single - double) / np.linalg.norm(double - start) < error


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", DECOUPLED, ids=str)
def test_a_parameter_that_is_infinite_stays_so(case, engine):
    """As in PyTorch: a mask of infinities is one after the step."""
    specs = case.optimizer.specs
    options = {"decoupled_weight_decay": True} if "decoupled_weight_decay" in specs else {}
    options |= {"lambd": 0.1, "weight_decay": 0.0} if "lambd" in specs else {"weight_decay": 0.1}
    mask = np.array([-np.inf, 0.0, np.inf])
    opt = case.make(mask, engine=engine, **{**options, "l1": 0.0})
    for _ in range(3):
        opt.step(np.zeros(3))
    assert mask[[0, 2]].tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_decay_the_formula_is_the_plain_one(dtype):
    rng = np.random.default_rng(0)
    p, rate, direction = (hostile(rng, 2000, dtype) for _ in range(3))
    zero = dtype(0)
    with np.errstate(all="ignore"):
        assert_same_bits(reference.move(p, rate, direction, zero, zero), p - rate * direction)
        w, expected = p.copy(), p - dtype(0.25) * direction
    gdfast.SGD(w, lr=0.25).step(direction)
    assert_same_bits(w, expected)
