"""Epochs that run many in one native call, where nobody looks between them, are the epochs that run one by one."""

import numpy as np
import pytest
from scipy import sparse

from gdfast.schedules import Linear
from gdfast.sklearn import GDClassifier, GDRegressor
from gdfast.sklearn._linear_trainer import ROWS_TOGETHER, LinearTrainer

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (330, 5))
NUMBERS = X @ [1, -2, 0.5, 0, 3] + RNG.normal(0, 1, 330)
CLASSES = np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.6]))
WEIGHTS = RNG.uniform(0.5, 2, 330)

FITS = {
    "numbers": (GDRegressor, {}, X, NUMBERS),
    "float32": (GDRegressor, {}, X.astype(np.float32), NUMBERS),
    "two classes": (GDClassifier, {}, X, CLASSES > 0),
    "three classes": (GDClassifier, {}, X, CLASSES),
    "several targets": (GDRegressor, {}, X, np.stack([NUMBERS, NUMBERS**2], axis=1)),
    "sparse": (GDClassifier, {}, sparse.csr_matrix(X), CLASSES),
    "no intercept": (GDRegressor, {"fit_intercept": False}, X, NUMBERS),
    "no shuffle": (GDRegressor, {"shuffle": False}, X, NUMBERS),
    "elastic net": (GDRegressor, {"penalty": "elasticnet", "alpha": 0.1}, X, NUMBERS),
    "averaged": (GDRegressor, {"average": True}, X, NUMBERS),
    "schedule": (GDRegressor, {"lr": Linear(0.1, 200, warmup_steps=20)}, X, NUMBERS),
    "carried scalars": (GDRegressor, {"optimizer": "nadam"}, X, NUMBERS),
    "schedule-free": (GDClassifier, {"optimizer": "schedulefreeadamw"}, X, CLASSES > 0),
    "measured": (GDRegressor, {"optimizer": "lamb"}, X, NUMBERS),
    "clipped": (GDRegressor, {"optimizer": ("adam", {"clip_norm": 0.1})}, X, NUMBERS),
    "numpy engine": (GDRegressor, {"optimizer": ("adam", {"engine": "numpy"}), "max_iter": 3}, X, NUMBERS),
}


def fitted(case, **more):
    kind, options, rows, y = FITS[case]
    return kind(random_state=0, **{"max_iter": 150, **options}, **more).fit(rows, y, WEIGHTS)


@pytest.mark.parametrize("case", FITS)
def test_together_is_one_by_one(case):
    together, alone = fitted(case), fitted(case, callbacks=lambda epoch, logs: None)
    assert (together.coef_ == alone.coef_).all()
    assert (together.intercept_ == alone.intercept_).all()
    assert together.loss_curve_ == alone.loss_curve_
    assert together.n_iter_ == alone.n_iter_ == len(alone.loss_curve_)


def test_small_epochs_run_together(monkeypatch):
    calls = []
    run = LinearTrainer._run_together
    monkeypatch.setattr(
        LinearTrainer, "_run_together", lambda self, orders: calls.append(len(orders)) or run(self, orders)
    )
    fitted("numbers")
    at_once = ROWS_TOGETHER // len(X)
    assert calls == [at_once, 150 - at_once]


def test_divergence_names_its_epoch():
    said = []
    for callbacks in (None, lambda epoch, logs: None):
        model = GDRegressor(optimizer="sgd", lr=10.0, max_iter=150, random_state=0, callbacks=callbacks)
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"became (inf|nan) in epoch \d+") as raised:
            model.fit(X, NUMBERS)
        said.append(str(raised.value))
    assert said[0] == said[1]
