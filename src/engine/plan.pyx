"""The native engine: a plan of bound arrays, stepped in one parallel job.

Design: the plan keeps addresses, so a step needs no Python work per array except the check that the arrays have not
changed. The elements of all arrays are numbered consecutively and divided evenly into parts, so a hundred small arrays and
one large one cost the same; which thread steps an element never affects its bits. Where it pays, a part is processed in
tiles: short ranges of an array, small enough that the same range of every array fits in L1. There the gradient can be
prepared for the rule without more memory traffic, and the next tile is prefetched from memory while this one is computed.
Numbers are given as Python floats and rounded once, here, to the element type. `gdfast.arrays.buffers` has checked the
arrays before; here only what can change since is checked, in the call that reads and writes (src/arrays/bound.pyx).
"""
cimport cython
from cpython.object cimport PyObject
from libc.float cimport DBL_MAX
from libc.math cimport expm1, log, sqrt
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

cimport numpy as cnp

from gdfast.arrays._bound cimport (
    Block, Bound, gdfast_alike, gdfast_data, gdfast_first_changed, gdfast_held, gdfast_plain
)
from gdfast.engine._team cimport share, task
from rules.kernel cimport (
    FORMAT_BLOCK, MAX_SCALARS, MAX_STATES, NORM_BLOCK, NORM_LANES, Coded, Coding, StepLoops, adder, decoder, encoder, fold,
    kernel, measurer, randomizer, step_tile
)

from gdfast.arrays._bound import ChangedError

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    PyObject* PyTuple_GET_ITEM(tuple, Py_ssize_t)
    Py_ssize_t PyTuple_GET_SIZE(tuple)
    long long PyLong_AsLongLongAndOverflow(object, int*) except? -1

cdef extern from "portable.h":
    const char* GDFAST_COMPILER
    int gdfast_cpu_level() nogil
    long gdfast_process_id() nogil
    long gdfast_lock(long*, long) nogil
    long gdfast_replace(long*, long, long) nogil
    void gdfast_unlock(long*) nogil
    uintptr_t gdfast_peek(const uintptr_t*) nogil
    void gdfast_show(uintptr_t*, uintptr_t) nogil
    void gdfast_prefetch_read(const void*) nogil
    void gdfast_prefetch_write(const void*) nogil

# All measured (benchmarks/tuning.py), in bytes so that both element types are treated alike. If everything fits in a core's
# cache, no tiles are best, unless the gradient must be prepared; beyond that short tiles; from memory also prefetching.
TILE_BYTES = 512                # of one array, if tiles are used
TILES_FROM = 8 << 20            # use tiles if all arrays together have more bytes than this
PREFETCH_FROM = 64 << 20        # prefetch the next tile above this
GRAIN_BYTES = 256 << 10         # one more thread for each multiple of this

cdef enum:
    SMALL_BYTES = 16 << 10      # takes less than a microsecond: releasing the GIL would cost a good part of that
    PART_BYTES = 128 << 10      # minimum size of a part
    PARTS_A_THREAD = 32         # at most, so that parts are long enough for hardware prefetching

cdef enum:
    SCRATCH_DOUBLES = 512       # one tile of either type
    LINE = 64
    ANY = -1

COMPILER = (<bytes>GDFAST_COMPILER).decode()


def cpu_level():
    """The best x86-64 level of this machine: 4, 3 or 1; 0 on other machines."""
    return gdfast_cpu_level()


def bias_correction(double beta, double t):
    """Return 1 - beta**t without cancellation."""
    return one_minus_power(beta, t)


include "engine/turn.pxi"


include "engine/numbers.pxi"


include "engine/bound_arrays.pxi"


include "engine/coding.pxi"


