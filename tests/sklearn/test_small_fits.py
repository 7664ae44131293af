"""Small fits: Newton's method and L-BFGS find what a long training with mini-batches does."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, TweedieRegressor
from sklearn.metrics import mean_tweedie_deviance
from threadpoolctl import threadpool_limits

from gdfast.sklearn import GDClassifier, GDRegressor

LONG = {"optimizer": "adam", "max_iter": 20_000, "random_state": 0}
SMOOTH = {
    GDClassifier: ("log_loss", "squared_hinge", "modified_huber"),
    GDRegressor: (
        "squared_error",
        "huber",
        "log_cosh",
        "squared_epsilon_insensitive",
        "poisson",
        "gamma",
    ),
}
NEWTON = ("log_loss", "squared_error", "poisson", "gamma")


def data(kind, n=90, columns=4, outputs=1):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, columns)) * 10.0 ** np.arange(columns) + 2.0
    scores = (X / 10.0 ** np.arange(columns)) @ rng.standard_normal((columns, outputs))
    scores = scores + 0.8 * rng.standard_normal((n, outputs))
    if kind is GDClassifier:
        return X, (scores[:, 0] > 0).astype(int) if outputs == 1 else scores.argmax(axis=1)
    return X, np.exp(scores / 2).squeeze()


def assert_same_minimum(model, X, y, *, tol=1e-5, **fit):
    """Hold a small fit against a long training with all rows in a batch."""
    small = model(fit, X, y, optimizer="auto")
    long = model(fit, X, y, **LONG, batch_size=len(y))
    assert small.optimizer_ in ("newton", "lbfgs")
    assert long.optimizer_ == "Adam"
    assert small.loss_ - long.loss_ <= 1e-4 * tol * (1 + abs(long.loss_))
    assert small.loss_ == pytest.approx(long.loss_, rel=tol, abs=tol)
    scale = np.abs(long.coef_).max(axis=0) + 1e-12
    np.testing.assert_allclose(small.coef_ / scale, long.coef_ / scale, atol=200 * tol)
    scores = [getattr(found, "decision_function", found.predict)(X) for found in (small, long)]
    np.testing.assert_allclose(*scores, rtol=20 * tol, atol=20 * tol * np.abs(scores[1]).max())
    return small


def maker(kind, **options):
    return lambda fit, X, y, **more: kind(**options, **more).fit(X, y, **fit)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("kind", "loss"), [(kind, loss) for kind, losses in SMOOTH.items() for loss in losses])
def test_every_smooth_loss_ends_where_a_long_training_does(kind, loss, fit_intercept, outputs):
    X, y = data(kind, outputs=outputs)
    options = {"epsilon": 1.0} if kind is GDRegressor else {}
    found = assert_same_minimum(maker(kind, loss=loss, fit_intercept=fit_intercept, alpha=0.05, **options), X, y)
    assert found.optimizer_ == ("newton" if loss in NEWTON else "lbfgs")


POWERS = (-1.0, 0.0, 1.0, 1.2, 1.5, 1.9, 2.0, 2.5, 3.0)


@pytest.mark.parametrize("alpha", [1e-3, 0.1])
@pytest.mark.parametrize("power", POWERS)
def test_tweedie_is_that_of_scikit_learn(power, alpha):
    X, y = data(GDRegressor)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    if 1.0 <= power < 2.0:
        y = np.where(y < 1.0, 0.0, y)
    peer = TweedieRegressor(power=power, alpha=alpha, link="log", tol=1e-9, max_iter=10_000).fit(X, y)
    expected = mean_tweedie_deviance(y, peer.predict(X), power=power)
    small = GDRegressor("tweedie", power=power, alpha=alpha, standardize=False).fit(X, y)
    assert (small.optimizer_, small.n_iter_ < 30) == ("newton", True)
    assert mean_tweedie_deviance(y, small.predict(X), power=power) == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(small.coef_, peer.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("power", [-1.0, 1.5, 3.0])
def test_tweedie_of_several_targets_is_one_of_each(power):
    X, y = data(GDRegressor, outputs=3)
    whole = GDRegressor("tweedie", power=power, alpha=0.01).fit(X, y)
    for i in range(3):
        one = GDRegressor("tweedie", power=power, alpha=0.01).fit(X, y[:, i])
        np.testing.assert_allclose(whole.coef_[i], one.coef_, rtol=1e-4)


@pytest.mark.parametrize("power", [0.0, 1.5, 3.0])
def test_tweedie_of_more_columns_takes_lbfgs(power):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((800, 60))
    y = np.exp(0.3 * X[:, 0] + 0.1 * rng.standard_normal(800))
    peer = TweedieRegressor(power=power, alpha=0.01, link="log", tol=1e-9, max_iter=10_000).fit(X, y)
    small = GDRegressor("tweedie", power=power, alpha=0.01, standardize=False).fit(X, y)
    assert small.optimizer_ == "lbfgs"
    np.testing.assert_allclose(small.coef_, peer.coef_, atol=1e-6)


def cases():
    X, y = data(GDClassifier)
    weights = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    yield "float32", X.astype(np.float32), y, {}, {}
    yield "csr", sparse.csr_matrix(X * (np.abs(X) > 1)), y, {}, {}
    yield "csr with means", sparse.csr_matrix(X + 50), y, {}, {}
    yield "weights", X, y, {}, {"sample_weight": weights}
    yield "classes", X, y, {"class_weight": {0: 3.0, 1: 0.5}}, {"sample_weight": weights}
    yield "one column", X[:, :1], y, {}, {}
    yield "constant column", np.column_stack([X, np.full(len(y), 0.1)]), y, {}, {}
    yield "collinear", np.column_stack([X, X[:, 0] - X[:, 1]]), y, {}, {}
    yield "more columns than rows", np.random.default_rng(1).standard_normal((30, 50)), y[:30], {}, {}
    yield "raw", X / 10.0 ** np.arange(4), y, {"standardize": False}, {}
    yield "start", X, y, {}, {"coef_init": np.array([[0.5, -0.1, 0.0, 0.0]]), "intercept_init": np.array([1.0])}


CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize(
    ("kind", "loss"), [(GDClassifier, "log_loss"), (GDClassifier, "squared_hinge"), (GDRegressor, "squared_error")]
)
def test_kinds_of_data(kind, loss, case):
    _, X, y, options, fit = case
    if kind is GDRegressor:
        options = {name: value for name, value in options.items() if name != "class_weight"}
        if "coef_init" in fit:
            fit = {name: value.reshape(-1) for name, value in fit.items()}
    tol = 1e-4 if X.dtype == np.float32 else 1e-5
    found = assert_same_minimum(maker(kind, loss=loss, alpha=0.02, **options), X, y, tol=tol, **fit)
    assert found.coef_.dtype == X.dtype


def test_without_a_penalty_least_squares_are_the_shortest():
    X = np.random.default_rng(0).standard_normal((20, 40))
    y = X[:, 0] + 1
    found = GDRegressor(penalty=None, standardize=False, fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(found.coef_, np.linalg.lstsq(X, y, rcond=None)[0], atol=1e-9)
    twice = GDRegressor(penalty=None).fit(np.column_stack([X[:, :3], X[:, 0]]), y)
    np.testing.assert_allclose(twice.coef_, [0.5, 0, 0, 0.5], atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_separable_classes_without_a_penalty_end(classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    found = GDClassifier(penalty=None).fit(X, np.where(y == 0, 0, 1) if classes == 2 else y)
    assert found.optimizer_ == "newton"
    assert found.n_iter_ < 60
    assert found.score(X, y) > 0.98
    assert np.isfinite(found.coef_).all()


def test_the_scores_of_classes_sum_to_zero():
    X, y = load_iris(return_X_y=True)
    found = GDClassifier().fit(X, y)
    np.testing.assert_allclose([found.intercept_.sum(), *found.coef_.sum(axis=0)], 0, atol=1e-10)


def test_squared_error_is_ridges():
    X, y = data(GDRegressor)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    peer = Ridge(alpha=0.7).fit(Z, y)
    found = GDRegressor(alpha=0.7 / len(y)).fit(X, y)
    np.testing.assert_allclose(found.predict(X), peer.predict(Z), rtol=1e-10)


def test_it_goes_on_from_the_last_fit():
    X, y = data(GDClassifier)
    found = GDClassifier(warm_start=True).fit(X, y)
    before, steps = found.coef_, found.n_iter_
    found.fit(X, y)
    assert (steps > 2, found.n_iter_) == (True, 1)
    np.testing.assert_allclose(found.coef_, before, rtol=1e-9)
    hinge = GDClassifier("squared_hinge", warm_start=True).fit(X, y)
    before = hinge.coef_
    np.testing.assert_allclose(hinge.fit(X, y).coef_, before, rtol=1e-5)
    assert hinge.n_iter_ <= 2


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({"optimizer": "adam"}, "Adam"),
        ({"optimizer": ("sgd", {"momentum": 0.9})}, "SGD"),
        ({"lr": 0.1}, "Adam"),
        ({"lr": "find"}, "Adam"),
        ({"batch_size": 50}, "Adam"),
        ({"max_iter": 7}, "Adam"),
        ({"tol": 0.0}, "Adam"),
        ({"early_stopping": True}, "Adam"),
        ({"average": True}, "Adam"),
        ({"penalty": "l1"}, "Adam"),
        ({"loss": "hinge"}, "Adam"),
        ({"shuffle": False, "n_threads": 2, "verbose": 0}, "newton"),
        ({"penalty": "elasticnet", "l1_ratio": 0.0}, "newton"),
        ({"loss": "modified_huber"}, "lbfgs"),
    ],
)
def test_what_is_named_is_taken(options, optimizer):
    X, y = data(GDClassifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tol
        found = GDClassifier(random_state=0, **options).fit(X, y)
    assert found.optimizer_ == optimizer
    assert len(found.loss_curve_) == found.n_iter_
    assert found.n_iter_ == options.get("max_iter", found.n_iter_)


def test_large_data_and_partial_fit_take_mini_batches():
    X, y = make_classification(20_000, random_state=0)
    assert GDClassifier(random_state=0).fit(X, y).optimizer_ == "Adam"
    assert GDClassifier(random_state=0).fit(X[:1000], y[:1000]).optimizer_ == "newton"
    found = GDClassifier(random_state=0).fit(X[:1000], y[:1000])
    assert found.partial_fit(X[:1000], y[:1000]).optimizer_ == "Adam"
    many = np.random.default_rng(0).standard_normal((20, 4097))
    assert GDClassifier(random_state=0).fit(many, y[:20]).optimizer_ == "Adam"


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_callbacks_see_every_step_and_change_nothing(loss):
    X, y = data(GDClassifier)
    seen = []

    def look(epoch, logs):
        seen.append((epoch, logs["loss"], logs["lr"], watched.score(X, y)))

    plain = GDClassifier(loss).fit(X, y)
    watched = GDClassifier(loss, callbacks=[look])
    watched.fit(X, y)
    assert [entry[:3] for entry in seen] == [(i, value, 1.0) for i, value in enumerate(plain.loss_curve_)]
    assert seen[-1][3] == plain.score(X, y)
    assert (watched.coef_ == plain.coef_).all()
    assert (watched.n_iter_, watched.loss_curve_) == (plain.n_iter_, plain.loss_curve_)
    stopped = GDClassifier(loss, callbacks=[lambda epoch, logs: epoch == 1]).fit(X, y)
    assert stopped.loss_curve_ == plain.loss_curve_[:2]
    assert not np.array_equal(stopped.coef_, plain.coef_)


@pytest.mark.parametrize("load", [load_iris, load_digits, load_breast_cancer])
def test_the_number_of_threads_changes_no_bit(load):
    X, y = load(return_X_y=True)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            model = GDClassifier(n_threads=n_threads).fit(X, y)
        found.append((model.coef_.tobytes(), model.intercept_.tobytes(), model.loss_curve_))
    assert found[0] == found[1]


def test_where_numbers_overflow_mini_batches_decide():
    X, y = data(GDRegressor)
    X = X * 1e200
    for loss in ("squared_error", "poisson", "gamma"):
        assert GDRegressor(loss, standardize=False, random_state=0).fit(X, y).optimizer_ == "Adam"


def test_the_gap_that_mini_batches_leave_is_closed():
    X, y = load_breast_cancer(return_X_y=True)
    batches = GDClassifier(optimizer="adam", random_state=0).fit(X, y)
    small = GDClassifier().fit(X, y)
    assert small.loss_ < batches.loss_ - 5e-5
    assert small.loss_curve_[-2] - small.loss_ < 1e-7


def test_nearly_separable_classes_end_at_the_last_step():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="GDClassifier: Newton's method ended at step 100, before it"):
        found = GDClassifier(penalty=None).fit(X, y)
    assert (found.optimizer_, found.n_iter_, len(found.loss_curve_)) == ("newton", 100, 100)
    assert found.loss_ < GDClassifier(penalty=None, optimizer="adam", random_state=0).fit(X, y).loss_


@pytest.mark.parametrize("loss", ["squared_hinge", "modified_huber"])
def test_lbfgs_says_that_its_steps_did_not_suffice(loss):
    X, y = data(GDClassifier)
    with pytest.warns(ConvergenceWarning, match=r"GDClassifier: L-BFGS ended at step \d+, before it"):
        found = GDClassifier(loss, penalty=None, standardize=False).fit(X * 100.0 ** np.arange(4), y)
    assert (found.optimizer_, len(found.loss_curve_)) == ("lbfgs", found.n_iter_)


def test_lbfgs_says_that_its_steps_ran_out(monkeypatch):
    monkeypatch.setattr("gdfast.sklearn._small.MOST_STEPS", 5)
    X, y = data(GDClassifier)
    with pytest.warns(ConvergenceWarning, match="GDClassifier: L-BFGS ended at step 5, before it"):
        assert GDClassifier("squared_hinge").fit(X, y).n_iter_ == 5


def test_newtons_method_says_that_it_got_stuck():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((30, 4)) * np.exp(20 * rng.standard_normal((30, 4)))
    with pytest.warns(ConvergenceWarning, match=r"GDClassifier: Newton's method ended at step \d+, before it"):
        found = GDClassifier(penalty=None, standardize=False).fit(X, np.arange(30) % 3)
    assert (found.optimizer_, found.n_iter_ < 100, len(found.loss_curve_)) == ("newton", True, found.n_iter_)


@pytest.mark.parametrize("loss", ["huber", "log_cosh"])
def test_lbfgs_says_that_it_found_no_step_down(loss):
    X = np.exp(60 * np.random.default_rng(0).standard_normal((50, 4)))
    with pytest.warns(ConvergenceWarning, match="GDRegressor: L-BFGS ended at step 1, before it"):
        GDRegressor(loss, penalty=None, standardize=False).fit(X, np.arange(50.0))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge", "modified_huber"])
def test_columns_of_different_scale_need_no_warning_where_they_are_standardised(loss, scale):
    X, y = data(GDClassifier)
    assert GDClassifier(loss).fit(X * scale ** np.arange(4), y).n_iter_ < 60


def test_who_stops_a_training_is_not_warned():
    X, y = load_breast_cancer(return_X_y=True)
    found = GDClassifier(penalty=None, callbacks=[lambda epoch, logs: epoch == 4]).fit(X, y)
    assert (found.optimizer_, found.n_iter_) == ("newton", 5)


def test_a_start_at_the_minimum_is_a_step():
    X, _ = data(GDRegressor)
    found = GDRegressor("huber").fit(X, np.full(len(X), 3.0))
    assert (found.optimizer_, found.n_iter_, found.loss_curve_) == ("lbfgs", 1, [0.0])
    np.testing.assert_array_equal(found.predict(X), 3.0)


# Beside targets of 1e30 an epsilon of .1 is a kink: no gradient becomes small there, and the fit says so.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", ["huber", "log_cosh", "squared_epsilon_insensitive"])
@pytest.mark.parametrize(
    ("unit", "epsilon", "options"),
    [
        (1e-6, 1e-7, {"standardize": False}),
        (1e-9, 1e-10, {"standardize": False}),
        (1e5, 0.1, {}),
        (1e30, 0.1, {}),
    ],
)
def test_a_small_gradient_is_no_minimum(loss, unit, epsilon, options):
    X = np.random.default_rng(0).standard_normal((200, 4))
    coef = np.array([1.0, -0.5, 0.3, 0.0])
    found = GDRegressor(loss, epsilon=epsilon, penalty=None, **options).fit(X, (X @ coef + 1) * unit)
    assert found.optimizer_ == "lbfgs"
    tol = 0.1 if loss == "squared_epsilon_insensitive" else 1e-4
    np.testing.assert_allclose(found.coef_ / unit, coef, atol=tol)
    np.testing.assert_allclose(found.intercept_ / unit, 1, atol=tol)


@pytest.mark.parametrize("large", [1e7, 1e9])
def test_a_large_column_hides_no_others(large):
    X, y = np.random.default_rng(0).standard_normal((2, 60, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.1 * y[:, 0]
    found = GDRegressor(alpha=0.2, standardize=False).fit(np.column_stack([np.full(60, large), X]), y)
    np.testing.assert_allclose(found.coef_[1:], Ridge(alpha=0.2 * 60).fit(X, y).coef_, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1e-12, 1e-15, 1e9])
@pytest.mark.parametrize("options", [{}, {"power": 0}, {"power": 1.5}], ids=str)
def test_the_unit_of_targets_only_moves_the_intercept_of_a_log_link(options, unit):
    X = np.random.default_rng(0).standard_normal((200, 4))
    y = np.random.default_rng(1).poisson(np.exp(X @ [1.0, -0.5, 0.3, 0.0])).astype(np.float64)
    model = GDRegressor("tweedie" if options else "poisson", penalty=None, **options)
    expected, found = clone(model).fit(X, y), clone(model).fit(X, y * unit)
    assert found.optimizer_ == "newton"
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-6)
    np.testing.assert_allclose(found.intercept_ - np.log(unit), expected.intercept_, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_lbfgs_says_that_a_huge_column_held_the_others_back(make, classes):
    """A coefficient of 1e-20 times its gradient of 1e20 looked like the minimum, and nothing was learned."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4)) * [1e20, 1.0, 1.0, 0.0]
    y = (X[:, 1] > 0) * 1 + (X[:, 2] > 0) * (classes == 3)
    with pytest.warns(ConvergenceWarning, match="GDClassifier: L-BFGS ended at step"):
        GDClassifier("squared_hinge", standardize=False, alpha=0.01).fit(make(X), y)
    small = make(X * [1e-20, 1.0, 1.0, 1.0])
    assert GDClassifier("squared_hinge", standardize=False, alpha=0.01).fit(small, y).score(small, y) > 0.6
