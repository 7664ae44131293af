"""The sum of squares of all gradients, and dot products of vectors, in parallel and in one fixed order.

Design: each array is cut into blocks of a fixed length; a block is summed by one thread, in the order that
src/rules/norm.pxi fixes; the sums of the blocks are added by the calling thread, in the order of the arrays and of the
blocks in them. So threads decide who sums a block, but never the order of summation. Arrays are checked in the call that
reads them, because they may have been changed since an earlier check.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free

cimport numpy as cnp

from gdfast.engine._team cimport share, task
from rules.kernel cimport NORM_BLOCK, NORM_LANES, reducer, vector_reducer

cnp.import_array()

cdef extern from "arrays/bound.h":
    bint gdfast_plain(PyObject*, bint)

LANES = NORM_LANES
BLOCK = NORM_BLOCK

cdef struct Block:
    const char* start
    const char* other           # to be added to it, or NULL
    Py_ssize_t size
    reducer reduce
    double sum


cdef void sum_block(Block* blocks, Py_ssize_t i, Py_ssize_t member) noexcept nogil:
    blocks[i].sum = blocks[i].reduce(blocks[i].start, blocks[i].other, blocks[i].size)


def square_sum(tuple kernels, tuple arrays, tuple others, Py_ssize_t threads, double total=0):
    """Return the sum of squares of float32 and float64 arrays, which must be C-contiguous and in native byte order.

    With `others`, one array like each, return it for the sums arrays[i] + others[i]. It is added to `total`.
    """
    cdef Py_ssize_t i, n
    cdef Block* blocks = summed_blocks(kernels, arrays, others, threads, &n)
    for i in range(n):
        total += blocks[i].sum
    free(blocks)
    return total


def block_sums(tuple kernels, tuple arrays, Py_ssize_t threads):
    """Return what `square_sum` would add up, one number a block, as float64: for blocks that lie in several processes."""
    cdef Py_ssize_t i, n
    cdef Block* blocks = summed_blocks(kernels, arrays, (), threads, &n)
    cdef cnp.npy_intp length = n
    cdef double* sums
    try:
        found = cnp.PyArray_SimpleNew(1, &length, cnp.NPY_DOUBLE)
        sums = <double*>cnp.PyArray_DATA(found)
        for i in range(n):
            sums[i] = blocks[i].sum
    finally:
        free(blocks)
    return found


cdef Block* summed_blocks(tuple kernels, tuple arrays, tuple others, Py_ssize_t threads, Py_ssize_t* count) except NULL:
    """Return the blocks of all arrays with their sums; the caller frees them."""
    cdef Py_ssize_t i, n = 0, size, itemsize, place
    cdef Block* blocks
    cdef const char* start
    cdef const char* other = NULL
    cdef reducer reduce
    if others and len(others) != len(arrays):
        raise ValueError(f"others must be {len(arrays)} arrays, one to be added to each; got {len(others)}")
    for i in range(len(arrays)):
        array = arrays[i]
        if not (is_readable(array, array) and (not others or is_readable(others[i], array))):
            complain()
        n += (cnp.PyArray_SIZE(array) + NORM_BLOCK - 1) // NORM_BLOCK
    blocks = <Block*>calloc(max(n, 1), sizeof(Block))
    if blocks == NULL:
        raise MemoryError("no memory for the sums of a norm's blocks")
    i = 0
    for place_of_array, array in enumerate(arrays):
        itemsize, size = cnp.PyArray_ITEMSIZE(array), cnp.PyArray_SIZE(array)
        start = <const char*>cnp.PyArray_DATA(array)
        if others:
            other = <const char*>cnp.PyArray_DATA(others[place_of_array])
        reduce = <reducer><uintptr_t>kernels[itemsize == 8]
        place = 0
        while place < size:
            blocks[i].start, blocks[i].size = start + place * itemsize, min(NORM_BLOCK, size - place)
            blocks[i].other = other + place * itemsize if other != NULL else NULL
            blocks[i].reduce = reduce
            place += NORM_BLOCK
            i += 1
    with nogil:
        share(<task>sum_block, blocks, n, threads, n * NORM_BLOCK * sizeof(float))
    count[0] = n
    return blocks


cdef struct Product:            # of vectors, block by block
    vector_reducer reduce
    char* y
    const char* x               # or NULL
    const char* z
    const void* scalars
    Py_ssize_t size
    Py_ssize_t step             # bytes of a block
    double* sums


cdef void multiply_block(Product* p, Py_ssize_t i, Py_ssize_t member) noexcept nogil:
    p.sums[i] = p.reduce(
        p.y + i * p.step, p.x + i * p.step if p.x != NULL else NULL, p.z + i * p.step, p.scalars,
        min(NORM_BLOCK, p.size - i * NORM_BLOCK),
    )


def axpy_dot(tuple kernels, y, x, z, double a, double c, Py_ssize_t threads):
    """Set y to c*(y + a*x), unless x is None, and return its dot product with z.

    All are C-contiguous float32 or all float64, of one size; a and c are rounded to their type.
    """
    if not (is_readable(y, y) and is_readable(z, y) and (x is None or is_readable(x, y))):
        complain()
    cdef Py_ssize_t i, size = cnp.PyArray_SIZE(y), itemsize = cnp.PyArray_ITEMSIZE(y)
    cdef Py_ssize_t n = (size + NORM_BLOCK - 1) // NORM_BLOCK
    cdef Product product
    cdef double scalars_f64[2]
    cdef float scalars_f32[2]
    cdef double total = 0
    product.reduce = <vector_reducer><uintptr_t>kernels[itemsize == 8]
    product.y, product.z = <char*>cnp.PyArray_DATA(y), <const char*>cnp.PyArray_DATA(z)
    product.x = <const char*>cnp.PyArray_DATA(x) if x is not None else NULL
    product.scalars = <void*>scalars_f64 if itemsize == 8 else <void*>scalars_f32
    product.size, product.step = size, NORM_BLOCK * itemsize
    product.sums = <double*>calloc(max(n, 1), sizeof(double))
    if product.sums == NULL:
        raise MemoryError("no memory for the sums of a dot product's blocks")
    scalars_f64[0], scalars_f64[1] = a, c
    scalars_f32[0], scalars_f32[1] = <float>a, <float>c
    with nogil:
        share(<task>multiply_block, &product, n, threads, 3 * size * itemsize)
    for i in range(n):
        total += product.sums[i]
    free(product.sums)
    return total


cdef inline bint is_readable(array, like):
    """Whether an array can be read in place, and has the type and size of another."""
    return (
        cnp.PyArray_Check(array)
        and cnp.PyArray_Check(like)
        and (cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT or cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE)
        and cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(like)
        and cnp.PyArray_SIZE(array) == cnp.PyArray_SIZE(like)
        and gdfast_plain(<PyObject*>array, False)
    )


cdef complain():
    raise ValueError("arrays must be C-contiguous float32 or float64, as when they were checked; one was changed since")
