"""`gdfast.torch` with what lies in fewer bits: what is refused before anything is written."""

import pytest
from torch_cases import torch
from torch_short import parameters, set_grads, train

import gdfast
import gdfast.torch

nn = torch.nn
WRONG = {
    "a rule without short state": (
        "Rprop",
        {"state_dtype": "8bit"},
        ValueError,
        "state_dtype must be 'float32' for Rprop",
    ),
    "a name": ("Adam", {"state_dtype": {"sum": "8bit"}}, ValueError, "state_dtype names 'sum'; Adam has exp_avg"),
    "a format": ("Adam", {"state_dtype": "4bit"}, ValueError, "state_dtype must be one of"),
    "a master": ("Adam", {"master": True}, ValueError, "master must be one of"),
    "a rounding": ("Adam", {"rounding": "up"}, ValueError, "rounding must be one of"),
    "a seed": ("Adam", {"seed": -1}, ValueError, r"seed must be in \[0, 4294967296\); got -1"),
    "a size": ("Adam", {"state_dtype_min_size": 0.5}, TypeError, "state_dtype_min_size must be an int; got 0.5"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_refused_by_the_constructor(kind):
    name, options, error, match = WRONG[kind]
    with pytest.raises(error, match=match):
        getattr(gdfast.torch, name)(parameters(torch.bfloat16), **options)


def test_a_group_of_its_own():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params[1:])
    with pytest.raises(ValueError, match="state_dtype must be one of"):
        opt.add_param_group({"params": params[:1], "state_dtype": "none"})
    opt.add_param_group({"params": params[:1], "state_dtype": {"exp_avg": "8bit"}})
    train(opt, params, range(2))
    assert list(opt.state[params[0]]) == ["step", "exp_avg.codes", "exp_avg.scales", "exp_avg_sq", "remainder"]
    opt.param_groups[1]["state_dtype"] = "float32"
    train(opt, params, range(2, 3))
    assert set(opt.state[params[0]]) == {"step", "exp_avg", "exp_avg_sq", "remainder"}


REFUSED = {
    "split": ("Adam", torch.float16, {"master": "split"}, ValueError, "master='split' is for bfloat16"),
    "rounding": ("Adam", torch.float16, {"master": None}, ValueError, "rounding must be 'nearest' for"),
    "float64": ("Adam", torch.float64, {"state_dtype": "8bit"}, TypeError, "whose dtype is float64"),
    "complex": ("Adam", torch.complex64, {"state_dtype": "8bit"}, TypeError, "which is complex; got torch.complex64"),
    "rows": (
        "SparseAdam",
        torch.bfloat16,
        {},
        TypeError,
        "must be float32 or float64 for SparseAdam, which steps rows",
    ),
    "state of rows": (
        "SparseAdam",
        torch.float32,
        {"state_dtype": "8bit"},
        TypeError,
        "must be float32 or float64 for",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_step_refuses_before_it_writes(kind):
    name, dtype, options, error, match = REFUSED[kind]
    first, w = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(70, 70, dtype=dtype))
    opt = getattr(gdfast.torch, name)([first, w], **options)
    first.grad, w.grad = torch.ones(3), torch.ones(70, 70, dtype=dtype)
    if name == "SparseAdam":
        first.grad, w.grad = first.grad.to_sparse(), w.grad.to_sparse()
    with pytest.raises(error, match=match):
        opt.step()
    assert first.tolist() == [1.0] * 3


def damaged(own, how):
    if how == "another master":
        own["master"] = torch.ones(70, 60)
    elif how == "remainder":
        own["remainder"] = own["remainder"].float()
    elif how == "no scales":
        del own["exp_avg.scales"]
    elif how == "scales":
        own["exp_avg.scales"] = own["exp_avg.scales"][1:]
    elif how == "scales with gaps":
        own["exp_avg.scales"] = torch.stack([own["exp_avg.scales"]] * 2, 1)[:, 0]
    elif how == "codes":
        own["exp_avg.codes"] = own["exp_avg.codes"].int()
    elif how == "codes with gaps":
        own["exp_avg.codes"] = torch.stack([own["exp_avg.codes"]] * 2, 2)[..., 0]
    else:
        own["exp_avg_sq"] = torch.ones(70, 60, dtype=torch.int64)


DAMAGED = {
    "another master": "is that of master='float32'; this optimizer has 'split'",
    "remainder": 'state "remainder" of .* must be a tensor like it, torch.int16',
    "no scales": 'state "exp_avg.scales" of .* got None',
    "scales": r'state "exp_avg.scales" of .* shape \(33,\)',
    "scales with gaps": "must lie in one block of memory",
    "codes": 'state "exp_avg.codes" of .* must be a tensor like it, torch.uint8',
    "codes with gaps": "must lie in one block of memory",
    "integers": 'state "exp_avg_sq" of .* must be a tensor like it, torch.float32',
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_state(how):
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params, state_dtype={"exp_avg": "8bit"})
    train(opt, params, range(2))
    before = [param.detach().clone() for param in params]
    damaged(opt.state[params[0]], how)
    with pytest.raises(ValueError, match=DAMAGED[how]):
        opt.step()
    assert all(map(torch.equal, params, before))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite(bad):
    params = parameters(torch.bfloat16)
    before = [param.detach().clone() for param in params]
    set_grads(params, 0)
    params[2].grad[3] = bad
    skip = gdfast.torch.Adam(params, nonfinite="skip", master=None)
    skip.step()
    assert skip.skipped_steps == 1
    with pytest.raises(FloatingPointError, match=r'\["params"\]\[2\]\.grad \(.*1'):
        gdfast.torch.Adam(params, nonfinite="raise").step()
    assert all(map(torch.equal, params, before))


def test_a_model_that_is_converted_to_float64_needs_state_like_it():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.AdamW(params)
    train(opt, params, range(2))
    nn.ParameterList(params).to(torch.float64)
    before = [param.detach().clone() for param in params]
    with pytest.raises(ValueError, match=r'state "exp_avg" of .* must be a tensor like it, torch.float64'):
        train(opt, params, range(2, 3))
    assert all(map(torch.equal, params, before))
