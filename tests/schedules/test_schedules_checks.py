"""What the schedules take as arguments, and what they refuse."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from schedule_examples import EXAMPLES

from gdfast import schedules
from gdfast.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    CyclicMomentum,
    Exponential,
    InverseSqrt,
    InverseTime,
    InvScaling,
    Join,
    Linear,
    MultiStep,
    OneCycle,
    OneCycleMomentum,
    Piecewise,
    Polynomial,
    ReduceOnPlateau,
    Scaled,
    Schedule,
    StepDecay,
    Warmup,
    WarmupStableDecay,
)

# Construction


def test_arguments_become_plain_data() -> None:
    schedule = Piecewise(np.array([0.5, 0.25]), [np.int64(7)])
    assert schedule == Piecewise((0.5, 0.25), milestones=(7,))
    assert repr(schedule) == "Piecewise(values=(0.5, 0.25), milestones=(7,), interpolation='constant')"
    schedule = Cosine(np.float32(0.5), np.int16(100))
    assert type(schedule.lr) is float
    assert type(schedule.total_steps) is int
    assert schedule == Cosine(lr=0.5, total_steps=100, warmup_steps=0, warmup_lr=0.0, min_lr=0)
    assert Join([1, Constant(2)], [3]).schedules == (1.0, Constant(2.0))


def test_a_user_defined_schedule() -> None:
    @dataclasses.dataclass(frozen=True)
    class Sawtooth(Schedule):
        lr: schedules._checks.Value
        comment: str = ""

        def _value(self, step: int) -> float:
            return self.lr * (step % 3)

    assert Scaled(Sawtooth(1), 2.0)(5) == 4.0
    with pytest.raises(ValueError, match=r"^lr must be"):
        Sawtooth(-1.0)
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


def made(kind: Any, **arguments: Any) -> Any:
    """Make a schedule that is sound, but for the arguments given."""
    sound = {
        Constant: {"lr": 0.5},
        StepDecay: {"lr": 0.5, "step_size": 3, "gamma": 0.5},
        MultiStep: {"lr": 0.5, "milestones": (3, 5), "gamma": 0.5},
        Exponential: {"lr": 0.5, "gamma": 0.5, "step_size": 3, "end_lr": 0.1},
        InverseTime: {"lr": 0.5, "decay_rate": 0.5, "step_size": 3},
        InvScaling: {"lr": 0.5, "power": 0.5},
        InverseSqrt: {"lr": 0.5, "warmup_steps": 3, "warmup_lr": 0.1, "timescale": 5},
        Linear: {"lr": 0.5, "total_steps": 9, "warmup_steps": 3, "warmup_lr": 0.1, "end_lr": 0.1},
        Polynomial: {"lr": 0.5, "total_steps": 9, "warmup_steps": 3, "warmup_lr": 0.1, "end_lr": 0.1, "power": 2.0},
        Cosine: {"lr": 0.5, "total_steps": 9, "warmup_steps": 3, "warmup_lr": 0.1, "min_lr": 0.1},
        WarmupStableDecay: {
            **{"lr": 0.5, "total_steps": 9, "warmup_steps": 3, "warmup_lr": 0.1, "min_lr": 0.1},
            **{"decay_steps": 2, "decay_type": "linear"},
        },
        CosineRestarts: {"lr": 0.5, "cycle_steps": 9, "cycle_mult": 2, "gamma": 0.5, "min_lr": 0.1},
        Cyclic: {
            **{"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "step_size_down": 4},
            **{"mode": "exp_range", "gamma": 0.5},
        },
        CyclicMomentum: {"cycle": Cyclic(0.1, 0.5), "base_momentum": 0.5, "max_momentum": 0.6},
        OneCycle: {
            **{"max_lr": 0.5, "total_steps": 9, "pct_start": 0.5, "anneal_strategy": "cosine"},
            **{"div_factor": 2.0, "final_div_factor": 2.0, "three_phase": True},
        },
        OneCycleMomentum: {"cycle": OneCycle(0.1, 9), "base_momentum": 0.5, "max_momentum": 0.6},
        Piecewise: {"values": (0.5, 0.1), "milestones": (3,), "interpolation": "linear"},
        Join: {"schedules": (0.5, Constant(0.1)), "milestones": (3,)},
        Warmup: {"schedule": 0.5, "warmup_steps": 3, "warmup_lr": 0.1},
        Scaled: {"schedule": 0.5, "factor": 0.5},
        ReduceOnPlateau: {
            **{"lr": 0.5, "mode": "max", "factor": 0.5, "patience": 3, "threshold": 0.1, "threshold_mode": "abs"},
            **{"cooldown": 2, "min_lr": 0.1, "eps": 0.01},
        },
    }
    return kind(**{**sound[kind], **arguments})


NO_NUMBER = [(value, TypeError) for value in ("0.5", None, True, np.True_, 1j, [0.5])]
NO_VALUE = [*NO_NUMBER, *((value, ValueError) for value in (-0.1, math.nan, math.inf, -math.inf, 10**400))]
NO_POSITIVE = [*NO_VALUE, (0.0, ValueError)]
NO_UNIT = [*NO_VALUE, (1.1, ValueError)]
NO_COUNT = [(value, TypeError) for value in ("3", None, True, 3.0, np.float64(3.0), math.nan, [3])]
NO_COUNT += [(-1, ValueError), (2**63, ValueError)]
NO_STEPS = [*NO_COUNT, (0, ValueError)]
NO_WORD = [(None, TypeError), (3, TypeError), ("linera", ValueError), ("", ValueError)]
NO_MILESTONES = [(3, TypeError), (None, TypeError), ("3", TypeError), ({3: 0.1}, TypeError), ({3}, TypeError)]
NO_MILESTONES += [((3.0,), TypeError), ((True,), TypeError), ((0,), ValueError), ((-3,), ValueError)]
NO_MILESTONES += [((5, 3), ValueError), ((3, 3), ValueError)]
NO_SCHEDULE = [(value, TypeError) for value in ("0.5", None, True, [0.5], Cosine)]
NO_SCHEDULE += [(-0.5, ValueError), (math.nan, ValueError), (math.inf, ValueError)]


def without_none(bad: list[tuple[Any, type[Exception]]]) -> list[tuple[Any, type[Exception]]]:
    return [(value, error) for value, error in bad if value is not None]


REFUSED = [
    (NO_VALUE, "lr", [Constant, StepDecay, MultiStep, Exponential, InverseTime, InvScaling, InverseSqrt, Linear]),
    (NO_VALUE, "lr", [Polynomial, Cosine, WarmupStableDecay, CosineRestarts, ReduceOnPlateau]),
    (NO_STEPS, "step_size", [StepDecay, Exponential, InverseTime]),
    (NO_VALUE, "gamma", [StepDecay, MultiStep, Exponential]),
    (NO_UNIT, "gamma", [CosineRestarts, Cyclic]),
    (NO_MILESTONES, "milestones", [MultiStep, Piecewise, Join]),
    (without_none(NO_VALUE), "end_lr", [Exponential]),
    (NO_VALUE, "end_lr", [Linear, Polynomial]),
    (NO_VALUE, "decay_rate", [InverseTime]),
    (NO_POSITIVE, "power", [InvScaling, Polynomial]),
    (NO_COUNT, "warmup_steps", [InverseSqrt, Linear, Polynomial, Cosine, WarmupStableDecay, Warmup]),
    (NO_VALUE, "warmup_lr", [InverseSqrt, Linear, Polynomial, Cosine, WarmupStableDecay, Warmup]),
    (without_none(NO_STEPS), "timescale", [InverseSqrt]),
    (NO_STEPS, "total_steps", [Linear, Polynomial, Cosine, WarmupStableDecay, OneCycle]),
    ([(3, ValueError), (2, ValueError)], "total_steps", [Linear, Polynomial, Cosine, WarmupStableDecay]),
    ([(9, ValueError)], "warmup_steps", [Linear, Polynomial, Cosine, WarmupStableDecay]),
    (NO_VALUE, "min_lr", [Cosine, WarmupStableDecay, CosineRestarts, ReduceOnPlateau]),
    ([(0.6, ValueError)], "min_lr", [Cosine, WarmupStableDecay, CosineRestarts, ReduceOnPlateau]),
    ([*NO_STEPS, (7, ValueError)], "decay_steps", [WarmupStableDecay]),
    (NO_WORD, "decay_type", [WarmupStableDecay]),
    (NO_STEPS, "cycle_steps", [CosineRestarts]),
    (NO_STEPS, "cycle_mult", [CosineRestarts]),
    ([*NO_VALUE, (0.6, ValueError)], "base_lr", [Cyclic]),
    (NO_VALUE, "max_lr", [Cyclic, OneCycle]),
    (NO_STEPS, "step_size_up", [Cyclic]),
    (without_none(NO_STEPS), "step_size_down", [Cyclic]),
    (NO_WORD, "mode", [Cyclic, ReduceOnPlateau]),
    ([*NO_UNIT, (0.61, ValueError)], "base_momentum", [CyclicMomentum, OneCycleMomentum]),
    (NO_UNIT, "max_momentum", [CyclicMomentum, OneCycleMomentum]),
    ([(value, TypeError) for value in (0.5, None, Constant(0.5), Cyclic, OneCycle)], "cycle", [CyclicMomentum]),
    ([(value, TypeError) for value in (0.5, None, Cyclic(0.1, 0.2))], "cycle", [OneCycleMomentum]),
    ([*NO_UNIT, (0.51, ValueError)], "pct_start", [OneCycle]),
    ([*NO_WORD, ("cos", ValueError)], "anneal_strategy", [OneCycle]),
    ([*NO_POSITIVE, (1e-309, ValueError)], "div_factor", [OneCycle]),
    ([*NO_POSITIVE, (1e-309, ValueError)], "final_div_factor", [OneCycle]),
    ([(value, TypeError) for value in (None, 1, "yes", np.True_)], "three_phase", [OneCycle]),
    ([(0.5, TypeError), ("ab", TypeError), ({0.5: 1, 0.1: 2}, TypeError)], "values", [Piecewise]),
    ([((0.5, "0.1"), TypeError), ((0.5, math.nan), ValueError), ((0.5,), ValueError)], "values", [Piecewise]),
    (NO_WORD, "interpolation", [Piecewise]),
    ([(0.5, TypeError), ((0.5, None), TypeError), ((0.5, Cosine), TypeError)], "schedules", [Join]),
    ([((0.5, -0.1), ValueError), ((0.5,), ValueError), ((), ValueError)], "schedules", [Join]),
    (NO_SCHEDULE, "schedule", [Warmup, Scaled]),
    (NO_SCHEDULE, "factor", [Scaled]),
    ([*NO_VALUE, (1.0, ValueError)], "factor", [ReduceOnPlateau]),
    (NO_COUNT, "patience", [ReduceOnPlateau]),
    (NO_COUNT, "cooldown", [ReduceOnPlateau]),
    (NO_VALUE, "threshold", [ReduceOnPlateau]),
    (NO_WORD, "threshold_mode", [ReduceOnPlateau]),
    (NO_VALUE, "eps", [ReduceOnPlateau]),
]
BAD_ARGUMENTS = [
    pytest.param(kind, name, value, error, id=f"{kind.__name__}-{name}-{value!r:.20}")
    for bad, name, kinds in REFUSED
    for kind in kinds
    for value, error in bad
]


@pytest.mark.parametrize(("kind", "name", "value", "error"), BAD_ARGUMENTS)
def test_refuses_a_bad_argument(kind: Any, name: str, value: Any, error: type[Exception]) -> None:
    made(kind)
    with pytest.raises(error, match=r"must .*; got .") as caught:
        made(kind, **{name: value})
    assert caught.type is error
    assert name in str(caught.value)


def test_every_argument_is_tried() -> None:
    tried = {(kind, name) for _, name, kinds in REFUSED for kind in kinds}
    kinds = {kind for kind, _ in tried}
    assert tried == {(kind, field.name) for kind in kinds for field in dataclasses.fields(kind) if field.init}
    assert kinds == {type(schedule) for schedule, _, _ in EXAMPLES} | {ReduceOnPlateau}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(math.nan), "lr must be a finite number >= 0; got nan"),
        (lambda: StepDecay(0.1, 2.5), "step_size must be an integer >= 1 and < 2**63; got 2.5"),
        (
            lambda: Cosine(0.1, 100, warmup_steps=100),
            "warmup_steps must be < total_steps, which includes the warm-up; got warmup_steps=100 and total_steps=100",
        ),
        (lambda: Cosine(0.1, 100, min_lr=0.2), "min_lr must be <= lr; got min_lr=0.2 and lr=0.1"),
        (lambda: MultiStep(0.1, (5, 4)), "milestones must be strictly increasing; got (5, 4)"),
        (lambda: MultiStep(0.1, (5, 6.0)), "milestones[1] must be an integer >= 1 and < 2**63; got 6.0"),
        (
            lambda: Piecewise((1.0,), (5,)),
            "values must have one item more than milestones; got 1 items for 1 milestones",
        ),
        (
            lambda: OneCycle(0.1, 10, anneal_strategy="cos"),
            "anneal_strategy must be one of 'cosine', 'linear'; got 'cos'",
        ),
        (lambda: Warmup("x", 1), "schedule must be a number or a callable step -> value; got 'x'"),
    ],
)
def test_messages_say_what_was_expected_and_what_came(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == message
