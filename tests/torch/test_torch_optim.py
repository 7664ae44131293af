"""`gdfast.torch` beside `torch.optim`: constructors, groups, schedulers, hooks, closures; the same numbers."""

import importlib
import inspect
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torch_cases import CASES, EACH, close, parameters, run, set_grads, states, torch

import gdfast
import gdfast.torch
from arrays import assert_same_bits
from gdfast.torch import extra_optimizers
from gdfast.torch.optimizer import EXTRAS

schedulers = torch.optim.lr_scheduler
optimizer_module = importlib.import_module("torch.optim.optimizer")


@EACH
def test_same_numbers_and_state_as_pytorch(case):
    mine, its = parameters(), parameters()
    opt, other = case.ours(mine), case.theirs(its)
    for steps in (range(1), range(1, 5), range(5, 30)):
        run(opt, mine, steps)
        run(other, its, steps)
        close(mine, its, case)
        close(states(opt), states(other), case)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_bits_are_those_of_gdfast(case, dtype):
    mine = parameters(dtype)
    arrays = [p.detach().numpy().copy() for p in mine]
    rule = getattr(gdfast.torch, case.optimizer).rule
    opt = case.ours(mine)
    group = opt.param_groups[0]
    owner = rule.owner_of(group)
    options = {name: group[name] for name in inspect.signature(owner).parameters if name in group and name != "params"}
    reference = owner(arrays, maximize=group["maximize"], **options)
    for step in range(20):
        set_grads(mine, step)
        reference.step([p.grad.numpy() for p in mine])
        opt.step()
    for param, array in zip(mine, arrays, strict=True):
        assert_same_bits(param.detach().numpy(), array)


@EACH
def test_the_constructor_is_that_of_pytorch(case):
    ours, theirs = getattr(gdfast.torch, case.optimizer), getattr(torch.optim, case.optimizer)
    assert issubclass(ours, theirs)
    mine, its = (list(inspect.signature(c).parameters.values()) for c in (ours, theirs))
    assert mine[: len(its)] == its
    assert [p.name for p in mine[len(its) :]] == list(EXTRAS)
    assert ours(parameters()).defaults == theirs(parameters()).defaults


@pytest.mark.parametrize("name", extra_optimizers.__all__)
def test_what_pytorch_lacks(name):
    owner, ours = getattr(gdfast, name), getattr(gdfast.torch, name)
    mine = parameters()
    arrays = [p.detach().numpy().copy() for p in mine]
    opt, reference = ours(mine, 0.01, weight_decay=0.1, l1=0.01), owner(arrays, 0.01, weight_decay=0.1, l1=0.01)
    for step in range(10):
        set_grads(mine, step)
        reference.step([p.grad.numpy() for p in mine])
        opt.step()
        if step == 4:
            saved = opt.state_dict()
            opt = ours(mine)
            opt.load_state_dict(saved)
    for param, array in zip(mine, arrays, strict=True):
        np.testing.assert_array_equal(param.detach().numpy(), array)
    with pytest.raises(TypeError, match="unexpected keyword argument 'foreach'"):
        ours(mine, foreach=True)


def test_a_subclass_of_a_user():
    class Mine(gdfast.torch.SGD):
        def __init__(self, params, factor):
            super().__init__(params, lr=2 * factor)

    w = torch.nn.Parameter(torch.ones(1))
    opt = Mine([w], 0.25)
    w.grad = torch.ones(1)
    opt.step()
    assert w.item() == 0.5
    assert list(inspect.signature(Mine).parameters) == ["params", "factor"]


WRONG = [
    ("Adam", {"lr": -1.0}, ValueError, "Invalid learning rate"),
    ("Adam", {"lr": float("inf")}, ValueError, r"lr must be in \[0, inf\); got inf"),
    ("Adam", {"lr": float("nan")}, ValueError, "Invalid learning rate"),
    ("Adam", {"betas": (1.0, 0.9)}, ValueError, "Invalid beta parameter"),
    ("Adam", {"betas": (0.9, 0.9, 0.9)}, TypeError, "betas must be a pair"),
    ("Adam", {"lr": torch.ones(2)}, ValueError, "Tensor lr must be 1-element"),
    ("Adam", {"differentiable": True}, ValueError, "differentiable must be False"),
    ("Adam", {"foreach": True, "fused": True}, RuntimeError, "cannot be `True` together"),
    ("Adam", {"momentum": 0.9}, TypeError, "momentum"),
    ("SGD", {"momentum": float("inf")}, ValueError, r"momentum must be in \[0, inf\); got inf"),
    ("SGD", {"nesterov": True}, ValueError, "Nesterov momentum requires"),
    ("SGD", {"weight_decay": -0.5}, ValueError, "Invalid weight_decay"),
    ("Rprop", {"etas": (1.0, 0.5)}, ValueError, "Invalid eta"),
    ("NAdam", {"momentum_decay": -0.2}, ValueError, "Invalid momentum_decay"),
    ("Adagrad", {"initial_accumulator_value": -1}, ValueError, "Invalid initial_accumulator_value"),
    ("SGD", {"clip_norm": -1.0}, ValueError, "clip_norm must be"),
    ("SGD", {"clip_norm": lambda step: 1.0}, TypeError, "clip_norm must be a number"),
    ("SGD", {"ema_decay": "average"}, TypeError, "ema_decay must be a number"),
    ("SGD", {"nonfinite": "ignore"}, ValueError, "nonfinite must be one of"),
    ("SGD", {"n_threads": 0}, ValueError, "n_threads must not be 0"),
    ("Lion", {"differentiable": True}, TypeError, "differentiable"),
]


