"""The part of the networks that does not depend on what is predicted: checks, training, fitted attributes."""

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from scipy.sparse import issparse
from sklearn.base import _fit_context, is_classifier, is_regressor
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gdfast.engine import threads
from gdfast.optimizers import Adam
from gdfast.sklearn import _to_sklearn as to_sklearn
from gdfast.sklearn._base import X_CHECKS, GradientEstimator, learns_all_or_nothing
from gdfast.sklearn._choices import make_generator, resolve_lr, resolve_optimizer
from gdfast.sklearn._defaults import ResolvedSchedule
from gdfast.sklearn._evaluation import evaluating
from gdfast.sklearn._first_rows import ENOUGH, FirstRows, check_alike, join_rows
from gdfast.sklearn._mlp_trainer import Data, MLPTrainer
from gdfast.sklearn._native_loops import limited_blas
from gdfast.sklearn._network import ACTIVATIONS, check_network, hidden_units, predict_scores, to_raw, to_standard
from gdfast.sklearn._penalty import AutomaticPenalty
from gdfast.sklearn._scaling import Standardizer
from gdfast.sklearn._sparse import own_indices, without_repetition
from gdfast.sklearn._stream_mlp import MLPLearner
from gdfast.sklearn._streaming import fit_streamed
from gdfast.sklearn._training import History, split_rows, with_callbacks
from gdfast.sklearn._weights import in_reach, penalty_share
from gdfast.stepping.base import Optimizer

Array: TypeAlias = np.ndarray[Any, Any]
# What "auto" means; found on the data sets that benchmarks/network_defaults.py tunes on, tested on its others.
BATCH_SIZE = 200
LR = 1.5e-3  # of Adam and its kin; the others have their own


