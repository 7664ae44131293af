"""The epochs of linear models: scores, losses, gradients and steps of all mini-batches, without the GIL.

Design: a mini-batch is cut into blocks of rows, whatever the number of threads; each block has a partial gradient of its
own, and these are added in the order of the blocks. So the threads decide who does a block, never what is added to what.
A block goes tile by tile: gathered and standardised, scored, and added to the block's gradient while it is in cache
(src/linear/linear_loops.pyx). A mini-batch is shared among the threads twice: its blocks, then its columns. The step
calls the rules' own loops, on numbers that were computed ahead for the whole epoch. With several outputs the two products
are BLAS's, one call a tile, from scipy's pointers found at run time: the build needs no scipy. In CSR the scores are as
above, and the gradient is shared by columns. Everything about the arrays was checked before, by gdfast.sklearn.
"""
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from cython cimport floating
from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import numpy as np

cimport numpy as cnp
from numpy.random cimport bitgen_t

from gdfast.engine._team cimport share, task
from rules.kernel cimport MAX_SCALARS, MAX_STATES, StepLoops, kernel, step_tile
from linear.linear_loops cimport (
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
include "linear/touched.pxi"


cdef double penalty_of(const floating* coef, Py_ssize_t size, double l2, double l1) noexcept nogil:
    """The penalty of these coefficients; its sums go lane by lane, as all sums here (src/linear/linear_loops.pyx)."""
    cdef double[LANES] squares
    cdef double[LANES] magnitudes
    cdef double c
    cdef Py_ssize_t i, k, whole = size // LANES * LANES, half = LANES // 2
    memset(squares, 0, sizeof(squares))
    memset(magnitudes, 0, sizeof(magnitudes))
    for i in range(size // LANES):
        for k in range(LANES):
            c = coef[i * LANES + k]
            squares[k] = squares[k] + c * c
            magnitudes[k] = magnitudes[k] + fabs(c)
    for i in range(whole, size):
        c = coef[i]
        squares[i - whole] = squares[i - whole] + c * c
        magnitudes[i - whole] = magnitudes[i - whole] + fabs(c)
    while half > 0:
        for k in range(half):
            squares[k] = squares[k] + squares[k + half]
            magnitudes[k] = magnitudes[k] + magnitudes[k + half]
        half //= 2
    return 0.5 * l2 * squares[0] + l1 * magnitudes[0]


cdef struct Batch:              # what is shared among threads: a mini-batch, or rows to be scored
    const Py_ssize_t* rows
    Py_ssize_t n, blocks, column_parts
    const double* numbers       # or NULL: no step
    const double* averages
    double* scores


include "linear/data.pxi"


cdef class LinearKernel(TrainingData):
    """The training of a linear model over bound data; the parameters are those of `TrainingData`."""

    def run(
        self, const Py_ssize_t[::1] order, const double[:, :, ::1] numbers, const double[::1] averages,
        Py_ssize_t threads, bint lazy=False
    ):
        """Run an epoch over the rows in this order; return the sum of their losses, each before its batch's step.

        numbers : of shape (steps, pieces, WIDTH), for each step and piece: scale, bound, l2, decay, l1, the rule's own.
        averages : of shape (steps,): the weight of the new parameters in their average.
        lazy : of CSR, step only the columns of each mini-batch; the rule must leave the others as they are.
        """
        cdef double loss
        self.make_scratch(self.helpful(min(self.batch, order.shape[0]), threads))
        self.lazy = lazy and self.sparse and not self.averaged and self.piece_count > 0
        kept = self.make_touched(order) if self.lazy else None
        with nogil:
            loss = self.run_epoch(&order[0], order.shape[0], numbers, averages, threads)
        return loss

    def run_epochs(
        self, const Py_ssize_t[:, ::1] orders, const double[:, :, ::1] numbers, const double[::1] averages,
        double l2, double l1, double[::1] losses, Py_ssize_t threads
    ):
        """Run an epoch for each row of `orders`; write its mean loss, plus the penalty after it, into `losses`.

        numbers, averages : as for `run`, for all steps of all epochs.
        """
        cdef Py_ssize_t epoch, total = orders.shape[1], steps = (total + self.batch - 1) // self.batch
        self.make_scratch(self.helpful(min(self.batch, total), threads))
        self.lazy = False
        with nogil:
            for epoch in range(orders.shape[0]):
                losses[epoch] = self.run_epoch(
                    &orders[epoch, 0], total, numbers[epoch * steps :], averages[epoch * steps :], threads
                ) / total + self.penalty_now(l2, l1)

    cdef double run_epoch(
        self, const Py_ssize_t* order, Py_ssize_t total, const double[:, :, ::1] numbers, const double[::1] averages,
        Py_ssize_t threads
    ) noexcept nogil:
        cdef Py_ssize_t step
        cdef double loss = 0
        for step in range((total + self.batch - 1) // self.batch):
            loss += self.run_batch(
                order + step * self.batch, min(self.batch, total - step * self.batch), &numbers[step, 0, 0],
                &averages[step], threads
            )
        return loss

    def penalty(self, double l2, double l1):
        """Return ``l2/2`` times the sum of the squared coefficients, and `l1` times that of their absolute values."""
        return self.penalty_now(l2, l1)

    cdef double penalty_now(self, double l2, double l1) noexcept nogil:
        if self.double_precision:
            return penalty_of(<const double*>self.coef, self.columns * self.outputs, l2, l1)
        return penalty_of(<const float*>self.coef, self.columns * self.outputs, l2, l1)

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
        if numbers != NULL and self.lazy:
            step_touched(
                &self.touched, &self.csr, &self.pieces[0], self.partial_grads, rows, n, self.outputs, numbers, averages
            )
        else:
            share(<task>finish_columns, <void*>self, batch.column_parts, batch.column_parts, cost)
        return loss

    cdef make_touched(self, const Py_ssize_t[::1] order):
        """Return what keeps the memory for the touched columns of a mini-batch of these rows alive."""
        cdef Touched* t = &self.touched
        cdef Py_ssize_t most, k, size
        if self.csr.wide:
            most = most_stored(<int64_t*>self.csr.pointers, &order[0], order.shape[0], self.batch)
        else:
            most = most_stored(<int32_t*>self.csr.pointers, &order[0], order.shape[0], self.batch)
        stored, most = np.empty(most, np.int32), min(most, self.columns)
        columns, places = np.zeros(self.columns, np.int32), np.empty(most + 1, np.intp)  # one is written beyond the last
        size = most * self.outputs * self.itemsize
        buffers = np.empty((2 + self.pieces[0].states) * size, np.uint8)
        t.numbers, t.stored = <int32_t*>cnp.PyArray_DATA(columns), <int32_t*>cnp.PyArray_DATA(stored)
        t.places, t.param = <Py_ssize_t*>cnp.PyArray_DATA(places), <char*>cnp.PyArray_DATA(buffers)
        t.grad = t.param + size
        for k in range(self.pieces[0].states):
            t.state[k] = t.grad + (k + 1) * size
        return columns, stored, places, buffers

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
