"""A multi-layer perceptron regressor."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions

from gdfast.sklearn._base import check_one_of, learns_all_or_nothing, numeric_targets
from gdfast.sklearn._choices import OptimizerChoice
from gdfast.sklearn._evaluation import regression_score
from gdfast.sklearn._losses import REGRESSOR, Loss, check_loss_parameters, documents_losses, native_loss
from gdfast.sklearn._mlp import BaseMLP
from gdfast.sklearn._penalty import better_alpha
from gdfast.sklearn._scaling import Standardizer, common_deviation, common_scale, target_moments
from gdfast.stepping.hyperparameters import Hyperparameter

__all__ = ["MLPRegressor"]

Array: TypeAlias = np.ndarray[Any, Any]

NOISE_PENALTY, ROOT_PENALTY = 16.0, 0.5  # tuned like the other defaults (_mlp.py)


@documents_losses
class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """Multi-layer perceptron regressor for one or several targets, trained with any of gdfast's optimizers.

    To the loss comes ``alpha/2`` times the sum of the squared weights (not of the biases), divided by the rows of the
    mini-batch.

    Parameters
    ----------
    loss : str
        One of these, summed over the outputs; with log link the prediction is ``exp(score)``. Constant terms are
        dropped, but for "poisson".

        {losses}
    epsilon, quantile, power : float
        As in :class:`GDRegressor`: `epsilon` of the losses that have it, in the units of y; of "quantile" the quantile
        that is predicted; of "tweedie" the power.
    hidden_layer_sizes, activation, optimizer, lr, dropout, batch_size, max_iter
        As in :class:`MLPClassifier`.
    alpha : float or "auto"
        As in :class:`MLPClassifier`, but "auto" has ``max(4, 16*noise, sqrt(noise*all rows)/2)`` instead of 4: noise
        is the squared error of standardised targets in the epoch before, the fraction of their variance that is not
        explained (1 at first). For "huber" and "log_cosh" 4 times `epsilon` in standard deviations, 4 at most.
        With 50 to 2,000 rows of dense data, `fit` with squared error first compares this with 1e-4 on four held-out
        fifths of the rows, and takes 1e-4 (see `alpha_`) if its mean absolute error is smaller by more than half a
        standard error: seven times as long. Not with early stopping, nor from a source, nor in `partial_fit`.
    tol, n_iter_no_change, early_stopping, validation_fraction, shuffle
        As in :class:`MLPClassifier`; the validation score is that of :class:`GDRegressor`.
    standardize : bool
        As in :class:`MLPClassifier`, and the targets too: mean 0 and variance 1 (several with `epsilon` by one number;
        with log link mean 1), so that losses, `tol` and `lr` do not depend on their unit. It is folded into the last
        layer: predictions have the targets' unit.
    random_state, warm_start, callbacks, n_threads, verbose
        As in :class:`MLPClassifier`.

    Attributes
    ----------
    alpha_ : float or "auto"
        `alpha`, or what "auto" stands for: "auto" is the formula above.
    coefs_, intercepts_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_
        As in :class:`MLPClassifier`.
    loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_
        As in :class:`MLPClassifier`; the losses are of the standardised targets.
    out_activation_ : str
        "identity" or "exp".

    Notes
    -----
    scikit-learn reports the mean over the outputs as the loss of several targets, and takes steps along the gradient of
    their sum; here both are of the sum. For the rest see :class:`MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from gdfast.sklearn import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(max_iter=50, tol=None, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.5)
    True
    >>> high = MLPRegressor("quantile", quantile=0.9, max_iter=50, tol=None, random_state=0).fit(X, y)
    >>> round(float((y < high.predict(X)).mean()), 1)
    0.9
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(REGRESSOR))],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        epsilon: float = 0.1,
        quantile: float = 0.5,
        power: float = 1.5,
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
        random_state: Any = None,
        warm_start: bool = False,
        callbacks: Any = None,
        n_threads: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.epsilon = epsilon
        self.quantile = quantile
        self.power = power
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
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.n_threads = n_threads
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    @learns_all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch over the rows given, going on from the call before.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As :meth:`fit`; and with early stopping, which needs all rows at once.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """Return the predictions, (rows,), or (rows, outputs) for several targets."""
        predicted = self._predicted(self._scores(X))
        return predicted[:, 0] if self.n_outputs_ == 1 else predicted

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle, of a version without the parameters of losses too."""
        super().__setstate__({"epsilon": 0.1, "quantile": 0.5, "power": 1.5} | state)

    def __sklearn_tags__(self) -> Any:
        """Say which targets are supported."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self._log_link
        return tags

    def _learn_targets(self, y: Any, fresh: bool, incremental: bool) -> Array:
        targets = numeric_targets(y)
        targets = targets[:, None] if targets.ndim == 1 else targets
        self._declared_loss().check_targets(self.loss, targets)
        if not fresh and targets.shape[1] != self.n_outputs_:
            raise ValueError(f"y must have {self.n_outputs_} columns, as in the first call; got {targets.shape[1]}")
        return targets

    def _class_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        return None

    def _outputs(self, targets: Array) -> tuple[int, str]:
        return targets.shape[1], "exp" if self._log_link else "identity"

    @property
    def _log_link(self) -> bool:
        """Whether the prediction is the exponential of the score."""
        return self.loss in [name for name, loss in REGRESSOR.items() if loss.link == "log"]

    def _validate_params(self) -> None:
        super()._validate_params()
        check_loss_parameters(self, REGRESSOR)

    def _declared_loss(self) -> Loss:
        """Return the loss that the parameters make; scikit-learn does not check them in a later `partial_fit`."""
        check_one_of("loss", self.loss, tuple(REGRESSOR))
        check_loss_parameters(self, REGRESSOR)
        return REGRESSOR[self.loss].resolve(self)

    def _native_loss(self) -> tuple[str, float]:
        return native_loss(self, self._declared_loss(), self._standardizer.target_scale)

    def _make_standardizer(self, X: Any, targets: Array, weights: Array | None, n_threads: int) -> Standardizer:
        rows, numbers = np.arange(len(targets)), np.ascontiguousarray(targets, np.float64)
        moments = target_moments(numbers, rows, weights, True, n_threads)
        return self._standardizer_of(common_scale(X, weights, n_threads), lambda: moments)

    def _standardizer_of(
        self, features: tuple[Array | None, Array], moments: Callable[[], tuple[Array, Array]]
    ) -> Standardizer:
        mean, deviation = moments()
        if self._log_link:
            return Standardizer(*features, target_scale=np.where(mean > 0, mean, 1.0), log_link=True)
        parameter = REGRESSOR[self.loss].parameter
        if parameter is not None and parameter.target_units:
            deviation = common_deviation(deviation)
        return Standardizer(*features, mean, deviation)

    def _penalty(self, noise: float, rows: int) -> float:
        """More noise, more penalty: there is less to learn (docs/decisions/automatic-penalties.md)."""
        least = super()._penalty(noise, rows)
        if self.loss in ("huber", "log_cosh"):  # whose derivatives are at most epsilon
            return least * min(1.0, self._native_loss()[1])
        if not self.standardize or self.loss != "squared_error":  # then noise is no fraction of the targets' variance
            return least
        noise = min(noise, 1.0)
        return max(least, NOISE_PENALTY * noise, ROOT_PENALTY * sqrt(noise * rows))

    def _choose_alpha(self, X: Any, targets: Array, weights: Array | None, found: float | None) -> float | str:
        if not self.standardize or self.loss != "squared_error":
            return super()._choose_alpha(X, targets, weights, found)
        return better_alpha(self, X, targets, weights, found)

    def _predicted(self, scores: Array) -> Array:
        return np.asarray(np.exp(scores) if self.out_activation_ == "exp" else scores)

    def _validation_score(self, scores: Array, targets: Array, weights: Array | None) -> float:
        return regression_score(self, targets, self._predicted(scores), weights)
