"""The epochs of linear models: scores, losses, gradients and steps of all mini-batches, without the GIL.

Design: a mini-batch is cut into blocks of rows, whatever the number of threads; each block has a partial gradient of its
own, and these are added in the order of the blocks. So the threads decide who does a block, never what is added to what. A block goes tile by tile: gathered and standardised, scored, and added to the block's gradient while it is
in cache (src/linear_loops.pyx). A mini-batch is shared among the threads twice: its blocks, then its columns. The step
calls the rules' own loops, on numbers that were computed ahead for the whole epoch. With several outputs the two products
are BLAS's, one call a tile, from scipy's pointers found at run time: the build needs no scipy. In CSR the scores are as
above, and the gradient is shared by columns. Everything about the arrays was checked before, by gdfast.sklearn.
"""
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import numpy as np

cimport numpy as cnp
from numpy.random cimport bitgen_t

from gdfast._team cimport share, task
from kernel cimport MAX_SCALARS, MAX_STATES, kernel
from linear_loops cimport (
    LANES,
    MAX_TILE,
    adder,
    gatherer,
    loss_function,
    moments_function,
    reducer_of_parts,
    scorer,
    softmax_function,
    summer,
)

cnp.import_array()

cdef extern from "portable.h":
    void gdfast_prefetch_read(const void*) nogil

include "linear/sparse.pxi"

cdef enum:
    MAX_PIECES = 2              # coefficients and intercept
    NUMBERS = 5 + MAX_SCALARS   # scale, bound, l2; decay, l1, the rule's own
    STRETCH = 512               # elements of a step at a time
    GRAIN_BYTES = 128 << 10     # of data that a thread must have to be worth asking
    STEP_GRAIN = 16384          # elements of a step likewise
    PASS_GRAIN = 1 << 20        # elements that are passed over once
    MOMENT_BLOCKS = 16

WIDTH = NUMBERS
PIECES = MAX_PIECES
TILE_LIMIT = MAX_TILE
LANE_COUNT = LANES

include "linear/dense.pxi"


cdef void* memory(Py_ssize_t n_bytes) except NULL:
    cdef void* found = calloc(max(n_bytes, 1), 1)
    if found == NULL:
        raise MemoryError(f"no memory for {n_bytes} bytes of a linear model's buffers")
    return found


include "linear/columns.pxi"


cdef struct Batch:              # what is shared among threads: a mini-batch, or rows to be scored
    const Py_ssize_t* rows
    Py_ssize_t n, blocks, column_parts
    const double* numbers       # or NULL: no step
    const double* averages
    double* scores


