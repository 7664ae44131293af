"""Steps whose numbers native code computes by itself: the bits of the `numpy` engine, whatever happens in between."""

import copy
import math
import pickle

import numpy as np
import pytest

import gdfast
import gdfast.native
from gdfast.schedules import Exponential
from gdfast.stepping import step as step_module

RNG = np.random.default_rng(5)
GRADS = [RNG.normal(size=37).astype(np.float32) for _ in range(40)]


def pair(cls=gdfast.Adam, **options):
    """Return the same optimizer with both engines."""
    return [cls(np.ones(37, np.float32), lr=0.01, **options, engine=engine) for engine in ("native", "numpy")]


def assert_same(opts):
    native, numpy = ([group["params"][0] for group in opt.param_groups] for opt in opts)
    for a, b in zip(native, numpy, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.fixture
def computed(monkeypatch):
    """Count how often the numbers of a step are computed in Python."""
    calls = []
    inner = step_module.step_numbers
    monkeypatch.setattr(step_module, "step_numbers", lambda *args: calls.append(args[3]) or inner(*args))
    return calls


@pytest.mark.parametrize("cls", [gdfast.Adam, gdfast.AdamW])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1, "l1": 1e-3},
        {"maximize": True},
        {"betas": (0.0, 0.0)},
        {"eps_hat": True, "eps_root": 1e-6},
        {"eps_root": 1e-5},
        {"amsgrad": True},
    ],
)
def test_bits_are_those_of_the_reference(cls, options, computed):
    opts = pair(cls, **options)
    for grad in GRADS:
        opts[0].step(grad)
    assert computed == [1]
    for grad in GRADS:
        opts[1].step(grad)
    assert_same(opts)


def change_lr(opt):
    opt.param_groups[0]["lr"] = 0.3


def change_betas(opt):
    opt.param_groups[0]["betas"] = (0.5, 0.6)


def maximize(opt):
    opt.param_groups[0]["maximize"] = True


def set_schedule(opt):
    opt.param_groups[0]["lr"] = Exponential(0.1, 0.9)


def scaled_step(opt):
    opt.step(GRADS[0], grad_scale=3.0)


def accumulate(opt):
    opt.accumulate(GRADS[1])


def step_in_pieces(opt):
    opt.step_one("0", GRADS[2], grad_scale=2.0)
    opt.end_step()


def step_rows(opt):
    opt.step(gdfast.Rows(np.array([3, 4]), np.ones(2, np.float32)))


def load(opt):
    saved = copy.deepcopy(opt.state_dict())
    opt.step(GRADS[3])
    opt.load_state_dict(saved)


def set_clip_value(opt):
    opt.guard = type(opt.guard)(None, 0.1, "propagate")
    opt.note_options()
    opt.step(GRADS[4])
    opt.guard = type(opt.guard)(None, None, "propagate")
    opt.note_options()


CHANGES = [change_lr, change_betas, maximize, set_schedule, scaled_step, accumulate, step_in_pieces, step_rows, load]
CHANGES += [set_clip_value]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cls", [gdfast.Adam, gdfast.AdamW])
def test_whatever_happens_between_steps_counts(cls, change):
    opts = pair(cls, weight_decay=0.01)
    for opt in opts:
        for grad in GRADS[:5]:
            opt.step(grad)
        change(opt)
        for grad in GRADS[5:10]:
            opt.step(grad)
        if opt.param_groups[0].scheduled:
            opt.param_groups[0]["lr"] = 0.02
            opt.step(GRADS[10])
            opt.step(GRADS[11])
    assert_same(opts)


def test_a_scheduled_group_is_asked_in_every_step(computed):
    opts = pair(betas=(lambda step: 0.5 + step / 100, 0.9))
    for opt in opts:
        for grad in GRADS[:5]:
            opt.step(grad)
    assert computed == [1, 2, 3, 4, 5] * 2
    assert_same(opts)


