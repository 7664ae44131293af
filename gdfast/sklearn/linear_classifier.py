"""A linear classifier trained by gradient descent."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if

from gdfast.sklearn import _to_sklearn as to_sklearn
from gdfast.sklearn._base import check_labels, class_indices, learns_all_or_nothing
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._linear_data import Data
from gdfast.sklearn._linear_fit import LinearBase
from gdfast.sklearn._losses import CLASSIFIER, Loss, documents_losses
from gdfast.sklearn._scaling import class_frequencies, parts_of
from gdfast.sklearn._streaming import fit_streamed
from gdfast.sklearn._training import with_callbacks
from gdfast.sklearn._weights import refuse_balanced, weights_of_classes

Array = np.ndarray[Any, Any]


def _has_probabilities(estimator: "GDClassifier") -> bool:
    if estimator.loss not in [name for name, loss in CLASSIFIER.items() if loss.link != "identity"]:
        raise AttributeError(f"probability estimates are not available for loss={estimator.loss!r}")
    return True


def _codes(labels: Array, classes: Array) -> Array:
    """Return the index of each label in `classes`."""
    found = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    if not (classes[found] == labels).all():
        raise ValueError(f"y must have no label that is not in classes, {classes}")
    return found.astype(np.int32)


def log_odds(frequencies: Array, n_rows: int) -> Array:
    """Return the intercepts of the log loss without coefficients, from the classes' frequencies in n rows."""
    logs = np.log(np.maximum(frequencies, max(1e-3, 0.5 / n_rows)))  # a class may be missing among few rows
    intercepts: Array = logs[1:] - logs[0] if len(logs) == 2 else logs - logs.mean()
    return intercepts


