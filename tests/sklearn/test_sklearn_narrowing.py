"""A sparse matrix's empty columns are left out of the training, and nobody sees a difference."""

import pickle

import numpy as np
import pytest
from scipy import sparse

from gdfast.engine import _linear
from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.sklearn._narrowing import Narrowing, narrow

USED = np.array([1, 4, 5, 9, 17, 30])
WIDTH = 40


def wide(dtype=np.float64, index=np.int32, rows=300):
    """Return a matrix with six columns of forty in use, the same without the others, and two classes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, len(USED)))
    X[rng.random(X.shape) < 0.5] = 0
    y = (X @ rng.standard_normal(len(USED)) > 0).astype(int)
    few = sparse.csr_matrix(X.astype(dtype))
    few.indices, few.indptr = few.indices.astype(index), few.indptr.astype(index)
    many = sparse.csr_matrix((few.data, USED[few.indices].astype(index), few.indptr), (rows, WIDTH))
    return many, few, y


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("dtype", "index"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_the_model_is_that_of_the_columns_in_use(dtype, index, classes, standardize):
    many, few, y = wide(dtype, index)
    y = y + (np.arange(len(y)) % 5 == 0) if classes == 3 else y
    options = {"random_state": 0, "max_iter": 5, "penalty": "elasticnet", "alpha": 0.01, "standardize": standardize}
    given = [part.copy() for part in (many.data, many.indices, many.indptr)]
    model, narrowed = (GDClassifier(**options).fit(X, y) for X in (many, few))
    assert model.coef_.shape[1] == model.n_features_in_ == WIDTH
    assert model.coef_.dtype == dtype
    np.testing.assert_array_equal(model.coef_[:, USED], narrowed.coef_)
    np.testing.assert_array_equal(np.delete(model.coef_, USED, axis=1), 0)
    np.testing.assert_array_equal(model.intercept_, narrowed.intercept_)
    np.testing.assert_array_equal(model.predict(many), narrowed.predict(few))
    for before, after in zip(given, (many.data, many.indices, many.indptr), strict=True):
        np.testing.assert_array_equal(after, before)


def test_columns_of_held_out_rows_alone():
    """A column that only validation rows use has no gradient, and the scores are those of the whole matrix."""
    many, _, y = wide()
    X = many.tolil()
    X[::7, 35] = 1.0
    X = X.tocsr()
    model = GDClassifier(random_state=0, early_stopping=True, max_iter=8).fit(X, y)
    whole = GDClassifier(random_state=0, early_stopping=True, max_iter=8, warm_start=True).fit(X, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-12)
    assert model.validation_scores_ == whole.validation_scores_


def test_training_goes_on_in_all_columns():
    many, _, y = wide()
    model = pickle.loads(pickle.dumps(GDClassifier(random_state=0, max_iter=3).fit(many, y)))
    later = sparse.random(50, WIDTH, 0.5, "csr", random_state=0)
    model.partial_fit(later, np.arange(50) % 2)
    assert (model.coef_ != 0).all()


def test_callbacks_see_all_columns():
    shapes = []
    many, _, y = wide()
    model = GDRegressor(max_iter=2, callbacks=lambda epoch, logs: shapes.append(model.coef_.shape))
    model.fit(many, y)
    assert shapes == [(WIDTH,)] * 2


def test_columns_out_of_order():
    many, _, y = wide()
    backwards = many[:, ::-1]
    assert not backwards.has_sorted_indices
    options = {"random_state": 0, "max_iter": 5}
    one, other = GDClassifier(**options).fit(backwards, y), GDClassifier(**options).fit(many, y)
    np.testing.assert_allclose(one.coef_[:, ::-1], other.coef_, rtol=1e-9)


def test_what_is_not_worth_it_is_left_alone():
    for X in (sparse.csr_matrix((4, 3)), sparse.eye_array(4, format="csr")):
        arrays = (X.data, X.indices, X.indptr)
        table, narrowing = narrow(arrays, X.shape[1], 2)
        assert table is arrays
        assert narrowing == Narrowing(None, X.shape[1])
        assert narrowing.trained == X.shape[1]
        model = GDRegressor(max_iter=1).fit(X, np.arange(4.0))
        assert model.coef_.shape == (X.shape[1],)


def test_passes_are_shared_among_threads():
    """Of a matrix that is large enough for several threads."""
    X = sparse.random(3000, 5000, 0.25, "csr", dtype=np.float32, random_state=0)
    assert X.nnz > 3 << 20
    rows = np.arange(3000)
    one, four = (_linear.largest_of_columns(X.data, X.indices, X.indptr, rows, 5000, n) for n in (1, 4))
    np.testing.assert_array_equal(one, abs(X).max(axis=0).toarray()[0])
    np.testing.assert_array_equal(four, one)
    kept, expected = X.indices % 3 == 0, np.arange(5000) % 3 == 0
    np.testing.assert_array_equal(_linear.stored_columns(X.indices[kept], 5000, 4), expected)
    numbers = np.arange(5000, dtype=np.int32)[::-1].copy()
    np.testing.assert_array_equal(_linear.renumbered(X.indices, numbers, 4), 4999 - X.indices)
