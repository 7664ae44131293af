"""`gdfast.torch` with what lies in fewer bits: checkpoints and copies, PyTorch's and those of other formats."""

import copy
import pickle

import pytest
from torch_cases import TorchCase, torch
from torch_short import DTYPES, EACH_WAY, WAYS, array_of, optimizer_of, parameters, saved, set_grads, train

import gdfast
import gdfast.torch
from arrays import assert_same_bits

nn = torch.nn


@EACH_WAY
@pytest.mark.parametrize("name", ["AdamW", "Lion", "ASGD", "NAdam", "SGD", "Adagrad"])
def test_a_resumed_run_goes_on_bit_for_bit(name, way):
    case = TorchCase(name.lower(), name, {"momentum": 0.9} if name == "SGD" else {})
    dtype = DTYPES[WAYS[way][0]]
    params = parameters(dtype)
    opt = optimizer_of(case, way, params)
    if opt is None:
        return
    train(opt, params, range(5))
    others = [nn.Parameter(param.detach().clone()) for param in params]
    resumed = optimizer_of(case, way, others, seed=99)
    train(resumed, [nn.Parameter(param.detach().clone()) for param in params], range(1))
    resumed.load_state_dict(saved(opt))
    both = copy.deepcopy({"opt": opt, "params": params})
    opened = pickle.loads(pickle.dumps({"opt": opt, "params": params}))
    train(opt, params, range(5, 9))
    for other, theirs in ((resumed, others), (both["opt"], both["params"]), (opened["opt"], opened["params"])):
        train(other, theirs, range(5, 9))
        assert_same_bits([array_of(param) for param in theirs], [array_of(param) for param in params])
        for param, mine in zip(theirs, params, strict=True):
            own, expected = other.state[param], opt.state[mine]
            assert {key: value.dtype for key, value in own.items()} == {k: v.dtype for k, v in expected.items()}
            assert all(torch.equal(own[key], expected[key]) for key in expected)


def test_random_bits_do_not_depend_on_who_has_a_gradient():
    """A run that is resumed where a parameter has no gradient goes on bit for bit."""

    def run(interrupted):
        params = parameters(torch.bfloat16)
        opt = gdfast.torch.AdamW(params, lr=0.1, master=None, state_dtype="8bit")
        train(opt, params, range(3))
        if interrupted:
            state = saved(opt)
            opt = gdfast.torch.AdamW(params, lr=0.1, master=None, state_dtype="8bit")
            opt.load_state_dict(state)
        params[0].grad = params[2].grad = None
        opt.step()
        train(opt, params, range(4, 7))
        return [array_of(param) for param in params]

    assert_same_bits(run(True), run(False))


def test_state_of_pytorch_loads_and_ours_loads_there():
    mine, its = parameters(torch.bfloat16), parameters(torch.bfloat16)
    other = torch.optim.AdamW(its, lr=0.01)
    train(other, its, range(4))
    for state_dtype in ("float32", "bfloat16", "8bit"):
        opt = gdfast.torch.AdamW(
            [{"params": mine[:2], "state_dtype": state_dtype}, {"params": mine[2:]}], state_dtype="bfloat16"
        )
        theirs = torch.optim.AdamW([{"params": its[:2]}, {"params": its[2:]}], lr=0.01)
        theirs.load_state_dict(regrouped(other.state_dict()))
        opt.load_state_dict(theirs.state_dict())
        assert opt.param_groups[0]["state_dtype"] == state_dtype
        set_grads(mine, 4)
        opt.step()
        own = opt.state[mine[0]]
        assert own["step"].item() == 5
        assert {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(state_dtype) == getattr(
            own.get("exp_avg"), "dtype", None
        )
        back = torch.optim.AdamW([{"params": its[:2]}, {"params": its[2:]}], lr=0.01)
        back.load_state_dict(opt.state_dict())
        set_grads(its, 5)
        if state_dtype == "8bit":  # whose codes are not numbers
            with pytest.raises(KeyError, match="exp_avg"):
                back.step()
        else:
            back.step()
            assert back.state[its[0]]["exp_avg"].dtype == torch.bfloat16


def regrouped(state_dict):
    """Return a checkpoint of one group as one of two."""
    (group,) = state_dict["param_groups"]
    groups = [{**group, "params": group["params"][:2]}, {**group, "params": group["params"][2:]}]
    return {"state": state_dict["state"], "param_groups": groups}


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_state_is_converted_to_what_the_optimizer_keeps(name):
    """Within what each format holds."""
    params = parameters(DTYPES[name])
    first = gdfast.torch.Adam(params, state_dtype="8bit", state_dtype_min_size=0)
    train(first, params, range(4))
    state = first.state_dict()
    exact = {}
    for form in ("float32", "bfloat16", "8bit", "float32"):
        opt = gdfast.torch.Adam(params, lr=0.0, state_dtype=form, state_dtype_min_size=0)
        opt.load_state_dict(state)
        for param in params:
            param.grad = torch.zeros_like(param)
        opt.param_groups[0]["betas"] = (1 - 1e-7, 1 - 1e-7)
        opt.step()
        own = opt.state[params[0]]
        if form == "float32":
            exact = exact or {key: own[key].clone() for key in ("exp_avg", "exp_avg_sq")}
            for key, values in exact.items():
                torch.testing.assert_close(own[key], values, rtol=0.3, atol=0.01)
        assert ("exp_avg.codes" in own) == (form == "8bit") != ("exp_avg" in own)
        state = opt.state_dict()


def test_a_seed_that_no_optimizer_has_is_not_loaded():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params, seed=5)
    state = opt.state_dict()
    assert state["gdfast"] == {"seed": 5}
    state["gdfast"]["seed"] = -1
    state["param_groups"][0]["lr"] = 7.0
    with pytest.raises(ValueError, match="seed must be in"):
        opt.load_state_dict(state)
    for wrong in (5, {}):
        with pytest.raises(ValueError, match=r'state_dict\["gdfast"\] must be a dict with the "seed"; got'):
            opt.load_state_dict({**state, "gdfast": wrong})
    assert opt.param_groups[0]["lr"] == 1e-3
    assert "gdfast" not in gdfast.torch.Adam([nn.Parameter(torch.ones(1))]).state_dict()


