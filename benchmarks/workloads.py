"""What is measured: a rule, the lengths of its arrays, their element type, and the threads."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdfast.engine.threads import available_cpus


@dataclass(frozen=True)
class Rule:
    """One update rule: the optimizer class (gdfast's and PyTorch's name alike), its options, its state arrays."""

    optimizer: str
    states: int
    options: dict[str, Any] = field(default_factory=dict)


# All options that matter are written out, so that every contender gets the same ones.
_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
_RMSPROP = {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8}
RULES = {
    "sgd": Rule("SGD", 0, {"lr": 1e-3}),
    "momentum": Rule("SGD", 1, {"lr": 1e-3, "momentum": 0.9}),
    "nesterov": Rule("SGD", 1, {"lr": 1e-3, "momentum": 0.9, "nesterov": True}),
    "adagrad": Rule("Adagrad", 1, {"lr": 1e-2, "eps": 1e-10}),
    "rmsprop": Rule("RMSprop", 1, _RMSPROP),
    "rmsprop_centered": Rule("RMSprop", 2, _RMSPROP | {"centered": True}),
    "rmsprop_momentum": Rule("RMSprop", 2, _RMSPROP | {"momentum": 0.9}),
    "rmsprop_centered_momentum": Rule("RMSprop", 3, _RMSPROP | {"centered": True, "momentum": 0.9}),
    "adam": Rule("Adam", 2, _ADAM),
    "adamw": Rule("AdamW", 2, _ADAM | {"weight_decay": 1e-2}),
    "amsgrad": Rule("Adam", 3, _ADAM | {"amsgrad": True}),
}

# Those of PyTorch's optimizers, for `drop_in`.
IN_TORCH = RULES | {
    "asgd": Rule("ASGD", 1, {"lr": 1e-2}),
    "rprop": Rule("Rprop", 2, {"lr": 1e-2}),
    "adadelta": Rule("Adadelta", 2, {"lr": 1.0}),
    "adamax": Rule("Adamax", 2, {"lr": 2e-3}),
    "nadam": Rule("NAdam", 2, {"lr": 2e-3}),
    "radam": Rule("RAdam", 2, {"lr": 1e-3}),
}

SIZES = {"100": 100, "1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000, "16.8M": 1 << 24}
GROWTH = {"16.8M": 1 << 24, "33.6M": 1 << 25, "67.1M": 1 << 26, "134M": 1 << 27}
MANY = {
    "200 x 64": (64,) * 200,
    # weights and biases of a small image network
    "small network": (288, 32, 18_432, 64, 36_864, 64, 401_408, 128, 1_280, 10),
}


def _resnet_18() -> Iterator[int]:
    """Yield the 62 tensors of ResNet-18: 11.7M parameters."""
    before = 64
    yield from (64 * 3 * 49, 64, 64)
    for width in (64, 128, 256, 512):
        for depth in (before, width):
            yield from (depth * width * 9, width, width, width * width * 9, width, width)
        if width != before:
            yield from (before * width, width, width)
        before = width
    yield from (512 * 1000, 1000)


def _gpt_2_small() -> Iterator[int]:
    """Yield the 148 tensors of GPT-2 small: 124M parameters."""
    width = 768
    yield from (50_257 * width, 1024 * width)
    for _ in range(12):
        yield from (width, width, 3 * width**2, 3 * width, width**2, width)
        yield from (width, width, 4 * width**2, 4 * width, 4 * width**2, width)
    yield from (width, width)


MODELS = {"ResNet-18": tuple(_resnet_18()), "GPT-2 small": tuple(_gpt_2_small())}
ALL = available_cpus()


@dataclass(frozen=True)
class Workload:
    """One line of the tables."""

    rule: str
    shape: str  # a name from SIZES, GROWTH, MANY or MODELS
    dtype: str = "float32"
    threads: int = 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """How long each array is."""
        if self.shape in MANY | MODELS:
            return (MANY | MODELS)[self.shape]
        return ((SIZES | GROWTH)[self.shape],)

    @property
    def elements(self) -> int:
        """How many parameters there are in all."""
        return sum(self.sizes)

    @property
    def label(self) -> str:
        """Name the workload in a table or a test."""
        return f"{self.rule}, {self.shape}, {self.dtype}, {threads_text(self.threads)}"

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return fresh parameters and gradients, the same ones for every contender."""
        params, grads = _draw(self.sizes, self.dtype)
        return [p.copy() for p in params], [g.copy() for g in grads]


def threads_text(threads: int) -> str:
    """Return `1 thread` or `n threads`."""
    return f"{threads} thread{'' if threads == 1 else 's'}"


def thread_counts() -> list[int]:
    """Return 1 and all, or only 1 on a machine that has no more."""
    return sorted({1, ALL})


@functools.lru_cache(maxsize=1)
def _draw(sizes: tuple[int, ...], dtype: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(20)

    def arrays() -> list[np.ndarray]:
        return [rng.standard_normal(size, dtype) for size in sizes]

    return arrays(), arrays()


def forget_arrays() -> None:
    """Give back the memory of the last workload's numbers."""
    _draw.cache_clear()


def full() -> list[Workload]:
    """Return every workload of the full form."""
    works = [Workload(rule, shape, threads=t) for rule in RULES for shape in SIZES for t in thread_counts()]
    works += [Workload("adam", shape, "float64", t) for shape in SIZES for t in thread_counts()]
    return works + [Workload("adam", shape, threads=t) for shape in MANY for t in thread_counts()]


def quick() -> list[Workload]:
    """Return the few workloads of the quick form."""
    works = [Workload("adam", shape, threads=t) for shape in ("1k", "100k", "1M", "16.8M") for t in thread_counts()]
    works += [Workload(rule, "1M", threads=ALL) for rule in RULES if rule != "adam"]
    works += [Workload("adam", "100k", "float64", ALL)]
    return works + [Workload("adam", shape, threads=ALL) for shape in MANY]
