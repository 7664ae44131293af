"""Extreme but legal numbers: a step works, or says what is too large before it changes anything."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from cases import CASES, MATRICES

import gdfast
from arrays import snapshot
from gdfast import schedules
from gdfast.stepping.hyperparameters import Choice, Count, Flag, Pair

CLASSES = sorted({case.optimizer for case in [*CASES, *MATRICES]}, key=lambda optimizer: optimizer.__name__)
NUMBERS = [
    *(0.0, 5e-324, 1e-310, 2.3e-308, 1e-40, 1.2e-38, 1e-30, 1e-3, 0.5),
    *(1 - 1e-16, 1.0, 1 + 1e-15, 1.5, 10.0, 1e38, 3e38, 1e300, 1.7e308),
]
ENGINES = ["native", "numpy"]


def extreme(rng, spec):
    if isinstance(spec, Pair):
        return tuple(extreme(rng, spec.each) for _ in range(spec.count))
    if isinstance(spec, Flag):
        return rng.random() < 0.5
    if isinstance(spec, Choice):
        return rng.choice(spec.words)
    if isinstance(spec, Count):
        return rng.choice([0, 1, 2, 10**9, 10**308, 10**400])
    number = rng.choice([*NUMBERS, *(-number for number in NUMBERS[-3:])])
    return schedules.Constant(number) if 0 < number < 1e300 and not spec.fixed and rng.random() < 0.1 else number


def legal(rng, optimizer, dtype):
    """Optimizers with a few extreme hyperparameters each; what the class refuses at once is none of them."""
    for _ in range(250):
        chosen = {name: extreme(rng, spec) for name, spec in optimizer.specs.items() if rng.random() < 0.4}
        param = np.linspace(-1, 2, 6).reshape(2, 3).astype(dtype)
        try:
            yield param, optimizer(param, engine=rng.choice(ENGINES), **chosen)
        except (TypeError, ValueError):
            continue


def refusal(opt, grad):
    """Step; what a refusal says, nothing if the step was made. Any other error is the test's."""
    try:
        opt.step(grad)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", CLASSES, ids=lambda optimizer: optimizer.__name__)
def test_a_step_works_or_names_what_is_too_large(optimizer, dtype):
    rng, steps = random.Random(0), 0
    for param, opt in legal(rng, optimizer, dtype):
        for _ in range(5):
            before, carried = snapshot(opt, param), [*opt._carried]
            grad = np.full((2, 3), rng.choice([0.0, 1.0, 1e-30, 1e30]), dtype)
            said = refusal(opt, grad)
            if said:
                assert any(name in said for name in optimizer.specs), said
                assert snapshot(opt, param) == before
                assert opt._carried == carried
                break
            steps += 1
    assert steps > 100


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rate_that_has_fallen_to_nothing_is_nothing(engine):
    """The powers of ASGD and ADOPT go to 0 and infinity, which is what they come to."""
    w = np.array([1.0, -2.0])
    opt = gdfast.ASGD(w, lr=1.0, lambd=1 - 1e-16, alpha=1e38, engine=engine)
    opt.step(np.ones(2))
    moved = w.copy()
    for _ in range(3):
        opt.step(np.ones(2))
    assert w.tolist() == moved.tolist()
    clipped, unclipped = np.ones(2), np.ones(2)
    first = gdfast.ADOPT(clipped, clip_exp=1.7e308, engine=engine)
    second = gdfast.ADOPT(unclipped, use_clipping=False, engine=engine)
    for _ in range(4):
        first.step(np.array([1.0, 1e9]))
        second.step(np.array([1.0, 1e9]))
    assert clipped.tolist() == unclipped.tolist() != [1, 1]


@pytest.mark.parametrize(
    ("optimizer", "options", "good"),
    [
        (gdfast.ScheduleFreeSGD, {"r": 3e38}, 1),
        (gdfast.ScheduleFreeAdamW, {"lr": 3e38, "weight_lr_power": 1.7e308}, 0),
        (gdfast.ScheduleFreeSGD, {"lr": 1e-200, "r": 3e38}, 1),
    ],
)
def test_weights_of_an_average_that_no_float_holds(optimizer, options, good):
    w = np.ones(3)
    opt = optimizer(w, **options)
    for _ in range(good):
        opt.step(np.ones(3))
    before = snapshot(opt, w)
    with pytest.raises(ValueError, match=r"must give weights of z, .*, with a finite sum; got r="):
        opt.step(np.ones(3))
    assert snapshot(opt, w) == before
    opt.param_groups[0]["r"] = opt.param_groups[0]["weight_lr_power"] = 0.0
    opt.step(np.ones(3))
    assert opt.step_count == good + 1


