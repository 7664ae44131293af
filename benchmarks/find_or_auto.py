"""Is the learning-rate finder better than the rule that lr="auto" is?

``python -m benchmarks.find_or_auto [NAME ...]`` prints a line a data set and kind of model: the mean score (accuracy or
R2) over three random quarters held out, features as they come, and the median time of a fit, with each of the two.
"""

import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.defaults import SETS, SPLITS, is_classes
from benchmarks.tables import table
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

QUICK = (
    "iris", "wine", "breast_cancer", "diabetes", "raw_scales", "imbalanced", "few_rows", "one_feature",
    "sorted_regression", "wide", "low_rank", "heavy_tails",
)  # fmt: skip


def compare(kind: type[Any], X: Any, y: Any) -> dict[str, tuple[float, float]]:
    """Return the mean score and the median seconds of a fit for each lr."""
    found = {}
    for lr in ("auto", "find"):
        scores, seconds = [], []
        for seed in range(SPLITS):
            A, B, a, b = train_test_split(X, y, test_size=0.25, random_state=seed)
            start = time.perf_counter()
            model = kind(lr=lr, random_state=seed).fit(A, a)
            seconds.append(time.perf_counter() - start)
            scores.append(model.score(B, b))
        found[lr] = float(np.mean(scores)), float(np.median(seconds))
    return found


def main(names: list[str]) -> None:
    """Print the table."""
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names or [name for name in QUICK if name in SETS]:
            X, y = SETS[name]()
            for kind in (GDClassifier, MLPClassifier) if is_classes(y) else (GDRegressor, MLPRegressor):
                found = compare(kind, X, y)
                cells = [f"{found[lr][0]:.4f}" for lr in found] + [f"{found[lr][1] * 1e3:.1f} ms" for lr in found]
                lines.append([name, kind.__name__, *cells])
    print(table(["data", "model", "auto", "find", "auto's fit", "find's fit"], lines))


if __name__ == "__main__":
    main(sys.argv[1:])
