"""Sparse columns of linear models: their scale, and means that are taken off without filling the matrix."""

import numpy as np
import pytest
from scipy import sparse

import gdfast
from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._scaling import Standardizer, sparse_scale


def table(n=600, seed=0):
    """Return a year, numbers with heavy tails, amounts that are often zero, and a category, with a target."""
    rng = np.random.default_rng(seed)
    year, heavy = rng.integers(1985, 2000, n).astype(float), np.exp(2 * rng.standard_normal((n, 2)))
    amounts = np.where(rng.random((n, 3)) < 0.3, rng.gamma(2.0, 50.0, (n, 3)), 0.0)
    category = np.eye(5)[rng.integers(5, size=n)]
    X = np.column_stack([year, heavy, amounts, category])
    y = 0.3 * (year - 1992) + np.log(heavy[:, 0]) + 0.01 * amounts[:, 0] + category @ np.arange(5)
    return X, y + 0.3 * rng.standard_normal(n)


@pytest.mark.parametrize("kind", [GDRegressor, GDClassifier])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csr_scores_what_the_array_does(kind, dtype):
    X, y = table()
    if kind is GDClassifier:
        y = np.digitize(y, [-1.0, 4.0])
    X = X.astype(dtype)
    dense = kind(random_state=0).fit(X[:400], y[:400]).score(X[400:], y[400:])
    model = kind(random_state=0).fit(sparse.csr_array(X[:400]), y[:400])
    assert model.score(sparse.csr_array(X[400:]), y[400:]) > dense - 0.01
    assert dense > 0.6


@pytest.mark.parametrize("outputs", [1, 3])
def test_centred_steps_are_those_of_centred_rows(outputs):
    X, y = table(100)
    mean, inv_scale, _ = sparse_scale(arrays(X), np.arange(100), None, X.shape[1], True, 1)
    assert mean[0] == pytest.approx(X[:, 0].mean())
    assert not mean[3:].any()
    targets = np.column_stack([y, X[:, 1], X[:, 3]])[:, :outputs]
    results = []
    for data in (X, arrays(X)):
        trainer = LinearTrainer(
            data,
            targets / targets.std(axis=0),
            None,
            Standardizer(mean, inv_scale),
            ("squared_error", 0.0),
            (np.zeros((X.shape[1], outputs)), np.zeros(outputs)),
            (gdfast.SGD, {"lr": 0.05}),
            penalty=(0.1, 0.0),
            fit_intercept=True,
            batch_size=20,
            n_threads=1,
        )
        losses = [trainer.run(np.arange(100)) for _ in range(3)]
        results.append([*losses, *trainer.coef.ravel(), *trainer.intercept, *trainer.scores(np.arange(100)).ravel()])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-9, atol=1e-11)


def test_the_same_bits_at_any_number_of_threads():
    X, y = table(5000)
    X = sparse.csr_array(X)
    models = [GDRegressor(n_threads=n, random_state=0, max_iter=3).fit(X, y) for n in (1, 2, 5)]
    assert len({(model.coef_.tobytes(), model.intercept_.tobytes()) for model in models}) == 1


def test_few_columns_are_standardised_and_many_are_not_blown_up():
    rows = np.arange(4000)
    few = np.eye(10)[np.minimum(rows % 100, 9)]
    _, inv_scale, filled = sparse_scale(arrays(few), rows, None, 10, True, 1)
    np.testing.assert_allclose(1 / inv_scale[:9], few[:, :9].std(axis=0))
    assert filled == pytest.approx(0.91**2 + 9e-4)
    many = sparse.csr_array((np.ones(4000), (rows, rows % 2000)))
    mean, inv_scale, _ = sparse_scale((many.data, many.indices, many.indptr), rows, None, 2000, True, 1)
    assert mean is None
    np.testing.assert_allclose(inv_scale, 1.0, rtol=1e-3)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("odd", ["largest", "smallest", "constant", "huge cell"])
def test_odd_columns(odd, dtype, fit_intercept):
    X, y = table(200)
    X, limits = X.astype(dtype), np.finfo(dtype)
    X[:, 2] = {"largest": limits.max / 4, "smallest": limits.smallest_subnormal, "constant": 7.3, "huge cell": 0}[odd]
    X[::2, 2] *= 1 if odd == "constant" else 0
    X[5, 2] = limits.max / 8 if odd == "huge cell" else X[5, 2]
    model = GDRegressor(random_state=0, fit_intercept=fit_intercept).fit(sparse.csr_array(X), y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.score(sparse.csr_array(X), y))


def test_weights_are_rows_and_empty_columns_stay_out():
    X, y = table(300)
    X = sparse.csr_array(sparse.hstack([sparse.csr_array((300, 100)), sparse.csr_array(X)]))
    twice = np.r_[np.arange(300), np.arange(50)]
    weights = np.r_[np.full(50, 2.0), np.ones(250)]
    settings = {"random_state": 0, "batch_size": 1000, "max_iter": 1500, "alpha": 1e-3}
    weighted = GDRegressor(**settings).fit(X, y, sample_weight=weights)
    repeated = GDRegressor(**settings).fit(X[twice], y[twice])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-4, atol=1e-6)
    assert not weighted.coef_[:100].any()
    assert weighted.score(X, y) > 0.55


def test_training_goes_on_where_it_was():
    X, y = table(600)
    X = sparse.csr_array(X)
    model = GDRegressor(random_state=0, early_stopping=True).fit(X, y)
    assert model.best_validation_score_ == pytest.approx(max(model.validation_scores_))
    assert model.score(X, y) > 0.55
    parts = GDRegressor(random_state=0)
    for _ in range(60):
        for at in range(0, 600, 60):  # the scale changes with the second call, and no prediction with it
            parts.partial_fit(X[at : at + 60], y[at : at + 60])
    assert parts.score(X, y) > 0.55


def arrays(X):
    X = sparse.csr_array(X)
    return X.data, X.indices, X.indptr
