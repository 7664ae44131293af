"""Estimators that are fitted, continued, changed and stored in any order: refused, or consistent; no process ends.

Every case makes up everything from its number: see fuzzing.py, and docs/development.md for longer runs.
"""

import copy
import pickle
import warnings

import numpy as np
from fuzzing import cases_wanted, refusable, run_cases
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError

from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

KINDS = [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor]
FORMATS = [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array]
CHANGES = {
    "lr": ["auto", 0.01, 1e-6, lambda step: 0.1 / (step + 1)],
    "optimizer": [
        "adam",
        "sgd",
        ("sgd", {"momentum": 0.9}),
        ("adam", {"betas": (0.8, 0.9)}),
        "schedulefreeadamw",
        "rprop",
    ],
    "standardize": [True, False],
    "early_stopping": [True, False],
    "warm_start": [True, False],
    "batch_size": ["auto", 1, 7, 1000],
    "n_threads": [None, 1, 2],
    "shuffle": [True, False],
    "alpha": ["auto", 0.0, 0.1],
    "random_state": [None, 0, 5],
}


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def rows(rng, columns):
    X = rng.normal(pick(rng, [0, 0, 1e3]), 1, (pick(rng, [1, 2, 10, 60, 150]), columns)).astype(pick(rng, ["f4", "f8"]))
    X[rng.random(X.shape) < pick(rng, [0, 0.5])] = 0
    return pick(rng, FORMATS)(X)


def targets(rng, model, n):
    y = rng.integers(0, pick(rng, [2, 3]), n) if is_classifier(model) else rng.normal(3, 2, n)
    return y if rng.random() < 0.9 else np.full(n, y[0])


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def make(rng):
    kind = pick(rng, KINDS)
    small = {"hidden_layer_sizes": pick(rng, [(), (3,), (4, 2)])} if kind in (MLPClassifier, MLPRegressor) else {}
    return kind(max_iter=2, tol=None, random_state=0, **small)


def train(rng, model, X, partial):
    y = targets(rng, model, X.shape[0])
    weights = pick(rng, [None, None, rng.random(len(y)), (rng.random(len(y)) < 0.5).astype(float)])
    if not partial:
        return model.fit(X, y, weights)
    classes = {"classes": [0, 1, 2]} if is_classifier(model) and not hasattr(model, "coef_") else {}
    return model.partial_fit(X, y, sample_weight=weights, **classes)


def check(model, X):
    """Predictions are numbers, and the same whatever the rows come in."""
    found = model.decision_function(X) if isinstance(model, GDClassifier) else model.predict(X)
    again = model.decision_function(dense(X)) if isinstance(model, GDClassifier) else model.predict(dense(X))
    assert np.isfinite(found).all()
    if not isinstance(model, MLPClassifier):  # whose classes may tie
        scale = max(1.0, float(np.abs(found).max()))
        assert np.allclose(found, again, rtol=1e-3, atol=1e-3 * scale), (found, again)


@refusable
def life_case(case):
    """Ten things that happen to an estimator."""
    rng = np.random.default_rng(case)
    model, columns = make(rng), 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(10):
            X = rows(rng, columns if rng.random() < 0.97 else 5)
            happens = rng.random()
            before = copy.deepcopy(model)
            try:
                if happens < 0.2:
                    train(rng, model, X, partial=False)
                elif happens < 0.6:
                    train(rng, model, X, partial=True)
                elif happens < 0.8:
                    name = pick(rng, list(CHANGES))
                    model.set_params(**{name: pick(rng, CHANGES[name])})
                elif happens < 0.9:
                    with_function = callable(model.lr)
                    model = copy.deepcopy(model) if with_function else pickle.loads(pickle.dumps(model))
                elif happens < 0.95:
                    model = clone(model)
                else:
                    model.lr_find(X, targets(rng, model, X.shape[0]), n_steps=3)
            except (ValueError, TypeError):
                model = before  # refused: life goes on as it was
            try:
                check(model, X)
            except (NotFittedError, ValueError):
                continue


def test_lives():
    failures = run_cases(life_case, cases_wanted(300))
    assert not failures, "\n".join(failures)
