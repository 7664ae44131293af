# Adam with another norm (Adamax), another warm-up (RAdam), another momentum (NAdam) or another direction (Grams). State:
# exp_avg; exp_inf or exp_avg_sq.

cdef void adamax(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_inf = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], beta1 = scalars[2], rest1 = scalars[3]
    cdef floating beta2 = scalars[4], clr = scalars[5], eps = scalars[6]
    cdef floating m, u
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        u = flush(larger(beta2 * exp_inf[i], size(g[i]) + eps))
        exp_avg[i] = m
        exp_inf[i] = u
        p[i] = move(p[i], clr / u, m, decay, l1)

register("adamax", <kernel>adamax[float], <kernel>adamax[double], states=2, scalars=5)


# `rectified` is a scalar of the step: until the variance is reliable, every element has the same rate.
cdef void radam(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7], rectified = scalars[8]
    cdef floating m, v, rate
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        rate = step / (root(v) + eps) if rectified != 0 else step
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = move(p[i], rate, m, decay, l1)

register("radam", <kernel>radam[float], <kernel>radam[double], states=2, scalars=7)


cdef void nadam(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7], now = scalars[8], ahead = scalars[9]
    cdef floating m, v
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = move(p[i], step / (root(v) + eps), now * g[i] + ahead * m, decay, l1)

register("nadam", <kernel>nadam[float], <kernel>nadam[double], states=2, scalars=8)


cdef void grams(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7]
    cdef floating m, v
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = move(p[i], step / (root(v) + eps), sign(g[i]) * size(m), decay, l1)

register("grams", <kernel>grams[float], <kernel>grams[double], states=2, scalars=6)
