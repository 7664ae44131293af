"""The schedules: their values against stored ones of other libraries, and their properties."""

import copy
import dataclasses
import json
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    OneCycle,
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

VECTORS = json.loads((Path(__file__).parents[1] / "helpers" / "vectors" / "schedules.json").read_text())
LARGEST = sys.float_info.max

# One of each kind, beside its lowest and its highest value over all steps.
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


# without addresses, which each process has its own of
FORMULA_IDS = [re.sub(" at 0x[0-9a-f]+", "", repr(schedule)) for schedule, _ in FORMULAS]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=FORMULA_IDS)
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
def test_refuses_an_invalid_step(schedule: Schedule, step: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^step must be an integer >= 0 and < 2\*\*63; got "):
        schedule(step)


@pytest.mark.parametrize("lr", [0.1, 0.9, 1e-3, 1.0])
def test_equal_ends_give_a_constant(lr: float) -> None:
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
