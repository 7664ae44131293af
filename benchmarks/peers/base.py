"""What a contender is, and what it hands over to be timed."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from benchmarks.workloads import Workload


@dataclass
class Run:
    """A contender ready to step: all buffers are set up, and `step` is what a user would call."""

    step: Callable[[], object]
    params: Callable[[], list[np.ndarray]]
    set_grads: Callable[[Sequence[np.ndarray]], None]
    around: Callable[[], AbstractContextManager[object]] = nullcontext  # entered before the clock starts


class Contender(ABC):
    """One way to carry out a step."""

    name: str
    needs: str = "numpy"  # the package it needs

    def available(self) -> bool:
        """Whether its package is installed."""
        return importlib.util.find_spec(self.needs) is not None

    def supports(self, rule: str) -> bool:
        """Whether it has the rule."""
        return True

    @abstractmethod
    def setup(self, work: Workload) -> Run:
        """Make its buffers and return what steps them."""

    def __repr__(self) -> str:
        return self.name


def copy_into(arrays: Sequence[np.ndarray]) -> Callable[[Sequence[np.ndarray]], None]:
    """Return what writes new gradients into these arrays, for contenders that read NumPy memory."""

    def set_grads(grads: Sequence[np.ndarray]) -> None:
        for array, grad in zip(arrays, grads, strict=True):
            array[...] = grad

    return set_grads
