"""The lab's races and their settings: bits that come back, changes on the way, what is refused and what diverges."""

import json
import math

import numpy as np
import pytest
from lab_races import race_of

from gdfast.lab import rules, settings
from gdfast.lab.errors import LabError
from gdfast.lab.race import FIELDS, Race

LR = 3


def test_settings_come_back():
    race = race_of(
        ("Adam", {"lr": {"schedule": "Cosine", "arguments": {"lr": 0.1, "total_steps": 9}}, "betas": [0.5, 0.9]}),
        ("SGD", {"clip_norm": 1.0, "nesterov": True, "momentum": 0.5}),
        surface={"formula": "x**2 + y**4", "view": [-1, 1, -2, 2]},
        start=[0.5, 1],
        noise=0.25,
        seed=7,
        steps=50,
        dtype="float32",
        changes=[[9, 0, "eps", 0.5], [3, 1, "lr", 0.5]],
    )
    data = json.loads(json.dumps(settings.write(race.settings)))
    assert settings.read(data) == race.settings
    assert [change.step for change in race.settings.changes] == [3, 9]
    assert settings.write(settings.read(data)) == data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ([], "a race must be an object"),
        ({"colour": 1}, "a race has no 'colour'"),
        ({"surface": "moon"}, "surface must be one of bowl, "),
        ({"surface": {"formula": "x"}}, "surface must be one of"),
        ({"surface": {"formula": "q", "view": [0, 1, 0, 1]}}, "got 'q'"),
        ({"racers": {}}, "racers must be a list of at most 8; got {}"),
        ({"racers": [{"rule": "SGD", "values": {}}] * 9}, "at most 8; got 9"),
        ({"racers": ["SGD"]}, "a racer must be an object"),
        ({"racers": [{"rule": "SGD", "values": {}, "x": 1}]}, "a racer must be an object"),
        ({"racers": [{"rule": "Optimizer", "values": {}}]}, "rule must be an optimizer"),
        ({"racers": [{"rule": [], "values": {}}]}, "rule must be an optimizer"),
        ({"racers": [{"rule": "SGD", "values": {"beta": 1}}]}, "SGD has no hyperparameter 'beta'"),
        ({"racers": [{"rule": "SGD", "values": {"lr": -1}}]}, r"SGD: lr must be in \[0, inf\); got -1"),
        ({"racers": [{"rule": "SGD", "values": {"lr": "1"}}]}, "SGD: lr must be a number"),
        ({"racers": [{"rule": "SGD", "values": {"lr": {}}}]}, "must be a number or a schedule"),
        ({"racers": [{"rule": "SGD", "values": {"lr": {"schedule": "Evil", "arguments": {}}}}]}, "got 'Evil'"),
        ({"racers": [{"rule": "SGD", "values": {"lr": {"callable": "os.system"}}}]}, "must be a number or a schedule"),
        ({"racers": [{"rule": "Adam", "values": {"betas": [{"callable": "f", "schedule": 1}, 0.5]}}]}, "Adam: "),
        ({"racers": [{"rule": "Adam", "values": {"betas": [0.5]}}]}, "a pair of numbers"),
        ({"start": [1]}, "start must be a pair"),
        ({"start": [1, math.inf]}, r"start\[1\] must be a number"),
        ({"start": [1, True]}, r"start\[1\] must be a number"),
        ({"noise": -1}, "noise must be a number from 0"),
        ({"noise": None}, "noise must be a number from 0"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"steps": 10**9}, "steps must be a whole number from 1"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"changes": [[0, 0]]}, "a change must be"),
        ({"changes": [[-1, 0, "lr", 1]]}, "a change's step"),
        ({"changes": [[0, 1, "lr", 1]]}, "a change's racer must be one of the 1"),
        ({"changes": [[0, True, "lr", 1]]}, "a change's racer"),
        ({"changes": [[0, 0, 7, 1]]}, "a change's name must be text"),
        ({"changes": [[0, 0, "lr", -1]]}, "SGD: lr must be"),
        ({"changes": [[0, 0, "lr", 1]] * 501}, "at most 500; got 501"),
    ],
)
def test_wrong_settings_are_refused_in_words(change, words):
    data = {"racers": [{"rule": "SGD", "values": {}}], **change} if isinstance(change, dict) else change
    with pytest.raises(LabError, match=words):
        Race(settings.read(data))


def test_what_an_optimizer_refuses_as_a_whole():
    with pytest.raises(LabError, match="SGD: nesterov"):
        race_of(("SGD", {"nesterov": True}))
    with pytest.raises(LabError, match="rule must be an optimizer"):
        rules.make("Sgd", {}, np.zeros(2))


