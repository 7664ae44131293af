"""Hyperparameters: their ranges, their schedules, and that a bad one changes nothing."""

import math

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import snapshot
from gdfast import schedules

BAD = [
    (gdfast.SGD, {"lr": -1.0}, ValueError, r"lr must be in \[0, inf\); got -1.0"),
    (gdfast.SGD, {"lr": math.nan}, ValueError, "lr must be in .*; got nan"),
    (gdfast.SGD, {"lr": math.inf}, ValueError, "lr must be in .*; got inf"),
    (gdfast.SGD, {"lr": "0.1"}, TypeError, "lr must be a number in .* or a schedule .*; got '0.1'"),
    (gdfast.SGD, {"lr": True}, TypeError, "lr must be a number"),
    (gdfast.SGD, {"lr": None}, TypeError, "lr must be a number"),
    (gdfast.SGD, {"lr": schedules.Cosine}, TypeError, "lr must be a number .* or a schedule .*; got <class"),
    (gdfast.SGD, {"lr": (schedules.Constant(0.1),)}, TypeError, "lr must be a number .* or a schedule .*; got "),
    (gdfast.Adam, {"betas": ((abs,), 0.9)}, TypeError, r"betas\[0\] must be a number .* or a schedule .*; got "),
    (gdfast.SGD, {"learning_rate": 0.1}, TypeError, "did you mean 'lr'"),
    (gdfast.SGD, {"lr": 1e39}, ValueError, "lr must fit into float32"),
    (gdfast.SGD, {"momentum": -0.5}, ValueError, r"momentum must be in \[0, inf\); got -0.5"),
    (gdfast.SGD, {"dampening": math.inf}, ValueError, r"dampening must be in \(-inf, inf\); got inf"),
    (gdfast.SGD, {"nesterov": True}, ValueError, "nesterov must go with momentum"),
    (gdfast.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "without dampening"),
    (gdfast.SGD, {"nesterov": 1, "momentum": 0.9}, TypeError, "nesterov must be True or False; got 1"),
    (gdfast.SGD, {"weight_decay": -1}, ValueError, "weight_decay must be in"),
    (gdfast.SGD, {"l1": -1}, ValueError, "l1 must be in"),
    (gdfast.SGD, {"maximize": 1}, TypeError, "maximize must be True or False"),
    (gdfast.SGD, {"momentun": 0.9}, TypeError, "SGD has no hyperparameter 'momentun'; did you mean 'momentum'?"),
    (gdfast.SGD, {"engine": "gpu"}, ValueError, "engine must be one of 'native', 'numpy'; got 'gpu'"),
    (gdfast.Adagrad, {"lr_decay": -1}, ValueError, "lr_decay must be in"),
    (gdfast.Adagrad, {"initial_accumulator_value": -1}, ValueError, "initial_accumulator_value must be in"),
    (gdfast.Adagrad, {"initial_accumulator_value": abs}, TypeError, "initial_accumulator_value must be a number in"),
    (gdfast.RMSprop, {"alpha": 1.1}, ValueError, "alpha must be in"),
    (
        gdfast.Rprop,
        {"etas": (1.2, 0.5)},
        ValueError,
        r"etas must be one number below 1 and one above; got \(1.2, 0.5\)",
    ),
    (gdfast.Rprop, {"etas": (0.0, 1.2)}, ValueError, r"etas\[0\] must be in \(0, inf\); got 0.0"),
    (
        gdfast.Rprop,
        {"step_sizes": (1.0, 0.5)},
        ValueError,
        r"step_sizes must be the smallest and the largest; got \(1.0",
    ),
    (
        gdfast.Rprop,
        {"l1": 0.1},
        ValueError,
        "l1 must be 0 for Rprop, which has no learning rate to multiply it by; got 0.1",
    ),
    (gdfast.NAdam, {"momentum_decay": -1}, ValueError, "momentum_decay must be in"),
    (gdfast.RAdam, {"decoupled_weight_decay": 1}, TypeError, "decoupled_weight_decay must be True or False; got 1"),
    (gdfast.Adam, {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] must be in \[0, 1\); got 1.0"),
    (gdfast.Adam, {"betas": (-0.1, 0.9)}, ValueError, r"betas\[0\] must be in \[0, 1\); got -0.1"),
    (gdfast.Adam, {"betas": 0.9}, TypeError, "betas must be a pair"),
    (gdfast.Adam, {"betas": (0.9,)}, TypeError, "betas must be a pair"),
    (gdfast.Adam, {"eps": -1e-8}, ValueError, "eps must be in"),
    (gdfast.Adam, {"eps": 1e-50}, ValueError, "eps must not round to zero in float32"),
    (gdfast.Adam, {"eps": 1e-44}, ValueError, "give 0 or at least 1.18e-38; got 1e-44"),
    (gdfast.AdEMAMix, {"betas": (0.9, 0.99)}, TypeError, r"betas must be three numbers in \[0, 1\); got \(0.9, 0.99\)"),
    (gdfast.AdEMAMix, {"betas": (0.9, 0.99, 1.0)}, ValueError, r"betas\[2\] must be in \[0, 1\); got 1.0"),
    (gdfast.AdEMAMix, {"alpha_warmup": -1}, ValueError, "alpha_warmup must be at least 0; got -1"),
    (gdfast.AdEMAMix, {"alpha_warmup": 1.5}, TypeError, "alpha_warmup must be an int; got 1.5"),
    (gdfast.AdEMAMix, {"alpha_warmup": True}, TypeError, "alpha_warmup must be an int; got True"),
    (gdfast.QHAdam, {"nus": (0.7, 1.5)}, ValueError, r"nus\[1\] must be in \[0, 1\]; got 1.5"),
    (gdfast.ScheduleFreeSGD, {"momentum": 0.0}, ValueError, r"momentum must be in \(0, 1\); got 0.0"),
    (gdfast.ScheduleFreeSGD, {"momentum": abs}, TypeError, r"momentum must be a number in \(0, 1\); got <built-in"),
    (gdfast.FTRL, {"l1_regularization_strength": 0.1}, TypeError, "FTRL has no hyperparameter .*; did you mean 'l1'?"),
    (gdfast.Adam, {"eps_hat": 1}, TypeError, "eps_hat must be True or False"),
    (gdfast.Adam, {"amsgrad": "yes"}, TypeError, "amsgrad must be True or False"),
]


@pytest.mark.parametrize(("optimizer", "options", "error", "message"), BAD, ids=lambda v: str(v)[:40])
def test_bad_value(optimizer, options, error, message):
    with pytest.raises(error, match=message):
        optimizer(np.zeros(3, np.float32), **options)


@pytest.mark.parametrize(("optimizer", "options", "error", "message"), BAD, ids=lambda v: str(v)[:40])
def test_bad_value_in_a_group(optimizer, options, error, message):
    if "engine" in options:
        message, error = "has no hyperparameter 'engine'", TypeError
    with pytest.raises(error, match=message):
        optimizer([{"params": np.zeros(3, np.float32), **options}])


def test_a_tiny_eps_is_fine_in_float64():
    gdfast.Adam(np.zeros(3), eps=1e-50)
    gdfast.Adam(np.zeros(3, np.float32), eps=0.0)


def test_every_numeric_hyperparameter_may_be_a_schedule():
    """A schedule that gives the constant leaves the bits of the constant."""
    for case in CASES:
        constant, scheduled = np.ones(5), np.ones(5)
        plain = case.make(constant)
        values = {name: value for name, value in plain.param_groups[0].items() if name in case.optimizer.specs}

        def wrap(value):
            if value is None:
                return None
            if isinstance(value, tuple):
                return tuple(map(wrap, value))
            return schedules.Constant(value) if value >= 0 else lambda step: value

        options = {
            name: wrap(value)
            for name, value in values.items()
            if isinstance(value, float | tuple)
            and not case.optimizer.specs[name].fixed
            # A momentum that is a schedule keeps a buffer, and nesterov's dampening must be off.
            and not (name in ("momentum", "dampening") and value == 0)
        }
        opt = case.make(scheduled, **options)
        for step in range(5):
            grad = np.linspace(-1, 1, 5) * step
            plain.step(grad)
            opt.step(grad)
        assert constant.tobytes() == scheduled.tobytes(), case


def test_schedule_counts_steps_from_0():
    seen = []
    param = np.zeros(1)
    opt = gdfast.SGD(param, lr=lambda step: seen.append(step) or float(step))
    for _ in range(3):
        opt.step(np.ones(1))
    assert seen == [0, 1, 2]
    assert param[0] == -3.0


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, 1e39, None, "0.1"])
def test_scheduled_value_is_checked_at_each_step(engine, bad):
    params = [np.ones(3, np.float32), np.ones(2, np.float32)]
    groups = [{"params": params[0]}, {"params": params[1], "lr": lambda step: 0.1 if step < 2 else bad}]
    opt = gdfast.Adam(groups, engine=engine)
    grads = [np.ones(3, np.float32), np.ones(2, np.float32)]
    opt.step(grads)
    opt.step(grads)
    before = snapshot(opt, params)
    with pytest.raises((ValueError, TypeError), match="lr at step 2 must"):
        opt.step(grads)
    assert snapshot(opt, params) == before


