# The lock of a step.
#
# Design: it stores which thread holds it, and since which fork of the process. So a child of a fork sees that the lock was held
# by a thread that does not exist in it (src/engine/turn.h), without asking which threads do: CPython's list of them can be read
# safely only with a lock that is not public.

cdef extern from "engine/turn.h":
    void gdfast_watch_forks()
    long gdfast_holder()
    bint gdfast_abandoned(long)

gdfast_watch_forks()


cdef class NonBlockingLock:
    """A lock for a `with` block that never waits: entering it while it is held raises RuntimeError.

    It is native because of signals: Python runs no signal handler between entering a native context manager and the body,
    whereas an exception from a handler just after `threading.Lock.acquire` would leave the lock held forever.
    """
    cdef long held              # gdfast_holder() of the thread that holds it, or 0
    cdef bint torn              # whether a fork happened while another thread held it
    cdef str name

    def __init__(self, str name):
        self.name = name

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
        return self.torn or gdfast_abandoned(self.held)

    cdef int enter(self) except -1:
        cdef long me = gdfast_holder()
        cdef long holder = gdfast_lock(&self.held, me)
        if gdfast_abandoned(holder):
            self.torn = True
            if gdfast_replace(&self.held, holder, me) == holder:
                return 0
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
