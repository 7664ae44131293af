"""What the lab offers of the rules and schedules is what the classes have, and its racers make their steps."""

import inspect
import json

import numpy as np
import pytest
from lab_races import race_of, run_program

import gdfast
from gdfast import schedules
from gdfast.lab import rules, surfaces
from gdfast.lab.errors import LabError
from gdfast.lab.race import FIELDS

LR = 3


def test_every_optimizer_that_takes_gradients_is_there():
    public = {name for name, kind in inspect.getmembers(gdfast, inspect.isclass) if hasattr(kind, "step")}
    assert public - rules.RULES.keys() == {"Optimizer", "LBFGS", "Lookahead"}
    assert not hasattr(gdfast.Optimizer, "rules")  # the base of the others steps nothing
    # a step of LBFGS asks for the loss as often as its line search wants: no match for one gradient a step
    assert list(inspect.signature(gdfast.LBFGS.step).parameters) == ["self", "closure"]
    # and Lookahead goes around another: it is what `lookahead_k` makes of each
    for rule in rules.RULES:
        race = race_of((rule, {"lookahead_k": 3}), surface="bowl")
        race.advance(4)
        assert isinstance(race.lanes[0]._stepper, gdfast.Lookahead)


def test_lookahead():
    race = race_of(("SGD", {"lr": 0.1, "lookahead_k": 4}), ("SGD", {"lr": 0.1}), surface="bowl", steps=10)
    race.advance(10)
    point = np.array(race.settings.start)
    opt = gdfast.Lookahead(gdfast.SGD(point, lr=0.1), k=4)
    for _ in range(10):
        opt.step(point.copy())
    assert point.tobytes() == race.lanes[0].point.tobytes() != race.lanes[1].point.tobytes()
    assert not race.change(0, "lookahead_k", None)
    run_program(race)
    with pytest.raises(LabError, match="lookahead_k must be an int"):
        race.change(0, "lookahead_k", 1.5)
    with pytest.raises(LabError, match="SGD with lookahead_k: "):
        race_of(("SGD", {"dtype": "bfloat16", "lookahead_k": 2}), surface="bowl", dtype="float32")


@pytest.mark.parametrize("rule", rules.RULES)
def test_the_page_offers_what_a_class_has(rule):
    entry = next(one for one in rules.catalogue() if one["rule"] == rule)
    kind = rules.RULES[rule]
    assert [control["name"] for control in entry["controls"]] == [*kind.specs, *rules.around(rule)]
    signature = inspect.signature(kind).parameters
    for control in entry["controls"]:
        if control["name"] in kind.own_specs:
            assert control["default"] == signature[control["name"]].default
            assert control["own"]
        value = rules.as_value(rule, control["name"], json.loads(json.dumps(control["default"])))
        assert value == control["default"]
    assert entry["about"]


@pytest.mark.parametrize("rule", rules.RULES)
def test_a_race_makes_the_steps_of_the_optimizer(rule):
    race = race_of((rule, {"lr": 0.02}), surface="ravine", steps=30)
    frames = race.advance(30)
    surface = surfaces.SURFACES["ravine"]
    point = np.array(surface.start).reshape((1, 2) if rule == "Muon" else 2)
    opt = getattr(gdfast, rule)(point, lr=0.02)
    for frame in frames[:, 0]:
        x, y = before = point.ravel().copy()
        slope = np.array([x, 40 * y])
        opt.step(slope.reshape(point.shape))
        x, y = point.ravel()
        expected = [x, y, 0.5 * (x**2 + 40 * y**2), 0.02, np.linalg.norm(point - before), np.linalg.norm(slope)]
        np.testing.assert_allclose(frame[:6], expected, rtol=1e-6)
    assert race.lanes[0].point.tobytes() == point.tobytes()
    assert race.over
    assert race.advance(5).shape == (0, 1, len(FIELDS))


def test_moments():
    frames = race_of(("Adam", {}), ("SGD", {}), ("SGD", {"momentum": 0.5}), ("RMSprop", {}), surface="bowl").advance(1)[
        0
    ]
    slope = np.array([-3.2, 1.6])
    np.testing.assert_allclose(frames[0, 6:], [*0.1 * slope, *0.001 * slope**2], rtol=1e-5)
    assert np.isnan(frames[1, 6:]).all()
    np.testing.assert_allclose(frames[2, 6:8], slope, rtol=1e-6)
    np.testing.assert_allclose(frames[3, 8:], 0.01 * slope**2, rtol=1e-5)


def test_schedules_on_offer():
    offered = {one["schedule"] for one in rules.schedule_catalogue()}
    nested = {
        "CyclicMomentum",
        "OneCycleMomentum",
        "Join",
        "Scaled",
        "Warmup",
        "MultiStep",
        "Piecewise",
        "ReduceOnPlateau",
    }
    every = {name for name in schedules.__all__ if hasattr(getattr(schedules, name), "__dataclass_fields__")}
    assert offered == every - nested
    for one in rules.schedule_catalogue():
        assert one["about"]
        assert {field["kind"] for field in one["fields"]} <= {"number", "count", "choice", "flag"}


def test_a_schedule_drives_the_rate():
    data = {"schedule": "Linear", "arguments": {"lr": 0.5, "total_steps": 4}}
    frames = race_of(("SGD", {"lr": data}), surface="bowl", steps=6).advance(6)
    np.testing.assert_allclose(frames[:, 0, LR], [0.375, 0.25, 0.125, 0.0, 0.0, 0.0])
