"""partial_fit: the scale of its first rows, parameters that change between calls, what cannot follow what."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from gdfast.schedules import ReduceOnPlateau
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

ALL = [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor]
NETWORKS = [MLPClassifier, MLPRegressor]


OFFSETS, SCALES = np.array([5, -300, 0.02, 1e4]), np.array([2, 50, 0.01, 1e3])


def data(sparse_rows=False):
    """Columns of very different scale, and, if dense, far from zero."""
    rng = np.random.default_rng(0)
    units = rng.normal(0, 1, (600, 4))
    if sparse_rows:
        units[rng.random(units.shape) < 0.5] = 0
    y = units @ [1, -2, 3, 0.5] + 7
    X = units * SCALES
    return (sparse.csr_matrix(X), y) if sparse_rows else (X + OFFSETS, y)


def target(kind, y):
    return (y > 7).astype(int) if kind in (GDClassifier, MLPClassifier) else y


def told(kind):
    return {"classes": [0, 1]} if kind in (GDClassifier, MLPClassifier) else {}


def trained(kind, X, y, **options):
    return kind(random_state=0, **options).partial_fit(X, target(kind, y), **told(kind))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("sparse_rows", [False, True], ids=["dense", "sparse"])
def test_a_scale_of_few_first_rows_is_not_kept(kind, sparse_rows):
    X, y = data(sparse_rows=sparse_rows)
    learned = target(kind, y)
    in_pieces, at_once = trained(kind, X[:1], y[:1]), trained(kind, X, y)
    for start in (1, 3, 40, 101):
        in_pieces.partial_fit(X[start : start * 2], learned[start : start * 2])
    for _ in range(150):
        in_pieces.partial_fit(X, learned)
        at_once.partial_fit(X, learned)
    assert in_pieces.score(X, learned) > at_once.score(X, learned) - 0.03
    assert in_pieces._first_rows is None


def test_the_first_rows_scale_is_that_of_all_of_them():
    X, y = data()
    together = GDRegressor(random_state=0).partial_fit(X[:90], y[:90])
    apart = GDRegressor(random_state=0)
    for start in (0, 30, 60):
        apart.partial_fit(X[start : start + 30], y[start : start + 30])
    assert np.allclose(apart._standardizer.mean, together._standardizer.mean)
    assert np.allclose(apart._standardizer.inv_scale, together._standardizer.inv_scale)
    assert np.allclose(apart._standardizer.target_scale, together._standardizer.target_scale)
    later = apart.partial_fit(X[90:200], y[90:200])._standardizer
    assert np.allclose(later.mean, X[:200].mean(axis=0))
    assert apart.partial_fit(X[200:], y[200:])._standardizer is later


@pytest.mark.parametrize("kind", ALL)
def test_few_first_rows_go_through_a_pickle(kind):
    X, y = data()
    one = trained(kind, X[:7], y[:7])
    other = pickle.loads(pickle.dumps(one))
    for model in (one, other):
        model.partial_fit(X[7:], target(kind, y)[7:])
    assert (one.predict(X) == other.predict(X)).all()


@pytest.mark.parametrize("kind", ALL)
def test_sparse_rows_cannot_follow_centred_ones(kind):
    X, y = data()
    model = trained(kind, X, y)
    with pytest.raises(ValueError, match="X must be dense, as in the first call"):
        model.partial_fit(sparse.csr_matrix(X), target(kind, y))
    if kind in NETWORKS:
        model.set_params(warm_start=True)
        with pytest.raises(ValueError, match="X must be dense, as in the first call"):
            model.fit(sparse.csr_matrix(X), target(kind, y))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("standardize", [True, False])
def test_dense_rows_may_follow_sparse_ones(kind, standardize):
    X, y = data()
    X = X / SCALES
    learned = target(kind, y)
    mixed, alike = (trained(kind, sparse.csr_matrix(X), y, standardize=standardize) for _ in range(2))
    mixed.partial_fit(X, learned)
    alike.partial_fit(sparse.csr_matrix(X), learned)
    values = [model.coef_ if hasattr(model, "coef_") else model.coefs_[0] for model in (mixed, alike)]
    assert np.allclose(*values, rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_a_changed_learning_rate_counts(kind):
    X, y = data()
    learned = target(kind, y)
    model = trained(kind, X, y, lr=0.01)
    before = pickle.loads(pickle.dumps(model))
    model.set_params(lr=1e-12).partial_fit(X, learned)
    assert np.allclose(model.predict(X), before.predict(X), atol=1e-6)
    rates = []
    model.set_params(lr=lambda step: 0.25, callbacks=lambda epoch, logs: rates.append(logs["lr"]))
    model.partial_fit(X, learned)
    assert rates == [0.25]


@pytest.mark.parametrize("kind", ALL)
def test_what_changes_nothing_changes_no_bit(kind):
    X, y = data()
    learned = target(kind, y)
    one, other = (trained(kind, X, y, lr=0.01) for _ in range(2))
    for _ in range(3):
        one.partial_fit(X, learned)
        other.set_params(lr=0.01, n_threads=2).partial_fit(X, learned)
    assert (one.predict(X) == other.predict(X)).all()


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_goes_on_with_another_batch_size_and_other_options(kind):
    X, y = data()
    learned = target(kind, y)
    model = trained(kind, X, y, optimizer="adam", batch_size=50)
    steps = model._trainer.optimizer.step_count
    model.set_params(optimizer=("adam", {"betas": (0.5, 0.9)}), batch_size=600).partial_fit(X, learned)
    assert model._trainer.optimizer.step_count == steps + 1
    assert model._trainer.optimizer.param_groups[0]["betas"] == (0.5, 0.9)


def test_a_plateau_goes_on_between_calls():
    X, y = data()
    plateau = ReduceOnPlateau(0.1, patience=0, threshold=1e9)
    model = MLPRegressor(lr=plateau, random_state=0)
    rates = []
    model.callbacks = lambda epoch, logs: rates.append(logs["lr"])
    for _ in range(4):
        model.partial_fit(X, y)
    assert rates[-1] < rates[0]


CANNOT_CHANGE = {
    "optimizer": ({"optimizer": "sgd"}, "SGD"),
    "momentum": ({"optimizer": ("sgd", {"momentum": 0.9})}, "SGD"),
}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("changed", CANNOT_CHANGE)
def test_another_optimizer_cannot_go_on(kind, changed):
    X, y = data()
    options, message = CANNOT_CHANGE[changed]
    model = trained(kind, X, y)
    with pytest.raises(ValueError, match=message):
        model.set_params(**options).partial_fit(X, target(kind, y))


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_cannot_change(kind):
    X, y = data()
    model = trained(kind, X, y)
    with pytest.raises(ValueError, match="hidden_layer_sizes must be as in the call before"):
        model.set_params(hidden_layer_sizes=(5,)).partial_fit(X, target(kind, y))


@pytest.mark.parametrize("kind", ALL)
def test_early_stopping_is_refused(kind):
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        trained(kind, *data(), early_stopping=True)


# Early stopping with few rows, divergence, weights of classes and rows.


@pytest.mark.parametrize("kind", [GDRegressor, MLPRegressor])
def test_r2_has_two_rows_at_least(kind):
    X, y = (array[:10] for array in data())
    model = kind(early_stopping=True, random_state=0, max_iter=50, tol=None).fit(X, y)
    assert np.isfinite(model.validation_scores_).all()
    rows = {"n_coefficients": 4} if kind is GDRegressor else {}
    assert model.resolved_schedule(10, **rows).batch_size == 8


@pytest.mark.parametrize("kind", [GDRegressor, MLPRegressor])
def test_rows_to_validate_with_must_vary(kind):
    X = data()[0][:10]
    y = np.zeros(10)
    y[0] = 1
    model = kind(early_stopping=True, random_state=1, max_iter=2, tol=None)
    with pytest.raises(ValueError, match="targets that vary in the rows to validate with"):
        model.fit(X, y)
    model.fit(X, np.zeros(10))


@pytest.mark.parametrize("kind", [GDRegressor, MLPRegressor])
def test_a_training_that_diverges_says_so(kind):
    X, y = data()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the training diverged"):
        kind(early_stopping=True, optimizer="sgd", lr=1e30, batch_size=540, max_iter=3, random_state=0).fit(
            X.astype(np.float32), y
        )


@pytest.mark.parametrize("kind", [GDClassifier, MLPClassifier])
def test_balanced_classes_weigh_the_same_with_the_rows_weights(kind):
    X, y = data()
    classes = target(kind, y)
    weights = np.where(classes == 1, 5.0, 1.0)
    balanced = kind(class_weight="balanced", random_state=0, max_iter=20, tol=None).fit(X, classes, weights)
    by_hand = compute_class_weight("balanced", classes=np.array([0, 1]), y=classes, sample_weight=weights)[classes]
    same = kind(random_state=0, max_iter=20, tol=None).fit(X, classes, weights * by_hand)
    assert np.allclose(balanced.predict_proba(X), same.predict_proba(X), atol=1e-6)
    peer = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    peer.fit(X, classes, logisticregression__sample_weight=weights)
    assert abs(balanced.predict_proba(X)[:, 1].mean() - peer.predict_proba(X)[:, 1].mean()) < 0.02


def test_balanced_labels_weigh_with_the_rows_weights():
    X, y = data()
    labels = np.stack([y > 7, y > 9], axis=1).astype(int)
    weights = np.where(y > 8, 3.0, 1.0)
    each = [
        compute_class_weight("balanced", classes=np.array([0, 1]), y=column, sample_weight=weights)[column]
        for column in labels.T
    ]
    options = {"random_state": 0, "max_iter": 5, "tol": None}
    balanced = MLPClassifier(class_weight="balanced", **options).fit(X, labels, weights)
    same = MLPClassifier(**options).fit(X, labels, weights * each[0] * each[1])
    assert np.allclose(balanced.predict_proba(X), same.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("sparse_rows", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_rows_of_another_dtype_may_follow(kind, sparse_rows):
    X, y = data(sparse_rows)
    learned, narrow = target(kind, y), X.astype(np.float32)
    for first, later in ((narrow, X), (X, narrow)):
        model, same = (trained(kind, first[:300], y[:300]) for _ in range(2))
        model.partial_fit(later[300:], learned[300:])
        same.partial_fit(later[300:].astype(first.dtype), learned[300:])
        np.testing.assert_array_equal(model.predict(X), same.predict(X))
    model = kind(random_state=0, tol=None).fit(X, learned)
    assert model.partial_fit(narrow, learned).partial_fit(X, learned).score(X, learned) > 0.9
