"""Make the pictures of docs/lab.md: python docs/make_lab_pictures.py. Needs Chromium and the playwright package."""

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import gdfast
from gdfast.lab.server import in_thread
from gdfast.lab.session import serve_lab
from gdfast.lab.watching import Watch, watch

FOLDER = Path(__file__).parent / "pictures"


def main(folder: Path = FOLDER) -> list[Path]:
    """Write them into a folder, and return their paths."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with in_thread(serve_lab, "lab.html") as door, sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        made = [
            race(browser, door.address, folder / "lab.png", "momentum", 60, "light"),
            race(browser, door.address, folder / "lab-saddle.png", "saddle", 70, "dark", solid=True),
            data(browser, door.address, folder / "lab-data.png"),
            training(browser, folder / "lab-watch.png"),
        ]
        browser.close()
    return made


def race(browser: Any, address: str, path: Path, key: str, steps: int, scheme: str, solid: bool = False) -> Path:
    """Draw an experiment after some steps."""
    page = browser.new_page(viewport={"width": 1360, "height": 860}, color_scheme=scheme)
    page.goto(address)
    page.wait_for_timeout(1500)
    page.select_option("#experiment", key)
    page.click("#set-up")
    while page.evaluate("lab.track.length") < steps:
        page.wait_for_timeout(20)
    page.click("#play")
    if solid:
        page.check("#solid")
        page.wait_for_timeout(900)
    return shot(page, path)


def data(browser: Any, address: str, path: Path) -> Path:
    """Draw two classes, learned by a small network."""
    page = browser.new_page(viewport={"width": 1360, "height": 860}, color_scheme="light")
    page.goto(address + "data.html")
    page.wait_for_timeout(2500)
    page.select_option("#task", "classes")
    page.wait_for_timeout(500)
    page.fill("#hidden", "12")
    page.keyboard.press("Tab")
    page.click("#find")
    page.fill("#speed", "100")
    page.click("#play")
    page.wait_for_timeout(4000)
    page.click("#play")
    return shot(page, path)


def training(browser: Any, path: Path) -> Path:
    """Draw a training that is watched."""
    pages: list[Watch] = []
    thread = threading.Thread(target=train, args=(pages,))
    thread.start()
    while not pages or not pages[0].address:
        pass
    page = browser.new_page(viewport={"width": 1360, "height": 860}, color_scheme="light")
    page.goto(pages[0].address)
    page.wait_for_timeout(5000)
    shot(page, path, close=False)
    page.click("#stop")
    thread.join()
    page.close()
    return path


def train(pages: list[Watch]) -> None:
    """Train a small network until the page says stop."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((512, 20))
    targets = np.sin(rows[:, :1]) + rows[:, 1:2]
    shapes = {"hidden.W": (32, 20), "hidden.b": (32,), "output.W": (1, 32), "output.b": (1,)}
    w = {name: 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    opt = gdfast.Adam(w, lr=gdfast.schedules.Cosine(0.02, total_steps=30_000, warmup_steps=2000))
    with watch(opt, browser=False, control=True) as page:
        pages.append(page)
        stop = False
        while not stop:
            chosen = rng.integers(0, 512, 64)
            x = rows[chosen]
            hidden = np.maximum(x @ w["hidden.W"].T + w["hidden.b"], 0)
            error = hidden @ w["output.W"].T + w["output.b"] - targets[chosen]
            of_output = 2 * error / 64
            of_hidden = (of_output @ w["output.W"]) * (hidden > 0)
            grads = {
                "hidden.W": of_hidden.T @ x,
                "hidden.b": of_hidden.sum(0),
                "output.W": of_output.T @ hidden,
                "output.b": of_output.sum(0),
            }
            opt.step(grads)
            stop = page.log((error**2).mean(), grads)


def shot(page: Any, path: Path, close: bool = True) -> Path:
    """Write what a page shows, in few colours."""
    page.wait_for_timeout(300)
    page.screenshot(path=path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    if close:
        page.close()
    return path


if __name__ == "__main__":
    for path in main():
        print(path)
