"""The widgets in the programs that show them: JupyterLab and marimo, with kernels of their own, in a real browser."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytest.importorskip("anywidget")
pytest.importorskip("websockets")
from browser import ARGUMENTS, BROWSER
from playwright.sync_api import sync_playwright

import gdfast

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

RACE = """
from gdfast.lab import Surface
surface = Surface("ravine", steps=60)
"""
TRAINING = """
import time
import numpy as np
import gdfast
from gdfast.lab import watch
w = np.array([4.0, -2.0])
opt = gdfast.Adam(w, lr=0.1)
with watch(opt, browser=False) as page:
    {show}
    for _ in range(40):
        grads = w.copy()
        opt.step(grads)
        page.log(w @ w / 2, grads)
        time.sleep(0.02)
"""
LAST = 'f"The last row is of step {int(page._recorder.rows(0, -1)[2][-1, 0])}"'


def environment(folder):
    """Return an environment in which all that a host writes is in a folder."""
    own = {name: str(folder / name) for name in ("HOME", "XDG_CONFIG_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR",
                                                 "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
                                                 "JUPYTERLAB_WORKSPACES_DIR")}  # fmt: skip
    path = os.pathsep.join([str(Path(gdfast.__file__).parents[1]), *sys.path])
    return {**os.environ, **own, "PYTHONPATH": path, "MARIMO_SKIP_UPDATE_CHECK": "1"}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def host(arguments, folder, healthy):
    """Run a server until the end of the block."""
    log = folder / "log"
    with log.open("w") as out:
        command = [sys.executable, "-m", *arguments]
        server = subprocess.Popen(command, env=environment(folder), cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(healthy):
                break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture
def tab():
    """Return a page of the browser, whose errors fail the test; what a host's own files lack is none of them."""
    complaints = []

    def heard(message):
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    with sync_playwright() as api:
        opened = api.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        page = opened.new_page(viewport={"width": 1200, "height": 2200})
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        opened.close()
    assert complaints == []


COLOURS = """(canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(data.buffer)).size;
}"""


def plays(tab):
    """Check that the race is drawn, and that buttons and slider reach the kernel, whose answers come back."""
    canvas = tab.locator(".gdfast-lab .map")
    canvas.wait_for(timeout=120_000)
    count = tab.locator(".gdfast-lab .count")

    def counted(steps):
        end = time.monotonic() + 20
        while count.text_content() != f"step {steps} of 60":
            assert time.monotonic() < end, count.text_content()
            tab.wait_for_timeout(20)

    counted(0)
    before = canvas.evaluate(COLOURS)
    assert before > 20
    tab.click(".gdfast-lab .step")
    counted(1)
    tab.fill(".gdfast-lab .speed", "300")
    tab.click(".gdfast-lab .play")
    counted(60)
    assert canvas.evaluate(COLOURS) > before
    tab.click(".gdfast-lab .back")
    counted(0)


def shows_all(tab):
    """Check that the curves of the training go on to the last row that the kernel has."""
    said = tab.get_by_text(re.compile(r"The last row is of step \d"))
    last = int(said.last.text_content(timeout=120_000).split()[-1])
    assert last > 4
    now = tab.locator(".gdfast-watch .now")
    end = time.monotonic() + 20
    while not now.text_content().startswith(f"step {last} "):
        assert time.monotonic() < end, (last, now.text_content())
        tab.wait_for_timeout(20)
    assert tab.locator(".gdfast-watch figure:not([hidden]) canvas").first.evaluate(COLOURS) > 5


def test_jupyterlab(tab, tmp_path):
    jupyterlab = pytest.importorskip("jupyterlab")
    pytest.importorskip("ipykernel")
    training = TRAINING.format(show="display(page.widget())")
    cells = [
        {"cell_type": "code", "id": f"cell{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": text}
        for i, text in enumerate([RACE + "surface", training + f"print({LAST})"])
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "race.ipynb").write_text(json.dumps(book))
    beside = Path(jupyterlab.__file__).parents[1] / "share" / "jupyter"  # where `pip install --target` puts it
    share = beside if beside.exists() else Path(sys.prefix) / "share" / "jupyter"
    port, token = free_port(), "token-of-the-test"
    arguments = [
        "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={tmp_path}", f"--LabApp.app_dir={share / 'lab'}",
        f"--LabServerApp.extra_labextensions_path={share / 'labextensions'}",
    ]  # fmt: skip
    with host(arguments, tmp_path, f"http://127.0.0.1:{port}/api/status?token={token}"):
        tab.goto(f"http://127.0.0.1:{port}/lab/tree/race.ipynb?token={token}")
        tab.get_by_text("Python 3 (ipykernel) | Idle").wait_for(
            timeout=120_000
        )  # the kernel's state, below the notebook
        tab.click(".jp-CodeCell >> nth=0")
        tab.click(".lm-MenuBar-itemLabel:text-is('Run')")
        tab.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
        shows_all(tab)
        plays(tab)
        tab.close()  # before its server ends


def test_marimo(tab, tmp_path):
    pytest.importorskip("marimo")

    def cell(text, returned=""):
        lines = [f"    {line}\n" for line in text.strip().splitlines()]
        return "".join(["@app.cell\ndef _(mo):\n", *lines, f"    return {returned}\n\n"])

    imports = cell("import marimo as mo", "(mo,)").replace("_(mo)", "_()")
    race = cell(RACE + "mo.ui.anywidget(surface)")
    training = cell(TRAINING.format(show="mo.output.append(mo.ui.anywidget(page.widget()))"), "(page,)")
    last = cell(f"mo.md({LAST})").replace("_(mo)", "_(mo, page)")
    (tmp_path / "race.py").write_text("import marimo\n\napp = marimo.App()\n\n" + imports + race + training + last)
    port = free_port()
    arguments = ["marimo", "run", "--headless", "--no-token", f"--port={port}", str(tmp_path / "race.py")]
    with host(arguments, tmp_path, f"http://127.0.0.1:{port}/health"):
        tab.goto(f"http://127.0.0.1:{port}/")
        shows_all(tab)
        plays(tab)
        tab.close()  # before its server ends
