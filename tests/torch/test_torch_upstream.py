"""PyTorch's own table of its optimizers' arguments and mistakes, over `gdfast.torch`: a new release tells by itself."""

import copy
import importlib
import sys
import types
import unittest
import warnings

import pytest
from torch_cases import CASES, torch

import gdfast.torch

THEIRS = {"LBFGS", "Adafactor", "Muon"}  # what gdfast.torch takes from PyTorch as it is
RTOL = {case.optimizer: case.rtol for case in CASES}


def table():
    """Return PyTorch's `optim_db`; its module wants `expecttest` for tests that are not used here."""
    sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the import
        return importlib.import_module("torch.testing._internal.common_optimizers").optim_db


TABLE = table()
OURS = [info for info in TABLE if info.name not in THEIRS]


def contiguous(dtype):
    return torch.randn(4, 3, dtype=dtype), torch.randn(3, dtype=dtype)


def with_gaps(dtype):
    return torch.randn(4, 3, 2, dtype=dtype)[..., 0], torch.randn(6, 3, dtype=dtype)[:, 1]


KINDS = {
    "plain": (contiguous, torch.float64),
    "float32": (contiguous, torch.float32),
    "with gaps": (with_gaps, torch.float64),
    "complex": (contiguous, torch.complex128),
    "complex with gaps": (with_gaps, torch.complex128),
}


SHORT = {
    "bfloat16": (contiguous, torch.bfloat16),
    "bfloat16 with gaps": (with_gaps, torch.bfloat16),
    "float16": (contiguous, torch.float16),
}


def inputs(kinds):
    for info in OURS:
        for kind, (_, dtype) in kinds.items():
            if info.only_supports_sparse_grads and kind in SHORT:  # steps rows
                continue
            if info.supports_complex or not dtype.is_complex:
                for given in info.optim_inputs_func("cpu", dtype):
                    yield pytest.param(info, kind, given, id=f"{info.name}-{kind}-{given.desc}")


def train(optimizer, info, kind, options, as_float=False):
    """Return what a few steps leave of parameters and state, with gradients of every layout that the class takes."""
    torch.manual_seed(1)
    make, dtype = (KINDS | SHORT)[kind]
    params = [torch.nn.Parameter(tensor.float() if as_float else tensor) for tensor in make(dtype)]
    opt = optimizer(params, **copy.deepcopy(options))
    for step in range(4):
        for param in params:
            grad = torch.randn(param.shape, dtype=dtype).to(param.dtype)
            sparse_dim = 1 if step % 2 else grad.ndim
            param.grad = grad.relu().to_sparse(sparse_dim) if info.only_supports_sparse_grads else grad
        opt.step()
        if step == 1:
            opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    return [p.detach() for p in params], [list(opt.state[p].items()) for p in params if opt.state[p]]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # PyTorch's own, in the making of sparse tensors
@pytest.mark.parametrize(("info", "kind", "given"), list(inputs(KINDS)))
def test_same_as_pytorch(info, kind, given):
    ours = train(getattr(gdfast.torch, info.name), info, kind, given.kwargs)
    options = given.kwargs if info.only_supports_sparse_grads else {"foreach": False, **given.kwargs}
    theirs = train(info.optim_cls, info, kind, options)
    in_float32 = kind == "float32" or any(isinstance(value, torch.Tensor) for value in given.kwargs.values())
    rtol = 2e-5 if in_float32 else max(RTOL.get(info.name, 0.0), 1e-10)
    torch.testing.assert_close(ours[0], theirs[0], rtol=rtol, atol=1e-7 if in_float32 else 1e-12)
    for mine, its in zip(ours[1], theirs[1], strict=True):
        assert [name for name, _ in mine] == [name for name, value in its if value is not None]
        for (name, value), (_, other) in zip(mine, its, strict=True):
            other = torch.as_tensor(other)
            assert value.stride() == other.stride(), name
            numbers = value.to(other.dtype) if value.ndim == 0 else value
            torch.testing.assert_close(numbers, other, rtol=max(rtol, 1e-6), atol=1e-7, check_dtype=value.ndim > 0)


@pytest.mark.parametrize(("info", "kind", "given"), list(inputs(SHORT)))
def test_with_a_master_the_same_as_pytorch_in_float32(info, kind, given):
    """The gradients are the same numbers; the result is rounded to the parameter's dtype."""
    ours = train(getattr(gdfast.torch, info.name), info, kind, given.kwargs)
    theirs = train(info.optim_cls, info, kind, {"foreach": False, **given.kwargs}, as_float=True)
    for mine, its in zip(ours[0], theirs[0], strict=True):
        unit = torch.finfo(mine.dtype).eps
        torch.testing.assert_close(mine.float(), its, rtol=0.51 * unit, atol=1e-6)
    for mine, its in zip(ours[1], theirs[1] or [[]] * len(ours[1]), strict=True):
        own = dict(mine)
        assert len(own.keys() & {"master", "remainder"}) == 1
        for name, other in its:
            if other is not None:
                values = own[name].to(torch.as_tensor(other).dtype)
                torch.testing.assert_close(values, torch.as_tensor(other), rtol=2e-5, atol=1e-6)


def errors():
    for info in OURS:
        for given in info.optim_error_inputs_func("cpu", torch.float32):
            yield pytest.param(info, given, id=f"{info.name}-{given.optimizer_error_input.desc}")


@pytest.mark.parametrize(("info", "given"), list(errors()))
def test_what_pytorch_refuses(info, given):
    assert given.error_on.name == "CONSTRUCTION_ERROR"
    wrong = given.optimizer_error_input
    params = [torch.nn.Parameter(torch.randn(2, 3))] if wrong.params is None else wrong.params
    expected = pytest.warns if issubclass(given.error_type, Warning) else pytest.raises
    with expected(given.error_type, match=given.error_regex):
        getattr(gdfast.torch, info.name)(params, **wrong.kwargs)


def test_every_optimizer_of_pytorch_is_here():
    assert {info.name for info in OURS} == set(gdfast.torch.optimizers.__all__)
    for info in TABLE:
        ours = getattr(gdfast.torch, info.name)
        assert (ours is info.optim_cls) == (info.name in THEIRS)
        assert issubclass(ours, info.optim_cls)
    others = set(torch.optim.__all__) - {info.name for info in TABLE} - {"Optimizer"}
    assert {"lr_scheduler", "swa_utils"} <= others
    assert all(getattr(gdfast.torch, name) is getattr(torch.optim, name) for name in others)


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_momentum_above_one(name):
    """A cyclic schedule may set it, and PyTorch takes it."""

    def run(optimizer):
        w = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        opt = optimizer([w], lr=0.01, momentum=1.0)
        schedule = torch.optim.lr_scheduler.CyclicLR(opt, 0.01, 0.02, 2, base_momentum=1.0, max_momentum=5.0)
        for _ in range(6):
            w.grad = w.detach().clone()
            opt.step()
            schedule.step()
        return w.detach()

    ours, theirs = run(getattr(gdfast.torch, name)), run(getattr(torch.optim, name))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0.0)


def test_dampening_may_be_any_number():
    for dampening in (-0.5, 1.5):
        found = []
        for module in (gdfast.torch, torch.optim):
            w = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
            opt = module.SGD([w], lr=0.1, momentum=0.5, dampening=dampening)
            for _ in range(3):
                w.grad = torch.ones_like(w)
                opt.step()
            found.append(w.detach())
        torch.testing.assert_close(*found, rtol=1e-14, atol=0.0)
