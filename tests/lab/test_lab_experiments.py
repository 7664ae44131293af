"""The lab's experiments do what their words say, and each program repeats its race bit for bit."""

import copy
import sys

import numpy as np
import pytest
from lab_races import race_of, run_program

import gdfast
from gdfast.lab import program, rules, settings
from gdfast.lab.errors import LabError
from gdfast.lab.experiments import EXPERIMENTS
from gdfast.lab.race import Race

X, Y, LOSS, LR, MOVE, SLOPE = range(6)


@pytest.mark.parametrize("key", EXPERIMENTS)
def test_the_program_of_each_experiment_makes_the_same_bits(key, capsys):
    if key == "formats":
        pytest.importorskip("ml_dtypes")
    race = Race(settings.read(EXPERIMENTS[key].race))
    source = program.of_race(race)
    race.advance(race.settings.steps)
    assert source == program.of_race(race)
    run_program(race)
    assert len(capsys.readouterr().out.splitlines()) == len(race.lanes)


def test_a_program_with_everything(capsys):
    cosine = {"schedule": "Cosine", "arguments": {"lr": 0.1, "total_steps": 60}}
    race = race_of(
        ("Muon", {"lr": 0.05}), ("SGD", {"lr": cosine}), ("SGD", {"lr": 9.0}), ("Adam", {"betas": [0.5, 0.9]}),
        surface={"formula": "sin(x)*cos(y) + 0.1*(x^2 + y^2)", "view": [-3, 3, -3, 3]},
        noise=0.1, seed=5, dtype="float32",
    )  # fmt: skip
    race.advance(10)
    race.change(3, "lr", {"schedule": "Exponential", "arguments": {"lr": 0.5, "gamma": 0.9}})
    race.advance(40)
    run_program(race)
    source = program.of_race(race)
    assert "from gdfast.schedules import Cosine, Exponential\n" in source
    assert max(map(len, source.splitlines())) < 400


def run(key):
    race = Race(settings.read(copy.deepcopy(dict(EXPERIMENTS[key].race))))
    return race, np.concatenate([race.frame()[None], race.advance(20_000)])


def test_there_are_twelve():
    assert len(EXPERIMENTS) == 12
    for one in EXPERIMENTS.values():
        assert 150 < len(one.text) < 640


def test_rate():
    _, frames = run("rate")
    slow, right, fast = frames[-1, :, LOSS]
    assert slow > 1000 * right
    assert fast > 1e6
    assert np.abs(frames[:, 2, Y]).argmax() == len(frames) - 1


def test_batches():
    _, frames = run("batches")
    assert frames[10, 0, LOSS] < frames[10, 1, LOSS]
    assert frames[-100:, 0, LOSS].mean() > 5 * frames[-100:, 1, LOSS].mean()


def test_momentum():
    _, frames = run("momentum")
    first = [int(np.argmax(frames[:, i, LOSS] < 0.1)) or len(frames) for i in range(3)]
    assert first[1] < first[0] < len(frames)
    assert (np.diff(np.sign(frames[:, 2, X])) != 0).sum() > 5


def test_nesterov():
    _, frames = run("nesterov")
    assert frames[-50:, 1, LOSS].max() < 0.2 * frames[-50:, 0, LOSS].max()


def test_adagrad():
    _, frames = run("adagrad")
    assert frames[-1, 0, LOSS] > 20 * frames[-1, 1, LOSS]
    assert frames[-1, 0, MOVE] < 0.01 * frames[1, 0, MOVE]


def test_bias():
    _, frames = run("bias")
    assert 25 < frames[1, 1, MOVE] / frames[1, 0, MOVE] < 35


def test_decay():
    race, frames = run("decay")
    plain, decoupled, penalty = frames[-1, :, X]
    assert plain == frames[0, 0, X]
    assert 0.2 < decoupled / plain < 0.4
    assert abs(penalty) < 1e-3
    tiny = race.with_value(2, "weight_decay", 1e-6)
    assert abs(Race(tiny).advance(400)[-1, 2, X]) < 0.1


