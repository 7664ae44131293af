"""What workers do with the rows of a partition. These functions are tasks: their arguments and results travel."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from gdfast.dask._blas import one_blas_thread
from gdfast.dask._plan import Encoding, Plan
from gdfast.engine import _linear
from gdfast.optimizers import SGD
from gdfast.sklearn._base import X_CHECKS
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._choices import resolve_optimizer
from gdfast.sklearn._evaluation import evaluating
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._native_loops import linear_loops
from gdfast.sklearn._scaling import SparseMoments, sparse_moments
from gdfast.sklearn._sparse import csr_arrays, own_indices, without_repetition
from gdfast.sklearn._weights import in_reach

Array = np.ndarray[Any, Any]
Point = tuple[Array, Array]  # coef (columns, outputs) and intercept (outputs,), float64, in standard units

BLOCK_BYTES = 8 << 20  # of the float64 rows that a gradient is computed of at a time
FEWEST_ROWS, MOST_ROWS = 256, 1 << 16


@dataclass
class Rows:
    """The rows of a partition, checked.

    Attributes
    ----------
    number : int
        Of the partition, from 0.
    X : C-contiguous array or CSR
    y : array
    weights : float64 array, or None
        The largest lies in [1/2, 1).
    exponent : int
        Of the power of two that was divided out of the weights.
    names : array of str, or None
        Of the columns.
    """

    number: int
    X: Any
    y: Array
    weights: Array | None
    exponent: int
    names: Any

    def __sizeof__(self) -> int:
        """Return the bytes, by which Dask decides what a worker holds."""
        return _bytes_of(self.X) + _bytes_of(self.y) + _bytes_of(self.weights)


@dataclass
class Encoded:
    """The rows of a partition as the native loops take them; see `LinearTrainer`. `rows` are those with a weight."""

    number: int
    table: Any
    in_order: bool
    targets: Array
    weights: Array | None
    rows: Array

    @property
    def sparse(self) -> bool:
        """Whether the table is in CSR."""
        return isinstance(self.table, tuple)

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(len(self.rows) if self.weights is None else self.weights[self.rows].sum())

    def __sizeof__(self) -> int:
        """Return the bytes, by which Dask decides what a worker holds."""
        arrays = [*(self.table if self.sparse else (self.table,)), self.targets, self.weights, self.rows]
        return sum(map(_bytes_of, arrays))


def _bytes_of(data: Any) -> int:
    if issparse(data):
        return int(data.data.nbytes + data.indices.nbytes + data.indptr.nbytes)
    return 0 if data is None else int(data.nbytes)


@contextmanager
def of_partition(number: int) -> Iterator[None]:
    """Name the partition in errors."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"partition {number}: {error}") from error


def check(number: int, X: Any, y: Any, weights: Any, estimator: Any) -> Rows | None:
    """Return the rows of a partition; None if there are none."""
    with of_partition(number):
        if not common_length(X, y, weights):
            return None
        local = copy(estimator)
        checks = {**X_CHECKS, **local._y_checks()}
        X, y = validate_data(
            local, own_indices(X), own_indices(y, "y"), **checks, order="C", accept_large_sparse=True, reset=True
        )
        if is_classifier(local):
            if y.dtype.kind not in "iub":
                check_classification_targets(y)
        else:
            local._encode_targets(y, None)
        if weights is not None:
            weights = checked_weights(weights)
        weights, exponent = in_reach(weights)
        X = without_repetition(X) if issparse(X) else X
        return Rows(number, X, y, weights, exponent, getattr(local, "feature_names_in_", None))


def common_length(*given: Any) -> int:
    """Return the number of rows of X, y and weights, which may be None."""
    lengths = [part.shape[0] for part in given if part is not None]
    if min(lengths) != max(lengths):
        raise ValueError(f"X, y and sample_weight must have as many rows; got {', '.join(map(str, lengths))}")
    return int(lengths[0])


def checked_weights(weights: Any) -> Array:
    """Return the weights of a partition's rows, of which all may be zero."""
    found = np.asarray(weights, np.float64)
    bad = found[~((found >= 0.0) & (found < np.inf))]
    if bad.size:
        raise ValueError(f"sample_weight must be finite and not negative; got {bad[0]}")
    return found


def summarise(rows: Rows | None, classifier: bool) -> dict[str, Any] | None:
    """Return what the client asks of a partition's rows, without the rows."""
    if rows is None:
        return None
    kept = np.arange(len(rows.y)) if rows.weights is None else np.flatnonzero(rows.weights)
    summary = {
        "columns": rows.X.shape[1],
        "dtype": rows.X.dtype,
        "sparse": bool(issparse(rows.X)),
        "names": rows.names,
        "outputs": rows.y.shape[1:],
        "kept": len(kept),
        "exponent": rows.exponent,
    }
    if classifier:
        summary["labels"], codes = np.unique(rows.y, return_inverse=True)
        summary["counts"] = np.bincount(codes, rows.weights, len(summary["labels"])).astype(np.float64)
    if len(kept):
        summary["row"] = None if summary["sparse"] else rows.X[kept[0]]
        summary["target"] = None if classifier else np.atleast_1d(rows.y[kept[0]]).astype(np.float64)
    return summary


