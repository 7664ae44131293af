"""A linear classifier on the rows of a Dask cluster."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from gdfast.dask._linear import DaskLinear
from gdfast.dask._scoring import accuracy
from gdfast.sklearn import linear_classifier as local
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._losses import documents_losses

Array = np.ndarray[Any, Any]


@documents_losses
class GDClassifier(ClassifierMixin, DaskLinear):
    """Linear classifier on the rows of a Dask cluster: :class:`gdfast.sklearn.GDClassifier` at its minimum.

    Workers train on their own partitions, natively; the averages are combined, and L-BFGS with the gradients of all
    rows goes on from there. The order of the rows, and which worker has them, does not matter.

    Parameters
    ----------
    loss : str
        One of these; for three or more classes all but "log_loss" compare each class with the rest:

        {losses}
    penalty, alpha, l1_ratio, fit_intercept, standardize, class_weight
        As of :class:`gdfast.sklearn.GDClassifier`: the objective is the same, with the statistics of all rows.
    optimizer, lr, batch_size, shuffle, random_state
        Of the epochs on the partitions, likewise; not ``lr="find"``.
    max_iter : int or "auto"
        Averaged epochs, after each of which the coefficients of the partitions are combined, weighted by their rows.
        "auto": 1, or 20 for "hinge" and "perceptron".
    tol : float
        The polishing ends where no component of the gradient, in standard units, is larger.
    polish_iter : int
        Steps of L-BFGS at most.
    warm_start : bool
        Start from the coefficients of the last fit.
    n_threads : int or None
        Of one task on a worker. None: 1, because workers have several tasks at once.
    callbacks : list or None
        As of :class:`gdfast.sklearn.GDClassifier`; each averaged epoch and each step of L-BFGS is an epoch of
        theirs, and `logs` has ``loss``, the objective. Returning True stops. They run where `fit` was called.
    verbose : bool or int
        Show a progress bar. With it, or with callbacks, each averaged epoch takes one more pass, for its loss.
    timeout : float or None
        Seconds that one pass over all partitions may take, of which the first loads them. None: any time.

    Attributes
    ----------
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        As of :class:`gdfast.sklearn.GDClassifier`.
    loss_, loss_curve_ : float, list of float
        The objective, mean loss plus penalty, at the start of the polishing and after each of its steps.
    n_iter_ : int
        Their number.

    Raises
    ------
    TypeError, ValueError
        By `fit`, if a parameter or the data is invalid; of data with the number of the partition, from 0.
    TimeoutError
        If a pass over all partitions takes longer than `timeout`; with the workers that are waited for.

    Warns
    -----
    ConvergenceWarning
        If the polishing ended before `tol` was reached.

    Notes
    -----
    Source: Agarwal, Chapelle, Dudik, Langford, JMLR 2014.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from sklearn.datasets import load_breast_cancer
    >>> from gdfast.dask import GDClassifier
    >>> X, y = (da.from_array(array, chunks=200) for array in load_breast_cancer(return_X_y=True))
    >>> with Client(processes=False, dashboard_address=":0") as client:
    ...     model = GDClassifier(random_state=0).fit(X, y)
    ...     score = model.score(X, y)
    >>> score > 0.98
    True
    """

    classes_: Array
    _local_class: ClassVar[Any] = local.GDClassifier

    def __init__(
        self,
        loss: str = "log_loss",
        *,
        penalty: str | None = "l2",
        alpha: float | str = "auto",
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        standardize: bool = True,
        optimizer: OptimizerChoice = "adam",
        lr: Any = "auto",
        batch_size: int | str = "auto",
        max_iter: int | str = "auto",
        tol: float = 1e-6,
        polish_iter: int = 1000,
        shuffle: bool = True,
        random_state: Any = None,
        class_weight: Any = None,
        warm_start: bool = False,
        n_threads: int | None = None,
        callbacks: Any = None,
        verbose: int = 0,
        timeout: float | None = 3600.0,
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
        self.polish_iter = polish_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.timeout = timeout

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, client: Any = None) -> "GDClassifier":
        """Fit the model.

        Parameters
        ----------
        X : Dask array or frame of shape (n_samples, n_features)
            The chunks may be CSR matrices. Partitions may be empty, and of unknown length.
        y : Dask array or series of shape (n_samples,)
            Class labels.
        sample_weight : Dask array or series of shape (n_samples,), optional
            A row of weight 2 counts like two rows, one of weight 0 not at all.
        client : distributed.Client, optional
            None: the client in use.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is invalid.
        TimeoutError
            See `timeout`.
        """
        self._fit(X, y, sample_weight, client)
        return self

    def decision_function(self, X: Any) -> Any:
        """Return the scores as a Dask array: shape (n_samples,) for two classes, (n_samples, n_classes) for more."""
        return self._lazily("decision_function", X)

    def predict(self, X: Any) -> Any:
        """Return the class labels as a Dask array of shape (n_samples,)."""
        return self._lazily("predict", X)

    @available_if(local._has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class as a Dask array of shape (n_samples, n_classes)."""
        return self._lazily("predict_proba", X)

    @available_if(local._has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of the probabilities, likewise."""
        return self._lazily("predict_log_proba", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, client: Any = None) -> float:
        """Return the accuracy, computed on the cluster.

        Raises
        ------
        TypeError, ValueError, TimeoutError
            As of `fit`.
        """
        return self._scored(accuracy, X, y, sample_weight, client)
