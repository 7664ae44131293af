"""A network in training: its weights, its optimizer and its randomness, which can go on after a pause or a pickle."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gdfast.engine._mlp import Pass
from gdfast.schedules import ReduceOnPlateau
from gdfast.sklearn._choices import make_order
from gdfast.sklearn._evaluation import evaluated, remembered
from gdfast.sklearn._folding import Folding
from gdfast.sklearn._network import Network, scores_of, take_inputs
from gdfast.sklearn._training import History, train
from gdfast.stepping.base import Optimizer

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Data:
    """What a network is trained on.

    Attributes
    ----------
    X : (rows, features) array or CSR matrix
        Of the network's dtype.
    targets : (rows, outputs) array
        In the network's own scale; for softmax the classes' numbers, (rows, 1).
    weights : (rows,) array, optional
        Of the rows.
    rows, validation : arrays of int
        The rows to train on, and those to validate with; no validation where these are None.
    """

    X: Any
    targets: Array
    weights: Array | None
    rows: Array
    validation: Array | None


class Session:
    """A training that can go on.

    Parameters
    ----------
    units : sequence of int
        Of each layer.
    batch_size : int
        The most rows of a mini-batch.
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
        self.noise = 1.0  # what the last epoch could not explain, as a share of all there is to explain
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

    def train(
        self,
        estimator: Any,
        data: Data,
        n_epochs: int,
        threads: int,
        *,
        alpha: Callable[[int, float], float],
        folding: Folding,
        score: Callable[[Array, Array, Array | None], float],
        fitted: Callable[[], Mapping[str, Any]],
        given: Mapping[str, Any],
    ) -> History:
        """Run epochs, as the estimator's parameters say.

        `alpha` takes the rows of a mini-batch, and the mean squared error of the epoch before, each target's variance
        being 1; it returns the weight of the penalty, which the pass divides by the rows.
        `score` takes the validation rows' scores, targets and weights. `fitted` and `given` are for scikit-learn's
        callbacks; see :func:`gdfast.sklearn._training.train`.
        """
        batch_size = min(self.network.batch_size, len(data.rows))
        network_pass = self.network.make_pass(estimator.activation, estimator.out_activation_, batch_size)
        _held = take_inputs(network_pass, data.X, *folding.cast(self.network.params.dtype))
        network_pass.take_targets(data.targets, data.weights)
        rate = self.optimizer.param_groups[0]["lr"]

        def run(rows: Array) -> float:
            return self._epoch(estimator, network_pass, rows, batch_size, alpha(batch_size, self.noise), threads)

        if estimator._probe is not None:
            deal = partial(make_order, self.rng, data.rows, estimator.shuffle)
            return estimator._probe.run(self.optimizer, deal, run, batch_size)  # type: ignore[no-any-return]

        def run_epoch(epoch: int) -> float:
            loss = run(data.rows)
            if isinstance(rate, ReduceOnPlateau):
                rate.update(loss)
            return loss

        def validate() -> float:
            rows = data.validation
            assert rows is not None
            n_outputs, dtype = estimator.n_outputs_, self.network.params.dtype
            with evaluated(self.optimizer):
                scores = scores_of(network_pass, rows, len(rows), n_outputs, dtype, batch_size, threads)
            return score(scores, data.targets[rows], None if data.weights is None else data.weights[rows])

        return train(
            estimator,
            run_epoch,
            n_epochs,
            [self.network.params, *remembered(self.optimizer)],
            score=None if data.validation is None else validate,
            logs=lambda: {"lr": self.optimizer.lr},
            fitted=fitted,
            data=given,
        )

    def _epoch(
        self, estimator: Any, network_pass: Pass, rows: Array, batch_size: int, alpha: float, threads: int
    ) -> float:
        """Take every row once, and return the mean loss; set `noise`."""
        order = make_order(self.rng, rows, estimator.shuffle)
        dropout, seed, total, penalty = float(estimator.dropout), 0, 0.0, 0.0
        step, gradient = self.optimizer.step, network_pass.gradient
        for start in range(0, len(order), batch_size):
            stop = min(start + batch_size, len(order))
            if dropout:
                seed = int(self.rng.integers(2**63))
            total += gradient(order, start, stop, alpha, dropout, seed, threads) * (stop - start)
            penalty += network_pass.penalty * (stop - start)
            step()
        self.noise = 2 * (total - penalty) / (len(order) * estimator.n_outputs_)
        return total / len(order)
