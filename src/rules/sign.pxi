# Steps of the same size in every coordinate: only the sign of the gradient, or of an average, is used. State: exp_avg.

cdef void sign_sgd(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = move(p[i], lr, sign(g[i]), decay, l1)

register("sign_sgd", <kernel>sign_sgd[float], <kernel>sign_sgd[double], states=0, scalars=1)


cdef void signum(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2], beta = scalars[3], rest = scalars[4]
    cdef floating m
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta * exp_avg[i] + rest * g[i])
        exp_avg[i] = m
        p[i] = move(p[i], lr, sign(m), decay, l1)

register("signum", <kernel>signum[float], <kernel>signum[double], states=1, scalars=3)


cdef void lion(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating beta1 = scalars[3], rest1 = scalars[4], beta2 = scalars[5], rest2 = scalars[6]
    cdef floating m
    cdef Py_ssize_t i
    for i in range(n):
        m = beta1 * exp_avg[i] + rest1 * g[i]
        exp_avg[i] = flush(beta2 * exp_avg[i] + rest2 * g[i])
        p[i] = move(p[i], lr, sign(m), decay, l1)

register("lion", <kernel>lion[float], <kernel>lion[double], states=1, scalars=5)
