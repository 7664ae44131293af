"""What early stopping compares for each loss of numbers, and losses that change between calls of `partial_fit`."""

import numpy as np
import pytest
from sklearn.metrics import d2_pinball_score, d2_tweedie_score, mean_pinball_loss, r2_score

from gdfast.sklearn import GDRegressor, MLPRegressor
from gdfast.sklearn._evaluation import regression_score

RNG = np.random.default_rng(0)
N = 400
X = RNG.normal(size=(N, 3))
Y = X @ [1, -1, 0.5] + RNG.exponential(size=N)
W = RNG.random(N)


@pytest.mark.parametrize("estimator", [GDRegressor, MLPRegressor])
def test_the_score_of_a_loss_is_its_own(estimator):
    predicted, positive = Y + RNG.normal(size=N), np.exp(Y / 4)

    def score(loss, true=Y, of=predicted, **how):
        return regression_score(estimator(loss, **how), true, of, W)

    assert score("squared_error") == r2_score(Y, predicted, sample_weight=W)
    assert score("huber") == r2_score(Y, predicted, sample_weight=W)
    assert score("quantile", quantile=0.9) == d2_pinball_score(Y, predicted, sample_weight=W, alpha=0.9)
    assert score("epsilon_insensitive") == d2_pinball_score(Y, predicted, sample_weight=W, alpha=0.5)
    of = positive + RNG.random(N)
    for loss, power in (("poisson", 1), ("gamma", 2), ("tweedie", 1.3)):
        found = score(loss, positive, of, power=1.3)
        assert found == pytest.approx(d2_tweedie_score(positive, of, sample_weight=W, power=power))
    two = np.stack([positive, np.ones(N)], 1)
    assert score("poisson", two, two + 1e-9) == pytest.approx(0.5)
    assert np.isfinite(score("gamma", positive, np.zeros(N)))


@pytest.mark.parametrize("make", [GDRegressor, MLPRegressor])
def test_early_stopping_of_a_quantile(make):
    """By R2 the best epoch would be the one that is nearest to the mean."""
    model = make("quantile", quantile=0.95, early_stopping=True, max_iter=40, lr=0.03, tol=None, random_state=0)
    model.fit(X, Y)
    assert 0.85 < (model.predict(X) > Y).mean() < 0.995
    median = np.quantile(Y, 0.95)
    assert mean_pinball_loss(Y, model.predict(X), alpha=0.95) < mean_pinball_loss(Y, np.full(N, median), alpha=0.95)
    assert model.best_validation_score_ == max(model.validation_scores_)


@pytest.mark.parametrize("make", [GDRegressor, MLPRegressor])
def test_a_parameter_in_units_of_several_targets_cannot_come_later(make):
    model = make().partial_fit(X, np.stack([Y, 1000 * Y], 1))
    with pytest.raises(ValueError, match="loss='huber' cannot go on from a loss that has standardised each target"):
        model.set_params(loss="huber").partial_fit(X, np.stack([Y, 1000 * Y], 1))
