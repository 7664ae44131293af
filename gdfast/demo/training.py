"""The training loop: mini-batches, one step each, and the time that the steps take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter

import numpy as np
from tqdm import tqdm

from gdfast.demo import network
from gdfast.demo.data import Data
from gdfast.demo.errors import DivergedError
from gdfast.demo.network import Array
from gdfast.demo.settings import Settings
from gdfast.stepping.base import Optimizer

HIDDEN = 128


@dataclass
class Run:
    """What one training leaves.

    Attributes
    ----------
    optimizer : Optimizer
        With the arrays that it trained.
    losses, rates : list of float
        The training loss and the learning rate of every step.
    accuracies : list of float
        The share of the test images read right, after every epoch.
    gradient_seconds, step_seconds : list of float
        The time that every step's loss and gradients took, and that the optimizer took.
    """

    optimizer: Optimizer
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    gradient_seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The time of the training: gradients and steps, without tests and progress bar."""
        return sum(self.gradient_seconds) + sum(self.step_seconds)

    @property
    def share(self) -> float:
        """The optimizer's share of that time."""
        return sum(self.step_seconds) / self.seconds


def steps_per_epoch(data: Data, batch_size: int) -> int:
    """Return how many batches the training images make."""
    return -(-len(data.train_labels) // batch_size)


def train(data: Data, settings: Settings, engine: str) -> Run:
    """Train the network from the start.

    Parameters
    ----------
    data : Data
        What to learn from, and to be tested with.
    settings : Settings
        The choices.
    engine : {"native", "numpy"}
        What carries the steps out.

    Returns
    -------
    Run
        The trained parameters and the course of the training.

    Raises
    ------
    DivergedError
        If the loss becomes infinite or NaN.
    """
    rng = np.random.default_rng(settings.seed)
    params = network.initial(rng, (data.train_images.shape[1], HIDDEN, int(data.train_labels.max()) + 1))
    steps = settings.epochs * steps_per_epoch(data, settings.batch_size)
    run = Run(settings.make_optimizer(params, steps, engine))
    network.loss_and_gradients(params, data.train_images, data.train_labels)  # what NumPy does once is not timed
    # disable=None: no bar where the output is no terminal
    with (
        np.errstate(all="ignore"),  # a loss that overflows is reported in one sentence
        tqdm(range(settings.epochs), f"{engine:6}", unit="epoch", disable=settings.quiet or None) as bar,
    ):
        for _ in bar:
            for batch in _batches(rng, len(data.train_labels), settings.batch_size):
                _step(run, params, data.train_images[batch], data.train_labels[batch])
            run.accuracies.append(_tested(run, params, data))
            bar.set_postfix(loss=f"{run.losses[-1]:.4f}", accuracy=f"{run.accuracies[-1]:.4f}")
    return run


def arrays(optimizer: Optimizer) -> dict[str, Array]:
    """Return every array of an optimizer by name: ``hidden.W``, ``hidden.W/exp_avg``, ..."""
    named: dict[str, Array] = {}
    state: Mapping[str, Mapping[str, Array]] = optimizer.state
    for (name, states), param in zip(state.items(), optimizer.param_groups[0]["params"], strict=True):
        named[name] = param
        named |= {f"{name}/{kind}": array for kind, array in states.items()}
    return named


def differing(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[str]:
    """Return the names of the arrays that have not the same bytes in both."""
    return [name for name in a if a[name].tobytes() != b[name].tobytes()]


def _batches(rng: np.random.Generator, images: int, batch_size: int) -> Iterator[Array]:
    """Yield the indices of one epoch's batches, in a new order."""
    order = rng.permutation(images)
    for start in range(0, images, batch_size):
        yield order[start : start + batch_size]


def _step(run: Run, params: network.Params, images: Array, labels: Array) -> None:
    run.rates.append(run.optimizer.lr)
    start = perf_counter()
    loss, grads = network.loss_and_gradients(params, images, labels)
    middle = perf_counter()
    run.optimizer.step(grads)
    end = perf_counter()
    run.losses.append(_finite(loss, run))
    run.gradient_seconds.append(middle - start)
    run.step_seconds.append(end - middle)


def _tested(run: Run, params: network.Params, data: Data) -> float:
    """Return the accuracy on the test images, where the loss must be finite too."""
    loss, _ = network.loss_and_gradients(params, data.test_images, data.test_labels)
    _finite(loss, run)
    return network.accuracy(params, data.test_images, data.test_labels)


def _finite(loss: float, run: Run) -> float:
    if not isfinite(loss):
        raise DivergedError(loss, run.optimizer.step_count)
    return loss
