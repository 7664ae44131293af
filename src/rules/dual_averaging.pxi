# Rules that recompute the parameters in each step from sums over all gradients: MADGRAD, FTRL. State: grad_sum_sq, s,
# x0; sum, z.
#
# Design: these loops write the parameter themselves instead of calling `move`; decay is 0, and they apply l1 in their
# own way. The cube root is made of multiplications and additions alone, because the C library's is not correctly
# rounded, differs between libraries, and does not vectorise.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline floating inverse_cube_root_guess(floating x) noexcept nogil:
    """Within 3.5 % of x**(-1/3), for x of at least 0: a third of the bits, by shifts, from a constant."""
    cdef floating guess
    cdef uint32_t bits32
    cdef uint64_t bits64
    if floating is float:
        memcpy(&bits32, &x, sizeof(x))
        bits32 = (bits32 >> 2) + (bits32 >> 4)
        bits32 = bits32 + (bits32 >> 4)
        bits32 = bits32 + (bits32 >> 8)
        bits32 = <uint32_t>0x54A232A8 - (bits32 + (bits32 >> 16))
        memcpy(&guess, &bits32, sizeof(x))
    else:
        memcpy(&bits64, &x, sizeof(x))
        bits64 = (bits64 >> 2) + (bits64 >> 4)
        bits64 = bits64 + (bits64 >> 4)
        bits64 = bits64 + (bits64 >> 8)
        bits64 = <uint64_t>0x553EF10000000000 - (bits64 + (bits64 >> 16))
        memcpy(&guess, &bits64, sizeof(x))
    return guess


cdef inline floating cube_root(floating x) noexcept nogil:
    """The cube root of x, of at least 0 and not subnormal, within a relative 2 epsilon; NaN stays NaN."""
    cdef floating one = 1, third = <floating>(1.0 / 3.0)   # a literal 1 would promote the expression to double
    cdef floating y = inverse_cube_root_guess(x)
    y = y + (third * y) * (one - ((x * y) * y) * y)
    y = y + (third * y) * (one - ((x * y) * y) * y)
    y = y + (third * y) * (one - ((x * y) * y) * y)
    if floating is double:
        y = y + (third * y) * (one - ((x * y) * y) * y)
    y = (x * y) * y
    return x if x + x == x else y               # zero and infinity


cdef void madgrad(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* grad_sum_sq = state[0]
    cdef floating* grad_sum = state[1]
    cdef const floating* x0 = state[2]
    cdef floating weight = scalars[2], eps = scalars[3], old = scalars[4], new = scalars[5], penalty = scalars[6]
    cdef floating q, s, rms, moved, z
    cdef Py_ssize_t i
    for i in range(n):
        q = flush(grad_sum_sq[i] + weight * (g[i] * g[i]))
        s = flush(grad_sum[i] + weight * g[i])
        grad_sum_sq[i] = q
        grad_sum[i] = s
        rms = cube_root(q) + eps
        moved = s / rms
        moved = rms if rms == 0 else moved      # all gradients were 0 so far, and eps is 0
        z = x0[i] - moved
        if penalty != 0:
            z = z - clip(z, penalty / rms)
        p[i] = old * p[i] + new * z

register("madgrad", <kernel>madgrad[float], <kernel>madgrad[double], states=3, scalars=5)


cdef void ftrl(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* sum_sq = state[0]
    cdef floating* linear = state[1]
    cdef floating l1 = scalars[1], slope = scalars[2], slope_before = scalars[3], drift = scalars[4], least = scalars[5]
    cdef floating s, z, before, after, curvature, moved
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(sum_sq[i] + g[i] * g[i])
        before = slope_before * root(sum_sq[i])
        after = slope * root(s)
        z = flush(linear[i] + g[i] - (after - before + drift) * p[i])
        sum_sq[i] = s
        linear[i] = z
        curvature = after + least
        moved = (clip(z, l1) - z) / curvature
        p[i] = p[i] if curvature == 0 else moved

register("ftrl", <kernel>ftrl[float], <kernel>ftrl[double], states=2, scalars=4)
