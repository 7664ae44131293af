"""The lab's page in a real browser: what it shows is what the optimizers did, and it asks for nothing elsewhere."""

import base64
import io
import json
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("websockets")
pytest.importorskip("playwright")
from browser import ARGUMENTS, BROWSER, CONTRASTS, until
from PIL import Image
from playwright.sync_api import sync_playwright

from gdfast.lab import experiments, program, server, settings
from gdfast.lab.race import FIELDS, Race
from gdfast.lab.session import serve_lab

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def door():
    with server.in_thread(serve_lab, "lab.html") as opened:
        yield opened


@pytest.fixture
def open_page(browser, door):
    """Open pages of the lab; at the end, no page has complained, or asked for anything but this server."""
    pages, complaints, asked = [], [], []

    def open_(fragment="", width=1300, height=900, **options):
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(door.address + fragment)
        pages.append(page)
        until(page, "Boolean(window.lab && lab.race && lab.track.length)")
        return page

    yield open_
    for page in pages:
        page.close()
    assert complaints == []
    elsewhere = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert elsewhere <= {f"127.0.0.1:{door.port}"}


def seen(page):
    """Return the frames that the page has, (steps, racers, fields)."""
    track, racers = page.evaluate("[lab.track, lab.race.racers.length]")
    found = [np.nan if number is None else number for number in track["numbers"]]
    return np.array(found, np.float32).reshape(track["length"], racers, len(FIELDS))


def own(page):
    """Return the frames that the race on the page has according to its optimizers, as far as the page has come."""
    race, length = page.evaluate("[lab.race, lab.track.length]")
    race = Race(settings.read(race))
    return race, np.concatenate([race.frame()[None], race.advance(length - 1)])


def check_frames(page):
    race, frames = own(page)
    shown = seen(page)
    finite = np.isfinite(frames)  # JSON, by which the test reads them, knows no infinity
    np.testing.assert_array_equal(shown[finite], frames[finite])
    return race


@pytest.mark.parametrize("key", experiments.EXPERIMENTS)
def test_every_experiment_shows_what_the_optimizers_do(open_page, key):
    page = open_page()
    page.select_option("#experiment", key)
    assert page.text_content("#guide-title") == experiments.EXPERIMENTS[key].title
    page.click("#set-up")
    until(
        page, f"lab.race.racers.length === {len(experiments.EXPERIMENTS[key].race['racers'])} && lab.track.length > 5"
    )
    slider = page.locator(".racer input[type=range]").first
    if slider.count():
        slider.focus()
        page.keyboard.press("ArrowRight")
    page.fill("#speed", "100")
    until(page, "!lab.playing")
    race = check_frames(page)
    assert race.over
    page.wait_for_timeout(60)
    assert f"step {race.step_count:,} of" in page.text_content("#count")


def test_a_slider_moved_takes_effect_at_the_next_step(open_page):
    page = open_page()
    for _ in range(3):
        page.click("#step")
    until(page, "lab.track.length === 4")
    slider = page.locator(".racer input[type=range]").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    until(page, "lab.race.changes.length === 1 && lab.race.changes[0][3] > 0.004")
    page.wait_for_timeout(100)
    page.click("#step")
    until(page, "lab.track.length === 5")
    (change,) = page.evaluate("lab.race.changes")
    assert change[:3] == [3, 0, "lr"]
    race = check_frames(page)
    assert race.lanes[0].opt.lr == change[3] > 0.004
    boxed = page.locator(".racer .control input[type=number]").first.input_value()
    assert float(boxed) == change[3]


