"""A step array by array: the bits of one whole step, and nothing left out or done twice."""

import copy

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

import gdfast
from arrays import SIZES, assert_same_bits, hostile, plain
from gdfast import schedules

ENGINES = ["native", "numpy"]
OPTIONS = [{}, {"clip_value": 0.4, "ema_decay": 0.9}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_as_one_whole_step(case, options, use_level, many_cpus):
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(4)
        params = {f"p{i}": hostile(rng, size, dtype) for i, size in enumerate(SIZES)}
        rows = [{name: plain(rng, array.size, dtype) for name, array in params.items()} for _ in range(4)]
        expected = copy.deepcopy(params)
        whole = case.make(expected, engine="numpy", **options)
        for row in rows:
            whole.step(row, grad_scale=0.5)
        for level in LEVELS:
            use_level(level)
            for engine, n_threads in [("native", 1), ("native", 2), ("native", 3), ("native", 8), ("numpy", 1)]:
                actual = copy.deepcopy(params)
                opt = case.make(actual, engine=engine, **options)
                many_cpus(opt, n_threads)
                opt._engine.grain_bytes = 1
                for k, row in enumerate(rows):
                    for name in rng.permutation(list(row)):
                        opt.step_one(str(name), row[name].copy(), grad_scale=0.5, zero_grad=k % 2 == 0)
                    opt.end_step()
                assert_same_bits(actual, expected, f"{level}, {engine}, {n_threads} threads")
                assert_same_bits(opt.state, whole.state)
                assert opt.step_count == whole.step_count


@pytest.mark.parametrize("engine", ENGINES)
def test_schedules_groups_and_scales(engine):
    def make():
        a, b = np.zeros(2), np.zeros(2)
        groups = [{"params": {"a": a}}, {"params": {"b": b}, "lr": 2.0}]
        return a, b, gdfast.SGD(groups, lr=schedules.Linear(1.0, total_steps=4), engine=engine)

    a, b, opt = make()
    c, d, whole = make()
    for step in range(3):
        opt.step_one("a", np.ones(2))
        opt.step_one("b", np.ones(2), grad_scale=0.5)
        opt.end_step()
        whole.step({"a": np.ones(2), "b": np.full(2, 0.5)})
        assert opt.step_count == step + 1
    assert_same_bits([a, b], [c, d])


@pytest.mark.parametrize("engine", ENGINES)
def test_only_zero_grad_writes_a_gradient(engine):
    opt = gdfast.SGD({"a": np.zeros(2), "b": np.zeros(2)}, engine=engine)
    first, second = np.ones(2), np.ones(2)
    opt.step_one("a", first)
    opt.step_one("b", second, zero_grad=True)
    assert (first.tolist(), second.tolist()) == ([1, 1], [0, 0])
    opt.end_step()
    second.flags.writeable = False
    with pytest.raises(ValueError, match=r"grads\[\"b\"\] must be writeable for zero_grad=True"):
        opt.step_one("b", second, zero_grad=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_left_out_or_twice(engine):
    params = {"a": np.zeros(2), "layer.b": np.zeros(2)}
    opt = gdfast.SGD(params, lr=1.0, engine=engine)
    with pytest.raises(RuntimeError, match="end_step must come after step_one"):
        opt.end_step()
    with pytest.raises(ValueError, match=r"got 'layr\.b'; did you mean 'layer\.b'"):
        opt.step_one("layr.b", np.ones(2))
    with pytest.raises(ValueError, match=r"got 7; it has 'a', 'layer\.b'"):
        opt.step_one(7, np.ones(2))
    opt.step_one("a", np.ones(2))
    with pytest.raises(RuntimeError, match="'a' was stepped already"):
        opt.step_one("a", np.ones(2))
    with pytest.raises(ValueError, match="must have the shape"):
        opt.step_one("layer.b", np.ones(3))
    with pytest.raises(RuntimeError, match=r"not stepped yet: layer\.b"):
        opt.end_step()
    assert (params["a"].tolist(), params["layer.b"].tolist(), opt.step_count) == ([-1, -1], [0, 0], 0)
    opt.step_one("layer.b", np.ones(2))
    opt.end_step()
    assert (params["layer.b"].tolist(), opt.step_count) == ([-1, -1], 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda opt: opt.step({"a": np.ones(2), "b": np.ones(2)}),
        lambda opt: opt.accumulate({"a": np.ones(2), "b": np.ones(2)}),
        lambda opt: opt.add_param_group({"params": {"c": np.ones(2)}}),
        lambda opt: opt.state_dict(),
        lambda opt: opt.load_state_dict({}),
        copy.deepcopy,
        lambda opt: opt.averaged().__enter__(),
    ],
    ids=["step", "accumulate", "add_param_group", "state_dict", "load_state_dict", "deepcopy", "averaged"],
)
def test_nothing_else_while_a_step_is_open(call):
    opt = gdfast.SGD({"a": np.zeros(2), "b": np.zeros(2)}, ema_decay=0.9)
    opt.step_one("a", np.ones(2))
    with pytest.raises(RuntimeError, match=r"a step in pieces is open \(arrays left: b\)"):
        call(opt)
    opt.step_one("b", np.ones(2))
    with pytest.raises(RuntimeError, match=r"arrays left: none\): first close it with end_step"):
        call(opt)
    opt.end_step()


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"nonfinite": "skip"}, {"nonfinite": "raise"}], ids=str)
def test_not_with_what_needs_all_gradients_first(options):
    opt = gdfast.SGD({"a": np.zeros(2)}, **options)
    with pytest.raises(RuntimeError, match=f"cannot go with {next(iter(options))}: it needs all gradients before"):
        opt.step_one("a", np.ones(2))
    opt.step({"a": np.ones(2)})


def test_not_with_micro_batches_nor_averages_in_place():
    opt = gdfast.SGD({"a": np.zeros(2)}, ema_decay=0.9)
    opt.accumulate({"a": np.ones(2)})
    with pytest.raises(RuntimeError, match="micro-batches that wait"):
        opt.step_one("a", np.ones(2))
    opt.step({"a": np.ones(2)})
    with opt.averaged(), pytest.raises(RuntimeError, match=r"first leave averaged\(\)"):
        opt.step_one("a", np.ones(2))


def test_a_bad_schedule_is_found_before_any_write():
    a = np.zeros(2)
    groups = [{"params": {"a": a}}, {"params": {"b": np.zeros(2)}, "lr": lambda step: -1.0}]
    opt = gdfast.SGD(groups, lr=1.0)
    with pytest.raises(ValueError, match="lr at step 0"):
        opt.step_one("a", np.ones(2))
    opt.param_groups[1]["lr"] = 1.0
    opt.step({"a": np.ones(2), "b": np.ones(2)})
    assert a.tolist() == [-1, -1]
