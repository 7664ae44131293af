"""Averages of the parameters, kept in the step's pass."""

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, hostile, plain
from gdfast import schedules

ENGINES = ["native", "numpy"]
KINDS = [
    {"ema_decay": 0.9},
    {"ema_decay": schedules.Linear(0.5, total_steps=10, end_lr=0.99), "ema_start": 2},
    {"ema_decay": "average"},
    {"ema_decay": "average", "ema_start": 3},
]


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_native_is_the_reference(case, options, use_level, many_cpus):
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        sizes = [1, 65, 0, 5000]
        params = [(hostile if i == 1 else plain)(rng, size, dtype) for i, size in enumerate(sizes)]
        grads = [[plain(rng, size, dtype) for size in sizes] for _ in range(10)]
        expected = [param.copy() for param in params]
        reference = case.make(expected, engine="numpy", **options)
        for row in grads:
            reference.step(row)
        for level in LEVELS:
            use_level(level)
            for n_threads in (1, 3):
                actual = [param.copy() for param in params]
                opt = case.make(actual, **options)
                many_cpus(opt, n_threads)
                for row in grads:
                    opt.step(row)
                assert_same_bits(actual, expected)
                assert_same_bits(opt.state, reference.state)
                assert_same_bits(opt.ema, reference.ema)


@pytest.mark.parametrize("engine", ENGINES)
def test_formulas(engine):
    start, grads = np.array([1.0, -2.0]), [np.array([1.0, 2.0]) * (k + 1) for k in range(8)]
    for options in KINDS:
        param = start.copy()
        opt = gdfast.SGD(param, lr=0.1, engine=engine, **options)
        assert opt.ema.tolist() == start.tolist()
        path, ema = [], start.copy()
        first = options.get("ema_start", 0)
        for step, grad in enumerate(grads):
            opt.step(grad)
            path.append(param.copy())
            if step < first:
                ema = param.copy()
            elif options["ema_decay"] == "average":
                ema = np.mean(path[first:], axis=0)
            else:
                decay = options["ema_decay"]
                decay = decay(step) if callable(decay) else decay
                ema = decay * ema + (1 - decay) * param
            np.testing.assert_allclose(opt.ema, ema, rtol=1e-13)


def test_the_average_changes_nothing_else():
    for case in CASES:
        with_it, without = np.ones(50), np.ones(50)
        opt, plain_opt = case.make(with_it, ema_decay=0.99), case.make(without)
        for step in range(5):
            opt.step(np.sin(np.arange(50.0) + step))
            plain_opt.step(np.sin(np.arange(50.0) + step))
        assert_same_bits(with_it, without)


@pytest.mark.parametrize("engine", ENGINES)
def test_ema_has_the_structure_of_the_parameters(engine):
    params = {"a": [np.zeros(2), np.zeros(3)], "b": np.zeros((2, 2))}
    opt = gdfast.SGD(params, ema_decay=0.5, engine=engine)
    assert [array.shape for array in opt.ema["a"]] == [(2,), (3,)]
    assert np.shares_memory(opt.ema["b"], opt.state["b"]["ema"])
    grouped = gdfast.SGD([{"params": np.zeros(2)}, {"params": {"x": np.zeros(3)}}], ema_decay=0.5, engine=engine)
    assert grouped.ema[1]["x"].shape == (3,)


@pytest.mark.parametrize("engine", ENGINES)
def test_averaged_swaps_in_and_back(engine):
    big, small = np.zeros(200_000, np.float32), np.zeros((2, 3), np.float32)
    opt = gdfast.SGD([big, small], lr=1.0, ema_decay=0.5, engine=engine)
    opt.step([np.ones(200_000, np.float32), np.ones((2, 3), np.float32)])
    with opt.averaged():
        assert np.all(big == -0.5)
        assert np.all(small == -0.5)
        for forbidden in (lambda: opt.step([big, small]), opt.state_dict, lambda: opt.load_state_dict({})):
            with pytest.raises(RuntimeError, match=r"first leave averaged\(\)"):
                forbidden()
        with pytest.raises(RuntimeError, match=r"first leave averaged\(\)"), opt.averaged():
            pass
    assert np.all(big == -1.0)
    assert np.all(opt.ema[0] == -0.5)
    with pytest.raises(ZeroDivisionError), opt.averaged():
        _ = 1 / 0
    assert np.all(small == -1.0)
    opt.step([np.ones(200_000, np.float32), np.ones((2, 3), np.float32)])