def test_a_link_brings_back_the_very_bits(open_page):
    page = open_page()
    page.click("#set-up")
    until(page, "lab.track.length > 10")
    page.locator(".racer .control input[type=number]").first.fill("0.01")
    page.keyboard.press("Tab")
    until(page, "lab.race.changes.length === 1")
    until(page, "!lab.playing")
    page.wait_for_timeout(400)
    before, fragment = seen(page), urlsplit(page.url).fragment
    other = open_page("#" + fragment)
    assert other.text_content("#guide-title") == "From a link"
    other.click("#play")
    other.fill("#speed", "100")
    until(other, f"lab.track.length === {len(before)} && !lab.playing")
    np.testing.assert_array_equal(seen(other), before)
    check_frames(other)


def test_a_damaged_link_is_said(open_page):
    page = open_page("#race=%%%")
    assert "damaged" in page.text_content("#toast")
    assert page.evaluate("lab.race.surface") == "ravine"


def test_the_program_on_the_page_runs_and_makes_the_same_bits(open_page, capsys):
    page = open_page()
    page.click("#set-up")
    until(page, "lab.track.length > 20")
    page.click("#play")
    until(page, "!lab.playing")
    page.wait_for_timeout(100)
    page.click("#code")
    until(page, "document.querySelector('#program').open")
    source = page.text_content("#source")
    names = {}
    exec(source, names)
    race, frames = own(page)
    assert source == program.of_race(race)
    np.testing.assert_array_equal(np.array(names["points"], np.float32), frames[-1, :, :2])
    page.click("#close")
    assert not page.evaluate("document.querySelector('#program').open")


def test_keys(open_page):
    page = open_page()
    page.keyboard.press("Space")
    until(page, "lab.track.length > 2")
    page.keyboard.press("Space")
    until(page, "!lab.playing")
    page.wait_for_timeout(100)
    length = page.evaluate("lab.track.length")
    page.keyboard.press(".")
    until(page, f"lab.track.length === {length + 1}")
    page.keyboard.press("Home")
    until(page, "lab.track.length === 1")
    page.focus("#picture")
    start = page.evaluate("lab.race.start")
    page.keyboard.press("ArrowUp")
    until(page, f"lab.race.start[1] > {start[1]}")
    page.keyboard.press("3")
    assert page.is_checked("#solid")
    page.keyboard.press("ArrowLeft")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"play", "step", "back", "speed", "log"} <= reached


def test_a_click_sets_the_start(open_page):
    page = open_page()
    box = page.locator("#picture").bounding_box()
    page.mouse.click(box["x"] + 38 + (box["width"] - 46) * 0.5, box["y"] + 8 + (box["height"] - 32) * 0.25)
    until(page, "lab.race.start[0] !== -9")
    assert page.evaluate("lab.race.start") == pytest.approx([-3.5, 1.0], abs=0.05)
    until(page, "lab.track.length > 0")
    np.testing.assert_allclose(seen(page)[0, :, :2], [page.evaluate("lab.race.start")] * 3, rtol=1e-6)


def test_racers_come_and_go_up_to_eight(open_page):
    page = open_page()
    while page.locator("#add").count():
        count = page.locator(".racer").count()
        page.click("#add")
        until(page, f"document.querySelectorAll('.racer').length === {count + 1}")
    assert page.locator(".racer").count() == 8
    page.locator(".racer select").first.select_option("Lion")
    until(page, "lab.race.racers[0].rule === 'Lion'")
    page.click("#play")
    until(page, "lab.track.length > 5")
    page.click("#play")
    until(page, "!lab.playing")
    page.wait_for_timeout(100)
    check_frames(page)
    page.get_by_label("Remove racer 2").click()
    until(page, "lab.race.racers.length === 7")


def test_every_control_of_every_rule_can_be_used(open_page):
    """Each slider of each optimizer, moved by a key, is taken by its class: no error is shown."""
    page = open_page()
    for rule in page.evaluate("Array.from(document.querySelectorAll('.racer select')[0].options, (one) => one.value)"):
        page.locator(".racer header select").first.select_option(rule)
        until(page, f"lab.race.racers[0].rule === '{rule}'")
        page.evaluate("document.querySelector('.racer details').open = true")
        sliders = page.locator(".racer").first.locator("input[type=range]")
        for i in range(sliders.count()):
            sliders.nth(i).focus()
            page.keyboard.press("ArrowRight")
        page.click("#step")
        until(page, "lab.track.length === 2")
        assert not page.evaluate("document.querySelector('#toast').className.includes('bad')"), (
            rule,
            page.text_content("#toast"),
        )
        check_frames(page)


