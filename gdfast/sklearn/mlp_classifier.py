"""A multi-layer perceptron classifier."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix, issparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target
from sklearn.utils.validation import column_or_1d

from gdfast.sklearn._base import check_labels, class_indices, learns_all_or_nothing
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._mlp import BaseMLP
from gdfast.sklearn._scaling import Standardizer, common_scale
from gdfast.sklearn._sparse import own_indices
from gdfast.sklearn._weights import balanced_weights, checked_class_weights, refuse_balanced
from gdfast.stepping.hyperparameters import Hyperparameter

__all__ = ["MLPClassifier"]

Array: TypeAlias = np.ndarray[Any, Any]


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """Multi-layer perceptron classifier, trained with any of gdfast's optimizers.

    The loss is the cross-entropy: of the softmax with three classes or more, of the logistic function with two, and of
    one logistic function for each label of a multilabel problem. To it comes ``alpha/2`` times the sum of the squared
    weights (not of the biases), divided by the rows of the mini-batch.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer; an empty one makes a linear model.
    activation : {"relu", "leaky_relu", "gelu", "tanh", "logistic", "identity"}
        Of the hidden layers. leaky_relu has slope 0.01 below zero; gelu is the exact one.
    optimizer : str, class, or pair of one of them and a dict
        ``"adam"``, ``gdfast.AdamW``, ``("sgd", {"momentum": 0.9, "nesterov": True})``, ...
    lr : float, schedule, "auto" or "find"
        Learning rate; a schedule takes the number of the mini-batch, and `ReduceOnPlateau` follows the training loss.
        "auto" is 1.5e-3 for Adam and AdamW, and the optimizer's own default for the others.
        "find" is the rate that `lr_find` suggests for this data after a sweep of 100 steps; kept as `lr_`.
    alpha : float or "auto"
        Weight of the L2 penalty. "auto" is ``4 * min(1, features/8) * rows of a mini-batch / all rows``, with the rows
        seen so far for `partial_fit`.
    dropout : float
        Probability, in [0, 1), that a hidden unit is left out in a step of the training.
    batch_size : int or "auto"
        Rows of a mini-batch; "auto" is 200, or all rows if there are fewer.
    max_iter : int
        Maximum number of epochs.
    tol : float or None
        By how much the loss of an epoch (with early stopping, the validation score) must improve to count as progress.
        None: only early stopping ends the training before `max_iter`.
    n_iter_no_change : int
        Number of epochs without progress before stopping.
    early_stopping : bool
        Set rows aside, score the network on them after each epoch (accuracy), and keep the weights of the best epoch.
    validation_fraction : float
        Fraction of the rows that early stopping sets aside, in (0, 1).
    shuffle : bool
        Take the rows in a new random order in each epoch.
    standardize : bool
        Learn from standardised features: mean 0 and variance 1 in the rows of `fit` (of the first `partial_fit`). Where
        the features' deviations are of one order (their logarithms deviate by less than 1) all are divided by one
        number, since what differs between them may mean something. It is folded into the first layer, so `coefs_` and
        `intercepts_` take the features as they come. Sparse features keep their zeros: they are divided by their
        largest absolute values, unless these are of one order, and all by one number that makes the rows' mean square
        norm 1.
    class_weight : dict, "balanced" or None
        Weights of the classes in the loss; "balanced": ``rows / (classes * rows of the class)``, where a row counts as
        much as its `sample_weight`. With several labels a list of dicts.
    random_state : int, RandomState, Generator or None
        Determines the initial weights, the order of the rows, dropout, and the validation rows.
    warm_start : bool
        `fit` goes on from the weights of the last one, with a fresh optimizer.
    callbacks : callable, object or sequence of them
        Called as ``callback(epoch, logs)``, or its ``on_epoch_end(epoch, logs)``, after each epoch with the numbers
        ``loss``, ``lr`` and, with early stopping, ``score``; returning True ends the training.
    n_threads : int or None
        Maximum number of threads; see :func:`gdfast.set_num_threads`.
    verbose : bool
        Show progress.

    Attributes
    ----------
    classes_ : (classes,) array
    alpha_ : float or "auto"
        As `alpha`.
    coefs_, intercepts_ : lists of arrays
        Each layer's weights (fan_in, fan_out) and biases (fan_out,), in the dtype of the training data
        (float64 where a feature lies a thousand deviations from zero or more).
    loss_, loss_curve_, best_loss_ : float, list of float, float
        The last epoch's mean loss with the penalty, every epoch's, the least (None with early stopping).
    validation_scores_, best_validation_score_ : list of float, float
        With early stopping; None without.
    n_iter_, t_ : int
        Epochs, and rows seen.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        Layers with inputs and outputs, outputs, and "softmax" or "logistic".
    n_features_in_, feature_names_in_ : int, array of str
        Of X.

    Notes
    -----
    scikit-learn's `MLPClassifier` says ``solver`` for `optimizer` and ``learning_rate_init`` for `lr`; its
    ``learning_rate``, ``power_t``, ``momentum``, ``beta_1``, ... are schedules and the optimizer's own options here.
    With ``standardize=False`` and the same weights and order of rows, the training is the same step by step (but for
    Adam's eps, which is added after the bias correction here).

    The bits do not depend on the number of threads, as long as BLAS, which is held to one thread meanwhile, gives the
    same for the same product.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from gdfast.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(lr=1e-2, max_iter=50, tol=None, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        optimizer: OptimizerChoice = "adam",
        lr: Hyperparameter | str = "auto",
        alpha: float | str = "auto",
        dropout: float = 0.0,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        standardize: bool = True,
        class_weight: Mapping[Any, float] | Sequence[Mapping[Any, float]] | str | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        callbacks: Any = None,
        n_threads: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.alpha = alpha
        self.dropout = dropout
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.shuffle = shuffle
        self.standardize = standardize
        self.class_weight = class_weight
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.n_threads = n_threads
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    @learns_all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch over the rows given, going on from the call before.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        classes : (classes,) array, optional
            All classes that may ever come; needed in the first call.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As :meth:`fit`; and with early stopping, or ``class_weight="balanced"``, which need all rows at once.
        """
        refuse_balanced(self.class_weight)
        _check_partial_fit_first_call(self, classes)
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """Return the class of each row; with several labels a (rows, labels) matrix of 0 and 1, sparse if y was."""
        chosen = self._chosen(self._scores(X))
        if self._multilabel:
            return csr_matrix(chosen.astype(int)) if self._sparse_labels else chosen.astype(int)
        classes: Array = self.classes_[chosen]
        return classes

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (rows, classes)."""
        return self._by_class(X, softmax, expit)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class, (rows, classes), accurate for small ones too."""
        return self._by_class(X, log_softmax, log_expit)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the fraction of rows whose class, or whose labels all together, are predicted right."""
        return float(super().score(X, own_indices(y, "y"), sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Say that several labels are supported."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _learn_targets(self, y: Any, fresh: bool, incremental: bool) -> Array:
        check_labels(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("y must be one column of classes, or a matrix of 0 and 1; got several columns of classes")
        if fresh:
            self._multilabel, self._sparse_labels = kind == "multilabel-indicator", issparse(y)
        if self._multilabel != (kind == "multilabel-indicator"):
            raise ValueError(f"y must be of the kind it was in the first call; got {kind}")
        if self._multilabel:
            if fresh:
                self.classes_ = np.arange(y.shape[1])
            elif y.shape[1] != len(self.classes_):
                raise ValueError(f"y must have {len(self.classes_)} columns, as in the first call; got {y.shape[1]}")
            return np.asarray(y.toarray() if issparse(y) else y)
        y = column_or_1d(y, warn=True)
        if fresh and not incremental:
            self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least two classes; got one class: {self.classes_.tolist()[0]!r}")
        if not (fresh or incremental) and not np.array_equal(np.unique(y), self.classes_):
            raise ValueError(f"warm_start needs the classes of the last fit, {self.classes_}; got {np.unique(y)}")
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y must hold the classes of the first call, {self.classes_}; got also {unknown}")
        indices: Array = np.searchsorted(self.classes_, y)[:, None]
        return indices

    def _class_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return None
        labels = y.toarray() if issparse(y) else y
        if isinstance(self.class_weight, str):
            return balanced_weights(labels, sample_weight)
        return checked_class_weights(compute_sample_weight(self.class_weight, labels))

    def _outputs(self, targets: Array) -> tuple[int, str]:
        n_classes = len(self.classes_)
        if self._multilabel or n_classes == 2:
            return targets.shape[1], "logistic"
        return n_classes, "softmax"

    def _native_loss(self) -> tuple[str, float]:
        return "multinomial" if self.out_activation_ == "softmax" else "log_loss", 0.0

    def _make_standardizer(self, X: Any, targets: Array, weights: Array | None, n_threads: int) -> Standardizer:
        return Standardizer(*common_scale(X, weights, n_threads))

    def _standardizer_of(
        self, features: tuple[Array | None, Array], moments: Callable[[], tuple[Array, Array]]
    ) -> Standardizer:
        return Standardizer(*features)

    def _by_class(self, X: Any, of_softmax: Callable[..., Any], of_logistic: Callable[..., Any]) -> Array:
        """Return a function of the scores, (rows, classes), for the activation of the outputs."""
        scores = self._scores(X)
        if self.out_activation_ == "softmax":
            return np.asarray(of_softmax(scores, axis=1))
        both = scores if self._multilabel else np.hstack([-scores, scores])
        return np.asarray(of_logistic(both))

    def _chosen(self, scores: Array) -> Array:
        """Return the index of the predicted class, (rows,), or the predicted labels, (rows, labels)."""
        return scores > 0 if self._multilabel else class_indices(scores)

    def _validation_score(self, scores: Array, targets: Array, weights: Array | None) -> float:
        true = targets if self._multilabel else targets[:, 0]
        return float(accuracy_score(true, self._chosen(scores), sample_weight=weights))
