"""Forward and backward pass of a multi-layer perceptron over a mini-batch: gradients of all weights, or the scores.

Design: a mini-batch is cut into at most eight parts of at least 64 rows, by its number of rows alone. A thread takes a
whole part through the network, forward and back, with BLAS (that of SciPy, limited to one thread by the caller) for the
products, and leaves its gradient in a row of its own; the rows are then added up in their order. So threads decide who
does a part, never what is added to what, and everything but that sum runs side by side, not the products only.
Each activation leaves its derivative (with dropout's factor in it) in `slope`, and the gradient of a layer's values
overwrites the values: two numbers a unit and row are all the memory that a pass needs, and it is allocated once.
CSR rows are multiplied as they are: a mini-batch of text never becomes dense.
"""
from libc.math cimport erf, exp, log, log1p
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

import numpy as np

from gdfast.engine._team cimport share, task
from linear.linear_loops cimport loss_function

cnp.import_array()

cdef extern from "elementary.h" nogil:
    float exp_f32 "gdfast_exp_f32"(float x)
    double exp_f64 "gdfast_exp_f64"(double x)
    uint32_t random_bits "gdfast_random_bits"(uint64_t seed, uint64_t counter)

cdef enum:
    MAX_PARTS = 8
    PART_ROWS = 64
    ADD_BLOCK = 16384       # parameters that a thread adds up at a time
    SMALL = 250_000         # multiplications of a pass below which a second thread does not pay

# BLAS's product of matrices, in Fortran's convention.
ctypedef void (*product)(
    char*, char*, int*, int*, int*, const void*, const void*, int*, const void*, int*, const void*, void*, int*
) noexcept nogil

include "mlp/loops.pxi"


def parts_of(Py_ssize_t rows):
    """Return the number of parts that a mini-batch of `rows` rows is cut into."""
    cdef Py_ssize_t parts = 1
    while parts < MAX_PARTS and 2 * parts * PART_ROWS <= rows:
        parts *= 2
    return parts


cdef struct Work:                       # what is shared among threads: one mini-batch
    const Py_ssize_t* rows              # or NULL: those from `first` on
    Py_ssize_t first, n, parts
    double share, decay, dropout
    uint64_t seed
    void* scores