def test_a_schedule_is_chosen(open_page):
    page = open_page()
    page.get_by_label("lr follows a schedule").first.click()
    until(page, "lab.race.racers[0].values.lr.schedule === 'Cosine'")
    names = page.evaluate("Array.from(document.querySelector('.racer .control select').options, (one) => one.value)")
    for name in names:
        page.locator(".racer .control select").first.select_option(name)
        until(page, f"lab.race.racers[0].values.lr.schedule === '{name}'")
        page.click("#step")
        until(page, "lab.track.length === 2")
        check_frames(page)
        page.click("#back")
        until(page, "lab.track.length === 1")
    page.locator(".racer .fields input[type=number]").first.fill("0.25")
    page.keyboard.press("Tab")
    until(page, "JSON.stringify(lab.race.racers[0].values.lr.arguments).includes('0.25')")
    page.get_by_label("lr follows a schedule").first.click()
    until(page, "typeof lab.race.racers[0].values.lr === 'number'")


def test_a_formula_of_ones_own_and_a_wrong_one(open_page):
    page = open_page()
    page.select_option("#surface", "own")
    until(page, "lab.race.surface.formula")
    page.fill("#formula", "x**2 + 3*y^2")
    page.keyboard.press("Tab")
    until(page, "lab.race.surface.formula === 'x**2 + 3*y^2'")
    page.click("#step")
    until(page, "lab.track.length === 2")
    check_frames(page)
    page.fill("#formula", "alert(1)")
    page.keyboard.press("Tab")
    until(page, "document.querySelector('#toast').className.includes('bad')")
    assert "a formula cannot contain 'alert(1)'" in page.text_content("#toast")
    assert page.evaluate("lab.race.surface.formula") == "x**2 + 3*y^2"
    for name, value in [("noise", "50"), ("seed", "9"), ("steps", "77"), ("start-x", "0.5"), ("dtype", "float32")]:
        page.select_option(f"#{name}", value) if name == "dtype" else page.fill(f"#{name}", value)
        page.keyboard.press("Tab")
    until(page, "lab.race.dtype === 'float32' && lab.race.start[0] === 0.5")
    assert page.evaluate("[lab.race.seed, lab.race.steps, lab.race.noise]") == [9, 77, 1.25]


def test_what_is_refused_is_shown_as_it_is(open_page):
    page = open_page()
    lr = page.locator(".racer").nth(0).get_by_label("lr, as a number")
    for _ in range(3):
        page.click("#step")
    until(page, "lab.track.length === 4")
    lr.fill("-1")
    page.keyboard.press("Tab")
    until(page, "document.querySelector('#toast').className.includes('bad')")
    until(page, "document.querySelector('.racer .control input[type=number]').value === '0.004'")
    lr.fill("")  # as what is no number
    page.keyboard.press("Tab")
    until(page, "document.querySelector('.racer .control input[type=number]').value === '0.004'")
    for name, wrong, kept in [("steps", "0", "150"), ("seed", "-3", "0"), ("start-x", "1e300", "-9")]:
        page.fill(f"#{name}", wrong)
        page.keyboard.press("Tab")
        until(page, f"document.querySelector('#{name}').value === '{kept}'")
    assert page.evaluate("lab.track.length") == 4
    check_frames(page)


