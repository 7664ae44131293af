"""The widget: the kernel makes the steps of a race, and the page draws them."""

import base64
import json
import sys

import numpy as np
import pytest

pytest.importorskip("anywidget")

import gdfast
from gdfast import schedules
from gdfast.lab import Surface, export, settings
from gdfast.lab.errors import LabError
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
    shown._take(shown, {"do": "back"}, [])
    assert sent[2][0] == {"kind": "back"}
    assert shown.race.step_count == 0
    assert len(shown.frames) == 4 * 2 * 10


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
