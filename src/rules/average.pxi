# Not a rule: the average of the parameters, updated in the pass that steps them.

cdef void average(
    floating* mean, const floating* p, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating rest = scalars[0]
    cdef Py_ssize_t i
    for i in range(n):
        mean[i] = flush(approach(mean[i], p[i], rest))

AVERAGE = entry(<kernel>average[float], <kernel>average[double])
