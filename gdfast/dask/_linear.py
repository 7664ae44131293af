"""The part of the estimators on a cluster that does not depend on what is predicted."""

import warnings
from collections.abc import Mapping
from copy import copy, deepcopy
from typing import Any, ClassVar

import dask.array as da
import numpy as np
from dask.delayed import delayed
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from gdfast.dask import _rows
from gdfast.dask._cluster import Cluster
from gdfast.dask._partitions import check_collection, is_frame, partitions, with_whole_rows
from gdfast.dask._plan import Encoding, Plan
from gdfast.dask._statistics import Statistics, check_alike, encoding_of, measure
from gdfast.dask._watching import Watching
from gdfast.sklearn._base import check_count
from gdfast.sklearn._choices import make_generator, resolve_lr
from gdfast.sklearn._defaults import automatic_alpha
from gdfast.sklearn._linear_data import dense_coef
from gdfast.sklearn._polish import minimise
from gdfast.sklearn._training import checked_callbacks
from gdfast.stepping.hyperparameters import NON_NEGATIVE, Range

Array = np.ndarray[Any, Any]

POSITIVE = Range(0.0, positive=True, fixed=True)
KINKED = ("hinge", "epsilon_insensitive", "quantile")  # loops of the losses without a gradient everywhere
SMALL = 1 << 14  # bytes of coefficients that are sent with every task, which saves a message
ROUNDS = 20  # averaged epochs of these


