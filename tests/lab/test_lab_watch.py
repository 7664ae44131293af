"""A training that is watched: the numbers are those of the training, and nothing that a page does harms it."""

import copy
import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("websockets")
from websockets.sync.client import connect

import gdfast
from gdfast.lab import recorder, sources, watching
from gdfast.lab import watch as found_watch
from gdfast.lab.recorder import COLUMNS, OF_ARRAY, Recorder
from gdfast.lab.watching import watch

STEP, SECONDS, LOSS, SCORE, LR, NORM, SKIPPED = range(7)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Take a sample whenever one may be taken."""
    monkeypatch.setattr(watching.Watch, "due", property(lambda self: True, lambda self, value: None), raising=False)
    monkeypatch.setattr(recorder, "SHARE", np.inf)


@pytest.fixture
def seldom(monkeypatch):
    """Take samples when they are due."""
    monkeypatch.delattr(watching.Watch, "due")
    monkeypatch.setattr(recorder, "SHARE", 0.006)


def params():
    return {"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([1.0, -1.0])}


def page_of(page):
    origin = page.address.split("/")[2]
    return connect(f"ws://{origin}/{page.address.split('/')[3]}/socket", origin=f"http://{origin}", compression=None)


def hear(link, kind):
    while True:
        message = link.recv(10)
        if isinstance(message, str) and (found := json.loads(message))["kind"] == kind:
            return found


def rows_from(link):
    while isinstance(message := link.recv(10), str):
        pass
    numbers = np.frombuffer(message, "<f4")
    assert numbers[0] == recorder.ROWS
    return int(numbers[1]), numbers[4:].reshape(int(numbers[2]), int(numbers[3]))


def say(link, what, **data):
    link.send(json.dumps({"do": what, **data}))


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_is_part_of_the_package():
    assert found_watch is watch
    assert gdfast.lab.watch is watch
    with pytest.raises(AttributeError, match="has no attribute 'look'"):
        _ = gdfast.lab.look


# What is recorded


def test_rows_are_the_trainings_own_numbers():
    w = params()
    opt = gdfast.SGD(w, lr=0.5)
    taken = Recorder(sources.source_of(opt), ["W", "b"])
    for i in range(6):
        before = {name: array.copy() for name, array in w.items()}
        grads = {"W": np.array([[0.0, 0.0], [3.0, 4.0]]), "b": np.array([1.0, 0.0])}
        opt.step(grads)
        assert taken.turn(i + 1, 10.0 - i, grads, 0.5) is (i % 2 == 0)
    _, first, rows = taken.rows(0, 0)
    assert (first, rows.shape) == (0, (3, len(COLUMNS) + 2 * len(OF_ARRAY)))
    np.testing.assert_allclose(rows[:, STEP], [2, 4, 6])
    np.testing.assert_allclose(rows[:, LOSS], [9, 7, 5])
    np.testing.assert_allclose(rows[-1, SCORE : SKIPPED + 1], [0.5, 0.5, np.sqrt(26), 0], rtol=1e-6)
    sizes = [np.linalg.norm(before[name]) for name in w]
    np.testing.assert_allclose(rows[-1, 7:], [5, 2.5 / sizes[0], 0.5, 1, 0.5 / sizes[1], 0.5], rtol=1e-6)
    assert (rows[:, SECONDS] > 0).all()
    assert len(taken.rows(2, 0)[2]) == 1


def test_what_is_not_known_is_nan():
    w = params()
    opt = gdfast.SGD(w, lr=0.5, nonfinite="skip")
    taken = Recorder(sources.source_of(opt), ["b"])
    for _ in range(2):
        opt.step({"W": np.full((2, 2), np.nan), "b": np.ones(2)})
        taken.turn(1, None, None, None)
    row = taken.rows(0, 0)[2][0]
    assert np.isnan(row[[LOSS, SCORE, NORM, 7, 9]]).all()
    assert row[SKIPPED] == 2
    assert row[8] == 0
    empty = gdfast.SGD([np.zeros((0, 2)), np.zeros(()), np.zeros(2)], lr=1.0)
    taken = Recorder(sources.source_of(empty), ["0", "1", "2"])
    for _ in range(2):
        empty.step([np.zeros((0, 2)), np.ones(()), np.zeros(2)])
        taken.turn(1, 1.0, [np.zeros((0, 2)), np.ones(()), np.zeros(2)], None)
    numbers = taken.rows(0, 0)[2][0, 7:]
    np.testing.assert_allclose(numbers, [0, np.nan, np.nan, 1, 1, 0, 0, np.nan, 1])


def test_without_an_optimizer():
    taken = Recorder(None, [])
    for i in range(3):
        taken.turn(i + 1, float(i), None, i / 2)
    rows = taken.rows(0, 0)[2]
    np.testing.assert_allclose(rows[:, [STEP, LOSS, SCORE, SKIPPED]], [[1, 0, 0, 0], [2, 1, 0.5, 0], [3, 2, 1, 0]])


def test_bound_buffers_rows_and_lookahead():
    w = np.array([4.0, 2.0])
    buffers = np.array([3.0, 4.0])
    opt = gdfast.Adam(w, grads=buffers)
    source = sources.source_of(gdfast.Lookahead(opt))
    assert source.gradients(None)[0] is not None
    np.testing.assert_array_equal(source.gradients(None)[0], buffers)
    table = gdfast.SGD(np.ones((5, 2)))
    assert sources.source_of(table).gradients(gdfast.Rows(np.array([1]), np.ones((1, 2)))) == [None]


def test_large_arrays_are_looked_at_in_part(monkeypatch):
    monkeypatch.setattr(recorder, "MOST_ELEMENTS", 10)
    assert len(recorder._some(np.arange(1001.0))) == 10
    np.testing.assert_array_equal(recorder._some(np.arange(10, dtype=np.float32)), np.arange(10.0))


def test_many_rows_are_thinned(monkeypatch):
    monkeypatch.setattr(recorder, "MOST_ROWS", 8)
    taken = Recorder(None, [])
    for i in range(8):
        taken.turn(i, float(i), None, None)
    version, _, rows = taken.rows(0, 0)
    assert len(rows) == 8
    taken.turn(8, 8.0, None, None)
    again, first, rows = taken.rows(8, version)
    assert (again, first) == (version + 1, 0)
    np.testing.assert_array_equal(rows[:, LOSS], [0, 2, 4, 6, 8])


def test_samples_keep_to_their_share(monkeypatch, seldom):
    monkeypatch.setattr(watching, "BETWEEN_SAMPLES", 1000.0)
    clock = [0.0]

    def tick():
        clock[0] += 1e-3  # each look at the clock takes a millisecond
        return clock[0]

    monkeypatch.setattr(recorder.time, "perf_counter", tick)
    w = params()
    opt = gdfast.SGD(w, lr=0.1)
    with watch(opt, browser=False) as page:
        for i in range(10_000):
            clock[0] += 1e-4
            page.due = page.due or i % 500 == 0  # as the thread that reminds it does
            opt.step(params())
            page.log(1.0)
        rows = page._recorder.rows(0, 0)[2]
        np.testing.assert_allclose(rows[1:, SECONDS], 1.1e-4, rtol=0.1)
        assert 2 <= len(rows) < 6  # two milliseconds of work, 333 without
        looks = (clock[0] - 1.0) / 1e-3
        assert looks < 50


def test_a_loop_may_ask_before_it_logs(seldom):
    w = params()
    opt = gdfast.SGD(w, lr=0.0)
    grads = params()
    with watch(opt, browser=False, control=True) as page, page_of(page) as link:
        calls, end = 0, time.monotonic() + 20
        while len(page._recorder.rows(0, 0)[2]) < 4:
            opt.step(grads)
            if page.due:
                calls += 1
                assert page.log(1.0, grads) is False
            assert time.monotonic() < end
        rows = page._recorder.rows(0, 0)[2]
        assert calls < opt.step_count / 10
        steps = np.diff(rows[:, STEP])
        assert (rows[1:, SECONDS] * steps < 20).all()  # a step's time, though most are not told to `log`
        assert (rows[1:, SECONDS] * steps > 0.01).all()
        say(link, "stop")
        while not (page.due and page.log()):
            assert time.monotonic() < end
        assert page.due  # so that every loop hears of it
        assert page.log()
    assert page._ended.is_set()


def test_what_cannot_be_watched():
    for wrong in (3, gdfast.LBFGS(np.ones(2)), np.ones(2)):
        with pytest.raises(TypeError, match="opt must be an optimizer of gdfast"):
            watch(wrong)
    with pytest.raises(ValueError, match="names must be names of the optimizer's arrays, W, b; got 'c'"):
        watch(gdfast.SGD(params()), names=["b", "c"])


# The page


def test_a_page_gets_what_was_and_what_comes(capsys):
    w = params()
    opt = gdfast.SGD(w, lr=0.5)
    with watch(opt, browser=False) as page:
        assert capsys.readouterr().out == f"The training is shown at {page.address}\n"
        for i in range(4):
            opt.step(params())
            assert page.log(float(i), params()) is False
        with page_of(page) as link:
            about = hear(link, "watch")
            assert about["names"] == ["W", "b"]
            assert about["title"] == "SGD"
            assert about["rule"] is None
            first, rows = rows_from(link)
            assert (first, rows[:, LOSS].tolist()) == (0, [1.0, 3.0])
            for i in range(2):
                opt.step(params())
                page.log(i, params())
            first, rows = rows_from(link)
            assert (first, rows[:, STEP].tolist()) == (2, [6.0])
            say(link, "stop")
            assert "may only watch" in hear(link, "error")["text"]
        assert page.log() is False
    assert opt.param_groups[0]["lr"] == 0.5


def test_the_example_of_the_docs(monkeypatch):
    examples = re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "lab.md").read_text(), re.DOTALL
    )
    monkeypatch.setattr(watching.webbrowser, "open", print)
    assert len(examples) == 2
    for example in examples:
        w = np.array([4.0, 2.0])
        opt = gdfast.SGD(w, lr=0.1)
        names = {"gdfast": gdfast, "opt": opt, "w": w, "batches": range(5)}
        exec(example, {**names, "loss_and_gradients": lambda w, batch: (w @ w / 2, w.copy())})
        np.testing.assert_allclose(w, np.array([4.0, 2.0]) * 0.9**5)


def test_the_browser_is_opened(monkeypatch):
    opened = []
    monkeypatch.setattr(watching.webbrowser, "open", opened.append)
    with watch() as page:
        assert opened == [page.address]
        assert copy.deepcopy(page) is page


def test_control(tmp_path):
    w = params()
    opt = gdfast.Adam(w, lr=0.5)
    path = tmp_path / "run.safetensors"
    with watch(opt, browser=False, control=True, checkpoint=path) as page, page_of(page) as link:
        about = hear(link, "watch")
        assert {"lr", "betas", "eps"} <= {control["name"] for control in about["rule"]["controls"]}
        assert "amsgrad" not in {control["name"] for control in about["rule"]["controls"]}
        assert about["groups"][0]["betas"] == [0.9, 0.999]

        def turn():
            until(lambda: not page._requests.empty())
            opt.step(params())
            return page.log(1.0)

        say(link, "set", name="lr", value=0.25)
        assert turn() is False
        assert hear(link, "news")["text"] == "lr = 0.25"
        assert opt.lr == 0.25
        say(link, "set", name="lr", group=0, value={"schedule": "Cosine", "arguments": {"lr": 0.1, "total_steps": 9}})
        turn()
        assert hear(link, "news")["groups"][0]["lr"]["schedule"] == "Cosine"
        before = opt.state_dict()["param_groups"]
        for wrong, words in [
            ({"name": "lr", "value": -1}, "lr must be"),
            ({"name": "rate", "value": 1}, "no hyperparameter 'rate'"),
            ({"name": "amsgrad", "value": True}, "amsgrad is settled"),
            ({"name": "clip_norm", "value": 1.0}, "no hyperparameter 'clip_norm'"),
            ({"name": "lr", "group": 1, "value": 1}, "group must be one of the 1"),
            ({"name": "lr", "group": True, "value": 1}, "group must be"),
        ]:
            say(link, "set", **wrong)
            turn()
            news = hear(link, "news")
            assert news["what"] == "error"
            assert words in news["text"]
        assert opt.state_dict()["param_groups"] == before
        say(link, "save")
        turn()
        assert hear(link, "news")["text"] == f"saved {path}"
        again = gdfast.Adam({name: np.zeros_like(array) for name, array in w.items()})
        gdfast.load(path, again)
        np.testing.assert_array_equal(again.param_groups[0]["params"][0], w["W"])
        say(link, "explode")
        assert "do must be one of set, pause" in hear(link, "error")["text"]
        say(link, "stop")
        assert turn() is True
        assert page.stopped


def test_pause_holds_the_loop():
    opt = gdfast.SGD(params(), lr=0.5)
    with watch(opt, browser=False, control=True) as page, page_of(page) as link:
        turns = []

        def train():
            while not page.log(0.5):
                turns.append(opt.step_count)
                opt.step(params())

        thread = threading.Thread(target=train)
        thread.start()
        say(link, "pause")
        assert hear(link, "news")["what"] == "pause"
        with page_of(page) as late:
            assert hear(late, "watch")["paused"]
        held = len(turns)
        say(link, "set", name="lr", value=0.25)  # is done while it waits
        assert hear(link, "news")["text"] == "lr = 0.25"
        assert len(turns) == held
        say(link, "resume")
        until(lambda: len(turns) > held)
        say(link, "pause")
        say(link, "stop")
        thread.join(10)
        assert not thread.is_alive()


def test_nothing_to_change_or_save():
    with watch(browser=False, control=True) as page, page_of(page) as link:
        for what, words in [("set", "no optimizer of gdfast"), ("save", "give watch its path")]:
            say(link, what)
            until(lambda: not page._requests.empty())
            page.log()
            assert words in hear(link, "news")["text"]
        for _ in range(watching.MOST_WAITING + 1):
            say(link, "pause")
        assert "too many requests wait" in hear(link, "error")["text"]


def test_a_checkpoint_that_cannot_be_written(tmp_path):
    opt = gdfast.SGD(params())
    with watch(opt, browser=False, control=True, checkpoint=tmp_path / "no" / "a") as page, page_of(page) as link:
        say(link, "save")
        until(lambda: not page._requests.empty())
        page.log()
        assert hear(link, "news")["what"] == "error"


def test_own_rules_and_several_groups():
    class Mine(gdfast.SGD):
        """A class that gdfast does not know."""

    own = Mine(params())
    groups = gdfast.SGD([{"params": np.ones(2), "lr": 0.5}, {"params": np.ones(3), "lr": lambda step: 0.1}])
    with watch(own, browser=False, control=True) as page:
        assert page._described()["rule"] is None
    with watch(groups, browser=False, control=True) as page, page_of(page) as link:
        about = hear(link, "watch")
        assert "lr" not in about["groups"][1]
        assert "lr" not in {control["name"] for control in about["rule"]["controls"]}
        say(link, "set", name="momentum", group=1, value=0)
        until(lambda: not page._requests.empty())
        page.log()
        assert hear(link, "news")["text"] == "momentum of group 1 = 0.0"


def test_an_estimators_callback():
    from sklearn.datasets import load_breast_cancer

    from gdfast.sklearn import GDClassifier

    X, y = load_breast_cancer(return_X_y=True)
    with watch(browser=False, control=True) as page:
        model = GDClassifier(max_iter=20, tol=None, callbacks=page, random_state=0).fit(X, y)
        rows = page._recorder.rows(0, 0)[2]
        np.testing.assert_allclose(rows[:, LOSS], model.loss_curve_, rtol=1e-6)
        with page_of(page) as link:
            say(link, "stop")
            until(lambda: not page._requests.empty())
            assert GDClassifier(max_iter=20, tol=None, callbacks=page, random_state=0).fit(X, y).n_iter_ == 1


def test_torch():
    torch = pytest.importorskip("torch")
    import gdfast.torch

    layer = torch.nn.Linear(3, 2)
    for kind in (gdfast.torch.Adam, torch.optim.Adam):
        opt = kind(layer.parameters(), lr=0.1)
        with watch(opt, browser=False, control=True) as page, page_of(page) as link:
            for _ in range(2):
                opt.zero_grad()
                loss = layer(torch.ones(4, 3)).square().mean()
                loss.backward()
                before = [p.detach().clone() for p in layer.parameters()]
                opt.step()
                page.log(loss)
            row = page._recorder.rows(0, 0)[2][0]
            assert row[LOSS] == pytest.approx(loss.item())
            norms = [p.grad.norm().item() for p in layer.parameters()]
            np.testing.assert_allclose(row[[NORM, 7, 10]], [np.hypot(*norms), *norms], rtol=1e-5)
            moved = [((p - old).norm() / old.norm()).item() for p, old in zip(layer.parameters(), before, strict=True)]
            np.testing.assert_allclose(row[[8, 11]], moved, rtol=1e-4)
            assert row[LR] == pytest.approx(0.1)
            for name, value, words in [
                ("lr", 0.01, "lr = 0.01"), ("lr", -1, "lr must be"), ("foreach", True, "no hyperparameter 'foreach'"),
                ("amsgrad", True, "amsgrad cannot be changed"),
            ]:  # fmt: skip
                say(link, "set", name=name, value=value)
                until(lambda: not page._requests.empty())
                page.log(loss.detach())
                assert words in hear(link, "news")["text"]
            assert opt.param_groups[0]["lr"] == 0.01
    with watch(torch.optim.Adam(layer.parameters(), lr=torch.tensor(0.1)), browser=False) as page:
        assert "lr" not in page._groups()[0]
        assert page._groups()[0]["betas"] == [0.9, 0.999]
    mine = torch.optim.Rprop(
        [{"params": [torch.nn.Parameter(torch.ones(2))]}, {"params": [torch.nn.Parameter(torch.ones(2))]}]
    )
    assert sources.source_of(mine).names == ["0.0", "1.0"]
    assert sources.source_of(torch.optim.SparseAdam([torch.nn.Parameter(torch.ones(2))])).rule == ""
    assert sources.source_of(mine).gradients(None) == [None, None]


# In a real browser


@pytest.mark.slow
def test_the_page_of_a_training(tmp_path):
    pytest.importorskip("playwright")
    from browser import ARGUMENTS, BROWSER
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    opt = gdfast.Adam(params(), lr=0.5)
    with watch(opt, browser=False, control=True, checkpoint=tmp_path / "a") as page, sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = opened.new_page()
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(page.address)

        def shown(condition):
            end = time.monotonic() + 20
            while not tab.evaluate(condition):
                assert time.monotonic() < end, condition
                opt.step(params())
                page.log(1.0 / opt.step_count, params())
                tab.wait_for_timeout(10)

        shown("watched.rows.length > 5 * watched.width")
        shown("document.querySelectorAll('#curves figure:not([hidden])').length === 7")
        rows = np.array(tab.evaluate("watched.rows.map((one) => one === null ? NaN : one)"), float)
        width = tab.evaluate("watched.width")
        rows = rows.reshape(-1, width)[:5]
        np.testing.assert_array_equal(rows[:, LOSS], (1 / rows[:, STEP]).astype(np.float32))
        slider = tab.locator("#groups input[type=range]").first
        slider.focus()
        tab.keyboard.press("ArrowLeft")
        shown("document.querySelector('#news').textContent.includes('lr = ')")
        assert 0.4 < opt.lr < 0.5
        tab.click("#save")
        shown("document.querySelector('#news').textContent.includes('saved')")
        tab.click("#stop")
        shown("document.querySelector('#news').textContent.includes('asked to stop')")
        assert page.stopped
        page.__exit__()
        tab.wait_for_timeout(300)
        assert "has ended" in tab.text_content("#toast")
        assert complaints == []
        opened.close()
