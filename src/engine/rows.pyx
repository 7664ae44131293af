"""Steps of the touched rows of a table: the rules' usual loops, row by row.

Design: a rule's loop does not depend on where its elements are, so a row of a table is stepped by the loop that steps whole
arrays, at the address of that row; the bits are those of a dense step. The rows are sorted and distinct
(`gdfast.arrays.rows`), so that neighbouring rows are stepped in one call, no two threads step the same row, and which thread
steps a row does not affect its bits. Each row of a large table is a cache miss that hardware cannot predict, so rows are
prefetched a few ahead. The gradient is always prepared in scratch memory, because the misses dominate the time. Nothing is
as long as the table: the cost of a step is proportional to the touched rows.

All tables of a step are stepped in one call, together with the arrays that have dense gradients, because Python may run a
signal handler between two calls. Row numbers are private, checked copies; everything else is checked here, in the call that
reads and writes it.
"""
from cpython.object cimport PyObject
from cython cimport floating
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport numpy as cnp

from gdfast.engine._team cimport share, task
from rules.kernel cimport MAX_SCALARS, MAX_STATES, StepLoops, kernel, step_tile

cnp.import_array()

cdef extern from "arrays/bound.h":
    bint gdfast_plain(PyObject*, bint)

cdef extern from "portable.h":
    void gdfast_prefetch_write(const void*) nogil

cdef enum:
    PREPARING = 3               # numbers: grad_scale, clip_value, l2
    SCRATCH_DOUBLES = 512       # one tile of either type, as in the engine
    LINE = 64
    AHEAD = 8                   # rows prefetched in advance; measured: 2 to 16 are equally fast
    PREFETCH_BYTES = 1024       # of a row; the hardware prefetches the rest
    PARTS_A_THREAD = 8          # of the touched rows

cdef struct Table:              # one parameter array and its row-sparse gradient
    char* param
    char* state[MAX_STATES]
    const char* values          # of the touched rows, contiguous
    const int64_t* rows         # sorted and distinct
    StepLoops loops
    Py_ssize_t touched
    Py_ssize_t width            # elements of a row
    Py_ssize_t itemsize
    Py_ssize_t parts


MAX_NUMBERS = PREPARING + MAX_SCALARS


def run(run_dense, list tables, Py_ssize_t threads, bint zero_grad, bint add_accumulated, list bounds=[]):
    """Carry out the dense part of a step, then step the touched rows of each table.

    Parameters
    ----------
    run_dense : the bound `run` of a `Plan`
    tables : list of (param, states, (rule, prepare), rows, values, numbers, parts)
        The rule's `Loop`, and the addresses of `prepare` for both element types; rows as int64; an array of `MAX_NUMBERS`
        numbers in the element type, those for preparing the gradient first; the largest number of threads that pays off.
        The list is emptied, so that gradients do not outlive their step.
    threads : int
    zero_grad, add_accumulated : bool
        For the dense part.
    bounds : list of `Bound`
        Arrays to be compared with what was bound, besides those of the dense part.
    """
    cdef Py_ssize_t i, k, helpful, n_bytes, n = len(tables)
    cdef bint double_precision
    cdef Table* table
    cdef Table* all_tables = <Table*>calloc(max(n, 1), sizeof(Table))
    if all_tables == NULL:
        raise MemoryError("no memory for the plan of a step of rows")
    try:
        for i in range(n):
            table = &all_tables[i]
            param, states, loops, rows, values, numbers, table.parts = tables[i]
            check(param, states, rows, values, numbers)
            table.param = <char*>cnp.PyArray_DATA(param)
            table.loops.states = len(states)
            loops[0].check_states(table.loops.states)
            for k in range(table.loops.states):
                table.state[k] = <char*>cnp.PyArray_DATA(states[k])
            double_precision = cnp.PyArray_ITEMSIZE(values) == 8
            table.loops.rule = <kernel><uintptr_t>loops[0][double_precision]
            table.loops.prepare = <kernel><uintptr_t>loops[1][double_precision]
            table.values = <const char*>cnp.PyArray_DATA(values)
            table.rows = <const int64_t*>cnp.PyArray_DATA(rows)
            table.touched, table.itemsize = cnp.PyArray_SIZE(rows), cnp.PyArray_ITEMSIZE(values)
            table.loops.prepare_scalars = cnp.PyArray_DATA(numbers)
            table.loops.scalars = <char*>cnp.PyArray_DATA(numbers) + PREPARING * table.itemsize
            table.width = cnp.PyArray_SIZE(values) // max(table.touched, 1)
        for bound in bounds:
            bound.check()
        run_dense(threads, zero_grad, add_accumulated)
        for i in range(n):
            table = &all_tables[i]
            helpful = max(1, min(threads, table.parts))
            n_bytes = table.touched * table.width * table.itemsize * (2 + table.loops.states)
            table.parts = helpful * PARTS_A_THREAD if helpful > 1 else 1
            with nogil:
                share(<task>step_part, table, table.parts, helpful, n_bytes)
    finally:
        free(all_tables)
        tables.clear()


