"""scikit-learn's own estimators with our weights, and what its users look for in ours."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

from gdfast.sklearn import LOSSES, GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

IRIS, DIABETES = load_iris(return_X_y=True), load_diabetes(return_X_y=True)
TWO = IRIS[0][:100], np.where(IRIS[1][:100], "b", "a")
LABELS = IRIS[0], np.stack([IRIS[1] == 1, IRIS[1] > 0], axis=1).astype(int)
NUMBERS = DIABETES[0], np.stack([DIABETES[1], -DIABETES[1]], axis=1)
QUICK = {"hidden_layer_sizes": (5,), "max_iter": 5, "tol": None, "random_state": 0}

FITTED = {
    **{f"{loss}, classes": (GDClassifier(loss, random_state=0), IRIS) for loss in LOSSES["GDClassifier"]},
    **{f"{loss}, two": (GDClassifier(loss, random_state=0), TWO) for loss in LOSSES["GDClassifier"]},
    **{loss: (GDRegressor(loss, random_state=0), DIABETES) for loss in LOSSES["GDRegressor"]},
    "power": (GDRegressor("tweedie", power=1.7, random_state=0), DIABETES),
    "no intercept": (GDRegressor(fit_intercept=False, random_state=0), DIABETES),
    "several targets": (GDRegressor(random_state=0), NUMBERS),
    "one column of targets": (GDRegressor(random_state=0), (DIABETES[0], DIABETES[1][:, None])),
    "sparse": (GDClassifier(random_state=0), (sparse.csr_matrix(IRIS[0]), IRIS[1])),
    "network": (MLPClassifier(**QUICK), IRIS),
    "network of two": (MLPClassifier(**QUICK), TWO),
    "network of labels": (MLPClassifier(**QUICK), LABELS),
    "network of float32": (MLPClassifier(**QUICK), (IRIS[0].astype(np.float32), IRIS[1])),
    "network of numbers": (MLPRegressor(**QUICK), DIABETES),
    "network of several numbers": (MLPRegressor(**QUICK), NUMBERS),
    **{f"network, {loss}": (MLPRegressor(loss, **QUICK), DIABETES) for loss in LOSSES["MLPRegressor"]},
}


@pytest.mark.parametrize("case", FITTED)
def test_scikit_learns_own_predicts_the_same(case):
    model, (X, y) = FITTED[case]
    model.fit(X, y)
    peer = model.to_sklearn()
    assert type(peer).__module__.startswith("sklearn.")
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(model, method) and hasattr(peer, method):
            expected, found = getattr(model, method)(X), getattr(peer, method)(X)
            assert found.shape == expected.shape
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
            else:
                np.testing.assert_array_equal(found, expected)
    assert peer.n_features_in_ == X.shape[1]


def test_the_weights_are_copies():
    model = GDClassifier(random_state=0).fit(*IRIS)
    before = model.coef_.copy()
    model.to_sklearn().coef_[:] = 0
    assert (model.coef_ == before).all()


REFUSED = {
    "gelu": (lambda: MLPRegressor(activation="gelu", **QUICK).fit(*DIABETES), "activations relu, tanh"),
    "several counts": (lambda: GDRegressor("poisson").fit(NUMBERS[0], abs(NUMBERS[1])), "fit one for each"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_scikit_learn_does_not_have_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make().to_sklearn()


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_a_scikit_learn_without_counts_in_networks(loss, monkeypatch):
    model = MLPRegressor(loss, **QUICK).fit(*DIABETES)
    monkeypatch.setattr("sklearn.neural_network.MLPRegressor.get_params", lambda self, deep=True: {})
    with pytest.raises(ValueError, match="a newer one has"):
        model.to_sklearn()


@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor])
def test_before_fit(kind):
    with pytest.raises(NotFittedError):
        kind().to_sklearn()


# sparsify, coef_init, attributes, parameters of scikit-learn's linear models


def test_sparsify_and_densify():
    model = GDClassifier(penalty="l1", alpha=0.02, random_state=0).fit(*IRIS)
    expected = model.predict(IRIS[0])
    assert sparse.issparse(model.sparsify().coef_)
    assert (model.predict(IRIS[0]) == expected).all()
    assert (model.to_sklearn().predict(IRIS[0]) == expected).all()
    assert (model.predict(sparse.csr_matrix(IRIS[0])) == expected).all()
    goes_on = GDClassifier(penalty="l1", alpha=0.02, random_state=0, warm_start=True).fit(*IRIS).sparsify()
    assert isinstance(goes_on.fit(*IRIS).coef_, np.ndarray)
    assert isinstance(model.densify().coef_, np.ndarray)


@pytest.mark.parametrize("rows", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_a_training_begins_where_it_is_told(rows):
    X, y = rows(DIABETES[0]), DIABETES[1]
    best = GDRegressor(random_state=0, alpha=0.0).fit(X, y)
    again = GDRegressor(random_state=0, alpha=0.0, lr=1e-12, max_iter=1)
    again.fit(X, y, coef_init=best.coef_, intercept_init=best.intercept_)
    np.testing.assert_allclose(again.predict(X), best.predict(X), rtol=1e-6)
    start = np.outer([1.0, 0.0, -1.0], np.ones(4))
    classes = GDClassifier(random_state=0, lr=1e-12, max_iter=1).fit(*IRIS, coef_init=start)
    np.testing.assert_allclose(classes.coef_, start, atol=1e-6)
    np.testing.assert_allclose(classes.intercept_, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"coef_init": np.ones(3)}, r"coef_init must have shape \(1, 10\)"),
        ({"intercept_init": np.ones(2)}, r"intercept_init must have shape \(1,\)"),
        ({"coef_init": np.full(10, np.nan)}, "coef_init must be finite; got nan"),
    ],
)
def test_a_start_that_does_not_fit(start, message):
    with pytest.raises(ValueError, match=message):
        GDRegressor().fit(*DIABETES, **start)


@pytest.mark.parametrize("kind", [GDClassifier, MLPClassifier])
def test_attributes_of_a_training(kind):
    model = kind(early_stopping=True, random_state=0, max_iter=5, tol=None).fit(*IRIS)
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert kind(random_state=0, max_iter=5, tol=None).fit(*IRIS).best_validation_score_ is None


@pytest.mark.parametrize("kind", [GDClassifier, MLPClassifier])
def test_patience_without_end(kind):
    model = kind(early_stopping=True, n_iter_no_change=np.inf, random_state=0, max_iter=40, tol=None).fit(*IRIS)
    assert model.n_iter_ == 40


def test_no_l1_ratio_where_none_is_needed():
    plain, none = (GDRegressor(random_state=0, l1_ratio=ratio).fit(*DIABETES) for ratio in (0.15, None))
    assert (plain.coef_ == none.coef_).all()
    with pytest.raises(TypeError, match="l1_ratio"):
        GDRegressor(penalty="elasticnet", l1_ratio=None).fit(*DIABETES)


@pytest.mark.parametrize("kind", [GDClassifier, MLPClassifier])
def test_a_warm_start_with_other_classes_is_refused(kind):
    model = kind(warm_start=True, random_state=0, max_iter=2, tol=None).fit(*IRIS)
    with pytest.raises(ValueError, match="warm_start needs the classes of the last fit"):
        model.fit(*TWO_OF_THREE)


TWO_OF_THREE = IRIS[0][:100], IRIS[1][:100]

# Every check of scikit-learn, far from the defaults too.

SMALL = {"hidden_layer_sizes": (10,), "lr": 1e-2}
CONFIGURATIONS = [
    *(GDClassifier(loss) for loss in LOSSES["GDClassifier"]),
    GDClassifier(penalty="l1"),
    GDClassifier(penalty=None, standardize=False),
    GDClassifier(penalty="elasticnet", average=True),
    GDClassifier(optimizer="sgd", class_weight="balanced"),
    GDClassifier(warm_start=True),
    GDClassifier(optimizer=("adamw", {"clip_norm": 1.0}), batch_size=7, shuffle=False),
    *(GDRegressor(loss) for loss in LOSSES["GDRegressor"]),
    GDRegressor("tweedie", power=3.0),
    GDRegressor(optimizer="schedulefreeadamw", fit_intercept=False),
    GDRegressor(penalty="l1", alpha=0.01, tol=1e-3),
    GDRegressor(n_iter_no_change=2, tol=1e-4),
    MLPClassifier((), lr=1e-2),
    MLPClassifier((20, 10), "gelu", optimizer="adamw", lr=1e-2, standardize=False),
    MLPClassifier(**SMALL, dropout=0.1),
    MLPClassifier(**SMALL, class_weight="balanced"),
    MLPClassifier(**SMALL, activation="tanh", optimizer=("sgd", {"momentum": 0.9})),
    MLPRegressor(hidden_layer_sizes=(20, 10), activation="leaky_relu", optimizer="rmsprop", lr=1e-2),
    MLPRegressor("poisson", **SMALL),
    MLPRegressor("gamma", **SMALL),
    MLPRegressor("huber", **SMALL),
    MLPRegressor("quantile", **SMALL, quantile=0.8),
    MLPRegressor(**SMALL, activation="logistic"),
    MLPRegressor(**SMALL, alpha=1e-4, shuffle=False),
    MLPRegressor(**SMALL, standardize=False),
]


WEIGHTS_ARE_ROWS = "sample_weight_equivalence"  # to nine digits, which mini-batches and l1's corners do not reach


def applies(estimator, check):
    """Whether a check may be asked of an estimator: not if it does what the estimator says it refuses."""
    name = check.func.__name__
    parameters = estimator.get_params()
    exact = parameters["tol"] is None or "hidden_layer_sizes" in parameters
    minimum_is_found = exact and parameters.get("penalty") != "l1" and parameters["batch_size"] == "auto"
    minimum_is_found &= not parameters.get("dropout")
    if WEIGHTS_ARE_ROWS in name:
        return minimum_is_found
    if parameters.get("class_weight") == "balanced":  # the checks call partial_fit
        return name not in (
            "check_fit_score_takes_y",
            "check_n_features_in_after_fitting",
            "check_estimators_partial_fit_n_features",
        )
    # asks negative targets of what takes none
    return not (name == "check_regressor_multioutput" and parameters["loss"] in ("poisson", "gamma", "tweedie"))


CHECKS = [
    pytest.param(estimator, check, id=f"{estimator!r}-{check.func.__name__}".replace(" ", "").replace("\n", ""))
    for configuration in CONFIGURATIONS
    for estimator, check in estimator_checks_generator(configuration)
    if applies(estimator, check)
]


@pytest.mark.filterwarnings("ignore")  # the checks themselves warn
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
