# Steps that native code makes by itself, without the GIL: the functions of gdfast/include/gdfast.h.
#
# Design: a handle is the place and the generation of a slot in memory that is never freed. Whoever uses a plan holds its
# slot first, and compares the generation, so that a plan that is closed, gone or in use is an error code and cannot be
# freed meanwhile. No Python code can be asked for the numbers of a step: they are constant, or computed here (Adam), or
# taken from a table that Python prepared. The arrays cannot be resized while a plan is open, because NumPy does not resize
# an array that has weak references; what else may happen to them (new flags, dtype or memory) is compared in each call.
import weakref

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport isfinite
from libc.stdint cimport int64_t

cdef extern from "gdfast.h":
    ctypedef uintptr_t gdfast_plan
    ctypedef void (*gdfast_loop)(void*, const void*, void**, const void*, Py_ssize_t) noexcept nogil
    enum:
        GDFAST_API_VERSION
        GDFAST_OK, GDFAST_NOT_IMPORTED, GDFAST_NO_PLAN, GDFAST_BUSY, GDFAST_NO_NUMBERS, GDFAST_STALE, GDFAST_CHANGED
        GDFAST_BAD_ARRAY, GDFAST_BAD_GRAD, GDFAST_BAD_SCALE, GDFAST_BAD_ROWS, GDFAST_NOT_BY_ROWS, GDFAST_STEPPED
        GDFAST_UNFINISHED
    ctypedef struct gdfast_api:
        int version
        int size
        int (*step)(gdfast_plan, const void* const*, double) noexcept nogil
        int (*step_one)(gdfast_plan, Py_ssize_t, const void*, double) noexcept nogil
        int (*step_rows)(gdfast_plan, Py_ssize_t, const int64_t*, Py_ssize_t, const void*, double) noexcept nogil
        int (*end_step)(gdfast_plan) noexcept nogil
        Py_ssize_t (*steps_left)(gdfast_plan) noexcept nogil
        const char* (*error)(int) noexcept nogil
        gdfast_loop (*find_loop)(const char*, int) noexcept
        int (*find_scalar)(const char*, const char*) noexcept

cdef extern from "arrays/bound.h":
    bint gdfast_moved(const gdfast_held*, Py_ssize_t) nogil

cdef enum:
    SLOTS = 256                 # of a chunk
    CHUNKS = 1 << 16
    AHEAD = 8                   # rows prefetched in advance, as in src/engine/rows.pyx

cdef struct Slot:
    long busy                   # held by a native call, or by Python while it changes or ends the plan
    uintptr_t generation
    void* steps                 # a `NativeSteps`, or NULL

cdef int HALF = sizeof(uintptr_t) * 4
cdef Slot* chunks[CHUNKS]
cdef uintptr_t slots_made = 0     # shown once they are there
cdef list free_slots = []
cdef long making = 0

TABLE_WIDTH = 3 + MAX_SCALARS   # numbers of a group in a step: grad_scale, clip_value, l2, decay, l1, the rule's own


