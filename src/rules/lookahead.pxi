# Lookahead: slow parameters move towards the fast ones, which are reset to them. State: slow. Reads no gradient.

cdef void lookahead(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* slow = state[0]
    cdef floating alpha = scalars[2]
    cdef floating met
    cdef Py_ssize_t i
    for i in range(n):
        met = flush(approach(slow[i], p[i], alpha))
        slow[i] = met
        p[i] = met

register("lookahead", <kernel>lookahead[float], <kernel>lookahead[double], states=1, scalars=1)
