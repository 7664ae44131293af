"""`step_in_backward`: the bits of an ordinary step, gradients that are freed, and what is refused."""

import copy
import gc
import pickle
import re
import weakref
from pathlib import Path

import pytest
from torch_cases import EACH, torch

import gdfast.torch
from gdfast.torch import step_in_backward

nn = torch.nn


class Net(nn.Module):
    """With a matrix that is used twice, and parameters that do not always have a gradient."""

    def __init__(self, dtype):
        super().__init__()
        torch.manual_seed(0)
        self.tied = nn.Linear(70, 70, bias=False, dtype=dtype)
        self.norm = nn.LayerNorm(70, dtype=dtype)
        self.sometimes = nn.Linear(70, 70, dtype=dtype)
        self.frozen = nn.Linear(70, 70, dtype=dtype).requires_grad_(False)

    def forward(self, x, whole=True):
        x = self.norm(torch.tanh(self.tied(self.tied(x))))
        return self.frozen(self.sometimes(x) if whole else x)


def loss_of(model, step, whole=None):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(16, 70, generator=generator).to(next(model.parameters()).dtype)
    return (model(x, step % 3 != 1 if whole is None else whole) ** 2).mean()


def train(model, opt, schedule, steps):
    for step in steps:
        opt.zero_grad()
        loss_of(model, step).backward()
        opt.step()
        schedule.step()


def groups_of(model):
    return [
        {"params": [*model.norm.parameters(), *model.frozen.parameters()], "lr": 0.05},
        {"params": [*model.sometimes.parameters(), *model.tied.parameters()]},
    ]


def same(mine, theirs):
    assert all(map(torch.equal, mine.parameters(), theirs.parameters()))


def same_state(opt, model, other, its):
    for param, twin in zip(model.parameters(), its.parameters(), strict=True):
        own, expected = opt.state.get(param, {}), other.state.get(twin, {})
        assert list(own) == list(expected)
        assert all(torch.equal(own[name], expected[name]) for name in own)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_bits_as_an_ordinary_step(case, dtype):
    mine, its = Net(dtype), Net(dtype)
    more = {} if case.optimizer in ("ASGD", "Rprop") else {"state_dtype": "8bit"}
    more |= {"ema_decay": 0.9} if dtype == torch.float32 else {"master": None, "seed": 4}
    opt, other = case.ours(groups_of(mine), **more), case.ours(groups_of(its), **more)
    schedules = [torch.optim.lr_scheduler.StepLR(each, 2, 0.5) for each in (opt, other)]
    train(mine, opt, schedules[0], range(2))  # the handle takes over state, and gives it back
    train(its, other, schedules[1], range(2))
    opt.zero_grad()
    with step_in_backward(mine, opt):
        train(mine, opt, schedules[0], range(2, 8))
        assert all(param.grad is None for param in mine.parameters())
    train(its, other, schedules[1], range(2, 8))
    same(mine, its)
    same_state(opt, mine, other, its)
    train(mine, opt, schedules[0], range(8, 10))
    train(its, other, schedules[1], range(8, 10))
    same(mine, its)
    same_state(opt, mine, other, its)


def test_a_checkpoint_is_loaded_and_saved_between_steps():
    mine, its = Net(torch.bfloat16), Net(torch.bfloat16)
    opt, other = (gdfast.torch.NAdam(net.parameters(), master=None, seed=9) for net in (mine, its))
    schedules = [torch.optim.lr_scheduler.StepLR(each, 100) for each in (opt, other)]
    train(its, other, schedules[1], range(4))
    with step_in_backward(mine, opt):
        train(mine, opt, schedules[0], range(2))
        opt.load_state_dict(other.state_dict())
        mine.load_state_dict(its.state_dict())
        train(mine, opt, schedules[0], range(4, 6))
        train(its, other, schedules[1], range(4, 6))
        same(mine, its)
        other.load_state_dict(opt.state_dict())
        both = copy.deepcopy((mine, opt)), pickle.loads(pickle.dumps((mine, opt)))
        for net, copied in both:
            train(net, copied, torch.optim.lr_scheduler.StepLR(copied, 100), range(6, 7))
        train(mine, opt, schedules[0], range(6, 7))
        for net, _ in both:
            same(net, mine)
        opt.state.clear()
        train(mine, opt, schedules[0], range(7, 8))
        assert opt.state[mine.tied.weight]["step"].item() == 1


