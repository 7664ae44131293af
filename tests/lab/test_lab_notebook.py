"""The widget: the kernel makes the steps of a race, and the page draws them."""

import base64
import json
import sys

import numpy as np
import pytest

pytest.importorskip("anywidget")

import gdfast
from gdfast import schedules
from gdfast.lab import Surface, export, recorder, settings
from gdfast.lab.errors import LabError
from gdfast.lab.notebook import Training
from gdfast.lab.race import Race


@pytest.fixture
def sent(monkeypatch):
    """Return what widgets send."""
    found = []
    monkeypatch.setattr(Surface, "send", lambda self, content, buffers=None: found.append((content, buffers)))
    return found


def test_steps_are_the_optimizers_own(sent):
    shown = Surface("ravine", [("SGD", {"lr": 0.04}), ("Adam", {"lr": schedules.Linear(0.5, 20)})], steps=20)
    race = Race(settings.read(shown.about["race"]))
    assert race.settings == shown.race.settings
    np.testing.assert_array_equal(np.frombuffer(shown.frames, "<f4"), race.frame().ravel())
    assert len(shown.heights) == 4 * 161**2
    shown._take(shown, {"do": "advance", "steps": 5}, [])
    content, (numbers,) = sent[0]
    frames = race.advance(5)
    assert content == {"kind": "frames", "first": 1, "ended": {}, "over": False}
    np.testing.assert_array_equal(np.frombuffer(numbers, "<f4"), frames.ravel())
    shown.advance(100)
    assert sent[1][0]["over"]
    assert len(shown.frames) == 4 * 21 * 2 * 10
    shown._take(shown, {"do": "show"}, [])
    content, (numbers,) = sent.pop()
    assert content == {"kind": "frames", "first": 0, "ended": {}, "over": True}
    assert numbers == shown.frames
    shown._take(shown, {"do": "back"}, [])
    assert sent[2][0] == {"kind": "back"}
    assert shown.race.step_count == 0
    assert len(shown.frames) == 4 * 2 * 10


def test_a_frame_is_not_sent_with_each_step_again(sent, monkeypatch):
    shown = Surface("bowl", [("SGD", {"lr": 0.001})], steps=1000)
    histories = []
    shown.observe(lambda change: histories.append(len(change["new"])), "frames")
    for i in range(1000):
        shown.advance(1)
        first, (numbers,) = sent[-1][0]["first"], sent[-1][1]
        assert (first, len(numbers)) == (i + 1, 40)
    assert histories[-1] == 40 * 1001
    assert sum(histories) < 3 * histories[-1]
    whole = np.frombuffer(shown.frames, "<f4").reshape(1001, 10)
    np.testing.assert_array_equal(np.frombuffer(b"".join(buffers[0] for _, buffers in sent), "<f4"), whole[1:].ravel())


def test_divergence_and_wrong_messages(sent):
    shown = Surface("(1 - x)**2 + 100*(y - x**2)**2", [("SGD", {"lr": 1.0})], view=(-2, 2, -1, 3), seed=3)
    shown.advance(30)
    assert sent[0][0]["ended"]["0"].startswith("SGD diverged")
    for wrong in ({"do": "advance", "steps": 1e9}, {"do": "advance"}, []):
        shown._take(shown, wrong, [])
        assert sent[-1][0]["kind"] == "error"
    shown._take(shown, {"do": "dance"}, [])
    assert len(sent) == 4


def test_what_is_wrong_is_said():
    with pytest.raises(LabError, match="surface must be one of"):
        Surface("moon")
    with pytest.raises(LabError, match="SGD: lr must be"):
        Surface("bowl", [("SGD", {"lr": -1.0})])


def test_without_anywidget(monkeypatch):
    monkeypatch.delitem(sys.modules, "gdfast.lab.notebook")
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ImportError, match=r"pip install \"gdfast\[notebook\]\""):
        _ = gdfast.lab.Surface


def watched(monkeypatch, opt, **options):
    """Return what watches an optimizer, and a list of what its widget sends."""
    pytest.importorskip("websockets")
    found = []
    monkeypatch.setattr(Training, "send", lambda self, content, buffers=None: found.append((content, buffers)))
    return gdfast.lab.watch(opt, browser=False, **options), found


def read(message):
    """Return the place of the first row of a message, and its rows."""
    numbers = np.frombuffer(message, "<f4")
    kind, first, count, width = numbers[:4].astype(int)
    assert kind == recorder.ROWS
    return first, numbers[4:].reshape(count, width)


def test_a_training_is_shown_while_it_runs(monkeypatch):
    w = np.array([4.0, -2.0])
    opt = gdfast.SGD(w, lr=0.1)
    page, found = watched(monkeypatch, opt)
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    with page:
        shown = page.widget()
        other = page.widget()
        assert shown.about["title"] == "SGD"
        assert shown.about["names"] == ["0"]
        for _ in range(12):
            now[0] += 0.03
            page.due = True
            grads = w.copy()
            opt.step(grads)
            page.log(w @ w / 2, grads)
        assert len(found) == 4  # a message each 0.2 seconds, to each of two
        first, rows = read(found[2][1][0])
        _, _, own = page._recorder.rows(0, -1)
        np.testing.assert_array_equal(rows, own[first : first + len(rows)])
        shown._take(shown, {"do": "rows"}, [])
        np.testing.assert_array_equal(read(found[-1][1][0])[1], own)
        assert shown.rows == b""
    for one in (shown, other):
        np.testing.assert_array_equal(read(one.rows)[1], own)


