"""The networks keep scikit-learn's rules, and work with its tools."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gdfast
from gdfast.sklearn import MLPClassifier, MLPRegressor

QUICK = {"hidden_layer_sizes": 16, "max_iter": 100, "tol": None, "lr": 1e-2, "random_state": 0}


@pytest.mark.filterwarnings("ignore")  # the checks themselves warn
@parametrize_with_checks(
    [
        MLPClassifier(),
        MLPClassifier(hidden_layer_sizes=(20, 10), activation="gelu", optimizer="adamw", lr=1e-2, standardize=False),
        MLPRegressor(),
        MLPRegressor(hidden_layer_sizes=(20, 10), activation="leaky_relu", optimizer="rmsprop", lr=1e-2),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_in_a_pipeline_and_cross_validated():
    X, y = load_wine(return_X_y=True)
    assert cross_val_score(make_pipeline(StandardScaler(), MLPClassifier(**QUICK)), X, y).mean() > 0.95


def test_in_a_grid_search_of_two_processes():
    X, y = load_iris(return_X_y=True)
    grid = {"activation": ["relu", "gelu"], "optimizer": ["adam", ("sgd", {"momentum": 0.9})]}
    search = GridSearchCV(MLPClassifier(**QUICK), grid, n_jobs=2, cv=3).fit(X, y)
    assert search.best_score_ > 0.9


def test_calibrated():
    X, y = load_iris(return_X_y=True)
    assert CalibratedClassifierCV(MLPClassifier(**QUICK), cv=3).fit(X, y).score(X, y) > 0.9


def test_clone_of_every_parameter():
    schedule = gdfast.schedules.Cosine(0.1, total_steps=10)
    model = MLPClassifier(
        (5, 4), optimizer=("adamw", {"weight_decay": 0.1}), lr=schedule, callbacks=[print], dropout=0.1
    )
    assert clone(model).get_params() == model.get_params()


def test_sample_weight_is_routed():
    X, y = load_iris(return_X_y=True)
    seen = []

    class Watching(MLPClassifier):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    with sklearn.config_context(enable_metadata_routing=True):
        model = Watching(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        cross_validate(model, X, y, cv=2, params={"sample_weight": np.ones(len(X))})
    assert [len(weights) for weights in seen] == [75, 75]


def test_pickle_predicts_the_same():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(**QUICK).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_partial_fit_goes_on_after_a_pickle_bit_for_bit():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(**QUICK, dropout=0.2).partial_fit(X, y, classes=np.unique(y))
    again = pickle.loads(pickle.dumps(model))
    for _ in range(3):
        model.partial_fit(X, y)
        again.partial_fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(model.coefs_, again.coefs_, strict=True))
    assert again.t_ == model.t_ == 600


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = MLPRegressor(**QUICK).fit(X, y)
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pandas.DataFrame(X.to_numpy(), columns=list("abcd")))