@pytest.mark.parametrize(("name", "options", "error", "match"), WRONG)
def test_wrong_arguments(name, options, error, match):
    with pytest.raises(error, match=match):
        getattr(gdfast.torch, name)(parameters(), **options)


def test_without_pytorch(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gdfast.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"gdfast\.torch needs PyTorch"):
        importlib.import_module("gdfast.torch")


def test_gdfast_does_not_import_pytorch():
    code = "import sys, gdfast; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_wrong_params():
    w = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="iterable of Tensors"):
        gdfast.torch.SGD(w)
    with pytest.raises(ValueError, match="empty parameter list"):
        gdfast.torch.SGD([])
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        gdfast.torch.SGD([1])
    with pytest.raises(ValueError, match="non-leaf"):
        gdfast.torch.SGD([w * 2])
    with pytest.raises(ValueError, match="more than one parameter group"):
        gdfast.torch.SGD([{"params": [w]}, {"params": [w]}])


def test_a_hyperparameter_set_later_is_checked_before_anything_is_written():
    w = torch.nn.Parameter(torch.ones(2))
    opt = gdfast.torch.SGD([w], lr=0.5)
    w.grad = torch.ones(2)
    for value, error, match in (
        (-1.0, ValueError, r"lr must be in \[0, inf\); got -1.0"),
        (lambda step: 0.1, TypeError, "lr_scheduler.LambdaLR"),
        (torch.ones(2), ValueError, r"tensor of one element; got shape \(2,\)"),
    ):
        opt.param_groups[0]["lr"] = value
        with pytest.raises(error, match=match) as caught:
            opt.step()
        assert caught.value.__notes__ == ["in param_groups[0]"]
    assert w.tolist() == [1.0, 1.0]
    opt.param_groups[0]["lr"] = 0.5
    opt.step()
    assert w.tolist() == [0.5, 0.5]


@EACH
def test_groups(case):
    def make(optimizer, params):
        opt = optimizer([{"params": params[:2]}, {"params": params[2], "lr": 0.001}])
        assert opt.param_groups[1]["lr"] == 0.001
        run(opt, params, range(3))
        opt.param_groups[0]["lr"] = 0.03
        run(opt, params, range(3, 6))
        opt.add_param_group({"params": params[3:]})
        run(opt, params, range(6, 12))
        return opt

    mine, its = parameters(), parameters()
    # PyTorch's ASGD takes a new rate one step later, so there it stays what it is
    if case.optimizer == "ASGD":
        opt, other = case.ours([{"params": mine[:2]}, {"params": mine[2:]}]), case.theirs(its)
        run(opt, mine, range(6))
        run(other, its, range(6))
    else:
        make(case.ours, mine)
        make(case.theirs, its)
    close(mine, its, case)


@EACH
def test_tensors_as_hyperparameters(case):
    mine, its = parameters(), parameters()
    lr = torch.tensor(0.01)
    opt, other = case.ours(mine, lr=lr), case.theirs(its, lr=0.01)
    run(opt, mine, range(3))
    run(other, its, range(3))
    if case.optimizer != "ASGD":
        lr.fill_(0.02)
        other.param_groups[0]["lr"] = 0.02
        run(opt, mine, range(3, 6))
        run(other, its, range(3, 6))
    torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)


def test_betas_as_tensors_and_lists():
    mine, its = parameters(), parameters()
    opt, other = gdfast.torch.Adam(mine), torch.optim.Adam(its, betas=(0.5, 0.75))
    opt.param_groups[0]["betas"] = [torch.tensor(0.5), torch.tensor(0.75)]
    run(opt, mine, range(5))
    run(other, its, range(5))
    torch.testing.assert_close(mine, its)


@EACH
def test_zero_learning_rate_changes_no_parameter(case):
    mine = parameters()
    before = [p.detach().clone() for p in mine]
    run(case.ours(mine, lr=0.0), mine, range(3))
    if case.optimizer != "Rprop":  # whose steps lr only starts
        assert all(map(torch.equal, mine, before))


@EACH
def test_closure(case):
    w = torch.nn.Parameter(torch.ones(3))
    opt = case.ours([w])

    def closure():
        assert torch.is_grad_enabled()
        opt.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert opt.step(closure).item() == 3.0
    assert opt.step() is None
    assert not torch.equal(w.detach(), torch.ones(3))


