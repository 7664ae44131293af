"""`gdfast.torch` with what lies in fewer bits: the bits of the NumPy optimizers, in parameters, state and averages."""

import subprocess
import sys

import pytest
from torch_cases import CASES, TorchCase, torch
from torch_short import DTYPES, EACH_WAY, WAYS, array_of, optimizer_of, parameters, same_state, set_grads, train, twin

import gdfast
import gdfast.torch
from arrays import assert_same_bits
from gdfast.torch import extra_optimizers

nn = torch.nn
EXTRAS = [TorchCase(name.lower(), name, {"lr": 0.01}) for name in extra_optimizers.__all__]


@EACH_WAY
@pytest.mark.parametrize("case", CASES + EXTRAS, ids=str)
def test_the_bits_are_those_of_gdfast(case, way):
    params = parameters(DTYPES[WAYS[way][0]])
    opt = optimizer_of(case, way, params)
    if opt is None:
        return
    arrays = [array_of(param) for param in params]
    reference = twin(opt, arrays, way)
    for step in range(8):
        reference.step(set_grads(params, step))
        opt.step()
    assert_same_bits([array_of(param) for param in params], arrays)
    same_state(opt, params, reference)


@pytest.mark.parametrize("way", ["split", "stochastic", "float16", "float32, 8bit", "float32 master"])
def test_gradients_of_every_dtype(way):
    """And all of one step in one pass: clipping, the norm, zeroing."""
    params = parameters(DTYPES[WAYS[way][0]])
    case = TorchCase("adamw", "AdamW", {"weight_decay": 0.1})
    opt = optimizer_of(case, way, params, clip_norm=3.0, clip_value=0.1, nonfinite="raise")
    arrays = [array_of(param) for param in params]
    reference = twin(opt, arrays, way, clip_norm=3.0, clip_value=0.1, nonfinite="raise")
    for step, name in enumerate(["float32", "bfloat16", "float16", "bfloat16", "float32", "float16"]):
        reference.step(set_grads(params, step, DTYPES[name]))
        opt.step(zero_grad=step % 2 == 0)
        assert opt.last_norm == reference.last_norm
        assert all(not param.grad.any() for param in params) == (step % 2 == 0)
    assert_same_bits([array_of(param) for param in params], arrays)


@EACH_WAY
def test_layouts_and_gaps(way):
    """A parameter in another order of dimensions, one with gaps in memory, and gradients that lie otherwise."""
    dtype = DTYPES[WAYS[way][0]]
    case = TorchCase("adam", "Adam")

    def made(turn):
        torch.manual_seed(0)
        tensors = torch.randn(40, 30).to(dtype), torch.randn(50, 2).to(dtype)[:, 0]
        params = [nn.Parameter(turn(tensor)) for tensor in tensors]
        opt = optimizer_of(case, way, params)
        for step in range(4):
            for param, grad in zip(params, (torch.randn(40, 30), torch.randn(50)), strict=True):
                grad = grad.to(dtype)
                param.grad = grad.t().contiguous().t() if step % 2 and grad.ndim == 2 else grad
            opt.step()
        return params

    for mine, dense in zip(made(lambda tensor: tensor), made(torch.clone), strict=True):
        assert torch.equal(mine, dense)
    if "8bit" not in way and "stochastic" not in way and way != "float32, bfloat16":
        turned = made(lambda tensor: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor)
        assert all(map(torch.equal, turned, made(torch.clone)))


def test_sparse_gradients_are_made_dense():
    dense, sparse = (nn.Parameter(torch.ones(90, 50).bfloat16()) for _ in range(2))
    for param in (dense, sparse):
        opt = gdfast.torch.SGD([param], lr=0.125)
        grad = torch.zeros(90, 50).bfloat16()
        grad[::7] = 0.5
        param.grad = grad if param is dense else grad.to_sparse(1)
        opt.step()
    assert torch.equal(dense, sparse)
    w = nn.Parameter(torch.ones(4, 2))
    w.grad_dtype = torch.bfloat16
    w.grad = torch.eye(4, 2).bfloat16().to_sparse(1)
    gdfast.torch.SGD([w], lr=1.0).step()
    assert torch.equal(w.detach(), torch.ones(4, 2) - torch.eye(4, 2))


def test_without_ml_dtypes():
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import torch, gdfast.torch\n"
        "w = torch.nn.Parameter(torch.ones(100, 90, dtype=torch.bfloat16))\n"
        "opt = gdfast.torch.AdamW([w], clip_norm=1.0, state_dtype='8bit')\n"
        "for _ in range(3):\n"
        "    w.grad = torch.full_like(w, 0.5)\n"
        "    opt.step()\n"
        "assert w.max() < 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@EACH_WAY
@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion", "Adagrad"])
def test_the_averages_are_those_of_gdfast(name, way):
    case = TorchCase(name.lower(), name, {"lr": 0.01})
    params = parameters(DTYPES[WAYS[way][0]])
    opt = optimizer_of(case, way, params, ema_decay=0.75)
    if opt is None:
        return
    arrays = [array_of(param) for param in params]
    reference = twin(opt, arrays, way, ema_decay=0.75)
    for step in range(6):
        reference.step(set_grads(params, step))
        opt.step()
    assert_same_bits([array_of(param) for param in params], arrays)
    same_state(opt, params, reference)
    assert all(opt.state[param]["ema"].dtype == torch.float32 for param in params)
    before = [param.detach().clone() for param in params]
    averages = [opt.state[param]["ema"].clone() for param in params]
    with opt.averaged(), reference.averaged():
        assert_same_bits([array_of(param) for param in params], arrays)
        assert all(torch.equal(p, a.to(p.dtype)) for p, a in zip(params, averages, strict=True))
    assert all(map(torch.equal, params, before))
    assert all(torch.equal(opt.state[param]["ema"], average) for param, average in zip(params, averages, strict=True))
    reference.step(set_grads(params, 7))
    opt.step()
    assert_same_bits([array_of(param) for param in params], arrays)
    same_state(opt, params, reference)


def test_averaged_parameters_come_back_after_an_error_and_with_gaps_in_memory():
    param = nn.Parameter(torch.ones(30, 2).bfloat16()[:, 0])
    opt = gdfast.torch.SGD([param], lr=0.3, ema_decay=0.5)
    train(opt, [param], range(3))
    before, average = param.detach().clone(), opt.state[param]["ema"].clone()

    def fails():
        with opt.averaged():
            assert torch.equal(param, average.bfloat16())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.equal(param, before)
    assert torch.equal(opt.state[param]["ema"], average)
