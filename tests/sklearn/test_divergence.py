"""A training whose loss grows without bound is refused, also where every number stays finite."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.tables import Arrays

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 4))
CENTRED = np.round(2000 + 10 * X)
Y = X @ [1.0, -2.0, 0.5, 0.0] + 0.5 * RNG.standard_normal(300)
REFUSED = r"the loss became .*: the training diverged\. Try a smaller lr, or scale the data\."


@pytest.mark.parametrize("penalty", ["l2", "l1", None])
@pytest.mark.parametrize("data", [X, csr_array(X), csr_array(CENTRED), X.astype(np.float32)])
@pytest.mark.parametrize("optimizer", ["sgd", ("sgd", {"momentum": 0.9}), "adam"])
@pytest.mark.parametrize("average", [False, True])
def test_a_rate_beyond_reason(data, penalty, optimizer, average):
    model = GDClassifier(penalty=penalty, optimizer=optimizer, lr=1e30, max_iter=20, average=average, random_state=0)
    with pytest.raises(ValueError, match=REFUSED):
        model.fit(data, Y > 0)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("batch_size", [300, 50])
def test_one_epoch_is_enough(batch_size):
    """The only loss of such a training was that of the start."""
    model = GDClassifier("hinge", optimizer="sgd", lr=1e20, max_iter=1, batch_size=batch_size)
    with pytest.raises(ValueError, match=REFUSED):
        model.fit(X, Y > 0)
    with pytest.raises(ValueError, match=REFUSED):
        model.partial_fit(X, Y > 0, classes=[False, True])
    with pytest.raises(ValueError, match=REFUSED):
        model.fit(Arrays(X, Y > 0), None)


def test_a_stream_of_several_epochs():
    with pytest.raises(ValueError, match=REFUSED):
        GDClassifier(optimizer="sgd", lr=1e30, max_iter=5).fit(Arrays(X, Y > 0), None)


def test_a_large_loss_that_was_larger_is_none():
    """Raw targets of a large size, and coefficients of their size: no growth."""
    large = GDRegressor(standardize=False, lr=1e5, max_iter=200, random_state=0).fit(X, 1e7 * Y)
    assert large.score(X, 1e7 * Y) > 0.9
    again = GDRegressor(standardize=False, optimizer="sgd", lr=0.1, max_iter=1, random_state=0)
    again.fit(X, Y, coef_init=np.full(4, 1e9), intercept_init=0.0)
    assert np.abs(again.coef_).max() < 1e9


def test_large_coefficients_of_a_small_loss_are_none():
    options = {"standardize": False, "fit_intercept": False, "alpha": 0.0}
    tiny = GDRegressor(lr=1e5, max_iter=500, random_state=0, **options).fit(1e-6 * X, Y)
    assert np.abs(tiny.coef_).max() > 1e5
    assert tiny.score(1e-6 * X, Y) > 0.9


def test_a_penalty_that_cannot_be_met_is_none():
    model = GDRegressor(optimizer="sgd", lr=0.1, alpha=1e12, max_iter=3, batch_size=50, random_state=0).fit(X, Y)
    assert np.abs(model.coef_).max() < 1.0


def test_a_sweep_of_rates_may_diverge():
    assert GDClassifier(optimizer="sgd", lr="find", random_state=0).fit(X, Y > 0).score(X, Y > 0) > 0.8