def test_state_that_is_cleared_begins_anew():
    w = nn.Linear(2, 1, bias=False)
    opt = gdfast.torch.SGD(w.parameters(), lr=1.0)
    with step_in_backward(w, opt):
        for _ in range(2):
            w(torch.ones(1, 2)).sum().backward()
            opt.step()
    assert not opt.state


def test_gradients_by_hand_and_groups_that_join():
    model, extra = Net(torch.float32), nn.Parameter(torch.ones(3))
    opt = gdfast.torch.SGD(model.parameters(), lr=1.0)
    with step_in_backward(model, opt):
        opt.add_param_group({"params": [extra], "lr": 0.5})
        before = model.frozen.bias.detach().clone()
        loss_of(model, 0).backward()
        model.frozen.bias.grad, extra.grad = torch.ones(70), torch.ones(3)
        opt.step(zero_grad=True)
        assert torch.equal(model.frozen.bias, before - 1)
        assert not extra.grad.any()
        assert extra.tolist() == [0.5] * 3
        extra.grad = torch.ones(3)
        opt.step()
        assert extra.tolist() == [0.0] * 3


def test_a_closure_and_hooks():
    model, calls = Net(torch.float32), []
    opt = gdfast.torch.SGD(model.parameters(), lr=0.1)
    opt.register_step_post_hook(lambda *_: calls.append(1))
    before = model.tied.weight.detach().clone()

    def closure():
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    with step_in_backward(model, opt):
        assert opt.step(closure).item() > 0
    assert calls == [1]
    assert not torch.equal(before, model.tied.weight)


def test_a_parameter_is_updated_once_a_step():
    model = Net(torch.float32)
    opt = gdfast.torch.SGD(model.parameters(), lr=0.1)
    with step_in_backward(model, opt):
        loss_of(model, 0).backward()
        before = [param.detach().clone() for param in model.parameters()]
        with pytest.raises(RuntimeError, match=r'\["params"\]\[\d\] got a gradient again, after it was updated'):
            loss_of(model, 1).backward()
        assert all(map(torch.equal, model.parameters(), before))
        with pytest.raises(RuntimeError, match="got a gradient again"):
            opt.step()
        opt.zero_grad()
        opt.step()
        loss_of(model, 1).backward()
        opt.step()
        assert not torch.equal(before[0], model.tied.weight)


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ArithmeticError("a fault of the user's")


def test_an_error_in_the_backward_pass():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    opt = gdfast.torch.Adam(model.parameters(), lr=0.1)
    with step_in_backward(model, opt):
        with pytest.raises(ArithmeticError, match="a fault"):
            model[1](Fails.apply(model[0](torch.ones(2, 3)))).sum().backward()
        assert set(opt.state) == set(model[1].parameters())
        opt.zero_grad()
        opt.step()
        model(torch.ones(2, 3)).sum().backward()
        opt.step()
    assert [opt.state[param]["step"].item() for param in model.parameters()] == [1, 1, 2, 2]


def test_a_parameter_that_cannot_be_stepped():
    model = nn.Linear(3, 3)
    opt = gdfast.torch.Adam(model.parameters(), lr=0.1)
    with step_in_backward(model, opt):
        opt.param_groups[0]["lr"] = -1.0
        with pytest.raises(ValueError, match="lr must be in"):
            model(torch.ones(2, 3)).sum().backward()
        assert not opt.state
        opt.param_groups[0]["lr"] = 0.1
        opt.zero_grad()
        opt.step()
        model(torch.ones(2, 3)).sum().backward()
    assert len(opt.state) == 2


def test_a_backward_pass_while_the_parameters_are_their_averages():
    model = nn.Linear(3, 3)
    opt = gdfast.torch.SGD(model.parameters(), lr=0.1, ema_decay=0.5)
    with step_in_backward(model, opt):
        model(torch.ones(2, 3)).sum().backward()
        opt.step()
        with opt.averaged(), pytest.raises(RuntimeError, match="one at a time"):
            model(torch.ones(2, 3)).sum().backward()


