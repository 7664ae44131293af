"""The options of an estimator's optimizer: each is taken, or refused; none is passed over in silence."""

import numpy as np
import pytest

import gdfast
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
NUMBERS = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.standard_normal(60)
CLASSES = (NUMBERS > 0).astype(int)
LINEAR = [GDClassifier, GDRegressor]
KINDS = [*LINEAR, MLPClassifier, MLPRegressor]


def fit(kind, **options):
    usual = {"max_iter": 3, "tol": None, "random_state": 0, "batch_size": 20, "alpha": 0.01}
    more = {} if kind in LINEAR else {"hidden_layer_sizes": (4,)}
    return kind(**{**usual, **more, **options}).fit(X, CLASSES if kind in (GDClassifier, MLPClassifier) else NUMBERS)


def coefficients(model):
    return np.concatenate([np.ravel(part) for part in getattr(model, "coefs_", [getattr(model, "coef_", None)])])


@pytest.mark.parametrize("lr", [0.2, gdfast.schedules.Cosine(0.2, total_steps=9)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_learning_rate_may_be_an_option(kind, lr):
    """Linear models took "auto" in its place."""
    found = coefficients(fit(kind, optimizer=("sgd", {"lr": lr})))
    np.testing.assert_array_equal(found, coefficients(fit(kind, optimizer="sgd", lr=lr)))
    assert not np.array_equal(found, coefficients(fit(kind, optimizer="sgd")))


def test_the_schedule_knows_a_learning_rate_that_is_an_option():
    assert GDClassifier(optimizer=("adam", {"lr": 0.3})).resolved_schedule(100, 3).lr == 0.3
    assert MLPClassifier(optimizer=("adam", {"lr": 0.3})).resolved_schedule(100).lr == 0.3


@pytest.mark.parametrize("lr", [0.1, "find", gdfast.schedules.Cosine(0.2, total_steps=9)])
@pytest.mark.parametrize("kind", KINDS)
def test_two_learning_rates(kind, lr):
    """Of networks the option was taken, also where "find" said that it had found another."""
    with pytest.raises(ValueError, match=r"lr must be given once; got .*, and 0\.3 among the optimizer's options"):
        fit(kind, optimizer=("adam", {"lr": 0.3}), lr=lr)


@pytest.mark.parametrize(
    ("lr", "error", "match"),
    [
        ("auto", ValueError, "lr must be a positive number, a schedule; got 'auto'"),
        ("find", ValueError, "lr must be a positive number, a schedule; got 'find'"),
        (None, TypeError, "lr must be a positive number, a schedule; got None"),
        (-1.0, ValueError, "lr must be positive and finite; got -1.0"),
        (10**400, ValueError, "lr must be positive and finite; got 1000"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_is_no_learning_rate(kind, lr, error, match):
    with pytest.raises(error, match=match):
        fit(kind, optimizer=("adam", {"lr": lr}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_rate_that_no_float_can_hold(kind):
    with pytest.raises(ValueError, match="lr must be positive and finite; got 1000"):
        fit(kind, lr=10**400)


@pytest.mark.parametrize("name", ["weight_decay", "l1"])
@pytest.mark.parametrize("kind", LINEAR)
def test_the_penalty_of_a_linear_model_is_no_option(kind, name):
    """It was passed over: `alpha` was taken."""
    with pytest.raises(ValueError, match=f"optimizer must leave {name} to penalty and alpha; got 0.1 as its option"):
        fit(kind, optimizer=("adamw", {name: 0.1}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mini_batch_of_more_rows_than_there_can_be(kind):
    np.testing.assert_array_equal(*(coefficients(fit(kind, batch_size=size)) for size in (60, 2**63)))
