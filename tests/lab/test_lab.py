"""The lab without its page: formulas, surfaces, races, programs; the optimizers are the real ones, bits come back."""

import copy
import inspect
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdfast
from gdfast import schedules
from gdfast.lab import formula, program, rules, settings, surfaces
from gdfast.lab.errors import LabError
from gdfast.lab.experiments import EXPERIMENTS
from gdfast.lab.race import FIELDS, Race

X, Y, LOSS, LR, MOVE, SLOPE = range(6)


def race_of(*racers, **others):
    data = {"racers": [{"rule": rule, "values": values} for rule, values in racers], **others}
    return Race(settings.read(data))


# Formulas

TEXTS = [
    "x**2 + y", "(1 - x)**2 + 100*(y - x^2)^2", "sin(x)*cos(y) + tan(x/9)", "tanh(x*y)", "exp(-x**2)*y",
    "log(x**2 + 1)/y", "sqrt(x**2 + y**2)", "abs(x) - abs(y)", "x**y", "2**x - y", "pi*x/e", "+x - -y",
    "x/(1 + y**2)", "3*(2*x)*y", "x*2*y*0.5", "0.5*sin(x*y)", "0.5*(x**2 - y**2)", "1 + x*0 + y",
    "x - 0 + (0 - y)", "-x*3", "(x + 1)**1*y**0",
    "1*x/1 + 0/(x*y)", "-1*x + y*(-1)", "x + (-2)*y", "-(-x) + y", "0.5*(x**2 + x*y)", "x**(-1)",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_formula_is_what_python_says_and_its_slopes_are_the_differences(text):
    found = formula.read(text)
    python = text.replace("^", "**")
    names = {"np": np, "pi": math.pi, "e": math.e, **{name: getattr(np, name) for name in formula.SLOPES}}
    for x, y in [(1.3, 0.7), (0.4, 2.5)]:
        x, y = np.float64(x), np.float64(y)
        here = {**names, "x": x, "y": y}
        assert found.value(x, y) == pytest.approx(eval(python, here), rel=1e-14)
        assert (found.value(x, y), *found.gradient(x, y)) == tuple(
            eval(source, here) for source in (found.source, found.dx, found.dy)
        )
        h = 1e-6
        differences = (
            (found.value(x + h, y) - found.value(x - h, y)) / (2 * h),
            (found.value(x, y + h) - found.value(x, y - h)) / (2 * h),
        )
        assert found.gradient(x, y) == pytest.approx(differences, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (7, "must be text; got int"),
        ("x" * 300, "at most 240 characters; got 300"),
        ("__import__('os').system('true')", 'cannot contain "\'"'),
        ("x.real", "cannot contain 'x.real'"),
        ("[x]", r"cannot contain '\['"),
        ("x if y else 1", "cannot contain 'x if y else 1'"),
        ("x == y", "cannot contain '='"),
        ("eval(x)", r"cannot contain 'eval\(x\)'"),
        ("sin(x, y)", r"cannot contain 'sin\(x, y\)'"),
        ("sin", "knows x, y, pi and e; got 'sin'"),
        ("z", "got 'z'"),
        ("2x", "a product needs its \\*"),
        ("1if x", "cannot be read"),
        ("", "cannot be read"),
        ("(" * 120 + "x", "cannot be read"),
        ("-" * 60 + "x", "at most 24 operations deep"),
        ("True*x", "cannot contain True"),
        ("1j*x", "cannot contain 1j"),
        ("None", "cannot contain None"),
        ("1", "must depend on x or y"),
        ("x - x*1 + x*0", "must depend on x or y"),
        ("1/0 + x", "not a finite number"),
        ("9**9**9*x", "not a finite number"),
        ("1e999*x", "not a finite number"),
        ("9" * 200 + "*x", None),
        ("x*" + "9" * 10 + "**99", "not a finite number"),
        ("(0 - 2)**x", "needs a positive base"),
        ("*".join(["(" + "*".join(["sin(x*y)"] * 8) + ")"] * 3), "too many terms"),
    ],
)
def test_what_is_no_formula_is_refused_in_words(text, words):
    if words is None:
        formula.read(text)
        return
    with pytest.raises(LabError, match=words):
        formula.read(text)


