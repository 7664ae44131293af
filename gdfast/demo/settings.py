"""What can be chosen for the demo, and what each choice may be."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gdfast.demo.errors import BadOptionError
from gdfast.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from gdfast.schedules import Constant, Cosine, Linear, OneCycle, Schedule, StepDecay, Warmup
from gdfast.stepping.base import Optimizer

SMALLEST_LR, LARGEST_LR = 1e-9, 1e6
MOST_EPOCHS = 10_000


class Recipe(NamedTuple):
    """How an optimizer is made, and the learning rate that does well in the demo."""

    make: Callable[..., Optimizer]
    lr: float


OPTIMIZERS = {
    "sgd": Recipe(SGD, 1.0),
    "momentum": Recipe(partial(SGD, momentum=0.9), 0.1),
    "adagrad": Recipe(Adagrad, 0.1),
    "rmsprop": Recipe(RMSprop, 0.005),
    "adam": Recipe(Adam, 0.01),
    "adamw": Recipe(AdamW, 0.01),
}


def _cosine(lr: float, steps: int, warmup: int) -> Schedule:
    return Cosine(lr, steps, warmup_steps=warmup, min_lr=lr / 100)


def _linear(lr: float, steps: int, warmup: int) -> Schedule:
    return Linear(lr, steps, warmup_steps=warmup)


def _constant(lr: float, steps: int, warmup: int) -> Schedule:
    return Warmup(Constant(lr), warmup)


def _step(lr: float, steps: int, warmup: int) -> Schedule:
    thirds = StepDecay(lr, step_size=-(-(steps - warmup) // 3), gamma=0.1)
    return Warmup(thirds, warmup)


def _onecycle(lr: float, steps: int, warmup: int) -> Schedule:
    return OneCycle(lr, steps, pct_start=warmup / steps)


SCHEDULES: dict[str, Callable[[float, int, int], Schedule]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "step": _step,
    "onecycle": _onecycle,
}


@dataclass(frozen=True)
class Settings:
    """The choices of one demo.

    Parameters
    ----------
    optimizer, schedule : str
        A key of `OPTIMIZERS`, of `SCHEDULES`.
    lr : float, optional
        The highest learning rate; without it, the optimizer's own in `OPTIMIZERS`.
    warmup : float
        The share of the steps in which the learning rate rises, in [0, 1).
    epochs : int
        How often every image is seen.
    batch_size : int
        Images in a step; the last batch of an epoch may be smaller.
    seed : int
        Of the split into training and test, the first weights, and the order of the batches.
    threads : int, optional
        At most so many in a step; see :func:`gdfast.set_num_threads`.
    out : Path
        The picture, a PNG.
    quiet : bool
        No progress bars.

    Raises
    ------
    BadOptionError
        Naming the choice, what was expected and what came.
    """

    optimizer: str = "adam"
    lr: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.1
    epochs: int = 30
    batch_size: int = 32
    seed: int = 0
    threads: int | None = None
    out: Path = Path("demo.png")
    quiet: bool = False

    def __post_init__(self) -> None:
        _check(self.optimizer in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}", self.optimizer)
        _check(self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}", self.schedule)
        lr_range = f"a number from {SMALLEST_LR:g} to {LARGEST_LR:g}"
        _check(self.lr is None or SMALLEST_LR <= self.lr <= LARGEST_LR, "lr", lr_range, self.lr)
        _check(0.0 <= self.warmup < 1.0, "warmup", "a share of the steps, from 0 to below 1", self.warmup)
        _check(1 <= self.epochs <= MOST_EPOCHS, "epochs", f"a whole number from 1 to {MOST_EPOCHS:,}", self.epochs)
        _check(self.batch_size >= 1, "batch_size", "a whole number from 1 on", self.batch_size)
        _check(0 <= self.seed < 2**32, "seed", "a whole number from 0 to below 2**32", self.seed)
        _check(self.threads != 0, "threads", "a whole number but not 0 (-1 is all CPUs, -2 all but one)", self.threads)
        _check(self.out.suffix.lower() == ".png", "out", "a file that ends in .png", str(self.out))

    def check_against(self, images: int) -> None:
        """Check that a batch is not larger than the data.

        Raises
        ------
        BadOptionError
            If it is.
        """
        expected = f"a whole number from 1 to {images:,}, the number of training images"
        _check(self.batch_size <= images, "batch_size", expected, self.batch_size)

    @property
    def highest_lr(self) -> float:
        """The learning rate that was chosen, or the optimizer's own."""
        return OPTIMIZERS[self.optimizer].lr if self.lr is None else self.lr

    def warmup_steps(self, steps: int) -> int:
        """Return how many of the steps the warm-up takes."""
        return int(self.warmup * steps)

    def make_schedule(self, steps: int) -> Schedule:
        """Return the learning rate for a training of so many steps."""
        return SCHEDULES[self.schedule](self.highest_lr, steps, self.warmup_steps(steps))

    def make_optimizer(self, params: Any, steps: int, engine: str) -> Optimizer:
        """Return the optimizer that takes so many steps on these parameters."""
        make = OPTIMIZERS[self.optimizer].make
        return make(params, lr=self.make_schedule(steps), n_threads=self.threads, engine=engine)


def _check(good: bool, name: str, expected: str, got: object) -> None:
    if not good:
        raise BadOptionError(name, expected, got)
