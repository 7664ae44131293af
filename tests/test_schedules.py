"""The schedules: their values against stored ones of other libraries, their properties, and what they refuse."""

import copy
import dataclasses
import json
import math
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    value_at,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "schedules.json").read_text())
LARGEST = sys.float_info.max

# One of each kind, beside its lowest and its highest value over all steps.
EXAMPLES = [
    (Constant(0.3), 0.3, 0.3),
    (StepDecay(0.8, step_size=7, gamma=0.5), 0.0, 0.8),
    (MultiStep(0.8, milestones=(3, 50), gamma=0.1), 0.8 * 0.1**2, 0.8),
    (Exponential(0.8, 0.97, end_lr=0.01), 0.01, 0.8),
    (InverseTime(0.8, 0.1, step_size=3), 0.0, 0.8),
    (InvScaling(0.8, power=0.7), 0.0, 0.8),
    (InverseSqrt(0.8, warmup_steps=10, warmup_lr=0.1), 0.0, 0.8),
    (Linear(0.1, total_steps=50, warmup_steps=9, warmup_lr=0.2, end_lr=0.7), 0.1, 0.7),
    (Polynomial(0.8, total_steps=50, warmup_steps=9, end_lr=0.1, power=1.7), 0.0, 0.8),
    (Cosine(0.8, total_steps=50, warmup_steps=9, warmup_lr=0.05, min_lr=0.1), 0.05, 0.8),
    (WarmupStableDecay(0.8, total_steps=90, warmup_steps=9, decay_steps=30, decay_type="1-sqrt"), 0.0, 0.8),
    (CosineRestarts(0.8, cycle_steps=7, cycle_mult=3, gamma=0.9, min_lr=0.1), 0.1, 0.8),
    (Cyclic(0.1, 0.8, step_size_up=5, step_size_down=11, mode="triangular2"), 0.1, 0.8),
    (Cyclic(0.1, 0.8, step_size_up=5, mode="exp_range", gamma=0.99).momentum(0.3, 0.9), 0.3, 0.9),
    (OneCycle(0.8, total_steps=77, three_phase=True), 0.8 / 25 / 1e4, 0.8),
    (OneCycle(0.8, total_steps=77, anneal_strategy="linear").momentum(), 0.85, 0.95),
    (Piecewise((0.8, 0.1, 0.4), milestones=(10, 60), interpolation="cosine"), 0.1, 0.8),
    (Join((0.5, Cosine(0.8, total_steps=50)), milestones=(20,)), 0.0, 0.8),
    (Warmup(StepDecay(0.8, step_size=20), warmup_steps=10), 0.0, 0.8),
    (Scaled(Linear(0.8, total_steps=50), Constant(0.5)), 0.0, 0.4),
]
IDS = [type(schedule).__name__ for schedule, _, _ in EXAMPLES]
ALL = pytest.mark.parametrize("schedule", [schedule for schedule, _, _ in EXAMPLES], ids=IDS)


# Values of other libraries


@pytest.mark.parametrize("case", VECTORS["schedules"], ids=lambda case: f"{case['peer']}: {case['schedule']}")
def test_values_of_other_libraries(case: dict[str, Any]) -> None:
    schedule = eval(case["schedule"], vars(schedules).copy())
    values = [schedule(step) for step in case["steps"]]
    np.testing.assert_allclose(values, case["values"], rtol=1e-12, atol=case.get("absolute_tolerance", 0.0))


@pytest.mark.parametrize("case", VECTORS["plateau"], ids=lambda case: case["schedule"])
def test_plateau_of_pytorch(case: dict[str, Any]) -> None:
    schedule = eval(case["schedule"], vars(schedules).copy())
    assert [schedule.update(metric) for metric in case["metrics"]] == case["values"]


def test_every_schedule_has_an_example() -> None:
    public = {getattr(schedules, name) for name in schedules.__all__ if name not in ("ScheduleLike", "value_at")}
    assert public - {Schedule, ReduceOnPlateau} == {type(schedule) for schedule, _, _ in EXAMPLES}


# The formulas where no other library stands beside, and the identities between schedules

