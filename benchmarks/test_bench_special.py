"""Dead gradients: a step after the gradients have been zero for 1,000 steps, beside a step at the start."""

import numpy as np
import pytest

from benchmarks.bench import Step, cases
from benchmarks.peers import Run
from benchmarks.special import DEAD_STEPS
from benchmarks.workloads import Workload


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = ("gdfast", "PyTorch fused")
    metafunc.parametrize(("work", "contender"), cases([Workload("adam", "100k")], names))


@pytest.mark.benchmark(max_time=0.2, min_rounds=5)
@pytest.mark.parametrize("gradients", ["alive", "dead"])
def test_dead_gradients(step: Step, run: Run, work: Workload, gradients: str) -> None:
    if gradients == "dead":
        run.set_grads([np.zeros(size, work.dtype) for size in work.sizes])
        for _ in range(DEAD_STEPS):
            run.step()
    step()