def test_a_number_that_no_float_holds():
    assert formula._number(10**400) == math.inf


@given(st.text(alphabet="xy0123456789.+-*/^() sincotaexplgqrb,", max_size=60))
def test_no_text_does_harm(text):
    try:
        found = formula.read(text)
    except LabError:
        return
    with np.errstate(all="ignore"):
        found.value(np.float64(0.5), np.float64(0.25))
        found.gradient(np.float64(0.5), np.float64(0.25))


# Surfaces


@pytest.mark.parametrize("key", surfaces.SURFACES)
def test_surfaces(key):
    surface = surfaces.SURFACES[key]
    heights = surfaces.grid(surface)
    assert heights.shape == (surfaces.GRID, surfaces.GRID)
    assert heights.dtype == np.float32
    assert np.isfinite(heights).all()
    for at in surface.minima:
        assert np.abs(surface.formula.gradient(*map(np.float64, at))).max() < 0.05
        assert surface.formula.value(*at) <= heights.min() + 1e-3
    for (low, high), at in zip((surface.xlim, surface.ylim), surface.start, strict=True):
        assert low < at < high
    corner = surface.formula.value(surface.xlim[0], surface.ylim[1])
    assert heights[-1, 0] == np.float32(corner)
    assert json.loads(json.dumps(surfaces.described(surface)))["text"] == surface.text


def test_surfaces_are_those_that_are_drawn_elsewhere():
    pytest.importorskip("matplotlib")
    from gdfast.plot import SURFACES as DRAWN

    for key, drawn in DRAWN.items():
        mine = surfaces.SURFACES[key]
        x, y = np.float64(0.37), np.float64(-0.61)
        assert mine.formula.value(x, y) == pytest.approx(drawn.value(x, y), rel=1e-14)
        assert mine.formula.gradient(x, y) == pytest.approx(drawn.gradient(x, y), rel=1e-13)


def test_a_surface_of_ones_own():
    surface = surfaces.of_formula("(x - 1)**2 + (y + 0.5)**2", [-2, 2, -1, 1])
    assert surface.minima == (pytest.approx((1.0, -0.5)),)
    assert surface.start == (-1.2, 0.5)
    assert surfaces.of_formula("x + y", (-2, 2, -1, 1)).minima == ()
    assert surfaces.described(surfaces.of_formula("x + y", (-2, 2, -1, 1)))["floor"] is None
    half = surfaces.of_formula("sqrt(x) + y**2", [-1, 4, -1, 1])
    assert np.isnan(surfaces.grid(half)).any()


@pytest.mark.parametrize(
    ("text", "view", "words"),
    [
        ("x", None, "view must be four numbers"),
        ("x", [1, 2, 3], "view must be four numbers"),
        ("x", [1, 2, 3, "4"], "view must be four numbers"),
        ("x", [1, 2, 3, True], "view must be four numbers"),
        ("x", [1, 2, 3, math.nan], "view must be four numbers"),
        ("x", [1, 2, 3, 1e300], "view must be four numbers"),
        ("x", [2, 1, 0, 1], "left below its right"),
        ("x", [0, 1, 1, 1], "low below its high"),
        ("log(0 - x**2 - 1) + y", [0, 1, 0, 1], "no finite value"),
    ],
)
def test_a_wrong_view(text, view, words):
    with pytest.raises(LabError, match=words):
        surfaces.of_formula(text, view)


# Rules: nothing is listed here that the classes do not say


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


# Settings


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


# Races


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


# Programs


def run_program(race):
    names = {}
    exec(compile(program.of_race(race), "program", "exec"), names)
    for point, lane in zip(names["points"], race.lanes, strict=True):
        assert point.tobytes() == lane.point.tobytes()


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


# Experiments: what their words say is so


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
