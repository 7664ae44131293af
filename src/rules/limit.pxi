# Not rules: lower limits of the cost of a rule with n state arrays. Every array is read and, except the gradient, written,
# with one addition each. The benchmark suite measures the rules against these.

cdef inline void limit(
    floating* p, const floating* g, floating** state, Py_ssize_t states, Py_ssize_t n
) noexcept nogil:
    cdef floating* s0 = state[0]
    cdef floating* s1 = state[1]
    cdef floating* s2 = state[2]
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = p[i] + g[i]
        if states > 0:
            s0[i] = s0[i] + g[i]
        if states > 1:
            s1[i] = s1[i] + g[i]
        if states > 2:
            s2[i] = s2[i] + g[i]


cdef void limit_0(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    limit(p, g, state, 0, n)

cdef void limit_1(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    limit(p, g, state, 1, n)

cdef void limit_2(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    limit(p, g, state, 2, n)

cdef void limit_3(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    limit(p, g, state, 3, n)

register("limit_0", <kernel>limit_0[float], <kernel>limit_0[double], states=0, scalars=0)
register("limit_1", <kernel>limit_1[float], <kernel>limit_1[double], states=1, scalars=0)
register("limit_2", <kernel>limit_2[float], <kernel>limit_2[double], states=2, scalars=0)
register("limit_3", <kernel>limit_3[float], <kernel>limit_3[double], states=3, scalars=0)
