"""Fits on a source: rows beyond memory, one batch after the other.

The first rows are given to the same code that prepares a fit on arrays: it checks them, finds the classes, the scale of
the columns and the start. The epochs are those of arrays too: the trainer is bound to one batch after the other, each
of them whole mini-batches. So rows that all are among the first ones, in the same order, give the same bits.

What differs between linear models and networks is in their learners (_stream_linear.py, _stream_mlp.py).
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gdfast.sklearn._base import GradientEstimator
from gdfast.sklearn._choices import make_generator
from gdfast.sklearn._native_loops import limited_blas
from gdfast.sklearn._progress import Progress
from gdfast.sklearn._sparse import own_indices, without_repetition
from gdfast.sklearn._stream_checkpoint import Checkpoint, Position
from gdfast.sklearn._stream_constant import ConstantColumns
from gdfast.sklearn._stream_statistics import AllRows, check_weights
from gdfast.sklearn._training import History, train
from gdfast.tables.batches import Batch, in_steps, joined_and_emptied
from gdfast.tables.source import STATISTICS_BYTES, STATISTICS_ROWS, Source, Stream, count_rows

Array = np.ndarray[Any, Any]

#: parameters that a fit may go on with others of; the order of the rows is in the checkpoint
NOT_OF_THE_FIT = ("n_threads", "callbacks", "verbose", "random_state")


def fit_streamed(
    estimator: GradientEstimator,
    X: Any,
    y: Any,
    sample_weight: Any,
    checkpoint: Any,
    start: tuple[Any, Any] = (None, None),
) -> bool:
    """Fit an estimator if X is a source, and return whether it is; see :meth:`GDClassifier.fit`."""
    if not isinstance(X, Source):
        if checkpoint is not None:
            raise ValueError(f"checkpoint needs a source of gdfast.tables as X; got {type(X).__name__}")
        return False
    if y is not None or sample_weight is not None:
        raise ValueError("y and sample_weight must be None with a source, which gives them itself")
    if any(part is not None for part in start):
        raise ValueError("coef_init and intercept_init must be None with a source: use checkpoint to go on")
    fit_source(estimator, X, checkpoint)
    return True


def fit_source(
    estimator: GradientEstimator,
    source: Source,
    checkpoint: Any = None,
    write: Callable[[Stream], None] = lambda stream: None,
) -> Stream:
    """Fit an estimator, and return the stream, which has learned how to encode; see :meth:`GDClassifier.fit`.

    `write` takes the stream once the estimator is fitted. If it fails, the checkpoint keeps the training: the same call
    only writes again.
    """
    learner = estimator._learner()
    _refuse(estimator)
    rng = make_generator(estimator.random_state)
    seed = int(rng.integers(2**31)) if estimator.shuffle else None
    kept = Checkpoint(checkpoint)
    position = kept.position(seed, _described(estimator, source))
    fit = StreamFit(learner, source, position, kept)
    fit.run(write)
    return fit.stream


def _refuse(estimator: Any) -> None:
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


def _described(estimator: GradientEstimator, source: Source) -> dict[str, Any]:
    """Return what a checkpoint must have in common with the fit that goes on from it."""
    parameters = estimator.get_params(deep=False)
    own = {name: value for name, value in parameters.items() if name not in NOT_OF_THE_FIT}
    described = {name: getattr(value, "__qualname__", repr(value)) for name, value in own.items()}
    described["source's statistics"] = source.statistics
    return {**described, **{f"source's {name}": value for name, value in source.describe().items()}}


class StreamFit:
    """One fit of an estimator on a source."""

    def __init__(self, learner: Any, source: Source, position: Position, checkpoint: Checkpoint) -> None:
        self.learner, self.source, self.position, self.checkpoint = learner, source, position, checkpoint
        self.estimator = learner.estimator
        self.constant: ConstantColumns | None = None
        self.stream = source.open(position.seed)
        batches = self.stream.epoch(0)
        try:
            head, self.whole = _head(batches)
            if not head:
                raise ValueError("the source must have rows; it has none")
            together = joined_and_emptied(head)
            self._prepare(together)
        except BaseException:
            batches.close()
            raise
        self.first: Generator[Batch] | None = _continued([together], batches)
        if position.losses or position.rows:
            batches.close()
            self.first = None

    def _prepare(self, together: Batch) -> None:
        """Learn from the first rows: classes, scales, the start."""
        everything = None
        if self.source.statistics == "all" and not self.whole:
            rows = self.source.open()
            rows.encode = self.stream.encode
            everything = AllRows(self.estimator, rows.epoch(0), getattr(self.estimator, "fit_intercept", True))
        of_all = self.whole or everything is not None
        self.rows = len(together) if self.whole else count_rows(self.source) if everything is None else everything.rows
        self.read: int | None = self.rows if of_all or self.source.n_rows is None else None  # in each epoch, if known
        if self.read is not None and self.read < len(together):
            raise ValueError(
                f"the source must give the same rows each time it is read; got {len(together):,} and more, then "
                f"{self.read:,}: a generator, which is read once, needs a class with __iter__ around it"
            )
        self.learner.learn(together, everything)
        scale = self.learner.inv_scale
        if not of_all and scale is not None and not self.learner.sparse:
            self.constant = ConstantColumns(together.X, scale, self.source)
        self.estimator.statistics_ = f"all {self.rows:,} rows" if of_all else f"the first {len(together):,} rows"

    def run(self, write: Callable[[Stream], None] = lambda stream: None) -> None:
        """Run the training, set the fitted attributes, and write what the caller wants to keep."""
        learner = self.learner
        n_epochs = learner.begin(self.rows, self.whole)
        if learner.small is None:
            if self.position.done:
                n_epochs = len(self.position.losses)
            self.checkpoint.load(learner.optimizer)
            learner.resume(self.position)
        with limited_blas(learner.needs_blas):
            history = self._train(n_epochs)
            learner.finish(history, self._again)
        self.stream.rows = self.read or self.rows
        try:
            write(self.stream)
        except BaseException:
            self.position.done = True
            if learner.small is None:  # else it takes no time to train again
                with suppress(OSError):  # an earlier checkpoint stays then
                    self._save(now=True)
            raise
        self.checkpoint.done()

    def _train(self, n_epochs: int) -> History:
        estimator, learner, small = self.estimator, self.learner, self.learner.small
        progress = Progress(type(estimator).__name__, n_epochs, estimator.verbose, self.rows)
        return train(
            estimator,
            (lambda epoch: self._epoch(epoch, progress)) if small is None else small.epoch,
            n_epochs,
            learner.params(),
            logs=lambda: {"lr": learner.lr},
            fitted=learner.fitted,
            progress=progress,
            losses=self.position.losses if small is None else (),
        )

    def _epoch(self, epoch: int, progress: Progress) -> float:
        """Run an epoch, or what is left of it; return its mean loss."""
        position, learner = self.position, self.learner
        batches = self.first if self.first is not None else self.stream.epoch(epoch, position.rows)
        self.first = None
        read = position.rows

        def prepared() -> Iterator[Batch]:
            nonlocal read
            for batch in batches:
                read += len(batch)
                yield from filter(len, [self._prepared(batch)])  # nothing where no row has a weight

        with closing(batches):
            steps = in_steps(prepared(), learner.batch_size)
            while (batch := self._next(steps)) is not None:
                self._train_on(batch, progress)
                self._save()
        if read != (self.read or read):
            raise ValueError(
                f"the source must give the same rows in each epoch, {self.read:,}; got {read:,} in epoch {epoch + 1}"
            )
        self.read = read
        mean: float = learner.ended(position)
        position.losses = [*position.losses, mean]
        position.rows, position.loss, position.penalty, position.taken = 0, 0.0, 0.0, 0
        return mean

    def _again(self) -> Iterator[Batch]:
        """Yield all rows once more, as the trainer takes them."""
        with closing(self.stream.epoch(0)) as batches:
            yield from filter(len, map(self._prepared, batches))

    def _train_on(self, batch: Batch, progress: Progress) -> None:
        position = self.position
        self.learner.train_on(batch, position)
        position.taken += len(batch)
        assert batch.ends is not None
        end = int(batch.ends[-1])
        progress.count(end - position.rows)
        position.rows = end

    def _next(self, steps: Iterator[Batch]) -> Batch | None:
        """Return the next batch, or None; where that fails, the training is written down as it stands."""
        try:
            return next(steps, None)
        except BaseException:
            self._save(now=True)
            raise

    def _save(self, *, now: bool = False) -> None:
        self.position.state = self.learner.state()
        self.checkpoint.save(self.learner.optimizer, self.position, now=now)

    def _prepared(self, batch: Batch) -> Batch:
        """Return rows as the trainer takes them: checked, targets encoded, weights scaled."""
        check_weights(batch)
        X = self._checked(batch.X)
        if self.constant is not None and len(X):
            self.constant.watch(X, self.estimator.statistics_)
        return self.learner.prepared(  # type: ignore[no-any-return]
            Batch(X, self._checked_targets(batch.y), batch.weights, batch.order, batch.ends)
        )

    def _checked(self, X: Any) -> Any:
        learner = self.learner
        if X.shape[1] != learner.columns or issparse(X) != learner.sparse:
            raise ValueError(
                f"every batch of the source must have X like the first, of {learner.columns} columns; got {X.shape}"
            )
        if learner.sparse:
            X = without_repetition(own_indices(X))
            X.data = values = np.require(X.data, learner.dtype)
        else:
            X = values = np.require(X, learner.dtype, ["C", "A"])
        if not self.source.checked and not np.isfinite(values).all():
            raise ValueError("X must be finite; a batch of the source has NaN or infinite numbers")
        return X

    def _checked_targets(self, y: Array) -> Array:
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("y must be finite; a batch of the source has NaN or infinite numbers")
        classes = getattr(self.estimator, "classes_", None)
        if classes is not None and y.ndim == 1:
            new = np.setdiff1d(np.unique(y), classes)
            if len(new):
                raise ValueError(
                    f"y has the class {new.tolist()[0]!r}, which {self.estimator.statistics_} of the source do not "
                    "have: their classes are taken for all"
                )
        return y


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


def _continued(first: list[Batch], rest: Generator[Batch]) -> Generator[Batch]:
    """Yield the first rows, which are let go of, and then the rest."""
    yield first.pop()
    yield from rest
