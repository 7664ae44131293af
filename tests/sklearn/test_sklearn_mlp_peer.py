"""From the same weights, over the same mini-batches, a network learns as scikit-learn's does."""

import numpy as np
import pytest
import sklearn.neural_network as peer
from sklearn.datasets import load_digits, make_classification, make_multilabel_classification, make_regression

from gdfast.sklearn import MLPClassifier, MLPRegressor

EPOCHS, EPS = 8, 1e-30  # with an eps of nothing, it does not matter where Adam adds it
OURS = {"standardize": False, "optimizer": ("adam", {"eps": EPS}), "lr": 2e-3, "alpha": 0.01}
THEIRS = {"epsilon": EPS, "learning_rate_init": 2e-3, "alpha": 0.01}
COMMON = {"hidden_layer_sizes": (20, 10), "shuffle": False, "max_iter": EPOCHS, "batch_size": 50}


def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def counts():
    X, y = make_regression(330, 5, random_state=0)
    return X, np.round(np.exp(y / 100))


PROBLEMS = {
    "classes": ("Classifier", digits, {}),
    "two classes": ("Classifier", lambda: make_classification(330, 8, random_state=0), {}),
    "labels": ("Classifier", lambda: make_multilabel_classification(330, 8, random_state=0), {}),
    "one target": ("Regressor", lambda: make_regression(330, 5, random_state=0), {}),
    "targets": ("Regressor", lambda: make_regression(330, 5, n_targets=3, random_state=0), {}),
    "counts": ("Regressor", counts, {"loss": "poisson"}),
}


def trained(kind, X, y, weights, **parameters):
    """Both estimators, trained from the first weights that ours has drawn."""
    ours = {"Classifier": MLPClassifier, "Regressor": MLPRegressor}[kind]
    theirs = getattr(peer, f"MLP{kind}")
    model = ours(**OURS, **COMMON, tol=None, random_state=0, **parameters)
    start = ours(**OURS, **{**COMMON, "max_iter": 1}, tol=None, random_state=0, **parameters)
    start.set_params(lr=1e-300).fit(X, y, weights)  # what is drawn, but for nothing

    class Same(theirs):
        def _initialize(self, y, layer_units, dtype):
            super()._initialize(y, layer_units, dtype)
            self.coefs_ = [coef.copy() for coef in start.coefs_]
            self.intercepts_ = [intercept.copy() for intercept in start.intercepts_]

    other = Same(**THEIRS, **COMMON, tol=0, n_iter_no_change=EPOCHS + 1, random_state=0, **parameters)
    return model.fit(X, y, weights), other.fit(X, y, weights)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_same_loss_curve(name, activation, weighted):
    kind, make, parameters = PROBLEMS[name]
    X, y = make()
    weights = np.random.default_rng(0).integers(1, 4, len(X)).astype(float) if weighted else None
    ours, theirs = trained(kind, X, y, weights, activation=activation, **parameters)
    curve = np.array(theirs.loss_curve_)
    if name == "targets":  # theirs is the mean over the targets, ours the sum, as the gradient is of both
        squares = 0.005 / 50 * sum((coef**2).sum() for coef in theirs.coefs_)
        np.testing.assert_allclose(ours.loss_curve_, 3 * curve, rtol=1e-4, atol=3 * squares)
    else:
        np.testing.assert_allclose(ours.loss_curve_, curve, rtol=1e-7)
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5, atol=1e-5)
    assert ours.n_layers_ == theirs.n_layers_
    assert ours.n_outputs_ == theirs.n_outputs_
    assert ours.out_activation_ == theirs.out_activation_
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    if kind == "Classifier":
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
        np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-4, atol=1e-6)
