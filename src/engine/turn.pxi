# The lock of a step.
#
# Design: it stores the id of the thread that holds it. CPython never reuses such an id in a process and its children, so
# after a fork the id of no living thread means that the lock was held by a thread that does not exist in the child. This is
# checked only if the lock is held, and only in another process than the one that made it; no fork handler is installed.

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
    """A lock for a `with` block that never waits: entering it while it is held raises RuntimeError.

    It is native because of signals: Python runs no signal handler between entering a native context manager and the body,
    whereas an exception from a handler just after `threading.Lock.acquire` would leave the lock held forever.
    """
    cdef long held              # id of the thread that holds it, or 0
    cdef long process           # id of the process that made it
    cdef bint torn              # whether a fork happened while another thread held it
    cdef str name

    def __init__(self, str name):
        self.name, self.process = name, gdfast_process_id()

    def __enter__(self):
        self.hold()

    cdef int hold(self) except -1:
        self.enter()
        if self.torn:
            gdfast_unlock(&self.held)
            raise RuntimeError(
                f"this {self.name} was in use by another thread when this process was forked, and its arrays may be half "
                "updated: first load a checkpoint (gdfast.load, load_state_dict), or make a new optimizer"
            )
        return 0

    def __exit__(self, kind, error, trace):
        gdfast_unlock(&self.held)

    def mending(self):
        """Return a context manager that holds this lock, also after such a fork, for a block that restores all state."""
        return Mending(self)

    def is_torn(self):
        """Whether a fork happened while another thread held it, and the state it guards was not restored since."""
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
    """Holds a lock for a `with` block that restores the state it guards; clears `torn` unless an error ends the block."""
    cdef NonBlockingLock lock

    def __init__(self, NonBlockingLock lock):
        self.lock = lock

    def __enter__(self):
        """Return whether a fork may have left the state half updated."""
        self.lock.enter()
        return self.lock.torn

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.lock.torn = False
        gdfast_unlock(&self.lock.held)


cdef bint lives(long thread):
    """Whether a thread of this interpreter has this id.

    CPython changes this list under a lock that is not public. The GIL, which every caller holds, does instead: a Python thread
    that ends leaves the list before it releases the GIL, and one that native code adds without the GIL is put before the head
    and changes no `next`. A forked child begins with one thread but may have more by the time it asks: in free-threaded
    Python, where there is no GIL, a thread that ends at that moment is not excluded.
    """
    cdef PyThreadState* state = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    while state != NULL:
        if <long>PyThreadState_GetID(state) == thread:
            return True
        state = PyThreadState_Next(state)
    return False
