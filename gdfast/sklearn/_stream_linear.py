"""How a linear estimator learns from a source; see _streaming.py."""

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import numpy as np

from gdfast.sklearn._choices import averaging_optimizer
from gdfast.sklearn._defaults import automatic_alpha
from gdfast.sklearn._finish import find_zeros, refuse_divergence
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._small import SmallTrainer, small_trainer
from gdfast.sklearn._sparse import csr_arrays
from gdfast.sklearn._stream_checkpoint import Position
from gdfast.sklearn._stream_statistics import AllRows
from gdfast.sklearn._training import History
from gdfast.stepping.base import Optimizer
from gdfast.tables.batches import Batch

Array = np.ndarray[Any, Any]

#: times the mean weight of the first rows: one such row is worth as much as the steps of all others
FAR_ABOVE = 1e15


class LinearLearner:
    """A linear estimator that learns from batches.

    Attributes
    ----------
    columns, sparse, dtype
        What X is like in the first rows, and has to be like in all.
    small : SmallTrainer or None
        Where the first rows are all and few: the method of arrays, which need not read them again.
    """

    small: SmallTrainer | None = None

    def __init__(self, estimator: Any) -> None:
        estimator._check_parameters()
        self.estimator = estimator

    def learn(self, first: Batch, everything: AllRows | None = None) -> None:
        """Learn classes, scales and the start from the first rows; classes and scales of all, where these are known."""
        estimator, classes = self.estimator, None if everything is None else everything.classes
        self._data = data = estimator._check_data(
            first.X, first.y, first.weights, np.random.default_rng(0), classes, first=True, hold_out=False
        )
        self.columns, self.sparse = data.narrowing.width, data.sparse
        self.dtype = (data.table[0] if data.sparse else data.table).dtype
        if everything is None or not estimator.standardize:
            self._standardizer = estimator._make_standardizer(data)
        else:
            self._standardizer = estimator._standardizer_of(everything.scale(), everything.target_moments)
        self._weight_factor = len(data.rows) / data.total  # the weights of these rows have mean 1
        if not 0.0 < self._weight_factor < np.inf:
            raise ValueError(f"the weights of the rows must have a sum between 1e-300 and 1e300; got {data.total}")

    def begin(self, rows: int, whole: bool) -> int:
        """Make the trainer for this many rows, `whole` if they were the first; return the number of epochs."""
        estimator, data = self.estimator, self._data
        if data.targets.dtype != np.int32:
            data.targets = self._standardizer.scale_targets(data.targets)
        coef, intercept = estimator._initial_coefficients(data, self._standardizer, True)
        if whole:
            penalty = estimator._penalty(automatic_alpha(data.total, self._standardizer.columns))
            self.small = small_trainer(estimator, data, self._standardizer, (coef, intercept), penalty)
        if self.small is not None:
            return self.small.n_epochs
        share = rows / len(data.y)  # of the first rows, those of weight 0 among them
        if whole or estimator.max_iter != "auto":
            planned = estimator
        else:
            planned = copy(estimator).set_params(max_iter=1, average=estimator.average or True)
        schedule = planned._resolve_schedule(round(len(data.rows) * share), coef.size, self.sparse)
        self._trainer = LinearTrainer(
            data.table,
            data.targets,
            data.weights,
            self._standardizer,
            estimator._native_loss(data.outputs, self._standardizer),
            (coef, intercept),
            averaging_optimizer(estimator.optimizer, schedule.lr, planned.average),
            penalty=estimator._penalty(automatic_alpha(data.total * share, self._standardizer.columns)),
            fit_intercept=estimator.fit_intercept,
            batch_size=schedule.batch_size,
            n_threads=estimator.n_threads,
            indices_sorted=data.in_order,
        )
        self._rows = data.rows
        data.X = data.table = None  # the batches come again
        return schedule.max_iter  # type: ignore[no-any-return]

    @property
    def _chosen(self) -> Any:
        return self.small or self._trainer

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, whose state a checkpoint keeps."""
        return self._trainer.optimizer

    @property
    def batch_size(self) -> int:
        """Rows of a mini-batch."""
        return self._trainer.batch_size

    @property
    def inv_scale(self) -> Array | None:
        """What the columns are multiplied by."""
        return self._standardizer.inv_scale  # type: ignore[no-any-return]

    @property
    def needs_blas(self) -> bool:
        """Whether matrix products are BLAS's."""
        return self._chosen.needs_blas  # type: ignore[no-any-return]

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        return self._chosen.lr  # type: ignore[no-any-return]

    def prepared(self, batch: Batch) -> Batch:
        """Return checked rows as the trainer takes them: targets encoded, without rows of weight 0."""
        targets, _ = self.estimator._encode_targets(batch.y, getattr(self.estimator, "classes_", None))
        weights, order, ends = self._combined(batch.weights, targets), batch.order, batch.ends
        if weights is not None:
            assert ends is not None
            with np.errstate(over="ignore"):
                weights = weights * self._weight_factor
            if weights.max(initial=0.0) > FAR_ABOVE:
                raise ValueError(
                    f"the weights of rows must not be far above those of {self.estimator.statistics_}: they are "
                    f"divided by the mean of these, and must then be at most {FAR_ABOVE:g}"
                )
            there = weights[order] > 0
            order, ends = order[there], ends[there]
        if targets.dtype != np.int32:
            targets = self._standardizer.scale_targets(targets)
        return Batch(batch.X, targets, weights, order, ends)

    def _combined(self, given: Array | None, targets: Array) -> Array | None:
        """Return the product of the rows' and their classes' weights."""
        of_classes = self.estimator._class_weights(targets, None)
        if given is None or of_classes is None:
            return of_classes if given is None else np.asarray(given, np.float64)
        return np.asarray(given * of_classes)

    def train_on(self, batch: Batch, position: Position) -> None:
        """Take steps over the rows of a batch, and add their losses."""
        position.loss += self._trainer.run_rows(self._bound(batch))

    def _bound(self, batch: Batch) -> Array:
        """Bind the trainer to a batch, and return its rows."""
        table, in_order = batch.X, True
        if self.sparse:
            table, in_order = csr_arrays(batch.X), bool(batch.X.has_sorted_indices)
        self._trainer.bind(table, batch.y, batch.weights, indices_sorted=in_order)
        self._rows = batch.order
        return batch.order

    def ended(self, position: Position) -> float:
        """Return the mean loss of the epoch that has ended."""
        return position.loss / position.taken + self._trainer.penalty()

    def params(self) -> list[Array]:
        """Return the arrays that are trained."""
        return self._chosen.weights()  # type: ignore[no-any-return]

    def state(self) -> dict[str, Any]:
        """Return what else is needed to go on: nothing."""
        return {}

    def resume(self, position: Position) -> None:
        """Go on from there."""

    def fitted(self) -> dict[str, Any]:
        """Return the fitted attributes as of now."""
        self.estimator._set_weights(self._chosen, self._data)
        return {name: value for name, value in vars(self.estimator).items() if name.endswith("_")}

    def finish(self, history: History, batches: Callable[[], Iterable[Batch]]) -> None:
        """Set the fitted attributes; `batches` gives all rows again."""
        estimator = self.estimator
        if self.small is None:
            trainer = self._trainer
            refuse_divergence(trainer, lambda: [self._rows], history.losses[-1])
            if history.n_iter > 1 and not estimator._losses[estimator.loss].lowest_at_zero:
                trainer.zeros = find_zeros(trainer, lambda: map(self._bound, batches()))
        else:
            self.small.warn(type(estimator).__name__)
        estimator._set_weights(self._chosen, self._data)
        estimator._standardizer, estimator._first_rows = self._standardizer, None
        estimator._set_history(history, None)
