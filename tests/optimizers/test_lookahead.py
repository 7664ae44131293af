"""Lookahead around any optimizer: optax's numbers, the same bits everywhere, pieces, groups, and its state."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS
from vectors.make_optax_vectors import FILE
from vectors.make_torch_vectors import CHECKPOINTS, gradient, start

import gdfast
from arrays import SIZES, assert_same_bits, hostile, plain

ENGINES = ["native", "numpy"]
VECTORS = np.load(FILE)


@pytest.mark.parametrize("engine", ENGINES)
def test_same_numbers_as_optax(engine):
    param = start()
    opt = gdfast.Lookahead(gdfast.Adam(param, lr=0.01, engine=engine), k=3, alpha=0.3)
    for step in range(max(CHECKPOINTS)):
        opt.step(gradient(step))
        if step + 1 in CHECKPOINTS:
            for which, actual in (("fast", param), ("slow", opt.slow[0]["0"])):
                np.testing.assert_allclose(actual, VECTORS[f"lookahead/{step + 1}/{which}"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES[::5], ids=str)
def test_native_is_the_reference(case, dtype, use_level, many_cpus):
    rng = np.random.default_rng(0)
    params = [(hostile if i % 3 == 2 else plain)(rng, size, dtype) for i, size in enumerate(SIZES)]
    grads = [[plain(rng, size, dtype) for size in SIZES] for _ in range(13)]
    expected = [param.copy() for param in params]
    reference = gdfast.Lookahead(case.make(expected, engine="numpy"), k=4)
    for row in grads:
        reference.step(row)
    for level in LEVELS:
        use_level(level)
        for n_threads in (1, 3):
            actual = [param.copy() for param in params]
            opt = gdfast.Lookahead(case.make(actual), k=4)
            many_cpus(opt.optimizer, n_threads)
            many_cpus(opt._slow, n_threads)
            for row in grads:
                opt.step(row)
            assert_same_bits(actual, expected)
            assert_same_bits(opt.state, reference.state)
            assert_same_bits(opt.slow, reference.slow)


def make(**options):
    params = {"a": np.arange(4.0), "b": [np.ones((2, 2))]}
    return params, gdfast.Lookahead(gdfast.Adam(params, lr=0.1, **options), k=3)


def grads_of(params, step):
    return {"a": np.sin(params["a"] + step), "b": [np.cos(params["b"][0])]}


def test_in_pieces_as_in_one():
    whole, opt = make()
    parts, other = make()
    for step in range(7):
        opt.step(grads_of(whole, step))
        grads = grads_of(parts, step)
        other.step_one("b.0", grads["b"][0])
        other.step_one("a", grads["a"])
        other.end_step()
        assert_same_bits(whole, parts)
    assert_same_bits(opt.slow, other.slow)
    assert opt.step_count == other.step_count == 7


def test_a_skipped_step_is_not_counted():
    params, opt = make(nonfinite="skip")
    for step in range(2):
        opt.step(grads_of(params, step))
    before = params["a"].copy()
    opt.step({"a": np.full(4, np.nan), "b": [np.ones((2, 2))]})
    assert_same_bits(params["a"], before)
    assert not np.array_equal(opt.slow[0]["a"], params["a"])
    opt.step(grads_of(params, 2))
    assert_same_bits(opt.slow[0]["a"], params["a"])


def test_bound_gradients_are_zeroed_before_the_synchronization():
    w, grad = np.ones(3), np.ones(3)
    opt = gdfast.Lookahead(gdfast.SGD(w, lr=1.0, grads=grad), k=1)
    opt.step(zero_grad=True)
    assert w.tolist() == [0.5] * 3
    assert grad.tolist() == [0.0] * 3


@pytest.mark.parametrize("way", ["state_dict", "file", "deepcopy", "pickle"])
def test_goes_on_bit_for_bit(way, tmp_path):
    params, opt = make()
    for step in range(4):
        opt.step(grads_of(params, step))
    if way == "state_dict":
        again = copy.deepcopy(params)
        resumed = gdfast.Lookahead(gdfast.Adam(again, engine="numpy"), k=2)
        resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    elif way == "file":
        gdfast.save(tmp_path / "saved", opt)
        again, resumed = make()
        gdfast.load(tmp_path / "saved", resumed)
    else:
        resumed = copy.deepcopy(opt) if way == "deepcopy" else pickle.loads(pickle.dumps(opt))
        group = resumed.param_groups[0]["params"]
        again = {"a": group[0], "b": [group[1]]}
    for step in range(4, 9):
        opt.step(grads_of(params, step))
        resumed.step(grads_of(again, step))
    assert_same_bits(params, again)
    assert_same_bits(opt.slow, resumed.slow)
    assert resumed.k == 3


BROKEN = {
    "optimizer": (lambda d: d["optimizer"]["state"].pop("a"), 'state lacks "a"'),
    "slow": (lambda d: d["slow"]["state"].pop("a"), 'state lacks "a"'),
    "k": (lambda d: d.update(k=0), "k must be at least 1; got 0"),
    "met": (lambda d: d.update(met_at=-1), "met_at must be at least 0; got -1"),
    "keys": (lambda d: d.pop("slow"), "state_dict lacks slow; it must be that of a Lookahead"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_fit_changes_nothing(name):
    change, message = BROKEN[name]
    params, opt = make()
    for step in range(4):
        opt.step(grads_of(params, step))
    saved = opt.state_dict()
    other = copy.deepcopy(saved)
    for arrays in (*other["optimizer"]["state"].values(), *other["slow"]["state"].values()):
        for array in arrays.values():
            array += 1
    change(other)
    with pytest.raises(ValueError, match=message):
        opt.load_state_dict(other)
    assert_same_bits(opt.state_dict()["optimizer"]["state"], saved["optimizer"]["state"])
    assert_same_bits(opt.state_dict()["slow"]["state"], saved["slow"]["state"])
    with pytest.raises(TypeError, match="state_dict must be a dict; got int"):
        opt.load_state_dict(3)


def test_slow_parameters_live_where_the_state_does(tmp_path):
    w = np.arange(4.0)
    opt = gdfast.Lookahead(gdfast.Adam({"w": w}, lr=0.5, state_dir=tmp_path), k=1, alpha=1.0)
    opt.step({"w": np.ones(4)})
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["w.exp_avg.npy", "w.exp_avg_sq.npy", "w.slow.npy"]
    assert_same_bits(np.load(tmp_path / "w.slow.npy"), w)


def test_groups_and_learning_rate():
    first, second = np.zeros(2), np.full(2, 8.0)
    opt = gdfast.Lookahead(gdfast.SGD([{"params": first}], lr=1.0), k=2)
    opt.add_param_group({"params": second, "lr": 2.0})
    for _ in range(2):
        opt.step([np.ones(2), np.ones(2)])
    assert first.tolist() == [-1.0] * 2
    assert second.tolist() == [6.0] * 2
    opt.lr = 0.5
    assert opt.lr == 0.5
    assert [group["lr"] for group in opt.param_groups] == [0.5, 0.5]
    assert repr(opt).startswith("Lookahead(SGD(2 arrays, step_count=2")
    assert repr(opt).endswith("k=2, alpha=0.5)")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be at least 1; got 0"),
        ({"k": 2.0}, TypeError, "k must be an int; got 2.0"),
        ({"alpha": 1.5}, ValueError, r"alpha must be in \[0, 1\]; got 1.5"),
        ({"alpha": abs}, TypeError, r"alpha must be a number in \[0, 1\]; got"),
        ({"optimizer": np.zeros(3)}, TypeError, "optimizer must be an optimizer of gdfast; got ndarray"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        gdfast.Lookahead(**{"optimizer": gdfast.SGD(np.zeros(3)), **arguments})


def test_errors_name_the_lookahead():
    """What holds the slow parameters is not for users to know."""
    opt = gdfast.Lookahead(gdfast.SGD(np.zeros(3)))
    state = opt.state_dict()
    assert state["slow"]["optimizer"] == "Lookahead"
    with pytest.raises(ValueError, match="optimizer must be Lookahead; got 'SGD'"):
        opt.load_state_dict({**state, "slow": state["optimizer"]})
    with pytest.raises(ValueError, match="alpha is settled when Lookahead is made"):
        opt._slow.param_groups[0]["alpha"] = 0.1
    with opt._slow._stepping, pytest.raises(RuntimeError, match="another thread is stepping this Lookahead"):
        opt.state_dict()
    with pytest.raises(TypeError, match="float32 or float64 for Lookahead; got float16"):
        gdfast.Lookahead(gdfast.SGD(np.zeros(3, np.float16)))


class Torn:
    """What a lock says that a fork left behind."""

    is_torn = staticmethod(lambda: True)
    mending = staticmethod(lambda: nullcontext(True))


def test_a_load_that_fails_after_a_fork_keeps_what_it_could_load(monkeypatch):
    """There is no state to go back to in slow parameters that may be half updated."""
    opt, other = (gdfast.Lookahead(gdfast.SGD(np.full(2, 3.0)), k=2) for _ in range(2))
    other.step(np.ones(2))
    other.step(np.ones(2))
    good = other.state_dict()
    monkeypatch.setattr(opt._slow, "_stepping", Torn)
    with pytest.raises(ValueError, match="step_count"):
        opt.load_state_dict({**good, "optimizer": {**good["optimizer"], "step_count": -1}})
    monkeypatch.undo()
    assert np.array_equal(opt.slow[0]["0"], other.slow[0]["0"])
    assert opt.step_count == 0
