# What every rule is made of: the few element functions, and the pass that prepares the gradient.
#
# Design: comparisons are written so that NaN falls through to the value itself; a NaN is never hidden. Everything is a
# branch that the compiler turns into a select, so the loops vectorise.
from cython cimport floating
from libc.float cimport DBL_MAX, DBL_MIN, FLT_MIN
from libc.math cimport fabs, fabsf, sqrt, sqrtf
from libc.stdint cimport uintptr_t

from gdfast.engine.loop import Loop

from rules.kernel cimport MAX_SCALARS, MAX_STATES, NORM_LANES, adder, fold, kernel, reducer, vector_reducer

# rule name -> its `Loop`: addresses, and how much it takes. Filled by one line below each rule.
TABLE = {}
# The same for loops that only measure what a rule is going to do.
MEASURE = {}

cdef object entry(kernel float32, kernel float64):
    return <uintptr_t>float32, <uintptr_t>float64


cdef object loop_of(str rule, kernel float32, kernel float64, int states, int scalars, int extras):
    if states + 1 > MAX_STATES or 2 + scalars > MAX_SCALARS:    # with the average; with decay and l1
        raise ImportError(f"the loop of {rule} takes more than there is room for: see MAX_STATES, MAX_SCALARS")
    return Loop(<uintptr_t>float32, <uintptr_t>float64, rule, states, scalars, extras)


cdef register(str rule, kernel float32, kernel float64, int states, int scalars, int extras=0):
    """Put a rule's loop into the table. It reads just so many states, scalars behind decay and l1, and lent arrays."""
    TABLE[rule] = loop_of(rule, float32, float64, states, scalars, extras)


cdef register_measure(str rule, kernel float32, kernel float64, int states, int scalars, int extras=0):
    """The same for a loop that measures; the scalars are the rule's own, read or not."""
    MEASURE[rule] = loop_of(rule, float32, float64, states, scalars, extras)


cdef inline floating root(floating x) noexcept nogil:
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline floating size(floating x) noexcept nogil:
    return fabsf(x) if floating is float else fabs(x)


cdef inline floating flush(floating x) noexcept nogil:
    """What is stored in a state array: zero in the place of a subnormal number."""
    if floating is float:
        return 0 if fabsf(x) < FLT_MIN else x
    else:
        return 0 if fabs(x) < DBL_MIN else x


cdef inline floating clip(floating x, floating bound) noexcept nogil:
    """min(max(x, -bound), bound); NaN stays NaN."""
    return bound if x > bound else (-bound if x < -bound else x)


cdef inline floating larger(floating a, floating b) noexcept nogil:
    """The larger of the two; NaN if either is. (Two selects: an `or` would be a branch, and not vectorise.)"""
    cdef floating most = a if a >= b else b
    return a if a != a else most


cdef inline floating sign(floating x) noexcept nogil:
    """1, -1, or x itself where it is neither above nor below zero; NaN stays NaN."""
    cdef floating above = 1 if x > 0 else x
    return -1 if x < 0 else above


cdef inline floating approach(floating old, floating new, floating share) noexcept nogil:
    """An average, or old parameters, that go a share of the way to new ones; the new ones to the bit where that is 1."""
    cdef floating gone = old + share * (new - old)
    gone = old if old == new else gone          # both may be infinite
    return gone if share != 1 else new


cdef inline floating move(
    floating param, floating rate, floating direction, floating decay, floating l1
) noexcept nogil:
    """The parameter's own update: decoupled decay, the step, and the proximal step of the l1 penalty."""
    cdef floating shrink = decay * param if param - param == 0 else 0   # what is infinite stays so
    cdef floating step = rate * direction
    cdef floating moved = param - (shrink + step if decay != 0 else step)
    # Subtracting the clipped value is soft thresholding: a value within the threshold meets itself and leaves +0.
    return moved - clip(moved, rate * l1) if l1 != 0 else moved


cdef void prepare(
    floating* prepared, const floating* grad, floating** param, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    """Write the gradient that the rule is to see into a tile of scratch: scaled, clipped, with the coupled decay."""
    cdef floating grad_scale = scalars[0], clip_value = scalars[1], l2 = scalars[2]
    cdef const floating* p = param[0]
    cdef bint clips = clip_value <= DBL_MAX
    cdef floating g
    cdef Py_ssize_t i
    for i in range(n):
        g = grad_scale * grad[i]
        if clips:
            g = clip(g, clip_value)
        prepared[i] = g + l2 * p[i] if l2 != 0 else g

PREPARE = entry(<kernel>prepare[float], <kernel>prepare[double])


cdef void add(
    floating* total, const floating* grad, floating** accumulated, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    """Write the gradient of the last micro-batch plus the sum of those before into a tile of scratch."""
    cdef const floating* before = accumulated[0]
    cdef Py_ssize_t i
    for i in range(n):
        total[i] = before[i] + grad[i]

ADD = entry(<kernel>add[float], <kernel>add[double])
