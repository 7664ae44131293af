"""Linear models trained by gradient descent: `GDClassifier` and `GDRegressor`."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from gdfast.hyperparameters import RATE, Range
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._linear_fit import OPEN_UNIT, LinearBase
from gdfast.sklearn._losses import CLASSIFIER, REGRESSOR, Loss
from gdfast.sklearn._problem import Problem
from gdfast.sklearn._training import with_callbacks

__all__ = ["GDClassifier", "GDRegressor"]

Array = np.ndarray[Any, Any]

CODES_AT_A_TIME = 1 << 18  # class labels are looked up so many at a time: no second array of their size
POWER = Range(-np.inf, np.inf, fixed=True)


def _has_probabilities(estimator: "GDClassifier") -> bool:
    if estimator.loss not in ("log_loss", "modified_huber"):
        raise AttributeError(f"probability estimates are not available for loss={estimator.loss!r}")
    return True


class GDClassifier(ClassifierMixin, LinearBase):  # type: ignore[misc]
    """Linear classifier."""

    _losses: ClassVar[Mapping[str, Loss]] = CLASSIFIER

    def __init__(
        self,
        loss: str = "log_loss",
        *,
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        standardize: bool = True,
        optimizer: OptimizerChoice = "adam",
        lr: Any = "auto",
        batch_size: int | str = "auto",
        max_iter: int | str = "auto",
        tol: float | None = None,
        shuffle: bool = True,
        random_state: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        warm_start: bool = False,
        average: bool | int = False,
        n_threads: int | None = None,
        callbacks: Any = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.average = average
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "GDClassifier":
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix of shape (n_samples, n_features)
            float32 and float64 are used as they are: C-contiguous rows, or CSR.
        y : array of shape (n_samples,)
            Class labels.
        sample_weight : array of shape (n_samples,), optional
            A row of weight 2 counts like two rows, one of weight 0 not at all.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is not as it must be, or the training diverges.
        """
        self._given_classes = None
        self._fit(X, y, sample_weight, partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "GDClassifier":
        """Go through the data once more, from where the last call ended.

        The scale of the columns is taken from the first call's data and kept. With ``lr="auto"`` the rate stays at its
        peak, since no one knows how many calls will follow.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        classes : array of shape (n_classes,)
            All labels that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        first = not hasattr(self, "coef_")
        if classes is not None:
            classes = np.unique(classes)
            if not first and not np.array_equal(classes, self.classes_):
                raise ValueError(f"classes must be those of the first call, {self.classes_}; got {classes}")
        elif first:
            raise ValueError("classes must be given in the first call to partial_fit")
        self._given_classes = classes if first else self.classes_
        self._fit(X, y, sample_weight, partial=True)
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the scores: shape (n_samples,) for two classes, (n_samples, n_classes) for more."""
        scores = self._raw_scores(X)
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Array:
        """Return the class labels, of shape (n_samples,)."""
        codes = self._codes_of(self._raw_scores(X))
        predicted: Array = self.classes_[codes]
        return predicted

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, of shape (n_samples, n_classes).

        Only for the losses log_loss and modified_huber (there as in Zadrozny and Elkan, 2002, normalised).
        """
        scores = self._raw_scores(X)
        if self.loss == "log_loss" and scores.shape[1] > 1:
            probabilities: Array = softmax(scores, axis=1)
            return probabilities
        p = expit(scores) if self.loss == "log_loss" else (np.clip(scores, -1, 1) + 1) / 2
        if p.shape[1] == 1:
            return np.hstack([1 - p, p])
        p[p.sum(axis=1) == 0] = 1  # every class says no: all alike
        return p / p.sum(axis=1, keepdims=True)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            logarithms: Array = np.log(self.predict_proba(X))
        return logarithms

    def _take_targets(self, y: Array, first: bool) -> tuple[Array, int]:
        check_classification_targets(y)
        if y.ndim != 1:
            y = column_or_1d(y, warn=True)
        classes = np.unique(y) if self._given_classes is None else self._given_classes
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes; got one class, {classes[0]!r}")
        if self.warm_start and hasattr(self, "classes_") and not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start needs the classes of the last fit, {self.classes_}; got {classes}")
        codes = np.empty(len(y), np.int32)
        for at in range(0, len(y), CODES_AT_A_TIME):
            part = y[at : at + CODES_AT_A_TIME]
            found = np.minimum(np.searchsorted(classes, part), len(classes) - 1)
            if not (classes[found] == part).all():
                raise ValueError(f"y must have no label that is not in classes, {classes}")
            codes[at : at + CODES_AT_A_TIME] = found
        self.classes_ = classes
        return codes, 1 if len(classes) == 2 else len(classes)

    def _row_weights(self, targets: Array, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        if self._given_classes is not None and self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" needs all data at once: with partial_fit give the weights as a dict, '
                "or sample_weight"
            )
        of_class = compute_class_weight(
            self.class_weight, classes=self.classes_, y=self.classes_[targets], sample_weight=sample_weight
        )
        weights: Array = of_class[targets]
        return weights if sample_weight is None else weights * sample_weight

    def _first_intercept(self, targets: Array, rows: Array, weights: Array | None, outputs: int) -> Array:
        """Of the log loss: the logarithms of the classes' shares."""
        if self.loss != "log_loss":
            return np.zeros(outputs)
        chosen = None if weights is None else weights[rows]
        counts = np.bincount(targets[rows], chosen, minlength=len(self.classes_))
        shares = np.log(np.maximum(counts / counts.sum(), 1e-3))
        return shares[1:] - shares[0] if outputs == 1 else shares - shares.mean()

    def _loop(self, outputs: int, scaling: Any) -> tuple[str, float]:
        return ("multinomial", 0.0) if self.loss == "log_loss" and outputs > 1 else super()._loop(outputs, scaling)

    def _codes_of(self, scores: Array) -> Array:
        codes: Array = (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
        return codes

    def _score(self, problem: Problem, rows: Array, targets: Array, weights: Array | None) -> float:
        codes = self._codes_of(problem.scores(rows, bool(self.average)))
        return float(accuracy_score(targets[rows], codes, sample_weight=None if weights is None else weights[rows]))

    def _put_down(self, coef: Array, intercept: Array) -> None:
        self.coef_, self.intercept_ = np.ascontiguousarray(coef), intercept


class GDRegressor(RegressorMixin, LinearBase):  # type: ignore[misc]
    """Linear regressor."""

    _losses: ClassVar[Mapping[str, Loss]] = REGRESSOR

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        epsilon: float = 0.1,
        quantile: float = 0.5,
        power: float = 1.5,
        fit_intercept: bool = True,
        standardize: bool = True,
        optimizer: OptimizerChoice = "adam",
        lr: Any = "auto",
        batch_size: int | str = "auto",
        max_iter: int | str = "auto",
        tol: float | None = None,
        shuffle: bool = True,
        random_state: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        average: bool | int = False,
        n_threads: int | None = None,
        callbacks: Any = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.epsilon = epsilon
        self.quantile = quantile
        self.power = power
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "GDRegressor":
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix of shape (n_samples, n_features)
            float32 and float64 are used as they are: C-contiguous rows, or CSR.
        y : array of shape (n_samples,) or (n_samples, n_targets)
            Targets. Not negative for poisson and tweedie, positive for gamma.
        sample_weight : array of shape (n_samples,), optional
            A row of weight 2 counts like two rows, one of weight 0 not at all.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is not as it must be, or the training diverges.
        """
        self._fit(X, y, sample_weight, partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "GDRegressor":
        """Go through the data once more, from where the last call ended.

        The scales of columns and targets are taken from the first call's data and kept. With ``lr="auto"`` the rate
        stays at its peak, since no one knows how many calls will follow.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, partial=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the predictions, of the shape of the y that was learned from."""
        scores = self._predicted(self._raw_scores(X))
        return scores if self.coef_.ndim == 2 else scores.ravel()

    def _predicted(self, scores: Array) -> Array:
        return np.exp(scores) if self._losses[self.loss].log else scores

    def _y_checks(self) -> dict[str, Any]:
        return {"multi_output": True, "y_numeric": True}

    def _take_targets(self, y: Array, first: bool) -> tuple[Array, int]:
        self._flat = y.ndim == 1
        targets = np.ascontiguousarray(y, np.float64).reshape(len(y), -1)
        loss, lowest = self._losses[self.loss], targets.min()
        if loss.log and (lowest < 0 or (lowest == 0 and (self.loss == "gamma" or self._power() >= 2))):
            bound = "positive" if self.loss == "gamma" or self._power() >= 2 else "not negative"
            raise ValueError(f"y must be {bound} for loss={self.loss!r}; got a least value of {lowest:g}")
        return targets, targets.shape[1]

    def _power(self) -> float:
        return float(self.power) if self.loss == "tweedie" else 1.0

    def _loop(self, outputs: int, scaling: Any) -> tuple[str, float]:
        """Two powers of the Tweedie loss are losses of their own."""
        named = {1.0: "poisson", 2.0: "gamma"}.get(self._power()) if self.loss == "tweedie" else None
        return (named, 0.0) if named else super()._loop(outputs, scaling)

    def _first_intercept(self, targets: Array, rows: Array, weights: Array | None, outputs: int) -> Array:
        """With a logarithm: that of the mean target; else zero where targets are standardised, or their mean."""
        if not self._losses[self.loss].log and self.standardize:
            return np.zeros(outputs)
        mean = np.average(targets[rows], axis=0, weights=None if weights is None else weights[rows])
        return np.log(np.maximum(mean, 1e-10)) if self._losses[self.loss].log else mean

    def _score(self, problem: Problem, rows: Array, targets: Array, weights: Array | None) -> float:
        predicted = self._predicted(problem.scores(rows, bool(self.average)))
        return float(r2_score(targets[rows], predicted, sample_weight=None if weights is None else weights[rows]))

    def _put_down(self, coef: Array, intercept: Array) -> None:
        self.coef_ = coef[0] if self._flat else np.ascontiguousarray(coef)
        self.intercept_ = intercept

    def _check_parameters(self) -> None:
        super()._check_parameters()
        RATE.number("epsilon", self.epsilon, single=False)
        OPEN_UNIT.number("quantile", self.quantile, single=False)
        power = POWER.number("power", self.power, single=False)
        if 0.0 < power < 1.0:
            raise ValueError(f"power must not be between 0 and 1: there is no such distribution; got {power!r}")
