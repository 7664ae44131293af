"""Weights of rows: only what they are to one another matters, however large or small; or an error that names them."""

import numpy as np
import pytest
from scipy import sparse

from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 5))
NUMBERS = X @ RNG.standard_normal(5) + 0.1 * RNG.standard_normal(120)
CLASSES = (NUMBERS > 0).astype(int)
WEIGHTS = RNG.uniform(0.5, 2.0, 120)
WEIGHTS[7] = 0.0
KINDS = [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor]
NETWORKS = KINDS[2:]


def fit(kind, weights, X=X, **options):
    more = {"hidden_layer_sizes": (6,)} if kind in NETWORKS else {}
    usual = {"max_iter": 4, "tol": None, "random_state": 0, "batch_size": 50, **more, **options}
    return kind(**usual).fit(X, CLASSES if kind in (GDClassifier, MLPClassifier) else NUMBERS, weights)


def weights_of(fitted):
    parts = [*fitted.coefs_, *fitted.intercepts_] if hasattr(fitted, "coefs_") else [fitted.coef_, fitted.intercept_]
    return np.concatenate([np.ravel(part) for part in parts])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("exponent", [-1060, -500, -149, 40, 127, 1020])
@pytest.mark.parametrize("kind", KINDS)
def test_a_power_of_two_changes_no_bit(kind, exponent, early_stopping, dtype, make):
    """Without a penalty, which weighs against the rows."""
    weights = np.round(WEIGHTS * 8) / 8  # so that the smallest powers keep them
    expected, found = (
        weights_of(fit(kind, each, make(X.astype(dtype)), alpha=0.0, early_stopping=early_stopping))
        for each in (weights, np.ldexp(weights, exponent))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1e-200, 1e200, 1e308])
@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_of_any_size(kind, value):
    """With a penalty of what "auto" says: rows that count for next to nothing count for one row together."""
    weights = np.full(120, value)
    model = fit(kind, weights)
    assert np.isfinite(weights_of(model)).all()
    expected = weights_of(fit(kind, np.full(120, 1 / 120))) if value < 1 else weights_of(fit(kind, None, alpha=0.0))
    np.testing.assert_allclose(weights_of(model), expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_all_sizes_at_once(kind):
    weights = np.where(np.arange(120) % 3, 1e-320, 1e308)
    kept = np.arange(120) % 3 == 0
    found = fit(kind, weights, alpha=0.0, batch_size=120, shuffle=False)
    alone = fit(kind, np.where(kept, 1.0, 0.0), alpha=0.0, batch_size=120, shuffle=False)
    if kind in NETWORKS:  # whose batches count rows without weight too
        np.testing.assert_allclose(weights_of(found), weights_of(alone), rtol=1e-9)
    assert np.isfinite(weights_of(found)).all()


@pytest.mark.parametrize("kind", [GDClassifier, MLPClassifier])
def test_classes_weighed_beside_rows(kind):
    for of_class, each in (({0: 1e300, 1: 2e300}, 1e300), ({0: 1e-300, 1: 2e-300}, 1e-300), ("balanced", 1e308)):
        found = fit(kind, np.full(120, each), class_weight=of_class, alpha=0.0)
        usual = fit(kind, None, class_weight=of_class if of_class == "balanced" else {0: 1.0, 1: 2.0}, alpha=0.0)
        np.testing.assert_allclose(weights_of(found), weights_of(usual), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [np.inf, np.nan, -1.0])
@pytest.mark.parametrize("kind", [GDClassifier, MLPClassifier])
def test_weights_of_classes_are_checked(kind, value):
    with pytest.raises(ValueError, match="class_weight must be finite and not negative; got"):
        fit(kind, None, class_weight={0: 1.0, 1: value})


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_penalty_of_ones_own_that_outweighs_all_rows(kind):
    with pytest.raises(ValueError, match=r"sample_weight must be larger for alpha=0\.01, .*got at most 4\.94"):
        fit(kind, np.full(120, 5e-324), alpha=0.01)
    with pytest.raises(ValueError, match=r"sample_weight must be larger for alpha=0\.01, .*got at most 1e-44"):
        fit(kind, np.full(120, 1e-44), X.astype(np.float32), alpha=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_at_all(kind):
    with pytest.raises(ValueError, match="weight"):
        fit(kind, np.zeros(120))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_validated_with_rows_of_weight_zero(kind):
    """Of networks those alone made every epoch's R2 zero, and the first one the best."""
    weights = np.where(np.arange(120) % 4, 0.0, 1.0)
    options = {"early_stopping": True, "validation_fraction": 0.2, "alpha": 0.01, "batch_size": 10}
    found = fit(kind, weights, **options)
    kept = weights > 0
    y = CLASSES if kind in (GDClassifier, MLPClassifier) else NUMBERS
    expected = found.__sklearn_clone__().fit(X[kept], y[kept], weights[kept])
    assert found.validation_scores_ == expected.validation_scores_
    np.testing.assert_allclose(weights_of(found), weights_of(expected), rtol=1e-9, atol=1e-12)
