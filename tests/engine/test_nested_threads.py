"""Fits and steps inside the workers of other libraries: the same bits as outside, and every worker ends."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "helpers" / "nested_threads.py"
BACKENDS = ["loky", "threading", "multiprocessing"]


def check(*arguments):
    done = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("estimator", ["linear", "network"])
def test_fits_in_joblib_workers(estimator, backend):
    check("cross_validate", estimator, backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_in_joblib_workers(backend):
    check("step", backend)


@pytest.mark.slow
def test_steps_in_workers_of_a_data_loader():
    pytest.importorskip("torch")
    check("load")
