"""What a step and an optimizer take in memory, and arrays beyond 32-bit indices."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cases import CASES

import gdfast


def available_bytes():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no MemAvailable")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="asks Linux how much memory there is")
def test_more_than_2_to_the_31_elements(tmp_path):
    """Both arrays are memory maps of sparse files; the parameters' is private, so that the disk stays empty."""
    size = 2**31 + 33
    if available_bytes() < 5 * size:
        pytest.skip(f"needs {5 * size / 2**30:.0f} GB of memory to write to")
    for name in ("param", "grad"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(4 * size)
    param = np.memmap(tmp_path / "param", np.float32, "c")
    grad = np.memmap(tmp_path / "grad", np.float32, "r+")
    assert param.size == size
    places = [0, 1, size // 2 - 1, size // 2, 2**31 - 1, 2**31, 2**31 + 1, size - 1]
    grad[places] = np.arange(1, len(places) + 1)
    opt = gdfast.SGD(param, lr=0.5)
    opt.step(grad)
    assert param[places].tolist() == [-0.5 * (i + 1) for i in range(len(places))]
    assert np.count_nonzero(param) == len(places)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_allocates_nothing_that_grows_with_the_arrays(case):
    def peak_of_steps(size):
        param, grad = np.ones(size, np.float32), np.ones(size, np.float32)
        opt = case.make(param)
        opt.step(grad)
        tracemalloc.start()
        for _ in range(3):
            opt.step(grad)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_of_steps(1_000_000) < 10_000
    assert peak_of_steps(100) < 10_000


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_optimizer_takes_its_state_arrays_and_little_else(case):
    param = np.ones(1_000_000, np.float32)
    tracemalloc.start()
    opt = case.make(param)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    state = sum(array.nbytes for array in opt.state["0"].values())
    assert state <= param.nbytes * len(opt.state["0"])
    assert state <= taken < state + 50_000


RSS = """
import resource
import numpy as np
import gdfast
param, grad = np.ones(16_777_216, np.float32), np.ones(16_777_216, np.float32)
opt = gdfast.AdamW(param, l1=0.1, maximize=True)
for array in (param, *opt.state["0"].values()):
    array += 1  # touch every page
small = np.ones(1_000_000, np.float32)
gdfast.AdamW(small, l1=0.1, maximize=True).step(small.copy())  # and start OpenMP's threads
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    opt.step(grad)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in kilobytes, as on Linux")
def test_peak_memory_of_the_process_stays():
    out = subprocess.run([sys.executable, "-c", RSS], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 1024