cdef class Plan(CodedArrays):
    """Bound arrays, and the division of their work; the parameters are those of `BoundArrays`."""
    cdef public Py_ssize_t tile_bytes, most_parts, grain_bytes
    cdef public bint prefetch
    cdef bint zero_grad, add_accumulated
    cdef Py_ssize_t run_start, run_stop, run_parts  # of the current job
    cdef public object form     # how gradients are given; see `gdfast.stepping.layout.Layout`
    cdef readonly bint refused  # whether the last run wrote nothing because a check failed

    def __init__(self, rules, list entries, Py_ssize_t n_groups, bint averaged=False, list others=[]):
        super().__init__(rules, entries, n_groups, averaged, others)
        self.prefetch = self.n_bytes >= PREFETCH_FROM
        self.tile_bytes = TILE_BYTES if self.n_bytes >= TILES_FROM else PY_SSIZE_T_MAX
        self.grain_bytes = GRAIN_BYTES
        self.most_parts = self.n_bytes // self.grain_bytes

    def run(self, Py_ssize_t threads, bint zero_grad=False, bint add_accumulated=False):
        """Step every array, on at most `threads` threads; the GIL is released meanwhile.

        The bound sums are added to the gradients if `add_accumulated`; the gradients are zeroed in the same pass if
        `zero_grad`. `gdfast.engine.threads` decides the number of threads, also after a fork.
        """
        self.make(threads, zero_grad, add_accumulated)
        self.release()

    cdef int make(self, Py_ssize_t threads, bint zero_grad, bint add_accumulated) except -1:
        self.refused = True
        self.check(0, self.count, zero_grad, add_accumulated)
        self.refused = False
        self.zero_grad, self.add_accumulated = zero_grad, add_accumulated
        self.share_out(0, self.total, min(threads, self.most_parts), self.n_bytes)
        return 0

    def try_step(
        self, owner, NonBlockingLock lock not None, grads, values not None, start, Py_ssize_t threads
    ):
        """Make the whole step of an optimizer in this one call; return False if it must be made otherwise.

        Python code around a step of a microsecond would take as long. So this also holds the optimizer's lock and
        counts the step, as `gdfast.stepping.step` does.

        Parameters
        ----------
        owner : gdfast.Optimizer
        lock : NonBlockingLock
        grads : array, list, tuple, dict or None
        values : dict
            The hyperparameters, for which `keep_numbers` was called; otherwise no step is made.
        start : int
            How many steps had been made when the parameters were added.
        threads : int
        """
        cdef long long step, first
        cdef int beyond = 0, unborn = 0     # whether no long long holds the numbers
        cdef tuple row = owner._bound_grads if grads is None else self.row_of(grads)
        if row is None or not self.holds_arrays(row):
            return False
        lock.hold()
        try:
            if owner._blocked or owner._engine is not self:
                return False
            count = owner.step_count
            if type(count) is not int:
                return False
            step, first = PyLong_AsLongLongAndOverflow(count, &beyond), PyLong_AsLongLongAndOverflow(start, &unborn)
            if beyond or unborn or step < first or not self.renew(0, values, <double>(step - first) + 1):
                return False
            self.row, self.offered = row, True
            owner.step_count = step + 1     # before the checks: it may run code of a subclass
            try:
                self.make(threads, False, False)
            except Exception as error:
                if self.refused or isinstance(error, ChangedError):
                    owner.step_count = step
                raise
            self.let_go()
            return True
        finally:
            gdfast_unlock(&lock.held)

    cdef tuple row_of(self, grads):
        """Return the gradients of a flat structure, or None: the items of other classes may be made as they are asked for."""
        if type(grads) is cnp.ndarray:
            return (grads,) if self.form == "array" else None
        if type(grads) is list or type(grads) is tuple:
            return tuple(grads) if self.form == "sequence" else None
        if type(grads) is dict and type(self.form) is tuple and len(grads) == len(self.form):
            return tuple([grads.get(key) for key in self.form])
        return None

    def run_one(self, Py_ssize_t i, Py_ssize_t threads, bint zero_grad=False):
        """Step one array."""
        cdef Segment* segment
        cdef Py_ssize_t n_bytes
        self.check(i, i + 1, zero_grad, False)
        segment = &self.segments[i]
        n_bytes = segment.size * segment.itemsize * (2 + segment.states)
        self.zero_grad, self.add_accumulated = zero_grad, False
        threads = min(threads, n_bytes // self.grain_bytes)
        self.share_out(segment.first, segment.first + segment.size, threads, n_bytes)
        self.release()

    cdef int share_out(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t threads, Py_ssize_t n_bytes) except -1:
        """Step the elements [start, stop) of all elements, in parts."""
        if n_bytes < SMALL_BYTES:
            self.step_range(start, stop)
            return 0
        with nogil:
            self.share_freely(start, stop, threads, n_bytes)
        return 0

    cdef void share_freely(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t threads, Py_ssize_t n_bytes) noexcept nogil:
        """The same without the GIL."""
        if threads <= 1:
            self.step_range(start, stop)
            return
        self.run_start, self.run_stop = start, stop
        self.run_parts = max(threads, min(threads * PARTS_A_THREAD, n_bytes // PART_BYTES))
        share(<task>step_part, <void*>self, self.run_parts, threads, n_bytes)

    cdef void step_range(self, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
        """Step the elements [start, stop) of all elements."""
        cdef Py_ssize_t low = 0, high = self.count, middle, end
        cdef Segment* segment
        while low < high:                       # the first array that ends after `start`
            middle = (low + high) // 2
            if self.segments[middle].first + self.segments[middle].size <= start:
                low = middle + 1
            else:
                high = middle
        while start < stop:
            segment = &self.segments[low]
            end = min(stop, segment.first + segment.size)
            if segment.grad != NULL:
                self.step_segment(segment, start - segment.first, end - segment.first)
            start = end
            low += 1

    cdef void step_segment(self, Segment* segment, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
        """Step the elements [start, stop) of one array, tile by tile."""
        cdef StepLoops loops = self.loops_of(segment)
        cdef double scratch[SCRATCH_DOUBLES]
        cdef void* state[MAX_STATES]
        cdef void* accumulated
        cdef const void* grad
        cdef Py_ssize_t tile_bytes = self.tile_bytes
        cdef Py_ssize_t tile, n, k, at
        if segment.coding != NULL:
            self.step_coded(segment, whole_blocks(start, segment.size), whole_blocks(stop, segment.size))
            return
        if loops.prepare != NULL or self.add_accumulated:
            tile_bytes = min(tile_bytes, SCRATCH_DOUBLES * 8)
        tile = max(1, tile_bytes // segment.itemsize)
        while start < stop:
            n = min(tile, stop - start)
            at = start * segment.itemsize
            if self.prefetch:
                prefetch_tile(
                    segment, at + n * segment.itemsize, min(tile, stop - start - n) * segment.itemsize, self.add_accumulated
                )
            grad = segment.grad + at
            for k in range(segment.states):
                state[k] = segment.state[k] + at
            if self.add_accumulated:
                accumulated = segment.accumulated + at
                segment.add(scratch, grad, &accumulated, NULL, n)
                grad = scratch
            step_tile(&loops, segment.param + at, grad, state, scratch, n)
            if self.zero_grad:
                memset(segment.grad + at, 0, n * segment.itemsize)
            start += n

    cdef void step_coded(self, Segment* segment, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
        """Step the elements from start to stop of an array of which some lies in fewer bits, tile by tile."""
        cdef StepLoops loops = self.loops_of(segment)
        cdef Coding* coding = segment.coding
        cdef float work[(MAX_STATES + 4) * CODED_ROW]
        cdef float* values = <float*>line_of(work)
        cdef float* given = values + (MAX_STATES + 1) * CODED_ROW
        cdef float* scratch = values + (MAX_STATES + 2) * CODED_ROW
        cdef void* state[MAX_STATES]
        cdef void* accumulated
        cdef void* param
        cdef const void* grad
        cdef Py_ssize_t n, k
        while start < stop:
            n = min(CODED_TILE, stop - start)
            self.fetch_next(segment, start, stop, 0)
            param = decode_tile(&coding.param, segment.param, values + CODED_PARAM * CODED_ROW, start, n)
            grad = decode_tile(&coding.grad, segment.grad, given, start, n)
            self.fetch_next(segment, start, stop, 1)
            for k in range(segment.states):
                state[k] = decode_tile(&coding.state[k], segment.state[k], values + k * CODED_ROW, start, n)
            if self.add_accumulated:
                accumulated = segment.accumulated + start * sizeof(float)
                segment.add(scratch, grad, &accumulated, NULL, n)
                grad = scratch
            self.fetch_next(segment, start, stop, 2)
            step_tile(&loops, param, grad, state, scratch, n)
            self.fetch_next(segment, start, stop, 3)
            self.encode_tile(segment, <float*>param, values, start, n)
            if self.zero_grad:
                memset(segment.grad + start * coding.grad.itemsize, 0, n * coding.grad.itemsize)
            start += n

    cdef inline void fetch_next(self, Segment* segment, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t quarter) noexcept nogil:
        """Prefetch a quarter of the next tile: more at once would wait for memory, and the work with it."""
        start += CODED_TILE + quarter * (CODED_TILE // 4)
        if self.prefetch and start < stop:
            fetch_coded(segment, start, min(CODED_TILE // 4, stop - start), self.add_accumulated)

    cdef void encode_tile(
        self, Segment* segment, const float* param, const float* values, Py_ssize_t start, Py_ssize_t n
    ) noexcept nogil:
        """Put the new values of a tile back, in their formats."""
        cdef Coding* coding = segment.coding
        cdef unsigned int lines[CODED_TILE + LINE]
        cdef unsigned int* random = <unsigned int*>line_of(lines)
        cdef Py_ssize_t k, lot = -1
        for k in range(segment.states):
            if coding.state[k].measure != NULL:
                coding.state[k].measure(beside_at(&coding.state[k], start), values + k * CODED_ROW, n)
        for k in range(segment.states):
            if coding.state[k].encode != NULL:
                self.randomize_tile(segment, &coding.state[k], k, &lot, random, start, n)
                encode_run(&coding.state[k], segment.state[k], values + k * CODED_ROW, random, k % 2, start, n)
        if coding.param.encode != NULL:
            self.randomize_tile(segment, &coding.param, CODED_PARAM, &lot, random, start, n)
            encode_run(&coding.param, segment.param, param, random, CODED_PARAM % 2, start, n)
        if coding.copy.encode != NULL:
            encode_run(&coding.copy, coding.copy.codes, param, random, 0, start, n)

    cdef inline void randomize_tile(
        self, Segment* segment, const Coded* coded, Py_ssize_t place, Py_ssize_t* lot, unsigned int* random,
        Py_ssize_t start, Py_ssize_t n,
    ) noexcept nogil:
        """Make the random bits of a tile for a place that needs them, unless they are those of the one before: two share 32."""
        if coded.random and lot[0] != place // 2:
            lot[0] = place // 2
            self.randomize(random, element_key(segment.key, lot[0]), segment.origin + start, n)

    cdef StepLoops loops_of(self, Segment* segment) noexcept nogil:
        """Return the loops for each tile of an array, with the numbers of its group in its element type."""
        cdef Numbers* numbers = &self.numbers[segment.group]
        cdef StepLoops loops
        loops.rule, loops.average, loops.states = segment.rule, segment.average, segment.states
        loops.prepare = segment.prepare if numbers.prepared else NULL
        if segment.itemsize == 8:
            loops.prepare_scalars, loops.scalars = numbers.prepare_f64, numbers.f64
            loops.average_scalars = self.average_f64
        else:
            loops.prepare_scalars, loops.scalars = numbers.prepare_f32, numbers.f32
            loops.average_scalars = self.average_f32
        return loops


cdef void step_part(Plan plan, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    plan.step_range(
        border(plan.run_start, plan.run_stop, part, plan.run_parts),
        border(plan.run_start, plan.run_stop, part + 1, plan.run_parts),
    )


cdef inline Py_ssize_t border(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Return where a part begins: even parts, in whole cache lines so that no two threads write to the same line."""
    if part == parts:
        return stop
    return start + <Py_ssize_t>(<double>(stop - start) / parts * part) // LINE * LINE


cdef inline void prefetch_tile(Segment* segment, Py_ssize_t at, Py_ssize_t n_bytes, bint add_accumulated) noexcept nogil:
    cdef Py_ssize_t end = at + n_bytes, k
    while at < end:
        gdfast_prefetch_write(segment.param + at)
        gdfast_prefetch_read(segment.grad + at)
        if add_accumulated:
            gdfast_prefetch_read(segment.accumulated + at)
        for k in range(segment.states):
            gdfast_prefetch_write(segment.state[k] + at)
        at += LINE


include "engine/units.pxi"
include "engine/layers.pxi"
include "engine/native.pxi"
