# Averages instead of schedules: the parameters hold y, which lies between z (the iterate that is stepped) and x (its
# average). State:
# exp_avg_sq, z.
#
# Design: x is not kept, because y and z determine it; y is updated with the rounded step of z, so that x remains the
# average of the actual z. Like the rules in dual_averaging.pxi, these write the parameter themselves.

cdef inline floating follow(floating y, floating z, floating z_new, floating share, floating gain) noexcept nogil:
    return y + share * (z - y) - gain * (z - z_new)


cdef void schedule_free_sgd(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* z = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2], share = scalars[3], gain = scalars[4]
    cdef floating z_new
    cdef Py_ssize_t i
    for i in range(n):
        z_new = flush(move(z[i], lr, g[i], decay, l1))
        p[i] = follow(p[i], z[i], z_new, share, gain)
        z[i] = z_new

register("schedule_free_sgd", <kernel>schedule_free_sgd[float], <kernel>schedule_free_sgd[double], states=1, scalars=3)


cdef void schedule_free_adamw(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* exp_avg_sq = state[0]
    cdef floating* z = state[1]
    cdef floating l1 = scalars[1], beta2 = scalars[2], rest2 = scalars[3], step = scalars[4], eps = scalars[5]
    cdef floating shrink = scalars[6], share = scalars[7], gain = scalars[8]
    cdef floating v, rate, z_new
    cdef Py_ssize_t i
    for i in range(n):
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        exp_avg_sq[i] = v
        rate = step / (root(v) + eps)
        z_new = z[i] - (rate * g[i] + shrink * p[i])
        if l1 != 0:
            z_new = z_new - clip(z_new, rate * l1)
        z_new = flush(z_new)
        p[i] = follow(p[i], z[i], z_new, share, gain)
        z[i] = z_new

register(
    "schedule_free_adamw", <kernel>schedule_free_adamw[float], <kernel>schedule_free_adamw[double],
    states=2, scalars=7
)
