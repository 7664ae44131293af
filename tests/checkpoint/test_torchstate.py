"""State from PyTorch's optimizers and back: a run begun there goes on here with the same numbers, and the reverse."""

import builtins
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cases import CASES
from vectors.make_torch_vectors import gradient, start

import gdfast
from arrays import assert_same_bits, snapshot
from gdfast import schedules

IN_TORCH = [case for case in CASES if case.torch]
SHAPES = {"a": (12,), "b": (3, 4)}


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # else ASGD and NAdam keep numbers of their own in float32
    yield torch
    torch.set_default_dtype(usual)


def make_ours(case, values=None, **options):
    params = {name: start().reshape(shape) for name, shape in SHAPES.items()}
    for name, value in (values or {}).items():
        params[name][...] = value
    return params, case.make(params, **options)


def make_theirs(torch, case, values=None):
    params = [torch.nn.Parameter(torch.tensor(start().reshape(shape))) for shape in SHAPES.values()]
    for param, value in zip(params, (values or {}).values(), strict=False):
        param.data[...] = torch.tensor(value)
    return params, getattr(torch.optim, case.torch)(params, **case.options)


def step_ours(opt, step):
    opt.step({name: gradient(step + i).reshape(shape) for i, (name, shape) in enumerate(SHAPES.items())})


def step_theirs(torch, params, opt, step):
    for i, param in enumerate(params):
        param.grad = torch.tensor(gradient(step + i)).reshape(param.shape)
    opt.step()


def arrays_of(params):
    return {name: param.detach().numpy().copy() for name, param in zip(SHAPES, params, strict=True)}


def assert_close(ours, theirs):
    for name, value in arrays_of(theirs).items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("done", [0, 1, 5])
@pytest.mark.parametrize("case", IN_TORCH, ids=str)
def test_a_pytorch_run_resumes_in_gdfast(case, done, torch):
    theirs, torch_opt = make_theirs(torch, case)
    for step in range(done):
        step_theirs(torch, theirs, torch_opt, step)
    ours, opt = make_ours(case, arrays_of(theirs))
    gdfast.load_torch_state(opt, torch_opt.state_dict(), step_count=done if case.torch == "SGD" else None)
    assert opt.step_count == done
    for step in range(done, done + 6):
        step_theirs(torch, theirs, torch_opt, step)
        step_ours(opt, step)
    assert_close(ours, theirs)


@pytest.mark.parametrize("done", [0, 1, 5])
@pytest.mark.parametrize("case", IN_TORCH, ids=str)
def test_a_gdfast_run_resumes_in_pytorch(case, done, torch):
    ours, opt = make_ours(case)
    for step in range(done):
        step_ours(opt, step)
    theirs, torch_opt = make_theirs(torch, case, ours)
    torch_opt.load_state_dict(gdfast.torch_state(opt))
    for step in range(done, done + 6):
        step_theirs(torch, theirs, torch_opt, step)
        step_ours(opt, step)
    assert_close(ours, theirs)


@pytest.mark.parametrize("case", IN_TORCH, ids=str)
def test_round_trip_through_pytorch_changes_no_bit(case, torch):
    ours, opt = make_ours(case, ema_decay=0.9)
    for step in range(3):
        step_ours(opt, step)
    twins, twin = make_ours(case, ours)
    gdfast.load_torch_state(twin, gdfast.torch_state(opt), step_count=3)
    for step in range(3, 6):
        step_ours(opt, step)
        step_ours(twin, step)
    assert_same_bits(ours, twins)
    assert [dict(group)["lr"] for group in twin.param_groups] == [dict(group)["lr"] for group in opt.param_groups]


def test_what_pytorch_wrote_is_what_we_write(torch):
    case = next(case for case in CASES if case.name == "amsgrad")
    theirs, torch_opt = make_theirs(torch, case)
    step_theirs(torch, theirs, torch_opt, 0)
    _, opt = make_ours(case)
    saved = torch_opt.state_dict()
    gdfast.load_torch_state(opt, saved)
    again = gdfast.torch_state(opt)
    assert again["param_groups"] == saved["param_groups"]
    assert again["state"].keys() == saved["state"].keys()
    for position, state in saved["state"].items():
        assert {key: value.tolist() for key, value in again["state"][position].items()} == {
            key: value.tolist() for key, value in state.items()
        }