cdef class MLPKernel:
    """A network's weights, the data it is bound to, and its buffers. All arrays are checked by the caller.

    coefs: each layer's weights (fan_in, fan_out); intercepts: each layer's biases; all contiguous and of one dtype.
    capacity: maximum rows of a mini-batch; gemm: capsules with the addresses of BLAS's sgemm and dgemm.
    """

    cdef Py_ssize_t n_layers, capacity, n_params, n_weights, n_parts, target_width
    cdef int activation, loss
    cdef loss_function loop             # of the losses that the linear models have too
    cdef double parameter               # which the loop takes
    cdef bint double_precision
    cdef readonly double penalty        # the penalty's share of the last gradient's loss
    cdef product multiply
    cdef Py_ssize_t* units              # of each layer, the inputs first
    cdef Py_ssize_t* unit_at            # how many units the layers before have, the inputs left out
    cdef Py_ssize_t* weight_at          # how many weights they have
    cdef void** coefs
    cdef void** intercepts
    cdef void* params
    cdef void* grads
    cdef void* values                   # layer after layer, (capacity, units): the activations, then their gradients
    cdef void* slopes                   # of the same layout: the activations' derivatives
    cdef bint sparse, wide
    cdef const char* X
    cdef const char* indptr
    cdef const char* indices
    cdef void* inputs                   # (capacity, features): a mini-batch's dense rows
    cdef void* mean
    cdef void* inv_scale
    cdef void* targets
    cdef void* weights
    cdef double* sums                   # of each part's losses, then of each block's squares
    cdef Work work
    cdef object layers, places, addresses, buffers, flat, inputs_array, scales, data, known     # keep the memory alive

    def __init__(self, coefs, intercepts, str activation, Py_ssize_t capacity, gemm):
        units = [coefs[0].shape[0], *(coef.shape[1] for coef in coefs)]
        width, dtype = sum(units[1:]), coefs[0].dtype
        self.n_layers, self.capacity = len(coefs), capacity
        self.activation = ACTIVATIONS[activation]
        self.double_precision = dtype == np.float64
        capsule = gemm[self.double_precision]
        self.multiply = <product>PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))
        self.layers = coefs, intercepts
        sizes = [coef.size for coef in coefs]
        self.n_weights = sum(sizes)
        self.places = np.array([units, [0, *np.cumsum(units[1:])], [0, *np.cumsum(sizes)]], np.intp)
        self.units = <Py_ssize_t*>cnp.PyArray_DATA(self.places)
        self.unit_at = self.units + len(units)
        self.weight_at = self.unit_at + len(units)
        self.addresses = np.array([[array.ctypes.data for array in arrays] for arrays in self.layers], np.uintp)
        self.coefs = <void**>cnp.PyArray_DATA(self.addresses)
        self.intercepts = self.coefs + self.n_layers
        self.buffers = np.empty((capacity, width), dtype), np.empty((capacity, width), dtype)
        self.values, self.slopes = cnp.PyArray_DATA(self.buffers[0]), cnp.PyArray_DATA(self.buffers[1])

    def bind_loss(self, str name, double parameter, loops):
        """Bind the loss: one of LOSSES, or a loop of the linear models with its parameter."""
        self.loss, self.parameter = LOSSES.get(name, LOOP), parameter
        if self.loss == LOOP:
            self.loop = <loss_function><uintptr_t>loops[name]

    def bind_gradients(self, cnp.ndarray params, cnp.ndarray grads):
        """Bind the flat parameters (n,), all layers' weights before all biases, and their gradients (parts, n)."""
        self.params, self.grads = cnp.PyArray_DATA(params), cnp.PyArray_DATA(grads)
        self.n_params, self.n_parts = params.shape[0], grads.shape[0]
        self.flat = params, grads, np.empty(MAX_PARTS + (self.n_params + ADD_BLOCK - 1) // ADD_BLOCK)
        self.sums = <double*>cnp.PyArray_DATA(self.flat[2])

    def bind_dense(self, cnp.ndarray X, mean, inv_scale):
        """Bind C-contiguous rows, trained as (X - mean) * inv_scale; inv_scale None: as they are."""
        if mean is None and inv_scale is not None:
            mean = np.zeros_like(inv_scale)
        self.sparse, self.X = False, <const char*>cnp.PyArray_DATA(X)
        self.inputs_array = np.empty((self.capacity, self.units[0]), X.dtype)
        self.inputs = cnp.PyArray_DATA(self.inputs_array)
        self.bind_standardizer(mean, inv_scale)
        self.data = X

    def bind_csr(self, cnp.ndarray values, cnp.ndarray indices, cnp.ndarray indptr, inv_scale):
        """Bind CSR rows, trained as X * inv_scale; None: as they are."""
        self.sparse, self.wide = True, indices.dtype == np.int64
        self.X, self.indices = <const char*>cnp.PyArray_DATA(values), <const char*>cnp.PyArray_DATA(indices)
        self.indptr = <const char*>cnp.PyArray_DATA(indptr)
        self.bind_standardizer(None, inv_scale)
        self.data = values, indices, indptr

    cdef bind_standardizer(self, mean, inv_scale):
        self.scales = (mean, inv_scale)
        self.mean = NULL if mean is None else cnp.PyArray_DATA(mean)
        self.inv_scale = NULL if inv_scale is None else cnp.PyArray_DATA(inv_scale)

    def bind_targets(self, cnp.ndarray targets, weights):
        """Bind targets (rows, outputs), for "multinomial" class indices (rows, 1), and weights (rows,) or None."""
        self.targets, self.target_width = cnp.PyArray_DATA(targets), targets.shape[1]
        self.weights = NULL if weights is None else cnp.PyArray_DATA(weights)
        self.known = (targets, weights)

    def gradient(self, cnp.ndarray order, Py_ssize_t start, Py_ssize_t stop, double alpha, double dropout, uint64_t seed,
                 Py_ssize_t threads):
        """Compute the mean gradient over the rows order[start:stop] into grads[0]; return the mean loss.

        Both with the penalty: alpha/2 times the squares of the weights, divided by the sum of the rows' weights.
        """
        cdef Work* work = &self.work
        cdef Py_ssize_t n = stop - start, parts = min(<Py_ssize_t>parts_of(n), self.n_parts), k
        cdef Py_ssize_t blocks = (self.n_params + ADD_BLOCK - 1) // ADD_BLOCK
        cdef double loss = 0, squares = 0
        cdef void* context = <void*>self
        work.rows, work.first, work.n, work.parts = <Py_ssize_t*>cnp.PyArray_DATA(order) + start, 0, n, parts
        work.dropout, work.seed = dropout, seed
        if n * self.n_weights < SMALL:
            threads = 1
        with nogil:
            work.share = self.total_weight(work.rows, n)
            work.share = 1.0 / work.share if work.share > 0 else 0.0
            work.decay = alpha * work.share
            share(<task>gradient_of_part, context, parts, threads, self.n_bytes(n))
            share(<task>add_block, context, blocks, threads, self.n_params * parts * 4)
            for k in range(parts):
                loss += self.sums[k]
            for k in range(blocks):
                squares += self.sums[MAX_PARTS + k]
        self.penalty = 0.5 * work.decay * squares
        return loss * work.share + self.penalty

    def scores(self, order, Py_ssize_t start, cnp.ndarray out, Py_ssize_t threads):
        """Write the scores, before the output's activation, of the rows order[start:] into out (rows, outputs).

        Without an order (None), of the rows from start on.
        """
        cdef Work* work = &self.work
        cdef Py_ssize_t n = out.shape[0]
        cdef void* context = <void*>self
        work.rows = NULL if order is None else <Py_ssize_t*>cnp.PyArray_DATA(order) + start
        work.first, work.n, work.parts = start if order is None else 0, n, parts_of(n)
        work.scores = cnp.PyArray_DATA(out)
        if n * self.n_weights < SMALL:
            threads = 1
        with nogil:
            share(<task>scores_of_part, context, work.parts, threads, self.n_bytes(n))

    cdef Py_ssize_t n_bytes(self, Py_ssize_t n) noexcept nogil:
        """The cost of a pass over n rows, as the bytes that a step moves in the same time."""
        return n * self.n_weights // 4

    cdef double total_weight(self, const Py_ssize_t* rows, Py_ssize_t n) noexcept nogil:
        cdef double total = 0
        cdef Py_ssize_t i
        if self.weights == NULL:
            return n
        for i in range(n):
            total += (<double*>self.weights)[rows[i]] if self.double_precision else (<float*>self.weights)[rows[i]]
        return total


include "mlp/part.pxi"