cdef class LinearKernel:
    """A linear model's data, parameters and buffers, bound for training.

    Parameters
    ----------
    rules, loops : modules of one instruction-set level
    data : array of shape (rows, columns), or (data, indices, indptr) of CSR
    targets : float64 array of shape (rows, outputs), or int32 array of shape (rows,) with class numbers
    weights : float64 array of shape (rows,), or None
    mean, inv_scale : arrays of shape (columns,) of the data's type, with zeros behind them up to whole lanes
        For CSR, mean is None and inv_scale may be None.
    loss : (name, parameter)
    coef : array of shape (columns,) for one output, (columns, outputs) for several, in the data's type
    intercept : array of shape (outputs,)
    batch_size : int
    block_rows : int
        Rows of a block: a part of a mini-batch with a partial gradient of its own.
    tile_rows : int
        Rows that are gathered at a time, at most TILE_LIMIT.
    indices_sorted : bool
        Whether every row of CSR has its columns in order.
    gemm : pair of capsules, optional
        BLAS's sgemm and dgemm, needed for several outputs of dense data.
    """
    cdef object kept
    cdef Py_ssize_t data_rows, columns, padded, outputs, itemsize, batch, tile, block, blocks
    cdef bint sparse, double_precision, multinomial
    cdef Csr csr
    cdef char* data
    cdef const double* target_values
    cdef const int32_t* classes
    cdef const double* weights
    cdef char* mean
    cdef char* inv_scale
    cdef char* coef
    cdef char* intercept
    cdef char* coef_grad
    cdef char* intercept_grad
    cdef double parameter
    cdef gatherer gather
    cdef scorer score
    cdef adder add
    cdef reducer_of_parts reduce
    cdef loss_function loss
    cdef softmax_function softmax
    cdef summer sum
    cdef gemm_function gemm
    cdef Scratch* scratch
    cdef Py_ssize_t scratches
    cdef char* partial_grads    # block after block; in CSR the batch's derivatives, row after row
    cdef double* partial_intercept_grads
    cdef double* losses
    cdef Piece pieces[MAX_PIECES]
    cdef Py_ssize_t piece_count
    cdef bint averaged
    cdef Batch batch_now

    def __init__(
        self, rules, loops, data, targets, weights, mean, inv_scale, tuple loss, coef, intercept, coef_grad,
        intercept_grad, Py_ssize_t batch_size, Py_ssize_t block_rows, Py_ssize_t tile_rows,
        bint indices_sorted=True, gemm=None
    ):
        cdef Py_ssize_t stored
        if self.partial_grads != NULL:
            raise RuntimeError("a LinearKernel is bound once")
        self.kept = (data, targets, weights, mean, inv_scale, coef, intercept, coef_grad, intercept_grad, rules, loops)
        self.double_precision = coef.dtype.itemsize == 8
        self.itemsize, self.columns = coef.dtype.itemsize, coef.shape[0]
        self.outputs = intercept.shape[0]
        self.padded = (self.columns + LANES - 1) // LANES * LANES
        self.sparse = isinstance(data, tuple)
        if self.sparse:
            self.csr.data, self.csr.indices = cnp.PyArray_DATA(data[0]), cnp.PyArray_DATA(data[1])
            self.csr.pointers = cnp.PyArray_DATA(data[2])
            self.csr.inv_scale = cnp.PyArray_DATA(inv_scale) if inv_scale is not None else NULL
            self.csr.wide, self.csr.sorted = data[1].dtype.itemsize == 8, indices_sorted
            self.csr.double_precision = self.double_precision
        else:
            self.data, self.data_rows = <char*>cnp.PyArray_DATA(data), data.shape[0]
        if targets.dtype == np.int32:
            self.classes = <const int32_t*>cnp.PyArray_DATA(targets)
        else:
            self.target_values = <const double*>cnp.PyArray_DATA(targets)
        self.weights = <const double*>cnp.PyArray_DATA(weights) if weights is not None else NULL
        self.mean = <char*>cnp.PyArray_DATA(mean) if mean is not None else NULL
        self.inv_scale = <char*>cnp.PyArray_DATA(inv_scale) if inv_scale is not None else NULL
        self.coef, self.intercept = <char*>cnp.PyArray_DATA(coef), <char*>cnp.PyArray_DATA(intercept)
        self.coef_grad = <char*>cnp.PyArray_DATA(coef_grad)
        self.intercept_grad = <char*>cnp.PyArray_DATA(intercept_grad)
        self.bind_loops(loops.LOOPS, loss, gemm)
        self.batch, self.block, self.tile = batch_size, block_rows, tile_rows
        self.blocks = (self.batch + self.block - 1) // self.block
        stored = self.batch * self.outputs if self.sparse else self.blocks * self.padded * self.outputs
        self.partial_grads = <char*>memory(stored * self.itemsize)
        self.partial_intercept_grads = <double*>memory(self.blocks * self.outputs * 8)
        self.losses = <double*>memory(self.blocks * 8)

    cdef bind_loops(self, loops, tuple loss, gemm):
        cdef bint k = self.double_precision
        self.gather, self.score = <gatherer><uintptr_t>loops["gather"][k], <scorer><uintptr_t>loops["score"][k]
        self.add, self.reduce = <adder><uintptr_t>loops["add"][k], <reducer_of_parts><uintptr_t>loops["reduce"][k]
        self.sum = <summer><uintptr_t>loops["sum"]
        self.multinomial = loss[0] == "multinomial"
        if self.multinomial:
            self.softmax = <softmax_function><uintptr_t>loops["multinomial"]
        else:
            self.loss = <loss_function><uintptr_t>loops[loss[0]]
        self.parameter = loss[1]
        if gemm is not None:
            self.gemm = <gemm_function>PyCapsule_GetPointer(gemm[k], PyCapsule_GetName(gemm[k]))

    def __dealloc__(self):
        self.free_scratch()
        free(self.partial_grads)
        free(self.partial_intercept_grads)
        free(self.losses)

    cdef free_scratch(self):
        for i in range(self.scratches):
            free(self.scratch[i].tile)
            free(self.scratch[i].small)
            free(self.scratch[i].score)
        free(self.scratch)
        self.scratch, self.scratches = NULL, 0

    cdef make_scratch(self, Py_ssize_t threads):
        """Give each thread its buffers."""
        cdef Py_ssize_t n = self.tile * self.outputs, i
        cdef Scratch* s
        if threads <= self.scratches:
            return
        self.free_scratch()
        self.scratch = <Scratch*>memory(threads * sizeof(Scratch))
        self.scratches = threads
        for i in range(threads):
            s = &self.scratch[i]
            if not self.sparse:
                s.tile = <char*>memory(self.tile * self.padded * self.itemsize)
            s.small = <char*>memory(n * self.itemsize)
            s.score = <double*>memory((4 * n) * 8)
            s.target, s.loss, s.derivative = s.score + n, s.score + 2 * n, s.score + 3 * n

    def bind_step(self, rules, list pieces, bint averaged):
        """Bind what is stepped: (param, grad, states, rule name), coefficients first; the last state may be an average."""
        cdef Piece* piece
        if len(pieces) > MAX_PIECES:
            raise ValueError(f"pieces must be at most {MAX_PIECES}; got {len(pieces)}")
        for _, _, states, rule in pieces:
            rules.TABLE[rule].check_states(len(states) - averaged)
        self.piece_count, self.averaged = len(pieces), averaged
        self.kept = (*self.kept[:10], rules, pieces)
        for i, (param, grad, states, rule) in enumerate(pieces):
            piece = &self.pieces[i]
            piece.rule = <kernel><uintptr_t>rules.TABLE[rule][self.double_precision]
            piece.prepare = <kernel><uintptr_t>rules.PREPARE[self.double_precision]
            piece.average = <kernel><uintptr_t>rules.AVERAGE[self.double_precision]
            piece.param, piece.grad = <char*>cnp.PyArray_DATA(param), <char*>cnp.PyArray_DATA(grad)
            piece.size, piece.states = param.size, len(states)
            for k, state in enumerate(states):
                piece.state[k] = <char*>cnp.PyArray_DATA(state)

    def run(
        self, const Py_ssize_t[::1] order, const double[:, :, ::1] numbers, const double[::1] averages,
        Py_ssize_t threads
    ):
        """Run an epoch over the rows in this order; return the sum of their losses, each before its batch's step.

        numbers : of shape (steps, PIECES, WIDTH), for each step and piece: scale, bound, l2, decay, l1, the rule's own.
        averages : of shape (steps,): the weight of the new parameters in their average.
        """
        cdef Py_ssize_t step, total = order.shape[0]
        cdef double loss = 0
        self.make_scratch(self.helpful(min(self.batch, total), threads))
        with nogil:
            for step in range((total + self.batch - 1) // self.batch):
                loss += self.run_batch(
                    &order[step * self.batch], min(self.batch, total - step * self.batch), &numbers[step, 0, 0],
                    &averages[step], threads
                )
        return loss

    def gradient(self, const Py_ssize_t[::1] rows, Py_ssize_t threads):
        """Write the mean gradient of these rows, one mini-batch, into the gradient buffers; return the sum of losses."""
        self.make_scratch(self.helpful(rows.shape[0], threads))
        return self.run_batch(&rows[0], rows.shape[0], NULL, NULL, threads)

    cdef double run_batch(
        self, const Py_ssize_t* rows, Py_ssize_t n, const double* numbers, const double* averages, Py_ssize_t threads
    ) noexcept nogil:
        """Compute the gradient of a mini-batch, and step if there are numbers for it; return the sum of losses."""
        cdef Batch* batch = &self.batch_now
        cdef Py_ssize_t cost = self.cost(n), b
        cdef double loss = 0
        batch.rows, batch.n, batch.numbers, batch.averages = rows, n, numbers, averages
        batch.blocks, batch.column_parts = (n + self.block - 1) // self.block, self.step_parts(n, threads)
        share(<task>do_block, <void*>self, batch.blocks, self.parts(n, threads), cost)
        for b in range(batch.blocks):
            loss += self.losses[b]
        self.finish_intercept(batch.blocks)
        if numbers != NULL and self.piece_count > 1:
            step_piece(
                &self.pieces[1], 0, self.outputs, numbers + NUMBERS, averages, self.double_precision, self.averaged
            )
        share(<task>finish_columns, <void*>self, batch.column_parts, batch.column_parts, cost)
        return loss

    def scores(self, const Py_ssize_t[::1] rows, double[:, ::1] out, Py_ssize_t threads):
        """Write the scores of these rows, with the parameters as they are, into an array of shape (rows, outputs)."""
        cdef Batch* batch = &self.batch_now
        cdef Py_ssize_t n = rows.shape[0], helpful = self.parts(n, threads)
        cdef void* context = <void*>self
        self.make_scratch(helpful)
        batch.rows, batch.n, batch.scores = &rows[0], n, &out[0, 0]
        with nogil:
            share(<task>score_tile, context, (n + self.tile - 1) // self.tile, helpful, self.cost(n))

    cdef void score_tile(self, Scratch* s, Py_ssize_t start) noexcept nogil:
        """Write the scores of the tile of rows that begins at start."""
        cdef Batch* batch = &self.batch_now
        cdef Py_ssize_t n = min(self.tile, batch.n - start), i, k
        self.score_rows(s, batch.rows + start, n, min(self.tile, batch.n - start - n))
        for i in range(n):
            for k in range(self.outputs):
                batch.scores[(start + i) * self.outputs + k] = s.score[k * n + i]

    cdef Py_ssize_t cost(self, Py_ssize_t n) noexcept nogil:
        """The cost of scoring n rows and adding up their gradient, as the bytes that are read in the same time."""
        return n * 1024 * self.outputs if self.sparse else n * self.padded * self.itemsize * min(self.outputs, 8)

    cdef Py_ssize_t helpful(self, Py_ssize_t n, Py_ssize_t threads) noexcept nogil:
        """Maximum number of threads for a mini-batch of n rows."""
        return max(self.parts(n, threads), self.step_parts(n, threads))

    cdef Py_ssize_t parts(self, Py_ssize_t n, Py_ssize_t threads) noexcept nogil:
        """The number of threads that n rows are worth sharing among."""
        return max(1, min(threads, self.cost(n) // GRAIN_BYTES))

    cdef Py_ssize_t step_parts(self, Py_ssize_t n, Py_ssize_t threads) noexcept nogil:
        """The number of threads that gradient and step of a mini-batch of n rows are worth sharing among, by columns."""
        if not self.sparse:
            return max(1, min(threads, self.columns * self.outputs // STEP_GRAIN))
        return min(self.parts(n, threads), self.columns) if self.csr.sorted else 1

    cdef void do_block(self, Scratch* s, Py_ssize_t b) noexcept nogil:
        cdef const Py_ssize_t* rows = self.batch_now.rows
        cdef Py_ssize_t n = self.batch_now.n, start = b * self.block, k
        cdef Py_ssize_t end = min(n, start + self.block), at, m
        cdef char* partial = self.partial_grads + b * self.padded * self.outputs * self.itemsize
        if not self.sparse:
            memset(partial, 0, self.padded * self.outputs * self.itemsize)
        self.losses[b] = 0
        for k in range(self.outputs):
            self.partial_intercept_grads[b * self.outputs + k] = 0
        at = start
        while at < end:
            m = min(self.tile, end - at)
            self.expect_targets(rows + at, m)
            self.score_rows(s, rows + at, m, min(self.tile, n - at - m))
            self.losses[b] += self.derive(s, rows + at, m, 1.0 / n)
            for k in range(self.outputs):
                self.partial_intercept_grads[b * self.outputs + k] += self.sum(s.derivative + k * m, m)
            if self.sparse:
                self.keep_derivatives(s, at, m)
            elif self.outputs == 1:
                self.add(partial, s.tile, s.derivative, m, self.padded)
            else:
                multiply_back(
                    self.gemm, self.double_precision, s, partial, m, self.outputs, self.columns, self.padded
                )
            at += m

    cdef void score_rows(self, Scratch* s, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t coming) noexcept nogil:
        """Write the scores of a tile of n rows, output after output; the tile after it has the `coming` next rows."""
        if self.sparse:
            csr_scores(&self.csr, self.coef, self.intercept, rows, n, self.outputs, s.score)
            return
        if self.outputs == 1:
            self.score(
                s.score, s.tile, self.coef, self.intercept, n, coming, self.padded, self.data, self.data_rows,
                rows, self.columns, self.mean, self.inv_scale
            )
        else:
            self.gather(s.tile, self.data, rows, n, self.columns, self.padded, self.mean, self.inv_scale)
            multiply(
                self.gemm, self.double_precision, s, n, self.outputs, self.columns, self.padded, self.coef,
                self.intercept
            )

    cdef double derive(self, Scratch* s, const Py_ssize_t* rows, Py_ssize_t n, double scale) noexcept nogil:
        """Turn scores into losses and derivatives, weighted, the derivatives scaled too; return the sum of the losses."""
        cdef Py_ssize_t i, k, rows_of_loss = 1 if self.multinomial else self.outputs
        cdef double weight
        if self.multinomial:
            for i in range(n):
                s.target[i] = self.classes[rows[i]]
            self.softmax(s.loss, s.derivative, s.score, s.target, self.outputs, n)
        else:
            self.fetch_targets(s, rows, n)
            self.loss(s.loss, s.derivative, s.score, s.target, self.parameter, n * self.outputs)
        if self.weights == NULL:
            for i in range(n * self.outputs):
                s.derivative[i] *= scale
        else:
            for i in range(n):
                weight = self.weights[rows[i]]
                for k in range(rows_of_loss):
                    s.loss[k * n + i] *= weight
                for k in range(self.outputs):
                    s.derivative[k * n + i] *= weight * scale
        return self.sum(s.loss, n * rows_of_loss)

    cdef void expect_targets(self, const Py_ssize_t* rows, Py_ssize_t n) noexcept nogil:
        """Prefetch what `derive` is going to read: the rows lie anywhere."""
        cdef Py_ssize_t i
        for i in range(n):
            if self.classes != NULL:
                gdfast_prefetch_read(self.classes + rows[i])
            else:
                gdfast_prefetch_read(self.target_values + rows[i] * self.outputs)
            if self.weights != NULL:
                gdfast_prefetch_read(self.weights + rows[i])

    cdef void fetch_targets(self, Scratch* s, const Py_ssize_t* rows, Py_ssize_t n) noexcept nogil:
        """Class indices become -1 and 1: 1 is the second of two classes, and of more the output's own."""
        cdef Py_ssize_t i, k, own
        if self.classes == NULL:
            for k in range(self.outputs):
                for i in range(n):
                    s.target[k * n + i] = self.target_values[rows[i] * self.outputs + k]
            return
        for k in range(self.outputs):
            own = 1 if self.outputs == 1 else k
            for i in range(n):                  # arithmetic: a branch on the class would be mispredicted
                s.target[k * n + i] = 2 * (self.classes[rows[i]] == own) - 1

    cdef void keep_derivatives(self, Scratch* s, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
        """Keep a tile's derivatives for the gradient by columns: row after row, in the data's type."""
        cdef Py_ssize_t i, k, to
        for i in range(n):
            for k in range(self.outputs):
                to = (at + i) * self.outputs + k
                if self.double_precision:
                    (<double*>self.partial_grads)[to] = s.derivative[k * n + i]
                else:
                    (<float*>self.partial_grads)[to] = <float>s.derivative[k * n + i]

    cdef void finish_intercept(self, Py_ssize_t blocks) noexcept nogil:
        cdef Py_ssize_t b, k
        cdef double total
        for k in range(self.outputs):
            total = 0
            for b in range(blocks):
                total += self.partial_intercept_grads[b * self.outputs + k]
            if self.double_precision:
                (<double*>self.intercept_grad)[k] = total
            else:
                (<float*>self.intercept_grad)[k] = <float>total

    cdef void finish_columns(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef Batch* batch = &self.batch_now
        cdef Py_ssize_t start = first * self.outputs, end = last * self.outputs
        if self.sparse:
            memset(self.coef_grad + start * self.itemsize, 0, (end - start) * self.itemsize)
            csr_add(
                &self.csr, self.coef_grad, self.partial_grads, batch.rows, batch.n, self.outputs, first, last,
                first == 0 and last == self.columns
            )
        else:
            self.reduce(self.coef_grad, self.partial_grads, batch.blocks, self.padded * self.outputs, start, end - start)
        if batch.numbers != NULL:
            step_piece(
                &self.pieces[0], start, end, batch.numbers, batch.averages, self.double_precision, self.averaged
            )


cdef void do_block(LinearKernel linear, Py_ssize_t block, Py_ssize_t member) noexcept nogil:
    linear.do_block(&linear.scratch[member], block)


cdef void finish_columns(LinearKernel linear, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    cdef Py_ssize_t parts = linear.batch_now.column_parts
    linear.finish_columns(linear.columns * part // parts, linear.columns * (part + 1) // parts)


cdef void score_tile(LinearKernel linear, Py_ssize_t tile, Py_ssize_t member) noexcept nogil:
    linear.score_tile(&linear.scratch[member], tile * linear.tile)
