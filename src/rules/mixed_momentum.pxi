# Adam with another direction: the first moment mixed with the gradient (QHAdam), with a slower average (AdEMAMix), or
# with an average of the gradient's differences (Adan). State: exp_avg (fast and slow, of AdEMAMix), exp_avg_sq,
# exp_avg_diff, previous_grad.

cdef void qhadam(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating beta1 = scalars[3], rest1 = scalars[4], beta2 = scalars[5], rest2 = scalars[6]
    cdef floating old1 = scalars[7], new1 = scalars[8], old2 = scalars[9], new2 = scalars[10], eps = scalars[11]
    cdef floating m, v, square
    cdef Py_ssize_t i
    for i in range(n):
        square = g[i] * g[i]
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * square)
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = move(p[i], lr / (root(old2 * v + new2 * square) + eps), old1 * m + new1 * g[i], decay, l1)

register("qhadam", <kernel>qhadam[float], <kernel>qhadam[double], states=2, scalars=10)


cdef void ademamix(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg_fast = state[0]
    cdef floating* exp_avg_slow = state[1]
    cdef floating* exp_avg_sq = state[2]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating beta3 = scalars[6], rest3 = scalars[7], share = scalars[8]
    cdef floating step = scalars[9], eps = scalars[10], eps_root = scalars[11]
    cdef floating fast, slow, v
    cdef Py_ssize_t i
    for i in range(n):
        fast = flush(beta1 * exp_avg_fast[i] + rest1 * g[i])
        slow = flush(beta3 * exp_avg_slow[i] + rest3 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        exp_avg_fast[i] = fast
        exp_avg_slow[i] = slow
        exp_avg_sq[i] = v
        p[i] = move(p[i], step / (root(v + eps_root) + eps), fast + share * slow, decay, l1)

register("ademamix", <kernel>ademamix[float], <kernel>ademamix[double], states=3, scalars=10)


cdef void adan(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_diff = state[1]
    cdef floating* exp_avg_sq = state[2]
    cdef floating* previous_grad = state[3]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating beta3 = scalars[6], rest3 = scalars[7], share = scalars[8]
    cdef floating step = scalars[9], eps = scalars[10], eps_root = scalars[11], first = scalars[12]
    cdef floating m, d, v, change, ahead
    cdef Py_ssize_t i
    for i in range(n):
        change = g[i] - (g[i] if first != 0 else previous_grad[i])
        ahead = g[i] + beta2 * change
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        d = flush(beta2 * exp_avg_diff[i] + rest2 * change)
        v = flush(beta3 * exp_avg_sq[i] + rest3 * (ahead * ahead))
        exp_avg[i] = m
        exp_avg_diff[i] = d
        exp_avg_sq[i] = v
        previous_grad[i] = flush(g[i])
        p[i] = move(p[i], step / (root(v + eps_root) + eps), m + share * d, decay, l1)

register("adan", <kernel>adan[float], <kernel>adan[double], states=4, scalars=11)
