"""The lab's data: estimators that learn a mini-batch at a time, and what is changed on the way."""

import base64
import json
import sys

import numpy as np
import pytest

pytest.importorskip("websockets")
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import gdfast
from gdfast.lab import server, study, study_program, tasks
from gdfast.lab.errors import LabError
from gdfast.lab.session import serve_lab
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier


def study_of(task="line", **others):
    return study.Study(study.read({"task": task, **others}))


@pytest.mark.parametrize(
    ("task", "hidden", "kind"),
    [
        ("line", 0, GDRegressor),
        ("classes", 0, GDClassifier),
        ("classes", 6, MLPClassifier),
        ("words", 0, GDClassifier),
        ("digits", 16, MLPClassifier),
    ],
)
def test_the_estimators_learn(task, hidden, kind):
    one = study_of(task, hidden=hidden)
    assert type(one.model) is kind
    one.advance(1)
    first = one.curves()
    (last,) = one.advance(150)
    assert last[0] == one.step_count == 151
    assert last[2] < 0.8 * first[2]
    assert last[3] > 0.7
    assert last[4] == 0.05
    shapes = {"line": 65, "classes": 48 * 48, "words": len(tasks.vocabulary()), "digits": 120}
    assert one.view().shape == (shapes[task],)
    assert one.view().dtype == np.float32
    json.dumps(one.still())
    found = one.find()
    assert len(found["lrs"]) == len(found["losses"]) > 10
    assert "valley" in found["suggestions"]


def test_a_step_is_a_partial_fit_of_one_mini_batch():
    one = study_of("line", batch=7, rule="SGD", values={"lr": 0.1, "momentum": 0.5}, seed=3)
    one.advance(3)
    model = GDRegressor(
        optimizer=("sgd", {"momentum": 0.5}),
        lr=0.1,
        batch_size=7,
        alpha=1e-4,
        standardize=False,
        random_state=3,
        n_threads=1,
    )
    rng = np.random.default_rng(3)
    rng.permutation(36)
    order = rng.permutation(len(one.X))
    for i in range(3):
        rows = order[7 * i : 7 * i + 7]
        model.partial_fit(one.X[rows], one.y[rows])
    assert model.coef_.tobytes() == one.model.coef_.tobytes()
    assert model.intercept_.tobytes() == one.model.intercept_.tobytes()


@pytest.mark.parametrize(("task", "hidden"), [("line", 0), ("classes", 4)])
def test_a_change_holds_from_the_next_step(task, hidden):
    one = study_of(task, hidden=hidden)
    assert not one.change("lr", 0.1)  # not begun
    one.advance(4)
    assert one.change("lr", 1e-12)
    assert not one.change("amsgrad", True)
    before = one.view()
    (row,) = one.advance(1)
    assert row[4] == 1e-12
    np.testing.assert_allclose(one.view(), before, atol=1e-6)
    assert one.change("lr", {"schedule": "Linear", "arguments": {"lr": 0.5, "total_steps": 10}})
    (row,) = one.advance(1)
    assert row[4] == pytest.approx(0.5 * 4 / 10)
    assert one.values["lr"].total_steps == 10
    (first, second) = study.write(one.settings)["changes"]
    assert first == [4, "lr", 1e-12]
    assert second[:2] == [5, "lr"]
    again = study.Study(study.read(json.loads(json.dumps(study.write(one.settings)))))
    again.advance(6)
    assert again.view().tobytes() == one.view().tobytes()
    assert one.with_value("amsgrad", True).values.keys() == {"lr", "amsgrad"}


def test_the_same_settings_give_the_same_bits():
    data = {"task": "classes", "noise": 0.1, "batch": 5, "seed": 8, "hidden": 3, "rule": "Lion", "values": {"lr": 0.01}}
    one, other = (study.Study(study.read(json.loads(json.dumps(study.write(study.read(data)))))) for _ in range(2))
    one.advance(20)
    other.advance(20)
    assert one.view().tobytes() == other.view().tobytes()
    assert study.write(one.settings)["batch"] == 5


