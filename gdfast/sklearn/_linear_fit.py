"""What the two linear estimators share: parameters checked, data taken, the training, the weights put down."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gdfast import threads
from gdfast.hyperparameters import RATE, UNIT, Range
from gdfast.sklearn._choices import make_generator, resolve_lr, resolve_optimizer
from gdfast.sklearn._defaults import automatic_batch_size, automatic_epochs, automatic_schedule
from gdfast.sklearn._losses import Loss
from gdfast.sklearn._problem import Dealer, Problem, csr_arrays, limited_blas, loops
from gdfast.sklearn._scaling import Scaling, dense_columns, sparse_columns, target_moments
from gdfast.sklearn._training import CallbackSupportMixin, History, split_rows, train

Array = np.ndarray[Any, Any]

PENALTIES = ("l2", "l1", "elasticnet", None)
OPEN_UNIT = Range(0.0, 1.0, positive=True, fixed=True)


class LinearBase(CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """The part of a linear estimator that does not depend on what is predicted."""

    _losses: Mapping[str, Loss]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # What a subclass says.

    @abstractmethod
    def _take_targets(self, y: Array, first: bool) -> tuple[Array, int]:
        """Check y and return the training's targets and the number of outputs; set attributes that describe y."""

    @abstractmethod
    def _put_down(self, coef: Array, intercept: Array) -> None:
        """Set `coef_` and `intercept_` in the shapes that scikit-learn's users expect."""

    @abstractmethod
    def _score(self, problem: Problem, rows: Array, targets: Array, weights: Array | None) -> float:
        """Return the validation score of the present weights; larger is better."""

    @abstractmethod
    def _first_intercept(self, targets: Array, rows: Array, weights: Array | None, outputs: int) -> Array:
        """Return the intercepts, as the training sees them, of a model that knows nothing of the columns."""

    def _row_weights(self, targets: Array, sample_weight: Array | None) -> Array | None:
        """Return each row's weight."""
        return sample_weight

    # How it is done.

    def _fit(self, X: Any, y: Any, sample_weight: Any, partial: bool) -> "LinearBase":
        self._check_parameters()
        first = not (partial and hasattr(self, "coef_"))
        X, y = self._take_data(X, y, reset=first)
        targets, outputs = self._take_targets(y, first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weights = self._row_weights(targets, sample_weight)
        rows = np.arange(X.shape[0])
        if weights is not None:
            rows = rows[weights > 0]  # a row without weight is as if it were not there
            if not len(rows):
                raise ValueError("sample_weight must not be zero for every row")
        rng = make_generator(self.random_state)
        held_out = rows[:0]
        if self.early_stopping and not partial:
            stratify = targets[rows] if targets.dtype == np.int32 else None
            train_at, held_at = split_rows(len(rows), self.validation_fraction, rng, stratify)
            rows, held_out = rows[train_at], rows[held_at]
        if weights is not None:
            weights = weights / weights[rows].mean()
        self._train(X, targets, weights, rows, held_out, outputs, rng, partial, first)
        return self

    def _take_data(self, X: Any, y: Any, reset: bool) -> tuple[Any, Array]:
        data: tuple[Any, Array] = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
            accept_large_sparse=True,
            reset=reset,
            **self._y_checks(),
        )
        return data

    def _y_checks(self) -> dict[str, Any]:
        return {}

    def _train(
        self,
        X: Any,
        targets: Array,
        weights: Array | None,
        rows: Array,
        held_out: Array,
        outputs: int,
        rng: np.random.Generator,
        partial: bool,
        first: bool,
    ) -> None:
        l2, l1 = self._penalties()
        scaling = self._scaling if not first else self._make_scaling(X, targets, weights, rows, outputs)
        seen = targets if targets.dtype == np.int32 else self._scaled_targets(targets, scaling)
        if not first or (self.warm_start and hasattr(self, "coef_")):
            coef, intercept = scaling.to_scaled(np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_))
        else:
            coef = np.zeros((outputs, X.shape[1]))
            intercept = np.zeros(outputs)
            if self.fit_intercept:
                intercept = self._first_intercept(seen, rows, weights, outputs)
        if coef.shape != (outputs, X.shape[1]):
            raise ValueError(
                f"warm_start needs the {coef.shape[0]} outputs and {coef.shape[1]} columns of the last fit; got "
                f"{outputs} outputs and {X.shape[1]} columns"
            )
        batch_size = self._batch_size(X, rows)
        n_epochs = 1 if partial else self._epochs(len(rows), batch_size)
        problem = Problem(
            X, seen, weights, scaling, self._loop(outputs, scaling), coef, intercept,
            batch_size=batch_size, n_threads=self.n_threads,
        )  # fmt: skip
        optimizer, options = resolve_optimizer(self.optimizer)
        steps = n_epochs * -(-len(rows) // batch_size)
        options["lr"] = resolve_lr(self.lr, lambda: automatic_schedule(optimizer, None if partial else steps))
        if self.average:
            options |= {"ema_decay": "average", "ema_start": max(0, int(self.average) - 1)}
        state = getattr(self, "_optimizer_state", None) if not first else None
        problem.bind(optimizer, options, l2=l2, l1=l1, fit_intercept=self.fit_intercept, state=state)
        with limited_blas(problem.needs_blas):
            history = self._run(problem, X, targets, weights, rows, held_out, rng, n_epochs, (l2, l1))
        self._finish(problem, history, scaling, partial)

    def _run(
        self,
        problem: Problem,
        X: Any,
        targets: Array,
        weights: Array | None,
        rows: Array,
        held_out: Array,
        rng: np.random.Generator,
        n_epochs: int,
        penalties: tuple[float, float],
    ) -> History:
        deal = Dealer(rows, rng, self.shuffle, problem.batch_size)

        def run_epoch(epoch: int) -> float:
            return problem.run(deal()) + problem.penalty(*penalties)

        def score() -> float:
            return self._score(problem, held_out, targets, weights)

        def fitted() -> dict[str, Any]:
            self._put_down(*problem.raw(average=bool(self.average)))
            return {name: value for name, value in vars(self).items() if name.endswith("_")}

        return train(
            self,
            run_epoch,
            n_epochs,
            problem.weights(bool(self.average)),
            score=score if len(held_out) else None,
            logs=lambda: {"lr": problem.optimizer.lr},
            fitted=fitted,
            data={"X": X, "y": targets},
        )

    def _finish(self, problem: Problem, history: History, scaling: Scaling, partial: bool) -> None:
        self._put_down(*problem.raw(average=bool(self.average)))
        self._scaling = scaling
        if partial:
            self._optimizer_state = problem.optimizer.state_dict()
            self.n_iter_ = getattr(self, "n_iter_", 0) + 1
            self.loss_curve_ = [*getattr(self, "loss_curve_", []), *history.losses]
        else:
            self.__dict__.pop("_optimizer_state", None)
            self.n_iter_, self.loss_curve_ = history.n_iter, history.losses
        self.validation_scores_ = history.scores or None

    def _make_scaling(self, X: Any, targets: Array, weights: Array | None, rows: Array, outputs: int) -> Scaling:
        mean = inverse = None
        target_mean, target_scale = np.zeros(outputs), np.ones(outputs)
        if self.standardize:
            n_threads = threads.resolve(self.n_threads)
            if issparse(X):
                inverse = sparse_columns(csr_arrays(X), rows, X.shape[1])
            else:
                mean, inverse = dense_columns(loops(), X, rows, weights, self.fit_intercept, n_threads)
            if self._losses[self.loss].degree:
                target_mean, target_scale = target_moments(targets, rows, weights, self.fit_intercept)
                if self._losses[self.loss].parameter == "epsilon":  # one number for all targets
                    target_scale[:] = np.exp(np.log(target_scale).mean())
        return Scaling(mean, inverse, target_mean, target_scale)

    @staticmethod
    def _scaled_targets(targets: Array, scaling: Scaling) -> Array:
        if not scaling.target_mean.any() and (scaling.target_scale == 1).all():
            return targets
        return np.ascontiguousarray((targets - scaling.target_mean) / scaling.target_scale)

    def _loop(self, outputs: int, scaling: Scaling) -> tuple[str, float]:
        """Return the native loop of the loss, and the number that it takes."""
        loss = self._losses[self.loss]
        if loss.parameter is None:
            return loss.name, loss.constant
        number = float(getattr(self, loss.parameter))
        return loss.name, number / scaling.target_scale[0] if loss.parameter == "epsilon" else number

    def _batch_size(self, X: Any, rows: Array) -> int:
        if self.batch_size == "auto":
            return automatic_batch_size(X, len(rows))
        return min(self.batch_size, len(rows))

    def _epochs(self, n: int, batch_size: int) -> int:
        return automatic_epochs(n, batch_size) if self.max_iter == "auto" else self.max_iter

    def _penalties(self) -> tuple[float, float]:
        share = {"l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio, None: 0.0}[self.penalty]
        alpha = 0.0 if self.penalty is None else self.alpha
        return float(alpha * (1.0 - share)), float(alpha * share)

    def _check_parameters(self) -> None:
        """Check what no one else checks, before any data is looked at."""
        _one_of("loss", self.loss, tuple(self._losses))
        _one_of("penalty", self.penalty, PENALTIES)
        RATE.number("alpha", self.alpha, single=False)
        UNIT.number("l1_ratio", self.l1_ratio, single=False)
        OPEN_UNIT.number("validation_fraction", self.validation_fraction, single=False)
        _count("max_iter", self.max_iter, "auto")
        _count("batch_size", self.batch_size, "auto")
        _count("n_iter_no_change", self.n_iter_no_change)
        if self.tol is not None:
            RATE.number("tol", self.tol, single=False)
        threads.check(self.n_threads)
        for name in ("fit_intercept", "shuffle", "early_stopping", "warm_start", "standardize"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False; got {getattr(self, name)!r}")
        if self.average is not False and self.average is not True:
            _count("average", self.average)

    def _raw_scores(self, X: Any) -> Array:
        """Return the scores of new data, of shape (n, outputs)."""
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        scores: Array = safe_sparse_dot(X, np.atleast_2d(self.coef_).T, dense_output=True) + self.intercept_
        return scores


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if not isinstance(value, str | None) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")


def _count(name: str, value: Any, word: str | None = None) -> None:
    """Check a whole number from 1 on, or a word in its place."""
    if word is not None and isinstance(value, str) and value == word:
        return
    or_word = f' or "{word}"' if word else ""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int{or_word}; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1{or_word}; got {value!r}")
