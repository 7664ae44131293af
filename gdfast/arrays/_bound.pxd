# What other native modules see of the arrays that were bound; src/arrays/bound.pyx.
from cpython.object cimport PyObject

cimport numpy as cnp


cdef extern from "arrays/bound.h":
    ctypedef struct gdfast_held:
        pass
    void* gdfast_data(PyObject*)
    bint gdfast_backed(PyObject*)
    bint gdfast_plain(PyObject*, bint)
    bint gdfast_alike(PyObject*, int, int, const cnp.npy_intp*)
    void gdfast_hold(gdfast_held*, PyObject*, PyObject*)
    Py_ssize_t gdfast_first_changed(const gdfast_held*, Py_ssize_t, bint)


cdef class Block:
    cdef cnp.ndarray owner


cdef class Bound:
    cdef gdfast_held* held
    cdef Py_ssize_t count
    cdef list paths, arrays
    cdef readonly list views