@pytest.mark.parametrize("scale", [10**400, -(10**400), Fraction(10**400), np.longdouble(10) ** 400], ids=type)
def test_a_scale_that_no_float_holds(scale):
    w = np.ones(3)
    opt = gdfast.NAdam(w, engine="native")
    before = snapshot(opt, w)
    with pytest.raises(ValueError, match="grad_scale must"):
        opt.step(np.ones(3), grad_scale=scale)
    with pytest.raises(ValueError, match="grad_scale must"):
        opt.step_one("0", np.ones(3), grad_scale=scale)
    assert snapshot(opt, w) == before


@pytest.mark.parametrize("value", [10**400, -(10**400), Fraction(10**400), 10**5000], ids=type)
def test_a_hyperparameter_that_no_float_holds(value):
    with pytest.raises(ValueError, match="lr must fit into a float; got a number beyond"):
        gdfast.Adam(np.ones(3), lr=value)
    with pytest.raises(ValueError, match=r"betas\[1\] must fit into a float"):
        gdfast.Adam(np.ones(3), betas=(0.9, value))
    with pytest.raises(ValueError, match="clip_norm must fit into a float"):
        gdfast.Adam(np.ones(3), clip_norm=value)
    w = np.ones(3)
    opt = gdfast.Adam(w, lr=lambda step: value if step else 0.5)
    opt.step(np.ones(3))
    before = snapshot(opt, w)
    with pytest.raises(ValueError, match="lr at step 1 must fit into a float"):
        opt.step(np.ones(3))
    assert snapshot(opt, w) == before


@pytest.mark.parametrize("change", ["step_count", "skipped_steps", "memory"])
def test_a_loaded_number_that_no_float_holds(change):
    """Refused before anything is taken over: what comes later would stop half-way, or at the next step."""
    w = np.ones(3)
    opt = gdfast.NAdam(w)
    opt.step(np.ones(3))
    state = opt.state_dict()
    state[change] = [{"mu_product": 10**400}] if change == "memory" else 10**400
    before = snapshot(opt, w)
    with pytest.raises(ValueError, match=change):
        opt.load_state_dict(state)
    assert snapshot(opt, w) == before
    state = {**opt.state_dict(), "step_count": 2**63 - 1}
    opt.load_state_dict(state)
    opt.step(np.ones(3))
    assert opt.step_count == 2**63


def test_a_number_of_pytorchs_that_no_float_holds():
    opt = gdfast.Adam(np.ones(3))
    theirs = {"state": {0: {"step": 10**400}}, "param_groups": [{"params": [0]}]}
    with pytest.raises(ValueError, match="step of 0 must fit into a float"):
        gdfast.load_torch_state(opt, theirs)


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 1e-40), (np.float64, 1e-310)])
def test_no_state_starts_subnormal(dtype, value):
    tiny = np.finfo(dtype).smallest_normal
    for make in (gdfast.Adagrad, gdfast.Yogi, gdfast.FTRL):
        with pytest.raises(ValueError, match=f"initial_accumulator_value must not round to zero in {np.dtype(dtype)}"):
            make(np.ones(3, dtype), initial_accumulator_value=value)
        started = make(np.ones(3, dtype), initial_accumulator_value=float(tiny)).state["0"]
        assert any((array == tiny).all() for array in started.values())
    large = np.full(100_000, value, dtype)
    copies = [
        (gdfast.MADGRAD(large.copy()), "x0"),
        (gdfast.ScheduleFreeSGD(large.copy()), "z"),
        (gdfast.SGD(large.copy(), ema_decay=0.9), "ema"),
        (gdfast.Rprop(large.copy(), lr=value), "step_size"),
    ]
    for opt, name in copies:
        assert (opt.state["0"][name] == 0).all(), name
    assert (gdfast.Lookahead(gdfast.SGD(large)).slow[0]["0"] == 0).all()
    assert (large == dtype(value)).all()
    assert math.copysign(1, gdfast.SGD(np.array([-0.0]), ema_decay=0.9).ema[0]) == -1