@documents_losses
class GDClassifier(ClassifierMixin, LinearBase):  # type: ignore[misc]
    """Linear classifier trained by mini-batch gradient descent, with any of gdfast's optimizers, natively.

    Minimises the mean loss plus a penalty. The defaults need no tuning and no scaling of the data.

    Parameters
    ----------
    loss : str
        One of these; for three or more classes all but "log_loss" compare each class with the rest:

        {losses}
    penalty : {"l2", "l1", "elasticnet", None}
        Added to the mean loss: ``alpha * (l1_ratio*|w|_1 + (1-l1_ratio)/2*|w|_2^2)``. The l1 part is a proximal step
        with each coordinate's own rate, and leaves exact zeros.
    alpha : float or "auto"
        Weight of the penalty. "auto": ``1/n_rows``, as in scikit-learn's `LogisticRegression`, times ``n_columns/10``
        if more than 10 are standardised; n_rows is the sum of `sample_weight` if given. In `partial_fit` 1e-4.
    l1_ratio : float
        The fraction of l1 in "elasticnet", in [0, 1].
    fit_intercept : bool
        Whether there is an intercept. It is not penalised.
    standardize : bool
        Train in columns of mean 0 and deviation 1 and put the coefficients back into the data's own units; the data is
        not copied. Of sparse columns only means far from zero are taken off, and where there are many columns rare
        values are not scaled up. The penalty then counts the standardised coefficients, as in glmnet. With False it
        counts the plain ones, as in `SGDClassifier`, and columns of very different scale train badly.
    optimizer : str, class, or pair of one of them and a dict of options
        "auto": Adam; but small data get Newton's method or L-BFGS on all rows at once (`optimizer_`) if the loss is
        smooth and the penalty not l1, and `lr`, `batch_size`, `max_iter`, `tol`, `early_stopping` and `average` have
        their defaults. ``"adam"``, ``gdfast.RMSprop``, ``("sgd", {"momentum": 0.9})``, ...: its steps are taken
        natively; with ``{"engine": "numpy"}`` everything is computed by the readable reference instead (one output,
        dense data). `penalty` and `alpha` stand for ``weight_decay`` and ``l1``, which are no options here.
    lr : float, schedule, "auto" or "find"
        Learning rate; a schedule is called with the number of the step (mini-batch), from 0. "auto": a half cosine down
        to zero over the whole training. "find": such a cosine, from the rate that `lr_find` suggests for this data
        after a sweep of 100 steps; kept as `lr_`.
    batch_size : int or "auto"
        Rows of a mini-batch. "auto" depends on the number of rows.
    max_iter : int or "auto"
        Maximum number of epochs. "auto": enough for some hundred steps, and at least three.
    tol : float or None
        Stop when the loss (with early stopping, the score) has not improved by more than this for `n_iter_no_change`
        epochs. None: the loss never stops the training, which lets a schedule run to its end.
    shuffle : bool
        Take the rows in a new random order every epoch.
    random_state : int, RandomState, Generator or None
        Determines the order of the rows and the held-out rows.
    early_stopping : bool
        Hold out `validation_fraction` of the rows, score the model on them after every epoch (accuracy), stop when the
        score gets no better, and keep the best epoch's weights.
    validation_fraction : float
        Fraction of the rows that early stopping holds out, in (0, 1).
    n_iter_no_change : int
        Number of epochs without improvement before stopping.
    class_weight : dict, "balanced" or None
        Class label -> weight; "balanced": weights that make all classes count alike.
    warm_start : bool
        Start from the coefficients of the last fit.
    average : bool or int
        Use the average of the weights over all steps, or from this step on. An ``ema_decay`` among the optimizer's
        options is used likewise.
    n_threads : int or None
        As in :func:`gdfast.set_num_threads`. One output on dense data gives the same bits for any number.
    callbacks : list or None
        Functions ``(epoch, logs)`` or objects with ``on_epoch_end(epoch, logs)``; `logs` has ``loss``, ``lr`` and, with
        early stopping, ``score``. Returning True stops.
    verbose : bool or int
        Show a progress bar.

    Attributes
    ----------
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
        In the data's own units and element type; float64 where a column lies a thousand deviations from zero or more.
    intercept_ : array of shape (1,) or (n_classes,)
    classes_ : array of shape (n_classes,)
    optimizer_ : str
        What `fit` has minimised with: the name of an optimizer, as in "Adam", or "newton" or "lbfgs".
    n_iter_ : int
        Number of epochs; of "newton" and "lbfgs" that of their steps, each of which takes all rows.
    loss_, loss_curve_ : float, list of float
        Each epoch's mean loss, of every row before its batch's step, plus the penalty after the last; of "newton" and
        "lbfgs" the objective after each step.
    validation_scores_, best_validation_score_ : list of float, float
        With early stopping; None without.
    statistics_ : str
        After a fit on a source: which rows the scale of the columns and the classes are taken from.
    n_features_in_ : int
    feature_names_in_ : array of str
        If the data have column names.

    Raises
    ------
    TypeError, ValueError
        By `fit`, if a parameter or the data is invalid, or the training diverges.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        By `fit`, if "newton" or "lbfgs" ends short of the minimum, or with `tol` the last epoch still improves.

    Notes
    -----
    Sources: Bottou, Curtis, Nocedal, arXiv:1606.04838; modified Huber: Zhang, ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from gdfast.sklearn import GDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)  # raw columns, of very different scale
    >>> model = GDClassifier(random_state=0).fit(X[::2], y[::2])
    >>> model.score(X[1::2], y[1::2]) > 0.95
    True
    >>> sparse = GDClassifier(penalty="l1", alpha=0.02, random_state=0).fit(X, y)
    >>> int((sparse.coef_ != 0).sum()) in range(5, 15)  # of 30
    True
    """

    classes_: Array
    _losses: ClassVar[Mapping[str, Loss]] = CLASSIFIER

    def __init__(
        self,
        loss: str = "log_loss",
        *,
        penalty: str | None = "l2",
        alpha: float | str = "auto",
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        standardize: bool = True,
        optimizer: OptimizerChoice = "auto",
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

    @with_callbacks  # type: ignore[untyped-decorator]
    @learns_all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        coef_init: Any = None,
        intercept_init: Any = None,
        checkpoint: Any = None,
    ) -> "GDClassifier":
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix of shape (n_samples, n_features), or source
            float32 and float64 are used as they are: C-contiguous rows, or CSR. A source of
            `gdfast.tables` gives rows, targets and weights, a batch at a time: beyond its first rows
            ``max_iter="auto"`` is one averaged epoch.
        y : array of shape (n_samples,)
            Class labels.
        sample_weight : array of shape (n_samples,), optional
            A row of weight 2 counts like two rows, one of weight 0 not at all.
        coef_init, intercept_init : arrays, optional
            Where the training begins, in the shapes of `coef_` and `intercept_`; of one of them alone, the other is
            zero.
        checkpoint : path, optional
            With a source: the file in which the training is kept while it runs, to go on from bit for bit if it was
            interrupted. It is removed at the end.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is invalid, or the training diverges.
        """
        start = (coef_init, intercept_init)
        if not fit_streamed(self, X, y, sample_weight, checkpoint, start):
            self._fit(X, y, sample_weight, partial=False, start=start)
        return self

    @learns_all_or_nothing
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "GDClassifier":
        """Train for one epoch, from where the last call ended.

        The scale of the columns is that of the first 100 rows, or of all of the first call if these are more. With
        ``lr="auto"`` the rate is constant, because the number of calls is unknown.

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
        refuse_balanced(self.class_weight)
        first = not hasattr(self, "coef_")
        if classes is not None:
            classes = np.unique(classes)
            if not first and not np.array_equal(classes, self.classes_):
                raise ValueError(f"classes must be those of the first call, {self.classes_}; got {classes}")
        elif first:
            raise ValueError("classes must be given in the first call to partial_fit")
        self._fit(X, y, sample_weight, partial=True, classes=classes if first else self.classes_)
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the scores: shape (n_samples,) for two classes, (n_samples, n_classes) for more."""
        scores = self._raw_scores(X)
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Array:
        """Return the class labels, of shape (n_samples,)."""
        indices = class_indices(self._raw_scores(X))
        predicted: Array = self.classes_[indices]
        return predicted

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, of shape (n_samples, n_classes).

        Only for the losses "log_loss" and "modified_huber" (the latter as in Zadrozny and Elkan, 2002, normalised).
        """
        scores, logistic = self._raw_scores(X), CLASSIFIER[self.loss].link == "logit"
        if logistic and scores.shape[1] > 1:
            probabilities: Array = softmax(scores, axis=1)
            return probabilities
        p = expit(scores) if logistic else (np.clip(scores, -1, 1) + 1) / 2
        if p.shape[1] == 1:
            return np.hstack([1 - p, p])
        p[p.sum(axis=1) == 0] = 1  # zero for every class: all alike
        normalised: Array = p / p.sum(axis=1, keepdims=True)
        return normalised

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            logarithms: Array = np.log(self.predict_proba(X))
        return logarithms

    def to_sklearn(self) -> Any:
        """Return the LogisticRegression of scikit-learn that predicts the same, for tools that know only its classes.

        Returns
        -------
        LogisticRegression, or for other losses SGDClassifier
            With the same coefficients.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from gdfast.sklearn import GDClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = GDClassifier(random_state=0).fit(X, y)
        >>> bool((model.to_sklearn().predict(X) == model.predict(X)).all())
        True
        """
        return to_sklearn.linear_classifier(self)

    def _encode_targets(self, y: Array, classes: Array | None) -> tuple[Array, int]:
        if y.dtype.kind not in "iub":  # integers are classes
            check_labels(y)
        parts = parts_of(y)
        if classes is None:  # part by part: np.unique sorts a copy
            classes = np.unique(np.concatenate([np.unique(part) for part in parts]))
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes; got one class, {classes.tolist()[0]!r}")
        if self.warm_start and hasattr(self, "classes_") and not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start needs the classes of the last fit, {self.classes_}; got {classes}")
        codes = np.concatenate([_codes(part, classes) for part in parts])
        self.classes_ = classes
        return codes, 1 if len(classes) == 2 else len(classes)

    def _class_weights(self, targets: Array, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return None
        y = self.classes_[targets]
        weights: Array = weights_of_classes(self.class_weight, self.classes_, y, sample_weight)[targets]
        return weights

    def _initial_intercept(self, data: Data) -> Array:
        """Return the logarithms of the classes' frequencies, for the log loss."""
        if CLASSIFIER[self.loss].link != "logit":
            return np.zeros(data.outputs)
        return log_odds(class_frequencies(data.targets, data.rows, data.weights, len(self.classes_)), len(data.rows))

    def _score(self, scores: Array, y: Array, weights: Array | None) -> float:
        return float(accuracy_score(y, self.classes_[class_indices(scores)], sample_weight=weights))

    def _choose_solution(self) -> None:
        """Let the scores of three or more classes sum to zero: softmax does not know what is added to all.

        With l1 the coefficients that are zero are to stay so.
        """
        if self.loss == "log_loss" and len(self.classes_) > 2 and self.penalty in ("l2", None):
            self.coef_ -= self.coef_.mean(axis=0)
            self.intercept_ -= self.intercept_.mean()

    def _set_coefficients(self, coef: Array, intercept: Array) -> None:
        self.coef_, self.intercept_ = np.ascontiguousarray(coef), intercept