SCHEDULERS = {
    "LambdaLR": partial(schedulers.LambdaLR, lr_lambda=lambda epoch: 0.9**epoch),
    "LambdaLR_gdfast": partial(schedulers.LambdaLR, lr_lambda=gdfast.schedules.Cosine(1.0, total_steps=20)),
    "MultiplicativeLR": partial(schedulers.MultiplicativeLR, lr_lambda=lambda epoch: 0.9),
    "StepLR": partial(schedulers.StepLR, step_size=3),
    "MultiStepLR": partial(schedulers.MultiStepLR, milestones=[2, 5]),
    "ConstantLR": partial(schedulers.ConstantLR, total_iters=4),
    "LinearLR": schedulers.LinearLR,
    "ExponentialLR": partial(schedulers.ExponentialLR, gamma=0.8),
    "PolynomialLR": partial(schedulers.PolynomialLR, total_iters=9, power=2.0),
    "CosineAnnealingLR": partial(schedulers.CosineAnnealingLR, T_max=7),
    "CosineAnnealingWarmRestarts": partial(schedulers.CosineAnnealingWarmRestarts, T_0=4),
    "CyclicLR": partial(schedulers.CyclicLR, base_lr=0.001, max_lr=0.1, step_size_up=3),
    "OneCycleLR": partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=20),
    "ReduceLROnPlateau": partial(schedulers.ReduceLROnPlateau, patience=1),
    "ChainedScheduler": lambda opt: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(opt), schedulers.ExponentialLR(opt, 0.9)], optimizer=opt
    ),
    "SequentialLR": lambda opt: schedulers.SequentialLR(
        opt, [schedulers.LinearLR(opt, total_iters=3), schedulers.ExponentialLR(opt, 0.9)], milestones=[3]
    ),
    "SWALR": lambda opt: torch.optim.swa_utils.SWALR(opt, swa_lr=0.05, anneal_epochs=5),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_every_scheduler(name, scheduler):
    case = next(case for case in CASES if case.name == name)

    def train(optimizer, params):
        opt = optimizer(params, lr=0.05)
        schedule = SCHEDULERS[scheduler](opt)
        for step in range(12):
            run(opt, params, range(step, step + 1))
            schedule.step(*([1.0] if scheduler == "ReduceLROnPlateau" else []))
        return opt.param_groups[0]["lr"]

    mine, its = parameters(), parameters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # theirs, about epochs
        assert train(case.ours, mine) == train(case.theirs, its)
    close(mine, its, case)


def test_every_scheduler_is_in_the_table():
    offered = set(schedulers.__all__) - {"LRScheduler"}
    assert offered <= {name.partition("_")[0] for name in SCHEDULERS} | {"SWALR"}


def test_momentum_and_decay_switched_at_run_time():
    mine, its = parameters(), parameters()

    def train(opt, params):
        run(opt, params, range(3))
        opt.param_groups[0]["momentum"] = 0.9
        run(opt, params, range(3, 6))
        opt.param_groups[0]["nesterov"] = True
        run(opt, params, range(6, 9))

    train(gdfast.torch.SGD(mine, lr=0.1), mine)
    train(torch.optim.SGD(its, lr=0.1), its)
    torch.testing.assert_close(mine, its)

    mine, its = parameters(), parameters()

    def decay(opt, params):
        run(opt, params, range(3))
        opt.param_groups[0]["decoupled_weight_decay"] = True
        run(opt, params, range(3, 6))

    decay(gdfast.torch.Adam(mine, lr=0.1, weight_decay=0.3), mine)
    decay(torch.optim.Adam(its, lr=0.1, weight_decay=0.3), its)
    torch.testing.assert_close(mine, its)


@EACH
def test_hooks(case):
    w = torch.nn.Parameter(torch.ones(2))
    opt = case.ours([w])
    calls = []
    handles = [
        opt.register_step_pre_hook(lambda *args: calls.append("pre")),
        opt.register_step_post_hook(lambda *args: calls.append("post")),
        optimizer_module.register_optimizer_step_pre_hook(lambda *args: calls.append("global pre")),
        optimizer_module.register_optimizer_step_post_hook(lambda *args: calls.append("global post")),
        opt.register_state_dict_pre_hook(lambda opt: calls.append("state pre")),
        opt.register_state_dict_post_hook(lambda opt, state: calls.append("state post")),
        opt.register_load_state_dict_pre_hook(lambda opt, state: calls.append("load pre")),
        opt.register_load_state_dict_post_hook(lambda opt: calls.append("load post")),
    ]
    w.grad = torch.ones(2)
    opt.step()
    opt.load_state_dict(opt.state_dict())
    for handle in handles:
        handle.remove()
    opt.step()
    assert calls == ["global pre", "pre", "post", "global post", "state pre", "state post", "load pre", "load post"]


def test_the_profiler_sees_the_step():
    w = torch.nn.Parameter(torch.ones(2))
    opt = gdfast.torch.SGD([w])
    w.grad = torch.ones(2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step()
    assert "Optimizer.step#SGD.step" in {event.key for event in profile.key_averages()}


def test_the_examples_of_the_page_run():
    page = (Path(__file__).parents[2] / "docs" / "torch.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 4
    exec(compile("".join(examples), "torch.md", "exec"), {})
    offered = [*gdfast.torch.optimizers.__all__, *extra_optimizers.__all__]
    assert all(re.search(rf"[`\s]{name}[`,]", page) for name in offered)