FORMULAS = [
    (InverseTime(0.3, 0.7, step_size=9), lambda t: 0.3 / (1 + 0.7 * t / 9)),
    (InverseTime(0.3, 0.0), lambda t: 0.3),
    (InvScaling(0.3), lambda t: 0.3 / math.sqrt(t + 1)),
    (InvScaling(0.3, power=0.25), lambda t: 0.3 / (t + 1) ** 0.25),
    (
        Piecewise((0.3, 0.1, 0.7), (40, 90), interpolation="linear"),
        lambda t: np.interp(t, (0, 40, 90), (0.3, 0.1, 0.7)),
    ),
    (Piecewise((0.3,), ()), lambda t: 0.3),
    (CosineRestarts(0.3, 9, gamma=0.5), lambda t: 0.3 * 0.5 ** (t // 9) * (1 + math.cos(math.pi * (t % 9) / 9)) / 2),
    (CyclicMomentum(Cyclic(0.0, 1.0, step_size_up=8)), lambda t: 0.9 - 0.1 * Cyclic(0.0, 1.0, step_size_up=8)(t)),
    (Warmup(Cosine(0.3, 70), 30), Cosine(0.3, 100, warmup_steps=30)),
    (Warmup(InverseSqrt(0.3, timescale=30), 30), InverseSqrt(0.3, warmup_steps=30)),
    (Warmup(lambda t: 0.3, 0), lambda t: 0.3),
    (Polynomial(0.3, 80, end_lr=0.9), Linear(0.3, 80, end_lr=0.9)),
    (WarmupStableDecay(0.3, 90, warmup_steps=20, decay_steps=70), Linear(0.3, 90, warmup_steps=20)),
    (Join((0.3,), ()), Constant(0.3)),
    (Join((lambda t: t, lambda t: 2 * t), (50,)), lambda t: t if t < 50 else 2 * (t - 50)),
    (Scaled(lambda t: t + 1, InvScaling(0.3, power=1.0)), lambda t: 0.3),
    (Scaled(0.3, StepDecay(1.0, 10)), StepDecay(0.3, 10)),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=[repr(schedule) for schedule, _ in FORMULAS])
def test_formula(schedule: Schedule, formula: Any) -> None:
    steps = [*range(200), 12_345]
    np.testing.assert_allclose([schedule(t) for t in steps], [formula(t) for t in steps], rtol=1e-12)


def test_one_cycle_without_a_rise_starts_at_its_peak() -> None:
    # PyTorch divides by zero here: the rise begins and ends in step 0.
    schedule = OneCycle(0.3, total_steps=50, pct_start=1 / 50)
    assert schedule(0) == 0.3
    assert 0.29 < schedule(1) < 0.3


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        (Linear(0.1, 50, warmup_steps=10, warmup_lr=0.3, end_lr=0.7), (0, 10, 50, 51), (0.3, 0.1, 0.7, 0.7)),
        (Polynomial(0.1, 50, warmup_steps=10, end_lr=0.7, power=0.3), (0, 10, 50, 51), (0.0, 0.1, 0.7, 0.7)),
        (Cosine(0.7, 50, warmup_steps=10, min_lr=0.1), (0, 10, 50, 51), (0.0, 0.7, 0.1, 0.1)),
        (WarmupStableDecay(0.7, 50, decay_steps=20, min_lr=0.1), (0, 30, 50, 51), (0.7, 0.7, 0.1, 0.1)),
        (OneCycle(0.7, 50, anneal_strategy="linear"), (0, 14, 49, 50), (0.7 / 25, 0.7, 0.7 / 25 / 1e4, 0.7 / 25 / 1e4)),
        (OneCycle(0.7, 50), (0, 14, 49, 50), (0.7 / 25, 0.7, 0.7 / 25 / 1e4, 0.7 / 25 / 1e4)),
        (CosineRestarts(0.7, 9, cycle_mult=2, min_lr=0.1), (0, 9, 27, 63), (0.7, 0.7, 0.7, 0.7)),
        (Cyclic(0.1, 0.7, step_size_up=7, step_size_down=9), (0, 7, 16, 23), (0.1, 0.7, 0.1, 0.7)),
        (Piecewise((0.3, 0.1), (10,), interpolation="cosine"), (0, 10, 11), (0.3, 0.1, 0.1)),
        (InverseSqrt(0.7, warmup_steps=10, warmup_lr=0.3), (0, 10), (0.3, 0.7)),
    ],
)
def test_ends_are_exact(schedule: Schedule, steps: tuple[int, ...], expected: tuple[float, ...]) -> None:
    assert tuple(map(schedule, steps)) == expected


# What every schedule promises


@ALL
def test_is_data(schedule: Schedule) -> None:
    assert eval(repr(schedule), vars(schedules).copy()) == schedule
    for clone in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert clone == schedule
        assert hash(clone) == hash(schedule)
        assert repr(clone) == repr(schedule)
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        schedule.lr = 1.0
    assert not hasattr(schedule, "__dict__")


@ALL
@given(data=st.data())
def test_is_pure(schedule: Schedule, data: st.DataObject) -> None:
    first = {step: schedule(step) for step in range(120)}
    steps = data.draw(st.lists(st.integers(0, 119), max_size=20))
    assert [schedule(step) for step in steps] == [first[step] for step in steps]


