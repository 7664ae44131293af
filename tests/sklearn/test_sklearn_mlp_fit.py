"""What a fit of a network does and leaves: options, attributes, and errors that say what is wrong."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification

import gdfast
from gdfast.sklearn import MLPClassifier, MLPRegressor

QUICK = {"hidden_layer_sizes": (16,), "max_iter": 60, "tol": None, "lr": 1e-2, "random_state": 0}
IRIS, DIABETES = load_iris(return_X_y=True), load_diabetes(return_X_y=True)


def classifier(**parameters):
    return MLPClassifier(**{**QUICK, **parameters})


def regressor(**parameters):
    return MLPRegressor(**{**QUICK, **parameters})


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


def test_attributes():
    model = classifier(hidden_layer_sizes=[8, 5]).fit(*IRIS)
    assert [coef.shape for coef in model.coefs_] == [(4, 8), (8, 5), (5, 3)]
    assert [intercept.shape for intercept in model.intercepts_] == [(8,), (5,), (3,)]
    assert model.n_iter_ == len(model.loss_curve_) == 60
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is model.best_validation_score_ is None
    assert (model.t_, model.n_layers_, model.n_outputs_, model.out_activation_) == (60 * 150, 4, 3, "softmax")
    assert model.loss_ < model.loss_curve_[0] / 2


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_same_bits_for_any_number_of_threads(make, n_threads, monkeypatch):
    monkeypatch.setattr(gdfast.engine.threads, "available_cpus", lambda: 8)
    X, y = load_digits(return_X_y=True)
    model = make(hidden_layer_sizes=(60,), dropout=0.1, max_iter=2, batch_size=300, early_stopping=True)
    assert same(clone(model).set_params(n_threads=n_threads).fit(X, y), model.set_params(n_threads=1).fit(X, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_data_types_are_kept(dtype):
    X, y = DIABETES[0].astype(dtype), DIABETES[1].astype(dtype)
    model = regressor().fit(X, y)
    assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype(dtype)}
    assert model.predict(X).dtype == dtype
    assert classifier().fit(X, y > 100).predict_proba(X).dtype == dtype
    # Another type of data later is converted to that of the network.
    assert model.partial_fit(DIABETES[0], DIABETES[1]).coefs_[0].dtype == dtype


def test_standardised_inside_but_not_outside():
    """Another unit of the features and targets changes nothing but the unit of the predictions."""
    X, y = DIABETES
    unit, place = 10.0 ** np.arange(-5, 5), np.arange(10) * 10.0 ** np.arange(-5, 5)
    model, other = regressor().fit(X, y), regressor().fit(X * unit + place, y * 1e3 + 1e5)
    np.testing.assert_allclose(other.predict(X * unit + place), model.predict(X) * 1e3 + 1e5, rtol=1e-6)
    raw = regressor(standardize=False).fit(X, y)
    assert raw.score(X, y) < 0.4 < model.score(X, y)


def test_features_of_one_order_share_a_scale():
    X, y = DIABETES
    model = regressor().fit(X * np.linspace(1, 3, 10), y)
    assert np.ptp(model._standardizer.inv_scale) == 0
    assert np.ptp(regressor().fit(X * 10.0 ** np.arange(10), y)._standardizer.inv_scale) > 1
    constant = regressor().fit(np.full((442, 3), 0.1), y)
    np.testing.assert_allclose(constant.predict(np.full((2, 3), 0.1)), y.mean(), rtol=0.05)


@pytest.mark.parametrize("parameters", [{}, {"loss": "poisson"}, {"hidden_layer_sizes": ()}])
def test_weights_take_the_features_as_they_come(parameters):
    X, y = DIABETES
    model = regressor(**parameters).fit(X * 50 + 3, np.c_[y, y + 1])
    values = X * 50 + 3
    for coef, intercept in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        values = np.maximum(values @ coef + intercept, 0)
    values = values @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_allclose(model.predict(X * 50 + 3), np.exp(values) if parameters.get("loss") else values)
    assert model.score(X * 50 + 3, np.c_[y, y + 1]) > 0.3


@pytest.mark.parametrize("parameters", [{}, {"loss": "poisson"}, {"standardize": False}])
def test_warm_start_goes_on_where_the_last_fit_ended(parameters):
    X, y = DIABETES[0], DIABETES[1] / 100
    model = regressor(warm_start=True, **parameters).fit(X, y)
    before, loss = model.predict(X), model.loss_
    model.set_params(max_iter=1, lr=1e-12).fit(X, y)
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-6)
    assert model.loss_ <= loss
    assert (model.n_iter_, len(model.loss_curve_), model.t_) == (1, 61, 61 * len(X))
    assert len(model.set_params(warm_start=False, max_iter=2).fit(X, y).loss_curve_) == 2


def test_partial_fit_of_everything_is_an_epoch_of_fit():
    X, y = IRIS
    model, other = classifier(alpha=1e-3, max_iter=5).fit(X, y), classifier(alpha=1e-3)
    for _ in range(5):
        other.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_allclose(other.loss_curve_, model.loss_curve_, rtol=1e-12)
    assert same(model, other)
    assert (other.n_iter_, other.t_) == (1, 750)


def test_partial_fit_learns_from_pieces():
    X, y = load_digits(return_X_y=True)
    model, rng = classifier(), np.random.default_rng(0)
    for _ in range(60):
        rows = rng.integers(len(X), size=rng.integers(1, 400))
        model.partial_fit(X[rows], y[rows], classes=np.arange(10))
    assert model.score(X, y) > 0.95
    numbers = regressor(batch_size=50).partial_fit(*DIABETES)
    for _ in range(20):
        numbers.partial_fit(*DIABETES)
    assert numbers.score(*DIABETES) > 0.4


def test_early_stopping_keeps_the_best_weights():
    X, y = load_digits(return_X_y=True)
    scores = []
    model = classifier(
        early_stopping=True,
        max_iter=200,
        n_iter_no_change=3,
        tol=0.0,
        callbacks=lambda _, logs: scores.append(logs["score"]),
    )
    model.fit(X, y)
    assert model.n_iter_ < 200
    assert model.validation_scores_ == scores
    assert model.best_validation_score_ == max(scores) > scores[-1]
    assert model.best_loss_ is None
    # Stopped right after the best epoch, the training leaves the same weights.
    best = classifier(early_stopping=True, max_iter=1 + int(np.argmax(scores))).fit(X, y)
    assert same(model, best)


@pytest.mark.parametrize("weights", [None, np.linspace(0, 1, 442)])
def test_early_stopping_of_a_regression(weights):
    model = regressor(early_stopping=True, loss="poisson", max_iter=100).fit(*DIABETES, weights)
    assert 0.2 < model.best_validation_score_ == max(model.validation_scores_) < 1


def test_callbacks_see_the_epochs_and_may_stop():
    epochs = []

    def watch(epoch, logs):
        epochs.append((epoch, sorted(logs)))
        return epoch == 4

    assert classifier(callbacks=[watch]).fit(*IRIS).n_iter_ == 5
    assert epochs == [(i, ["loss", "lr"]) for i in range(5)]


def test_callbacks_may_predict():
    scores = []
    model = classifier()
    model.set_params(callbacks=lambda epoch, logs: scores.append(model.score(*IRIS))).fit(*IRIS)
    assert scores[-1] == model.score(*IRIS) > scores[0]


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("coefs_", [], "coefs_ and intercepts_ must be float32 or float64 layers for 4 features"),
        ("coefs_", [np.zeros((9, 16)), np.zeros((16, 3))], "coefs_ and intercepts_ must be"),
        ("coefs_", [np.zeros((4, 16)), np.zeros((90, 3))], "coefs_ and intercepts_ must be"),
        ("coefs_", [np.zeros((4, 16), int), np.zeros((16, 3), int)], "coefs_ and intercepts_ must be"),
        ("coefs_", [np.zeros(4), 1.0], "coefs_ and intercepts_ must be"),
        ("intercepts_", [np.zeros(16), np.zeros(2)], "coefs_ and intercepts_ must be"),
        ("intercepts_", [np.zeros(16)], "coefs_ and intercepts_ must be"),
        ("activation", "cube", "activation must be one of 'identity', 'relu'"),
        ("out_activation_", None, "out_activation_ must be one of 'softmax'"),
    ],
)
def test_what_is_predicted_with_is_looked_at(attribute, value, said):
    model = classifier(max_iter=1).fit(*IRIS)
    setattr(model, attribute, value)
    with pytest.raises(ValueError, match=said):
        model.predict(IRIS[0])


def test_every_optimizer_and_schedules():
    for optimizer in ("adam", "sgd", "rmsprop", gdfast.AdamW, (gdfast.SGD, {"momentum": 0.9, "nesterov": True})):
        assert classifier(optimizer=optimizer, max_iter=100, alpha=0.0).fit(*IRIS).score(*IRIS) > 0.7
    rates = []
    schedule = gdfast.schedules.Cosine(0.1, total_steps=60)
    classifier(lr=schedule, callbacks=lambda _, logs: rates.append(logs["lr"])).fit(*IRIS)
    assert rates == [schedule(step) for step in range(1, 61)]


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1.5e-3), ("adamw", 1.5e-3), ("rmsprop", 1e-2), ("sgd", 1e-3)])
def test_automatic_rate(optimizer, rate):
    """1.5e-3 for Adam and its kin; the others have their own default."""
    found = classifier(optimizer=optimizer, lr="auto", max_iter=3).fit(*IRIS)
    assert same(found, classifier(optimizer=optimizer, lr=rate, max_iter=3).fit(*IRIS))


def test_reduce_on_plateau_follows_the_loss_and_is_not_changed_itself():
    schedule = gdfast.schedules.ReduceOnPlateau(1.0, factor=0.1, patience=2)
    rates = []
    model = classifier(lr=schedule, max_iter=60, callbacks=lambda _, logs: rates.append(logs["lr"]))
    model.fit(*IRIS)
    assert rates[0] == 1.0 > rates[-1]
    assert model.lr is schedule
    assert schedule.value == 1.0


def test_weights_of_classes_and_rows():
    X, y = IRIS
    rare = np.r_[np.arange(100), np.arange(100, 103)]
    X, y = X[rare], y[rare]
    balanced = classifier(class_weight="balanced").fit(X, y)
    by_hand = classifier().fit(X, y, 103 / (3 * np.bincount(y))[y])
    assert same(balanced, by_hand)
    assert same(
        classifier(class_weight={2: 5.0}).fit(X, y, np.full(103, 2.0)),
        classifier().fit(X, y, np.where(y == 2, 10.0, 2.0)),
    )
    # A row of no weight is as good as none.
    odd = np.r_[X, [[1e9, -1e9, 0, 0]]]
    np.testing.assert_allclose(
        classifier(shuffle=False).fit(odd, np.r_[y, 0], np.r_[np.ones(103), 0]).predict_proba(X),
        classifier(shuffle=False).fit(X, y).predict_proba(X),
        atol=1e-5,
    )


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_rows(make):
    X, y = load_digits(return_X_y=True)
    model = classifier(standardize=False).fit(make(X), y)
    dense = classifier(standardize=False).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(make(X)), dense.predict_proba(X), atol=1e-5)
    # Standardised, they keep their zeros, whatever their unit.
    unit = 10.0 ** np.arange(-32, 32)
    model = classifier().fit(make(X * unit), y)
    assert model.score(make(X * unit), y) > 0.9


def test_several_labels():
    X, y = make_multilabel_classification(300, 10, n_classes=4, random_state=0)
    model = classifier().fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.predict_proba(X).shape == y.shape
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert (model.predict(X) == y).mean() > 0.8
    as_sparse = classifier().fit(X, sparse.csr_matrix(y))
    assert sparse.issparse(as_sparse.predict(X))
    assert np.array_equal(as_sparse.predict(X).toarray(), model.predict(X))
    assert classifier(class_weight="balanced").fit(X, sparse.csr_matrix(y)).score(X, y) > 0.3
    assert 0 < classifier(early_stopping=True).fit(X, y).best_validation_score_ < 1
    assert model.partial_fit(X, y).t_ == 61 * 300


def test_classes_of_any_kind():
    X, y = IRIS
    for names in (np.array(["b", "a", "c"]), np.array([30, -1, 7]), np.array([True, False, False])):
        model = classifier().fit(X, names[y])
        assert np.array_equal(model.classes_, np.unique(names))
        assert model.score(X, names[y]) > 0.9
    two = classifier().fit(X, y == 0)
    np.testing.assert_allclose(two.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(two.predict_log_proba(X)), two.predict_proba(X))
    assert np.array_equal(two.predict(X), y == 0)


PARTIAL = classifier().partial_fit(*IRIS, classes=[0, 1, 2])
WARM = classifier(warm_start=True).fit(*IRIS)
LABELS = np.eye(3, dtype=int)[IRIS[1]]
ERRORS = {
    "early stopping": (lambda: classifier(early_stopping=True).partial_fit(*IRIS, classes=[0, 1, 2]), "early_stopping"),
    "balanced": (lambda: classifier(class_weight="balanced").partial_fit(*IRIS, classes=[0, 1, 2]), "balanced"),
    "one class": (lambda: classifier().fit(IRIS[0], np.ones(150)), "two classes"),
    "columns of classes": (lambda: classifier().fit(IRIS[0], np.c_[IRIS[1], IRIS[1]]), "several columns"),
    "new class": (lambda: PARTIAL.partial_fit(IRIS[0], IRIS[1] + 1), "got also"),
    "new kind": (lambda: PARTIAL.partial_fit(IRIS[0], LABELS), "kind it was"),
    "new labels": (lambda: classifier().fit(IRIS[0], LABELS).partial_fit(IRIS[0], LABELS[:, :2]), "3 columns"),
    "new sizes": (lambda: WARM.set_params(hidden_layer_sizes=(3, 2)).fit(*IRIS), "hidden_layer_sizes must be as"),
    "bad sizes": (lambda: classifier(hidden_layer_sizes=(3, 0)).fit(*IRIS), "positive ints"),
    "no weight": (lambda: classifier(class_weight=dict.fromkeys(range(3), 0.0)).fit(*IRIS), "above 0"),
    "negative weight": (lambda: classifier().fit(*IRIS, -np.ones(150)), "sample_weight"),
    "negative count": (lambda: regressor(loss="poisson").fit(IRIS[0], -1.0 - IRIS[1]), "y must be non-negative"),
    "new targets": (lambda: regressor().partial_fit(*IRIS).partial_fit(IRIS[0], LABELS), "1 columns"),
    "diverged weights": (lambda: regressor(lr=1e300).partial_fit(*IRIS), "diverged"),
    "diverged": (lambda: regressor(lr=1e30, optimizer="sgd", max_iter=20).fit(*IRIS), "diverged"),
    "activation": (lambda: classifier(activation="sine").fit(*IRIS), "activation"),
    "optimizer": (lambda: classifier(optimizer="lbfgs2").fit(*IRIS), "optimizer must be"),
    "lr": (lambda: classifier(lr=-1.0).fit(*IRIS), "lr must be"),
    "dropout": (lambda: classifier(dropout=1.0).fit(*IRIS), "dropout"),
    "threads": (lambda: classifier(n_threads=0).fit(*IRIS), "n_threads"),
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_is_wrong(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_the_automatic_penalty_follows_the_noise():
    X = np.random.default_rng(0).standard_normal((400, 8))
    y = X[:, 0] + np.random.default_rng(1).standard_normal(400)
    model = MLPRegressor(random_state=0)
    for _ in range(3):
        model.partial_fit(X, y)  # in which the rule is not compared with another penalty
    # 100 rows, of 1,200 seen and these 800
    shares = [model._alpha_for(100, 800, noise) * 20 for noise in (0.0, 0.02, 0.25, 0.5, 1.0, 7.0)]
    assert shares == pytest.approx([4, 4, 500**0.5 / 2, 1000**0.5 / 2, 2000**0.5 / 2, 2000**0.5 / 2])
    few = MLPRegressor(random_state=0).partial_fit(X[:50], y[:50])
    assert [few._alpha_for(50, 50, noise) * 2 for noise in (0.1, 0.5, 1.0)] == [4, 8, 16]
    for options in ({"loss": "poisson"}, {"standardize": False}):  # whose losses are no shares of a variance
        model = MLPRegressor(**options, max_iter=1, tol=None, random_state=0).fit(X, np.abs(y))
        assert model._alpha_for(100, 400, 1.0) == 0.5


def test_the_noise_is_the_squared_error_without_the_penalty():
    X = np.random.default_rng(0).standard_normal((400, 8))
    y = np.stack([X[:, 0], X[:, 1] + np.random.default_rng(1).standard_normal(400)], 1)
    for alpha in (0.0, 5.0):
        model = MLPRegressor(alpha=alpha, lr=1e-9, batch_size=400, random_state=0).partial_fit(X, y)
        deviations = (model.predict(X) - y) / y.std(axis=0)
        assert model._trainer.noise == pytest.approx((deviations**2).mean(), rel=1e-6)
        assert pickle.loads(pickle.dumps(model))._trainer.noise == model._trainer.noise
