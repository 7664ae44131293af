"""Every rule at every size, for every contender. `--full` adds the sizes and threads that take long.

`pytest benchmarks --benchmark-only -k "adam and 100k"`; the contenders of a workload stand in one group.
"""

import pytest

from benchmarks import workloads
from benchmarks.bench import Step, cases

USUAL = [work for work in workloads.full() if work.dtype == "float32" and work.shape in ("1k", "100k")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    works = workloads.full() if metafunc.config.getoption("--full") else USUAL
    single = [work for work in works if work.shape not in workloads.MANY]
    metafunc.parametrize(("work", "contender"), cases(single))


@pytest.mark.benchmark(max_time=0.2, min_rounds=5, warmup=True, warmup_iterations=10)
def test_step(step: Step) -> None:
    step()
