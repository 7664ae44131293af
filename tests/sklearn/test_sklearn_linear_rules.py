"""scikit-learn's own rules for estimators, and its tools around ours."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gdfast
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor


@parametrize_with_checks([GDClassifier(), GDRegressor()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # joblib's own, about forks
def test_grid_search_with_two_processes(cancer):
    search = GridSearchCV(GDClassifier(random_state=0, max_iter=20), {"alpha": [1e-4, 1e-2]}, n_jobs=2, cv=3)
    assert search.fit(*cancer).best_score_ > 0.95


def test_pipeline_cross_validation_and_calibration(cancer):
    X, y = cancer
    pipeline = make_pipeline(StandardScaler(), GDClassifier(random_state=0, max_iter=50))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.95
    calibrated = CalibratedClassifierCV(GDClassifier("hinge", random_state=0, max_iter=50), cv=3).fit(X, y)
    assert calibrated.predict_proba(X).shape == (len(y), 2)
    assert calibrated.score(X, y) > 0.95


@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor])
def test_clone_and_pickle(kind, cancer):
    X, y = cancer
    options = {
        "optimizer": (gdfast.Adam, {"betas": (0.9, 0.99)}),
        "lr": gdfast.schedules.Cosine(0.1, total_steps=50),
        "random_state": 0,
        "max_iter": 5,
    }
    model = kind(**options).fit(X, y)
    again = clone(model)
    assert not hasattr(again, "coef_")
    np.testing.assert_array_equal(again.fit(X, y).coef_, model.coef_)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor])
def test_partial_fit_goes_on_after_pickle(kind, cancer):
    X, y = cancer
    first = {"classes": [0, 1]} if kind is GDClassifier else {}
    model = kind(random_state=np.random.RandomState(0), shuffle=False).partial_fit(X, y, **first)
    copy = pickle.loads(pickle.dumps(model))
    for one in (model, copy):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(copy.coef_, model.coef_)
    assert model.n_iter_ == 2


def test_metadata_routing_of_sample_weight(cancer):
    X, y = cancer
    weights = np.where(y == 1, 1.0, 0.0) + 1e-6
    with config_context(enable_metadata_routing=True):
        model = GDClassifier(random_state=0, max_iter=20).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        found = cross_validate(
            model, X, y, params={"sample_weight": weights}, return_estimator=True, return_indices=True, cv=3
        )
    for one, train in zip(found["estimator"], found["indices"]["train"], strict=True):
        weighted = clone(model).fit(X[train], y[train], sample_weight=weights[train])
        np.testing.assert_array_equal(one.coef_, weighted.coef_)
        assert (one.predict(X) == 1).mean() > (clone(model).fit(X[train], y[train]).predict(X) == 1).mean() + 0.1


def test_names_of_features_are_kept():
    class Frame:
        """As little of a data frame as scikit-learn looks at."""

        columns = np.array(["a", "b"], object)
        shape = (4, 2)

        def __dataframe__(self):
            raise NotImplementedError

        def __array__(self, dtype=None, copy=None):
            return np.arange(8.0).reshape(4, 2)

        def __len__(self):
            return 4

    Frame.__module__ = "polars.dataframe"
    model = GDRegressor(max_iter=2).fit(np.arange(8.0).reshape(4, 2), np.arange(4.0))
    assert model.n_features_in_ == 2
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_are_kept(dtype):
    X, y = load_diabetes(return_X_y=True)
    model = GDRegressor(random_state=0, max_iter=3).fit(X.astype(dtype), y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert model.predict(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_is_as_dense(index, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 20)).astype(dtype)
    X[rng.random(X.shape) < 0.6] = 0
    y = (X @ rng.standard_normal(20) > 0).astype(int)
    S = sparse.csr_matrix(X)
    S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    for target in (y, y + (X[:, 0] > 0.5)):
        options = {"random_state": 0, "max_iter": 10, "batch_size": 64, "standardize": False, "alpha": 0.01}
        dense, scant = (GDClassifier(**options).fit(data, target) for data in (X, S))
        np.testing.assert_allclose(scant.coef_, dense.coef_, rtol=1e-3 if dtype == np.float32 else 1e-9, atol=1e-5)
        assert (scant.predict(S) == dense.predict(X)).all()
    unsorted = S[:, ::-1]
    assert not unsorted.has_sorted_indices
    backwards = GDClassifier(**options).fit(unsorted, target)
    np.testing.assert_allclose(backwards.coef_[:, ::-1], scant.coef_, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"loss": "huber"}])
def test_coefficients_beyond_float32_are_float64(options):
    X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    y = X.astype(np.float64) @ [1.0, -2.0, 0.5]
    options = {"penalty": None, "random_state": 0, "epsilon": 1e40, **options}
    for columns, unit in ((X, 1e42), (X * np.float32(1e-36), 1e9), (X * np.float32(1e6), 1e39)):
        found = GDRegressor(**options).fit(columns, y * unit)
        assert found.coef_.dtype == np.float64
        assert found.score(columns, y * unit) > 0.999
    assert GDRegressor(**options).fit(X, y).coef_.dtype == np.float32


def test_a_network_for_targets_beyond_float32_is_float64():
    X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    y = X[:, 0].astype(np.float64) * 1e40
    found = MLPRegressor(max_iter=60, tol=None, random_state=0).fit(X, y)
    assert found.score(X, y) > 0.8


@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor])
def test_columns_whose_squares_overflow_are_refused(kind):
    X = np.random.default_rng(0).standard_normal((100, 3))
    with pytest.raises(ValueError, match=r"squares do not overflow.*divide column 1"):
        kind().fit(X * [1.0, 1e160, 1.0], X[:, 0] > 0)


@pytest.mark.parametrize("model", [GDRegressor(), GDRegressor("huber"), MLPRegressor()])
def test_targets_whose_squares_overflow_are_refused(model):
    X = np.random.default_rng(0).standard_normal((100, 3))
    with pytest.raises(ValueError, match="y must have squares that do not overflow"):
        model.fit(X, X[:, 0] * 1e200)


@pytest.mark.parametrize("optimizer", ["auto", "adam", "sgd"])
def test_without_an_intercept_there_is_none(optimizer):
    X, y = load_diabetes(return_X_y=True)
    options = {"optimizer": optimizer, "random_state": 0}
    with pytest.raises(ValueError, match="intercept_init must be None or zero with fit_intercept=False"):
        GDRegressor(fit_intercept=False, **options).fit(X, y, intercept_init=[5.0])
    again = GDRegressor(warm_start=True, **options).fit(X, y)
    assert again.intercept_ != 0
    assert again.set_params(fit_intercept=False).fit(X, y).intercept_ == 0


@pytest.mark.parametrize("kind", [GDRegressor, MLPRegressor])
def test_sparse_targets_are_refused(kind):
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(TypeError, match="y must be an array, not a sparse matrix"):
        kind().fit(X, sparse.csr_matrix(y[:, None]))
