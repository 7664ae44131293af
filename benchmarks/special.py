"""What one step time cannot say: dead gradients, threads, growth, memory, the import."""

import gc
import os
import statistics
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Run, Torch
from benchmarks.peers.base import Contender
from benchmarks.peers.gdfast_peer import Gdfast
from benchmarks.timing import Times, interleave
from benchmarks.workloads import ALL, GROWTH, Workload, forget_arrays

Result = dict[str, Any]
DEAD_STEPS = 1_000
FORGOTTEN = 5  # steps before a step's own memory is looked at


def ready(contender: Contender, work: Workload) -> Run | None:
    """Return the contender set up, or None if it is not installed."""
    return contender.setup(work) if contender.available() else None


def dead_gradients(rounds: int) -> Result:
    """Time Adam at the start, and after the gradients have been zero for 1,000 steps."""
    work = Workload("adam", "100k", threads=1)
    both = {c.name: ready(c, work) for c in (Gdfast("native"), Torch("fused"))}
    runs = {name: run for name, run in both.items() if run is not None}
    before = interleave(runs, rounds)
    for run in runs.values():
        run.set_grads([np.zeros(size, work.dtype) for size in work.sizes])
        for _ in range(DEAD_STEPS):
            run.step()
    after = interleave(runs, rounds)
    result: Result = {
        name: {
            "start_us": before[name].median * 1e6,
            "dead_us": after[name].median * 1e6,
            "slower": after[name].median / before[name].median,
        }
        for name in runs
    }
    result["faster_than_torch"] = _ratio(after, "PyTorch fused", "gdfast")
    return result


def two_threads(shape: str, rounds: int) -> Result:
    """Time Adam on one thread and on two."""
    runs = {str(t): Gdfast("native").setup(Workload("adam", shape, threads=t)) for t in (1, 2)}
    times = interleave(runs, rounds)
    return _milliseconds(times) | {"faster": times["1"].over(times["2"])}


def growth(rounds: int) -> Result:
    """Time Adam on ever more parameters, per parameter."""
    works = [Workload("adam", shape, threads=ALL) for shape in GROWTH]
    runs = {work.shape: Gdfast("native").setup(work) for work in works}
    forget_arrays()
    times = interleave(runs, rounds)
    nanoseconds = {work.shape: times[work.shape].median / work.elements * 1e9 for work in works}
    runs.clear()
    gc.collect()
    first = nanoseconds[works[0].shape]
    return {"ns_per_parameter": nanoseconds, "off": max(abs(ns / first - 1) for ns in nanoseconds.values())}


def import_time(times: int) -> Result:
    """Time `import gdfast` after `import numpy`, each time in a new process."""
    code = (
        "import time; import numpy; start = time.perf_counter(); import gdfast; "
        "print((time.perf_counter() - start) * 1e3)"
    )
    command = [sys.executable, "-c", code]
    # As after an installation: the byte code is there, and the files are in the cache.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    run = partial(subprocess.run, command, check=True, capture_output=True, env=environment)
    run()
    milliseconds = [float(run().stdout) for _ in range(times)]
    return {"median_ms": statistics.median(milliseconds), "minimum_ms": min(milliseconds)}


def step_memory(shape: str) -> Result:
    """Measure what a step of Adam allocates beyond the optimizer's arrays: Python's count, and the system's."""
    run = Gdfast("native").setup(Workload("adam", shape, threads=ALL))
    for _ in range(FORGOTTEN):
        run.step()
    tracemalloc.start()
    run.step()
    tracemalloc.reset_peak()
    start, resident = tracemalloc.get_traced_memory()[0], _resident()
    run.step()
    peak, grown = tracemalloc.get_traced_memory()[1] - start, _resident() - resident
    tracemalloc.stop()
    return {"python_peak_bytes": peak, "resident_growth_bytes": grown}


def fit_memory() -> Result:
    """Measure, in a process of its own, the memory that a linear fit takes beyond 1 GB of float32 rows."""
    found = subprocess.run([sys.executable, "-c", _FIT], check=True, capture_output=True, text=True)
    return {"beyond_rows_mb": float(found.stdout) / 1e6}


# Not by getrusage: a process inherits the largest size of the one that started it.
_FIT = """
import numpy as np
from benchmarks.special import _resident
from gdfast.sklearn import GDClassifier
X = np.random.default_rng(0).standard_normal((2_500_000, 100), np.float32)
y = X[:, 0] > 0
GDClassifier().fit(X[:1000], y[:1000])  # what is imported with the first fit
before = _resident()
GDClassifier(random_state=0).fit(X, y)
print(_resident("VmHWM") - before)
"""


def _resident(field: str = "VmRSS") -> int:
    """Return this process's resident memory in bytes, its largest with VmHWM; 0 where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(next(line for line in text.splitlines() if line.startswith(field)).split()[1]) * 1024


def _ratio(times: dict[str, Times], slow: str, fast: str) -> float | None:
    return times[slow].over(times[fast]) if slow in times else None


def _milliseconds(times: dict[str, Times]) -> Result:
    return {f"{name}_ms": t.median * 1e3 for name, t in times.items()}
