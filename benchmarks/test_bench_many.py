"""Many small arrays in one optimizer: what a step costs beyond its arithmetic."""

import pytest

from benchmarks.bench import Step, cases
from benchmarks.workloads import MANY, Workload, thread_counts


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    works = [Workload("adam", shape, threads=threads) for shape in MANY for threads in thread_counts()]
    metafunc.parametrize(("work", "contender"), cases(works))


@pytest.mark.benchmark(max_time=0.2, min_rounds=5, warmup=True, warmup_iterations=10)
def test_step(step: Step) -> None:
    step()
