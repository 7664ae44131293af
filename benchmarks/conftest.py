"""Options and fixtures of the benchmark suites."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import workloads
from benchmarks.bench import Step
from benchmarks.peers import Contender, Run
from benchmarks.peers.process import keep_freed_memory
from benchmarks.timing import settle

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="benchmarks: every size and element type (long, gigabytes)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of peers are no errors: we cannot fix them."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture
def run(work: workloads.Workload, contender: Contender) -> Iterator[Run]:
    """A contender ready to step."""
    keep_freed_memory()
    ready = contender.setup(work)
    workloads.forget_arrays()
    ready.step()  # compiles, and touches memory for the first time
    yield ready
    del ready
    gc.collect()


@pytest.fixture
def step(benchmark: Any, work: workloads.Workload, run: Run) -> Step:
    """Time the contender's step, among the others of its workload."""
    benchmark.group = work.label
    benchmark.extra_info["nanoseconds_per_parameter_times"] = 1e9 / work.elements

    def timed() -> None:
        settle()
        with run.around():
            benchmark(run.step)

    return timed