cdef class NativeSteps:
    """The steps of one plan that are made by native code: their numbers, and the handle.

    Parameters
    ----------
    plan : Plan
    by_rows : list of bool
        Of each array, whether some of its rows can be stepped alone.

    Attributes
    ----------
    handle : int
    made : int
        Number of steps made since they were prepared, until `stop`.
    arrays_left : list of int
        The arrays that are still to be stepped in a step that was begun array by array.
    """
    cdef Plan plan
    cdef Slot* slot
    cdef int64_t* before        # of each group with Adam's numbers: its step count when the steps were prepared; or ANY
    cdef char* by_rows
    cdef char* stepped
    cdef double* scales         # of each group: 1, or -1 to maximize
    cdef double[:, :, ::1] table
    cdef double[::1] averages
    cdef list locks
    cdef readonly uintptr_t handle
    cdef readonly int64_t made
    cdef Py_ssize_t prepared    # number of steps; ANY: no limit
    cdef Py_ssize_t threads, n_stepped
    cdef long process
    cdef bint stale
    cdef bint loaded            # whether the numbers of the step to come are in the plan
    cdef double grad_scale      # that they are for

    def __cinit__(self, Plan plan, list by_rows):
        cdef Py_ssize_t i, place
        if len(by_rows) != plan.count or plan.held_first == NULL:
            raise ValueError(f"by_rows must have a value for each of {plan.count} watched arrays; got {len(by_rows)}")
        self.plan, self.process, self.stale = plan, gdfast_process_id(), True
        self.before = <int64_t*>calloc(max(plan.n_groups, 1), sizeof(int64_t))
        self.scales = <double*>calloc(max(plan.n_groups, 1), sizeof(double))
        self.by_rows = <char*>calloc(max(plan.count, 1), 1)
        self.stepped = <char*>calloc(max(plan.count, 1), 1)
        if self.before == NULL or self.scales == NULL or self.by_rows == NULL or self.stepped == NULL:
            raise MemoryError("no memory for a native plan")
        for i in range(plan.count):
            self.by_rows[i] = by_rows[i]
        self.locks = locks_of(plan)
        place = take_slot()
        self.slot = &chunks[place // SLOTS][place % SLOTS]
        self.slot.steps = <void*>self
        self.handle = self.slot.generation << HALF | <uintptr_t>(place + 1)

    def __dealloc__(self):
        self.end()
        free(self.before)
        free(self.scales)
        free(self.by_rows)
        free(self.stepped)

    def close(self):
        """End the plan: its handle is no plan's from here on, and the arrays can be resized again."""
        self.end()
        self.locks = []

    cdef void end(self):
        """Give the slot back, after a native call that is running has returned."""
        cdef Slot* slot = self.slot
        if slot == NULL:
            return
        self.hold()
        slot.steps, self.slot = NULL, NULL
        gdfast_show(&slot.generation, slot.generation + 1)
        gdfast_unlock(&slot.busy)
        give_slot(<Py_ssize_t>(self.handle & ((<uintptr_t>1 << HALF) - 1)) - 1)

    cdef void hold(self):
        """Wait until no native call uses the plan; a call of a thread that a fork left behind never ends."""
        while gdfast_lock(&self.slot.busy, 1) != 0:
            if gdfast_process_id() != self.process:
                return

    @property
    def arrays_left(self):
        """The arrays that are still to be stepped in a step that was begun array by array."""
        if self.slot == NULL:
            return self.unstepped()
        self.hold()
        try:
            return self.unstepped()
        finally:
            gdfast_unlock(&self.slot.busy)

    cdef list unstepped(self):
        return [i for i in range(self.plan.count) if not self.stepped[i]] if self.n_stepped else []

    def stop(self):
        """Make no more steps until `prepare` has succeeded; return the number of those made, which is then zero."""
        if self.slot != NULL:
            self.hold()
            self.stale = True
            gdfast_unlock(&self.slot.busy)
        made, self.made = self.made, 0
        return made

    def prepare(self, list constants, list corrections, double[:, :, ::1] table, double[::1] averages, Py_ssize_t threads):
        """Set the numbers of the steps to come; `made` counts from here. All is as `gdfast.stepping.native` makes it.

        Parameters
        ----------
        constants : list of tuple
            Numbers of each group that hold in every step, or the first step's; empty with a table.
        corrections : list of tuple or None
            For groups with Adam's numbers: what `BoundArrays.keep_numbers` takes, and the group's step count.
        table : array of shape (steps, groups, TABLE_WIDTH), or of no steps
        averages : array of shape (steps,)
        threads : int
        """
        cdef Py_ssize_t i
        if self.slot == NULL:
            raise RuntimeError("this native plan is closed")
        if table.shape[0] != averages.shape[0] or table.shape[1] != self.plan.n_groups or table.shape[2] != TABLE_WIDTH:
            raise ValueError("the table of numbers has another shape than the plan")
        self.hold()
        try:
            self.stale, self.plan.kept = True, [None] * self.plan.n_groups
            for i in range(len(constants)):
                self.plan.set_numbers(i, constants[i])
                self.scales[i] = self.plan.numbers[i].prepare_f64[0]
                self.before[i] = ANY
                if corrections[i] is not None:
                    own, self.before[i] = corrections[i]
                    self.plan.keep_numbers(i, None, own)
            self.prepared = ANY if constants else table.shape[0]
            self.table, self.averages, self.threads = table, averages, threads
            self.made, self.loaded, self.grad_scale, self.stale = 0, False, 1.0, False
        finally:
            gdfast_unlock(&self.slot.busy)

    cdef int begin(self, double grad_scale) noexcept nogil:
        """Check that a step can be made, and put its numbers into the plan."""
        cdef Py_ssize_t i
        cdef Numbers* numbers
        if self.stale:
            return GDFAST_STALE
        if self.prepared != ANY and self.made >= self.prepared:
            return GDFAST_NO_NUMBERS
        if not isfinite(grad_scale):
            return GDFAST_BAD_SCALE
        if not self.loaded:
            self.load()
        if grad_scale != self.grad_scale:
            self.grad_scale = grad_scale
            for i in range(self.plan.n_groups):
                numbers = &self.plan.numbers[i]
                scale_numbers(numbers, self.scales[i] * grad_scale)
        return GDFAST_OK

    cdef void load(self) noexcept nogil:
        """Put the numbers of the step to come into the plan."""
        cdef Py_ssize_t i
        cdef double* row
        cdef Numbers* numbers
        self.loaded = True
        if self.prepared == ANY:
            for i in range(self.plan.n_groups):
                if self.before[i] != ANY:
                    correct(&self.plan.numbers[i], &self.plan.corrections[i], self.before[i] + self.made + 1)
            return
        self.grad_scale = 1.0
        for i in range(self.plan.n_groups):
            numbers, row = &self.plan.numbers[i], &self.table[self.made, i, 0]
            self.scales[i] = row[0]
            prepare_with(numbers, row[0], row[1], row[2])
            memcpy(numbers.f64, row + 3, MAX_SCALARS * sizeof(double))
            round_numbers(numbers)
        self.plan.average_f64[0] = self.averages[self.made]
        self.plan.average_f32[0] = <float>self.averages[self.made]

    cdef bint takes(self, Py_ssize_t i, const void* grad, Py_ssize_t n) noexcept nogil:
        """Whether n elements of the type of an array can be read there."""
        cdef Segment* segment = &self.plan.segments[i]
        if n == 0:
            return True
        return (
            grad != NULL
            and <uintptr_t>grad % segment.itemsize == 0
            and not self.plan.lies_in_own_memory(<uintptr_t>grad, n * segment.itemsize)
        )

    cdef bint moved(self, Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
        cdef Py_ssize_t* places = self.plan.held_first
        return gdfast_moved(&self.plan.held[places[first]], places[stop] - places[first])

    cdef void finish(self) noexcept nogil:
        if self.n_stepped > 0:
            memset(self.stepped, 0, self.plan.count)
        self.n_stepped, self.made, self.loaded = 0, self.made + 1, False


cdef int step_all(NativeSteps self, const void* const* grads, double grad_scale) noexcept nogil:
    """Step every array."""
    cdef Py_ssize_t i, threads
    cdef int code
    if self.n_stepped > 0:
        return GDFAST_UNFINISHED
    code = self.begin(grad_scale)
    if code != GDFAST_OK:
        return code
    if self.moved(0, self.plan.count):
        return GDFAST_CHANGED
    if grads == NULL and self.plan.count > 0:
        return GDFAST_BAD_GRAD
    for i in range(self.plan.count):
        if not self.takes(i, grads[i], self.plan.segments[i].size):
            return GDFAST_BAD_GRAD
    for i in range(self.plan.count):
        self.plan.segments[i].grad = <char*>grads[i] if self.plan.segments[i].size else self.plan.segments[i].param
    threads = min(self.threads, self.plan.most_parts)
    if threads > 1 and gdfast_process_id() != self.process:     # a fork has no other threads
        threads = 1
    self.plan.zero_grad = self.plan.add_accumulated = False
    self.plan.share_freely(0, self.plan.total, threads, self.plan.n_bytes)
    self.finish()
    return GDFAST_OK


cdef int step_rows_of(
    NativeSteps self, Py_ssize_t i, const int64_t* rows, Py_ssize_t n_rows, const void* values, double grad_scale
) noexcept nogil:
    """Step some rows of one array; all of it, if `rows` is NULL and n_rows is ANY."""
    cdef Segment* segment
    cdef Py_ssize_t k, row_bytes, width = 0, height = 0
    cdef int code
    if not 0 <= i < self.plan.count:
        return GDFAST_BAD_ARRAY
    if self.stepped[i]:
        return GDFAST_STEPPED
    segment = &self.plan.segments[i]
    if n_rows != ANY:
        if not self.by_rows[i]:
            return GDFAST_NOT_BY_ROWS
        height = segment.shape[0]
        width = segment.size // max(height, 1)
        if n_rows < 0 or (n_rows > 0 and rows == NULL):
            return GDFAST_BAD_ROWS
        for k in range(n_rows):
            if rows[k] >= height or rows[k] <= (rows[k - 1] if k > 0 else ANY):
                return GDFAST_BAD_ROWS
    code = self.begin(grad_scale)
    if code != GDFAST_OK:
        return code
    if self.moved(i, i + 1):
        return GDFAST_CHANGED
    if not self.takes(i, values, segment.size if n_rows == ANY else n_rows * width):
        return GDFAST_BAD_GRAD
    self.plan.zero_grad = self.plan.add_accumulated = False
    if n_rows == ANY:
        segment.grad = <char*>values
        if segment.size:
            self.plan.step_segment(segment, 0, segment.size)
    else:
        row_bytes = width * segment.itemsize
        for k in range(min(n_rows, AHEAD)):
            prefetch_row(segment, rows[k] * row_bytes, row_bytes)
        for k in range(n_rows if width else 0):
            if k + AHEAD < n_rows:
                prefetch_row(segment, rows[k + AHEAD] * row_bytes, row_bytes)
            segment.grad = <char*><uintptr_t>(<uintptr_t>values + <uintptr_t>((k - rows[k]) * row_bytes))
            self.plan.step_segment(segment, rows[k] * width, (rows[k] + 1) * width)
    segment.grad = segment.param
    self.stepped[i] = True
    self.n_stepped += 1
    return GDFAST_OK


cdef inline void prefetch_row(Segment* segment, Py_ssize_t at, Py_ssize_t row_bytes) noexcept nogil:
    cdef Py_ssize_t k, n_bytes = min(row_bytes, 1024)    # the hardware prefetches the rest
    fetch_lines(segment.param, at, n_bytes, True)
    for k in range(segment.states):
        fetch_lines(segment.state[k], at, n_bytes, True)


cdef int end_one(NativeSteps self) noexcept nogil:
    if self.n_stepped < self.plan.count:
        return GDFAST_UNFINISHED
    self.finish()
    return GDFAST_OK


cdef Py_ssize_t count_left(NativeSteps self) noexcept nogil:
    if self.stale:
        return GDFAST_STALE
    return PY_SSIZE_T_MAX if self.prepared == ANY else self.prepared - <Py_ssize_t>self.made


include "engine/native_api.pxi"
