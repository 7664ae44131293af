"""What the two networks share: their parameters, and the way from data to the attributes that a fit leaves."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context, is_classifier, is_regressor
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gdfast.engine import threads
from gdfast.optimizers import Adam
from gdfast.sklearn._choices import make_generator, resolve_lr, resolve_optimizer
from gdfast.sklearn._evaluation import evaluated
from gdfast.sklearn._finder import FindsRate
from gdfast.sklearn._folding import Folding
from gdfast.sklearn._network import ACTIVATIONS, predict_scores
from gdfast.sklearn._problem import limited_blas
from gdfast.sklearn._session import Data, Session
from gdfast.sklearn._sparse import own_indices, without_repetition
from gdfast.sklearn._training import CallbackSupportMixin, History, split_rows, with_callbacks
from gdfast.sklearn._weights import in_reach
from gdfast.stepping.base import Optimizer

Array: TypeAlias = np.ndarray[Any, Any]
# What "auto" means; found on the data sets that benchmarks/network_defaults.py tunes on, tested on its others.
BATCH_SIZE = 200
LR = 1.5e-3  # of Adam and its kin; the others have their own
PENALTY, FEATURES = 4.0, 8
# What X may be.
CHECKS: dict[str, Any] = {"accept_sparse": "csr", "dtype": (np.float64, np.float32), "order": "C"}


class BaseMLP(FindsRate, CallbackSupportMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """A multi-layer perceptron; see :class:`MLPClassifier` and :class:`MLPRegressor`."""

    #: what the parameters may be, as far as nothing else checks them
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "standardize": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    # What a subclass says.

    @abstractmethod
    def _learn_targets(self, y: Any, fresh: bool, incremental: bool) -> Array:
        """Check y, learn what there is to learn of it where a training begins anew, and return what a pass takes."""

    @abstractmethod
    def _class_weights(self, y: Any) -> Array | None:
        """Return the weight that each row has for its class."""

    @abstractmethod
    def _outputs(self, targets: Array) -> tuple[int, str]:
        """Return the number of outputs, and their activation."""

    @abstractmethod
    def _learn_folding(self, X: Any, targets: Array, weights: Array | None, n_threads: int) -> Folding:
        """Return the standardisation that a new training uses."""

    @abstractmethod
    def _validation_score(self, scores: Array, targets: Array, weights: Array | None) -> float:
        """Return how good scores before the output's activation are, in the network's own scale; more is better."""

    # What a user calls.

    @with_callbacks  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : (rows, features) array or sparse matrix
            float32 and float64 as they come; anything else is converted to float64. CSR is never made dense.
        y : (rows,) or (rows, outputs) array
            The targets.
        sample_weight : (rows,) array, optional
            Weights of the rows in the loss, and in the validation score.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter is not as it must be, or the training diverges.
        """
        fresh = not (self.warm_start and hasattr(self, "coefs_"))
        return self._fit(X, y, sample_weight, fresh=fresh, incremental=False)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it keeps no rows to validate with")
        return self._fit(X, y, sample_weight, fresh=not hasattr(self, "coefs_"), incremental=True)

    def _scores(self, X: Any) -> Array:
        """Return the scores of new rows, before the output's activation."""
        check_is_fitted(self)
        X = validate_data(self, own_indices(X), **CHECKS, reset=False)
        limit = threads.resolve(threads.check(self.n_threads))
        return predict_scores(self.coefs_, self.intercepts_, self.activation, self.out_activation_, X, limit)

    def __sklearn_tags__(self) -> Any:
        """Say that sparse data are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # How it is done.

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, fresh: bool, incremental: bool) -> Self:
        limit = threads.check(self.n_threads)
        found = self._found_rate(X, y, sample_weight, incremental)
        optimizer_type, options = resolve_optimizer(self.optimizer)
        options = {"n_threads": limit, **self._rate_for(optimizer_type, found), **options}
        given = X
        X, y = validate_data(
            self,
            own_indices(X),
            own_indices(y, "y"),
            **CHECKS,
            multi_output=True,
            y_numeric=is_regressor(self),
            reset=fresh,
        )
        X = without_repetition(X) if issparse(X) else X
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        targets = self._learn_targets(y, fresh, incremental)
        weights, power = in_reach(sample_weight, self._class_weights(y))
        if weights is not None and not weights.sum() > 0:
            raise ValueError("sample_weight, or the weights of the classes, must be above 0 for some row")
        penalty_share = self._penalty_share(weights, power, X.dtype)
        if fresh:
            self._begin(X, targets, weights, threads.resolve(limit))
        else:
            self._check_goes_on(X, targets)
        session = self.__dict__.pop("_session", None)
        if session is None or not incremental:
            session = self._new_session(X.dtype, fresh, (optimizer_type, options))
        data = self._data(session, X, targets, weights)
        with limited_blas(True):
            history = session.train(
                self,
                data,
                1 if incremental else self.max_iter,
                threads.resolve(limit),
                alpha=lambda rows, noise: self._alpha_for(rows, len(data.rows), noise) * penalty_share,
                folding=self._folding,
                score=self._validation_score,
                fitted=lambda: self._weights_now(session),
                given={"X": given, "y": y},
            )
        self._finish(session, history, len(data.rows))
        if incremental:
            self._session = session
        return self

    def _begin(self, X: Any, targets: Array, weights: Array | None, n_threads: int) -> None:
        """Forget an earlier training, and set what the whole of a new one shares."""
        for name in ("_session", "coefs_", "intercepts_"):
            self.__dict__.pop(name, None)
        self.n_outputs_, self.out_activation_ = self._outputs(targets)
        self._folding = self._learn_folding(X, targets, weights, n_threads) if self.standardize else Folding()
        self._units = (X.shape[1], *_sizes(self.hidden_layer_sizes), self.n_outputs_)
        self.n_layers_, self.t_ = len(self._units), 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None

    def _check_goes_on(self, X: Any, targets: Array) -> None:
        """Check that the data suit the network that there is."""
        outputs, activation = self._outputs(targets)
        there, given = (self._units[0], self._units[-1], self.out_activation_), (X.shape[1], outputs, activation)
        if there != given:
            raise ValueError(
                f"X and y must have the columns and outputs of the last fit, {there[0]} and {there[1]} of "
                f"{there[2]!r}; got {given[0]} and {given[1]} of {given[2]!r}"
            )

    def _new_session(self, dtype: Any, fresh: bool, optimizer: tuple[Any, Mapping[str, Any]]) -> Session:
        """Return a session with drawn weights, or with those of the fit before."""
        batch_size = BATCH_SIZE if self.batch_size == "auto" else int(self.batch_size)
        dtype = dtype if fresh else self.coefs_[0].dtype
        if self._units[1:-1] != _sizes(self.hidden_layer_sizes):
            raise ValueError(
                f"hidden_layer_sizes must be as in the call of fit before, {self._units[1:-1]}, for a warm start; "
                f"got {self.hidden_layer_sizes!r}"
            )
        session = Session(self._units, batch_size, dtype, optimizer, make_generator(self.random_state))
        if fresh:
            session.network.draw(session.rng, self.activation)
        else:
            session.network.load(*self._folding.unfold(self.coefs_, self.intercepts_))
        return session

    def _rate_for(self, optimizer_type: type[Optimizer], found: float | None) -> dict[str, Any]:
        """Return the learning rate as an option; none where "auto" leaves the optimizer its own."""
        if found is not None:
            return {"lr": found}
        if isinstance(self.lr, str) and self.lr in ("auto", "find") and not issubclass(optimizer_type, Adam):
            return {}
        return {"lr": resolve_lr(self.lr, lambda: LR)}

    def _penalty(self, noise: float, rows: int) -> float:
        """Return what "auto" weighs the squared weights with, for as much noise in the targets of so many rows."""
        return PENALTY

    def _alpha_for(self, batch_rows: int, rows: int, noise: float) -> float:
        """Return the penalty's weight, which is divided by the rows of a mini-batch: "auto" makes that all rows seen.

        With few features a network needs large weights to bend, and has less to overfit with.
        """
        if self.alpha != "auto":
            return float(self.alpha)
        few, seen = min(1.0, self.n_features_in_ / FEATURES), self.t_ + rows
        alpha: float = self._penalty(noise, seen) * few * batch_rows / seen
        return alpha

    def _penalty_share(self, weights: Array | None, power: int, dtype: Any) -> float:
        """Return what the penalty is multiplied by, as it stands beside weights that leave a power of two out.

        For "auto", rows of so little weight that they count for less than one, count for one.
        """
        if weights is None or self.alpha == 0:
            return 1.0
        if self.alpha == "auto" and np.ldexp(weights.sum(), min(power, 0)) < 1.0:
            return float(weights.sum())
        share = float(np.ldexp(1.0, min(-power, 1023)))
        if self.alpha != "auto" and not self.alpha * share < float(np.finfo(dtype).max) ** 0.5:
            raise ValueError(
                f"sample_weight must be larger for alpha={self.alpha}, beside which the rows count for nothing; got at "
                f"most {np.ldexp(weights.max(), power):.3g}"
            )
        return share

    def _data(self, session: Session, X: Any, targets: Array, weights: Array | None) -> Data:
        """Return the data in the network's dtype and scale, and which rows to train on."""
        dtype, n = session.network.params.dtype, X.shape[0]
        rows, validation = np.arange(n), None
        if self.early_stopping:
            stratify = targets[:, 0] if is_classifier(self) and targets.shape[1] == 1 else None
            rows, validation = split_rows(n, self.validation_fraction, session.rng, stratify)
        return Data(
            X.astype(dtype, copy=False),
            self._folding.targets(targets, dtype),
            None if weights is None else np.ascontiguousarray(weights, dtype),
            rows,
            validation,
        )

    def _weights_now(self, session: Session) -> dict[str, Any]:
        with evaluated(session.optimizer):
            coefs, intercepts = self._folding.fold(session.network.coefs, session.network.intercepts)
        return {"coefs_": coefs, "intercepts_": intercepts}

    def _finish(self, session: Session, history: History, n_rows: int) -> None:
        """Set the fitted attributes."""
        if not np.isfinite(session.network.params).all():
            raise ValueError("the training diverged: weights became NaN or infinite. Try a smaller lr.")
        self.__dict__.update(self._weights_now(session))
        self.n_iter_ = history.n_iter
        self.t_ += history.n_iter * n_rows
        self.loss_curve_ += history.losses
        self.loss_ = history.losses[-1]
        self.best_loss_ = None if history.scores else min(self.loss_curve_)
        self.best_validation_score_ = None
        if history.scores:
            self.validation_scores_ = [*(self.validation_scores_ or []), *history.scores]
            self.best_validation_score_ = max(self.validation_scores_)


def _sizes(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """Return the hidden layers' units."""
    sizes = tuple(hidden_layer_sizes) if np.iterable(hidden_layer_sizes) else (hidden_layer_sizes,)
    for size in sizes:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"hidden_layer_sizes must be positive ints; got {hidden_layer_sizes!r}")
    return tuple(map(int, sizes))
