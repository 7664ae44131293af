"""Functions of a file of tests, run by the ranks of a real mpiexec. By hand: `mpiexec -n 2 python -m mpi4py
tests/helpers/ranks.py FILE FUNCTION`.
"""

import contextlib
import inspect
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 600  # seconds for all ranks together, on a busy machine


def mpiexec() -> str:
    """Return the command, of this environment or the system's; without one, or without mpi4py, the test is skipped."""
    pytest.importorskip("mpi4py", reason="needs mpi4py and an MPI", exc_type=ImportError)
    beside = os.path.dirname(sys.executable)
    found = shutil.which("mpiexec", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    return found or pytest.skip("needs mpiexec")


def command(n_ranks: int, function: Callable[..., Any], *arguments: str) -> list[str]:
    """Return the command by which n ranks run ``function(*arguments)``."""
    file = inspect.getfile(inspect.unwrap(function))
    ranks = [sys.executable, "-m", "mpi4py", __file__, file, function.__name__, *arguments]
    return [mpiexec(), "-n", str(n_ranks), *ranks]


def start(n_ranks: int, function: Callable[..., Any], *arguments: str) -> subprocess.Popen[str]:
    """Start n ranks in a process group of their own."""
    return _started(command(n_ranks, function, *arguments))


def run_processes(n: int, function: Callable[..., Any], *arguments: str) -> None:
    """Run ``function(number, n, *arguments)`` in n processes, without MPI; all must end well."""
    file = inspect.getfile(inspect.unwrap(function))
    mine = [sys.executable, __file__, file, function.__name__]
    processes = [_started([*mine, str(number), str(n), *arguments]) for number in range(n)]
    try:
        for process in processes:
            printed = finish(process)
            assert process.returncode == 0, printed[-8000:]
    finally:
        for process in processes:
            end(process)
            process.communicate()


def _started(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    # A rank that waits leaves its CPU to the others, which may be more than there are CPUs.
    environment |= {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "20"}
    environment |= {"OMPI_MCA_mpi_yield_when_idle": "1"}
    if coverage_runs():
        environment["GDFAST_RANKS_COVERAGE"] = str(Path(__file__).parents[2])
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], patience: float = PATIENCE) -> str:
    """Wait for ranks, at most so many seconds, and end whatever is left of them; return what they printed."""
    try:
        printed, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        end(process)
        printed, _ = process.communicate()
        raise AssertionError(f"the ranks did not end within {patience} seconds:\n{printed[-5000:]}") from None
    finally:
        end(process)
    return printed


def end(process: subprocess.Popen[str]) -> None:
    """End all processes of a group; those that have ended are no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(n_ranks: int, function: Callable[..., Any], *arguments: str) -> str:
    """Run a function on n ranks; all must end well."""
    process = start(n_ranks, function, *arguments)
    printed = finish(process)
    assert process.returncode == 0, printed[-8000:]
    return printed


def coverage_runs() -> bool:
    """Whether this process's branches are counted."""
    return "coverage" in sys.modules and sys.modules["coverage"].Coverage.current() is not None


def _be_a_rank(file: str, name: str, *arguments: str) -> None:
    root = os.environ.get("GDFAST_RANKS_COVERAGE")
    if root is None:
        runpy.run_path(file)[name](*arguments)
        return
    import coverage

    counter = coverage.Coverage(f"{root}/.coverage", data_suffix=True, config_file=f"{root}/pyproject.toml")
    counter.start()
    try:
        runpy.run_path(file)[name](*arguments)
    finally:
        counter.stop()
        counter.save()


if __name__ == "__main__":
    _be_a_rank(*sys.argv[1:])