def test_groups_that_joined_later(torch):
    theirs, ours = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)], [np.ones(2), np.ones(2)]
    torch_opt = torch.optim.Adam([theirs[0]], lr=0.1)
    theirs[0].grad = theirs[1].grad = torch.full((2,), 0.5)
    torch_opt.step()
    torch_opt.add_param_group({"params": [theirs[1]], "lr": 0.01})
    ours[0][:] = theirs[0].detach().numpy()
    opt = gdfast.Adam([{"params": ours[0]}, {"params": ours[1]}])
    gdfast.load_torch_state(opt, torch_opt.state_dict())
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.01]
    assert list(gdfast.torch_state(opt)["state"]) == [0]
    for _ in range(3):
        torch_opt.step()
        opt.step([np.full(2, 0.5), np.full(2, 0.5)])
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its.detach().numpy(), rtol=1e-12)


def test_schedules_and_what_pytorch_lacks_stay():
    lr = schedules.Cosine(0.1, total_steps=10)
    opt = gdfast.Adam({"w": np.zeros(2)}, lr=lr, l1=0.5, ema_decay=0.5, clip_norm=3.0)
    opt.accumulate({"w": np.ones(2)})
    gdfast.load_torch_state(opt, adam_state(lr=0.7))
    assert opt.param_groups[0]["lr"] == lr
    assert (opt.param_groups[0]["l1"], opt.guard.clip_norm, opt.accumulation.count) == (0.5, 3.0, 0)
    assert opt.ema["w"].tolist() == [0, 0]
    assert opt.state["w"]["exp_avg"].tolist() == [0.5, 0]


def test_sgd_takes_a_step_count():
    saved = {"state": {0: {"momentum_buffer": np.ones(1)}}, "param_groups": [{"momentum": 0.9, "params": [0]}]}
    opt = gdfast.SGD(np.zeros(1), momentum=0.5)
    gdfast.load_torch_state(opt, saved)
    assert (opt.step_count, opt.param_groups[0]["momentum"]) == (1, 0.9)
    gdfast.load_torch_state(opt, saved, step_count=7)
    assert opt.step_count == 7
    with pytest.raises(ValueError, match="step_count must be at least 1 or omitted; got 0"):
        gdfast.load_torch_state(opt, saved, step_count=0)
    fresh = gdfast.SGD([np.zeros(1)], momentum=0.9)
    gdfast.load_torch_state(fresh, {**saved, "state": {}}, step_count=4)
    assert (fresh.step_count, fresh.param_groups[0].start_step) == (4, 4)


def adam_state(state=None, **group):
    arrays = {"step": 3, "exp_avg": np.array([0.5, 0.0]), "exp_avg_sq": np.array([0.25, 0.0])}
    hyper = {
        "lr": 0.1,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "amsgrad": False,
        "fused": None,
        "params": [0],
    }
    return {"state": {0: {**arrays, **(state or {})}}, "param_groups": [{**hyper, **group}]}


