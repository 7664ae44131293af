"""A linear regressor on the rows of a Dask cluster."""

from typing import Any, ClassVar

from sklearn.base import RegressorMixin

from gdfast.dask._linear import DaskLinear
from gdfast.dask._scoring import r2
from gdfast.sklearn import linear_regressor as local
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._losses import documents_losses


@documents_losses
class GDRegressor(RegressorMixin, DaskLinear):
    """Linear regressor on the rows of a Dask cluster: :class:`gdfast.sklearn.GDRegressor` at its minimum.

    Workers train on their own partitions, natively; the averages are combined, and L-BFGS with the gradients of all
    rows goes on from there. The order of the rows, and which worker has them, does not matter.

    Parameters
    ----------
    loss : str
        One of these. With log link the prediction is ``exp(X @ coef + intercept)``; constant terms are dropped.

        {losses}
    penalty, alpha, l1_ratio, epsilon, quantile, power, fit_intercept, standardize
        As of :class:`gdfast.sklearn.GDRegressor`: the objective is the same, with the statistics of all rows.
    optimizer, lr, batch_size, shuffle, random_state
        Of the epochs on the partitions, likewise; not ``lr="find"``.
    max_iter : int or "auto"
        Averaged epochs, after each of which the coefficients of the partitions are combined, weighted by their rows.
        "auto": 1, or 20 for "quantile" and "epsilon_insensitive".
    tol : float
        The polishing ends where no component of the gradient, in standard units, is larger.
    polish_iter : int
        Steps of L-BFGS at most.
    warm_start : bool
        Start from the coefficients of the last fit.
    n_threads : int or None
        Of one task on a worker. None: 1, because workers have several tasks at once.
    callbacks : list or None
        As of :class:`gdfast.sklearn.GDRegressor`; each averaged epoch and each step of L-BFGS is an epoch of
        theirs, and `logs` has ``loss``, the objective. Returning True stops. They run where `fit` was called.
    verbose : bool or int
        Show a progress bar. With it, or with callbacks, each averaged epoch takes one more pass, for its loss.
    timeout : float or None
        Seconds that one pass over all partitions may take, of which the first loads them. None: any time.

    Attributes
    ----------
    coef_, intercept_, n_features_in_, feature_names_in_
        As of :class:`gdfast.sklearn.GDRegressor`.
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
    >>> from sklearn.datasets import load_diabetes
    >>> from gdfast.dask import GDRegressor
    >>> X, y = (da.from_array(array, chunks=100) for array in load_diabetes(return_X_y=True))
    >>> with Client(processes=False, dashboard_address=":0") as client:
    ...     model = GDRegressor(random_state=0).fit(X, y)
    ...     score = model.score(X, y)
    >>> round(score, 2)
    0.52
    """

    _local_class: ClassVar[Any] = local.GDRegressor

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float | str = "auto",
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
        tol: float = 1e-6,
        polish_iter: int = 1000,
        shuffle: bool = True,
        random_state: Any = None,
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
        self.polish_iter = polish_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.timeout = timeout

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, client: Any = None) -> "GDRegressor":
        """Fit the model.

        Parameters
        ----------
        X : Dask array or frame of shape (n_samples, n_features)
            The chunks may be CSR matrices. Partitions may be empty, and of unknown length.
        y : Dask array, series or frame of shape (n_samples,) or (n_samples, n_targets)
            Targets.
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

    def predict(self, X: Any) -> Any:
        """Return the predictions as a Dask array, of the shape of the y that was learned from."""
        return self._lazily("predict", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, client: Any = None) -> float:
        """Return R2, the mean of all targets', computed on the cluster.

        Raises
        ------
        TypeError, ValueError, TimeoutError
            As of `fit`.
        """
        return self._scored(r2, X, y, sample_weight, client)