@pytest.mark.parametrize("fragment", ["#race=%00", "#race=eyJyYWNlcnMiOiAxfQ"])
def test_a_damaged_link_begins_with_an_experiment(open_page, fragment):
    page = open_page(fragment)
    until(page, "lab.race.racers.length === 3")
    page.click("#set-up")
    until(page, "lab.track.length > 3")


def test_divergence_is_said(open_page):
    page = open_page()
    page.select_option("#surface", "rosenbrock")
    until(page, "lab.race.surface === 'rosenbrock'")
    page.click("#play")
    until(page, "lab.ended.length === 3")
    assert "SGD diverged at step" in page.text_content("#notes")
    until(page, "!lab.playing")


def test_exports(open_page, browser, tmp_path):
    page = open_page(width=700)
    page.click("#set-up")
    until(page, "lab.track.length > 15")
    page.click("#play")
    until(page, "!lab.playing")
    page.wait_for_timeout(150)
    for kind in ("png", "gif", "html"):
        with page.expect_download(timeout=60_000) as download:
            page.click(f"#save-{kind}")
        download.value.save_as(tmp_path / download.value.suggested_filename)
    picture = Image.open(tmp_path / "gdfast-lab.png").convert("RGB")
    assert {(0, 114, 178), (213, 94, 0)} <= {colour for _, colour in picture.getcolors(1 << 24)}
    with Image.open(tmp_path / "gdfast-lab.gif") as animation:
        assert animation.n_frames == min(72, page.evaluate("lab.track.length"))
        first = np.asarray(animation.convert("RGB"), int)
        animation.seek(animation.n_frames - 1)
        last = np.asarray(animation.convert("RGB"), int)
    assert 0.002 < (np.abs(first - last).max(-1) > 60).mean() < 0.5
    check_recording(browser, tmp_path / "gdfast-lab.html", own(page)[1])


def check_recording(browser, path, frames):
    page = browser.new_page()
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    until(page, f"document.querySelector('#count').textContent === 'step {len(frames) - 1} of {len(frames) - 1}'")
    page.fill("#at", "3")
    page.check("#solid")
    page.wait_for_timeout(100)
    assert page.text_content("#count").startswith("step 3 of")
    text = path.read_text(encoding="utf-8")
    held = json.loads(text.partition('id="recording">')[2].partition("</script>")[0])
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(held["frames"]), "<f4"), frames.ravel())
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1500, "light"), (1000, "dark"), (390, "light"), (320, "dark")])
def test_every_width_and_theme(open_page, width, scheme):
    page = open_page(width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRASTS) == []
    for theme in ("light", "dark", ""):
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate(CONTRASTS) == []
    box = page.locator("#picture").bounding_box()
    assert box["width"] > 0.8 * min(width, 500) - 60
    pixels = page.locator("#picture").screenshot()
    assert len(Image.open(io.BytesIO(pixels)).convert("RGB").getcolors(1 << 22)) > 50


#: Texts whose colour and ground are too alike (WCAG: 4.5 to 1).
def test_a_loss_below_zero_is_drawn_above_its_minimum(open_page):
    page = open_page()
    page.select_option("#surface", "saddle")
    until(page, "lab.race.surface === 'saddle'")
    assert page.text_content("#loss-title") == "Loss above its minimum"
    page.uncheck("#log")
    assert page.text_content("#loss-title") == "Loss"


def test_everything_has_a_name(open_page):
    page = open_page()
    nameless = page.evaluate(
        """Array.from(document.querySelectorAll("button, select, input")).filter((one) => {
          const label = one.labels && one.labels.length ? one.labels[0].textContent : "";
          return !(one.getAttribute("aria-label") || one.textContent.trim() || label.trim());
        }).map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_the_end_of_the_server_is_said(browser):
    with server.in_thread(serve_lab, "lab.html") as opened:
        page = browser.new_page()
        page.goto(opened.address)
        until(page, "Boolean(window.lab && lab.race)")
    until(page, "document.querySelector('#toast').textContent.includes('gdfast lab')")
    page.close()