def test_no_average_unless_asked_for():
    opt = gdfast.SGD(np.zeros(2))
    with pytest.raises(AttributeError, match="this SGD keeps no average; give ema_decay when making it"):
        _ = opt.ema
    with pytest.raises(AttributeError, match="keeps no average"), opt.averaged():
        pass


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ema_decay": 1.0}, ValueError, r"ema_decay must be in \[0, 1\); got 1.0"),
        ({"ema_decay": "mean"}, ValueError, "ema_decay must be a number .* or \"average\"; got 'mean'"),
        ({"ema_decay": [0.9]}, TypeError, "ema_decay must be a number"),
        ({"ema_decay": 0.9, "ema_start": -1}, ValueError, "ema_start must be at least 0; got -1"),
        ({"ema_decay": 0.9, "ema_start": 1.5}, TypeError, "ema_start must be an int; got 1.5"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        gdfast.Adam(np.zeros(3), **options)


def test_resumes_with_its_average_and_guard():
    options = {"ema_decay": "average", "ema_start": 2, "clip_norm": 0.5, "nonfinite": "skip"}
    grads = [np.sin(np.arange(6.0) + step) for step in range(12)]
    param = np.ones(6)
    opt = gdfast.Adam(param, **options)
    for grad in grads[:5]:
        opt.step(grad)
    opt.step(np.full(6, np.nan))
    again = param.copy()
    fresh = gdfast.Adam(again, ema_decay=0.5)
    fresh.load_state_dict(opt.state_dict())
    assert fresh.skipped_steps == 1
    for grad in grads[5:]:
        opt.step(grad)
        fresh.step(grad)
    assert_same_bits(param, again)
    assert_same_bits(opt.ema, fresh.ema)
    with pytest.raises(ValueError, match="averaging must be off"):
        gdfast.Adam(np.ones(6)).load_state_dict(opt.state_dict())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [{"ema_decay": 0.99999}, {"ema_decay": "average"}], ids=str)
def test_a_long_average_in_float32(options, engine):
    """No number near 1 is rounded."""
    rng = np.random.default_rng(0)
    single, double = (np.zeros(64, dtype) for dtype in (np.float32, np.float64))
    opts = [gdfast.SGD(w, lr=1.0, engine=engine, **options) for w in (single, double)]
    for _ in range(20_000):
        grad = rng.standard_normal(64).astype(np.float32) - single * np.float32(-0.1) - np.float32(0.1)
        for opt, w in zip(opts, (single, double), strict=True):
            opt.step(grad.astype(w.dtype))
        double[...] = single  # so that the averages are of the same numbers
    error = np.abs(opts[0].ema - opts[1].ema) / np.abs(opts[1].ema).max()
    assert error.max() < 1e-5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_average_of_what_stands_still_is_where_it_stands(options, engine):
    w = np.linspace(-2, 3, 100).astype(np.float32)
    opt = gdfast.SGD(w, engine=engine, **options)
    for _ in range(100):
        opt.step(np.zeros(100, np.float32))
    assert_same_bits(opt.ema, w)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_infinite_stays_in_an_average(engine):
    mask = np.array([-np.inf, 0.0, np.inf])
    opt = gdfast.SGD(mask, engine=engine, ema_decay=0.9)
    for _ in range(3):
        opt.step(np.zeros(3))
    assert opt.ema.tolist() == [-np.inf, 0.0, np.inf]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [{"ema_decay": 0.0}, {"ema_decay": 0.9, "ema_start": 99}, {"ema_decay": "average"}])
def test_an_average_of_one_is_the_parameters_to_the_bit(options, engine):
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        w = plain(rng, 500, dtype)
        opt = gdfast.SGD(w, lr=1.0, engine=engine, **options)
        opt.step(plain(rng, 500, dtype))
        assert_same_bits(opt.ema, w)
