"""Fits of the linear estimators on a source: rows beyond memory, one batch after the other.

The first rows are given to the same code that prepares a fit on arrays: it checks them, finds the classes, the scale of
the columns and the start. The epochs are those of arrays too: the trainer is bound to one batch after the other, each
of them whole mini-batches. So rows that all are among the first ones, in the same order, give the same bits.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from copy import copy
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gdfast.sklearn._choices import make_generator, resolve_optimizer
from gdfast.sklearn._defaults import automatic_alpha
from gdfast.sklearn._linear_fit import LinearBase
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._native_loops import limited_blas
from gdfast.sklearn._progress import Progress
from gdfast.sklearn._sparse import csr_arrays, own_indices, without_repetition
from gdfast.sklearn._stream_checkpoint import Checkpoint, Position
from gdfast.sklearn._training import History, train
from gdfast.tables.batches import Batch, in_steps, joined
from gdfast.tables.source import STATISTICS_BYTES, STATISTICS_ROWS, Source, Stream, count_rows

Array = np.ndarray[Any, Any]

#: parameters that a fit may go on with others of; the order of the rows is in the checkpoint
NOT_OF_THE_FIT = ("n_threads", "callbacks", "verbose", "random_state")


def fit_any(estimator: LinearBase, X: Any, y: Any, sample_weight: Any, checkpoint: Any, start: tuple[Any, Any]) -> None:
    """Fit a linear estimator on arrays or on a source; see :meth:`GDClassifier.fit`."""
    if isinstance(X, Source):
        if y is not None or sample_weight is not None:
            raise ValueError("y and sample_weight must be None with a source, which gives them itself")
        if any(part is not None for part in start):
            raise ValueError("coef_init and intercept_init must be None with a source: use checkpoint to go on")
        fit_source(estimator, X, checkpoint)
        return
    if checkpoint is not None:
        raise ValueError(f"checkpoint needs a source of gdfast.tables as X; got {type(X).__name__}")
    estimator._fit(X, y, sample_weight, partial=False, start=start)


def fit_source(estimator: LinearBase, source: Source, checkpoint: Any = None) -> Stream:
    """Fit a linear estimator, and return the stream, which has learned how to encode; see :meth:`GDClassifier.fit`."""
    estimator._check_parameters()
    _refuse(estimator)
    rng = make_generator(estimator.random_state)
    seed = int(rng.integers(2**31)) if estimator.shuffle else None
    kept = Checkpoint(checkpoint)
    position = kept.position(seed, _described(estimator, source))
    fit = StreamFit(estimator, source, position, kept)
    fit.run()
    fit.stream.rows = fit.read or fit.rows
    return fit.stream


def _refuse(estimator: LinearBase) -> None:
    """Refuse parameters that need all rows at once."""
    for name, given, why in (
        ("early_stopping", estimator.early_stopping is True, "no rows of a source can be held out"),
        ("lr", isinstance(estimator.lr, str) and estimator.lr == "find", "the sweep needs rows in memory"),
        (
            "class_weight",
            getattr(estimator, "class_weight", None) == "balanced",
            "the classes' frequencies are unknown",
        ),
        ("warm_start", estimator.warm_start, "a training on a source goes on from its checkpoint"),
    ):
        if given:
            raise ValueError(f"{name} must not be {getattr(estimator, name)!r} with a source: {why}")


def _described(estimator: LinearBase, source: Source) -> dict[str, Any]:
    """Return what a checkpoint must have in common with the fit that goes on from it."""
    parameters = estimator.get_params(deep=False)
    own = {name: value for name, value in parameters.items() if name not in NOT_OF_THE_FIT}
    described = {name: getattr(value, "__qualname__", repr(value)) for name, value in own.items()}
    return {**described, **{f"source's {name}": value for name, value in source.describe().items()}}


class StreamFit:
    """One fit of a linear estimator on a source."""

    def __init__(self, estimator: LinearBase, source: Source, position: Position, checkpoint: Checkpoint) -> None:
        self.estimator, self.source, self.position, self.checkpoint = estimator, source, position, checkpoint
        self.stream = source.open(position.seed)
        batches = self.stream.epoch(0)
        try:
            head, self.whole = _head(batches)
            self._prepare(head)
        except BaseException:
            batches.close()
            raise
        self.first: Generator[Batch] | None = _continued(head, batches)
        if position.losses or position.rows:
            batches.close()
            self.first = None

    def _prepare(self, head: list[Batch]) -> None:
        """Learn from the first rows: classes, scales, the start."""
        if not head:
            raise ValueError("the source must have rows; it has none")
        estimator, together = self.estimator, joined(head)
        data = estimator._check_data(
            together.X, together.y, together.weights, np.random.default_rng(0), None, first=True, hold_out=False
        )
        self.data, self.sparse = data, data.sparse
        self.dtype = (data.table[0] if data.sparse else data.table).dtype
        self.standardizer = estimator._make_standardizer(data)
        self.weight_factor = len(data.rows) / data.total  # the weights of these rows have mean 1
        if not 0.0 < self.weight_factor < np.inf:
            raise ValueError(f"the weights of the rows must have a sum between 1e-300 and 1e300; got {data.total}")
        self.rows = len(together) if self.whole else count_rows(self.source)
        self.read: int | None = len(together) if self.whole else None  # in each epoch, once one tells
        estimator.statistics_ = f"all {self.rows:,} rows" if self.whole else f"the first {len(together):,} rows"

    def run(self) -> None:
        """Run the training, and set the fitted attributes."""
        estimator, data = self.estimator, self.data
        trainer, n_epochs = self._trainer()
        self.checkpoint.load(trainer.optimizer)
        with limited_blas(trainer.needs_blas):
            history = self._train(trainer, n_epochs)
        estimator._set_weights(trainer, data)
        estimator._standardizer, estimator._first_rows = self.standardizer, None
        estimator._set_history(history, None)
        self.checkpoint.done()

    def _trainer(self) -> tuple[LinearTrainer, int]:
        """Return the trainer, and the number of epochs."""
        estimator, data = self.estimator, self.data
        if data.targets.dtype != np.int32:
            data.targets = self.standardizer.scale_targets(data.targets)
        coef, intercept = estimator._initial_coefficients(data, self.standardizer, True)
        share = self.rows / len(data.y)  # of the first rows, those of weight 0 among them
        if self.whole or estimator.max_iter != "auto":
            planned = estimator
        else:
            planned = copy(estimator).set_params(max_iter=1, average=estimator.average or True)
        schedule = planned._resolve_schedule(round(len(data.rows) * share), coef.size, self.sparse)
        optimizer, options = resolve_optimizer(estimator.optimizer)
        options["lr"] = schedule.lr
        if planned.average:
            options |= {"ema_decay": "average", "ema_start": max(0, int(planned.average) - 1)}
        trainer = LinearTrainer(
            data.table,
            data.targets,
            data.weights,
            self.standardizer,
            estimator._native_loss(data.outputs, self.standardizer),
            (coef, intercept),
            (optimizer, options),
            penalty=estimator._penalty(automatic_alpha(data.total * share, self.standardizer.columns)),
            fit_intercept=estimator.fit_intercept,
            batch_size=schedule.batch_size,
            n_threads=estimator.n_threads,
            indices_sorted=data.in_order,
        )
        data.X = data.table = None  # the batches come again
        return trainer, schedule.max_iter

    def _train(self, trainer: LinearTrainer, n_epochs: int) -> History:
        estimator = self.estimator
        progress = Progress(type(estimator).__name__, n_epochs, estimator.verbose, self.rows)

        def fitted() -> dict[str, Any]:
            estimator._set_weights(trainer, self.data)
            return {name: value for name, value in vars(estimator).items() if name.endswith("_")}

        return train(
            estimator,
            lambda epoch: self._epoch(trainer, epoch, progress),
            n_epochs,
            trainer.weights(),
            logs=lambda: {"lr": trainer.lr},
            fitted=fitted,
            progress=progress,
            losses=self.position.losses,
        )

    def _epoch(self, trainer: LinearTrainer, epoch: int, progress: Progress) -> float:
        """Run an epoch, or what is left of it; return its mean loss."""
        position = self.position
        batches = self.first if self.first is not None else self.stream.epoch(epoch, position.rows)
        self.first = None
        read = position.rows

        def prepared() -> Iterator[Batch]:
            nonlocal read
            for batch in batches:
                read += len(batch)
                yield from filter(len, [self._prepared(batch)])  # nothing where no row has a weight

        with closing(batches):
            steps = in_steps(prepared(), trainer.batch_size)
            while (batch := self._next(steps, trainer)) is not None:
                self._train_on(batch, trainer, progress)
                self.checkpoint.save(trainer.optimizer, position)
        if read != (self.read or read):
            raise ValueError(
                f"the source must give the same rows in each epoch, {self.read:,}; got {read:,} in epoch {epoch + 1}"
            )
        self.read = read
        mean = position.loss / position.taken + trainer.penalty()
        position.losses = [*position.losses, mean]
        position.rows, position.loss, position.taken = 0, 0.0, 0
        return mean

    def _train_on(self, batch: Batch, trainer: LinearTrainer, progress: Progress) -> None:
        position, table, in_order = self.position, batch.X, True
        if self.sparse:
            table, in_order = csr_arrays(batch.X), bool(batch.X.has_sorted_indices)
        trainer.bind(table, batch.y, batch.weights, indices_sorted=in_order)
        position.loss += trainer.run_rows(batch.order)
        position.taken += len(batch)
        assert batch.ends is not None
        end = int(batch.ends[-1])
        progress.count(end - position.rows)
        position.rows = end

    def _next(self, steps: Iterator[Batch], trainer: LinearTrainer) -> Batch | None:
        """Return the next batch, or None; where that fails, the training is written down as it stands."""
        try:
            return next(steps, None)
        except BaseException:
            self.checkpoint.save(trainer.optimizer, self.position, now=True)
            raise

    def _combined(self, given: Array | None, targets: Array) -> Array | None:
        """Return the product of the rows' and their classes' weights."""
        of_classes = self.estimator._class_weights(targets, None)
        if given is None or of_classes is None:
            return of_classes if given is None else np.asarray(given, np.float64)
        return np.asarray(given * of_classes)

    def _prepared(self, batch: Batch) -> Batch:
        """Return rows as the trainer takes them: checked, targets encoded, without rows of weight 0."""
        X = self._checked(batch.X)
        targets = self._targets(batch)
        weights = self._combined(batch.weights, targets)
        order, ends = batch.order, batch.ends
        if weights is not None:
            if not ((weights >= 0.0) & (weights < np.inf)).all():
                raise ValueError("weights must be finite and not negative in every batch of the source")
            assert ends is not None
            weights = weights * self.weight_factor
            there = weights[order] > 0
            order, ends = order[there], ends[there]
        if targets.dtype != np.int32:
            targets = self.standardizer.scale_targets(targets)
        return Batch(X, targets, weights, order, ends)

    def _checked(self, X: Any) -> Any:
        columns = self.data.narrowing.width
        if X.shape[1] != columns or issparse(X) != self.sparse:
            raise ValueError(
                f"every batch of the source must have X like the first, of {columns} columns; got {X.shape}"
            )
        if self.sparse:
            X = without_repetition(own_indices(X))
            X.data = values = np.require(X.data, self.dtype)
        else:
            X = values = np.require(X, self.dtype, ["C", "A"])
        if not self.source.checked and not np.isfinite(values).all():
            raise ValueError("X must be finite; a batch of the source has NaN or infinite numbers")
        return X

    def _targets(self, batch: Batch) -> Array:
        y = batch.y
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("y must be finite; a batch of the source has NaN or infinite numbers")
        classes = getattr(self.estimator, "classes_", None)
        if classes is not None:
            new = np.setdiff1d(np.unique(y), classes)
            if len(new):
                raise ValueError(
                    f"y has the class {new[0]!r}, which {self.estimator.statistics_} of the source do not have: their "
                    "classes are taken for all"
                )
        targets, _ = self.estimator._encode_targets(y, classes)
        return targets


def _head(batches: Iterator[Batch]) -> tuple[list[Batch], bool]:
    """Return the first batches, for the statistics, and whether these are all."""
    head: list[Batch] = []
    rows = size = 0
    while rows < STATISTICS_ROWS and size < STATISTICS_BYTES:
        batch = next(batches, None)
        if batch is None:
            return head, True
        head.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
    return head, False


def _continued(head: list[Batch], rest: Generator[Batch]) -> Generator[Batch]:
    """Yield the first batches, each of which is let go of, and then the rest."""
    while head:
        yield head.pop(0)
    yield from rest
