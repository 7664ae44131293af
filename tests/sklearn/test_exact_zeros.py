"""l1: columns that tell nothing about the target get coefficients of exactly zero, and nothing gets worse."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array

from gdfast.sklearn import LOSSES, GDClassifier, GDRegressor, _linear_fit, _stream_linear
from gdfast.sklearn._evaluation import evaluating
from gdfast.sklearn._finish import _objectives
from gdfast.tables import Arrays, Batches

N, COLUMNS, TOLD = 1500, 10, 3
RNG = np.random.default_rng(3)
X = RNG.standard_normal((N, COLUMNS))
SCORE = X[:, :TOLD] @ [1.0, -1.5, 0.8]
NOISY = SCORE + 0.3 * RNG.standard_normal(N)
CLASSES = [loss for loss in LOSSES["GDClassifier"] if loss != "perceptron"]
PENALTIES = {
    "l1": {"penalty": "l1", "alpha": 0.1},
    "elasticnet": {"penalty": "elasticnet", "l1_ratio": 0.5, "alpha": 0.2},
}
TRAININGS = {"average": {"average": True}, "constant": {"lr": 0.01, "max_iter": 40}, "auto": {}}


def model(loss, **options):
    """Return an estimator for this loss, and targets of which it can be fitted."""
    if loss in LOSSES["GDClassifier"]:
        return GDClassifier(loss, random_state=0, **options), NOISY > 0
    y = np.exp(SCORE / 3) + 0.1 if loss in ("poisson", "gamma", "tweedie") else NOISY
    return GDRegressor(loss, random_state=0, **options), y


@pytest.fixture
def objectives(monkeypatch):
    """Collect, of every fit, the objective before and after, and the numbers of coefficients that are not zero."""
    seen = []
    real = _linear_fit.find_zeros

    def watched(trainer, batches):
        zeros = real(trainer, batches)
        with evaluating(trainer.optimizer):
            coef, intercept = trainer.coef.copy(), trainer.intercept.copy()
            changed = coef if zeros is None else np.where(zeros, 0.0, coef)
            (before, after), _ = _objectives(trainer, batches, [(coef, intercept), (changed, intercept)])
        seen.append((before, after, np.count_nonzero(coef), np.count_nonzero(changed)))
        return zeros

    for module in (_linear_fit, _stream_linear):
        monkeypatch.setattr(module, "find_zeros", watched)
    return seen


def is_no_worse(before, after):
    return after <= before + 2e-6 * max(1.0, abs(before))


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [*CLASSES, *LOSSES["GDRegressor"]])
def test_columns_that_tell_nothing_get_zero(loss, dtype, form, penalty, training, objectives):
    options = PENALTIES[penalty] | TRAININGS[training]
    if loss in ("huber", "log_cosh"):  # their gradients are smaller
        options["alpha"] /= 10
    estimator, y = model(loss, **options)
    estimator.fit(form(X.astype(dtype)), y)
    coef = np.ravel(estimator.coef_)
    assert coef[:TOLD].all()
    assert not coef[TOLD:].any()
    ((before, after, _, _),) = objectives
    assert is_no_worse(before, after)
    assert estimator.sparsify().coef_.nnz == TOLD


def test_small_numbers_were_left_there(objectives):
    for loss in ("hinge", "epsilon_insensitive", "quantile", "squared_error"):
        for alpha in (0.01, 0.03):
            estimator, y = model(loss, penalty="l1", alpha=alpha, average=True)
            estimator.fit(X, y)
    assert sum(there > left for _, _, there, left in objectives) >= 6
    assert all(is_no_worse(before, after) for before, after, _, _ in objectives)


def exact_hinge(Z, y, alpha):
    """Return the coefficients that a linear program finds: of a hinge's mean with l1."""
    n, columns = Z.shape
    signs = np.where(y, 1.0, -1.0)[:, None]
    rows = np.hstack([-signs * Z, signs * Z, -signs, signs, -np.eye(n)])
    cost = np.r_[np.full(2 * columns, alpha), 0, 0, np.full(n, 1 / n)]
    x = linprog(cost, A_ub=rows, b_ub=-np.ones(n), bounds=(0, None), method="highs").x
    return x[:columns] - x[columns : 2 * columns]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("alpha", [0.04, 0.06])