def test_scheduled_pair_is_checked():
    opt = gdfast.Adam(np.ones(3), betas=(lambda step: 0.9 + step, 0.999))
    opt.step(np.ones(3))
    with pytest.raises(ValueError, match=r"betas\[0\] at step 1 must be in \[0, 1\); got 1.9"):
        opt.step(np.ones(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"etas": (0.5, lambda step: 2.0 - step)}, r"etas must be one number below 1 and one above; got \(0.5, 1.0\)"),
        ({"step_sizes": (lambda step: float(step), 0.5)}, "step_sizes must be the smallest and the largest"),
        ({"l1": lambda step: float(step)}, "l1 must be 0 for Rprop"),
    ],
)
def test_scheduled_values_are_checked_together(options, message):
    param = np.ones(3)
    opt = gdfast.Rprop(param, lr=lambda step: 0.25 + step, **options)
    opt.step(np.ones(3))
    assert param.tolist() == [0.75] * 3  # lr is that of step 0
    with pytest.raises(ValueError, match=message):
        opt.step(np.ones(3))
    assert param.tolist() == [0.75] * 3


def test_a_schedule_that_raises_changes_nothing():
    param = np.ones(3)
    opt = gdfast.SGD(param, lr=lambda step: 1 / step)
    with pytest.raises(ZeroDivisionError):
        opt.step(np.ones(3))
    assert param.tolist() == [1.0] * 3
    assert opt.step_count == 0
    opt.lr = 1.0
    opt.step(np.ones(3))  # not stuck
    assert param.tolist() == [0.0] * 3


