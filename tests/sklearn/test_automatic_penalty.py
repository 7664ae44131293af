"""What alpha="auto" stands for in networks for numbers: on few rows the better of two on held-out fifths."""

import numpy as np
import pytest
from scipy import sparse

from gdfast.sklearn import MLPClassifier, MLPRegressor, _penalty
from gdfast.tables import Arrays

SIZES = {"hidden_layer_sizes": (20,), "max_iter": 80, "tol": None, "lr": 1e-2, "random_state": 0}


def clean(n=300):
    """Return numbers without noise, which a penalty only spoils."""
    X = np.random.default_rng(0).standard_normal((n, 8))
    return X, X[:, 0] * X[:, 1] + X[:, 2]


def noisy(n=200):
    """Return numbers that are mostly noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8))
    return X, X[:, 0] + 3 * rng.standard_normal(n)


def regressor(**parameters):
    return MLPRegressor(**{**SIZES, **parameters})


class OnlyRule(MLPRegressor):
    _tried = "auto"


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


def test_clean_numbers_take_the_small_penalty():
    X, y = clean()
    model = regressor().fit(X, y)
    assert model.alpha_ == 1e-4
    assert same(model, regressor(alpha=1e-4).fit(X, y))  # the comparison leaves no trace but in time
    X_new, y_new = (array[300:] for array in clean(600))
    only_rule = OnlyRule(**SIZES).fit(X, y)
    assert only_rule.alpha_ == "auto"
    assert model.score(X_new, y_new) > only_rule.score(X_new, y_new) + 0.01


@pytest.mark.parametrize(
    ("gains", "alpha"),
    [
        ((1, 1, 1, 1), 1e-4),
        ((-1, -1, -1, -1), "auto"),
        ((0, 0, 0, 0), "auto"),
        ((3, -1, 3, -1), 1e-4),  # by 0.9 standard errors of the mean
        ((3, -2, 3, -2), "auto"),  # by 0.3
        ((np.inf, 1, 1, 1), "auto"),  # the rule diverged once: no standard error
        ((np.nan, 5, 5, 5), "auto"),  # both did
    ],
)
def test_half_a_standard_error_over_four_fifths_decides(monkeypatch, gains, alpha):
    tested, errors = [], iter(error for gain in gains for error in (gain, 0.0))

    def error(model, X, targets, weights, train, test):
        tested.append((model._tried, tuple(test)))
        assert sorted({*train, *test}) == list(range(60))
        return next(errors)

    monkeypatch.setattr(_penalty, "_held_out_error", error)
    assert regressor(max_iter=1).fit(*clean(60)).alpha_ == alpha
    assert [tried for tried, _ in tested] == ["auto", 1e-4] * 4
    assert [rows for _, rows in tested[::2]] == [rows for _, rows in tested[1::2]]
    rows = [row for _, fold in tested[::2] for row in fold]
    assert len(rows) == len(set(rows)) == 48


def test_one_odd_row_does_not_decide():
    X, y = clean()
    for row in (7, 50):
        y[row] += 30
        assert regressor().fit(X, y).alpha_ == 1e-4


def test_all_targets_count_alike_in_the_choice():
    X, y = clean()
    noise = 1024 * np.random.default_rng(1).standard_normal((300, 3))
    for others, alpha in ((1024 * (X[:, :1] * X[:, 2:3] + X[:, 1:2]), 1e-4), (noise, "auto")):
        assert regressor(max_iter=300).fit(X, np.column_stack([y, others])).alpha_ == alpha


def test_noisy_numbers_keep_the_rule():
    X, y = noisy()
    model = regressor().fit(X, y)
    assert model.alpha_ == "auto"
    assert same(model, OnlyRule(**SIZES).fit(X, y))


@pytest.mark.parametrize("make", [clean, noisy])
def test_the_choice_depends_on_random_state_alone(make):
    X, y = make()
    models = [regressor(n_threads=n, random_state=np.random.default_rng(3)).fit(X, y) for n in (1, 2)]
    assert models[0].alpha_ == models[1].alpha_
    assert same(*models)


def test_the_random_numbers_of_numpy_are_those_of_one_fit():
    X, y = clean(100)
    after = []
    for kind in (MLPRegressor, OnlyRule):
        np.random.seed(0)
        kind(**{**SIZES, "max_iter": 2, "random_state": None}).fit(X, y)
        after.append(np.random.random())
    assert after[0] == after[1]


def test_the_weights_of_rows_count_in_the_choice():
    (X, y), (X_noisy, y_noisy) = clean(), noisy(300)
    X, y = np.concatenate([X, X_noisy]), np.concatenate([y, y_noisy])
    for weight_of_clean, alpha in ((1.0, 1e-4), (0.0, "auto")):
        weights = np.repeat([weight_of_clean, 1.0 - weight_of_clean], 300)
        for scale in (1.0, 1e-30):
            assert regressor().fit(X, y, weights * scale).alpha_ == alpha


def test_rows_without_a_weight_are_no_rows():
    X, y = clean()
    weights = np.r_[np.ones(49), np.zeros(251)]
    assert regressor().fit(X, y, weights).alpha_ == "auto"  # 49 rows tell too little


@pytest.mark.parametrize(
    "options",
    [{"standardize": False}, {"loss": "huber"}, {"early_stopping": True}],
    ids=["standardize", "loss", "early_stopping"],
)
def test_where_nothing_is_compared(options):
    assert regressor(**{**options, "max_iter": 5}).fit(*clean()).alpha_ == "auto"


def test_sparse_few_and_many_rows_keep_the_rule():
    X, y = clean(2001)
    model = regressor(max_iter=1)
    assert model.fit(X, y).alpha_ == "auto"
    assert model.fit(X[:49], y[:49]).alpha_ == "auto"
    assert model.fit(sparse.csr_array(X[:300]), y[:300]).alpha_ == "auto"


def test_a_source_keeps_the_rule():
    X, y = clean()
    model = regressor(shuffle=False, max_iter=5).fit(Arrays(X, y))
    assert model.alpha_ == "auto"
    assert same(model, OnlyRule(**{**SIZES, "shuffle": False, "max_iter": 5}).fit(X, y))


def test_a_number_is_taken_as_it_is():
    assert regressor(alpha=3.0, max_iter=1).fit(*clean()).alpha_ == 3.0
    X, y = clean()
    classifier = MLPClassifier(max_iter=1, tol=None).fit(X, y > 0)
    assert classifier.alpha_ == "auto"


def test_later_fits_go_on_with_the_choice():
    X, y = clean()
    model = regressor(warm_start=True).fit(X, y)
    assert model.alpha_ == 1e-4
    assert model.partial_fit(X, y).alpha_ == 1e-4
    assert model.fit(X, y).alpha_ == 1e-4
    assert regressor().partial_fit(X, y).alpha_ == "auto"
    model.set_params(warm_start=False).fit(*noisy())
    assert model.alpha_ == "auto"


def test_callbacks_see_one_training():
    class Callback:
        """Cannot be copied."""

        def __init__(self):
            self.epochs, self.lines = [], (line for line in ())

        def on_epoch_end(self, epoch, logs):
            self.epochs.append(epoch)

    callback = Callback()
    regressor(callbacks=[callback], max_iter=3, verbose=False).fit(*clean(60))
    assert callback.epochs == [0, 1, 2]


def test_the_rate_is_looked_for_once(monkeypatch):
    calls, look = [], MLPRegressor.lr_find
    monkeypatch.setattr(MLPRegressor, "lr_find", lambda *args: calls.append(1) or look(*args))
    model = regressor(lr="find", max_iter=20).fit(*clean())
    assert len(calls) == 1
    assert same(model, regressor(lr=model.lr_, alpha=model.alpha_, max_iter=20).fit(*clean()))


def test_a_training_that_diverges_says_so():
    with pytest.raises(ValueError, match="diverged"):
        regressor(lr=1e30, optimizer="sgd", max_iter=20).fit(*clean())