REFUSED = {
    "kind": (3, TypeError, r"state_dict must be what a PyTorch optimizer's state_dict\(\) returns"),
    "keys": ({"state": {}}, TypeError, "state_dict must be what"),
    "groups": ({"state": {}, "param_groups": []}, ValueError, "state_dict must have 1 param_groups"),
    "states": ({**adam_state(), "state": []}, ValueError, "and a dict of states"),
    "group": ({"state": {}, "param_groups": [3]}, ValueError, r"\[0\] must have 1 params; got None"),
    "params": (adam_state(params=[0, 1]), ValueError, r"must have 1 params; got \[0, 1\]"),
    "state": ({**adam_state(), "state": {0: 3}}, ValueError, "the state of w must be a dict; got int"),
    "decay": (adam_state(decoupled_weight_decay=True), ValueError, "decoupled_weight_decay must be False; got True"),
    "unknown": (adam_state(nesterov=True), ValueError, r"has nesterov=True, which Adam does not have"),
    "flag": (adam_state(amsgrad=True), ValueError, "amsgrad is settled"),
    "range": (adam_state(lr=-1.0), ValueError, "lr must be in"),
    "shape": (adam_state({"exp_avg": np.zeros(3)}), ValueError, r"must have shape \(2,\); got \(3,\)"),
    "dtype": (adam_state({"exp_avg": np.zeros(2, "f4")}), ValueError, "must have dtype float64; got float32"),
    "lacking": (adam_state({"exp_avg": None}), ValueError, 'lacks "exp_avg"'),
    "more": (adam_state({"max_exp_avg_sq": np.zeros(2)}), ValueError, 'has "max_exp_avg_sq", which this'),
    "count": (adam_state({"step": 2.5}), ValueError, "step of w must be a whole number; got 2.5"),
    "no count": (adam_state({"step": "x"}), ValueError, "step of w must be a whole number; got 'x'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named_and_changes_nothing(name):
    saved, error, message = REFUSED[name]
    param = np.ones(2)
    opt = gdfast.Adam({"w": param})
    opt.step({"w": np.ones(2)})
    before = snapshot(opt, param)
    with pytest.raises(error, match=message):
        gdfast.load_torch_state(opt, saved)
    assert snapshot(opt, param) == before
    gdfast.load_torch_state(opt, adam_state())


def test_arrays_of_a_group_are_stepped_together():
    saved = adam_state(params=[0, 1])
    saved["state"][1] = {**saved["state"][0], "step": 4}
    opt = gdfast.Adam([np.zeros(2), np.zeros(2)])
    with pytest.raises(ValueError, match=r"arrays of param_groups\[0\] must have the same step.* got 0 3, 1 4"):
        gdfast.load_torch_state(opt, saved)
    del saved["state"][1]
    with pytest.raises(ValueError, match="got 0 3, 1 0"):
        gdfast.load_torch_state(opt, saved)


def test_a_group_may_be_empty():
    opt = gdfast.Adam([{"params": np.zeros(2)}, {"params": []}])
    saved = adam_state()
    saved["param_groups"].append({"lr": 0.5, "params": []})
    gdfast.load_torch_state(opt, saved)
    assert (opt.step_count, opt.param_groups[1]["lr"]) == (3, 0.5)


def test_step_count_must_agree():
    with pytest.raises(ValueError, match="step_count must be 3, as in the state, or omitted; got 4"):
        gdfast.load_torch_state(gdfast.Adam(np.zeros(2)), adam_state(), step_count=4)


@pytest.fixture
def like_torch(monkeypatch):
    """What `torch_state` calls of PyTorch, where it need not be installed."""
    names = ("foreach", "lr", "betas", "momentum", "nesterov", "weight_decay")

    def namesake(params):
        return SimpleNamespace(defaults=dict.fromkeys(names))

    stand_in = SimpleNamespace(
        tensor=lambda value, dtype=float: np.array(value, dtype),
        from_numpy=lambda array: array,
        zeros=np.zeros,
        float64=np.float64,
        optim=SimpleNamespace(SGD=namesake, Adam=namesake, ASGD=namesake, Adagrad=namesake),
    )
    monkeypatch.setitem(sys.modules, "torch", stand_in)


def test_the_form_of_the_state(like_torch):
    opt = gdfast.SGD([{"params": np.ones(2)}, {"params": {"late": np.ones(1)}}], momentum=0.5)
    opt.step([np.ones(2), {"late": np.ones(1)}])
    opt.add_param_group({"params": {"latest": np.ones(1)}, "lr": 0.5})
    found = gdfast.torch_state(opt)
    assert found["state"].keys() == {0, 1}
    assert found["state"][0]["momentum_buffer"].tolist() == [1, 1]
    assert [(group["lr"], group["foreach"], group["params"]) for group in found["param_groups"]] == [
        (1e-3, None, [0]),
        (1e-3, None, [1]),
        (0.5, None, [2]),
    ]
    assert gdfast.torch_state(gdfast.SGD(np.ones(2)))["state"] == {}


def test_only_what_pytorch_has(like_torch):
    with pytest.raises(ValueError, match=r"eps_hat.* l1 must be off: PyTorch.s Adam does not have it"):
        gdfast.torch_state(gdfast.Adam(np.zeros(2), l1=0.1, eps_hat=True))
    with pytest.raises(TypeError, match="opt must be a gdfast optimizer; got int"):
        gdfast.torch_state(3)

    class Own(gdfast.Adam):
        """A rule of the user's."""

    with pytest.raises(TypeError, match=r"opt must be of a class that PyTorch has too: SGD, .*; got Own"):
        gdfast.load_torch_state(Own(np.zeros(2)), adam_state())


class Tensor:
    """What a tensor does that NumPy cannot hold, such as one of bfloat16."""

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_bfloat16_is_refused():
    saved = adam_state({"exp_avg": Tensor()})
    with pytest.raises(ValueError, match="the state of w must be arrays of float32 or float64"):
        gdfast.load_torch_state(gdfast.Adam({"w": np.zeros(2)}), saved)


def test_without_pytorch(monkeypatch):
    usual = builtins.__import__

    def missing(name, *rest, **more):
        if name == "torch":
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"gdfast\.torch_state needs PyTorch: pip install torch"):
        gdfast.torch_state(gdfast.Adam(np.zeros(2)))


def test_every_common_class_is_in_the_table():
    from gdfast.checkpoint.torch_state import NUMBERS

    assert {case.torch for case in IN_TORCH} == set(NUMBERS)
