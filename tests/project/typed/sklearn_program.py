"""A program with types that uses gdfast.sklearn: checked, never run."""

import numpy as np

from gdfast import callbacks
from gdfast.sklearn import LOSSES, GDClassifier, GDRegressor, MLPClassifier, MLPRegressor


def fit(X: np.ndarray[tuple[int, int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    model = GDClassifier(loss="hinge", optimizer="adam", lr="auto", callbacks=[callbacks.EarlyStopping("loss")])
    labels = model.fit(X, y > 0).predict(X)
    weights = model.coef_
    print(labels.shape, weights.shape, model.get_params()["loss"])
    GDRegressor(loss="huber", alpha=1e-3).partial_fit(X, y).set_params(lr=0.1)
    network = MLPClassifier((32, 16), max_iter=10, random_state=0).fit(X, y > 0)
    probabilities = network.predict_proba(X)
    print(probabilities.max(), LOSSES["GDClassifier"].keys())
    score: float = MLPRegressor().fit(X, y).score(X, y)
    print(network.lr_find(X, y).lr)
    return score
