"""The thread policy: how many threads a step may use.

In order of precedence: the optimizer's ``n_threads``, :func:`set_num_threads`, the environment variable
``GDFAST_NUM_THREADS``, OpenMP's own limit (so ``OMP_NUM_THREADS`` and threadpoolctl work). Never more than the CPUs
that the calling thread may use (a change of its affinity counts after 10 ms), and one after a fork, because threads do
not survive in the child. The result is a maximum: `src/engine/team.h` says how the work is done when some of the
threads get no CPU.
"""

import functools
import math
import operator
import os
import sys
from typing import SupportsIndex

from gdfast.engine import _team

_chosen: int | None = None


def check(n_threads: object, name: str = "n_threads") -> int | None:
    """Return a thread count as an int, or None.

    Raises
    ------
    TypeError, ValueError
        If it is neither None nor an int, or 0.
    """
    if n_threads is None:
        return None
    if isinstance(n_threads, bool) or not isinstance(n_threads, SupportsIndex):
        raise TypeError(f"{name} must be an int or None; got {n_threads!r}")
    count = operator.index(n_threads)
    if count == 0:
        raise ValueError(f"{name} must not be 0: give 1 for one thread, -1 for all CPUs, or None for the default")
    return count


def set_num_threads(n: int | None) -> None:
    """Set how many threads a step may use, for every optimizer without an ``n_threads`` of its own.

    Parameters
    ----------
    n : int or None
        Negative values count from the number of CPUs as in scikit-learn: -1 is all of them, -2 all but one. None
        restores the default, ``GDFAST_NUM_THREADS`` or OpenMP's limit.

    Raises
    ------
    TypeError, ValueError
        If it is neither None nor an int, or 0.

    Examples
    --------
    >>> import gdfast
    >>> gdfast.set_num_threads(1)
    >>> gdfast.get_num_threads()
    1
    >>> gdfast.set_num_threads(None)
    """
    global _chosen
    _chosen = check(n, "n")


def get_num_threads() -> int:
    """Return how many threads a large step would use now, if its optimizer sets no ``n_threads``."""
    _team.allowed_cpus(True)
    return resolve(None)


def resolve(n_threads: int | None) -> int:
    """Return the threads to use for an optimizer's ``n_threads`` (checked before, see :func:`check`)."""
    if _team.forked():
        return 1
    wanted = n_threads if n_threads is not None else _chosen
    if wanted is None:
        wanted = _from_environment()
    if wanted is None:
        wanted = _team.openmp_threads()
    if wanted == 1:
        return 1
    cpus = available_cpus()
    return min(max(1, cpus + 1 + wanted) if wanted < 0 else wanted, cpus)


@functools.cache
def _from_environment() -> int | None:
    text = os.environ.get("GDFAST_NUM_THREADS", "")
    try:
        return check(int(text), "GDFAST_NUM_THREADS") if text else None
    except ValueError:
        raise ValueError(f"GDFAST_NUM_THREADS must be an int and not 0; got {text!r}") from None


def available_cpus() -> int:
    """Return how many CPUs this thread may use, by its affinity (of a moment ago) and its control group's quota."""
    cpus, quota = _team.allowed_cpus(False) or os.cpu_count() or 1, _own_quota()
    return cpus if cpus < quota else quota


@functools.cache
def _own_quota() -> int:
    """Return the quota in whole CPUs, rounded up."""
    quota = _cgroup_quota("/sys/fs/cgroup", "/proc/self/cgroup")
    return sys.maxsize if quota == math.inf else max(1, math.ceil(quota))


def _cgroup_quota(root: str, membership: str) -> float:
    """Return the CPUs that the control groups of this process allow: the least quota of its group and all parents."""
    try:
        names = _read(membership).rpartition("::")[2].strip().strip("/").split("/")
    except OSError:
        names = []
    return min(_quota_of("/".join([root, *names[:depth]])) for depth in range(len(names) + 1))


def _quota_of(folder: str) -> float:
    """Return the quota of one control group in CPUs (cgroup version 2, then 1); infinity if it sets none."""
    try:
        quota, period = _read(f"{folder}/cpu.max").split()
    except (OSError, ValueError):
        try:
            quota = _read(f"{folder}/cpu/cpu.cfs_quota_us").strip()
            period = _read(f"{folder}/cpu/cpu.cfs_period_us").strip()
        except OSError:
            return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def _read(path: str) -> str:
    """Return a file's text. Without pathlib, whose import takes as long as a sixth of gdfast's."""
    with open(path) as file:
        return file.read()
