"""Fits of sets under 2,000 rows: gdfast's defaults beside scikit-learn's LogisticRegression and Ridge, in turns.

``python -m benchmarks.small_fits [--rounds 15]``. CPU time of `fit` with BLAS on one thread, milliseconds: the
minimum of all rounds; ratios are medians over the rounds, of the two times of the same round. The accuracy (or R2) is
of the rows learned from, the loss is gdfast's objective: mini-batches (``optimizer="adam"``) are shown beside.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from gdfast.sklearn import GDClassifier, GDRegressor

SETS: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}
MARKS = {"Ridge": 5.0, "LogisticRegression": 2.0}  # times the peer's time, at most


def cpu_time(model: Any, X: Any, y: Any) -> float:
    """Return the milliseconds of a fit."""
    begin = time.process_time()
    model.fit(X, y)
    return 1e3 * (time.process_time() - begin)


def measured(name: str, rounds: int) -> str:
    """Return a row of the table."""
    X, y = SETS[name](return_X_y=True)
    ours, peer = (GDRegressor, Ridge()) if name == "diabetes" else (GDClassifier, LogisticRegression())
    models = [ours(random_state=0), ours(optimizer="adam", random_state=0), peer]
    times = np.array([[cpu_time(model, X, y) for model in models] for _ in range(rounds)])
    small, batches, theirs = times.min(axis=0)
    ratio = float(np.median(times[:, 0] / times[:, 2]))
    scores = " / ".join(f"{model.score(X, y):.4f}" for model in models)
    losses = " / ".join(f"{model.loss_:.6f}" for model in models[:2])
    most = MARKS[type(peer).__name__]
    mark = f"{most:g}, {'met' if ratio <= most else 'missed'}"
    cells = [name, models[0].optimizer_, f"{small:.2f}", f"{batches:.2f}", f"{theirs:.2f}", f"{ratio:.2f}", mark]
    return f"| {' | '.join([*cells, scores, losses])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="fits of each model")
    rounds = parser.parse_args().rounds
    print(
        "| set | optimizer_ | ours, ms | mini-batches | peer | ours / peer | at most | scores of the three | losses |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # LogisticRegression on raw columns does not converge
        for name in SETS:
            print(measured(name, rounds), flush=True)


if __name__ == "__main__":
    main()