@pytest.mark.parametrize("way", ["split", "float32 master", "stochastic", "float16"])
def test_averages_are_resumed_bit_for_bit(way):
    case = TorchCase("adamw", "AdamW")
    params = parameters(DTYPES[WAYS[way][0]])
    opt = optimizer_of(case, way, params, ema_decay=0.5)
    train(opt, params, range(3))
    others = [nn.Parameter(param.detach().clone()) for param in params]
    resumed = optimizer_of(case, way, others, ema_decay=0.5)
    resumed.load_state_dict(saved(opt))
    both = copy.deepcopy({"opt": opt, "params": params})
    train(opt, params, range(3, 5))
    for other, theirs in ((resumed, others), (both["opt"], both["params"])):
        train(other, theirs, range(3, 5))
        for param, mine in zip(theirs, params, strict=True):
            assert torch.equal(param, mine)
            assert torch.equal(other.state[param]["ema"], opt.state[mine]["ema"])


def test_groups_of_other_dtypes_are_added_and_copied():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.AdamW(params, ema_decay=0.5)
    for dtype in (torch.float32, torch.float64, torch.float16):
        params += [nn.Parameter(torch.ones(5, dtype=dtype))]
        opt.add_param_group({"params": params[-1:], "lr": 0.5})
        train(opt, params, range(2))
    opened, copied = pickle.loads(pickle.dumps((opt, params))), copy.deepcopy((opt, params))
    for other, theirs in ((opt, params), opened, copied):
        train(other, theirs, range(2, 4))
        for mine, param in zip(params, theirs, strict=True):
            assert torch.equal(param, mine)
            assert all(torch.equal(opt.state[mine][name], value) for name, value in other.state[param].items())
    assert [opt.state[param]["ema"].dtype for param in params[-3:]] == [torch.float32, torch.float64, torch.float32]


@pytest.mark.parametrize(
    ("saved_by", "loaded_by"),
    [
        ("split", "float32"),
        ("split", None),
        ("float32", "split"),
        ("float32", None),
        (None, "split"),
        (None, "float32"),
    ],
)
def test_a_checkpoint_of_another_master(saved_by, loaded_by):
    """One without masters loads, and they begin at the parameters; one with another is refused, and nothing written."""
    params = parameters(torch.bfloat16)
    first = gdfast.torch.AdamW(params, master=saved_by)
    train(first, params, range(2))
    opt = gdfast.torch.AdamW(params, lr=0.0, weight_decay=0.0, master=loaded_by)
    opt.load_state_dict(first.state_dict())
    before = [param.detach().clone() for param in params]
    if saved_by is None:
        opt.param_groups[0]["lr"] = 0.0
        train(opt, params, range(2, 3))
        assert ("remainder" if loaded_by == "split" else "master") in opt.state[params[0]]
    else:
        with pytest.raises(ValueError, match=f"is that of master='{saved_by}'; this optimizer has {loaded_by!r}"):
            train(opt, params, range(2, 3))
    assert all(map(torch.equal, params, before))