def test_zeros_are_those_of_the_exact_minimum(alpha, average):
    rows = slice(0, 600)
    Z = (X[rows] - X[rows].mean(axis=0)) / X[rows].std(axis=0)
    minimum = exact_hinge(Z, NOISY[rows] > 0, alpha)
    found = model("hinge", penalty="l1", alpha=alpha, average=average)[0].fit(Z, NOISY[rows] > 0).coef_[0]
    wanted = np.abs(minimum) < 1e-9
    assert wanted.any()
    np.testing.assert_array_equal(found == 0, wanted)


def test_three_classes_and_several_targets():
    y = np.digitize(NOISY, [-0.7, 0.7])
    many = GDClassifier("hinge", penalty="l1", alpha=0.1, average=True, random_state=0).fit(X, y)
    assert many.coef_[:, :TOLD].any()
    assert not many.coef_[:, TOLD:].any()
    targets = np.column_stack([NOISY, -SCORE])
    both = GDRegressor("epsilon_insensitive", penalty="l1", alpha=0.1, average=True, random_state=0).fit(X, targets)
    assert both.coef_[:, :TOLD].all()
    assert not both.coef_[:, TOLD:].any()


def test_a_stream_that_is_read_again_gets_them():
    settings = {"penalty": "l1", "alpha": 0.05, "average": True, "random_state": 0}
    cut = [(csr_array(X[at : at + 500]), NOISY[at : at + 500]) for at in range(0, N, 500)]
    for source in (Arrays(X, NOISY), Batches(cut)):
        streamed = GDRegressor("quantile", **settings).fit(source)
        assert np.flatnonzero(streamed.coef_).tolist() == list(range(TOLD))


class Counted(list):
    """Batches that count how often they are read."""

    def __iter__(self):
        self.read = getattr(self, "read", 0) + 1
        return super().__iter__()


def test_a_stream_for_one_reading_is_not_read_for_them():
    read = []
    for epochs in (1, 20):
        cut = Counted((X[at : at + 500], NOISY[at : at + 500]) for at in range(0, N, 500))
        settings = {"penalty": "l1", "alpha": 0.03, "average": True, "max_iter": epochs}
        GDRegressor("quantile", **settings).fit(Batches(cut, n_rows=N))
        read.append(cut.read)
    assert read[1] - read[0] == 19 + 2  # for the gradient, and for the objective


def test_centred_columns_of_csr():
    years = np.round(2000 + 10 * X)
    settings = {"penalty": "l1", "alpha": 0.1, "average": True, "random_state": 0}
    found = GDClassifier("hinge", **settings).fit(csr_array(years), NOISY > 0)
    assert np.flatnonzero(found.coef_).tolist() == list(range(TOLD))
    assert found.score(csr_array(years), NOISY > 0) > 0.9


def test_a_perceptron_keeps_its_coefficients():
    settings = {"penalty": "l1", "alpha": 0.05, "random_state": 0}
    assert GDClassifier("perceptron", average=True, **settings).fit(X, NOISY > 0).score(X, NOISY > 0) > 0.85
    streamed = GDClassifier("perceptron", average=True, **settings).fit(Arrays(X, NOISY > 0))
    assert streamed.score(X, NOISY > 0) > 0.85


@pytest.mark.parametrize("alpha", [0.0, 1e-320, 1e4])
def test_penalties_at_the_ends(alpha):
    coef = GDRegressor(penalty="l1", alpha=alpha, random_state=0).fit(X, NOISY).coef_
    assert (coef == 0).all() if alpha == 1e4 else (coef != 0).all()