def test_noise():
    clean, noisy = study_of("line"), study_of("line", noise=0.5)
    np.testing.assert_array_equal(clean.X, noisy.X)
    assert 0.2 < np.std(noisy.y - clean.y) < 0.8
    clean, noisy = study_of("digits"), study_of("digits", noise=1.0)
    assert 0.8 < np.mean(clean.y != noisy.y) < 1.0
    np.testing.assert_array_equal(clean.held_y, noisy.held_y)


def test_divergence_is_said_in_words():
    one = study_of("line", rule="SGD", values={"lr": 1e6})
    assert one.advance(200) == []
    assert "diverged" in one.ended
    assert one.advance(1) == []
    network = study_of("digits", rule="SGD", values={"lr": 1e30})
    network.advance(50)
    assert "SGD, step" in network.ended


def test_few_points():
    three = study_of("line", points=[[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0]])
    (row,) = three.advance(1)
    assert np.isnan(row[2:4]).all()
    for task, points in [("line", [[0, 0, 0]]), ("classes", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])]:
        with pytest.raises(LabError, match="at least two points"):
            study_of(task, points=points)


def test_a_sweep_that_cannot_be():
    one = study_of("line", rule="Adam", values={"amsgrad": True})
    one._make = lambda: (_ for _ in ()).throw(ValueError("no sweep"))
    with pytest.raises(LabError, match="no sweep"):
        one.find()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "a study must be an object"),
        ({"task": "moon"}, "task must be one of line"),
        ({"task": []}, "task must be one of line"),
        ({"task": "line", "rule": "Muon"}, "rule must be an optimizer"),
        ({"task": "line", "values": []}, "values must be an object"),
        ({"task": "line", "values": {"lr": -1}}, "Adam: lr must be"),
        ({"task": "line", "values": {"weight_decay": 1}}, "weight_decay is set by the estimator"),
        ({"task": "line", "points": {}}, "points must be a list"),
        ({"task": "line", "points": [[0, 0, 0]] * 401}, "points must be a list of at most 400"),
        ({"task": "line", "points": [[0, 0]]}, "a point must be x, y and a class"),
        ({"task": "line", "points": [[0, 0, 2]]}, "a point must be x, y and a class"),
        ({"task": "line", "points": [[0, 9, 1]]}, "y must be a number from -1 to 1"),
        ({"task": "line", "batch": 0}, "batch must be a number from 1"),
        ({"task": "line", "noise": 2}, "noise must be"),
        ({"task": "line", "hidden": 1000}, "hidden must be"),
        ({"task": "line", "seed": -1}, "seed must be"),
        ({"task": "line", "changes": {}}, "changes must be a list of at most 500"),
        ({"task": "line", "changes": [[0, "lr"]]}, "a change must be a step, a name and a value"),
        ({"task": "line", "changes": [[-1, "lr", 1]]}, "a change's step must be"),
        ({"task": "line", "changes": [[1, "amsgrad", True]]}, "amsgrad cannot change on the way"),
        ({"task": "line", "changes": [[1, "weight_decay", 1]]}, "set by the estimator"),
    ],
)
def test_wrong_settings_are_refused_in_words(data, words):
    with pytest.raises(LabError, match=words):
        study.read(data)


def test_a_wrong_change():
    one = study_of("line")
    for name, value, words in [
        ("lr", -1, "lr must be"),
        ("weight_decay", 1, "set by the estimator"),
        ("x", 1, "no hyperparam"),
    ]:
        with pytest.raises(LabError, match=words):
            one.change(name, value)
    one.advance(1)
    for _ in range(500):
        one.change("lr", 0.01)
        one.step_count += 1
    with pytest.raises(LabError, match="remembers 500 changes"):
        one.change("lr", 0.01)


# Programs