def test_saddle():
    _, frames = run("saddle")
    left = [int(np.argmax(np.abs(frames[:, i, Y]) > 0.5)) for i in range(3)]
    assert left[2] < left[1] < left[0]
    noisy = Race(settings.read({**EXPERIMENTS["saddle"].race, "noise": 0.1})).advance(300)
    assert int(np.argmax(np.abs(noisy[:, 0, Y]) > 0.5)) < left[0]


def test_exploding():
    _, frames = run("exploding")
    assert frames[:, 0, X].min() < -4.5
    assert frames[:, 0, SLOPE].max() > 50 * frames[20:, 1, SLOPE].min()
    assert frames[:, 1, MOVE].max() < 0.31
    assert frames[30:, 1, X].min() > 0.5


def test_vanishing():
    _, frames = run("vanishing")
    assert frames[-1, 0, LOSS] > 0.9
    assert abs(frames[0, 0, SLOPE]) >= 0
    assert np.ptp(frames[100:, 0, LOSS]) < 0.02
    assert (frames[-1, 1:, LOSS] < 0.01).all()


def test_schedules():
    _, frames = run("schedules")
    constant, steps, cosine = frames[-20:, :3, LOSS].mean(0)
    assert max(steps, cosine) < 0.3 * constant
    assert len({tuple(rate) for rate in frames[:, :5, LR].T.tolist()}) == 5
    assert frames[-100:, 5, LOSS].mean() < 0.4 * frames[-100:, 0, LOSS].mean()


def test_formats():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    race, frames = run("formats")
    plain, nearest, random, adam, eight = np.moveaxis(frames[..., :2], 1, 0)
    assert nearest[200].tobytes() == nearest[-1].tobytes()
    assert nearest[-1, 0] < -2.5
    assert np.abs(random - plain).max() < 0.1
    assert np.abs(eight - adam).max() < 0.15
    for at, options in ((1, {"rounding": "nearest"}), (2, {"rounding": "stochastic"})):
        point = np.array(race.settings.start, ml_dtypes.bfloat16)
        opt = gdfast.SGD(point, lr=0.003, master=None, **options)
        for _ in range(800):
            opt.step(point.astype(np.float32))
        assert point.tobytes() == race.lanes[at].point.tobytes()
    point = np.array(race.settings.start, np.float32)
    opt = gdfast.Adam(point, lr=0.01, state_dtype="8bit", state_dtype_min_size=1)
    for _ in range(800):
        opt.step(point.copy())
    assert point.tobytes() == race.lanes[4].point.tobytes()
    assert opt.state["0"]["exp_avg"].dtype == np.uint8
    assert frames[-1, 4, 6:8].tobytes() == opt.state_value("0", "exp_avg").tobytes()


def test_formats_are_offered_where_an_optimizer_has_them():
    without = {rule for rule in rules.RULES if "state_dtype" not in rules.specs(rule)}
    assert {"LARS", "LAMB", "Muon", "Rprop", "SignSGD"} <= without
    for rule in rules.RULES.keys() - without:
        race = race_of((rule, {"state_dtype": "8bit"}), surface="bowl", dtype="float32")
        race.advance(3)
        assert race.lanes[0].ended is None
    assert {"ScheduleFreeSGD", "LAMB"} <= {rule for rule in rules.RULES if "dtype" not in rules.specs(rule)}


def test_formats_that_cannot_be(monkeypatch):
    for values in ({"dtype": "bfloat16"}, {"state_dtype": "8bit"}):
        with pytest.raises(LabError, match="set numbers to float32"):
            race_of(("Adam", values), surface="bowl")
    with pytest.raises(LabError, match="dtype must be one of None, 'bfloat16'"):
        race_of(("Adam", {"dtype": "float8"}), surface="bowl", dtype="float32")
    race = race_of(("Adam", {"rounding": "nearest", "state_dtype": "float32"}), surface="bowl")
    race.advance(2)
    assert not race.change(0, "dtype", "bfloat16")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(LabError, match=r"pip install \"gdfast\[lab\]\""):
        race_of(("Adam", {"dtype": "bfloat16"}), surface="bowl", dtype="float32")