class BaseMLP(AutomaticPenalty, GradientEstimator, ABC):
    """A multi-layer perceptron; see :class:`MLPClassifier` and :class:`MLPRegressor`."""

    _first_rows: FirstRows | None = None
    _trainer_asked: tuple[Any, ...]

    #: the parameters that nothing else checks
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
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    # What a subclass defines.

    @abstractmethod
    def _learn_targets(self, y: Any, fresh: bool, incremental: bool) -> Array:
        """Check y and return the training's targets, (rows, outputs); if `fresh`, set attributes that describe y."""

    @abstractmethod
    def _class_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        """Return the weight of each row's class."""

    @abstractmethod
    def _outputs(self, targets: Array) -> tuple[int, str]:
        """Return the number of outputs, and their activation."""

    @abstractmethod
    def _native_loss(self) -> tuple[str, float]:
        """Return the name of the kernel's loss and its parameter, in standard units."""

    @abstractmethod
    def _make_standardizer(self, X: Any, targets: Array, weights: Array | None, n_threads: int) -> Standardizer:
        """Return the standardisation for a new training."""

    @abstractmethod
    def _validation_score(self, scores: Array, targets: Array, weights: Array | None) -> float:
        """Return the validation score of scores before the output's activation, in standard units; larger is better."""

    # What a user calls.

    @with_callbacks  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    @learns_all_or_nothing
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, checkpoint: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : (rows, features) array or sparse matrix, or source
            float32 and float64 as they come; anything else is converted to float64. CSR is never made dense. A source
            of `gdfast.tables` gives rows, targets and weights, a batch at a time.
        y : (rows,) or (rows, outputs) array
            The targets.
        sample_weight : (rows,) array, optional
            Weights of the rows in the loss, and in the validation score. Early stopping leaves rows of weight 0 out.
        checkpoint : path, optional
            With a source: the file in which the training is kept while it runs, to go on from bit for bit if it was
            interrupted. It is removed at the end.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter is invalid, or the training diverges.
        """
        if fit_streamed(self, X, y, sample_weight, checkpoint):
            return self
        fresh = not (self.warm_start and hasattr(self, "coefs_"))
        return self._fit(X, y, sample_weight, fresh=fresh, incremental=False)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        self._refuse_early_stopping()
        return self._fit(X, y, sample_weight, fresh=not hasattr(self, "coefs_"), incremental=True)

    def resolved_schedule(self, n_rows: int) -> ResolvedSchedule:
        """Return the schedule that `fit` would use for data of this size, with "auto" resolved.

        Parameters
        ----------
        n_rows : int
            Rows of the data, with those that early stopping holds out.

        Returns
        -------
        ResolvedSchedule
            With `batch_size`, `max_iter`, `n_steps`, `lr` and `initial_lr`. ``lr="find"`` needs the data and is taken
            for "auto".

        Raises
        ------
        TypeError, ValueError
            If `n_rows` or a parameter of the estimator is invalid.

        Examples
        --------
        >>> from gdfast.sklearn import MLPClassifier
        >>> schedule = MLPClassifier().resolved_schedule(n_rows=1000)
        >>> schedule.batch_size, schedule.max_iter, schedule.n_steps, schedule.initial_lr
        (200, 200, 1000, 0.0015)
        """
        self._validate_params()
        optimizer, options = resolve_optimizer(self.optimizer)
        signatures = (inspect.signature(cls).parameters for cls in optimizer.__mro__)
        default = next(parameters["lr"].default for parameters in signatures if "lr" in parameters)
        lr = (self._lr_option(optimizer, None) | options).get("lr", default)
        n_train = self._n_train(n_rows)
        batch_size = min(self._batch_size(), n_train)
        return ResolvedSchedule(batch_size, self.max_iter, self.max_iter * -(-n_train // batch_size), lr)

    def check_weights(self) -> None:
        """Check that `coefs_` and `intercepts_`, which anyone can change, fit one another and the features.

        Raises
        ------
        ValueError
            If they do not, or an activation is unknown.
        """
        check_network(self.coefs_, self.intercepts_, self.activation, self.out_activation_, self.n_features_in_)

    def to_sklearn(self) -> Any:
        """Return the network of scikit-learn that predicts the same, for tools that know only its classes.

        Returns
        -------
        MLPClassifier or MLPRegressor of scikit-learn
            With the same weights.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; for an activation or a loss that scikit-learn does not have.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from gdfast.sklearn import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MLPClassifier(lr=1e-2, max_iter=20, tol=None, random_state=0).fit(X, y)
        >>> bool((model.to_sklearn().predict(X) == model.predict(X)).all())
        True
        """
        return to_sklearn.network(self)

    def _scores(self, X: Any) -> Array:
        """Return the scores of new rows, before the output's activation."""
        check_is_fitted(self)
        X = validate_data(self, own_indices(X), **X_CHECKS, order="C", reset=False)
        limit = threads.resolve(threads.check(self.n_threads))
        return predict_scores(self.coefs_, self.intercepts_, self.activation, self.out_activation_, X, limit)

    # How it is done.

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, fresh: bool, incremental: bool) -> Self:
        limit = threads.check(self.n_threads)
        found = self._found_rate(X, y, sample_weight, incremental)
        optimizer = self._optimizer_choice(limit, found)
        given = X
        X, y, targets, weights, power = self._check_data(X, y, sample_weight, fresh, incremental)
        share = penalty_share(self.alpha, weights, power, X.dtype)
        if fresh:
            self._begin(X, targets, weights, threads.resolve(limit))
            if self.alpha == "auto" and not incremental:
                of_rows = None if weights is None else np.ldexp(weights, power)
                self._automatic = self._choose_alpha(X, targets, of_rows, found)
        else:
            self._check_same_shape(X, targets)
        if incremental and self.standardize:
            self._standardize_first_rows(X, targets, weights, fresh, threads.resolve(limit))
        loss = self._native_loss()
        trainer, asked = self.__dict__.pop("_trainer", None), self._asked()
        if trainer is None or not incremental:
            trainer = self._make_trainer(X.dtype, fresh, optimizer)
        elif asked != self._trainer_asked:
            trainer = trainer.with_settings(self._batch_size(), optimizer)
        data = self._make_data(trainer, X, targets, weights)
        with limited_blas(True):
            history = trainer.train(
                self,
                data,
                1 if incremental else self.max_iter,
                threads.resolve(limit),
                alpha=lambda rows, noise: self._alpha_for(rows, len(data.rows), noise) * share,
                loss=loss,
                standardizer=self._standardizer,
                score=self._validation_score,
                fitted=lambda: self._weights(trainer),
                given={"X": given, "y": y},
            )
        self._set_fitted(trainer, history, len(data.rows))
        if incremental:
            self._trainer, self._trainer_asked = trainer, asked
        return self

    def _learner(self) -> MLPLearner:
        return MLPLearner(self)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, fresh: bool, incremental: bool
    ) -> tuple[Any, Any, Array, Array | None, int]:
        """Return X and y checked, the training's targets, the rows' weights, and the power of two left out of these."""
        X, y = validate_data(
            self,
            own_indices(X),
            own_indices(y, "y"),
            **X_CHECKS,
            order="C",
            multi_output=True,
            y_numeric=is_regressor(self),
            reset=fresh,
        )
        X = without_repetition(X) if issparse(X) else X
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        targets = self._learn_targets(y, fresh, incremental)
        of_rows, power = in_reach(sample_weight)
        weights, more = in_reach(of_rows, self._class_weights(y, of_rows))
        if weights is not None and not weights.sum() > 0:
            raise ValueError("sample_weight, or the weights of the classes, must be above 0 for some row")
        return X, y, targets, weights, power + more

    def _asked(self) -> tuple[Any, ...]:
        """Return the parameters that a trainer is made with, which may change between calls of `partial_fit`."""
        return self.lr, self.optimizer, self.batch_size, self.n_threads

    def _begin(self, X: Any, targets: Array, weights: Array | None, n_threads: int) -> None:
        """Forget an earlier training, and set the attributes that a new one keeps."""
        for name in ("_trainer", "_first_rows", "coefs_", "intercepts_"):
            self.__dict__.pop(name, None)
        self.n_outputs_, self.out_activation_ = self._outputs(targets)
        if self.standardize:
            self._standardizer = self._make_standardizer(X, targets, weights, n_threads)
        else:
            self._standardizer = Standardizer()
        self._units = (X.shape[1], *hidden_units(self.hidden_layer_sizes), self.n_outputs_)
        self.n_layers_, self.t_, self._automatic = len(self._units), 0, "auto"
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None

    def _standardize_first_rows(
        self, X: Any, targets: Array, weights: Array | None, fresh: bool, n_threads: int
    ) -> None:
        """Standardise by all rows of `partial_fit` so far, until there are enough; no weight changes in these units."""
        if (X.shape[0] >= ENOUGH) if fresh else (self._first_rows is None):
            return
        rows = join_rows(self._first_rows, X, targets, weights)
        self._standardizer = self._make_standardizer(rows.X, rows.targets, rows.weights, n_threads)
        self._first_rows = None if rows.enough else rows

    def _check_same_shape(self, X: Any, targets: Array) -> None:
        """Check that the data and the layers asked for are those of the fitted network."""
        check_alike(X, self._standardizer.mean is not None)
        outputs, activation = self._outputs(targets)
        last, given = (self._units[0], self._units[-1], self.out_activation_), (X.shape[1], outputs, activation)
        if last != given:
            raise ValueError(
                f"X and y must have the columns and outputs of the last fit, {last[0]} and {last[1]} of "
                f"{last[2]!r}; got {given[0]} and {given[1]} of {given[2]!r}"
            )
        if self._units[1:-1] != hidden_units(self.hidden_layer_sizes):
            raise ValueError(
                f"hidden_layer_sizes must be as in the call before, {self._units[1:-1]}; "
                f"got {self.hidden_layer_sizes!r}"
            )

    def _batch_size(self) -> int:
        return BATCH_SIZE if self.batch_size == "auto" else min(int(self.batch_size), sys.maxsize)

    def _make_trainer(self, dtype: Any, fresh: bool, optimizer: tuple[Any, Mapping[str, Any]]) -> MLPTrainer:
        """Return a trainer with drawn weights, or with those of the last fit."""
        dtype = dtype if fresh else self.coefs_[0].dtype
        trainer = MLPTrainer(self._units, self._batch_size(), dtype, optimizer, make_generator(self.random_state))
        if fresh:
            trainer.network.draw(trainer.rng, self.activation)
        else:
            trainer.network.load(*to_standard(self._standardizer, self.coefs_, self.intercepts_))
        return trainer

    def _optimizer_choice(self, limit: int | None, found: float | None) -> tuple[type[Optimizer], dict[str, Any]]:
        """Return the optimizer's class and options."""
        optimizer_type, options = resolve_optimizer(self.optimizer)
        return optimizer_type, {"n_threads": limit, **self._lr_option(optimizer_type, found), **options}

    def _lr_option(self, optimizer_type: type[Optimizer], found: float | None) -> dict[str, Any]:
        """Return the learning rate as an option; none if "auto" leaves the optimizer its default."""
        rate = resolve_lr(self.lr, lambda: LR, self.optimizer)
        if found is not None:
            return {"lr": found}
        if isinstance(self.lr, str) and self.lr in ("auto", "find") and not issubclass(optimizer_type, Adam):
            return {}
        return {"lr": rate}

    def _make_data(self, trainer: MLPTrainer, X: Any, targets: Array, weights: Array | None) -> Data:
        """Return the data in the network's dtype, targets in standard units, and the rows to train on."""
        dtype, rows, validation = trainer.network.params.dtype, np.arange(X.shape[0]), None
        if self.early_stopping:
            if weights is not None:
                rows = rows[weights > 0]  # the others say nothing about the network
            one_column = is_classifier(self) and targets.shape[1] == 1
            train_at, held_at = split_rows(
                len(rows),
                self.validation_fraction,
                trainer.rng,
                classes=targets[rows, 0] if one_column else None,
                numbers=targets[rows] if is_regressor(self) else None,
            )
            rows, validation = rows[train_at], rows[held_at]
        return Data(
            X.astype(dtype, copy=False),
            np.ascontiguousarray(self._standardizer.scale_targets(targets), dtype),
            None if weights is None else np.ascontiguousarray(weights, dtype),
            rows,
            validation,
        )

    def _weights(self, trainer: MLPTrainer) -> dict[str, Any]:
        """Return the fitted weights, for data in their own units."""
        with evaluating(trainer.optimizer):
            coefs, intercepts = to_raw(self._standardizer, trainer.network.coefs, trainer.network.intercepts)
        return {"coefs_": coefs, "intercepts_": intercepts}

    def _set_fitted(self, trainer: MLPTrainer, history: History, n_rows: int) -> None:
        """Set the fitted attributes."""
        if not np.isfinite(trainer.network.params).all():
            raise ValueError("the training diverged: weights became NaN or infinite. Try a smaller lr.")
        self.__dict__.update(self._weights(trainer))
        self.n_iter_, self.alpha_ = history.n_iter, self._chosen_alpha
        self.t_ += history.n_iter * n_rows
        self.loss_curve_ += history.losses
        self.loss_ = history.losses[-1]
        self.best_loss_ = None if history.scores else min(self.loss_curve_)
        self.best_validation_score_ = None
        if history.scores:
            self.validation_scores_ = [*(self.validation_scores_ or []), *history.scores]
            self.best_validation_score_ = max(self.validation_scores_)
