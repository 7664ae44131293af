"""scikit-learn's own estimators with the weights that ours have learned, for the tools that know only those."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from gdfast.sklearn._linear_data import dense_coef

Array = np.ndarray[Any, Any]

GENERAL = ("n_features_in_", "feature_names_in_", "n_iter_")
OF_NETWORKS = (*GENERAL, "n_layers_", "n_outputs_", "out_activation_", "t_", "loss_", "loss_curve_", "best_loss_")
ACTIVATIONS = ("relu", "tanh", "logistic", "identity")


def linear_classifier(model: Any) -> BaseEstimator:
    """Return the LogisticRegression, or for other losses the SGDClassifier, that predicts the same."""
    check_is_fitted(model, "coef_")
    peer = LogisticRegression() if model.loss == "log_loss" else SGDClassifier(loss=model.loss)
    own = {"classes_": model.classes_, "coef_": dense_coef(model.coef_).copy(), "intercept_": model.intercept_.copy()}
    return _fitted(peer, model, {"fit_intercept": model.fit_intercept}, own, GENERAL)


def linear_regressor(model: Any) -> BaseEstimator:
    """Return the Ridge, or for a log link the generalised linear model, that predicts the same.

    Raises
    ------
    ValueError
        For several targets with a log link.
    """
    check_is_fitted(model, "coef_")
    coef, intercept = dense_coef(model.coef_).copy(), model.intercept_.copy()
    if model.coef_.ndim == 1 or len(coef) == 1:
        coef, intercept = (coef[0], intercept[0]) if model._flat else (coef, intercept)
    own = {"coef_": coef, "intercept_": intercept}
    if model._losses[model.loss].link != "log":
        return _fitted(Ridge(), model, {"fit_intercept": model.fit_intercept}, own, GENERAL)
    if not model._flat:
        raise ValueError(f"scikit-learn has no model of several targets for loss={model.loss!r}; fit one for each")
    peers = {"poisson": PoissonRegressor(), "gamma": GammaRegressor()}
    peer = peers.get(model.loss, TweedieRegressor(power=model.power, link="log"))
    fitted = _fitted(peer, model, {"fit_intercept": model.fit_intercept}, own, GENERAL)
    fitted._base_loss = fitted._get_loss()
    return fitted


def network(model: Any) -> BaseEstimator:
    """Return the MLPClassifier or MLPRegressor of scikit-learn that predicts the same.

    Raises
    ------
    ValueError
        If scikit-learn does not have the activation or the loss.
    """
    check_is_fitted(model, "coefs_")
    if model.activation not in ACTIVATIONS:
        raise ValueError(
            f"scikit-learn's networks have the activations {', '.join(ACTIVATIONS)}; this one has {model.activation!r}"
        )
    options = {"hidden_layer_sizes": model._units[1:-1], "activation": model.activation}
    own: dict[str, Any] = {
        "coefs_": [array.copy() for array in model.coefs_],
        "intercepts_": [array.copy() for array in model.intercepts_],
    }
    if hasattr(model, "classes_"):
        labels = np.eye(2, len(model.classes_), dtype=int) if model._multilabel else model.classes_
        own |= {"classes_": model.classes_, "_label_binarizer": LabelBinarizer().fit(labels)}
        return _fitted(MLPClassifier(), model, options, own, OF_NETWORKS)
    if model.out_activation_ != "identity" and "loss" not in MLPRegressor().get_params():
        raise ValueError(f"this scikit-learn has no networks with log link, as of loss={model.loss!r}; a newer one has")
    options |= {"loss": "poisson"} if model.out_activation_ != "identity" else {}
    return _fitted(MLPRegressor(), model, options, own, OF_NETWORKS)


def _fitted(
    peer: BaseEstimator, model: Any, options: Mapping[str, Any], own: Mapping[str, Any], names: tuple[str, ...]
) -> BaseEstimator:
    """Return an estimator with these parameters and fitted attributes, and others by name as the model has them."""
    fitted = clone(peer).set_params(**options)
    others = {name: getattr(model, name) for name in names if hasattr(model, name)}
    vars(fitted).update({**others, **own})
    return fitted