def test_the_same_settings_go_through_the_same_bits():
    race = race_of(("Adam", {"lr": 0.1}), ("SGD", {"lr": 1e-3}), surface="rosenbrock", noise=0.5, seed=3, steps=90)
    race.advance(20)
    assert race.change(0, "lr", 0.4)
    assert race.change(0, "lr", 0.3)  # before the same step: instead of the first
    race.advance(13)
    assert race.change(1, "momentum", 0) is True
    assert race.change(0, "betas", [0.5, 0.99])
    last = race.advance(100)
    assert len(race.settings.changes) == 3
    again = Race(settings.read(json.loads(json.dumps(settings.write(race.settings)))))
    frames = again.advance(90)
    np.testing.assert_array_equal(frames[33:], last)
    for one, other in zip(race.lanes, again.lanes, strict=True):
        assert one.point.tobytes() == other.point.tobytes()


def test_racers_see_the_same_noise():
    race = race_of(("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1}), surface="noisy", dtype="float32")
    frames = race.advance(20)
    np.testing.assert_array_equal(frames[:, 0], frames[:, 1])
    assert race.lanes[0].point.dtype == np.float32
    assert (race_of(("SGD", {"lr": 0.1}), surface="noisy", noise=0).advance(1)[0, 0] != frames[0, 0]).any()


def test_a_change_at_the_start_or_of_what_is_settled_begins_again():
    race = race_of(("SGD", {"lr": 0.1}), ("Adam", {}), surface="bowl")
    assert not race.change(0, "lr", 0.2)
    race = Race(race.with_value(0, "lr", 0.2))
    race.advance(3)
    assert race.change(0, "lr", 0.3)
    assert not race.change(0, "nesterov", False)
    again = race.with_value(1, "amsgrad", True)
    assert [dict(racer.values) for racer in again.racers] == [{"lr": 0.3}, {"amsgrad": True}]
    assert again.changes == ()
    later = race_of(("SGD", {"lr": 0.1}), surface="bowl", changes=[[5, 0, "lr", 0.5]])
    assert later.from_here().racers[0].values == {"lr": 0.1}
    assert [dict(racer.values) for racer in Race(again).from_here().racers] == [{"lr": 0.3}, {"amsgrad": True}]


def test_changes_that_cannot_be():
    race = race_of(("SGD", {"lr": 0.1}), surface="bowl", steps=1000)
    race.advance(1)
    before = race.lanes[0].point.tobytes()
    for racer, name, value, words in [
        (1, "lr", 1, "racer must be one of the 1"), (True, "lr", 1, "racer must be"), (None, "lr", 1, "racer must be"),
        (0, "rate", 1, "has no hyperparameter 'rate'"), (0, "lr", -1, "lr must be"),
        (0, "momentum", 0.5, "momentum cannot change so"),
    ]:  # fmt: skip
        with pytest.raises(LabError, match=words):
            race.change(racer, name, value)
    assert race.lanes[0].opt.param_groups[0]["lr"] == 0.1
    assert race.settings.changes == ()
    assert race.lanes[0].point.tobytes() == before
    for _ in range(settings.MOST_CHANGES):
        race.change(0, "lr", 0.01)
        race.advance(1)
    with pytest.raises(LabError, match="remembers 500 changes"):
        race.change(0, "lr", 0.02)


def test_a_change_of_a_link_that_the_optimizer_does_not_take_ends_its_way():
    race = race_of(
        ("SGD", {"lr": 0.1}), ("SGD", {}), surface="bowl", changes=[[2, 0, "momentum", 0.5], [3, 0, "lr", 1.0]]
    )
    race.advance(5)
    assert "momentum cannot change so" in race.lanes[0].ended
    assert race.lanes[0].opt.step_count == 2
    assert race.lanes[1].opt.step_count == 5


def test_divergence_is_said_in_words():
    race = race_of(("SGD", {"lr": 1.0}), ("SGD", {"lr": 0.01}), surface="rosenbrock")
    frames = race.advance(50)
    assert race.lanes[0].ended.startswith("SGD diverged at step ")
    assert "clip_norm" in race.lanes[0].ended
    assert not np.isfinite(frames[-1, 0, :2]).all()
    alone = race_of(("SGD", {"lr": 1.0}), surface="rosenbrock")
    assert len(alone.advance(400)) < 20
    assert alone.over


def test_a_schedule_out_of_range_is_said_in_words():
    rising = {"schedule": "Linear", "arguments": {"lr": 0.5, "total_steps": 4, "end_lr": 2.0}}
    race = race_of(("Adam", {"betas": [rising, 0.9]}), surface="bowl")
    race.advance(9)
    assert race.lanes[0].ended.startswith("Adam cannot take step 3: betas[0] at step 2 must be")
    huge = {"schedule": "Linear", "arguments": {"lr": 0.5, "total_steps": 1, "end_lr": 1e300}}
    race = race_of(("SGD", {"lr": huge}), surface="bowl", dtype="float32")
    assert np.isnan(race.advance(9)[-1, 0, LR])


def test_a_race_of_nobody():
    race = race_of()
    assert race.over
    assert race.frame().shape == (0, len(FIELDS))
