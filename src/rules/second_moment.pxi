# Adam with another second moment. State: exp_avg, exp_avg_sq (of AdaBelief: exp_avg_var).

cdef void yogi(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], rest2 = scalars[4]
    cdef floating step = scalars[5], eps = scalars[6], eps_root = scalars[7]
    cdef floating m, v, square
    cdef Py_ssize_t i
    for i in range(n):
        square = g[i] * g[i]
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(exp_avg_sq[i] - rest2 * (sign(exp_avg_sq[i] - square) * square))
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = move(p[i], step / (root(v + eps_root) + eps), m, decay, l1)

register("yogi", <kernel>yogi[float], <kernel>yogi[double], states=2, scalars=6)


cdef void adabelief(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_var = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7], eps_root = scalars[8]
    cdef floating m, s, surprise
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        surprise = g[i] - m
        s = flush(beta2 * exp_avg_var[i] + rest2 * (surprise * surprise) + eps_root)
        exp_avg[i] = m
        exp_avg_var[i] = s
        p[i] = move(p[i], step / (root(s) + eps), m, decay, l1)

register("adabelief", <kernel>adabelief[float], <kernel>adabelief[double], states=2, scalars=7)


cdef void adopt(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating beta1 = scalars[3], rest1 = scalars[4], beta2 = scalars[5], rest2 = scalars[6]
    cdef floating eps = scalars[7], bound = scalars[8]
    cdef floating m
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * clip(g[i] / larger(root(exp_avg_sq[i]), eps), bound))
        exp_avg[i] = m
        exp_avg_sq[i] = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        p[i] = move(p[i], lr, m, decay, l1)

register("adopt", <kernel>adopt[float], <kernel>adopt[double], states=2, scalars=7)
