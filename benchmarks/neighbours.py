"""What busy neighbours cost: one thread and the default, with 0, 1 and 2 loops in other processes that want a CPU.

`python -m benchmarks.neighbours [--quick] [--out DIR]` prints the table and writes `neighbours.md` and
`neighbours.png`. A turn is a whole piece of work; one thread, the default number of threads, and gdfast with its parts
carried out by OpenMP take turns; a ratio is the median, over the rounds, of a time divided by that of one thread in the
same round under the same load. Peers are run likewise, against their own single thread.
"""

import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.datasets import load_digits, make_classification
from sklearn.neural_network import MLPClassifier as SklearnMLP
from threadpoolctl import threadpool_limits

import gdfast
from benchmarks import results
from benchmarks.peers.process import one_level_of_openmp
from benchmarks.pictures import SETTINGS
from benchmarks.tables import head, table
from benchmarks.timing import settle
from gdfast.engine import _team
from gdfast.sklearn import GDClassifier, MLPClassifier

NEIGHBOURS = (0, 1, 2)
MARK = 1.3  # times one thread's time, with one neighbour
PAUSE = 0.02  # seconds before a turn, so that the turn before is over for the threads too
Work = Callable[[], object]


def adam(n: int, steps: int, n_threads: int | None) -> Work:
    """Steps of one float32 array."""
    param, grad = np.ones(n, np.float32), np.cos(np.arange(n, dtype=np.float32))
    opt = gdfast.Adam(param, n_threads=n_threads)
    return lambda: [opt.step(grad) for _ in range(steps)]


def classifier(rows: int, columns: int, classes: int, n_threads: int | None) -> Work:
    """A fit with the defaults."""
    X, y = make_classification(
        rows, columns, n_informative=columns // 2, n_classes=classes, random_state=0, n_clusters_per_class=1
    )
    X = X.astype(np.float32)
    return lambda: GDClassifier(random_state=0, n_threads=n_threads).fit(X, y)


def network(n_threads: int | None) -> Work:
    """Twenty epochs of a small network."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    return lambda: MLPClassifier((100,), max_iter=20, tol=None, random_state=0, n_threads=n_threads).fit(X, y)


def torch_adam(n_threads: int | None) -> Work:
    """PyTorch's fused Adam, as `adam`."""
    import torch

    param = torch.nn.Parameter(torch.ones(1_000_000))
    param.grad = torch.cos(torch.arange(1_000_000.0))
    opt = torch.optim.Adam([param], fused=True)

    def work() -> None:
        torch.set_num_threads(n_threads or len(os.sched_getaffinity(0)))
        for _ in range(20):
            opt.step()

    return work


def numba_adam(n_threads: int | None) -> Work:
    """A parallel loop in numba, as `adam`."""
    import numba

    from benchmarks.peers import numba_peer

    kernel = numba_peer.compiled(numba_peer.adam)
    one_level_of_openmp()
    p, g, m, v = (np.ones(1_000_000, np.float32) for _ in range(4))

    def work() -> None:
        numba.set_num_threads(n_threads or numba.config.NUMBA_NUM_THREADS)
        for t in range(1, 21):
            kernel(p, g, m, v, t, 1e-3, 0.9, 0.999, 1e-8, 0.0)

    return work


