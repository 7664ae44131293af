"""Clipping, the guard against NaN and infinity, and zeroing, inside the step."""

import math

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, hostile, plain, snapshot
from gdfast import schedules
from gdfast.stepping.guard import Guard, clip_factor

ENGINES = ["native", "numpy"]
SIZES = [3, 70_000, 0, 129]
OPTIONS = [
    {"clip_norm": 0.5},
    {"clip_value": 1e-3},
    {"clip_norm": 2.0, "clip_value": 0.01},
    {"clip_norm": schedules.Linear(3.0, total_steps=20, end_lr=0.1), "nonfinite": "skip"},
]


def problem(dtype, make=plain, seed=0):
    rng = np.random.default_rng(seed)
    return [make(rng, size, dtype) for size in SIZES], [[make(rng, size, dtype) for size in SIZES] for _ in range(5)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_native_is_the_reference_at_every_level_and_thread_count(dtype, options, use_level, many_cpus):
    case = next(case for case in CASES if case.name == "adam_odd")
    for make in (plain, hostile):
        params, grads = problem(dtype, make)
        expected = [param.copy() for param in params]
        reference = case.make(expected, engine="numpy", **options)
        reference_norms = []
        for step in range(10):
            reference.step(grads[step % 5], grad_scale=0.3)
            reference_norms.append(reference.last_norm)
        for level in LEVELS:
            use_level(level)
            for n_threads in (1, 2, 3, 8):
                actual = [param.copy() for param in params]
                opt = case.make(actual, **options)
                many_cpus(opt, n_threads)
                for step in range(10):
                    opt.step([grad.copy() for grad in grads[step % 5]], grad_scale=0.3, zero_grad=step % 2 == 0)
                    assert repr(opt.last_norm) == repr(reference_norms[step])
                assert_same_bits(actual, expected, f"{level}, {n_threads} threads")
                assert_same_bits(opt.state, reference.state)
                assert opt.skipped_steps == reference.skipped_steps


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_clipping_in_the_step_is_clipping_before_it(case, engine):
    params, grads = problem(np.float64)
    before = [param.copy() for param in params]
    opt, plain_opt = case.make(params, engine=engine, clip_norm=0.7), case.make(before, engine=engine)
    for step in range(10):
        opt.step(grads[step % 5])
        clipped = [grad.copy() for grad in grads[step % 5]]
        assert gdfast.clip_by_global_norm(clipped, 0.7) == opt.last_norm
        plain_opt.step(clipped)
    for inside, outside in zip(params, before, strict=True):
        np.testing.assert_allclose(inside, outside, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_scale_then_norm_then_value(engine):
    """The norm is that of the scaled gradients; the value is clipped after it."""
    param = np.zeros(2)
    opt = gdfast.SGD(param, lr=1.0, clip_norm=1.0, clip_value=0.7, engine=engine, maximize=True)
    opt.step(np.array([30.0, 40.0]), grad_scale=0.1)
    assert opt.last_norm == 5.0
    np.testing.assert_allclose(param, [0.6, 0.7], rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_norm_is_over_all_groups(engine):
    params = [np.zeros(1), np.zeros(1)]
    opt = gdfast.SGD([{"params": params[0]}, {"params": params[1], "lr": 2.0}], lr=1.0, clip_norm=1.0, engine=engine)
    opt.step([np.array([3.0]), np.array([4.0])])
    np.testing.assert_allclose(np.concatenate(params), [-0.6, -1.6], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("engine", ENGINES)
def test_skip_touches_nothing_and_counts(engine, bad):
    for dtype in (np.float32, np.float64):
        params, (grads, *_) = problem(dtype)
        opt = gdfast.Adam(params, nonfinite="skip", engine=engine, ema_decay=0.9)
        opt.step(grads)
        before = snapshot(opt, params)
        broken = [grad.copy() for grad in grads]
        broken[1][54_321] = bad
        kept = [grad.tobytes() for grad in broken]
        opt.step(broken, zero_grad=True)
        assert snapshot(opt, params) == before
        assert [grad.tobytes() for grad in broken] == kept
        assert opt.skipped_steps == 1
        assert not math.isfinite(opt.last_norm)
        opt.step(grads)
        assert (opt.skipped_steps, opt.step_count) == (1, 2)
        assert math.isfinite(opt.last_norm)


@pytest.mark.parametrize("engine", ENGINES)
def test_raise_names_arrays_counts_and_step(engine):
    params = {"W": np.zeros(4, np.float32), "b": np.zeros(2, np.float32)}
    opt = gdfast.Adam(params, nonfinite="raise", engine=engine)
    opt.step({"W": np.ones(4, np.float32), "b": np.ones(2, np.float32)})
    before = snapshot(opt, list(params.values()))
    with pytest.raises(FloatingPointError) as caught:
        opt.step({"W": np.array([1, np.nan, np.nan, np.inf], np.float32), "b": np.ones(2, np.float32)})
    assert str(caught.value) == (
        'gradients at step 1 are not finite: grads["W"] (2 NaN, 1 infinite); nothing was updated'
    )
    assert snapshot(opt, list(params.values())) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_finite_float64_whose_squares_overflow_is_no_alarm(engine):
    param = np.zeros(2)
    opt = gdfast.SGD(param, lr=1.0, nonfinite="raise", clip_norm=1.0, engine=engine)
    opt.step(np.array([3e200, 4e200]))
    np.testing.assert_allclose(param, [-0.6, -0.8])
    with pytest.raises(FloatingPointError, match="their norm overflows"):
        opt.step(np.full(2, 1.7e308))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_zero_grad_zeroes_in_the_same_pass(case, engine):
    params, grads = problem(np.float32, hostile)
    kept = [param.copy() for param in params]
    opt, other = case.make(params, engine=engine), case.make(kept, engine=engine)
    for row in grads:
        other.step(row)
        opt.step(row, zero_grad=True)
        assert all(not grad.any() and not np.signbit(grad).any() for grad in row)
    assert_same_bits(params, kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_grad_needs_gradients_that_can_be_zeroed(engine):
    params = [np.zeros(3), np.zeros(3)]
    opt = gdfast.SGD(params, engine=engine)
    frozen, shared = np.ones(3), np.ones(3)
    frozen.flags.writeable = False
    for grads, message in [
        ([np.ones(3), frozen], r"grads\[1\] must be writeable for zero_grad=True; got a read-only array"),
        ([shared, shared], r"grads\[0\] and grads\[1\] must not share memory: a gradient is zeroed once it is read"),
    ]:
        before = snapshot(opt, params)
        with pytest.raises(ValueError, match=message):
            opt.step(grads, zero_grad=True)
        assert snapshot(opt, params) == before
        opt.step(grads)
    bound = [np.ones(3), np.ones(3)]
    opt = gdfast.SGD(params, grads=bound, engine=engine)
    for _ in range(3):
        bound[0][:] = 1
        opt.step(zero_grad=True)
        assert bound[0].tolist() == [0.0] * 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clip_norm": 0.0}, ValueError, r"clip_norm must be in \(0, inf\); got 0.0"),
        ({"clip_norm": -1}, ValueError, "clip_norm must be in"),
        ({"clip_norm": math.nan}, ValueError, "clip_norm must be in"),
        ({"clip_norm": "1"}, TypeError, "clip_norm must be a number"),
        ({"clip_value": 0}, ValueError, "clip_value must be in"),
        ({"nonfinite": "ignore"}, ValueError, "nonfinite must be one of 'propagate', 'skip', 'raise'; got 'ignore'"),
        ({"clipnorm": 1.0}, TypeError, "did you mean 'clip_norm'"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        gdfast.Adam(np.zeros(3), **options)


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_scheduled_clipping_is_checked_at_each_step(name):
    param = np.zeros(3)
    opt = gdfast.Adam(param, **{name: lambda step: 1.0 - step})
    opt.step(np.ones(3))
    before = snapshot(opt, param)
    with pytest.raises(ValueError, match=f"{name} at step 1 must be in"):
        opt.step(np.ones(3))
    assert snapshot(opt, param) == before


def test_the_factor_is_that_of_the_limit_at_a_step():
    guard = Guard(lambda step: 2.0 + step, None, "propagate")
    assert [clip_factor(8.0, guard.clip_norm_at(step)) for step in (0, 2, 10)] == [2 / (8 + 1e-6), 4 / (8 + 1e-6), 1.0]
    assert clip_factor(8.0, Guard(None, None, "skip").clip_norm_at(0)) == 1.0
