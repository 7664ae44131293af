"""Steps of only the columns that a mini-batch of CSR touches: every bit that of a step over all columns."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse import random as random_sparse

from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.sklearn._linear_trainer import LinearTrainer

RNG = np.random.default_rng(0)
X = random_sparse(3000, 500, density=0.02, format="csr", rng=RNG)
Y = np.asarray(X @ RNG.normal(size=500)).ravel()
LABELS = {2: Y > 0, 4: np.digitize(Y, [-0.5, 0, 0.5])}
OPTIMIZERS = {
    "adagrad": "adagrad",
    "start": ("adagrad", {"initial_accumulator_value": 0.1, "lr_decay": 0.01}),
    "sgd": "sgd",
    "clipped": ("sgd", {"clip_value": 0.01}),
}
NOT_LAZY = {
    "adam": ("adam", {}),
    "momentum": (("sgd", {"momentum": 0.9}), {}),
    "penalty": ("adagrad", {"penalty": "l2"}),
    "l1": ("adagrad", {"penalty": "l1", "alpha": 0.01}),
    "eps": (("adagrad", {"eps": 0.0, "initial_accumulator_value": 1.0}), {}),
    "schedule": (("adagrad", {"eps": lambda step: 1e-8}), {}),
    "average": ("adagrad", {"average": True}),
}


def fitted(lazy, monkeypatch, model, X, y, **how):
    how = {"penalty": None, "lr": 0.3, "batch_size": 64, "max_iter": 3, "random_state": 0, **how}
    with monkeypatch.context() as patch:
        if not lazy:
            patch.setattr(LinearTrainer, "_lazy", False)
        return model(**how).fit(X, y)


def same(one, other):
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.intercept_, other.intercept_)
    assert one.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_bits_are_those_of_steps_over_all_columns(name, dtype, classes, threads, monkeypatch):
    data, how = X.astype(dtype), {"optimizer": OPTIMIZERS[name], "n_threads": threads}
    lazy = fitted(True, monkeypatch, GDClassifier, data, LABELS[classes], **how)
    same(lazy, fitted(False, monkeypatch, GDClassifier, data, LABELS[classes], **how))


@pytest.mark.parametrize("batch_size", [1, 7, 5000])
@pytest.mark.parametrize("wide", [False, True])
def test_any_batch_and_wide_indices(batch_size, wide, monkeypatch):
    data = csr_array(X.multiply((np.arange(3000) % 3 > 0)[:, None]))  # with empty rows
    data.eliminate_zeros()
    if wide:
        data.indices, data.indptr = data.indices.astype(np.int64), data.indptr.astype(np.int64)
    how = {"optimizer": "adagrad", "batch_size": batch_size, "max_iter": 2}
    same(*(fitted(lazy, monkeypatch, GDRegressor, data, Y, **how) for lazy in (True, False)))


def test_without_an_intercept(monkeypatch):
    how = {"optimizer": "adagrad", "fit_intercept": False}
    same(*(fitted(lazy, monkeypatch, GDClassifier, X, LABELS[2], **how) for lazy in (True, False)))


@pytest.mark.parametrize("name", NOT_LAZY)
def test_other_optimizers_and_penalties_step_all_columns(name, monkeypatch):
    optimizer, how = NOT_LAZY[name]
    how = {"optimizer": optimizer, **how}
    same(*(fitted(lazy, monkeypatch, GDClassifier, X, LABELS[2], **how) for lazy in (True, False)))
