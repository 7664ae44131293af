"""A fit that is refused, diverges or is interrupted leaves the estimator as it was."""

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError

from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor
from gdfast.tables import Batches

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 3))
NUMBERS = X @ [1.0, -1.0, 0.5] + 0.1 * RNG.standard_normal(80)
CLASSES = X.argmax(axis=1)
KINDS = (GDClassifier, GDRegressor, MLPClassifier, MLPRegressor)


def make(kind, **options):
    return kind(random_state=0, tol=None, max_iter=3, **options)


def targets(kind):
    return CLASSES if is_classifier(kind()) else NUMBERS


def others(kind):
    return np.array(["u", "v", "w"])[CLASSES] if is_classifier(kind()) else NUMBERS * 7


def interrupt(epoch, logs):
    if epoch == 1:
        raise KeyboardInterrupt


def negative_weights(model, y):
    model.fit(X, y, -np.ones(len(y)))


def other_columns(model, y):
    model.fit(np.hstack([X, X]), y, np.zeros(len(y)))


def unknown_class(model, y):
    model.set_params(class_weight={"z": 1.0}).fit(X, y)


def divergence(model, y):
    model.set_params(optimizer="sgd", lr=1e300, standardize=False).fit(X * 1e100, y)


def divergence_while_going_on(model, y):
    model.set_params(optimizer="sgd", lr=1e300).partial_fit(X * 1e100, model.predict(X))


def interruption(model, y):
    model.set_params(callbacks=[interrupt]).fit(X, y)


FAILURES = (negative_weights, other_columns, divergence, divergence_while_going_on, interruption)
CASES = [(kind, fail) for kind in KINDS for fail in FAILURES]
CASES += [(kind, unknown_class) for kind in (GDClassifier, MLPClassifier)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("kind", "fail"), CASES)
def test_a_fitted_model_predicts_as_before(kind, fail):
    model = make(kind).fit(X, targets(kind))
    parameters, predicted, learned = model.get_params(), model.predict(X), set(vars(model))
    with pytest.raises((ValueError, KeyboardInterrupt)):
        fail(model, others(kind))
    np.testing.assert_array_equal(model.predict(X), predicted)
    model.set_params(**parameters)
    assert vars(model).keys() == learned
    model.partial_fit(X, targets(kind))
    assert model.score(X, targets(kind)) > make(kind).fit(X, targets(kind)).score(X, targets(kind)) - 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_fit_that_fails_fits_nothing(kind):
    for fail in (negative_weights, interruption):
        model = make(kind)
        with pytest.raises((ValueError, KeyboardInterrupt)):
            fail(model, targets(kind))
        assert vars(model).keys() == vars(kind()).keys()
        with pytest.raises(NotFittedError):
            model.predict(X)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_call_of_partial_fit_counts_for_nothing(kind):
    y, found = targets(kind), []
    for refused in (False, True):
        model = make(kind)
        first = {"classes": np.unique(y)} if is_classifier(model) else {}
        model.partial_fit(X, y, **first)
        if refused:
            with pytest.raises(ValueError, match="Negative"):
                model.partial_fit(X, y, sample_weight=-np.ones(len(y)))
        found.append(model.partial_fit(X, y).predict(X))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("model", [GDClassifier(), MLPClassifier((3,), max_iter=2)])
def test_labels_of_two_types_are_named(model):
    y = np.array(["a", 1] * 6, dtype=object)
    with pytest.raises(TypeError, match="y must hold labels of one type; got int and str"):
        model.fit(np.ones((12, 2)), y)


@pytest.mark.parametrize("start", [{"coef_init": "x"}, {"intercept_init": ["a"]}, {"coef_init": [[1], [2, 3]]}])
def test_starts_that_are_no_numbers_are_named(start):
    with pytest.raises(ValueError, match=f"{next(iter(start))} must be numbers of shape"):
        GDRegressor().fit(np.ones((12, 2)), np.arange(12.0), **start)


@pytest.mark.parametrize("model", [GDClassifier(), MLPClassifier((3,), max_iter=2)])
@pytest.mark.parametrize("dtype", ["S", object])
def test_labels_of_bytes_are_named(model, dtype):
    with pytest.raises(TypeError, match=r"y must hold texts or numbers; got bytes: give y.astype\(str\)"):
        model.fit(np.ones((4, 2)), np.array([b"a", b"b"] * 2, dtype))


@pytest.mark.parametrize("model", [GDRegressor(standardize=False), MLPRegressor(max_iter=2, standardize=False)])
@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (np.array(["2020", "2021"] * 6, "M8[D]"), TypeError, r"y must hold numbers; got datetime64\[D\]"),
        (np.array([1, 2] * 6, "m8[s]"), TypeError, r"y must hold numbers; got timedelta64\[s\]"),
        (["1", "a"] * 6, ValueError, "y must hold numbers; got <U1: could not convert"),
        (np.array([1.0, None] * 6), ValueError, "y must be finite; got NaN, None or infinity"),
        (np.array([1.0, np.inf] * 6, object), ValueError, "infinity"),
    ],
)
def test_targets_that_are_no_numbers_are_named(model, y, error, match):
    """scikit-learn's checks let all of them pass: dates become nanoseconds, None becomes NaN."""
    with pytest.raises(error, match=match):
        model.fit(np.arange(24.0).reshape(12, 2), y)


@pytest.mark.parametrize("model", [GDRegressor(), MLPRegressor(max_iter=2, tol=None, alpha=0.0, random_state=0)])
def test_targets_may_be_texts_of_numbers(model):
    rows, y = np.arange(24.0).reshape(12, 2), np.arange(12)
    expected = model.fit(rows, y.astype(float)).predict(rows)
    np.testing.assert_array_equal(model.fit(rows, y.astype(str)).predict(rows), expected)


@pytest.mark.parametrize("model", [GDRegressor(random_state=0), MLPRegressor(max_iter=2, tol=None, random_state=0)])
def test_targets_of_a_source_may_be_objects(model):
    """Which scikit-learn's checks make numbers of elsewhere."""
    rows, y = np.arange(24.0).reshape(12, 2), np.arange(12.0)
    expected = model.fit(Batches([(rows, y)])).predict(rows)
    np.testing.assert_array_equal(model.fit(Batches([(rows, y.astype(object))])).predict(rows), expected)
