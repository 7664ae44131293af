# Adam and AMSGrad; AdamW is the same loop with the decay in `move`. State: exp_avg, exp_avg_sq, max_exp_avg_sq.

cdef void adam(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7], eps_root = scalars[8]
    cdef floating m, v
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = move(p[i], step / (root(v + eps_root) + eps), m, decay, l1)

register("adam", <kernel>adam[float], <kernel>adam[double], states=2, scalars=7)


cdef void amsgrad(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating* max_exp_avg_sq = state[2]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7], eps_root = scalars[8]
    cdef floating m, v, w
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        w = flush(larger(max_exp_avg_sq[i], v))
        exp_avg[i] = m
        exp_avg_sq[i] = v
        max_exp_avg_sq[i] = w
        p[i] = move(p[i], step / (root(w + eps_root) + eps), m, decay, l1)

register("amsgrad", <kernel>amsgrad[float], <kernel>amsgrad[double], states=3, scalars=7)
