"""The epochs of the linear models: the bits of the NumPy reference, whatever the threads and the instruction set."""

import math

import numpy as np
import pytest
from levels import LEVELS
from loss_cases import LOSS_CASES
from scipy import sparse

import gdfast
from arrays import assert_same_bits
from gdfast import optimizers
from gdfast.engine import threads
from gdfast.reference.losses import LOSSES, exponential, log1p_of_fraction
from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.sklearn._losses import CLASSIFIER, REGRESSOR

LOSS_NAMES = [*CLASSIFIER, *REGRESSOR]
OPTIONS = {
    "plain": {},
    "elastic_average": {"penalty": "elasticnet", "alpha": 1e-2, "average": True},
    "raw_adagrad": {"standardize": False, "optimizer": "adagrad", "lr": 0.1},
    "nesterov": {"optimizer": ("sgd", {"momentum": 0.9, "nesterov": True, "clip_value": 1.0}), "lr": 0.05},
    "no_intercept": {"fit_intercept": False, "optimizer": "adamw"},
    "clip_norm": {"optimizer": ("adam", {"clip_norm": 0.1})},
}


@pytest.fixture
def eight_cpus(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)


def data(dtype, n=700, p=37, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.exp(rng.standard_normal(p)) + rng.standard_normal(p)
    X[:, 5] = 3.7  # constant
    z = X @ rng.standard_normal(p) / 5
    weights = rng.random(n)
    weights[::7] = 0
    return X.astype(dtype), (z > z.mean()).astype(int), np.exp(np.clip(z / 4, -2, 2)), weights


def estimator(loss, **options):
    settings = {"random_state": 0, "max_iter": 3, "batch_size": 300, **options}
    return GDClassifier(loss, **settings) if loss in CLASSIFIER else GDRegressor(loss, **settings)


def with_engine(options, engine):
    choice = options.get("optimizer", "adam")
    name, more = choice if isinstance(choice, tuple) else (choice, {})
    return {**options, "optimizer": (name, {**more, "engine": engine})}


def assert_same_model(actual, expected, where):
    assert_same_bits([actual.coef_, actual.intercept_], [expected.coef_, expected.intercept_], where)
    assert actual.loss_curve_ == expected.loss_curve_, where


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_native_is_the_reference(loss, dtype, use_level, eight_cpus):
    X, classes, numbers, weights = data(dtype)
    y = classes if loss in CLASSIFIER else numbers
    expected = estimator(loss, **with_engine({}, "numpy")).fit(X, y, weights)
    for level in LEVELS:
        use_level(level)
        for n_threads in (1, 2, 3, 8):
            actual = estimator(loss, n_threads=n_threads).fit(X, y, weights)
            assert_same_model(actual, expected, f"{level}, {n_threads} threads")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_native_is_the_reference_with_options(options, dtype, use_level):
    X, classes, numbers, weights = data(dtype)
    for loss, y in (("log_loss", classes), ("huber", numbers)):
        for sample_weight in (None, weights):
            expected = estimator(loss, **with_engine(options, "numpy")).fit(X, y, sample_weight)
            for level in LEVELS:
                use_level(level)
                actual = estimator(loss, **options).fit(X, y, sample_weight)
                assert_same_model(actual, expected, f"{loss}, {level}")


@pytest.mark.parametrize("name", sorted(optimizers.by_name().keys() - {"muon"}))  # which steps matrices only
def test_every_optimizer_steps_natively_as_the_reference(name):
    X, y, _, _ = data(np.float32, n=200)
    options = {"optimizer": name, "lr": gdfast.schedules.Cosine(0.02, total_steps=9), "batch_size": 70}
    if name != "rprop":  # it has no rate to weigh l1 with
        options["penalty"] = "l1"
    expected = estimator("log_loss", **with_engine(options, "numpy")).fit(X, y)
    assert_same_model(estimator("log_loss", **options).fit(X, y), expected, name)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 33, 4000, 9000])
