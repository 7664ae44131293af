"""Micro-batches: the last one is added and applied in one pass, with the bits of a step with the sum."""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

import gdfast
from arrays import SIZES, assert_same_bits, hostile, plain

ENGINES = ["native", "numpy"]
OPTIONS = [{}, {"clip_norm": 1.5, "clip_value": 0.4, "accumulation": "sum"}, {"nonfinite": "skip", "ema_decay": 0.9}]


def batches(dtype, make=plain, count=3):
    rng = np.random.default_rng(3)
    params = [make(rng, size, dtype) for size in SIZES]
    return params, [[plain(rng, size, dtype) for size in SIZES] for _ in range(count)]


def total(rows):
    """The sum in the order of the micro-batches."""
    first, *rest = rows
    sums = [array.copy() for array in first]
    for row in rest:
        sums = [s + array for s, array in zip(sums, row, strict=True)]
    return sums


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_as_one_step_with_the_sum(case, options, use_level, many_cpus):
    for dtype in (np.float32, np.float64):
        params, rows = batches(dtype, hostile)
        expected = [param.copy() for param in params]
        whole = case.make(expected, engine="numpy", **options)
        share = 1.0 if options.get("accumulation") == "sum" else 1 / 3
        for scale in (1.0, 0.5):
            whole.step(total(rows), grad_scale=scale * share)
        for level in LEVELS:
            use_level(level)
            for engine, n_threads in [("native", 1), ("native", 2), ("native", 3), ("native", 8), ("numpy", 1)]:
                actual = [param.copy() for param in params]
                opt = case.make(actual, engine=engine, **options)
                many_cpus(opt, n_threads)
                if n_threads == 3:  # the way that arrays too large for the cache go
                    opt._engine.prefetch, opt._engine.tile_bytes = True, 512
                before = copy.deepcopy(rows)
                for scale in (1.0, 0.5):
                    for row in rows[:-1]:
                        opt.accumulate(row)
                    opt.step(rows[-1], grad_scale=scale)
                assert_same_bits(actual, expected, f"{level}, {engine}, {n_threads} threads")
                assert_same_bits(opt.state, whole.state)
                assert opt.last_norm == whole.last_norm
                assert_same_bits([a for row in rows for a in row], [a for row in before for a in row])


@pytest.mark.parametrize("engine", ENGINES)
def test_norm_of_huge_and_tiny_sums(engine):
    for size in (1e30, 1e-30, 1e200, 1e-200):
        dtype = np.float32 if 1e-40 < size < 1e35 else np.float64
        opt = gdfast.SGD(np.zeros(2, dtype), clip_norm=1.0, accumulation="sum", engine=engine)
        opt.accumulate(np.array([1, 2], dtype) * dtype(size))
        opt.step(np.array([2, 2], dtype) * dtype(size))
        np.testing.assert_allclose(opt.last_norm, 5 * size, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_zeroed_are_the_gradients_of_the_last(engine):
    first, last = np.ones(3), np.ones(3)
    opt = gdfast.SGD(np.zeros(3), lr=1.0, engine=engine)
    opt.accumulate(first)
    opt.step(last, zero_grad=True)
    assert (first.tolist(), last.tolist()) == ([1, 1, 1], [0, 0, 0])
    opt.step(first)
    assert opt.param_groups[0]["params"][0].tolist() == [-2, -2, -2]


@pytest.mark.parametrize("engine", ENGINES)
def test_bound_buffers(engine):
    param, buffer = np.zeros(2), np.zeros(2)
    opt = gdfast.SGD(param, lr=1.0, grads=buffer, engine=engine)
    for value in (1, 2):
        buffer[:] = value
        opt.accumulate()
    buffer[:] = 6
    opt.step()
    assert param.tolist() == [-3, -3]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [0, 1])
