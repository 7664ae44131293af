"""Groups: each steps as an optimizer of its own would."""

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import assert_same_bits, plain


def grads_of(params, rng):
    return [plain(rng, param.size, param.dtype) for param in params]


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_groups_equal_separate_optimizers(case, engine):
    rng = np.random.default_rng(0)
    params = [plain(rng, size, np.float32) for size in (3, 200, 17)]
    alone = [param.copy() for param in params]
    other = {"lr": 0.3, "weight_decay": 0.01}
    groups = [{"params": params[:2]}, {"params": {"last": params[2]}, **other}]
    opt = case.make(groups, engine=engine)
    first, second = case.make(alone[:2], engine=engine), case.make({"last": alone[2]}, engine=engine, **other)
    for _ in range(20):
        grads = grads_of(params, rng)
        opt.step([grads[:2], {"last": grads[2]}])
        first.step(grads[:2])
        second.step({"last": grads[2]})
    assert_same_bits(params, alone)
    assert_same_bits(opt.state, {**first.state, **second.state})


def test_names_go_on_counting():
    a, b, c, d = (np.zeros(1) for _ in range(4))
    opt = gdfast.SGD([{"params": [a, b]}, {"params": {"x": c}}, {"params": d}])
    assert list(opt.state) == ["0", "1", "x", "3"]
    nested = gdfast.SGD([{"params": [[a], [b, c]]}, {"params": [d]}])
    assert list(nested.state) == ["0.0", "1.0", "1.1", "3"]


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_added_group_equals_a_new_optimizer(case, engine):
    """Its bias corrections and first steps count from when it joined."""
    rng = np.random.default_rng(0)
    params = [plain(rng, size, np.float64) for size in (5, 9)]
    alone = [param.copy() for param in params]
    opt, first, second = case.make(params[0], engine=engine), case.make(alone[0], engine=engine), None
    for step in range(10):
        grads = grads_of(params, rng)
        if step == 4:
            opt.add_param_group({"params": params[1], "lr": 0.2})
            second = case.make(alone[1], engine=engine, lr=0.2)
        opt.step(grads if second else grads[0])
        first.step(grads[0])
        if second:
            second.step(grads[1])
    assert_same_bits(params, alone)


def test_bad_added_group_changes_nothing():
    param = np.zeros(3)
    opt = gdfast.Adam(param)
    for group, error, message in [
        ({"params": param}, ValueError, r'params and params\[1\]\["params"\] must not share memory'),
        ({"params": np.zeros(3, int)}, TypeError, "must be float32"),
        ({"params": np.zeros(3), "lr": -1}, ValueError, "lr must be in"),
        ({"params": np.zeros(3), "beta": 1}, TypeError, "did you mean 'betas'"),
        (np.zeros(3), TypeError, 'group must be a dict with "params"; got ndarray'),
    ]:
        with pytest.raises(error, match=message):
            opt.add_param_group(group)
    opt.step(np.ones(3))
    assert len(opt.param_groups) == 1
    assert list(opt.state) == ["0"]


def network():
    return {"body": {"W": np.ones((2, 2)), "b": np.ones(2)}, "head": {"W": np.ones((2, 1)), "b": np.ones(1)}}


def settings(parts):
    return {name: {k: v for k, v in part.items() if k != "params"} for part in parts for name in part["params"]}


def test_groups_by_pattern_and_predicate():
    lr = gdfast.schedules.ReduceOnPlateau(0.5)
    params = network()
    parts = gdfast.groups(params, no_decay=[lambda name, array: array.ndim < 2, "head.b"], lr={"head.*": lr}, eps=1e-6)
    assert settings(parts) == {
        "body.W": {"eps": 1e-6},
        "body.b": {"eps": 1e-6, "weight_decay": 0.0},
        "head.W": {"eps": 1e-6, "lr": lr},
        "head.b": {"eps": 1e-6, "lr": lr, "weight_decay": 0.0},
    }
    assert len(parts) == 4
    opt = gdfast.AdamW(parts)
    assert opt.param_groups[0]["params"][0] is params["body"]["W"]
    assert settings(gdfast.groups(params)) == {name: {} for name in opt.state}
    assert len(gdfast.groups(params)) == 1


def test_groups_step_on_gradients_in_the_structure_of_the_parameters():
    params, alone = network(), network()
    opt = gdfast.SGD(gdfast.groups(params, lr={"head.*": 0.5, "body.*": 0.25}))
    grads = network()
    opt.step(grads)
    for name, lr in (("body", 0.25), ("head", 0.5)):
        gdfast.SGD(alone[name], lr=lr).step(grads[name])
        assert_same_bits(params[name], alone[name])
    del grads["head"]["b"]
    with pytest.raises(ValueError, match=r"names of the parameters; missing: head\.b, unexpected: none"):
        opt.step(grads)
    with pytest.raises(ValueError, match=r"missing: none, unexpected: x"):
        opt.step({**network(), "x": np.ones(1)})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": {"tail.*": 0.1}}, ValueError, r"lr: 'tail\.\*' matches none of body\.W, body\.b, head\.W, head\.b"),
        ({"no_decay": lambda name, array: False}, ValueError, "weight_decay: the predicate <lambda> matches none"),
        (
            {"lr": {"head.*": 0.1, "*.W": 0.2}},
            ValueError,
            r"lr: head\.W is given both 0\.1 and 0\.2; '\*\.W' is not the",
        ),
        ({"lr": {3: 0.1}}, TypeError, "a selector must be a pattern or a predicate .*; got 3"),
    ],
)
def test_bad_selectors_are_named(options, error, message):
    with pytest.raises(error, match=message):
        gdfast.groups(network(), **options)


def test_grads_of_groups_must_be_a_list():
    opt = gdfast.SGD([{"params": np.zeros(1)}, {"params": np.zeros(1)}])
    with pytest.raises(
        ValueError, match="grads must be a list with the gradients of each of the 2 groups; got list of 1"
    ):
        opt.step([np.ones(1)])
    with pytest.raises(ValueError, match="each of the 2 groups; got ndarray"):
        opt.step(np.ones(1))
    with pytest.raises(ValueError, match=r"grads\[1\] must have the shape"):
        opt.step([np.ones(1), np.ones(2)])
