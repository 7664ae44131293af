"""Running the workloads, and reading ratios from them."""

import gc
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks import workloads
from benchmarks.peers import LIMITS, TORCH, Contender, entered
from benchmarks.peers.base import Run
from benchmarks.peers.process import Watch, keep_freed_memory, wait_for_quiet
from benchmarks.timing import Times, interleave
from benchmarks.workloads import Workload

OURS = "gdfast"


@dataclass
class Measured:
    """One workload's times, by contender."""

    work: Workload
    times: dict[str, Times]
    problems: dict[str, str] = field(default_factory=dict)  # contender -> why it has no time
    others: float | None = None  # CPUs that other processes used meanwhile
    ours: str = OURS  # what the others are compared with

    @property
    def disturbed(self) -> bool:
        """Whether others used the CPUs enough to make the times doubtful."""
        return Watch.disturbs(self.others)

    def best(self, names: Iterable[object]) -> str | None:
        """Return which of these contenders is fastest in the median."""
        here = [str(name) for name in names if str(name) in self.times]
        return min(here, key=lambda name: self.times[name].median, default=None)

    @property
    def best_torch(self) -> str | None:
        """PyTorch's fastest form here."""
        return self.best(TORCH)

    @property
    def best_limit(self) -> str | None:
        """The fastest way to run the limit here."""
        return self.best(LIMITS)

    def faster_than(self, name: str | None) -> float | None:
        """Return how many times faster gdfast is."""
        return self.times[name].over(self.times[self.ours]) if name in self.times else None

    @property
    def share_of_limit(self) -> float | None:
        """The limit's time divided by gdfast's: 1 is as fast as memory allows."""
        return self.faster_than(self.best_limit)

    def nanoseconds(self, name: str | None = None) -> float:
        """Return nanoseconds a parameter, in the median; gdfast's when no contender is named."""
        return self.times[name or self.ours].median / self.work.elements * 1e9


class Patience:
    """The total time, in seconds, for waiting for a quiet machine and for repeating disturbed workloads."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def measure(self, work: Workload, rounds: int, contenders: Sequence[Contender] = ()) -> Measured:
        """Measure a workload, again while others disturb it and there is patience left."""
        while True:
            start = time.monotonic()
            wait_for_quiet(start + self.left)
            waited = time.monotonic() - start
            measured = measure(work, rounds, contenders)
            self.left -= waited if not measured.disturbed else time.monotonic() - start
            if not measured.disturbed or self.left <= 0:
                return measured


def measure(work: Workload, rounds: int, contenders: Sequence[Contender] = ()) -> Measured:
    """Time every contender of a workload, the first against the others; one that fails is left out, with the reason."""
    keep_freed_memory()
    runs: dict[str, Run] = {}
    problems: dict[str, str] = {}
    contenders = contenders or entered(work.rule)
    ours = contenders[0].name
    for contender in contenders:
        try:
            runs[contender.name] = contender.setup(work)
        except Exception as error:
            if contender.name == ours:
                raise
            problems[contender.name] = f"{type(error).__name__}: {error}"
    workloads.forget_arrays()
    watch = Watch()
    times = interleave(runs, rounds)
    others = watch.cpus()
    runs.clear()
    gc.collect()
    return Measured(work, times, problems, others, ours)
