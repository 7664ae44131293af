"""The training of a network: weights, optimizer and random generator; it can go on after a pause, or a pickle."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gdfast.engine._mlp import MLPKernel
from gdfast.schedules import ReduceOnPlateau
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._choices import go_on_from
from gdfast.sklearn._evaluation import averaging_state, evaluating
from gdfast.sklearn._network import Network, bind_inputs, scores_of
from gdfast.sklearn._scaling import Standardizer
from gdfast.sklearn._training import History, train
from gdfast.stepping.base import Optimizer

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Data:
    """The data that a network is trained on.

    Attributes
    ----------
    X : (rows, features) array or CSR matrix
        Of the network's dtype.
    targets : (rows, outputs) array
        In standard units; for softmax class indices, (rows, 1).
    weights : (rows,) array, optional
        Of the rows.
    rows, validation : arrays of int
        The rows to train on, and those to validate with, if any.
    """

    X: Any
    targets: Array
    weights: Array | None
    rows: Array
    validation: Array | None


class MLPTrainer:
    """A network in training, in standard units.

    Parameters
    ----------
    units : sequence of int
        Of each layer.
    batch_size : int
        Maximum number of rows of a mini-batch.
    dtype : dtype
        float32 or float64.
    optimizer : pair of an optimizer class and its options
        See :func:`gdfast.sklearn._choices.resolve_optimizer`.
    rng : numpy.random.Generator
        For the order of the rows, and dropout.
    """

    def __init__(
        self,
        units: Sequence[int],
        batch_size: int,
        dtype: Any,
        optimizer: tuple[type[Optimizer], Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> None:
        self.network, self.rng = Network(units, batch_size, dtype), rng
        self.noise = 1.0  # mean squared error of the last epoch; standardised targets have variance 1
        self._made = units, batch_size, np.dtype(dtype), (optimizer[0], copy.deepcopy(optimizer[1]))
        optimizer_type, options = self._made[3]
        self.optimizer = optimizer_type(self.network.views, grads=self.network.grad_views, **options)

    def __getstate__(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        return {
            "made": self._made,
            "rng": self.rng,
            "params": self.network.params,
            "optimizer": state,
            "noise": self.noise,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["made"], state["rng"])  # type: ignore[misc]
        self.network.params[...] = state["params"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.noise = state["noise"]

    def with_settings(self, batch_size: int, optimizer: tuple[type[Optimizer], Mapping[str, Any]]) -> "MLPTrainer":
        """Return a trainer that goes on from here, with another batch size and other options of the optimizer.

        Raises
        ------
        TypeError, ValueError
            If the optimizer is of another class, or the options need another state.
        """
        units, _, dtype, _ = self._made
        later = MLPTrainer(units, batch_size, dtype, optimizer, self.rng)
        later.network.params[...] = self.network.params
        go_on_from(later.optimizer, self.optimizer.state_dict())
        later.noise = self.noise
        return later

    def train(
        self,
        estimator: Any,
        data: Data,
        n_epochs: int,
        threads: int,
        *,
        alpha: Callable[[int, float], float],
        loss: tuple[str, float],
        standardizer: Standardizer,
        score: Callable[[Array, Array, Array | None], float],
        fitted: Callable[[], Mapping[str, Any]],
        given: Mapping[str, Any],
    ) -> History:
        """Run epochs, with the estimator's parameters.

        `alpha` takes the rows of a mini-batch and the mean squared error of the epoch before, and returns the weight of
        the penalty, which the kernel divides by the rows. `loss` is the kernel's, with its parameter.
        `score` takes the validation rows' scores, targets and weights.
        `fitted` and `given` are for scikit-learn's callbacks; see
        :func:`gdfast.sklearn._training.train`.
        """
        batch_size = min(self.network.batch_size, len(data.rows))
        kernel = self.network.make_kernel(estimator.activation, loss, batch_size)
        dtype = self.network.params.dtype
        _held = bind_inputs(kernel, data.X, *standardizer.feature_scales(dtype))
        kernel.bind_targets(data.targets, data.weights)
        rate = self.optimizer.param_groups[0]["lr"]

        def order_of(rows: Array) -> BatchOrder:
            return BatchOrder(rows, self.rng, estimator.shuffle, batch_size)

        def run(rows: Array) -> float:
            return self._epoch(estimator, kernel, order_of(rows), alpha(batch_size, self.noise), threads)

        if estimator._probe is not None:
            return estimator._probe.run(self.optimizer, order_of(data.rows), run)  # type: ignore[no-any-return]

        def run_epoch(epoch: int) -> float:
            mean = run(data.rows)
            if isinstance(rate, ReduceOnPlateau):
                rate.update(mean)
            return mean

        def validate() -> float:
            rows = data.validation
            assert rows is not None
            with evaluating(self.optimizer):
                scores = scores_of(kernel, rows, len(rows), estimator.n_outputs_, dtype, batch_size, threads)
            if not np.isfinite(scores).all():
                return np.nan
            return score(scores, data.targets[rows], None if data.weights is None else data.weights[rows])

        return train(
            estimator,
            run_epoch,
            n_epochs,
            self.trained(),
            score=None if data.validation is None else validate,
            logs=lambda: {"lr": self.optimizer.lr},
            fitted=fitted,
            data=given,
        )

    def _epoch(self, estimator: Any, kernel: MLPKernel, order: BatchOrder, alpha: float, threads: int) -> float:
        """Take every row once, and return the mean loss."""
        rows = order.epoch()
        sums = self.run_rows(estimator, kernel, rows, order.batch_size, alpha, threads)
        return self.end_epoch(sums, len(rows), estimator.n_outputs_)

    def run_rows(
        self,
        estimator: Any,
        kernel: MLPKernel,
        rows: Array,
        batch_size: int,
        alpha: float,
        threads: int,
        sums: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[float, float]:
        """Take steps over rows; return `sums` with their losses and the penalty's share of these added."""
        dropout, seed, (total, penalty) = float(estimator.dropout), 0, sums
        step, gradient = self.optimizer.step, kernel.gradient
        for start in range(0, len(rows), batch_size):
            stop = min(start + batch_size, len(rows))
            if dropout:
                seed = int(self.rng.integers(2**63))
            total += gradient(rows, start, stop, alpha, dropout, seed, threads) * (stop - start)
            penalty += kernel.penalty * (stop - start)
            step()
        return total, penalty

    def end_epoch(self, sums: tuple[float, float], rows: int, outputs: int) -> float:
        """Return the mean loss of an epoch by the sums of `run_rows`; set `noise`."""
        total, penalty = sums
        self.noise = 2 * (total - penalty) / (rows * outputs)
        return total / rows

    def trained(self) -> list[Array]:
        """Return the arrays that the best epoch is kept with: the parameters, and the state of their averages."""
        return [self.network.params, *averaging_state(self.optimizer)]
