"""Fits of sets under 2,000 rows: `python -m benchmarks.small_fits [--quick] [--out DIR]`.

The linear estimators with their defaults, in turns with scikit-learn's LogisticRegression and Ridge with theirs, the
columns of both standardised beforehand. Times are of `fit` alone, medians of the rounds; the ratio is the median over
the rounds of the ratio of two times in the same round. Scores are means over three random quarters held out.
"""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks import results, tables
from benchmarks.defaults import SPLITS
from benchmarks.peers.base import Run
from benchmarks.timing import interleave
from gdfast.sklearn import GDClassifier, GDRegressor

SETS: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}
#: set -> the others' estimator, and at most how many times its time is asked for
PEERS = dict.fromkeys(SETS, (LogisticRegression, 2.0)) | {"diabetes": (Ridge, 5.0)}
PAUSE = 0.15  # seconds: OpenBLAS's threads, which scikit-learn's fits wake, keep a CPU for a tenth of one
MARGIN = 0.01  # how far below the other's score is the same


def measure(name: str, rounds: int) -> results.Figures:
    """Return milliseconds, the ratio of the times, and the scores of a set."""
    X, y = SETS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)
    peer, asked = PEERS[name]
    ours = GDRegressor if peer is Ridge else GDClassifier
    makers = {"gdfast": partial(ours, random_state=0), "scikit-learn": peer}
    runs = {who: Run(partial(_fit, make, X, y), list, lambda grads: None) for who, make in makers.items()}
    times = interleave(runs, rounds, pause=PAUSE)
    scores: dict[str, list[float]] = {who: [] for who in makers}
    for seed in range(SPLITS):
        A, B, a, b = train_test_split(X, y, test_size=0.25, random_state=seed)
        for who, make in makers.items():
            scores[who].append(make().fit(A, a).score(B, b))
    means = {who: float(np.mean(of)) for who, of in scores.items()}
    return {
        "rows": len(X),
        "peer": peer.__name__,
        "ms": {who: t.median * 1e3 for who, t in times.items()},
        "times_the_peer": times["gdfast"].over(times["scikit-learn"]),
        "asked": asked,
        "scores": means,
        "score_above": means["gdfast"] - means["scikit-learn"],
    }


def _fit(make: Callable[[], Any], X: Any, y: Any) -> None:
    make().fit(X, y)


def table(found: dict[str, results.Figures]) -> str:
    """Return one line for each set."""
    title = ["set", "rows", "gdfast, ms", "beside", "ms", "gdfast's time", "asked", "score", "its score", ""]
    rows = []
    for name, of in found.items():
        met = of["times_the_peer"] <= of["asked"] and of["score_above"] >= -MARGIN
        rows.append(
            [
                name,
                str(of["rows"]),
                f"{of['ms']['gdfast']:.3g}",
                of["peer"],
                f"{of['ms']['scikit-learn']:.3g}",
                f"{of['times_the_peer']:.3g}×",
                f"at most {of['asked']:g}×",
                *(f"{of['scores'][who]:.4f}" for who in ("gdfast", "scikit-learn")),
                "met" if met else "**missed**",
            ]
        )
    return tables.table(title, rows)


def main(
    quick: Annotated[bool, typer.Option(help="Few rounds.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the table.")] = Path("results"),
    rounds: Annotated[int, typer.Option(help="Rounds of each set; 0 for the form's own.")] = 0,
) -> None:
    """Measure fits of small sets."""
    rounds = rounds or (3 if quick else 15)
    facts = tables.head("quick" if quick else "full", rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that stop before they have converged
        found = {name: measure(name, rounds) for name in SETS}
    parts = [__doc__.split("\n\n")[1].strip(), table(found)]
    print(results.write(out, "small_fits", "Fits of small sets", facts, parts, {"sets": found}))


if __name__ == "__main__":
    typer.run(main)
