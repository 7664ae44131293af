"""The loops of the linear models, compiled once per instruction-set level: `LOOPS` has their addresses.

Design: like the rules, pure loops without a check; src/linear/linear.pyx drives them and gdfast/sklearn checks. A tile of rows is
gathered once, standardised and scored on the way (src/linear/score_rows.h), and read again from L1 for the gradient. (Folding the
standardisation into the weights would save the tile, but cancel where a column's mean is large, and every step would have
to fold anew.)
"""
from cython cimport floating
from libc.math cimport INFINITY, fabs, log
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

from linear.linear_loops cimport (
    LANES,
    MAX_TILE,
    adder,
    gatherer,
    loss_function,
    moments_function,
    reducer_of_parts,
    softmax_function,
    summer,
)

cdef extern from "portable.h":
    void gdfast_prefetch_read(const void*) nogil

cdef extern from "linear/linear_rows.h":
    void score_rows_f32 "gdfast_f32_score_rows"() nogil     # see `scorer`
    void score_rows_f64 "gdfast_f64_score_rows"() nogil

cdef extern from "elementary.h":
    double exponential "gdfast_exp_f64"(double) nogil

cdef enum:
    AHEAD = 6                   # rows
    LINE = 64

cdef double LN2 = 0.6931471805599453

# name -> address, or (float32, float64)
LOOPS = {}

include "linear/loops.pxi"
include "linear/losses.pxi"
