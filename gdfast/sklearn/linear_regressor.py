"""A linear regressor trained by gradient descent."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin

from gdfast.engine import threads
from gdfast.sklearn import _to_sklearn as to_sklearn
from gdfast.sklearn._base import learns_all_or_nothing, numeric_targets
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._evaluation import regression_score
from gdfast.sklearn._linear_data import Data
from gdfast.sklearn._linear_fit import LinearBase
from gdfast.sklearn._losses import REGRESSOR, Loss, documents_losses
from gdfast.sklearn._scaling import target_mean
from gdfast.sklearn._streaming import fit_streamed
from gdfast.sklearn._training import with_callbacks

Array = np.ndarray[Any, Any]


@documents_losses
class GDRegressor(RegressorMixin, LinearBase):  # type: ignore[misc]
    """Linear regressor trained by mini-batch gradient descent, with any of gdfast's optimizers, natively.

    Minimises the mean loss plus a penalty. The defaults need no tuning and no scaling of the data. Several targets are
    fitted at once.

    Parameters
    ----------
    loss : str
        One of these. With log link the prediction is ``exp(X @ coef + intercept)``; constant terms are dropped.

        {losses}
    penalty : {"l2", "l1", "elasticnet", None}
        Added to the mean loss: ``alpha * (l1_ratio*|w|_1 + (1-l1_ratio)/2*|w|_2^2)``. The l1 part is a proximal step
        with each coordinate's own rate, and leaves exact zeros.
    alpha : float or "auto"
        Weight of the penalty. "auto": ``1/n_rows``, as in scikit-learn's `Ridge`, times ``n_columns/10`` if more
        than 10 are standardised; n_rows is the sum of `sample_weight` if given. In `partial_fit` 1e-4.
    l1_ratio : float
        The fraction of l1 in "elasticnet", in [0, 1].
    epsilon : float
        Of the losses that have it; in the units of y. Not 0 for "huber" and "log_cosh", which would be 0 everywhere.
    quantile : float
        The quantile that "quantile" predicts, in (0, 1).
    power : float
        Of "tweedie": 0 normal, 1 Poisson, 2 gamma, 3 inverse Gaussian, between 1 and 2 compound Poisson-gamma. Numbers
        between 0 and 1 are refused: there is no such distribution.
    fit_intercept : bool
        Whether there is an intercept. It is not penalised.
    standardize : bool
        Train in columns of mean 0 and deviation 1 and put the coefficients back into the data's own units; the data is
        not copied. Of sparse columns only means far from zero are taken off, and where there are many columns rare
        values are not scaled up. Targets of the losses without a logarithm are standardised too (several with `epsilon`
        by one number). The penalty then counts the standardised coefficients, as in glmnet. With False it counts the
        plain ones, as in `SGDRegressor`, and columns of very different scale train badly.
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
        Hold out `validation_fraction` of the rows, score the model on them after every epoch, stop when the score gets
        no better, and keep the best epoch's weights. The score is R2; for "quantile", "epsilon_insensitive" and the
        deviances D2, which compares their own loss (of the last but one the absolute error) with that of a constant.
    validation_fraction : float
        Fraction of the rows that early stopping holds out, in (0, 1).
    n_iter_no_change : int
        Number of epochs without improvement before stopping.
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
    coef_ : array of shape (n_features,) or (n_targets, n_features)
        In the data's own units and element type; float64 where a column lies a thousand deviations from zero or more.
    intercept_ : array of shape (n_targets,)
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
    Source: Bottou, Curtis, Nocedal, arXiv:1606.04838.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from gdfast.sklearn import GDRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(GDRegressor(random_state=0).fit(X, y).score(X, y), 2)
    0.52
    >>> high = GDRegressor("quantile", quantile=0.9, random_state=0).fit(X, y)
    >>> round(float((y < high.predict(X)).mean()), 1)
    0.9
    """

    _losses: ClassVar[Mapping[str, Loss]] = REGRESSOR

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
        tags.target_tags.positive_only = self.loss in self._losses and self._losses[self.loss].targets != "real"
        return tags

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
    ) -> "GDRegressor":
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix of shape (n_samples, n_features), or source
            float32 and float64 are used as they are: C-contiguous rows, or CSR. A source of
            `gdfast.tables` gives rows, targets and weights, a batch at a time: beyond its first rows
            ``max_iter="auto"`` is one averaged epoch.
        y : array of shape (n_samples,) or (n_samples, n_targets)
            Targets: non-negative for "poisson" and "tweedie", positive for "gamma" and powers from 2 on.
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "GDRegressor":
        """Train for one epoch, from where the last call ended.

        The scales of columns and targets are those of the first 100 rows, or of all of the first call if these are
        more. With ``lr="auto"`` the rate is constant, because the number of calls is unknown.

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

    def to_sklearn(self) -> Any:
        """Return the Ridge of scikit-learn that predicts the same, for tools that know only its classes.

        Returns
        -------
        Ridge, or for a log link PoissonRegressor, GammaRegressor or TweedieRegressor
            With the same coefficients.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; for several targets with a log link.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from gdfast.sklearn import GDRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> GDRegressor(random_state=0).fit(X, y).to_sklearn()
        Ridge()
        """
        return to_sklearn.linear_regressor(self)

    def _predicted(self, scores: Array) -> Array:
        return np.exp(scores) if self._losses[self.loss].link == "log" else scores

    def _y_checks(self) -> dict[str, Any]:
        return {"multi_output": True, "y_numeric": True}

    def _encode_targets(self, y: Array, classes: Array | None) -> tuple[Array, int]:
        self._flat = y.ndim == 1
        targets = np.ascontiguousarray(numeric_targets(y), np.float64).reshape(len(y), -1)
        self._losses[self.loss].resolve(self).check_targets(self.loss, targets)
        return targets, targets.shape[1]

    def _initial_intercept(self, data: Data) -> Array:
        """Return the mean target (zero if targets are standardised), as a score."""
        mean = target_mean(data.targets, data.rows, data.weights, threads.resolve(self.n_threads))
        return np.log(np.maximum(mean, 1e-10)) if self._losses[self.loss].link == "log" else mean

    def _score(self, scores: Array, y: Array, weights: Array | None) -> float:
        return regression_score(self, y, self._predicted(scores), weights)

    def _set_coefficients(self, coef: Array, intercept: Array) -> None:
        self.coef_ = coef[0] if self._flat else np.ascontiguousarray(coef)
        self.intercept_ = intercept
