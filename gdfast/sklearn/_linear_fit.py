"""The part of the linear estimators that does not depend on what is predicted: checks, training, fitted attributes."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gdfast.engine import threads
from gdfast.sklearn._base import X_CHECKS, GradientEstimator, check_count, check_one_of
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._choices import averaging_optimizer, make_generator, resolve_lr
from gdfast.sklearn._defaults import (
    ResolvedSchedule,
    automatic_alpha,
    automatic_batch_size,
    automatic_budget,
    automatic_epochs,
    automatic_lr,
)
from gdfast.sklearn._finish import find_zeros, refuse_divergence
from gdfast.sklearn._first_rows import ENOUGH, FirstRows, check_alike, join_rows
from gdfast.sklearn._linear_data import Data, dense_coef, given_start
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._losses import OPEN_UNIT, Loss, check_loss_parameters, native_loss
from gdfast.sklearn._narrowing import Narrowing, narrow
from gdfast.sklearn._native_loops import limited_blas
from gdfast.sklearn._scaling import Standardizer, common_deviation, dense_scale, sparse_scale, target_moments
from gdfast.sklearn._small import small_trainer
from gdfast.sklearn._sparse import csr_arrays, own_indices, without_repetition
from gdfast.sklearn._stream_linear import LinearLearner
from gdfast.sklearn._training import History, split_rows, train
from gdfast.sklearn._weights import in_reach
from gdfast.stepping.hyperparameters import NON_NEGATIVE, UNIT

Array = np.ndarray[Any, Any]

ALPHA = 1e-4  # with partial_fit, where the number of rows is unknown
PENALTIES = ("l2", "l1", "elasticnet", None)


class LinearBase(SparseCoefMixin, GradientEstimator):  # type: ignore[misc]
    """A linear model; see :class:`GDClassifier` and :class:`GDRegressor`."""

    _losses: ClassVar[Mapping[str, Loss]]
    _standardizer: Standardizer
    _first_rows: FirstRows | None = None

    @abstractmethod
    def _encode_targets(self, y: Array, classes: Array | None) -> tuple[Array, int]:
        """Check y and return the training's targets and the number of outputs; set attributes that describe y.

        `classes` are those that `partial_fit` has been told.
        """

    @abstractmethod
    def _set_coefficients(self, coef: Array, intercept: Array) -> None:
        """Set `coef_` and `intercept_` in the shapes of scikit-learn."""

    @abstractmethod
    def _score(self, scores: Array, y: Array, weights: Array | None) -> float:
        """Return the validation score of scores of shape (n, outputs); larger is better."""

    @abstractmethod
    def _initial_intercept(self, data: "Data") -> Array:
        """Return the intercepts, in standard units, of a model without coefficients."""

    def _choose_solution(self) -> None:
        """Take the usual one of several solutions that predict the same."""

    def _class_weights(self, targets: Array, sample_weight: Array | None) -> Array | None:
        """Return the weight of each row's class."""
        return None

    def _y_checks(self) -> dict[str, Any]:
        """Return what `validate_data` is to know about y."""
        return {}

    # What a user calls.

    def resolved_schedule(self, n_rows: int, n_coefficients: int, *, sparse: bool = False) -> ResolvedSchedule:
        """Return the schedule that `fit` would use for data of this size, with "auto" resolved.

        Parameters
        ----------
        n_rows : int
            Rows of the data, with those that early stopping holds out.
        n_coefficients : int
            Of all outputs together.
        sparse : bool
            Whether the data are in CSR.

        Returns
        -------
        ResolvedSchedule
            With `batch_size`, `max_iter`, `n_steps`, `lr` and `initial_lr`. ``lr="find"`` needs the data and is taken
            for "auto".

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter of the estimator is invalid.

        Examples
        --------
        >>> from gdfast.sklearn import GDClassifier
        >>> schedule = GDClassifier().resolved_schedule(n_rows=10_000, n_coefficients=30)
        >>> schedule.batch_size, schedule.max_iter, schedule.n_steps, schedule.initial_lr
        (256, 13, 520, 0.1)
        """
        self._check_parameters()
        check_count("n_coefficients", n_coefficients)
        return self._resolve_schedule(self._n_train(n_rows), n_coefficients, sparse)

    # How it is done.

    def _learner(self) -> LinearLearner:
        return LinearLearner(self)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        partial: bool,
        classes: Array | None = None,
        start: tuple[Any, Any] = (None, None),
    ) -> None:
        self._check_parameters()
        found = self._found_rate(X, y, sample_weight, partial)
        if partial:
            self._refuse_early_stopping()
        first = not (partial and hasattr(self, "coef_"))
        rng = make_generator(self.random_state)
        hold_out = self.early_stopping and not partial
        data = self._check_data(X, y, sample_weight, rng, classes, first=first, hold_out=hold_out)
        if data.sparse and not partial and not self.warm_start and start[0] is None:  # every coefficient begins at zero
            data.table, data.narrowing = narrow(data.table, data.narrowing.width, threads.resolve(self.n_threads))
        standardizer, first_rows = self._standardizer_for(data, first, partial)
        if data.targets.dtype != np.int32:
            data.targets = standardizer.scale_targets(data.targets)
        # in standard units the coefficients go on as they are, also where the first rows have changed these units
        begin = self._initial_coefficients(data, standardizer if first else self._standardizer, first, start)
        penalty = self._penalty(ALPHA if partial else automatic_alpha(data.total, standardizer.columns))
        small = None if partial else small_trainer(self, data, standardizer, begin, penalty)
        schedule = self._resolve_schedule(len(data.rows), begin[0].size, data.sparse, found=found, partial=partial)
        trainer: Any = small or LinearTrainer(
            data.table,
            data.targets,
            data.weights,
            standardizer,
            self._native_loss(data.outputs, standardizer),
            begin,
            averaging_optimizer(self.optimizer, schedule.lr, self.average),
            penalty=penalty,
            fit_intercept=self.fit_intercept,
            batch_size=schedule.batch_size,
            n_threads=self.n_threads,
            indices_sorted=data.in_order,
            state=None if first else getattr(self, "_optimizer_state", None),
        )
        with limited_blas(trainer.needs_blas):
            history = self._train(trainer, data, rng, small.n_epochs if small else schedule.max_iter)
            if not small and self._probe is None:
                refuse_divergence(trainer, lambda: [data.rows], history.losses[-1])
                if not partial and not self._losses[self.loss].lowest_at_zero:
                    trainer.zeros = find_zeros(trainer, lambda: [data.rows])
        self._set_weights(trainer, data)
        self._standardizer, self._first_rows = data.narrowing.standardizer(standardizer), first_rows
        self._set_history(history, trainer.optimizer.state_dict() if partial else None)
        if small:
            small.warn(type(self).__name__)
        if partial:  # later calls go on in the dtype of the optimizer's state
            self._dtype = trainer.coef.dtype

    def _check_data(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        rng: np.random.Generator,
        classes: Array | None,
        *,
        first: bool,
        hold_out: bool,
    ) -> Data:
        """Check the arguments of `fit`, and split the rows into those to train on and those to validate with."""
        given = X
        X, y = validate_data(
            self,
            own_indices(X),
            own_indices(y, "y"),
            **X_CHECKS if first else {**X_CHECKS, "dtype": getattr(self, "_dtype", X_CHECKS["dtype"])},
            order="C",
            accept_large_sparse=True,
            reset=first,
            **self._y_checks(),
        )
        targets, outputs = self._encode_targets(y, classes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        of_rows, power = in_reach(sample_weight)
        weights, more = in_reach(of_rows, self._class_weights(targets, of_rows))
        rows = np.arange(X.shape[0])
        if weights is not None:
            rows = rows[weights > 0]  # a row of weight 0 is left out
            if not len(rows):
                raise ValueError("the weights of rows and classes must not be zero for every row")
        held_out = rows[:0]
        if hold_out:
            kind = "classes" if targets.dtype == np.int32 else "numbers"
            train_at, held_at = split_rows(len(rows), self.validation_fraction, rng, **{kind: targets[rows]})
            rows, held_out = rows[train_at], rows[held_at]
        total = float(len(rows) if weights is None else weights[rows].sum())
        if weights is not None:
            weights = weights * (len(rows) / total)
            with np.errstate(over="ignore"):  # infinite: the automatic penalty is then zero
                total = float(np.ldexp(total, power + more))
        table, in_order = X, True
        if issparse(X):
            X = without_repetition(X)
            table, in_order = csr_arrays(X), bool(X.has_sorted_indices)
        narrowing = Narrowing(None, X.shape[1])
        return Data(given, y, table, in_order, narrowing, targets, outputs, weights, rows, held_out, total)

    def _initial_coefficients(
        self, data: Data, standardizer: Standardizer, first: bool, given: tuple[Any, Any] = (None, None)
    ) -> tuple[Array, Array]:
        """Return coefficients of shape (columns, outputs) and intercepts to begin with, in standard units."""
        goes_on = not first or (self.warm_start and hasattr(self, "coef_"))
        if any(part is not None for part in given):
            begin = given_start(given, (data.outputs, data.narrowing.trained), self.fit_intercept)
            return standardizer.to_standard(*begin)
        if not goes_on:
            start = self._initial_intercept(data) if self.fit_intercept else np.zeros(data.outputs)
            return np.zeros((data.narrowing.trained, data.outputs)), start
        coef = dense_coef(self.coef_)
        if coef.shape != (data.outputs, data.narrowing.trained):
            raise ValueError(
                f"X and y must have the columns and outputs of the last fit, {coef.shape[1]} and {coef.shape[0]}; "
                f"got {data.narrowing.trained} and {data.outputs}"
            )
        kept = self.fit_intercept or not first  # a fit without an intercept has none, whatever the last one had
        return standardizer.to_standard(coef.T, self.intercept_ * kept)

    def _train(self, trainer: Any, data: Data, rng: np.random.Generator, n_epochs: int) -> History:
        order = BatchOrder(data.rows, rng, self.shuffle, trainer.batch_size, in_place=True)
        if self._probe is not None:
            return self._probe.run(trainer.optimizer, order, trainer.run)

        def run_epoch(epoch: int) -> float:
            return float(trainer.epoch(order))

        def score() -> float:
            weights = None if data.weights is None else data.weights[data.held_out]
            scores = trainer.scores(data.held_out)
            return self._score(scores, data.y[data.held_out], weights) if np.isfinite(scores).all() else np.nan

        def fitted() -> dict[str, Any]:
            self._set_weights(trainer, data)
            return {name: value for name, value in vars(self).items() if name.endswith("_")}

        return train(
            self,
            run_epoch,
            n_epochs,
            trainer.weights(),
            run_epochs=lambda: trainer.run_epochs(order, n_epochs),
            score=score if len(data.held_out) else None,
            logs=lambda: {"lr": trainer.lr},
            fitted=fitted,
            data={"X": data.X, "y": data.y},
        )

    def _set_weights(self, trainer: Any, data: Data) -> None:
        coef, intercept = trainer.raw()
        self._set_coefficients(data.narrowing.coef(coef), intercept)
        self.optimizer_ = trainer.solver

    def _set_history(self, history: History, state: Mapping[str, Any] | None) -> None:
        """Set the attributes that describe the training; with a state, `partial_fit` can go on from it."""
        self.n_iter_, self.loss_curve_ = history.n_iter, history.losses
        if state is not None:
            epochs, losses = getattr(self, "_partial", (0, []))
            self.n_iter_, self.loss_curve_ = epochs + 1, [*losses, *history.losses]
            self._partial = (self.n_iter_, self.loss_curve_)
            self._optimizer_state = state
        else:
            self._choose_solution()
            for name in ("_optimizer_state", "_partial", "_dtype"):
                self.__dict__.pop(name, None)
        self.loss_ = self.loss_curve_[-1]
        self.validation_scores_ = history.scores or None
        self.best_validation_score_ = max(history.scores, default=None)

    def _standardizer_for(self, data: Data, first: bool, partial: bool) -> tuple[Standardizer, FirstRows | None]:
        """Return the standardizer for a call, and the rows that the next call of `partial_fit` is to take it from."""
        if not partial or (first and len(data.rows) >= ENOUGH):
            return self._make_standardizer(data), None
        X = data.table if not data.sparse else csr_array(data.table, shape=(len(data.y), data.narrowing.width))
        if not first:
            check_alike(X, self._standardizer.dense)
            if self._first_rows is None:
                return self._standardizer, None
        rows = join_rows(None if first else self._first_rows, X, data.targets, data.weights)
        table = csr_arrays(rows.X) if issparse(rows.X) else rows.X
        given = replace(
            data, table=table, targets=rows.targets, weights=rows.weights, rows=np.flatnonzero(rows.weights)
        )
        return self._make_standardizer(given), None if rows.enough else rows

    def _make_standardizer(self, data: Data) -> Standardizer:
        if not self.standardize:
            return Standardizer()
        n_threads = threads.resolve(self.n_threads)
        features: tuple[Array | None, Array, float | None]
        if data.sparse:
            features = sparse_scale(
                data.table, data.rows, data.weights, data.narrowing.trained, self.fit_intercept, n_threads
            )
        else:
            features = (*dense_scale(data.table, data.rows, data.weights, self.fit_intercept, n_threads), None)
        return self._standardizer_of(
            features, lambda: target_moments(data.targets, data.rows, data.weights, self.fit_intercept, n_threads)
        )

    def _standardizer_of(
        self, features: tuple[Array | None, Array, float | None], moments: Callable[[], tuple[Array, Array]]
    ) -> Standardizer:
        """Return the standardizer by the columns' mean, inverse scale and `filled`, and the targets' `moments`."""
        loss, (mean, inv_scale, filled) = self._losses[self.loss], features
        if not loss.standardizes:
            return Standardizer(mean, inv_scale, filled=filled)
        target_mean, target_scale = moments()
        if loss.parameter is not None and loss.parameter.target_units:
            target_scale = common_deviation(target_scale)
        return Standardizer(mean, inv_scale, target_mean, target_scale, filled=filled)

    def _native_loss(self, outputs: int, standardizer: Standardizer) -> tuple[str, float]:
        """Return the native loop of the loss, and its parameter."""
        loss = self._losses[self.loss].resolve(self)
        if outputs > 1 and loss.several is not None:
            return loss.several, loss.constant
        return native_loss(self, loss, standardizer.target_scale)

    def _resolve_schedule(
        self, n_rows: int, n_coefficients: int, sparse: bool, *, found: float | None = None, partial: bool = False
    ) -> ResolvedSchedule:
        """Return the schedule for n rows to train on; `found` is the rate that a sweep suggests."""
        batch_size = automatic_batch_size(n_rows) if self.batch_size == "auto" else min(int(self.batch_size), n_rows)
        budget = automatic_budget(n_rows, n_coefficients, sparse)
        max_iter = 1 if partial else self.max_iter
        if max_iter == "auto":
            max_iter = automatic_epochs(budget, n_rows, batch_size)
        n_steps = max_iter * -(-n_rows // batch_size)
        lr = resolve_lr(self.lr, lambda: automatic_lr(budget, None if partial else n_steps, found), self.optimizer)
        return ResolvedSchedule(batch_size, int(max_iter), n_steps, lr)

    def _penalty(self, automatic: float) -> tuple[float, float]:
        """Return the weights of l2 and l1."""
        share = {"l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio, None: 0.0}[self.penalty]
        alpha = 0.0 if self.penalty is None else automatic if self.alpha == "auto" else self.alpha
        return float(alpha * (1.0 - share)), float(alpha * share)

    def _check_parameters(self) -> None:
        """Check the parameters that nothing else checks, before the data."""
        check_one_of("loss", self.loss, tuple(self._losses))
        check_one_of("penalty", self.penalty, PENALTIES)
        if not isinstance(self.alpha, str) or self.alpha != "auto":
            NON_NEGATIVE.number("alpha", self.alpha, is_float32=False)
        if self.l1_ratio is not None or self.penalty == "elasticnet":
            UNIT.number("l1_ratio", self.l1_ratio, is_float32=False)
        OPEN_UNIT.number("validation_fraction", self.validation_fraction, is_float32=False)
        check_count("max_iter", self.max_iter, "auto")
        check_count("batch_size", self.batch_size, "auto")
        if self.n_iter_no_change != np.inf:
            check_count("n_iter_no_change", self.n_iter_no_change)
        if self.tol is not None:
            NON_NEGATIVE.number("tol", self.tol, is_float32=False)
        threads.check(self.n_threads)
        for name in ("fit_intercept", "shuffle", "early_stopping", "warm_start", "standardize"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False; got {getattr(self, name)!r}")
        if self.average is not False and self.average is not True:
            check_count("average", self.average)
        check_loss_parameters(self, self._losses)

    def _raw_scores(self, X: Any) -> Array:
        """Return the scores of new data, of shape (n, outputs)."""
        check_is_fitted(self, "coef_")
        X = validate_data(self, own_indices(X), **X_CHECKS, reset=False)
        coef = self.coef_ if issparse(self.coef_) else np.atleast_2d(self.coef_)
        scores: Array = safe_sparse_dot(X, coef.T, dense_output=True) + self.intercept_
        return scores
