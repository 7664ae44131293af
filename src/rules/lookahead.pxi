# The meeting of fast and slow parameters. State: slow. Sets the parameter itself, and reads no gradient.

cdef void lookahead(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* slow = state[0]
    cdef floating alpha = scalars[2]
    cdef floating met
    cdef Py_ssize_t i
    for i in range(n):
        met = flush(slow[i] + alpha * (p[i] - slow[i]))
        slow[i] = met
        p[i] = met

TABLE["lookahead"] = entry(<kernel>lookahead[float], <kernel>lookahead[double])