def test_clipping_and_averages_that_are_set_later():
    pairs = []
    for in_backward in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(3, 3)
        opt = gdfast.torch.SGD(model.parameters(), lr=0.1, ema_decay=0.5)
        handle = step_in_backward(model, opt) if in_backward else None
        for step in range(4):
            if step == 1:
                opt.guard = type(opt.guard)(None, 0.25, "propagate")
            if step == 2:
                opt.averaging = type(opt.averaging)(0.875, 0)
            opt.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            opt.step()
        pairs.append([value for p in model.parameters() for value in (p.detach(), opt.state[p]["ema"])])
        if handle is not None:
            opt.guard = type(opt.guard)(1.0, None, "propagate")
            with pytest.raises(ValueError, match="clip_norm cannot go with step_in_backward"):
                model(torch.ones(2, 3)).sum().backward()
    for mine, ordinary in zip(*pairs, strict=True):
        assert torch.equal(mine, ordinary)


def test_a_scaler_of_gradients_comes_too_late():
    model = nn.Linear(3, 3).half()
    opt = gdfast.torch.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with step_in_backward(model, opt):
        scaler.scale(model(torch.ones(2, 3).half()).sum()).backward()
        with pytest.raises(RuntimeError, match="cannot go with GradScaler"):
            scaler.step(opt)
        opt.step()


def distributed(model):
    parallel = object.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(parallel)
    parallel.module = model
    return parallel


def with_gradient(model):
    model.bias.grad = torch.ones(2)
    return model


WRONG = {
    "the model": (lambda model: (model.parameters(), gdfast.torch.SGD(model.parameters())), TypeError, "model must be"),
    "the optimizer": (
        lambda model: (model, torch.optim.SGD(model.parameters())),
        TypeError,
        r"opt must be an optimizer of gdfast\.torch; got torch\.optim\.sgd\.SGD",
    ),
    "clip_norm": (
        lambda model: (model, gdfast.torch.SGD(model.parameters(), clip_norm=1.0)),
        ValueError,
        "clip_norm cannot go with step_in_backward: it needs all gradients",
    ),
    "nonfinite": (
        lambda model: (model, gdfast.torch.SGD(model.parameters(), nonfinite="skip")),
        ValueError,
        "nonfinite cannot go with step_in_backward",
    ),
    "parallel": (
        lambda model: (distributed(model), gdfast.torch.SGD(model.parameters())),
        TypeError,
        "cannot go with DTensors or DistributedDataParallel",
    ),
    "another model": (
        lambda model: (model, gdfast.torch.SGD([model.weight, nn.Parameter(torch.ones(1))])),
        ValueError,
        r'it lacks param_groups\[0\]\["params"\]\[1\]',
    ),
    "a gradient": (
        lambda model: (with_gradient(model), gdfast.torch.SGD(model.parameters())),
        ValueError,
        r'\["params"\]\[1\] must have no gradient yet',
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_refused(kind):
    make, error, match = WRONG[kind]
    with pytest.raises(error, match=match):
        step_in_backward(*make(nn.Linear(3, 2)))


def test_one_handle_at_a_time():
    model = nn.Linear(3, 2)
    opt = gdfast.torch.SGD(model.parameters(), lr=0.1)
    handle = step_in_backward(model, opt)
    with pytest.raises(ValueError, match=r"first remove\(\) the hooks"):
        step_in_backward(model, opt)
    handle.remove()
    second = step_in_backward(model, opt)
    handle.remove()  # again, which changes nothing
    model(torch.ones(1, 3)).sum().backward()
    assert model.bias.grad is None
    second.remove()
    model(torch.ones(1, 3)).sum().backward()
    assert model.bias.grad is not None


def test_nothing_is_kept_alive():
    model = nn.Linear(3, 2)
    opt = gdfast.torch.SGD(model.parameters(), lr=0.1)
    step_in_backward(model, opt)
    model(torch.ones(1, 3)).sum().backward()
    gone = weakref.ref(opt)
    del opt
    gc.collect()
    assert gone() is None
    model(torch.ones(1, 3)).sum().backward()
    assert model.bias.grad is not None


def test_the_example_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "fewer-bytes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python torch\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "fewer-bytes.md", "exec"), {})
