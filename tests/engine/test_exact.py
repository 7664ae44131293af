"""Promise 1: the same bits as the NumPy reference, at any number of threads and any instruction set."""

import math

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

from arrays import SIZES, assert_same_bits, hostile, plain, unaligned

STEPS = 100
DTYPES = [np.float32, np.float64]


def problem(dtype, seed=0, make=plain):
    """Parameters of every awkward size (every second one unaligned, every third hostile), and ten sets of gradients."""
    rng = np.random.default_rng(seed)
    kinds = [hostile if i % 3 == 2 else make for i in range(len(SIZES))]
    params = [kind(rng, size, dtype) for kind, size in zip(kinds, SIZES, strict=True)]
    params = [unaligned(p) if i % 2 else p for i, p in enumerate(params)]
    grads = [[kind(rng, size, dtype) for kind, size in zip(kinds, SIZES, strict=True)] for _ in range(10)]
    return params, grads


def run(opt, grads, steps=STEPS):
    for step in range(steps):
        opt.step(grads[step % len(grads)])


def copies(params):
    return [unaligned(p) if i % 2 else p.copy() for i, p in enumerate(params)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_is_the_reference_at_every_level_and_thread_count(case, dtype, use_level, many_cpus):
    params, grads = problem(dtype)
    expected = copies(params)
    reference = case.make(expected, engine="numpy")
    run(reference, grads)
    for level in LEVELS:
        use_level(level)
        for n_threads in (1, 2, 3, 8):
            actual = copies(params)
            opt = case.make(actual)
            many_cpus(opt, n_threads)
            if n_threads == 3:  # the way that arrays too large for the cache go
                opt._engine.prefetch, opt._engine.tile_bytes = True, 512
            run(opt, grads)
            where = f"{level}, {n_threads} threads: "
            assert_same_bits(actual, expected, where + "params")
            assert_same_bits(opt.state, reference.state, where + "state")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_large_array_among_small_ones(case, dtype):
    rng = np.random.default_rng(1)
    sizes = [5, 100_000, 3]
    params = [plain(rng, size, dtype) for size in sizes]
    grads = [[plain(rng, size, dtype) for size in sizes]]
    expected, actual = copies(params), copies(params)
    reference, opt = case.make(expected, engine="numpy"), case.make(actual)
    run(reference, grads, 10)
    run(opt, grads, 10)
    assert_same_bits(actual, expected)
    assert_same_bits(opt.state, reference.state)


def test_array_too_large_for_the_cache():
    rng = np.random.default_rng(2)
    param, grad = plain(rng, 4_200_001, np.float32), plain(rng, 4_200_001, np.float32)
    case = next(case for case in CASES if case.name == "adamw_l1")
    expected, actual = param.copy(), param.copy()
    reference, opt = case.make(expected, engine="numpy"), case.make(actual)
    assert opt._engine.prefetch
    for _ in range(3):
        reference.step(grad)
        opt.step(grad)
    assert_same_bits(actual, expected)
    assert_same_bits(opt.state, reference.state)


@pytest.mark.parametrize("scale", [0.125, -3.0, 1e30, 2])
def test_grad_scale(scale):
    params, grads = problem(np.float32)
    expected, actual = copies(params), copies(params)
    case = next(case for case in CASES if case.name == "adam_odd")
    reference, opt = case.make(expected, engine="numpy"), case.make(actual)
    for step in range(20):
        reference.step(grads[step % 10], grad_scale=scale)
        opt.step(grads[step % 10], grad_scale=scale)
    assert_same_bits(actual, expected)


def test_both_element_types_in_one_optimizer():
    rng = np.random.default_rng(3)
    params = [plain(rng, 100, np.float32), plain(rng, 100, np.float64)]
    grads = [plain(rng, 100, np.float32), plain(rng, 100, np.float64)]
    expected, actual, alone = copies(params), copies(params), params[1].copy()
    case = next(case for case in CASES if case.name == "adam")
    reference, opt, single = case.make(expected, engine="numpy"), case.make(actual), case.make(alone)
    for _ in range(20):
        reference.step(grads)
        opt.step(grads)
        single.step(grads[1])
    assert_same_bits(actual, expected)
    assert_same_bits(actual[1], alone)


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_state_is_never_subnormal(case, dtype, engine):
    """Once the gradients have died, every average decays through the subnormal numbers' range, to exact zeros.

    The first gradients reach from where they themselves are hardly normal to where their squares are.
    """
    tiny = float(np.finfo(dtype).smallest_normal)
    rng = np.random.default_rng(4)
    param = np.repeat([0.0, 1.0], 150).astype(dtype)
    options = {"initial_accumulator_value": 0.0} if "initial_accumulator_value" in case.optimizer.specs else {}
    opt = case.make(param, engine=engine, weight_decay=0.0, **options)
    sizes = np.concatenate([np.full(100, 1e3 * tiny), np.geomspace(10, 1e3, 200) * math.sqrt(tiny)])
    grad = (rng.standard_normal(300) * rng.permutation(sizes)).astype(dtype)
    found = {name: np.abs(array).max() for name, array in opt.state["0"].items()}
    for step in range(200):
        opt.step(grad if step < 2 else np.zeros(300, dtype))
        for name, array in opt.state["0"].items():
            found[name] = max(found[name], np.abs(array).max())
            assert not np.any((array != 0) & (np.abs(array) < tiny)), name
    assert all(found.values()), found


def test_nan_is_never_hidden():
    for case in CASES:
        param, grad = np.ones(3, np.float32), np.array([1, np.nan, 1], np.float32)
        opt = case.make(param)
        opt.step(grad)
        opt.step(np.ones(3, np.float32))
        for name, array in {"param": param, **opt.state["0"]}.items():
            expected = [True] * 3 if name in case.nan_spreads_to else [False, name not in case.memoryless_states, False]
            assert np.isnan(np.broadcast_to(array, 3)).tolist() == expected, (case, name)


def test_gradients_are_never_written():
    for case in CASES:
        for engine in ("native", "numpy"):
            params, grads = problem(np.float32)
            before = [g.tobytes() for g in grads[0]]
            for grad in grads[0]:
                grad.flags.writeable = False
            opt = case.make(copies(params), engine=engine)
            opt.step(grads[0])
            assert [g.tobytes() for g in grads[0]] == before, case
