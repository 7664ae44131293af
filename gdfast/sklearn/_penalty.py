"""The weight of a network's penalty, and what "auto" means: a rule, or little where that predicts better."""

import copy
import warnings
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold

from gdfast.sklearn._choices import make_generator
from gdfast.sklearn._finder import quiet_copy
from gdfast.training.lr_finder import kept_random

Array: TypeAlias = np.ndarray[Any, Any]

# Found on the data sets that benchmarks/network_defaults.py tunes on, tested on its others.
PENALTY, FEATURES = 4.0, 8
SMALL = 1e-4  # what the rule is compared with on few rows
FEWEST, MOST = 50, 2000  # rows: fewer tell little, more take long
FOLDS, TRIED = 5, 4  # equal parts of the rows, and how many are predicted: a fifth one takes time and tells little
SURE = 0.5  # standard errors of the mean that a gain must exceed


class AutomaticPenalty:
    """Mixin of networks: the weight of the penalty by the parameter `alpha`, the rows and the noise."""

    alpha: float | str
    n_features_in_: int
    t_: int

    #: what "auto" stands for: "auto" is the rule of `_alpha_for`
    _automatic: float | str = "auto"
    #: set on a copy, whose fit then compares nothing
    _tried: float | str | None = None

    @property
    def _chosen_alpha(self) -> float | str:
        """The penalty asked for, or what "auto" stands for."""
        return self._automatic if self.alpha == "auto" else self.alpha

    def _penalty(self, noise: float, rows: int) -> float:
        """Return the weight of the penalty that the rule gives, by the noise in the targets and the number of rows."""
        return PENALTY

    def _alpha_for(self, batch_rows: int, rows: int, noise: float) -> float:
        """Return the weight of the penalty, which the kernel divides by the rows of a mini-batch.

        The automatic rule divides by all rows seen instead. With few features it is smaller: a network then needs large
        weights to bend, and overfits less.
        """
        if self._chosen_alpha != "auto":
            return float(self._chosen_alpha)
        few, seen = min(1.0, self.n_features_in_ / FEATURES), self.t_ + rows
        alpha: float = self._penalty(noise, seen) * few * batch_rows / seen
        return alpha

    def _choose_alpha(self, X: Any, targets: Array, weights: Array | None, found: float | None) -> float | str:
        """Return what "auto" stands for in a fit of these rows; `found` is the rate of ``lr="find"``."""
        return "auto"


def better_alpha(estimator: Any, X: Any, targets: Array, weights: Array | None, found: float | None) -> float | str:
    """Return `SMALL` if networks with it predict held-out fifths of the rows better than with the rule, else "auto".

    Better means: the mean absolute error, which few odd rows do not decide, is smaller by more than half a standard
    error of the mean over four fifths. Nothing is compared for sparse data, with early stopping, and outside of
    `FEWEST` to `MOST` rows of a weight above 0. The estimator and its random state are not changed.

    Parameters
    ----------
    estimator : MLPRegressor
        With a standardisation of the targets.
    X : (rows, features) array
    targets : (rows, outputs) array
    weights : (rows,) array, optional
        Of the rows, in the training and in the error.
    found : float, optional
        The learning rate, if `fit` looked for one.
    """
    rows = np.arange(len(targets)) if weights is None else np.flatnonzero(weights)
    if estimator._tried is not None:
        return estimator._tried  # type: ignore[no-any-return]
    if issparse(X) or estimator.early_stopping or estimator._probe is not None or not FEWEST <= len(rows) <= MOST:
        return "auto"
    gains = []
    with kept_random(()), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        seed = int(make_generator(copy.deepcopy(estimator.random_state)).integers(2**31))
        for train, test in islice(KFold(FOLDS, shuffle=True, random_state=seed).split(rows), TRIED):
            of_rule, of_small = (
                _held_out_error(_stand_in(estimator, alpha, found), X, targets, weights, rows[train], rows[test])
                for alpha in ("auto", SMALL)
            )
            gains.append(of_rule - of_small)
        better = np.mean(gains) > SURE * np.std(gains, ddof=1) / TRIED**0.5
    return SMALL if better else "auto"


def _stand_in(estimator: Any, alpha: float | str, found: float | None) -> Any:
    """Return a copy of the estimator that is trained with this penalty, in silence."""
    model = quiet_copy(estimator)
    model._tried, model.verbose, model.lr = alpha, False, model.lr if found is None else found
    return model


def _held_out_error(model: Any, X: Array, targets: Array, weights: Array | None, train: Array, test: Array) -> float:
    """Return the mean absolute error in standard units of the rows trained on; infinity if the training diverges."""
    try:
        model._fit(X[train], targets[train], None if weights is None else weights[train], fresh=True, incremental=False)
    except ValueError:  # the data are checked: the training diverged
        return np.inf
    scaled = model._standardizer.scale_targets
    errors = np.abs(scaled(model._scores(X[test])) - scaled(targets[test])).sum(axis=1)
    return float(np.average(errors, weights=None if weights is None else weights[test]))
