"""A signal takes effect after a step, never in its middle. In a process of its own: coverage's locks mind signals."""

import signal
import subprocess
import sys

import pytest

RUN = """
import signal
import numpy as np
import gdfast

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
for size in (10, 1_000_000):
    param, grad, interrupted = np.zeros(size), np.ones(size), 0
    opt = gdfast.SGD(param, lr=1.0)
    for i in range(300):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + i % 7))
            while True:
                opt.step(grad)
        except KeyboardInterrupt:
            interrupted += 1
        assert param[0] == param[-1] == -opt.step_count, (param[0], param[-1], opt.step_count)
    assert interrupted == 300
    assert np.all(param == -opt.step_count)
"""


RUN_BY_ROWS = RUN.replace(
    "param, grad, interrupted = np.zeros(size), np.ones(size), 0",
    "param, grad, interrupted = np.zeros(size), np.ones(size), 0\n    table, rows = np.zeros(size), np.arange(size)",
)
RUN_BY_ROWS = RUN_BY_ROWS.replace("gdfast.SGD(param", "gdfast.SGD([param, table]")
RUN_BY_ROWS = RUN_BY_ROWS.replace("opt.step(grad)", "opt.step([grad, gdfast.Rows(rows, grad)])")
RUN_BY_ROWS += "    assert np.all(table == -opt.step_count)\n"


@pytest.mark.parametrize("run", [RUN, RUN_BY_ROWS], ids=["dense", "by rows"])
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
def test_an_interrupted_run_is_whole_and_goes_on(run):
    result = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
