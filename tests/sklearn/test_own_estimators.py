"""The page about estimators of one's own: its code runs, and its estimator is one by scikit-learn's checks."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

PAGE = (Path(__file__).parents[2] / "docs" / "own-estimators.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAMES: dict = {"__name__": __name__}  # so that what is defined there can be pickled
exec(compile("".join(BLOCKS[:2]), "own-estimators.md", "exec"), NAMES)
FactorizationMachine = NAMES["FactorizationMachine"]


def test_the_page_runs():
    exec(compile(BLOCKS[2], "own-estimators.md", "exec"), NAMES)
    assert len(BLOCKS) == 3
    assert NAMES["model"].n_iter_ <= 200


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients(dtype):
    """As finite differences of the loss say."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((7, 4)), rng.standard_normal(7)
    params = {"b": np.ones(1), "w": rng.standard_normal(4), "V": rng.standard_normal((4, 2))}
    cast = {name: array.astype(dtype) for name, array in params.items()}
    grads = {name: np.empty_like(array) for name, array in cast.items()}
    NAMES["gradients"](cast, grads, X.astype(dtype), y.astype(dtype))
    for name, array in params.items():
        for at in np.ndindex(array.shape):
            losses = []
            for h in (1e-6, -1e-6):
                moved = {key: value.copy() for key, value in params.items()}
                moved[name][at] += h
                losses.append(0.5 * ((NAMES["predict"](moved, X)[0] - y) ** 2).mean())
            assert grads[name][at] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-3, abs=1e-4)


@parametrize_with_checks([FactorizationMachine(max_iter=50, lr=0.05)])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_copies_and_pickles():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    model = FactorizationMachine(max_iter=3, random_state=0).fit(X, y)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
