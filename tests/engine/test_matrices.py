"""Rules for matrices, and gradients prepared unit by unit: the promises of every rule, on arrays of every rank."""

import copy
import math

import numpy as np
import pytest
from cases import MATRICES
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, hostile, plain, snapshot, unaligned
from gdfast import schedules

ENGINES = ["native", "numpy"]
# Rows within a tile, over its border and over a block's; rows and columns of one; nothing.
MATRIX_SHAPES = [(0, 3), (3, 0), (1, 1), (40, 1), (7, 9), (33, 31), (2, 1100)]
OTHER_SHAPES = [(), (0,), (5,), (1030,), (3, 4, 5), (2, 0, 3), (5, 1, 1, 70)]
OPTIONS = [
    {},
    {"clip_norm": 1.5, "clip_value": 0.4, "ema_decay": 0.9, "accumulation": "sum"},
    {"nonfinite": "skip", "l1": 0.01},
]


def shapes_of(case):
    return MATRIX_SHAPES if case.optimizer is gdfast.Muon else MATRIX_SHAPES + OTHER_SHAPES


def problem(case, dtype, steps=10, bad=True):
    """Arrays of every shape (every second one unaligned, every third hostile), and gradients."""
    rng = np.random.default_rng(0)

    def make(i, shape, kind=plain):
        values = (hostile if bad and i % 3 == 2 else kind)(rng, math.prod(shape), dtype).reshape(shape)
        return unaligned(values) if i % 2 else values

    shapes = shapes_of(case)
    params = [make(i, shape) for i, shape in enumerate(shapes)]
    return params, [[make(i, shape) for i, shape in enumerate(shapes)] for _ in range(steps)]