cdef int check(param, tuple states, rows, values, numbers) except -1:
    """Check that the touched rows are inside the table (which may be flat), and the type and layout of all arrays.

    The rows are sorted, so that checking the first and the last is enough.
    """
    cdef Py_ssize_t touched = cnp.PyArray_SIZE(rows), width = cnp.PyArray_SIZE(values) // max(touched, 1)
    cdef const int64_t* places = <const int64_t*>cnp.PyArray_DATA(rows)
    good = (
        cnp.PyArray_TYPE(rows) == cnp.NPY_INT64
        and gdfast_plain(<PyObject*>rows, False)
        and gdfast_plain(<PyObject*>values, False)
        and cnp.PyArray_SIZE(numbers) >= MAX_NUMBERS
        and cnp.PyArray_SIZE(values) == touched * width
        and (width == 0 or (places[0] >= 0 and places[touched - 1] < cnp.PyArray_SIZE(param) // width))
    )
    for array in (values, numbers, *states):
        good = good and cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(param)
    for state in states:
        good = good and cnp.PyArray_SIZE(state) == cnp.PyArray_SIZE(param)
    if not good or len(states) > MAX_STATES:
        raise ValueError("a table's rows, their values or its state were changed since they were checked")
    return 0


cdef void step_part(const Table* table, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    step_range(table, table.touched * part // table.parts, table.touched * (part + 1) // table.parts)


cdef void step_range(const Table* table, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Step the touched rows [start, stop), neighbouring ones in one call as far as scratch memory can hold them."""
    cdef double scratch[SCRATCH_DOUBLES]
    cdef void* state[MAX_STATES]
    cdef void* param
    cdef Py_ssize_t tile = SCRATCH_DOUBLES * sizeof(double) // table.itemsize
    cdef Py_ssize_t end, ahead, i, k, n, at, done, size
    for ahead in range(start, min(start + AHEAD, stop)):
        prefetch_row(table, ahead)
    while start < stop:
        end = start + 1
        while end < stop and table.rows[end] == table.rows[end - 1] + 1 and (end + 1 - start) * table.width <= tile:
            end += 1
        for ahead in range(start + AHEAD, min(end + AHEAD, stop)):
            prefetch_row(table, ahead)
        size = (end - start) * table.width
        done = 0
        while done < size:
            n = min(tile, size - done)
            at = (table.rows[start] * table.width + done) * table.itemsize
            param = table.param + at
            for k in range(table.loops.states):
                state[k] = table.state[k] + at
            at = (start * table.width + done) * table.itemsize
            step_tile(&table.loops, param, table.values + at, state, scratch, n)
            done += n
        start = end


cdef inline void prefetch_row(const Table* table, Py_ssize_t i) noexcept nogil:
    cdef Py_ssize_t n_bytes = table.width * table.itemsize, at = table.rows[i] * n_bytes, k
    cdef Py_ssize_t end = at + min(n_bytes, PREFETCH_BYTES)
    while at < end:
        gdfast_prefetch_write(table.param + at)
        for k in range(table.loops.states):
            gdfast_prefetch_write(table.state[k] + at)
        at += LINE


cdef struct Sums:
    const int64_t* places
    const int64_t* borders
    const char* source
    char* target
    Py_ssize_t n, parts, width
    bint double_precision


def sum_repeated(values, order, starts, totals, Py_ssize_t threads):
    """Fill row k of `totals` with the sum of the rows of `values` that ``order[starts[k]:starts[k + 1]]`` names, in order.

    values and totals are C-contiguous and of one type; order and starts are int64, and starts ends with order's length.
    """
    cdef Sums sums
    cdef Py_ssize_t helpful, n_bytes = 2 * cnp.PyArray_SIZE(values) * cnp.PyArray_ITEMSIZE(values)
    sums.places, sums.borders = <const int64_t*>cnp.PyArray_DATA(order), <const int64_t*>cnp.PyArray_DATA(starts)
    sums.source, sums.target = <const char*>cnp.PyArray_DATA(values), <char*>cnp.PyArray_DATA(totals)
    sums.n = cnp.PyArray_SIZE(starts) - 1
    sums.width = cnp.PyArray_SIZE(totals) // max(sums.n, 1)
    sums.double_precision = cnp.PyArray_ITEMSIZE(values) == 8
    if cnp.PyArray_SIZE(values) != cnp.PyArray_SIZE(order) * sums.width or not gdfast_plain(<PyObject*>values, False):
        raise ValueError("the values of rows must be one row for each row number; they were changed since they were checked")
    helpful = max(1, min(threads, sums.n))
    sums.parts = helpful * PARTS_A_THREAD if helpful > 1 else 1
    with nogil:
        share(<task>sum_some, &sums, sums.parts, helpful, n_bytes)


cdef void sum_some(const Sums* s, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    cdef Py_ssize_t start = s.n * part // s.parts, stop = s.n * (part + 1) // s.parts
    if s.double_precision:
        sum_part(<double*>s.target, <double*>s.source, s.places, s.borders, start, stop, s.width)
    else:
        sum_part(<float*>s.target, <float*>s.source, s.places, s.borders, start, stop, s.width)


cdef void sum_part(
    floating* target, const floating* source, const int64_t* places, const int64_t* borders,
    Py_ssize_t start, Py_ssize_t stop, Py_ssize_t width,
) noexcept nogil:
    cdef const floating* row
    cdef floating* total
    cdef Py_ssize_t k, i, j
    for k in range(start, stop):
        total = target + k * width
        memcpy(total, source + places[borders[k]] * width, width * sizeof(floating))
        for i in range(borders[k] + 1, borders[k + 1]):
            row = source + places[i] * width
            for j in range(width):
                total[j] += row[j]
