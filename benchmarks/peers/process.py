"""What contenders share: two settings of the whole process, put right so that none suffers from another's presence, and
the machine, watched for others that use it meanwhile.
"""

import ctypes
import os
import time
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt


def one_level_of_openmp() -> None:
    """Undo the nested parallelism that numba switches on for the whole process.

    With it on, the short parallel regions of PyTorch's foreach form took 40 times as long (measured: 96 µs became
    3,970 µs for Adam on 100,000 elements), because they share numba's OpenMP runtime. numba's own loops do not need it.
    """
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    for path in {line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line or "libomp" in line}:
        ctypes.CDLL(path).omp_set_max_active_levels(1)


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, as it does in a long-running program, when it is glibc's.

    Whether an array that a step allocates is fresh from the system, page by page, else depends on what lies above it in
    the heap: luck, and a factor of five for plain NumPy on a million elements. This is in favour of the peers that
    allocate. From 32 MB on every array is fresh from the system, which is glibc's rule as well.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 32 << 20)
    mallopt(_TRIM_THRESHOLD, 1 << 30)


QUIET = 0.05  # CPUs that others may use before times are doubtful


class Watch:
    """How many CPUs other processes of this machine (and its host, as far as it shows) use from now on."""

    def __init__(self) -> None:
        self.start, self.began = _others_seconds(), time.perf_counter()

    def cpus(self) -> float | None:
        """Return the CPUs that others used on average; None where the system does not say."""
        now, passed = _others_seconds(), time.perf_counter() - self.began
        return None if now is None or self.start is None else max(0.0, (now - self.start) / passed)

    @staticmethod
    def disturbs(cpus: float | None) -> bool:
        """Whether others used the CPUs enough to make times doubtful."""
        return cpus is not None and cpus > QUIET


def wait_for_quiet(deadline: float) -> None:
    """Wait until others have left the CPUs alone for a second, but not beyond a time of time.monotonic()."""
    while time.monotonic() < deadline:
        watch = Watch()
        time.sleep(1.0)
        if (watch.cpus() or 0.0) <= QUIET:
            return


def _others_seconds() -> float | None:
    """Return the CPU time of all, less the idle time and that of this process and its children."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        ticks = os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError):
        return None
    user, nice, system, _idle, _wait, hard, soft, steal = map(int, fields)
    own = sum(os.times()[:4])
    return (user + nice + system + hard + soft + steal) / ticks - own