def test_a_refused_step_drops_what_waited(engine, batch):
    rows = [np.ones(2), np.ones(2)]
    rows[batch][0] = np.inf
    param = np.zeros(2)
    skipping = gdfast.SGD(param, lr=1.0, nonfinite="skip", engine=engine)
    skipping.accumulate(rows[0])
    skipping.step(rows[1])
    assert (skipping.skipped_steps, skipping.step_count, param.tolist()) == (1, 0, [0, 0])
    skipping.step(np.ones(2))
    assert param.tolist() == [-1, -1]
    raising = gdfast.SGD(param, lr=1.0, nonfinite="raise", engine=engine)
    raising.accumulate(rows[0])
    with pytest.raises(FloatingPointError, match=r"grads \(0 NaN, 1 infinite\)"):
        raising.step(rows[1])
    raising.step(np.ones(2))
    assert param.tolist() == [-2, -2]


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_gradients_add_nothing(engine):
    param = np.zeros(2)
    opt = gdfast.SGD(param, lr=1.0, engine=engine)
    opt.accumulate(np.ones(2))
    with pytest.raises(ValueError, match="grads must have the shape of params"):
        opt.accumulate(np.ones(3))
    with pytest.raises(ValueError, match="must not share memory with params"):
        opt.accumulate(param)
    with pytest.raises(TypeError, match="no gradient buffers were bound"):
        opt.accumulate()
    opt.step(np.full(2, 3.0))
    assert param.tolist() == [-2, -2]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_waits_goes_along_with_copies_and_states(engine):
    grads = [np.full(2, k + 1.0) for k in range(3)]
    opt = gdfast.Adam({"a": np.zeros(2)}, engine=engine)
    for grad in grads[:2]:
        opt.accumulate({"a": grad})
    resumed = gdfast.Adam({"a": np.zeros(2)}, accumulation="sum", engine=engine)
    resumed.load_state_dict(opt.state_dict())
    others = [pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt), resumed]
    for each in (opt, *others):
        each.step({"a": grads[2]})
        each.accumulate({"a": grads[0]})
        each.step({"a": grads[1]})
    for other in others:
        assert_same_bits(other.state, opt.state)
        assert_same_bits(other.param_groups[0]["params"], opt.param_groups[0]["params"])
    assert opt.state_dict()["accumulation"] == {"kind": "mean", "count": 0}
    assert opt.state_dict()["sums"] == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"accumulation": None},
        {"accumulation": {"kind": "mean"}},
        {"accumulation": {"kind": "median", "count": 0}},
        {"accumulation": {"kind": "sum", "count": -1}},
        {"accumulation": {"kind": "sum", "count": 1}, "sums": []},
        {"accumulation": {"kind": "sum", "count": 1}, "sums": {}},
        {"accumulation": {"kind": "sum", "count": 1}, "sums": {"0": np.zeros(3)}},
        {"accumulation": {"kind": "sum", "count": 0}, "sums": {"0": np.zeros(2)}},
    ],
)
def test_wrong_states_are_named(wrong):
    opt = gdfast.SGD(np.zeros(2))
    with pytest.raises(ValueError, match=r"accumulation|sums"):
        opt.load_state_dict({**opt.state_dict(), **wrong})
    assert opt.accumulation.count == 0


def test_groups_come_before_or_after():
    opt = gdfast.SGD([np.zeros(2)], lr=1.0)
    opt.accumulate([np.ones(2)])
    with pytest.raises(RuntimeError, match="micro-batches wait"):
        opt.add_param_group({"params": {"b": np.zeros(1)}})
    opt.step([np.ones(2)])
    opt.add_param_group({"params": {"b": np.zeros(1)}})
    opt.accumulate([[np.ones(2)], {"b": np.ones(1)}])
    opt.step([[np.ones(2)], {"b": np.full(1, 3.0)}])
    assert [group["params"][0].tolist() for group in opt.param_groups] == [[-2, -2], [-2]]


def test_unknown_accumulation():
    with pytest.raises(ValueError, match="accumulation must be one of 'mean', 'sum'; got 'max'"):
        gdfast.SGD(np.zeros(1), accumulation="max")