class DaskLinear(BaseEstimator):
    """A linear model on a cluster; see :class:`GDClassifier` and :class:`GDRegressor`."""

    _local_class: ClassVar[Any]
    _not_local: ClassVar[tuple[str, ...]] = ("tol", "max_iter", "polish_iter", "timeout", "callbacks")
    coef_: Array
    intercept_: Array

    def to_local(self) -> Any:
        """Return the fitted estimator of `gdfast.sklearn` with the same coefficients and parameters.

        Returns
        -------
        GDClassifier or GDRegressor of `gdfast.sklearn`

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "coef_")
        return deepcopy(self._fitted)

    def _fit(self, X: Any, y: Any, sample_weight: Any, client: Any) -> None:
        estimator = self._local()
        cluster = Cluster(client, self.timeout)
        given = partitions(X, y, sample_weight)
        rows = cluster.compute(_rows.check, given, estimator)
        summaries = cluster.results(cluster.each(_rows.summarise, rows, is_classifier(estimator)))
        common, of_rows = check_alike(summaries)
        encoding, exponent = encoding_of(estimator, of_rows, sample_weight is not None)
        fitted = self._described(estimator, encoding, common)
        parts = [part for part, summary in zip(rows, summaries, strict=True) if summary is not None]
        del rows
        parts = cluster.each(_rows.encode, parts, cluster.share(encoding))
        statistics = measure(cluster, parts, encoding, common, of_rows, exponent)
        plan = Plan(
            estimator,
            statistics.standardizer,
            fitted._native_loss(len(statistics.start), statistics.standardizer),
            estimator._penalty(automatic_alpha(statistics.given_total, statistics.standardizer.columns)),
            self._rounds(),
            int(make_generator(self.random_state).integers(2**31)),
            1 if self.n_threads is None else self.n_threads,
        )
        training = _Training(cluster, parts, plan, statistics, self._begin(fitted, statistics, common["columns"]))
        watching = Watching(
            self, plan.rounds + self.polish_iter, lambda: _fitted_attributes(fitted, training, common["dtype"])
        )
        with watching:
            training.run(self.tol, self.polish_iter, watching)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        watching.end()

    def _local(self) -> Any:
        """Return the estimator of `gdfast.sklearn` with these parameters, which are checked."""
        parameters = self.get_params(deep=False)
        local = self._local_class(
            **{name: value for name, value in parameters.items() if name not in self._not_local},
            max_iter=self.max_iter,
        )
        local._check_parameters()
        checked_callbacks(self.callbacks)
        if isinstance(self.lr, str) and self.lr == "find":
            raise ValueError('lr must not be "find" on a cluster: the sweep needs the rows in memory')
        resolve_lr(self.lr, lambda: 0.1, self.optimizer)
        NON_NEGATIVE.number("tol", self.tol, is_float32=False)
        check_count("polish_iter", self.polish_iter)
        if self.timeout is not None:
            POSITIVE.number("timeout", self.timeout, is_float32=False)
        return local

    def _rounds(self) -> int:
        if self.max_iter != "auto":
            return int(self.max_iter)
        return ROUNDS if self._local_class._losses[self.loss].loop in KINKED else 1

    def _described(self, estimator: Any, encoding: Encoding, common: Mapping[str, Any]) -> Any:
        """Return the local estimator with the attributes that describe the data."""
        fitted = copy(estimator)
        fitted.n_features_in_ = common["columns"]
        if common["names"] is not None:
            fitted.feature_names_in_ = common["names"]
        if encoding.classes is None:
            fitted._flat = not common["outputs"]
        else:
            fitted._encode_targets(encoding.classes, encoding.classes)  # refuses a single class
        return fitted

    def _begin(self, fitted: Any, statistics: Statistics, columns: int) -> tuple[Array, Array]:
        """Return coefficients and intercepts to begin with, in standard units."""
        zeros = np.zeros((columns, len(statistics.start)))
        if not self.warm_start or not hasattr(self, "coef_"):
            return zeros, statistics.start
        before = dense_coef(self.coef_)
        if before.shape != zeros.T.shape:
            raise ValueError(
                f"warm_start needs coef_ of shape {zeros.T.shape}; that of the last fit has {before.shape}"
            )
        if not np.array_equal(getattr(fitted, "classes_", ()), getattr(self, "classes_", ())):
            raise ValueError(f"warm_start needs the classes of the last fit, {self.classes_}; got {fitted.classes_}")
        return statistics.standardizer.to_standard(before.T, self.intercept_)

    # Predictions.

    def _lazily(self, method: str, X: Any) -> Any:
        """Return what a method of the local estimator gives for every partition, as a Dask array."""
        local = self.to_local()
        check_collection("X", X, (2,))
        X = with_whole_rows(X)
        if X.shape[1] != local.n_features_in_:
            raise ValueError(f"X must have the {local.n_features_in_} columns of the fit; got {X.shape[1]}")
        like = _like_one_row(local, method)
        lengths = [np.nan] * X.npartitions if is_frame(X) else X.chunks[0]
        call, shared = delayed(_call, pure=False), delayed(local, pure=False)
        parts = [
            da.from_delayed(call(i, method, shared, part, like), (length, *like.shape[1:]), meta=like)
            for i, (part, length) in enumerate(zip(np.ravel(X.to_delayed()), lengths, strict=True))
        ]
        return da.concatenate(parts, allow_unknown_chunksizes=True)

    def _scored(self, scorer: Any, X: Any, y: Any, sample_weight: Any, client: Any) -> float:
        local = self.to_local()
        found: float = scorer(Cluster(client, self.timeout), local, partitions(X, y, sample_weight))
        return found


def _fitted_attributes(described: Any, training: "_Training", dtype: Any) -> dict[str, Any]:
    """Return what an estimator has after a fit, or as of now: the local estimator, and its attributes."""
    fitted, standardizer = copy(described), training.plan.standardizer
    coef, intercept = standardizer.features_to_raw(*standardizer.targets_to_raw(*training.point))
    coef, intercept = standardizer.in_raw_dtype(dtype, coef, intercept)
    fitted._set_coefficients(coef.T, intercept)
    fitted._choose_solution()
    fitted._standardizer, fitted.n_iter_ = standardizer, len(training.losses)
    fitted.loss_curve_, fitted.loss_ = [*training.losses], training.losses[-1]
    fitted.validation_scores_ = fitted.best_validation_score_ = None
    return {"_fitted": fitted, **{name: value for name, value in vars(fitted).items() if name.endswith("_")}}


def _like_one_row(local: Any, method: str) -> Array:
    """Return what a method gives, without rows."""
    nameless = copy(local)
    vars(nameless).pop("feature_names_in_", None)
    found: Array = getattr(nameless, method)(np.zeros((1, local.n_features_in_)))[:0]
    return found


def _call(number: int, method: str, local: Any, X: Any, like: Array) -> Array:
    if not X.shape[0]:
        return like
    with _rows.of_partition(number):
        found: Array = getattr(local, method)(X)
        return found


class _Training:
    """A training on the encoded partitions of a cluster.

    Attributes
    ----------
    point : (coefficients, intercepts), in standard units
    losses : list of float
        The objective at the start of the polishing, or so far, and after each of its steps.
    """

    def __init__(
        self, cluster: Cluster, parts: list[Any], plan: Plan, statistics: Statistics, begin: tuple[Array, Array]
    ) -> None:
        self.cluster, self.parts, self.plan, self.total = cluster, parts, plan, statistics.total
        self.shared, self.shape, self.losses = cluster.share(plan), begin[0].shape, list[float]()
        self.l1 = self._flat(np.full(self.shape, plan.penalty[1]), np.zeros(self.shape[1]))
        self.point = begin

    def run(self, tol: float, polish_iter: int, watching: Watching) -> None:
        """Train, until the minimum is reached or a callback stops it."""
        begin = self.point
        self._average(watching)
        averages_only = self.plan.estimator._losses[self.plan.estimator.loss].lowest_at_zero or watching.stopped
        points = [self.point] if averages_only else [self.point, begin]
        values = [self._penalised(point) for point in points]
        finite = [(value, i) for i, value in enumerate(values) if np.isfinite(value)]
        if not finite:
            raise ValueError(f"the loss is {values[0]}: the training diverged. Try a smaller lr, or scale the data.")
        value, best = min(finite)
        self.losses, self.point = [value], points[best]
        if averages_only:
            return

        def stops(x: Array, loss: float) -> bool:
            self.point = self._point(x)
            self.losses.append(loss)
            return watching.saw(loss)

        minimum = minimise(self.objective, self._flat(*self.point), self.l1, tol, polish_iter, stops)
        self.point = self._point(minimum.x)
        if minimum.left > tol and self.plan.loss[0] not in KINKED and not watching.stopped:
            warnings.warn(
                f"the polishing ended after {len(self.losses) - 1} steps with a gradient of {minimum.left:.2g}, more "
                f"than tol={tol:g}: raise polish_iter or tol, or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _average(self, watching: Watching) -> None:
        """Go on by rounds of averaged epochs, combined by the partitions' weights."""
        for number in range(self.plan.rounds):
            futures = self.cluster.each(_rows.epoch, self.parts, self.shared, self._sent(self.point), number)
            coef, intercept, total = self.cluster.combined(_rows.added, futures)
            with np.errstate(all="ignore"):
                self.point = coef / total, intercept / total
            if watching.looks:
                self.losses = [self._penalised(self.point)]
                if watching.saw(self.losses[0]):
                    return

    def _penalised(self, point: tuple[Array, Array]) -> float:
        """Return mean loss plus both penalties."""
        x = self._flat(*point)
        return self.objective(x)[0] + float(self.l1 @ np.abs(x))

    def objective(self, x: Array) -> tuple[float, Array]:
        """Return mean loss plus l2 penalty, and the gradient."""
        l2, (coef, intercept) = self.plan.penalty[0], self._point(x)
        futures = self.cluster.each(_rows.gradient, self.parts, self.shared, self._sent((coef, intercept)))
        loss, coef_grad, intercept_grad = self.cluster.combined(_rows.added, futures)
        value = loss / self.total + 0.5 * l2 * float(np.vdot(coef, coef))
        return value, self._flat(coef_grad / self.total + l2 * coef, intercept_grad / self.total)

    def _sent(self, point: tuple[Array, Array]) -> Any:
        """Return a point as tasks are given it: with every task if it is small, once if it is large."""
        return self.cluster.share(point) if point[0].nbytes > SMALL else point

    def _point(self, x: Array) -> tuple[Array, Array]:
        size = self.shape[0] * self.shape[1]
        intercept = x[size:] if self.plan.estimator.fit_intercept else np.zeros(self.shape[1])
        return x[:size].reshape(self.shape), intercept

    def _flat(self, coef: Array, intercept: Array) -> Array:
        return np.concatenate([coef.ravel(), intercept]) if self.plan.estimator.fit_intercept else coef.ravel()
