"""The threads of gdfast: the one place where work is shared among them.

Design: every native module hands its parallel work to `share`, which carries out numbered parts on the calling thread and
on others; what it does and why is in src/engine/team.h. There is one team for all modules, so it lives in a module of its own
whose C function the others import (`gdfast/engine/_team.pxd`). How many threads a job may have is for `gdfast.engine.threads` to say.
"""
import os

cdef extern from "portable.h":
    int GDFAST_OPENMP
    int gdfast_openmp_threads() nogil
    long gdfast_process_id() nogil

cdef extern from "engine/team.h":
    int GDFAST_TEAM
    void gdfast_init_team() nogil
    void gdfast_run_alone(task run, void* context, Py_ssize_t parts) nogil
    void gdfast_run_openmp(task run, void* context, Py_ssize_t parts, Py_ssize_t threads) nogil
    void gdfast_run_team(task run, void* context, Py_ssize_t parts, Py_ssize_t threads, Py_ssize_t n_bytes) nogil
    void gdfast_hold_helpers(int held) nogil
    int gdfast_helpers() nogil

HAS_OPENMP = bool(GDFAST_OPENMP)
BACKENDS = ("team", "openmp") if GDFAST_TEAM else ("openmp",)

cdef bint uses_openmp = not GDFAST_TEAM
cdef long importing_process = gdfast_process_id()

gdfast_init_team()


def backend():
    """What shares work among threads: "team" or "openmp"."""
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


def forked():
    """Whether this process was forked after the import: the threads do not exist in it."""
    return gdfast_process_id() != importing_process


def hold_helpers(bint held):
    """Keep helpers from taking any part, for tests: what is shared is then done by its caller."""
    gdfast_hold_helpers(held)


def helpers():
    """How many helpers were started."""
    return gdfast_helpers()


cdef void share(task run, void* context, Py_ssize_t parts, Py_ssize_t threads, Py_ssize_t n_bytes) noexcept nogil:
    """Carry out run(context, part, member) for every part, on at most so many threads; return when all are done.

    member is a number below `threads` that no other thread has meanwhile; n_bytes is about what the whole work reads and
    writes.
    """
    if threads <= 1 or parts <= 1:
        gdfast_run_alone(run, context, parts)
    elif uses_openmp:
        gdfast_run_openmp(run, context, parts, min(threads, parts))
    else:
        gdfast_run_team(run, context, parts, threads, n_bytes)


choose(os.environ.get("GDFAST_THREADING"))
