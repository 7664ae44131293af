# Not a rule: the average of the parameters, kept in the pass that steps them.

cdef void average(
    floating* mean, const floating* p, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating decay = scalars[0], rest = scalars[1]
    cdef Py_ssize_t i
    for i in range(n):
        mean[i] = flush(decay * mean[i] + rest * p[i])

AVERAGE = entry(<kernel>average[float], <kernel>average[double])
