"""Columns of a table as rows of a matrix: dense ones transposed, hashed ones in CSR.

Design: each is one pass over the columns. Dense ones are transposed (src/tables/transpose.h), and each number is seen to be
finite on the way.
Arrow's arrays come by its C data interface (https://arrow.apache.org/docs/format/CDataInterface.html): one call for all
columns. What types they have was checked before, by gdfast.tables.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

cdef extern from "tables/transpose.h":
    bint transpose_f32 "gdfast_transpose_f32"(float*, const void**, Py_ssize_t, Py_ssize_t) nogil
    bint transpose_f64 "gdfast_transpose_f64"(double*, const void**, Py_ssize_t, Py_ssize_t) nogil

cdef struct ArrowArray:         # as the C data interface lays it out
    int64_t length
    int64_t null_count
    int64_t offset
    int64_t n_buffers
    int64_t n_children
    const void** buffers
    ArrowArray** children
    ArrowArray* dictionary
    void* release
    void* private_data


cdef inline bint is_complete(const ArrowArray* column) noexcept nogil:
    """Whether no cell is missing: -1 stands for a number of these that nobody has counted."""
    return column.null_count == 0 or column.buffers[0] == NULL


def rows_of_columns(capsule, floating[:, ::1] out):
    """Write the columns of an Arrow record batch into the rows of `out`; return whether they are complete and finite.

    If they are not, what `out` holds is undefined.

    capsule : an "arrow_array" whose columns all have the type of `out`.
    """
    cdef ArrowArray* batch = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
    cdef Py_ssize_t rows = out.shape[0], columns = out.shape[1], j
    cdef const ArrowArray* column
    cdef const void** source
    cdef bint fine
    if batch.length != rows or batch.n_children != columns:
        raise ValueError(f"out must have shape {(batch.length, batch.n_children)}; got {(rows, columns)}")
    if not rows or not columns:
        return True
    source = <const void**>malloc(columns * sizeof(void*))
    if source == NULL:
        raise MemoryError(f"no memory for {columns} pointers")
    try:
        for j in range(columns):
            column = batch.children[j]
            if not is_complete(column):
                return False
            source[j] = <const floating*>column.buffers[1] + batch.offset + column.offset
        with nogil:
            if floating is float:
                fine = transpose_f32(&out[0, 0], source, rows, columns)
            else:
                fine = transpose_f64(&out[0, 0], source, rows, columns)
        return fine
    finally:
        free(source)


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    """A permutation of the 64-bit numbers that leaves no bit where it was (Steele, Lea and Flood's SplitMix)."""
    value += 0x9E3779B97F4A7C15ULL
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL
    return value ^ (value >> 31)


def mix(const uint64_t[::1] values, uint64_t seed, int bits):
    """Return the highest bits of each number, mixed with a seed, as int32."""
    cdef Py_ssize_t i, n = values.shape[0]
    cdef int shift = 64 - bits
    found = np.empty(n, np.int32)
    cdef int32_t[::1] out = found
    with nogil:
        for i in range(n):
            out[i] = <int32_t>(mixed(values[i] ^ seed) >> shift)
    return found


def csr_of_columns(const float[:, ::1] numbers, const int32_t[:, ::1] places):
    """Return (data, indices, indptr) of rows that begin with numbers and have a 1 for each place.

    numbers : of shape (rows, m). Zeros are not stored.
    places : of shape (columns, rows): where each row has a 1, counted from column m on; -1: nowhere. A place that a row
        has twice is stored once, with their number.
    """
    cdef Py_ssize_t rows = numbers.shape[0], m = numbers.shape[1], k = places.shape[0], i, j, at, end, begin
    cdef int32_t place
    if places.shape[1] != rows:
        raise ValueError(f"places must have {rows} rows; got {places.shape[1]}")
    all_values, all_indices = np.empty(rows * (m + k), np.float32), np.empty(rows * (m + k), np.int32)
    pointers = np.zeros(rows + 1, np.int32 if rows * (m + k) < 2**31 else np.int64)
    ends = np.empty(rows, np.int64)
    cdef float[::1] values = all_values
    cdef int32_t[::1] indices = all_indices
    cdef int64_t[::1] stops = ends
    end = 0
    with nogil:
        for i in range(rows):
            for j in range(m):
                values[end], indices[end] = numbers[i, j], <int32_t>j
                end += numbers[i, j] != 0
            begin = end
            for j in range(k):              # in order by insertion: there are few, or they come in order
                if places[j, i] < 0:
                    continue
                place = places[j, i] + <int32_t>m
                at = end
                while at > begin and indices[at - 1] > place:
                    indices[at] = indices[at - 1]
                    values[at] = values[at - 1]
                    at -= 1
                if at > begin and indices[at - 1] == place:
                    values[at - 1] += 1
                    while at < end:         # it was none of those that have moved: put them back
                        indices[at] = indices[at + 1]
                        values[at] = values[at + 1]
                        at += 1
                    continue
                indices[at], values[at] = place, 1
                end += 1
            stops[i] = end
    pointers[1:] = ends
    return all_values[:end], all_indices[:end], pointers
