"""The linear estimators find the minimum, take what scikit-learn's users give, and refuse the rest in words."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.datasets import load_iris
from sklearn.linear_model import (
    GammaRegressor,
    Lasso,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.svm import LinearSVC

import gdfast
from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._linear_fit import Data
from gdfast.sklearn._losses import CLASSIFIER, REGRESSOR

EXACT = {"standardize": False, "random_state": 0, "max_iter": 2000, "batch_size": 400, "lr": "auto"}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 6))
    return X, X @ np.array([1.0, -2.0, 0.5, 0.0, 0.0, 1.5]) + 0.7 + 0.5 * rng.standard_normal(400)


def objective(model, theirs, X, y, alpha):
    """The mean log loss plus the l2 penalty of two fitted classifiers."""
    values = []
    for one in (model, theirs):
        z = X @ one.coef_[0] + one.intercept_[0]
        values.append(np.logaddexp(0, np.where(y, -z, z)).mean() + alpha / 2 * (one.coef_**2).sum())
    return values


def test_logistic_regression_reaches_the_minimum(rows):
    X, y = rows[0], rows[1] > 0.3
    ours = GDClassifier(alpha=0.01, **EXACT).fit(X, y)
    theirs = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-8).fit(X, y)
    mine, best = objective(ours, theirs, X, y, 0.01)
    assert mine == pytest.approx(best, rel=1e-6)
    assert ours.loss_curve_[-1] == pytest.approx(best, rel=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-3)
    np.testing.assert_allclose(ours.predict_log_proba(X), np.log(ours.predict_proba(X)))
    np.testing.assert_array_equal(ours.decision_function(X) > 0, ours.predict(X))


def test_multinomial_reaches_the_minimum(rows):
    X, y = rows[0], np.digitize(rows[1], [-1, 1])
    ours = GDClassifier(alpha=0.01, **EXACT).fit(X, y)
    theirs = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-8).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-3)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.01)


@pytest.mark.parametrize(
    ("loss", "options", "theirs"),
    [
        ("squared_error", {"alpha": 0.1}, lambda n: Ridge(alpha=0.1 * n)),
        ("squared_error", {"alpha": 0.1, "penalty": "l1"}, lambda n: Lasso(alpha=0.1)),
        (
            "quantile",
            {"alpha": 0.01, "penalty": "l1", "quantile": 0.8},
            lambda n: QuantileRegressor(quantile=0.8, alpha=0.01),
        ),
    ],
    ids=["ridge", "lasso", "quantile"],
)
def test_regression_reaches_the_minimum(rows, loss, options, theirs):
    X, y = rows
    ours, theirs = GDRegressor(loss, **EXACT, **options).fit(X, y), theirs(len(y)).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.02)
    np.testing.assert_allclose(ours.intercept_[0], theirs.intercept_, atol=0.02)
    assert ((ours.coef_ == 0) == (theirs.coef_ == 0)).all()


@pytest.mark.parametrize(
    ("loss", "options", "theirs"),
    [
        ("poisson", {}, PoissonRegressor(alpha=0.01)),
        ("gamma", {}, GammaRegressor(alpha=0.01)),
        ("tweedie", {"power": 1.5}, TweedieRegressor(power=1.5, alpha=0.01)),
        ("tweedie", {"power": 1}, PoissonRegressor(alpha=0.01)),
        ("tweedie", {"power": 2}, GammaRegressor(alpha=0.01)),
        ("tweedie", {"power": 0}, TweedieRegressor(power=0, link="log", alpha=0.01)),
    ],
    ids=str,
)
def test_losses_with_a_logarithm_reach_the_minimum(rows, loss, options, theirs):
    X, y = rows[0], np.exp(rows[1] / 3)
    ours, theirs = GDRegressor(loss, alpha=0.01, **EXACT, **options).fit(X, y), theirs.fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=0.01)


@pytest.mark.parametrize("loss", CLASSIFIER)
def test_every_loss_of_classes_learns_two_and_more(rows, loss):
    X = rows[0]
    for y in (np.where(rows[1] > 0.7, "high", "low"), np.digitize(X[:, 0] + 0.1 * rows[1], [-0.5, 0.5])):
        model = GDClassifier(loss, random_state=0).fit(X, y)
        assert model.score(X, y) > 0.8, loss
        assert model.coef_.shape == (1 if len(set(y)) == 2 else 3, 6)
        if loss in ("log_loss", "modified_huber"):
            probabilities = model.predict_proba(X)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1)
            assert (model.classes_[probabilities.argmax(axis=1)] == y).mean() > 0.8
        else:
            assert not hasattr(model, "predict_proba")


def test_squared_hinge_is_linear_svc(rows):
    X, y = rows[0], rows[1] > 0.3
    ours = GDClassifier("squared_hinge", alpha=0.05, **EXACT).fit(X, y)
    theirs = LinearSVC(C=1 / (0.05 * len(y)), intercept_scaling=100, tol=1e-8, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.01)


def test_log_cosh_reaches_the_minimum_that_scipy_finds(rows):
    X, y, epsilon = rows[0], rows[1] + 50 * (np.arange(400) % 40 == 0), 0.5  # with outliers

    def objective(w):
        x = (X @ w[:6] + w[6] - y) / epsilon
        return epsilon**2 * (np.logaddexp(x, -x) - np.log(2)).mean() + 0.005 * (w[:6] ** 2).sum()

    best = minimize(objective, np.zeros(7), tol=1e-12)
    ours = GDRegressor("log_cosh", epsilon=epsilon, alpha=0.01, **EXACT).fit(X, y)
    assert objective(np.append(ours.coef_, ours.intercept_)) == pytest.approx(best.fun, rel=1e-6)
    np.testing.assert_allclose(ours.coef_, best.x[:6], atol=2e-3)


def test_log_cosh_in_any_unit(rows):
    """`epsilon` is in the units of y."""
    X, y = rows
    one, other = (GDRegressor("log_cosh", epsilon=0.5 * k, random_state=0).fit(X, k * y) for k in (1, 1000))
    np.testing.assert_allclose(other.predict(X) / 1000, one.predict(X), atol=1e-9)


@pytest.mark.parametrize("standardize", [True, False])
def test_log_cosh_of_small_errors_is_the_squared_error(rows, standardize):
    X, y = rows
    options = {"random_state": 0, "standardize": standardize, "optimizer": "adam"}  # epoch by epoch
    wide, squared = GDRegressor("log_cosh", epsilon=1e6, **options).fit(X, y), GDRegressor(**options).fit(X, y)
    np.testing.assert_allclose(wide.coef_, squared.coef_, atol=1e-9)
    np.testing.assert_allclose(wide.loss_curve_, squared.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("loss", REGRESSOR)
def test_every_loss_of_numbers_learns_one_and_several_targets(rows, loss):
    X = rows[0]
    y = 500 * np.exp(rows[1] / 8)
    options = {"epsilon": 30.0} if getattr(REGRESSOR[loss].parameter, "name", "") == "epsilon" else {}
    one = GDRegressor(loss, random_state=0, **options).fit(X, y)
    several = GDRegressor(loss, random_state=0, **options).fit(X, np.stack([y, y[::-1] / 100 + 1], axis=1))
    assert one.score(X, y) > 0.5
    assert several.coef_.shape == (2, 6)
    assert several.predict(X).shape == (400, 2)
    assert one.predict(X).shape == (400,)
    np.testing.assert_allclose(several.predict(X)[:, 0], one.predict(X), rtol=0.2, atol=300)


def test_raw_columns_do_as_well_as_standardised_ones(rows):
    X, y = rows
    scales = np.logspace(-5, 5, 6)
    plain = GDRegressor(random_state=0).fit(X, y)
    odd = GDRegressor(random_state=0).fit(X * scales + 1000 * scales, y * 1e6 + 1e9)
    assert odd.score(X * scales + 1000 * scales, y * 1e6 + 1e9) == pytest.approx(plain.score(X, y), abs=1e-6)
    scant = sparse.csr_matrix(np.where(X > 0, X, 0))
    one, other = (GDRegressor(random_state=0).fit(s, y) for s in (scant, sparse.csr_matrix(scant.multiply(scales))))
    assert other.score(sparse.csr_matrix(scant.multiply(scales)), y) == pytest.approx(one.score(scant, y), abs=1e-6)


def test_odd_columns_are_harmless():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((100, 5)).astype(np.float32)
    X[:, 1] = 0.1
    X[:, 2] = 0
    X[:, 3] *= 1e-38
    y = X[:, 0]
    for fit_intercept in (True, False):
        model = GDRegressor(random_state=0, fit_intercept=fit_intercept).fit(X, y)
        assert np.isfinite(model.coef_).all()
        assert model.score(X, y) > 0.99
    assert GDRegressor(random_state=0).fit(X, y).coef_[1] == 0
    constant = GDRegressor(random_state=0).fit(X, np.full(100, 7.0))
    np.testing.assert_allclose(constant.predict(X), 7.0, rtol=1e-4)


def test_weights_of_rows_and_classes(rows):
    X, y = rows[0], (rows[1] > 2).astype(int)
    repeated = np.arange(400) % 3
    options = {"random_state": 0, "max_iter": 300, "batch_size": 1000}
    weighted = GDClassifier(**options).fit(X, y, sample_weight=repeated)
    several = GDClassifier(**options).fit(np.repeat(X, repeated, axis=0), np.repeat(y, repeated))
    np.testing.assert_allclose(weighted.coef_, several.coef_, rtol=1e-6)
    balanced = GDClassifier(class_weight="balanced", random_state=0).fit(X, y)
    assert balanced.predict(X).sum() > GDClassifier(random_state=0).fit(X, y).predict(X).sum()
    both = GDClassifier(class_weight={1: 2.0}, **options).fit(X, y, sample_weight=np.ones(400))
    alike = GDClassifier(**options).fit(X, y, sample_weight=np.where(y == 1, 2.0, 1.0))
    np.testing.assert_allclose(both.coef_, alike.coef_)


def test_partial_fit_and_warm_start(rows):
    X, y = rows
    labels = (y > 0).astype(int)
    model = GDClassifier(random_state=0)
    for _ in range(60):
        for part in np.array_split(np.arange(400), 4):
            model.partial_fit(X[part], labels[part], classes=[0, 1, 2])
    assert model.score(X, labels) > 0.9
    assert (model.n_iter_, len(model.loss_curve_), model.coef_.shape) == (240, 240, (3, 6))
    regressor = GDRegressor(optimizer="adam", random_state=0)
    for _ in range(100):
        regressor.partial_fit(X, y)
    assert regressor.score(X, y) > 0.9
    assert regressor.fit(X, y).n_iter_ == 250  # forgets what was before
    warm = GDRegressor(random_state=0, warm_start=True).fit(X, y)
    assert warm.set_params(max_iter=1, lr=1e-9).fit(X, y).score(X, y) == pytest.approx(regressor.score(X, y), abs=1e-3)


def test_warm_start_in_the_datas_own_units(rows):
    X, y = rows
    for data, standardize in ((X, False), (sparse.csr_matrix(X), True), (sparse.csr_matrix(X), False)):
        model = GDRegressor(random_state=0, warm_start=True, standardize=standardize).fit(data, y)
        before = model.coef_
        np.testing.assert_allclose(model.set_params(max_iter=1, lr=1e-9).fit(data, y).coef_, before, rtol=1e-6)


def test_an_optimizer_of_ones_own_steps_from_python(rows):
    """What overrides the step, or asks for the norm, cannot be computed ahead."""

    class Signs(gdfast.SGD):
        calls = 0

        def step(self, grads=None, **options):
            Signs.calls += 1
            super().step(grads, **options)

    X, y = rows
    model = GDRegressor(optimizer=Signs, random_state=0, max_iter=50, batch_size=100, lr=0.5).fit(X, y)
    assert Signs.calls == 200
    usual = GDRegressor(optimizer="sgd", random_state=0, max_iter=50, batch_size=100, lr=0.5).fit(X, y)
    np.testing.assert_array_equal(model.coef_, usual.coef_)


@pytest.mark.parametrize("name", ["schedulefreesgd", "schedulefreeadamw"])
def test_a_rule_that_evaluates_elsewhere(rows, name):
    """The coefficients are its average x, not y, where it trains."""
    X, y = rows
    model = GDRegressor(optimizer=name, lr=0.02, random_state=0, max_iter=100).fit(X, y)
    usual = GDRegressor(random_state=0).fit(X, y)
    assert model.score(X, y) == pytest.approx(usual.score(X, y), abs=0.01)
    for _ in range(2):
        model.partial_fit(X, y)
    assert model.score(X, y) == pytest.approx(usual.score(X, y), abs=0.05)


def test_large_batches_reshuffle_in_chunks():
    order = BatchOrder(np.arange(5000), np.random.default_rng(0), True, 1024, in_place=True)
    first, second = order.epoch().copy(), order.epoch().copy()
    assert sorted(first) == sorted(second) == list(range(5000))
    assert (first != second).mean() > 0.9
    assert {tuple(c) for c in first[:4992].reshape(-1, 16)} == {tuple(c) for c in second[:4992].reshape(-1, 16)}
    still = BatchOrder(np.arange(5000), np.random.default_rng(0), False, 1024, in_place=True)
    assert (still.epoch() == np.arange(5000)).all()


def test_names_of_columns_are_kept():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0.0, 1, 2, 3], "b": [1.0, 0, 1, 0]})
    model = GDRegressor(max_iter=2).fit(frame, [0, 1, 2, 3])
    assert list(model.feature_names_in_) == ["a", "b"]


WRONG = [
    ({"loss": "cubic"}, ValueError, "loss must be one of 'log_loss'"),
    ({"penalty": "l3"}, ValueError, "penalty must be one of 'l2'"),
    ({"alpha": -1}, ValueError, "alpha must be"),
    ({"alpha": "much"}, TypeError, "alpha must be"),
    ({"l1_ratio": 2}, ValueError, "l1_ratio must be"),
    ({"validation_fraction": 0.0}, ValueError, "validation_fraction must be"),
    ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
    ({"max_iter": 2.5}, TypeError, "max_iter must be an int"),
    ({"batch_size": "large"}, TypeError, 'batch_size must be an int or "auto"'),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change must be at least 1"),
    ({"tol": np.nan}, ValueError, "tol must be"),
    ({"n_threads": 0}, ValueError, "n_threads must not be 0"),
    ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False"),
    ({"average": 0}, ValueError, "average must be at least 1"),
    ({"lr": -1}, ValueError, "lr must be"),
    ({"optimizer": "muon"}, ValueError, "must be a matrix"),
    ({"optimizer": "none"}, ValueError, "optimizer must be one of"),
    ({"optimizer": ("adam", {"betas": 3})}, TypeError, "betas must be a pair"),
    ({"class_weight": {5: 1.0}}, ValueError, "class"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_parameters(rows, options, error, message):
    with pytest.raises(error, match=message):
        GDClassifier(**options).fit(rows[0], rows[1] > 0)


def test_wrong_data(rows):
    X, y = rows
    labels = y > 0
    for call, message in [
        (lambda: GDClassifier().fit(X, np.zeros(400)), "y must have at least 2 classes"),
        (lambda: GDClassifier(class_weight={0: 0.0, 1: 0.0}).fit(X, labels), "must not be zero for every row"),
        (lambda: GDClassifier().partial_fit(X, labels), "classes must be given in the first call"),
        (lambda: GDClassifier().partial_fit(X, labels, [0, 1]).partial_fit(X, labels, [0, 2]), "classes must be those"),
        (lambda: GDClassifier().partial_fit(X, y > 0, [1, 2]), "y must have no label that is not in classes"),
        (lambda: GDClassifier(class_weight="balanced").partial_fit(X, labels, [0, 1]), "needs all data at once"),
        (
            lambda: GDClassifier(optimizer=("adam", {"engine": "numpy"})).fit(X, np.digitize(y, [0, 1])),
            "one output on dense",
        ),
        (lambda: GDRegressor("poisson").fit(X, y), "y must be non-negative for loss='poisson'"),
        (lambda: GDRegressor("gamma").fit(X, np.abs(y) * labels), "y must be positive for loss='gamma'"),
        (lambda: GDRegressor(power=0.5).fit(X, y), "power must not be between 0 and 1"),
        (lambda: GDRegressor(quantile=1.0).fit(X, y), "quantile must be"),
        (
            lambda: GDRegressor(warm_start=True).fit(X, y).fit(X, np.stack([y, y], 1)),
            "of the last fit, 6 and 1; got 6 and 2",
        ),
        (lambda: GDRegressor(optimizer="sgd", lr=1e30).fit(X, y), "diverged. Try a smaller lr"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    warm = GDClassifier(warm_start=True).fit(X, labels)
    with pytest.raises(ValueError, match="warm_start needs the classes of the last fit"):
        warm.fit(X, np.where(labels, "a", "b"))
    broken = sparse.csr_matrix(X)
    broken.indices[0] = 100
    with pytest.raises(ValueError, match="indices"):
        GDRegressor().fit(broken, y)


def test_native_objects_are_bound_once():
    from gdfast.engine import _linear

    assert _linear.LANE_COUNT == 16
    assert Data.__doc__
    with pytest.raises(TypeError):
        _linear.LinearKernel()


def test_sigmoid_of_the_score_is_the_probability(rows):
    X, y = rows
    model = GDClassifier(random_state=0, max_iter=20).fit(X, y > 0)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(model.decision_function(X)))


@pytest.mark.parametrize(("columns", "standardize", "times"), [(8, True, 1.0), (30, True, 3.0), (30, False, 1.0)])
def test_the_automatic_penalty_grows_with_the_columns(columns, standardize, times):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, columns))
    y = X[:, 0] + rng.standard_normal(120)
    options = {"standardize": standardize, "random_state": 0}
    automatic, given = (GDRegressor(alpha=alpha, **options).fit(X, y) for alpha in ("auto", times / 120))
    np.testing.assert_array_equal(automatic.coef_, given.coef_)


def test_the_multinomial_solution_is_the_symmetric_one():
    X, y = load_iris(return_X_y=True)
    model = GDClassifier(random_state=0).fit(X, y)
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(model.intercept_.sum(), 0, atol=1e-12)
    thinned = GDClassifier(penalty="l1", alpha=0.02, random_state=0).fit(X, y)
    assert (thinned.coef_ == 0).any()


@pytest.mark.parametrize("loss", ["huber", "log_cosh"])
def test_losses_that_would_be_zero_everywhere_are_refused(loss):
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
    with pytest.raises(ValueError, match="epsilon must be"):
        GDRegressor(loss, epsilon=0).fit(X, y)
    assert GDRegressor("epsilon_insensitive", epsilon=0).fit(X, y).coef_.any()


def test_a_star_import_needs_no_package_of_an_extra():
    code = "import sys; sys.modules['skl2onnx'] = None\nfrom gdfast.sklearn import *\nprint(GDClassifier.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "GDClassifier\n"
