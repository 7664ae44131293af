"""`gdfast.torch` with what lies in fewer bits: state and parameters that others change, autocast, gradient scalers."""

import pytest
from torch_cases import TorchCase, torch
from torch_short import DTYPES, WAYS, optimizer_of, parameters, set_grads, train

import gdfast
import gdfast.torch

nn = torch.nn


def test_state_that_is_replaced_or_moved_is_taken_up():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params, state_dtype="8bit")
    train(opt, params, range(2))
    own = opt.state[params[0]]
    kept = {key: value.clone() for key, value in own.items()}
    others = [nn.Parameter(param.detach().clone()) for param in params]
    twin_opt = gdfast.torch.Adam(others, state_dtype="8bit")
    twin_opt.load_state_dict(opt.state_dict())
    own["exp_avg.scales"].data = kept["exp_avg.scales"].clone()
    own["remainder"] = kept["remainder"].t().contiguous().t()
    train(opt, params, range(2, 4))
    train(twin_opt, others, range(2, 4))
    assert all(map(torch.equal, params, others))
    params[0].data = params[0].detach().t().contiguous().t()  # in another order: the blocks are made anew
    train(opt, params, range(4, 5))
    assert own["exp_avg.codes"].stride() == params[0].stride()


@pytest.mark.parametrize("way", ["float16", "float32 master", "float16, 8bit"])
def test_a_float32_master_follows_its_parameter(way):
    """What is written by others counts, as without a master; elsewhere it keeps its bits."""
    case, dtype = TorchCase("sgd", "SGD", {"lr": 2.0**-13}), DTYPES[WAYS[way][0]]
    params, others = parameters(dtype), parameters(dtype)
    opt, other = optimizer_of(case, way, params), optimizer_of(case, way, others)
    for step in range(6):
        set_grads(params, step)
        set_grads(others, step)
        opt.step()
        other.step()
        with torch.no_grad():
            for param in params:  # writes, and changes nothing
                param.mul_(1.0)
        if step == 3:
            opt.load_state_dict(opt.state_dict())
    assert all(map(torch.equal, params, others))
    assert all(
        torch.equal(opt.state[p]["master"], other.state[q]["master"]) for p, q in zip(params, others, strict=True)
    )
    loaded = torch.arange(4200.0).reshape(70, 60).to(dtype)
    with torch.no_grad():
        params[0].copy_(loaded)
        params[4][3] = 100.0
    for param in params:
        param.grad = torch.zeros_like(param)
    opt.step()
    assert torch.equal(params[0], loaded)
    assert params[4][3] == 100.0
    assert torch.equal(params[4][4:], others[4][4:])


def test_a_mixed_model_under_autocast():
    """Normalisation in float32, weights in bfloat16."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64).bfloat16(), nn.LayerNorm(64), nn.Linear(64, 1))
    opt = gdfast.torch.AdamW(model.parameters(), lr=0.01, state_dtype="8bit", state_dtype_min_size=0)
    x = torch.randn(128, 8)
    losses = []
    for _ in range(60):
        opt.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert {param.grad.dtype for param in model.parameters()} == {torch.bfloat16, torch.float32}


def test_grad_scaler_of_a_float16_model():
    """PyTorch's scaler refuses to unscale float16; the step does it, exactly, and skips what is infinite."""
    params, plain = parameters(torch.float16), parameters(torch.float16)
    opt, other = gdfast.torch.Adam(params, lr=0.01, clip_norm=2.0), gdfast.torch.Adam(plain, lr=0.01, clip_norm=2.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for step in range(4):
        scaler.scale(torch.ones(1))
        set_grads(params, step)
        set_grads(plain, step)
        for param in params:
            param.grad *= 64.0
        if step == 2:
            params[0].grad[0, 0] = float("inf")
        else:
            other.step()
        scaler.step(opt, zero_grad=True)
        assert not any(param.grad.any() for param in params)
        assert opt.last_norm == other.last_norm
        scaler.update(64.0)
    assert opt.state[params[0]]["step"].item() == 3
    assert all(map(torch.equal, params, plain))
    assert not hasattr(opt, "grad_scale")
    set_grads(params, 5)
    params[0].grad[0, 0] = float("inf")
    before = params[1].detach().clone()
    scaler.scale(torch.ones(1))
    scaler.step(opt)
    assert torch.equal(before, params[1])


@pytest.mark.parametrize("master", ["split", "float32", None])
def test_a_model_that_is_converted_and_back_again(master):
    """As with a new optimizer that has the same averages: no master of before is left."""

    def forget(opt, params):
        for param in params:
            param.grad = None
            opt.state[param].pop("remainder", None)
            opt.state[param].pop("master", None)

    def run(forgets):
        params = parameters(torch.bfloat16)
        model, opt = nn.ParameterList(params), gdfast.torch.AdamW(params, lr=0.1, master=master)
        for step, dtype in enumerate((torch.bfloat16, torch.float32, torch.bfloat16)):
            forgets(params, opt)
            for param in params:
                param.grad = None
            model.to(dtype)
            assert params[0].dtype == dtype
            train(opt, params, [step])
            assert ("master" in opt.state[params[0]]) == (dtype == torch.bfloat16 and master == "float32")
            assert ("remainder" in opt.state[params[0]]) == (dtype == torch.bfloat16 and master == "split")
        return params

    assert all(map(torch.equal, run(lambda *_: None), run(lambda params, opt: forget(opt, params))))


def test_a_scaler_of_a_bfloat16_model_and_gradients_that_are_not_finite():
    """The scaler unscales these itself, and skips the step before the optimizer sees it."""
    params, others = parameters(torch.bfloat16), parameters(torch.bfloat16)
    opt, other = (gdfast.torch.AdamW(p, nonfinite="raise", clip_norm=2.0) for p in (params, others))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(3):
        scaler.scale(torch.ones(1))
        set_grads(params, step)
        set_grads(others, step)
        for param in params:
            param.grad *= scaler.get_scale()
        if step == 1:
            params[0].grad[0, 0] = float("inf")
        else:
            other.step()
        scaler.step(opt)
        scaler.update()
    assert scaler.get_scale() == 4.0
    assert all(map(torch.equal, params, others))


@pytest.mark.parametrize("options", [{}, {"clip_value": 1.0}], ids=["one call", "with options"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_parameters_that_are_pruned_stay_numbers(options, zero):
    """A zero that was written beside a remainder of less than nothing had the bits of NaN."""
    w = nn.Parameter(torch.linspace(-3.0, 3.0, 64).bfloat16())
    opt = gdfast.torch.SGD([w], lr=2.0**-12, master="split", **options)
    for step in range(4):
        w.grad = torch.linspace(0.1, 0.9, 64).bfloat16()
        if step == 2:
            assert (opt.state[w]["remainder"] < 0).any()
            with torch.no_grad():
                w[::2] = zero
        opt.step()
    assert torch.isfinite(w).all()
    assert (w[::2].abs() < 2.0**-10).all()