def copies(params):
    return [unaligned(p) if i % 2 else p.copy() for i, p in enumerate(params)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_native_is_the_reference_at_every_level_and_thread_count(case, dtype, use_level, many_cpus):
    params, grads = problem(case, dtype)
    expected = copies(params)
    reference = case.make(expected, engine="numpy")
    for step in range(100):
        reference.step(grads[step % 10])
    for level in LEVELS:
        use_level(level)
        for n_threads in (1, 2, 3, 8):
            actual = copies(params)
            opt = case.make(actual)
            many_cpus(opt, n_threads)
            for step in range(100):
                opt.step(grads[step % 10])
            where = f"{level}, {n_threads} threads: "
            assert_same_bits(actual, expected, where + "params")
            assert_same_bits(opt.state, reference.state, where + "state")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_all_that_a_step_can_do_at_once(case, options, many_cpus):
    for dtype in (np.float32, np.float64):
        params, grads = problem(case, dtype, steps=6, bad=False)
        outcomes = []
        for engine, n_threads in [("numpy", 1), ("native", 1), ("native", 3)]:
            actual = copies(params)
            opt = case.make(actual, engine=engine, **options)
            many_cpus(opt, n_threads)
            for step in range(10):
                row = [grad.copy() for grad in grads[step % 6]]
                if step % 3 == 1:
                    opt.accumulate(grads[(step + 1) % 6])
                if step == 5 and "nonfinite" in options:
                    row[3].flat[0] = np.nan
                before = [grad.tobytes() for grad in row]
                opt.step(row, grad_scale=0.3, zero_grad=step % 2 == 0)
                if step % 2:
                    assert [grad.tobytes() for grad in row] == before
                elif not (step == 5 and "nonfinite" in options):
                    assert not any(grad.any() for grad in row)
            outcomes.append((actual, {**opt.state}, opt.last_norm, opt.skipped_steps))
        for params_after, state, *numbers in outcomes[1:]:
            assert_same_bits(params_after, outcomes[0][0])
            assert_same_bits(state, outcomes[0][1])
            assert repr(numbers) == repr([*outcomes[0][2:]])


@pytest.mark.parametrize("shape", [(300, 700), (70_000, 3), (2, 70_000), (3, 300, 40)], ids=str)
@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_large_arrays(case, shape, many_cpus):
    if case.optimizer is gdfast.Muon and (len(shape) != 2 or max(shape) > 60_000):
        shape = (210, 1000)
    rng = np.random.default_rng(1)
    param, grad = (plain(rng, math.prod(shape), np.float32).reshape(shape) for _ in range(2))
    expected, actual = param.copy(), param.copy()
    reference, opt = case.make(expected, engine="numpy", ema_decay=0.5), case.make(actual, ema_decay=0.5)
    many_cpus(opt, 3)
    for _ in range(3):
        reference.step(grad)
        opt.step(grad)
    assert_same_bits(actual, expected)
    assert_same_bits(opt.state, reference.state)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_array_by_array_is_one_whole_step(case, engine, many_cpus):
    rng = np.random.default_rng(4)
    params = {f"p{i}": plain(rng, math.prod(shape), np.float32).reshape(shape) for i, shape in enumerate(MATRIX_SHAPES)}
    whole_params = copy.deepcopy(params)
    options = {"lr": schedules.Linear(0.1, total_steps=9), "clip_value": 0.4, "ema_decay": 0.9}
    whole, opt = case.make(whole_params, engine="numpy", **options), case.make(params, engine=engine, **options)
    many_cpus(opt, 3)
    for _ in range(4):
        row = {name: plain(rng, array.size, np.float32).reshape(array.shape) for name, array in params.items()}
        whole.step(row, grad_scale=0.5)
        for name in rng.permutation(list(row)):
            opt.step_one(str(name), row[name], grad_scale=0.5)
        opt.end_step()
    assert_same_bits(params, whole_params)
    assert_same_bits(opt.state, whole.state)


@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_groups_copies_and_resumed_runs(case, tmp_path):
    rng = np.random.default_rng(2)
    grads = [[plain(rng, 12, np.float64).reshape(3, 4), plain(rng, 10, np.float64).reshape(5, 2)] for _ in range(8)]
    first, second = plain(rng, 12, np.float64).reshape(3, 4), plain(rng, 10, np.float64).reshape(5, 2)
    alone = [first.copy(), second.copy()]
    opt = case.make([{"params": first}, {"params": second, "lr": 0.2}], state_dir=tmp_path)
    separate = case.make(alone[0]), case.make(alone[1], lr=0.2)
    for step, row in enumerate(grads):
        opt.step(row)
        for other, grad in zip(separate, row, strict=True):
            other.step(grad)
        if step == 3:
            twin = copy.deepcopy(opt)
            resumed_params = [first.copy(), second.copy()]
            resumed = case.make([{"params": resumed_params[0]}, {"params": resumed_params[1]}], engine="numpy")
            resumed.load_state_dict(opt.state_dict())
        elif step > 3:
            twin.step(row)
            resumed.step(row)
    assert_same_bits([first, second], alone)
    assert_same_bits([group["params"][0] for group in twin.param_groups], alone)
    assert_same_bits(resumed_params, alone)
    assert_same_bits(opt.state, resumed.state)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_a_bad_schedule_is_found_before_any_write(case, engine):
    params = [np.ones((2, 3)), np.ones((3, 2))]
    groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": lambda step: 0.1 if step == 0 else -1.0}]
    opt = case.make(groups, engine=engine)
    opt.step([[np.ones((2, 3))], [np.ones((3, 2))]])
    before = snapshot(opt, params)
    with pytest.raises(ValueError, match="lr at step 1"):
        opt.step([[np.ones((2, 3))], [np.ones((3, 2))]])
    with pytest.raises(ValueError, match="lr at step 1"):
        opt.step_one("0", np.ones((2, 3)))
    assert snapshot(opt, params) == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", [case for case in MATRICES if "centralize" not in case.options], ids=str)
def test_gets_down_a_quadratic(case, engine):
    """Least squares with three outputs. (A unit's mean would be out of reach of centralised gradients.)"""
    rng = np.random.default_rng(5)
    inputs, true = rng.standard_normal((50, 4)), rng.standard_normal((3, 4))
    sign = -1.0 if case.options.get("maximize") else 1.0
    w = np.full((3, 4), 0.1)
    lr = schedules.Cosine(case.quadratic_lr, total_steps=1500)
    opt = case.make(w, lr=lr, weight_decay=0.0, l1=0.0, engine=engine)
    for _ in range(1500):
        opt.step(sign * (w - true) @ (inputs.T @ inputs) / 50)
    np.testing.assert_allclose(w, true, atol=0.05)