def test_any_number_of_columns(columns, eight_cpus):
    X, y, _, _ = data(np.float32, n=70, p=max(columns, 6), seed=1)
    X = np.ascontiguousarray(X[:, :columns])
    expected = estimator("log_loss", **with_engine({}, "numpy"), early_stopping=True).fit(X, y)
    for n_threads in (1, 8):
        actual = estimator("log_loss", n_threads=n_threads, early_stopping=True).fit(X, y)
        assert_same_model(actual, expected, n_threads)
        assert actual.validation_scores_ == expected.validation_scores_


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_error"])
def test_threads_never_matter_with_several_outputs_and_sparse_data(loss, make, eight_cpus):
    X, classes, numbers, weights = data(np.float32, n=1500)
    X[np.abs(X) < 0.7] = 0
    y = (classes + 2 * (X[:, 0] > 0)) if loss in CLASSIFIER else np.stack([numbers, X[:, 0]], 1)
    for target in (y, classes if loss in CLASSIFIER else numbers):
        one, *others = (
            estimator(loss, n_threads=n, batch_size=1000).fit(make(X), target, weights) for n in (1, 2, 3, 8)
        )
        for other in others:
            assert_same_model(other, one, loss)


def ulp_error(actual, exact):
    """The error in units in the last place of the exact value."""
    return max(abs(a - e) / math.ulp(e) for a, e in zip(actual.tolist(), exact, strict=True))


def test_exponential_to_two_units():
    x = np.concatenate([np.linspace(-708, 709.78, 20_001), np.linspace(-1, 1, 20_001), np.array([0.0, -0.0])])
    assert ulp_error(exponential(x), [math.exp(v) for v in x.tolist()]) <= 2
    with np.errstate(all="ignore"):
        odd = exponential(np.array([-np.inf, -1e300, -709.0, 0.0, 709.8, 1e300, np.inf, np.nan]))
    np.testing.assert_array_equal(odd, [0, 0, 0, 1, np.inf, np.inf, np.inf, np.nan])


def test_logarithm_to_two_units():
    x = np.concatenate([np.linspace(0, 1, 20_001), np.logspace(-300, 0, 5001)])
    assert ulp_error(log1p_of_fraction(x), [math.log1p(v) for v in x.tolist()]) <= 2


def test_every_loss_has_a_row():
    declared = {loss.loop for loss in [*CLASSIFIER.values(), *REGRESSOR.values()]}
    assert declared == LOSSES.keys() == LOSS_CASES.keys()


@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses_and_derivatives_are_those_of_the_formula(name):
    """The derivatives by central differences, away from kinks."""
    case, h = LOSS_CASES[name], 1e-6
    score, target = case.data(400)
    loss, derivative = LOSSES[name](score, target, case.parameter)
    np.testing.assert_allclose(loss, case.formula(score, target, case.parameter), rtol=1e-14, atol=1e-14)
    above, below = (case.formula(score + step, target, case.parameter) for step in (h, -h))
    np.testing.assert_allclose(derivative, (above - below) / (2 * h), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-8, 0.1, 1.0, 1e8])
def test_log_cosh_keeps_its_digits(epsilon):
    """Where log(cosh(x)) would cancel or overflow, and at the seam between the two forms."""
    x = np.concatenate([np.logspace(-9, 3, 500), np.linspace(0.015, 0.016, 101), [0.0]])
    loss, derivative = LOSSES["log_cosh"](np.concatenate([x, -x]) * epsilon, np.zeros(2 * len(x)), epsilon)
    exact = np.where(x < 1, np.log1p(2 * np.sinh(np.minimum(x, 1) / 2) ** 2), x - np.log(2) + np.log1p(np.exp(-2 * x)))
    np.testing.assert_allclose(loss, np.tile(epsilon**2 * exact, 2), rtol=1e-11)
    np.testing.assert_allclose(derivative, epsilon * np.concatenate([np.tanh(x), -np.tanh(x)]), rtol=1e-13)


def test_log_cosh_without_a_range_is_zero():
    """As the Huber loss is with epsilon=0, and no 0/0."""
    with np.errstate(all="ignore"):
        loss, derivative = LOSSES["log_cosh"](np.array([0.0, 1.0, -3.0]), np.zeros(3), 0.0)
    assert (loss == 0).all()
    assert (derivative == 0).all()


def test_nan_is_never_hidden():
    for name, loss in LOSSES.items():
        assert np.isnan(loss(np.array([np.nan]), np.array([1.0]), 0.5)[0]).all(), name
