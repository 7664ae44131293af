"""The threads of gdfast: all parallel work goes through this module.

Design: every native module gives its parallel work to `share`, which carries out numbered parts on the calling thread and
on others; src/engine/team.h explains how and why. There is one team for all modules, so it lives in a module of its own
whose C function the others import (`gdfast/engine/_team.pxd`). `gdfast.engine.threads` decides how
many threads a job may use.
"""
import os

cdef extern from "portable.h":
    int GDFAST_OPENMP
    int gdfast_openmp_threads() nogil

cdef extern from "engine/team.h":
    int GDFAST_TEAM
    void gdfast_init_team() nogil
    void gdfast_run_alone(task run, void* context, Py_ssize_t parts) nogil
    void gdfast_run_openmp(task run, void* context, Py_ssize_t parts, Py_ssize_t threads) nogil
    void gdfast_run_team(task run, void* context, Py_ssize_t parts, Py_ssize_t threads, Py_ssize_t n_bytes) nogil
    void gdfast_hold_helpers(int held) nogil
    int gdfast_helpers() nogil
    int gdfast_forked() nogil

cdef extern from "engine/cpus.h":
    int gdfast_allowed_cpus(int now) nogil

HAS_OPENMP = bool(GDFAST_OPENMP)
BACKENDS = ("team", "openmp") if GDFAST_TEAM else ("openmp",)

cdef bint uses_openmp = not GDFAST_TEAM

gdfast_init_team()


def backend():
    """Return the threading backend: "team" or "openmp"."""
    return "openmp" if uses_openmp else "team"


def choose(wanted):
    """Choose the backend; None or an empty name for the default.

    Raises
    ------
    ImportError
        If there is none of that name.
    """
    global uses_openmp
    if wanted and wanted not in BACKENDS:
        raise ImportError(f"GDFAST_THREADING={wanted} cannot be used: this build has {', '.join(BACKENDS)}")
    uses_openmp = (wanted or BACKENDS[0]) == "openmp"


def openmp_threads():
    """OpenMP's own limit for the calling thread, 1 in a build without it."""
    return gdfast_openmp_threads()


def allowed_cpus(bint now):
    """How many CPUs the calling thread may run on, now or some milliseconds ago; 0 if the system does not say."""
    return gdfast_allowed_cpus(now)


def forked():
    """Whether this process was forked after the import, so that the threads do not exist in it."""
    return gdfast_forked() != 0


def hold_helpers(bint held):
    """Keep helpers from taking parts, for tests: the caller then carries out all parts."""
    gdfast_hold_helpers(held)


def helpers():
    """How many helpers were started."""
    return gdfast_helpers()


cdef void share(task run, void* context, Py_ssize_t parts, Py_ssize_t threads, Py_ssize_t n_bytes) noexcept nogil:
    """Carry out run(context, part, member) for every part, on at most `threads` threads; return when all are done.

    member is a number below `threads` that is unique among the threads of the job; n_bytes is about the number of bytes
    that the whole job reads and writes.
    """
    if threads <= 1 or parts <= 1:
        gdfast_run_alone(run, context, parts)
    elif uses_openmp:
        gdfast_run_openmp(run, context, parts, min(threads, parts))
    else:
        gdfast_run_team(run, context, parts, threads, n_bytes)


choose(os.environ.get("GDFAST_THREADING"))