@pytest.mark.parametrize("scale", [math.nan, math.inf, "1", None, True])
def test_bad_grad_scale(scale):
    param = np.ones(3)
    opt = gdfast.SGD(param)
    with pytest.raises((TypeError, ValueError), match="grad_scale must be"):
        opt.step(np.ones(3), grad_scale=scale)
    assert param.tolist() == [1.0] * 3


def test_group_is_a_checked_mapping():
    opt = gdfast.Adam(np.zeros(3, np.float32), lr=0.1)
    (group,) = opt.param_groups
    group["lr"] = 0.5
    assert opt.lr == 0.5
    group.update(betas=(0.5, 0.6), eps=1e-3)
    assert group["betas"] == (0.5, 0.6)
    own = ["lr", "betas", "eps", "weight_decay", "amsgrad", "eps_root", "eps_hat"]
    assert list(group) == ["params", *own, "maximize", "l1", "centralize", "clip_adaptive"]
    assert len(group) == 12
    assert group["params"][0] is opt.param_groups[0]["params"][0]
    assert "lr=0.5" in repr(group)
    assert "Adam(1 arrays, step_count=0" in repr(opt)
    with pytest.raises(ValueError, match="lr must be in"):
        group["lr"] = -1
    with pytest.raises(TypeError, match="did you mean 'eps'"):
        group["epss"] = 1
    with pytest.raises(TypeError, match="params cannot be replaced"):
        group["params"] = []
    with pytest.raises(TypeError, match="cannot be deleted"):
        del group["lr"]
    with pytest.raises(ValueError, match="amsgrad is settled when Adam is made, as False; got True"):
        group["amsgrad"] = True
    assert group["lr"] == 0.5


def test_momentum_needs_its_buffer_from_the_start():
    opt = gdfast.SGD(np.zeros(3))
    with pytest.raises(
        ValueError, match="momentum cannot change so after SGD was made: that needs the state momentum_b"
    ):
        opt.param_groups[0]["momentum"] = 0.9
    param, still = np.zeros(3), np.zeros(3)
    opt = gdfast.SGD(param, momentum=0.9, lr=1.0)
    opt.param_groups[0]["momentum"] = 0.0
    plain = gdfast.SGD(still, lr=1.0)
    for _ in range(2):
        opt.step(np.ones(3))
        plain.step(np.ones(3))
    assert param.tobytes() == still.tobytes()
    opt.param_groups[0]["momentum"] = 0.9


def test_lr_of_several_groups():
    opt = gdfast.SGD([{"params": np.zeros(2)}, {"params": np.zeros(2), "lr": 0.5}], lr=0.1)
    assert opt.lr == 0.1
    opt.lr = schedules.Linear(1.0, total_steps=10)
    assert [group["lr"] for group in opt.param_groups] == [schedules.Linear(1.0, total_steps=10)] * 2
    assert opt.lr == 1.0
    with pytest.raises(ValueError, match="lr must be in"):
        opt.lr = -1.0
    assert opt.lr == 1.0


def test_step_count_beyond_32_bits():
    """The bias corrections go on being right, and nothing wraps."""
    for engine in ("native", "numpy"):
        param = np.zeros(3)
        opt = gdfast.Adam(param, lr=0.5, engine=engine)
        opt.step_count = 2**40
        opt.state["0"]["exp_avg"][:] = 1
        opt.state["0"]["exp_avg_sq"][:] = 1
        opt.step(np.ones(3))
        assert opt.step_count == 2**40 + 1
        np.testing.assert_allclose(param, -0.5, rtol=1e-7)
