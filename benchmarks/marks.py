"""The marks that gdfast set itself, and whether a run reaches them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Measured
from benchmarks.workloads import ALL, RULES, threads_text


@dataclass(frozen=True)
class Mark:
    """One mark: what was measured (None when this run did not), what is asked, and in what."""

    what: str
    value: float | None
    asked: float
    unit: str
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """Return met, missed, or not measured."""
        if self.value is None:
            return "not measured"
        met = self.value <= self.asked if self.at_most else self.value >= self.asked
        return "met" if met else "missed"


def find(figures: Mapping[str, Any], *path: str) -> Any:
    """Return what stands at this path, None where there is nothing."""
    value: Any = figures
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class Marks:
    """All marks, read from one run."""

    def __init__(self, measured: Sequence[Measured], special: Mapping[str, Mapping[str, Any]]) -> None:
        self.measured = {m.work.label: m for m in measured}
        self.special = special

    def all(self) -> list[Mark]:
        """Return every mark."""
        return [*self.from_memory(), *self.in_cache(), *self.small(), *self.other()]

    def find(self, rule: str, shape: str, threads: int) -> Measured | None:
        """Return a workload's times, if it was run."""
        return self.measured.get(f"{rule}, {shape}, float32, {threads_text(threads)}")

    def faster(self, rule: str, shape: str, threads: int, peer: str | None, asked: float) -> Mark:
        """Make a mark against a peer, or against PyTorch's best form when no peer is named."""
        m = self.find(rule, shape, threads)
        value = m.faster_than(peer or m.best_torch) if m else None
        return Mark(f"{_work(rule, shape, threads)}: faster than {peer or 'PyTorch at its best'}", value, asked, "×")

    def share(self, rule: str, shape: str, threads: int, asked: float) -> Mark:
        """Make a mark against the limit."""
        m = self.find(rule, shape, threads)
        return Mark(f"{_work(rule, shape, threads)}: share of the limit", m.share_of_limit if m else None, asked, "")

    def from_memory(self) -> Iterator[Mark]:
        """Large arrays."""
        for rule in ("adam", "adamw"):
            for threads in sorted({1, ALL}):
                yield self.share(rule, "16.8M", threads, 0.95)
                yield self.faster(rule, "16.8M", threads, "PyTorch fused", 1.05)
        for rule in RULES:
            if rule not in ("adam", "adamw"):
                yield self.share(rule, "16.8M", ALL, 0.93)
        yield self.faster("rmsprop", "16.8M", ALL, None, 4.0)

    def in_cache(self) -> Iterator[Mark]:
        """Arrays that stay in the cache."""
        yield self.faster("adam", "1M", 1, "PyTorch fused", 1.25)
        yield self.faster("adam", "100k", ALL, "PyTorch fused", 2.2)
        yield self.faster("adam", "100k", ALL, "numba, exact", 1.0)

    def small(self) -> Iterator[Mark]:
        """Steps that are all overhead."""
        yield self.faster("adam", "1k", ALL, "PyTorch fused", 20.0)
        yield self.faster("adam", "1k", ALL, "NumPy", 7.0)
        yield self.faster("adam", "1k", ALL, "numba", 2.5)
        yield self.faster("adam", "200 x 64", ALL, "PyTorch fused", 50.0)

    def other(self) -> Iterator[Mark]:
        """Everything that is not the time of one step."""
        for name, what, asked in (
            ("whole_step", "clip to norm, Adam, zero gradients", 1.8),
            ("whole_step_averaged", "the same with an average of the parameters", 2.2),
        ):
            faster = self._get(name, "faster_than_PyTorch")
            yield Mark(f"{what}, 16.8M, one call: faster than PyTorch's calls", faster, asked, "×")
            yield Mark(f"{what}, 16.8M: share of the limit", self._get(name, "share_of_limit"), 0.9, "")
        sparse = self._get("embedding", "faster_than_PyTorch")
        yield Mark("Adam on 4,096 rows of a table of 1M x 64: faster than PyTorch's SparseAdam", sparse, 3.0, "×")
        dead = "Adam, 100k, 1,000 steps after the gradients went to zero"
        yield Mark(
            f"{dead}: times its own time before", self._get("dead_gradients", "gdfast", "slower"), 1.2, "×", True
        )
        torch = self._get("dead_gradients", "faster_than_torch")
        yield Mark(f"{dead}: faster than PyTorch fused", torch, 10.0, "×")
        yield Mark("Adam, 16.8M: 2 threads against 1", self._get("two_threads", "faster"), 1.8, "×")
        yield Mark("import gdfast beyond import numpy", self._get("import_time", "median_ms"), 15.0, "ms", True)
        memory = self._get("step_memory", "python_peak_bytes"), self._get("step_memory", "resident_growth_bytes")
        allocated = None if None in memory else max(memory) / 1e6
        yield Mark("Adam, 16.8M: a step's own allocations", allocated, 1.0, "MB", True)
        beyond = self._get("fit_memory", "beyond_rows_mb")
        yield Mark("fitting a linear model on 1 GB of rows: memory beyond them", beyond, 50.0, "MB", True)
        yield Mark("Adam, 16.8M to 134M: time per parameter, off by", self._percent("growth", "off"), 10.0, "%", True)

    def _get(self, *path: str) -> Any:
        return find(self.special, *path)

    def _percent(self, *path: str) -> float | None:
        value = self._get(*path)
        return None if value is None else 100 * value


def _work(rule: str, shape: str, threads: int) -> str:
    return f"{rule}, {shape}, {threads_text(threads)}"
