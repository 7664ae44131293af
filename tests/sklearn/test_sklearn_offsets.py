"""Columns of float32 that lie far from zero: the model's numbers have the digits to take the offset back."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
FAR = RNG.normal([4e6, -1e5, 3.0], 1, (2000, 3)).astype(np.float32)
NUMBERS = (FAR.astype(float) - FAR.astype(float).mean(axis=0)) @ [1, -2, 3] + 0.1 * RNG.normal(size=2000)
OPTIONS = {"max_iter": 60, "tol": None, "random_state": 0}


@pytest.mark.parametrize("kind", [GDRegressor, MLPRegressor])
@pytest.mark.parametrize("pieces", [False, True], ids=["fit", "partial_fit"])
def test_an_offset_of_millions_costs_nothing(kind, pieces):
    model = kind(**OPTIONS)
    if pieces:
        for _ in range(60):
            model.partial_fit(FAR, NUMBERS)
    else:
        model.fit(FAR, NUMBERS)
    X = StandardScaler().fit_transform(FAR.astype(float))
    assert model.score(FAR, NUMBERS) > Ridge().fit(X, NUMBERS).score(X, NUMBERS) - 0.002


@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("sign", [1, -1])
def test_weights_are_in_float64_only_where_that_is_needed(kind, sign):
    y = NUMBERS > 0 if kind in (GDClassifier, MLPClassifier) else NUMBERS
    for X, dtype in ((FAR[:, 2:], np.float32), (sign * FAR[:, :1], np.float64), (FAR.astype(float), np.float64)):
        model = kind(**OPTIONS).fit(X, y)
        weights = model.coef_ if hasattr(model, "coef_") else model.coefs_[0]
        intercept = model.intercept_ if hasattr(model, "coef_") else model.intercepts_[-1]
        assert weights.dtype == intercept.dtype == dtype
    assert model.set_params(warm_start=True).fit(FAR, y).n_features_in_ == 3