def run_program(one):
    """Run the program of a study; return its source, and check that its estimator has the study's bits."""
    source, names = study_program.of_study(one), {}
    exec(compile(source, "program", "exec"), names)
    for name in ("coefs_", "coef_", "intercepts_", "intercept_"):
        if hasattr(one.model, name):
            mine, its = (
                (
                    np.concatenate([np.ravel(part) for part in getattr(model, name)])
                    for model in (one.model, names["model"])
                )
                if name.endswith("s_")
                else (getattr(one.model, name), getattr(names["model"], name))
            )
            assert mine.tobytes() == its.tobytes()
    return source


@pytest.mark.parametrize("task", study.TASKS)
def test_the_program_of_each_task_makes_the_same_bits(task, capsys):
    one = study_of(task, noise=0.1, seed=2, batch=9)
    source = study_program.of_study(one)
    one.advance(400)
    assert source == run_program(one)
    assert "score of" in capsys.readouterr().out


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_program_with_changes_on_the_way(hidden, capsys):
    linear = {"schedule": "Linear", "arguments": {"lr": 0.2, "total_steps": 30}}
    one = study_of("classes", hidden=hidden, rule="Adam", values={"lr": linear, "betas": [0.5, 0.9]})
    one.advance(6)
    one.change("lr", 0.01)
    one.change("betas", [0.8, 0.95])
    one.advance(5)
    one.change("lr", {"schedule": "Cosine", "arguments": {"lr": 0.1, "total_steps": 60}})
    one.advance(20)
    assert "from gdfast.schedules import Cosine, Linear\n" in run_program(one)
    few = study_of("line", points=[[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0]], changes=[[3, "lr", 0.5], [900, "lr", 0.1]])
    few.advance(9)
    run_program(few)
    assert capsys.readouterr().out.count("loss of the last batch") == 2


# The page's messages


@pytest.fixture(scope="module")
def door():
    with server.in_thread(serve_lab, "lab.html") as opened:
        yield opened


def page(door):
    host = f"127.0.0.1:{door.port}"
    return connect(f"ws://{host}/{door.token}/socket?data", origin=f"http://{host}", compression=None)


def hear(link, kind):
    while True:
        message = link.recv(20)
        if isinstance(message, str) and (found := json.loads(message))["kind"] == kind:
            return found


def numbers(link, kind):
    while True:
        message = link.recv(20)
        if not isinstance(message, str) and (found := np.frombuffer(message, "<f4"))[0] == kind:
            return found[1:]


def say(link, what, **data):
    link.send(json.dumps({"do": what, **data}))


def test_a_page_of_data(door):
    with page(door) as link:
        hello = hear(link, "hello")
        assert "weight_decay" not in {control["name"] for control in hello["rules"][0]["controls"]}
        say(link, "start", study={"task": "line", "seed": 4})
        told = hear(link, "study")
        one = study_of("line", seed=4)
        assert told["study"] == study.write(one.settings)
        assert told["counts"] == [26, 10]
        assert told["rows"] == [[*row, y] for row, y in zip(one.X.tolist(), one.y.tolist(), strict=True)]
        say(link, "step")
        np.testing.assert_array_equal(numbers(link, 2), np.float32(one.advance(1)[0]))
        np.testing.assert_array_equal(numbers(link, 3), one.view())
        say(link, "set", name="lr", value=0.5)
        assert hear(link, "changed")["values"] == {"lr": 0.5}
        one.change("lr", 0.5)
        say(link, "step")
        np.testing.assert_array_equal(numbers(link, 2), np.float32(one.advance(1)[0]))
        say(link, "set", name="amsgrad", value=True)
        assert hear(link, "study")["study"]["values"] == {"lr": 0.5, "amsgrad": True}
        say(link, "find")
        assert "valley" in hear(link, "found")["suggestions"]
        say(link, "play", speed=200)
        for _ in range(20):
            numbers(link, 2)
        say(link, "pause")
        assert hear(link, "paused")["step"] >= 20
        say(link, "program")
        assert "from gdfast.sklearn import GDRegressor" in hear(link, "program")["text"]
        say(link, "start", study={"task": "digits"}, play=True)
        assert len(hear(link, "study")["still"]["images"]) == 40
        assert len(numbers(link, 3)) == 120


