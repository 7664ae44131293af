"""Estimators hand the options of fewer bytes to their optimizer."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_digits

from gdfast.sklearn import MLPClassifier


@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_network_trains_with_short_state(form):
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    options = {"state_dtype": form, "state_dtype_min_size": 0}
    scores = [
        MLPClassifier(optimizer=("adam", own), max_iter=4, random_state=0).fit(x, y).score(x, y)
        for own in (options, {})
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.03)
    with pytest.raises(ValueError, match="state_dtype must be one of"):
        MLPClassifier(optimizer=("adam", {"state_dtype": "4bit"})).fit(x, y)
