# The element functions that every rule is made of, and the pass that prepares the gradient.
#
# Design: comparisons are written so that a NaN is passed on; a NaN is never hidden. Every condition is one that the
# compiler turns into a select instead of a branch, so the loops vectorise.
from cython cimport floating
from libc.float cimport DBL_MAX, DBL_MIN, FLT_MIN
from libc.math cimport fabs, fabsf, sqrt, sqrtf
from libc.stdint cimport uintptr_t

from gdfast.engine.loop import Loop

from rules.kernel cimport MAX_SCALARS, MAX_STATES, NORM_LANES, adder, fold, kernel, reducer, vector_reducer

# rule name -> its `Loop`: addresses, and the numbers of its arguments. Filled by the `register` line below each rule.
TABLE = {}
# The same for the loops that layer-wise rules measure with before the step.
MEASURE = {}

cdef object entry(kernel float32, kernel float64):
    return <uintptr_t>float32, <uintptr_t>float64


cdef object loop_of(str rule, kernel float32, kernel float64, int states, int scalars, int extras):
    if states + 1 > MAX_STATES or 2 + scalars > MAX_SCALARS:    # with the average; with decay and l1
        raise ImportError(f"the loop of {rule} has too many states or scalars: see MAX_STATES, MAX_SCALARS")
    return Loop(<uintptr_t>float32, <uintptr_t>float64, rule, states, scalars, extras)


cdef register(str rule, kernel float32, kernel float64, int states, int scalars, int extras=0):
    """Add a rule's loop to the table, with its numbers of states, of scalars (after decay and l1) and of further arrays."""
    TABLE[rule] = loop_of(rule, float32, float64, states, scalars, extras)


cdef register_measure(str rule, kernel float32, kernel float64, int states, int scalars, int extras=0):
    """The same for a measuring loop, which is given all of the rule's scalars, even those that it does not read."""
    MEASURE[rule] = loop_of(rule, float32, float64, states, scalars, extras)


cdef inline floating root(floating x) noexcept nogil:
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline floating size(floating x) noexcept nogil:
    return fabsf(x) if floating is float else fabs(x)


cdef inline floating flush(floating x) noexcept nogil:
    """Flush subnormal numbers to zero, for values that are stored in a state array."""
    if floating is float:
        return 0 if fabsf(x) < FLT_MIN else x
    else:
        return 0 if fabs(x) < DBL_MIN else x


cdef inline floating clip(floating x, floating bound) noexcept nogil:
    """min(max(x, -bound), bound); NaN stays NaN."""
    return bound if x > bound else (-bound if x < -bound else x)


cdef inline floating larger(floating a, floating b) noexcept nogil:
    """The larger of the two; NaN if either is NaN. (Two selects: an `or` would be a branch, and not vectorise.)"""
    cdef floating most = a if a >= b else b
    return a if a != a else most


cdef inline floating sign(floating x) noexcept nogil:
    """1, -1, or x itself if it is zero or NaN."""
    cdef floating above = 1 if x > 0 else x
    return -1 if x < 0 else above


cdef inline floating approach(floating old, floating new, floating share) noexcept nogil:
    """Linear interpolation from old to new; exactly `new` if share is 1."""
    cdef floating gone = old + share * (new - old)
    gone = old if old == new else gone          # both may be infinite
    return gone if share != 1 else new


cdef inline floating move(
    floating param, floating rate, floating direction, floating decay, floating l1
) noexcept nogil:
    """Update a parameter: decoupled decay, the step, and the proximal step of the l1 penalty."""
    cdef floating shrink = decay * param if param - param == 0 else 0   # an infinite parameter stays infinite
    cdef floating step = rate * direction
    cdef floating moved = param - (shrink + step if decay != 0 else step)
    # Subtracting the clipped value is soft thresholding; a value within the threshold minus itself is exactly +0.
    return moved - clip(moved, rate * l1) if l1 != 0 else moved


cdef void prepare(
    floating* prepared, const floating* grad, floating** param, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    """Write the prepared gradient (scaled, clipped, with the coupled decay added) to a tile of scratch memory."""
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
    """Write the sum of the earlier micro-batches plus the gradient of the last one to a tile of scratch memory."""
    cdef const floating* before = accumulated[0]
    cdef Py_ssize_t i
    for i in range(n):
        total[i] = before[i] + grad[i]

ADD = entry(<kernel>add[float], <kernel>add[double])