@pytest.mark.parametrize(("schedule", "low", "high"), EXAMPLES, ids=IDS)
@given(step=st.integers(0, 2**63 - 1) | st.integers(0, 200))
def test_stays_in_its_bounds(schedule: Schedule, low: float, high: float, step: int) -> None:
    value = schedule(step)
    assert type(value) is float
    assert low <= value <= high


@ALL
def test_takes_any_kind_of_integer(schedule: Schedule) -> None:
    expected = schedule(37)
    for kind in (np.int8, np.uint8, np.int32, np.int64, np.uint64):
        assert schedule(kind(37)) == expected
    assert schedule(np.array(37)) == expected


@ALL
@pytest.mark.parametrize(
    ("step", "error"),
    [(-1, ValueError), (2**63, ValueError), (np.int64(-3), ValueError)]
    + [(step, TypeError) for step in (1.0, np.float64(2.0), True, np.True_, "3", None, np.array([3]))],
)
def test_refuses_a_step_that_is_none(schedule: Schedule, step: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^step must be an integer >= 0 and < 2\*\*63; got "):
        schedule(step)


@pytest.mark.parametrize("lr", [0.1, 0.9, 1e-3, 1.0])
def test_a_level_line_is_level(lr: float) -> None:
    # Between equal values rounding must not step outside: a beta of 1 + 2**-52 would be refused by its optimizer.
    for schedule in (Linear(lr, 99, end_lr=lr), Cosine(lr, 99, min_lr=lr), Cyclic(lr, lr, step_size_up=49)):
        assert {schedule(step) for step in range(200)} == {lr}


units = st.floats(0.0, 1.0)
lengths = st.integers(1, 2**41)


@st.composite
def continuous(draw: st.DrawFn) -> tuple[Schedule, list[int]]:
    """Draw a schedule with values in [0, 1] that promises to be continuous, and the steps where its pieces meet.

    No piece is shorter than 500 steps, so that a jump cannot hide in the steepness.
    """
    total_steps = draw(st.integers(1000, 2**41))
    warmup_steps = draw(st.just(0) | st.integers(500, total_steps - 500))
    decay_steps = draw(st.integers(500, total_steps - warmup_steps))
    lr, end, warmup_lr = draw(st.tuples(units, units, units))
    low, high = sorted((lr, end))
    warmup: Any = {"warmup_steps": warmup_steps, "warmup_lr": warmup_lr}
    decay: Any = {"decay_steps": decay_steps, "decay_type": draw(st.sampled_from(["linear", "cosine"]))}
    schedule = draw(
        st.sampled_from(
            [
                Linear(lr, total_steps, end_lr=end, **warmup),
                Polynomial(lr, total_steps, end_lr=end, power=2.0, **warmup),
                Cosine(high, total_steps, min_lr=low, **warmup),
                WarmupStableDecay(high, total_steps, min_lr=low, **decay, **warmup),
                Warmup(Cosine(high, total_steps, min_lr=low), **warmup),
                InverseSqrt(high, timescale=total_steps, **warmup),
                Piecewise((lr, end, lr), (decay_steps, total_steps + 500), interpolation="linear"),
                OneCycle(high, total_steps, pct_start=0.5),
                Cyclic(low, high, step_size_up=decay_steps),
            ]
        )
    )
    joins = [warmup_steps, decay_steps, 2 * decay_steps, total_steps - decay_steps, total_steps // 2, total_steps]
    return schedule, joins


@given(continuous())
def test_pieces_meet(case: tuple[Schedule, list[int]]) -> None:
    schedule, joins = case
    for join in joins:
        around = [schedule(max(0, join + offset)) for offset in (-1, 0, 1)]
        assert max(around) - min(around) < 0.01


@given(lr=units, length=lengths, total=lengths, power=st.floats(0.01, 50.0))
def test_decays_never_rise(lr: float, length: int, total: int, power: float) -> None:
    steps = sorted({0, 1, length // 3, length, length + 1, total // 2, total, total + 1, 2**40, 2**63 - 1})
    for schedule in (
        Linear(lr, total),
        Polynomial(lr, total, power=power),
        Cosine(lr, total),
        WarmupStableDecay(lr, total, decay_steps=min(length, total), decay_type="1-sqrt"),
        StepDecay(lr, length),
        Exponential(lr, 0.9, step_size=length),
        InverseTime(lr, power, step_size=length),
        InvScaling(lr, power),
        InverseSqrt(lr, timescale=length),
    ):
        run = [schedule(step) for step in steps]
        assert run == sorted(run, reverse=True), schedule
        assert run[0] == lr


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (StepDecay(1.0, 1, gamma=2.0), LARGEST),
        (StepDecay(0.0, 1, gamma=2.0), 0.0),
        (StepDecay(1e300, 2**62, gamma=1e300), LARGEST),
        (StepDecay(1.0, 1, gamma=0.9), 0.0),
        (Exponential(1.0, 1.5), LARGEST),
        (Exponential(1.0, 1.5, end_lr=10.0), 10.0),
        (Exponential(1.0, 0.0), 0.0),
        (InverseTime(1.0, LARGEST), 0.0),
        (InvScaling(1.0, power=1e9), 0.0),
        (Polynomial(1.0, total_steps=2**62, power=1e9), 0.0),
        (Polynomial(LARGEST, total_steps=2**62, end_lr=LARGEST), LARGEST),
        (Cyclic(0.5, 1.0, mode="triangular2"), 0.5),
        (CosineRestarts(1.0, 1, cycle_mult=2**62, gamma=0.5), 0.25),
        (Scaled(LARGEST, 2.0), LARGEST),
        (Scaled(Exponential(1.0, 1.5), 0.0), 0.0),
    ],
)
def test_nothing_overflows(schedule: Schedule, expected: float) -> None:
    assert schedule(2**63 - 1) == pytest.approx(expected, abs=1e-300)


def test_restarts_of_huge_steps_are_exact() -> None:
    # A logarithm in floating point would miss restarts that fall on a power.
    schedule = CosineRestarts(1.0, cycle_steps=1, cycle_mult=3)
    for cycle in range(1, 38):
        restart = (3**cycle - 1) // 2
        assert schedule(restart) == 1.0
        assert schedule(restart - 1) < 0.75 + 1e-12 or cycle == 1


def test_value_at() -> None:
    assert value_at(1, 5) == 1.0
    assert value_at(Constant(0.3), 5) == 0.3
    assert type(value_at(lambda step: np.float32(0.5), 5)) is float


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


def test_a_schedule_of_ones_own() -> None:
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


# The schedule that keeps state


def test_plateau_is_called_with_any_step() -> None:
    schedule = ReduceOnPlateau(0.5, patience=0, factor=0.5)
    assert schedule(0) == schedule(10**9) == 0.5
    schedule.update(1.0)
    assert schedule.update(1.0) == schedule(0) == schedule.value == 0.25
    with pytest.raises(ValueError, match=r"^step must be"):
        schedule(-1)


def test_plateau_takes_what_float_takes() -> None:
    schedule = ReduceOnPlateau(0.5, patience=0, factor=0.5)
    for metric in (3, np.float32(2.0), np.array(1.0)):
        assert schedule.update(metric) == 0.5
    assert schedule.best == 1.0
    assert schedule.update(math.nan) == 0.25
    assert schedule.best == 1.0
    for metric in ("1.0", None, True, [1.0], 1j):
        with pytest.raises(TypeError, match=r"^metric must be a number; got "):
            schedule.update(metric)


def test_plateau_compares_its_state_as_well() -> None:
    schedule = ReduceOnPlateau(0.5, patience=1)
    fresh = eval(repr(schedule), vars(schedules).copy())
    assert schedule == fresh
    schedule.update(1.0)
    assert schedule != fresh
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
    schedule.reset()
    assert schedule == fresh
    with pytest.raises(TypeError, match="unhashable"):
        hash(schedule)


@given(
    metrics=st.lists(st.floats(allow_nan=True), max_size=40),
    cut=st.integers(0, 40),
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 2),
)
def test_plateau_resumes(metrics: list[float], cut: int, mode: Any, threshold_mode: Any, cooldown: int) -> None:
    options = {"mode": mode, "threshold_mode": threshold_mode, "patience": 1, "cooldown": cooldown, "min_lr": 1e-3}
    whole, before, after = (ReduceOnPlateau(0.5, **options) for _ in range(3))
    expected = [whole.update(metric) for metric in metrics]
    values = [before.update(metric) for metric in metrics[:cut]]
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after == before
    assert values + [after.update(metric) for metric in metrics[cut:]] == expected
    assert all(1e-3 <= value <= 0.5 for value in expected)
    assert expected == sorted(expected, reverse=True)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"value": -1.0}, ValueError),
        ({"value": "0.1"}, TypeError),
        ({"best": math.nan}, ValueError),
        ({"num_bad": 1.5}, TypeError),
        ({"cooldown_counter": -1}, ValueError),
        ({"unknown": 1}, ValueError),
    ],
)
def test_plateau_refuses_a_bad_state_and_keeps_its_own(change: dict[str, Any], error: type[Exception]) -> None:
    schedule = ReduceOnPlateau(0.5)
    schedule.update(0.3)
    kept = schedule.state_dict()
    with pytest.raises(error, match=f"{next(iter(change))}.*got|state must have"):
        schedule.load_state_dict({**ReduceOnPlateau(0.1).state_dict(), **change})
    with pytest.raises(ValueError, match=r"^state must have the entries"):
        schedule.load_state_dict({"value": 0.1})
    assert schedule.state_dict() == kept