def sklearn_network(n_threads: int | None) -> Work:
    """Scikit-learn's network, as `network`."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)

    def work() -> None:
        with threadpool_limits(limits=n_threads):
            SklearnMLP((100,), max_iter=20, tol=0, n_iter_no_change=21, random_state=0).fit(X, y)

    return work


OURS: dict[str, Callable[[int | None], Work]] = {
    "GDClassifier, 187 x 60, 5 classes": lambda n: classifier(187, 60, 5, n),
    "MLPClassifier, digits, 20 epochs": network,
    "GDClassifier, 150,000 x 100": lambda n: classifier(150_000, 100, 2, n),
    "Adam, 1M, 20 steps": lambda n: adam(1_000_000, 20, n),
    "Adam, 100k, 1,000 steps": lambda n: adam(100_000, 1000, n),
    "Adam, 16.8M, 2 steps": lambda n: adam(1 << 24, 2, n),
}
PEERS: dict[str, tuple[str, Callable[[int | None], Work]]] = {
    "PyTorch fused Adam, 1M, 20 steps": ("torch", torch_adam),
    "numba's parallel loop, 1M, 20 steps": ("numba", numba_adam),
    "scikit-learn's MLPClassifier, digits": ("sklearn", sklearn_network),
}


@dataclass
class Row:
    """One work's seconds, round by round, for each number of neighbours and way to carry it out."""

    name: str
    seconds: dict[tuple[int, str], list[float]] = field(default_factory=dict)

    def median(self, neighbours: int, way: str) -> float:
        """Seconds, in the median."""
        return statistics.median(self.seconds[neighbours, way])

    def ratio(self, neighbours: int, way: str) -> float:
        """The median, over the rounds, of the time divided by one thread's."""
        pairs = zip(self.seconds[neighbours, way], self.seconds[neighbours, "one thread"], strict=True)
        return statistics.median(a / b for a, b in pairs)


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Keep n other processes busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        time.sleep(0.3 if loops else 0.0)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def turn(work: Work, backend: str) -> float:
    """Seconds that a work takes, its threads settled."""
    _team.choose(backend)
    settle(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, make: Callable[[int | None], Work], ours: bool, rounds: int) -> Row:
    """Time one work in every way under every load."""
    ways = {"one thread": (make(1), "team"), "default": (make(None), "team")}
    if ours:
        ways["OpenMP"] = (ways["default"][0], "openmp")
    row = Row(name)
    for work, backend in ways.values():
        turn(work, backend)
    for neighbours in NEIGHBOURS:
        with busy(neighbours):
            for _ in range(rounds):
                for way, (work, backend) in ways.items():
                    row.seconds.setdefault((neighbours, way), []).append(turn(work, backend))
    _team.choose(None)
    return row


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.3g}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def text_of(rows: list[Row]) -> str:
    """Return the table: milliseconds, and how many times one thread's time the others take."""
    title = ["work, ms"]
    for n in NEIGHBOURS:
        title += [f"{n} busy: one thread", "default", "by OpenMP"]
    lines = []
    for row in rows:
        line = [row.name]
        for n in NEIGHBOURS:
            line.append(milliseconds(row.median(n, "one thread")))
            for way in ("default", "OpenMP"):
                known = (n, way) in row.seconds
                line.append(f"{milliseconds(row.median(n, way))} ({row.ratio(n, way):.2f})" if known else "-")
        lines.append(line)
    return table(title, lines)


def marks_of(rows: list[Row]) -> str:
    """Say for each of our works whether the default stays near one thread, beside a neighbour."""
    ours = [row for row in rows if row.name in OURS]
    lines = [
        [
            row.name,
            f"{row.ratio(1, 'default'):.2f}×",
            f"{MARK}×",
            "met" if row.ratio(1, "default") <= MARK else "missed",
        ]
        for row in ours
    ]
    return table(["one neighbour, against one thread", "default", "at most", ""], lines)


def draw(rows: list[Row], path: Path) -> None:
    """Draw how many times one thread's time the default takes beside one neighbour."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context(SETTINGS):
        figure, axis = plt.subplots(figsize=(9, 0.5 * len(rows) + 1.6))
        names = [row.name for row in rows][::-1]
        ratios = [row.ratio(1, "default") for row in rows][::-1]
        axis.barh(names, ratios, color=["#0072B2" if name in OURS else "#999999" for name in names], height=0.66)
        for i, ratio in enumerate(ratios):
            axis.text(ratio * 1.06, i, f"{ratio:.2f}", va="center")
        axis.axvline(1, color="black", linewidth=1.2)
        axis.set_xscale("log")
        axis.set_xlim(0.4, max(4, 2 * max(ratios)))
        axis.set_xlabel("times one thread's time, beside one busy neighbour (less is better)")
        axis.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"], minor=False)
        axis.minorticks_off()
        axis.tick_params(axis="y", length=0)
        figure.tight_layout()
        figure.savefig(path, dpi=150)
        plt.close(figure)


def main(
    out: Annotated[Path, typer.Option(help="The folder of the table and the picture.")] = Path("results"),
    quick: Annotated[bool, typer.Option(help="Fewer rounds, and gdfast alone.")] = False,
    rounds: Annotated[int, typer.Option(help="Rounds of each load; 0 for the form's own.")] = 0,
) -> None:
    """Measure what busy neighbours cost."""
    rounds = rounds or (5 if quick else 11)
    makers: dict[str, tuple[Any, bool]] = {name: (make, True) for name, make in OURS.items()}
    if not quick:
        makers |= {name: (make, False) for name, (needs, make) in PEERS.items() if find_spec(needs)}
    warnings.simplefilter("ignore")  # of networks that stop after the epochs asked for
    facts = head("quick" if quick else "full", rounds)
    rows = [measure(name, make, ours, rounds) for name, (make, ours) in makers.items()]
    parts = [__doc__.split("\n\n")[1], text_of(rows), marks_of(rows)]
    ratios = {row.name: row.ratio(1, "default") for row in rows}
    figures = {"beside_one_neighbour": ratios, "worst_of_ours": max(ratios[name] for name in OURS)}
    text = results.write(out, "neighbours", "Busy neighbours", facts, parts, figures)
    draw(rows, out / "neighbours.png")
    print(text)


if __name__ == "__main__":
    typer.run(main)
