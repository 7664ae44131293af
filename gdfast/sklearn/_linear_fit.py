"""What the two linear estimators share: parameters checked, data taken, the training, the weights put down."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gdfast.engine import threads
from gdfast.sklearn._choices import make_generator, resolve_lr, resolve_optimizer
from gdfast.sklearn._defaults import (
    automatic_alpha,
    automatic_batch_size,
    automatic_epochs,
    automatic_pace,
    automatic_schedule,
)
from gdfast.sklearn._finder import FindsRate
from gdfast.sklearn._losses import Loss
from gdfast.sklearn._narrowing import Narrowing, narrow
from gdfast.sklearn._problem import Dealer, Problem, limited_blas, loops
from gdfast.sklearn._scaling import Scaling, dense_columns, sparse_columns, target_moments
from gdfast.sklearn._sparse import csr_arrays, own_indices, without_repetition
from gdfast.sklearn._training import CallbackSupportMixin, History, split_rows, train
from gdfast.sklearn._weights import in_reach
from gdfast.stepping.hyperparameters import NON_NEGATIVE, UNIT, Range

Array = np.ndarray[Any, Any]

ALPHA = 1e-4  # with partial_fit, where no one knows how many rows there will be
PENALTIES = ("l2", "l1", "elasticnet", None)
OPEN_UNIT = Range(0.0, 1.0, positive=True, fixed=True)


@dataclass
class Data:
    """What came with a call of `fit`, checked.

    Attributes
    ----------
    X
        As it came.
    table : array of shape (rows, columns), or (data, indices, indptr) of CSR
        The columns that are trained. Indices are ours alone, and so never handed out.
    in_order : bool
        Whether every row of CSR has its columns in order.
    narrowing : Narrowing
        Which columns these are.
    y : array
        As it came.
    targets : array
        For the training: class numbers, int32 of shape (n,), or numbers, float64 of shape (n, outputs).
    outputs : int
    weights : float64 array of shape (n,), or None
        Of mean 1 over `rows`.
    rows, held_out : arrays of row numbers
        To train on, and to validate with.
    total : float
        How many rows `rows` counts for: the sum of their weights as they came.
    """

    X: Any
    table: Any
    in_order: bool
    narrowing: Narrowing
    y: Array
    targets: Array
    outputs: int
    weights: Array | None
    rows: Array
    held_out: Array
    total: float

    @property
    def sparse(self) -> bool:
        """Whether the data are in CSR."""
        return isinstance(self.table, tuple)


class LinearBase(FindsRate, CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """The part of a linear estimator that does not depend on what is predicted."""

    _losses: ClassVar[Mapping[str, Loss]]
    _scaling: Scaling

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
    def _score(self, scores: Array, y: Array, weights: Array | None) -> float:
        """Return how well scores of shape (n, outputs) predict y; larger is better."""

    @abstractmethod
    def _first_intercept(self, data: "Data") -> Array:
        """Return the intercepts, as the training sees them, of a model that knows nothing of the columns."""

    def _class_weights(self, targets: Array, sample_weight: Array | None) -> Array | None:
        """Return the weight that each row has for its class."""
        return None

    # How it is done.

    def _fit(self, X: Any, y: Any, sample_weight: Any, partial: bool) -> None:
        self._check_parameters()
        found = self._found_rate(X, y, sample_weight, partial)
        first = not (partial and hasattr(self, "coef_"))
        rng = make_generator(self.random_state)
        data = self._take_data(X, y, sample_weight, rng, first, hold_out=self.early_stopping and not partial)
        if data.sparse and not partial and not self.warm_start:  # every coefficient begins at zero
            data.table, data.narrowing = narrow(data.table, data.narrowing.width, threads.resolve(self.n_threads))
        scaling = self._make_scaling(data) if first else self._scaling
        if data.targets.dtype != np.int32:
            data.targets = _scaled(data.targets, scaling)
        coef, intercept = self._beginning(data, scaling, first)
        batch_size = self._batch_size(data)
        pace = automatic_pace(len(data.rows), coef.size, data.sparse)
        n_epochs = self.max_iter
        if partial:
            n_epochs = 1
        elif n_epochs == "auto":
            n_epochs = automatic_epochs(pace, len(data.rows), batch_size)
        problem = Problem(
            data.table,
            data.targets,
            data.weights,
            scaling,
            self._loop(data.outputs, scaling),
            coef,
            intercept,
            batch_size=batch_size,
            n_threads=self.n_threads,
            indices_sorted=data.in_order,
        )
        scaled_columns = 0 if data.sparse or not self.standardize else data.narrowing.width
        penalties = self._penalties(ALPHA if partial else automatic_alpha(data.total, scaled_columns))
        optimizer, options = resolve_optimizer(self.optimizer)
        steps = None if partial else n_epochs * -(-len(data.rows) // batch_size)
        options["lr"] = resolve_lr(self.lr, lambda: automatic_schedule(pace, steps, found))
        if self.average:
            options |= {"ema_decay": "average", "ema_start": max(0, int(self.average) - 1)}
        state = None if first else getattr(self, "_optimizer_state", None)
        problem.bind(
            optimizer, options, l2=penalties[0], l1=penalties[1], fit_intercept=self.fit_intercept, state=state
        )
        with limited_blas(problem.needs_blas):
            history = self._run(problem, data, rng, n_epochs, penalties)
        self._put_down_all(problem, data)
        self._scaling = data.narrowing.scaling(scaling)
        self._remember(history, problem.optimizer.state_dict() if partial else None)

    def _take_data(
        self, X: Any, y: Any, sample_weight: Any, rng: np.random.Generator, first: bool, hold_out: bool
    ) -> Data:
        """Check everything that comes with a call of `fit`, and say which rows are for what."""
        given = X
        X, y = validate_data(
            self,
            own_indices(X),
            own_indices(y, "y"),
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
            accept_large_sparse=True,
            reset=first,
            **self._y_checks(),
        )
        targets, outputs = self._take_targets(y, first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        of_rows, power = in_reach(sample_weight)
        weights, more = in_reach(of_rows, self._class_weights(targets, of_rows))
        rows = np.arange(X.shape[0])
        if weights is not None:
            rows = rows[weights > 0]  # a row without weight is as if it were not there
            if not len(rows):
                raise ValueError("the weights of rows and classes must not be zero for every row")
        held_out = rows[:0]
        if hold_out:
            stratify = targets[rows] if targets.dtype == np.int32 else None
            train_at, held_at = split_rows(len(rows), self.validation_fraction, rng, stratify)
            rows, held_out = rows[train_at], rows[held_at]
        total = float(len(rows) if weights is None else weights[rows].sum())
        if weights is not None:
            weights = weights * (len(rows) / total)
            with np.errstate(over="ignore"):  # so many rows that no penalty counts beside them
                total = float(np.ldexp(total, power + more))
        table, in_order = X, True
        if issparse(X):
            X = without_repetition(X)
            table, in_order = csr_arrays(X), bool(X.has_sorted_indices)
        narrowing = Narrowing(None, X.shape[1])
        return Data(given, table, in_order, narrowing, y, targets, outputs, weights, rows, held_out, total)

    def _y_checks(self) -> dict[str, Any]:
        return {}

    def _beginning(self, data: Data, scaling: Scaling, first: bool) -> tuple[Array, Array]:
        """Return the coefficients and intercepts to begin with, as the training sees them."""
        shape = (data.outputs, data.narrowing.trained)
        if first and not (self.warm_start and hasattr(self, "coef_")):
            start = self._first_intercept(data) if self.fit_intercept else np.zeros(data.outputs)
            return np.zeros(shape), start
        coef = np.atleast_2d(self.coef_)
        if coef.shape != shape:
            raise ValueError(
                f"X and y must have the columns and outputs of the last fit, {coef.shape[1]} and {coef.shape[0]}; "
                f"got {shape[1]} and {shape[0]}"
            )
        return scaling.to_scaled(coef, self.intercept_)

    def _run(
        self, problem: Problem, data: Data, rng: np.random.Generator, n_epochs: int, penalties: tuple[float, float]
    ) -> History:
        deal = Dealer(data.rows, rng, self.shuffle, problem.batch_size)
        if self._probe is not None:
            return self._probe.run(problem.optimizer, deal, problem.run, problem.batch_size)

        def run_epoch(epoch: int) -> float:
            return problem.run(deal()) + problem.penalty(*penalties)

        def score() -> float:
            weights = None if data.weights is None else data.weights[data.held_out]
            return self._score(problem.scores(data.held_out), data.y[data.held_out], weights)

        def fitted() -> dict[str, Any]:
            self._put_down_all(problem, data)
            return {name: value for name, value in vars(self).items() if name.endswith("_")}

        return train(
            self,
            run_epoch,
            n_epochs,
            problem.weights(),
            score=score if len(data.held_out) else None,
            logs=lambda: {"lr": problem.lr},
            fitted=fitted,
            data={"X": data.X, "y": data.y},
        )

    def _put_down_all(self, problem: Problem, data: Data) -> None:
        coef, intercept = problem.raw()
        self._put_down(data.narrowing.coef(coef), intercept)

    def _remember(self, history: History, state: Mapping[str, Any] | None) -> None:
        """Set the attributes that tell of the training; with a state, more of it may follow."""
        self.n_iter_, self.loss_curve_ = history.n_iter, history.losses
        if state is not None:
            epochs, losses = getattr(self, "_partial", (0, []))
            self.n_iter_, self.loss_curve_ = epochs + 1, [*losses, *history.losses]
            self._partial = (self.n_iter_, self.loss_curve_)
            self._optimizer_state = state
        else:
            self.__dict__.pop("_optimizer_state", None)
            self.__dict__.pop("_partial", None)
        self.validation_scores_ = history.scores or None

    def _make_scaling(self, data: Data) -> Scaling:
        mean = inverse = None
        target_mean, target_scale = np.zeros(data.outputs), np.ones(data.outputs)
        if self.standardize:
            n_threads = threads.resolve(self.n_threads)
            if data.sparse:
                inverse = sparse_columns(data.table, data.rows, data.narrowing.trained, n_threads)
            else:
                mean, inverse = dense_columns(
                    loops(), data.table, data.rows, data.weights, self.fit_intercept, n_threads
                )
            if self._losses[self.loss].scales:
                target_mean, target_scale = target_moments(
                    loops(), data.targets, data.rows, data.weights, self.fit_intercept, n_threads
                )
                if self._losses[self.loss].parameter == "epsilon":  # one number for all targets
                    target_scale[:] = np.exp(np.log(target_scale).mean())
        return Scaling(mean, inverse, target_mean, target_scale)

    def _loop(self, outputs: int, scaling: Scaling) -> tuple[str, float]:
        """Return the native loop of the loss, and the number that it takes."""
        loss = self._losses[self.loss]
        if loss.parameter is None:
            return loss.name, loss.constant
        number = float(getattr(self, loss.parameter))
        return loss.name, number / scaling.target_scale[0] if loss.parameter == "epsilon" else number

    def _batch_size(self, data: Data) -> int:
        n = len(data.rows)
        return automatic_batch_size(n) if self.batch_size == "auto" else min(int(self.batch_size), n)

    def _penalties(self, automatic: float) -> tuple[float, float]:
        """Return the weights of l2 and l1."""
        share = {"l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio, None: 0.0}[self.penalty]
        alpha = 0.0 if self.penalty is None else automatic if self.alpha == "auto" else self.alpha
        return float(alpha * (1.0 - share)), float(alpha * share)

    def _check_parameters(self) -> None:
        """Check what no one else checks, before any data is looked at."""
        _one_of("loss", self.loss, tuple(self._losses))
        _one_of("penalty", self.penalty, PENALTIES)
        if not isinstance(self.alpha, str) or self.alpha != "auto":
            NON_NEGATIVE.number("alpha", self.alpha, is_float32=False)
        UNIT.number("l1_ratio", self.l1_ratio, is_float32=False)
        OPEN_UNIT.number("validation_fraction", self.validation_fraction, is_float32=False)
        _count("max_iter", self.max_iter, "auto")
        _count("batch_size", self.batch_size, "auto")
        _count("n_iter_no_change", self.n_iter_no_change)
        if self.tol is not None:
            NON_NEGATIVE.number("tol", self.tol, is_float32=False)
        threads.check(self.n_threads)
        for name in ("fit_intercept", "shuffle", "early_stopping", "warm_start", "standardize"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False; got {getattr(self, name)!r}")
        if self.average is not False and self.average is not True:
            _count("average", self.average)

    def _raw_scores(self, X: Any) -> Array:
        """Return the scores of new data, of shape (n, outputs)."""
        check_is_fitted(self, "coef_")
        X = validate_data(self, own_indices(X), accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        scores: Array = safe_sparse_dot(X, np.atleast_2d(self.coef_).T, dense_output=True) + self.intercept_
        return scores


def _scaled(targets: Array, scaling: Scaling) -> Array:
    """Return the targets as the training sees them; the same array where that changes nothing."""
    if not scaling.target_mean.any() and (scaling.target_scale == 1).all():
        return targets
    scaled = targets - scaling.target_mean
    scaled /= scaling.target_scale
    return scaled


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
