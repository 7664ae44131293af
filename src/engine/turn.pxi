# The lock of a step.
#
# Design: it holds the number of the thread that took it. Such a number is given once in a process and its children, so
# that after a fork a number of no living thread says that the lock was taken by one that the fork left behind. That is
# asked only where the lock is not free, and only in another process than the one that made it; no handler is installed.

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    ctypedef struct PyInterpreterState:
        pass
    PyThreadState* PyThreadState_Get()
    PyThreadState* PyThreadState_Next(PyThreadState*)
    unsigned long long PyThreadState_GetID(PyThreadState*)
    PyInterpreterState* PyInterpreterState_Get()
    PyThreadState* PyInterpreterState_ThreadHead(PyInterpreterState*)


cdef class NonBlockingLock:
    """A lock for a `with` block that is never waited for: entering it while it is held raises RuntimeError.

    Native because of signals: Python handles none between entering a native block and its body, where one after
    `threading.Lock.acquire` would leave the lock held for ever.
    """
    cdef long held              # the number of the thread that holds it, or 0
    cdef long process           # the one that made it
    cdef bint torn              # whether the thread that held it was left behind by a fork
    cdef str name

    def __init__(self, str name):
        self.name, self.process = name, gdfast_process_id()

    def __enter__(self):
        self.enter()
        if self.torn:
            gdfast_unlock(&self.held)
            raise RuntimeError(
                f"this {self.name} was in use by another thread when this process was forked, and its arrays may be half "
                "updated: first load a checkpoint (gdfast.load, load_state_dict), or make a new optimizer"
            )

    def __exit__(self, kind, error, trace):
        gdfast_unlock(&self.held)

    def mending(self):
        """Return what holds this lock for a `with` block that makes everything whole again, also after such a fork."""
        return Mending(self)

    def is_torn(self):
        """Whether the thread that held it was left behind by a fork, and nothing has mended what it guards."""
        return self.torn or self.is_abandoned(self.held)

    cdef bint is_abandoned(self, long holder):
        return holder != 0 and gdfast_process_id() != self.process and not lives(holder)

    cdef int enter(self) except -1:
        cdef long me = <long>PyThreadState_GetID(PyThreadState_Get())
        cdef long holder = gdfast_lock(&self.held, me)
        if self.is_abandoned(holder):
            self.torn = True
            gdfast_unlock(&self.held)
            holder = gdfast_lock(&self.held, me)
        if holder != 0:
            raise RuntimeError(f"another thread is stepping this {self.name}; one at a time")
        return 0


cdef class Mending:
    """A `with` block under a lock, after which what it guards is whole, unless an error ends it."""
    cdef NonBlockingLock lock

    def __init__(self, NonBlockingLock lock):
        self.lock = lock

    def __enter__(self):
        """Return whether a fork left it half updated."""
        self.lock.enter()
        return self.lock.torn

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.lock.torn = False
        gdfast_unlock(&self.lock.held)


cdef bint lives(long thread):
    """Whether a thread of this interpreter has that number."""
    cdef PyThreadState* state = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    while state != NULL:
        if <long>PyThreadState_GetID(state) == thread:
            return True
        state = PyThreadState_Next(state)
    return False
