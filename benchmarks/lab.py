"""What the lab costs: pictures a second, the first picture, and the share of a loop's time that watching it takes.

`python -m benchmarks.lab`; the first two need Chromium and the playwright package.
"""

import shutil
import statistics
import time
from collections.abc import Callable

import numpy as np

import gdfast
from gdfast.lab.server import in_thread
from gdfast.lab.session import serve_lab
from gdfast.lab.watching import watch

RACERS = ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "NAdam", "Lion", "AdaBelief"]
SECONDS = 6.0
TURNS = 5
BLOCK, BLOCKS = 0.4, 25  # seconds


def pictures() -> tuple[float, float]:
    """Return the pictures a second of a race of eight, and the seconds from the page's load to the first."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    racers = [{"rule": rule, "values": {"lr": 0.002}} for rule in RACERS]
    with in_thread(serve_lab, "lab.html") as door, sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1360, "height": 860})
        first = []
        for _ in range(TURNS):
            page.goto(door.address)
            while not page.evaluate("Boolean(window.lab && lab.frames.length)"):
                time.sleep(0.005)
            first.append(page.evaluate("lab.frames[0] / 1000"))
        race = {"surface": "rosenbrock", "racers": racers, "steps": 20_000}
        page.evaluate("(race) => { location.hash = '#race=' + btoa(JSON.stringify(race)); }", race)
        page.wait_for_timeout(1000)
        page.fill("#speed", "60")
        page.click("#play")
        page.wait_for_timeout(int(SECONDS * 1000))
        frames = page.evaluate("lab.frames")
        browser.close()
    return (len(frames) - 1) / (frames[-1] - frames[0]) * 1000, statistics.median(first)


def watching(size: int) -> tuple[float, float, float]:
    """Return the seconds a turn of a loop of Adam's steps, and the shares that watching adds: medians, in turns.

    The first share is that of a loop that asks `due` before it calls `log`, the second that of one that always calls.
    Seconds of the loop's own thread on a CPU, so that a busy machine is no part of them.
    """
    w, grads = np.ones(size, np.float32), np.full(size, 0.1, np.float32)
    opt = gdfast.Adam(w, n_threads=1)
    with watch(opt, browser=False) as page:

        def alone(turns: int) -> None:
            for _ in range(turns):
                opt.step(grads)

        def asking(turns: int) -> None:
            for _ in range(turns):
                opt.step(grads)
                if page.due and page.log(0.5, grads):
                    break

        def logging(turns: int) -> None:
            for _ in range(turns):
                opt.step(grads)
                if page.log(0.5, grads):
                    break

        def seconds(loop: Callable[[int], None]) -> float:
            began = time.thread_time()
            loop(turns)
            return (time.thread_time() - began) / turns

        turns = 100
        logging(turns)  # the first sample, after which the others keep their distance
        turns = max(20, int(BLOCK / seconds(alone)))
        rows = [(seconds(alone), seconds(asking), seconds(logging)) for _ in range(BLOCKS)]
    one, *others = (statistics.median(column) for column in zip(*rows, strict=True))
    return one, others[0] / one - 1.0, others[1] / one - 1.0


def main() -> None:
    """Print all of it."""
    for size in (1_000, 30_000, 100_000, 1_000_000, 10_000_000):
        turn, asking, logging = watching(size)
        print(
            f"watching a loop of {turn * 1e6:9.1f} us a turn ({size:,} parameters) adds {asking:6.2%} where it asks "
            f"`due` first, {logging:6.2%} where it calls `log` at every turn"
        )
    rate, first = pictures()
    print(f"eight racers: {rate:.0f} pictures a second; the first {first:.2f} s after the page's load began")


if __name__ == "__main__":
    main()