def test_groups_that_join_later_count_their_own_steps():
    opts = pair()
    for opt in opts:
        for grad in GRADS[:3]:
            opt.step(grad)
        opt.add_param_group({"params": np.zeros(37, np.float32), "lr": 0.5, "betas": (0.3, 0.4)})
        for grad in GRADS[3:9]:
            opt.step([grad, grad])
    assert_same(opts)


@pytest.mark.parametrize("steps", [None, 7])
def test_a_native_plan_in_between(steps):
    opts = pair(gdfast.AdamW, weight_decay=0.1, maximize=True)
    for opt in opts:
        opt.step(GRADS[0])
        opt.step(GRADS[1])
    with gdfast.native.Plan(opts[0], steps) as plan:
        for grad in GRADS[2:6]:
            grads = np.array([grad.ctypes.data], np.uintp)
            assert gdfast.native.step(plan.address, grads.ctypes.data, 2.0) == 0
    for grad in GRADS[2:6]:
        opts[1].step(grad, grad_scale=2.0)
    for opt in opts:
        for grad in GRADS[6:10]:
            opt.step(grad)
    assert_same(opts)


class OwnDecay(gdfast.AdamW):
    """A decay that grows with the steps."""

    @staticmethod
    def decays(values, t):
        return 0.0, 0.001 * t


class OwnNumbers(gdfast.Adam):
    """A step size of its own."""

    @staticmethod
    def scalars(values, t):
        beta1, beta2 = values["betas"]
        return beta1, 1 - beta1, beta2, 1 - beta2, values["lr"] / math.sqrt(t), values["eps"], 0.0


@pytest.mark.parametrize("cls", [OwnDecay, OwnNumbers])
def test_a_subclass_with_its_own_numbers_is_asked_in_every_step(cls, computed):
    opts = pair(cls)
    for opt in opts:
        for grad in GRADS[:6]:
            opt.step(grad)
    assert computed == [1, 2, 3, 4, 5, 6] * 2
    assert_same(opts)


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
def test_a_copy_steps_by_itself(make_copy):
    opts = pair()
    for opt in opts:
        opt.step(GRADS[0])
    copies = [make_copy(opt) for opt in opts]
    for opt in copies:
        opt.param_groups[0]["lr"] = 0.5
    for opt in (*opts, *copies):
        opt.step(GRADS[1])
    assert_same(opts)
    assert_same(copies)
    assert not np.array_equal(opts[0].param_groups[0]["params"][0], copies[0].param_groups[0]["params"][0])


def test_numbers_are_kept_for_the_very_values_they_were_made_of():
    plan = gdfast.Adam(np.ones(3))._engine
    values = {"lr": 1.0}
    plan.keep_numbers(0, values, (1.0, 0.9, 0.99, 1e-8, 0.0, False))
    assert plan.renew_numbers(0, values, 1.0)
    assert not plan.renew_numbers(0, dict(values), 1.0)
    assert not plan.renew_numbers(1, values, 1.0)
    assert not plan.renew_numbers(-1, values, 1.0)
    with pytest.raises(IndexError, match="group must be in"):
        plan.keep_numbers(1, values, (1.0, 0.9, 0.99, 1e-8, 0.0, False))
    with pytest.raises(ValueError, match="scalars"):
        gdfast.SGD(np.ones(3))._engine.keep_numbers(0, values, (1.0, 0.9, 0.99, 1e-8, 0.0, False))


def test_a_single_array_needs_no_flattening(monkeypatch):
    opt, nested = gdfast.Adam(np.ones(3)), gdfast.Adam([np.ones(3)])
    for each, flattened in ((opt, False), (nested, True)):
        calls = []
        monkeypatch.setattr(each, "_flat_grads", lambda grads, calls=calls: calls.append(grads) or (np.ones(3),))
        each.step(np.ones(3) if each is opt else [np.ones(3)])
        assert bool(calls) is flattened
