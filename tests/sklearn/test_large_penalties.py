"""Penalties that a plain step of SGD would overshoot with."""

import numpy as np
import pytest
from sklearn.linear_model import SGDRegressor

import gdfast
from gdfast.sklearn import GDClassifier, GDRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = X @ [1.0, -2.0, 0.5, 0.0]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("lr", [0.1, gdfast.schedules.Cosine(0.1, total_steps=120), "auto"])
def test_shrinkage_is_clipped(lr, momentum):
    optimizer = ("sgd", {"momentum": momentum})
    for kind, y in ((GDRegressor, Y), (GDClassifier, Y > 0)):
        model = kind(alpha=1e3, optimizer=optimizer, lr=lr, max_iter=30, batch_size=15, random_state=0).fit(X, y)
        assert np.abs(model.coef_).max() < 1.0  # far off, but not diverged
        model.partial_fit(X, y)
        assert np.isfinite(model.coef_).all()


def test_scikit_learn_clips_alike():
    options = {"alpha": 30.0, "fit_intercept": False, "max_iter": 3, "shuffle": False, "tol": None}
    peer = SGDRegressor(learning_rate="constant", eta0=0.1, **options).fit(X, Y)
    ours = GDRegressor(optimizer="sgd", lr=0.1, batch_size=1, standardize=False, **options).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-9)


def test_small_penalties_are_taken_as_they_are():
    settings = {"optimizer": "sgd", "batch_size": 10, "max_iter": 5, "random_state": 0, "alpha": 0.1}
    constant = GDRegressor(lr=0.05, **settings).fit(X, Y)
    scheduled = GDRegressor(lr=lambda step: 0.05, **settings).fit(X, Y)
    np.testing.assert_array_equal(constant.coef_, scheduled.coef_)
    still = GDRegressor(lr=lambda step: 0.0, **settings).fit(X, Y)
    assert not still.coef_.any()
