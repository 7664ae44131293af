"""Timing contenders against one another in one process, round by round.

The speed of a machine varies: clocks change, and other processes use its memory. So the contenders of a workload take
turns (A B C, A B C, ...), and only times of the same round are compared. A turn is a few steps in a row:

- `settle` first: OpenMP's workers keep spinning for some 9 ms (measured here, libgomp's default) after a parallel
  region, and would take CPU time from the next contender if that one has its own threads (XLA) or is to run on one.
  It waits busily, because a CPU that slept is slower afterwards: after 50 ms of sleep the same 100,000 elements took
  1.3 to 2.4 times as long as without.
- then some uncounted steps, which load the contender's arrays into the cache and wake its threads;
- then the counted steps, for about 10 ms, at least one.

PyTorch and numba share one libgomp where both are built against the system's (as here); where a package brings its own
copy, that copy's workers spin as well, and settle in the same time. gdfast's own threads sleep after 50 µs. What else
contenders do to one another through the process that they share stands in peers/process.py.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.peers.base import Run

SETTLE = 0.012
TURN = 0.010
WARM_UP = 0.002
SLOW_TURN = 0.15  # who needs longer a turn takes part in the first rounds only
SLOW_ROUNDS = 3


@dataclass
class Times:
    """Seconds a step, of each round that a contender took part in."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """The best round."""
        return min(self.seconds)

    def over(self, other: "Times") -> float:
        """Return the median, over the rounds that both took part in, of this time divided by the other's."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=False))


def interleave(
    runs: Mapping[str, Run],
    rounds: int,
    after_turn: Callable[[], object] = lambda: None,
    pause: float = SETTLE,
    slow_turn: float = SLOW_TURN,
) -> dict[str, Times]:
    """Time every contender, in turns, with a pause (in seconds) before each."""
    repetitions = {name: _repetitions(run) for name, run in runs.items()}
    times = {name: Times() for name in runs}
    for round_ in range(rounds):
        for name, run in runs.items():
            if round_ < SLOW_ROUNDS or times[name].median * repetitions[name] < slow_turn:
                times[name].seconds.append(turn(run, repetitions[name], pause))
            after_turn()
    return times


def turn(run: Run, repetitions: int, pause: float = SETTLE) -> float:
    """Return the seconds per step of `repetitions` steps in a row, settled and warm."""
    with run.around():
        settle(pause)
        _step_for(run, WARM_UP)
        step = run.step
        gc_was_on = gc.isenabled()
        gc.disable()
        try:
            start = time.perf_counter()
            for _ in range(repetitions):
                step()
            return (time.perf_counter() - start) / repetitions
        finally:
            if gc_was_on:
                gc.enable()


def settle(pause: float = SETTLE) -> None:
    """Wait until the workers of the contender before have gone to sleep."""
    end = time.perf_counter() + pause
    while time.perf_counter() < end:
        pass


def _repetitions(run: Run) -> int:
    """Return how many steps make a turn, and warm the contender up."""
    with run.around():
        run.step()  # compiles, and touches memory for the first time
        steps, seconds = _step_for(run, TURN)
    return max(1, math.ceil(TURN * steps / seconds))


def _step_for(run: Run, at_least: float) -> tuple[int, float]:
    """Step until at least this many seconds have passed; return the steps and the seconds."""
    steps, start = 0, time.perf_counter()
    while True:
        run.step()
        steps += 1
        if (seconds := time.perf_counter() - start) >= at_least:
            return steps, seconds
