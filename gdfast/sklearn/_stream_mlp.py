"""How a network learns from a source; see _streaming.py."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gdfast.engine import threads
from gdfast.schedules import ReduceOnPlateau
from gdfast.sklearn._mlp_trainer import MLPTrainer
from gdfast.sklearn._network import bind_inputs
from gdfast.sklearn._stream_checkpoint import Position
from gdfast.sklearn._stream_statistics import AllRows
from gdfast.sklearn._training import History
from gdfast.sklearn._weights import in_reach, penalty_share
from gdfast.stepping.base import Optimizer
from gdfast.tables.batches import Batch

Array = np.ndarray[Any, Any]


class MLPLearner:
    """A network that learns from batches; the attributes are those of `LinearLearner`."""

    needs_blas = True
    small: None = None  # no other method than steps
    _trainer: MLPTrainer

    def __init__(self, estimator: Any) -> None:
        estimator._validate_params()
        self.estimator = estimator
        self._limit = threads.check(estimator.n_threads)
        self._threads = threads.resolve(self._limit)

    def learn(self, first: Batch, everything: AllRows | None = None) -> None:
        """Learn classes, scales and the start from the first rows; classes and scales of all, where these are known."""
        estimator = self.estimator
        self._rows_power = in_reach(first.weights)[1]
        classes = None if everything is None else everything.classes
        if classes is not None:
            estimator.classes_ = classes
        X, _, targets, weights, self._power = estimator._check_data(
            first.X, first.y, first.weights, fresh=True, incremental=classes is not None
        )
        self._penalty_share = penalty_share(estimator.alpha, weights, self._power, X.dtype)
        estimator._begin(X, targets, weights, self._threads)
        if everything is not None and estimator.standardize:
            estimator._standardizer = estimator._standardizer_of(everything.common_scale(), everything.target_moments)
        self.columns, self.sparse, self.dtype = X.shape[1], issparse(X), X.dtype

    def begin(self, rows: int, whole: bool) -> int:
        """Make the trainer for this many rows; return the number of epochs."""
        estimator = self.estimator
        self._rows = rows
        self._trainer = estimator._make_trainer(self.dtype, True, estimator._optimizer_choice(self._limit, None))
        network = self._trainer.network
        self.batch_size = min(network.batch_size, rows)
        self._kernel = network.make_kernel(estimator.activation, estimator._native_loss(), self.batch_size)
        return estimator.max_iter  # type: ignore[no-any-return]

    @property
    def inv_scale(self) -> Array | None:
        """What the columns are multiplied by."""
        return self.estimator._standardizer.inv_scale  # type: ignore[no-any-return]

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, whose state a checkpoint keeps."""
        return self._trainer.optimizer

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        return self._trainer.optimizer.lr

    def prepared(self, batch: Batch) -> Batch:
        """Return checked rows as the kernel takes them: targets and weights in the network's dtype."""
        estimator = self.estimator
        targets = estimator._learn_targets(batch.y, False, True)
        scaled = np.ascontiguousarray(estimator._standardizer.scale_targets(targets), self.dtype)
        return Batch(batch.X, scaled, self._weights(batch), batch.order, batch.ends)

    def _weights(self, batch: Batch) -> Array | None:
        """Return the product of the rows' and their classes' weights, divided by the power of two of the first rows."""
        weights = None if batch.weights is None else np.ldexp(batch.weights, -self._rows_power)
        if getattr(self.estimator, "class_weight", None) is not None:
            of_classes = self._of_classes(batch.y)
            weights = of_classes if weights is None else weights * of_classes
        if weights is None:
            return None
        with np.errstate(over="ignore"):
            found = np.ascontiguousarray(weights, self.dtype)
        if not np.isfinite(found).all():
            raise ValueError(
                f"the weights of rows must not be far above those of {self.estimator.statistics_}: divided by these, "
                f"they overflow {self.dtype}"
            )
        return found

    def _of_classes(self, y: Array) -> Array:
        """Return the weight of each row's class, which need not occur in these rows."""
        classes = self.estimator.classes_
        known = classes if y.ndim == 1 else np.repeat([[0], [1]], len(classes), axis=1)
        weights: Array = self.estimator._class_weights(np.concatenate([y, known]), None)[: len(y)]
        return np.asarray(np.ldexp(weights, self._rows_power - self._power))

    def train_on(self, batch: Batch, position: Position) -> None:
        """Take steps over the rows of a batch, and add their losses."""
        estimator, trainer, kernel = self.estimator, self._trainer, self._kernel
        held = bind_inputs(kernel, batch.X, *estimator._standardizer.feature_scales(self.dtype))
        kernel.bind_targets(batch.y, batch.weights)
        alpha = estimator._alpha_for(self.batch_size, self._rows, trainer.noise) * self._penalty_share
        sums = position.loss, position.penalty
        position.loss, position.penalty = trainer.run_rows(
            estimator, kernel, batch.order, self.batch_size, alpha, self._threads, sums
        )
        del held

    def ended(self, position: Position) -> float:
        """Return the mean loss of the epoch that has ended."""
        sums = position.loss, position.penalty
        mean = self._trainer.end_epoch(sums, position.taken, self.estimator.n_outputs_)
        self._tell_rate(mean)
        return mean

    def _tell_rate(self, mean: float) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        if isinstance(rate, ReduceOnPlateau):
            rate.update(mean)

    def params(self) -> list[Array]:
        """Return the arrays that are trained."""
        return self._trainer.trained()

    def state(self) -> dict[str, Any]:
        """Return what else is needed to go on: the noise in the targets, and the state of the random generator."""
        return {"noise": self._trainer.noise, "rng": _plain(self._trainer.rng.bit_generator.state)}

    def resume(self, position: Position) -> None:
        """Go on from there."""
        for mean in position.losses:
            self._tell_rate(mean)
        if position.state:
            self._trainer.noise = position.state["noise"]
            self._trainer.rng.bit_generator.state = position.state["rng"]

    def fitted(self) -> dict[str, Any]:
        """Return the fitted attributes as of now."""
        return self.estimator._weights(self._trainer)  # type: ignore[no-any-return]

    def finish(self, history: History, batches: Callable[[], Iterable[Batch]]) -> None:
        """Set the fitted attributes."""
        self.estimator._set_fitted(self._trainer, history, self._rows)


def _plain(state: Any) -> Any:
    """Return the state of a generator as plain data."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