def encode(rows: Rows, encoding: Encoding) -> Encoded:
    """Return the rows with the classes and weights of all partitions."""
    with of_partition(rows.number):
        local = copy(encoding.estimator)
        targets, _ = local._encode_targets(rows.y, encoding.classes)
        weights = rows.weights
        if encoding.weighted and weights is None:
            weights = np.ones(len(rows.y))
        if weights is not None:
            weights = np.ldexp(weights, rows.exponent - encoding.exponent)
            if encoding.class_factors is not None:
                weights = weights * encoding.class_factors[targets]
        kept = np.arange(len(targets)) if weights is None else np.flatnonzero(weights)
        table, in_order = rows.X, True
        if issparse(rows.X):
            table, in_order = csr_arrays(rows.X), bool(rows.X.has_sorted_indices)
        return Encoded(rows.number, table, in_order, targets, weights, kept)


def moments(part: Encoded, row: Array | None, target: Array | None) -> tuple[Any, ...]:
    """Return the sums of weights; of the columns less `row`, and their squares; of the targets less `target`."""
    loops, found = linear_loops(), list[Any]([part.total, float(len(part.rows))])
    if not len(part.rows):
        return (*found, *(np.zeros((2, len(shift))) if shift is not None else 0.0 for shift in (row, target)))
    for table, shift in ((part.table, row), (part.targets, target)):
        if shift is None:
            found.append(0.0)
            continue
        # the shift of another partition may be in more digits
        values = np.require(table, shift.dtype)
        found.append(np.stack(_linear.column_moments(loops, values, part.rows, part.weights, shift, 1)))
    return tuple(found)


def moments_of_csr(part: Encoded, columns: int) -> tuple[SparseMoments]:
    """Return the moments of the columns of CSR."""
    return (sparse_moments(part.table, part.rows, part.weights, columns, 1),)


def added(parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the sums of results, in the order of their partitions."""
    total = parts[0]
    with np.errstate(all="ignore"):  # a training that diverges is found at its end
        for part in parts[1:]:
            total = tuple(one + other for one, other in zip(total, part, strict=True))
    return total


def epoch(part: Encoded, plan: Plan, point: Point, round_number: int) -> tuple[Any, ...]:
    """Return averaged coefficients and intercepts of an epoch over a partition, times its weight, and the weight."""
    rows, estimator = part.rows, copy(plan.estimator)
    total = part.total
    if not len(rows):
        return np.zeros_like(point[0]), np.zeros_like(point[1]), 0.0
    weights = None if part.weights is None else part.weights * (len(rows) / total)
    estimator.max_iter = plan.rounds
    schedule = estimator._resolve_schedule(len(rows), point[0].size, part.sparse)
    steps = -(-len(rows) // schedule.batch_size) * round_number
    rate = schedule.lr
    optimizer, options = resolve_optimizer(estimator.optimizer)
    options |= {"lr": (lambda step: rate(step + steps)) if callable(rate) else rate}
    options |= {"ema_decay": "average", "ema_start": 0}
    trainer = LinearTrainer(
        part.table,
        plan.standardizer.scale_targets(part.targets) if part.targets.dtype != np.int32 else part.targets,
        weights,
        plan.standardizer,
        plan.loss,
        point,
        (optimizer, options),
        penalty=plan.penalty,
        fit_intercept=estimator.fit_intercept,
        batch_size=schedule.batch_size,
        n_threads=plan.n_threads,
        indices_sorted=part.in_order,
    )
    rng = np.random.default_rng([plan.seed, part.number, round_number])
    with one_blas_thread(trainer.needs_blas):
        trainer.run(BatchOrder(rows, rng, estimator.shuffle, schedule.batch_size).epoch())
    with evaluating(trainer.optimizer):
        coef, intercept = trainer.coef.astype(np.float64), trainer.intercept.astype(np.float64)
    return coef.reshape(point[0].shape) * total, intercept * total, total


def gradient(part: Encoded, plan: Plan, point: Point) -> tuple[Any, ...]:
    """Return the weighted sums over the rows of a partition: the loss, its gradients by coefficients and intercepts."""
    found: tuple[Any, ...] = (0.0, np.zeros_like(point[0]), np.zeros_like(point[1]))
    trainer = None
    for table, targets, weights, rows in _blocks(part, plan, len(point[0])):
        if trainer is None:
            trainer = LinearTrainer(
                table,
                targets,
                weights,
                plan.standardizer,
                plan.loss,
                point,
                (SGD, {"lr": 1.0}),  # takes no step
                penalty=(0.0, 0.0),
                fit_intercept=plan.estimator.fit_intercept,
                batch_size=MOST_ROWS,
                n_threads=plan.n_threads,
                indices_sorted=part.in_order,
            )
        else:
            trainer.bind(table, targets, weights, indices_sorted=part.in_order)
        with one_blas_thread(trainer.needs_blas):
            found = added([found, trainer.gradient(rows)])
    return found


def _blocks(part: Encoded, plan: Plan, columns: int) -> Iterator[tuple[Any, Array, Array | None, Array]]:
    """Yield blocks of rows in float64: table, targets, weights, and which of them have a weight."""
    size = MOST_ROWS if part.sparse else min(MOST_ROWS, max(FEWEST_ROWS, BLOCK_BYTES // (8 * max(columns, 1))))
    for at in range(0, len(part.targets), size):
        end = min(at + size, len(part.targets))
        rows = part.rows[slice(*np.searchsorted(part.rows, (at, end)))] - at
        if not len(rows):
            continue
        table: Any
        if part.sparse:
            values, indices, pointers = part.table
            first, last = pointers[at], pointers[end]
            table = (values[first:last].astype(np.float64), indices[first:last], pointers[at : end + 1] - first)
        else:
            table = np.require(part.table[at:end], np.float64, ["C", "A"])
        targets = part.targets[at:end]
        if targets.dtype != np.int32:
            targets = plan.standardizer.scale_targets(targets)
        yield table, targets, None if part.weights is None else part.weights[at:end], rows