@pytest.mark.slow
def test_the_training_in_a_browser(monkeypatch):
    pytest.importorskip("playwright")
    from browser import ARGUMENTS, BROWSER, until
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    w = {"hidden": np.full((3, 2), 2.0), "out": np.array([1.0, -1.0])}
    opt = gdfast.Adam(w, lr=0.1)
    page, found = watched(monkeypatch, opt)
    now = [0.0]
    monkeypatch.setattr("gdfast.lab.recorder.time.perf_counter", lambda: now[0])

    def train(turns):
        for _ in range(turns):
            now[0] += 0.3
            page.due = True
            grads = {name: array.copy() for name, array in w.items()}
            opt.step(grads)
            page.log(sum(np.vdot(array, array) for array in w.values()) / 2, grads)

    def encoded(numbers):
        return base64.b64encode(numbers).decode()

    with page, sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = opened.new_page(viewport={"width": 900, "height": 900})
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        shown = page.widget()
        train(6)
        tab.set_content("<div id='cell'></div>")
        tab.evaluate(
            """async ([source, about]) => {
              const bytes = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
              const heard = { "msg:custom": [], "change:rows": [] }, asked = [];
              let rows = "";
              const model = {
                get: (name) => (name === "about" ? about : bytes(rows)),
                on: (name, work) => heard[name].push(work),
                off: (name, work) => heard[name].splice(heard[name].indexOf(work), 1),
                send: (content) => asked.push(content),
              };
              window.tell = (text) => heard["msg:custom"].forEach((work) => work({ kind: "rows" }, [bytes(text)]));
              window.finish = (text) => ((rows = text), heard["change:rows"].forEach((work) => work()));
              const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
              window.closeCell = module.default.render({ model, el: document.querySelector("#cell") });
              window.asked = asked;
              window.listeners = () => Object.values(heard).flat().length;
            }""",
            [export.script("watchwidget.js"), json.loads(json.dumps(shown.about))],
        )
        assert tab.evaluate("asked") == [{"do": "rows"}]
        for _, (numbers,) in found:
            tab.evaluate("(text) => tell(text)", encoded(numbers))
        loss = page._recorder.rows(0, -1)[2][-1]
        until(tab, "document.querySelector('.now').textContent.startsWith('step ')")
        assert f"step {int(loss[0])}   loss" in tab.text_content(".now")
        visible = "Array.from(document.querySelectorAll('figure:not([hidden]) figcaption'), (one) => one.textContent)"
        assert "Norm of each gradient" in tab.evaluate(visible)
        assert "Score" not in tab.evaluate(visible)
        assert tab.text_content("figure:not([hidden]) .key:not(:empty)") == "hiddenout"
        train(40)
        shown.finish()
        tab.evaluate("(text) => finish(text)", encoded(shown.rows))
        last = int(page._recorder.rows(0, -1)[2][-1, 0])
        until(tab, f"document.querySelector('.now').textContent.startsWith('step {last} ')")
        tab.uncheck(".log")
        tab.set_viewport_size({"width": 340, "height": 700})
        tab.wait_for_timeout(100)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.evaluate("closeCell()")
        assert tab.evaluate("listeners()") == 0
        assert complaints == []
        opened.close()


@pytest.mark.slow
def test_the_widget_in_a_browser(sent):
    pytest.importorskip("playwright")
    pytest.importorskip("websockets")
    from browser import ARGUMENTS, BROWSER, until
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    shown = Surface("saddle", steps=40)

    def encoded(numbers):
        return base64.b64encode(numbers).decode()

    with sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = opened.new_page()
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))

        def answer(content):
            shown._take(shown, content, [])
            reply, buffers = sent[-1]
            return [reply, encoded(buffers[0]) if buffers else None, encoded(shown.frames)]

        tab.expose_function("kernel", answer)
        state = {"about": shown.about, "heights": encoded(shown.heights), "frames": encoded(shown.frames)}
        tab.set_content("<div id='cell'></div>")
        tab.evaluate(
            """async ([source, state]) => {
              const bytes = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
              const heard = [];
              const model = {
                get: (name) => (name === "about" ? state.about : bytes(state[name])),
                on: (name, work) => heard.push(work), off: (name, work) => heard.splice(heard.indexOf(work), 1),
                send: async (content) => {
                  const [reply, buffer, frames] = await kernel(content);
                  state.frames = frames;
                  heard.forEach((work) => work(reply, buffer ? [bytes(buffer)] : []));
                },
              };
              const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
              window.closeCell = module.default.render({ model, el: document.querySelector("#cell") });
              window.listeners = heard;
            }""",
            [export.script("widget.js"), json.loads(json.dumps(state))],
        )
        tab.click(".step")
        until(tab, "document.querySelector('.count').textContent === 'step 1 of 40'")
        tab.check(".solid")
        tab.click(".play")
        until(tab, "document.querySelector('.count').textContent === 'step 40 of 40'")
        until(tab, "document.querySelector('.play').textContent === 'Play'")
        tab.uncheck(".solid")
        tab.click(".back")
        until(tab, "document.querySelector('.count').textContent === 'step 0 of 40'")
        assert tab.text_content(".key").startswith("SGD lr 0.02")
        tab.evaluate("closeCell()")
        assert tab.evaluate("listeners.length") == 0
        assert complaints == []
        opened.close()