def test_wrong_messages_are_answered_in_words(door):
    with page(door) as link:
        for message, words in [
            ({}, "do must be one of start"),
            ({"do": "start"}, "a study must be"),
            ({"do": "play", "speed": 1e9}, "speed"),
        ]:
            link.send(json.dumps(message))
            assert words in hear(link, "error")["text"]
        say(link, "start", study={"task": "line", "rule": "SGD", "values": {"lr": 1e6}}, play=True)
        assert "diverged" in hear(link, "ended")["text"]
        say(link, "play")
        say(link, "step")
        assert "diverged" in hear(link, "ended")["text"]


def test_without_the_estimators_libraries(door, monkeypatch):
    monkeypatch.delitem(sys.modules, "gdfast.lab.teaching", raising=False)
    monkeypatch.delattr(gdfast.lab, "study")
    monkeypatch.delitem(sys.modules, "gdfast.lab.study")
    monkeypatch.setitem(sys.modules, "gdfast.sklearn", None)
    with page(door) as link, pytest.raises(ConnectionClosed, match="data needs more packages"):
        link.recv(20)


# In a real browser


@pytest.mark.slow
def test_the_page_of_data_in_a_browser(door):
    pytest.importorskip("playwright")
    from browser import ARGUMENTS, BROWSER, CONTRASTS, until
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = opened.new_page(viewport={"width": 1300, "height": 900})
        complaints, asked = [], []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(door.address + "data.html")
        until(tab, "Boolean(window.studied && studied.study)")
        for task in study.TASKS:
            tab.select_option("#task", task)
            until(tab, f"studied.study.task === '{task}' && studied.rows.length === 0")
            tab.fill("#speed", "100")
            tab.click("#play")
            until(tab, "studied.rows.length > 8 && studied.seen")
            tab.click("#play")
            until(tab, "!studied.playing")
            tab.wait_for_timeout(200)
            one = study.Study(study.read(tab.evaluate("studied.study")))
            rows = np.array(tab.evaluate("studied.rows"))
            one.advance(int(rows[-1, 0]))
            np.testing.assert_array_equal(np.float32(rows[-1]), np.float32(one.curves()))
            assert tab.evaluate(CONTRASTS) == []
        tab.select_option("#task", "classes")
        until(tab, "studied.study.task === 'classes'")
        tab.fill("#hidden", "5")
        tab.keyboard.press("Tab")
        until(tab, "studied.study.hidden === 5")
        tab.check("#second")
        tab.click("#view", position={"x": 60, "y": 60})
        until(tab, "studied.study.points.length === 81")
        assert tab.evaluate("studied.study.points.at(-1)[2]") == 1
        tab.click("#find")
        until(tab, "document.querySelectorAll('#suggestions button').length > 0")
        tab.locator("#suggestions button").first.click()
        until(tab, "studied.study.values.lr !== 0.05")
        tab.locator("#racers input[type=range]").first.focus()
        tab.keyboard.press("ArrowRight")
        tab.wait_for_timeout(700)
        fragment = tab.evaluate("location.hash")
        kept = tab.evaluate("studied.study")
        tab.goto(door.address + "data.html?again" + fragment)
        until(tab, "Boolean(window.studied && studied.study)")
        assert tab.evaluate("studied.study") == kept
        tab.set_viewport_size({"width": 340, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.click("#clear")
        until(tab, "studied.study.points.length === 4")
        assert complaints == []
        assert all(url.startswith((f"http://127.0.0.1:{door.port}/", "data:")) for url in asked)


def check_player(opened, path, rows, last_view):
    """Open an exported page: it plays to its end without a server, and holds the numbers that the page had."""
    from browser import CONTRASTS, until

    alone = opened.new_page()
    complaints, asked = [], []
    alone.on("console", lambda message: complaints.append(message.text))
    alone.on("pageerror", lambda error: complaints.append(str(error)))
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(path.as_uri())
    until(alone, "document.querySelector('#play').textContent === 'Play'", 30)
    assert alone.text_content("#count").startswith(f"step {int(rows[-1, 0]):,}: ")
    alone.fill("#at", "0")
    alone.wait_for_timeout(100)
    assert alone.text_content("#count") == "step 0"
    assert alone.evaluate(CONTRASTS) == []
    text = path.read_text(encoding="utf-8")
    held = json.loads(text.partition('id="recording">')[2].partition("</script>")[0])
    found = np.frombuffer(base64.b64decode(held["rows"]), "<f4").reshape(-1, len(study.CURVES))
    np.testing.assert_array_equal(found, np.float32(rows))
    seen = np.frombuffer(base64.b64decode(held["views"][-1]["seen"]), "<f4")
    assert seen.tobytes() == last_view.tobytes()
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    alone.close()


@pytest.mark.slow
@pytest.mark.parametrize("task", study.TASKS)
def test_data_is_taken_away(door, task, tmp_path):
    pytest.importorskip("playwright")
    from browser import ARGUMENTS, BROWSER, until
    from PIL import Image
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = opened.new_page(viewport={"width": 1300, "height": 900})
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(door.address + "data.html")
        until(tab, "Boolean(window.studied && studied.study)")
        tab.select_option("#task", task)
        until(tab, f"studied.study.task === '{task}' && studied.rows.length === 0")
        for i in range(3):
            tab.click("#step")
            until(tab, f"studied.rows.length === {i + 1} && studied.seen")
        tab.locator("#racers input[type=range]").first.focus()
        tab.keyboard.press("ArrowRight")
        until(tab, "studied.study.changes.length === 1")
        tab.fill("#speed", "100")
        tab.click("#play")
        until(tab, "studied.rows.length > 150")
        tab.click("#play")
        until(tab, "!studied.playing")
        tab.wait_for_timeout(300)
        one = study.Study(study.read(tab.evaluate("studied.study")))
        rows = np.array([[np.nan if value is None else value for value in row] for row in tab.evaluate("studied.rows")])
        one.advance(int(rows[-1, 0]))
        np.testing.assert_array_equal(np.float32(rows[-1]), np.float32(one.curves()))  # the change is in the link
        for kind in ("png", "gif", "html"):
            with tab.expect_download(timeout=60_000) as download:
                tab.click(f"#save-{kind}")
            download.value.save_as(tmp_path / download.value.suggested_filename)
        with Image.open(tmp_path / "gdfast-study.png") as picture:
            assert picture.size[1] > 300
        with Image.open(tmp_path / "gdfast-study.gif") as animation:
            assert animation.n_frames > 20
            first = np.asarray(animation.convert("RGB"), int)
            animation.seek(animation.n_frames - 1)
            assert (np.abs(first - np.asarray(animation.convert("RGB"), int)).max(-1) > 40).mean() > 0.001
        last = np.array(tab.evaluate("studied.seen"), np.float32)
        check_player(opened, tmp_path / "gdfast-study.html", rows, last)
        tab.click("#code")
        until(tab, "document.querySelector('#program').open")
        names = {}
        exec(compile(tab.text_content("#source"), "program", "exec"), names)
        one.model = names["model"]
        assert one.view().tobytes() == study_view(tab.evaluate("studied.study"), one.step_count)
        tab.click("#close")
        tab.click("#theme")
        for width in (340, 1000):
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert complaints == []
        opened.close()


def study_view(data, steps):
    one = study.Study(study.read(data))
    one.advance(steps)
    return one.view().tobytes()
