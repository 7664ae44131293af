"""Fitting a linear model on 1 GB of rows takes under 50 MB beyond the rows."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
import resource
import sys

import numpy as np

from gdfast.sklearn import GDClassifier, GDRegressor

columns = int(sys.argv[1])
rows = (1 << 30) // (4 * columns)
rng = np.random.default_rng(0)
X = np.empty((rows, columns), np.float32)
drawn = rng.standard_normal((10_000, columns), np.float32)
for at in range(0, rows, 10_000):
    X[at : at + 10_000] = drawn[: rows - at]  # to draw 1 GB would take longer than to fit
kind = {"classifier": GDClassifier, "regressor": GDRegressor}[sys.argv[2]]
y = X[:, 0] + X[:, 1]
y = (y > 0).astype(np.int64) if kind is GDClassifier else y.astype(np.float64)
kind(max_iter=1, random_state=0).fit(X[:5000], y[:5000])  # what is loaded at first use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = kind(max_iter=2, n_threads=1, random_state=0).fit(X, y)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="asks Linux for the most memory that was in use")
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_a_fit_copies_nothing(kind):
    result = subprocess.run([sys.executable, "-c", SCRIPT, "100", kind], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 50e6
