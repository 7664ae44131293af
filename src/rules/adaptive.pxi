# Rules with a rate per coordinate, from the size of its gradients. State: sum; square_avg, grad_avg,
# momentum_buffer, acc_delta; prev, step_size.

cdef void adagrad(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* sum_sq = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], clr = scalars[2], eps = scalars[3]
    cdef floating s
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(sum_sq[i] + g[i] * g[i])
        sum_sq[i] = s
        p[i] = move(p[i], clr / (root(s) + eps), g[i], decay, l1)

register("adagrad", <kernel>adagrad[float], <kernel>adagrad[double], states=1, scalars=2)


# The root of the centred second moment; cancellation can leave it a little below zero.
cdef inline floating spread(floating s, floating a) noexcept nogil:
    cdef floating variance = s - a * a
    return root(0 if variance < 0 else variance)


cdef void rmsprop(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* square_avg = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating alpha = scalars[3], rest = scalars[4], eps = scalars[5]
    cdef floating s
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(alpha * square_avg[i] + rest * (g[i] * g[i]))
        square_avg[i] = s
        p[i] = move(p[i], lr / (root(s) + eps), g[i], decay, l1)

# All four forms take the same scalars (mu is not read here), so that one class can serve them.
register("rmsprop", <kernel>rmsprop[float], <kernel>rmsprop[double], states=1, scalars=5)


cdef void rmsprop_centered(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* square_avg = state[0]
    cdef floating* grad_avg = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating alpha = scalars[3], rest = scalars[4], eps = scalars[5]
    cdef floating s, a
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(alpha * square_avg[i] + rest * (g[i] * g[i]))
        a = flush(grad_avg[i] + rest * (g[i] - grad_avg[i]))
        square_avg[i] = s
        grad_avg[i] = a
        p[i] = move(p[i], lr / (spread(s, a) + eps), g[i], decay, l1)

register("rmsprop_centered", <kernel>rmsprop_centered[float], <kernel>rmsprop_centered[double], states=2, scalars=5)


cdef void rmsprop_momentum(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* square_avg = state[0]
    cdef floating* momentum_buffer = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating alpha = scalars[3], rest = scalars[4], eps = scalars[5], mu = scalars[6]
    cdef floating s, b
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(alpha * square_avg[i] + rest * (g[i] * g[i]))
        b = flush(mu * momentum_buffer[i] + g[i] / (root(s) + eps))
        square_avg[i] = s
        momentum_buffer[i] = b
        p[i] = move(p[i], lr, b, decay, l1)

register("rmsprop_momentum", <kernel>rmsprop_momentum[float], <kernel>rmsprop_momentum[double], states=2, scalars=5)


cdef void rmsprop_centered_momentum(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* square_avg = state[0]
    cdef floating* grad_avg = state[1]
    cdef floating* momentum_buffer = state[2]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating alpha = scalars[3], rest = scalars[4], eps = scalars[5], mu = scalars[6]
    cdef floating s, a, b
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(alpha * square_avg[i] + rest * (g[i] * g[i]))
        a = flush(grad_avg[i] + rest * (g[i] - grad_avg[i]))
        b = flush(mu * momentum_buffer[i] + g[i] / (spread(s, a) + eps))
        square_avg[i] = s
        grad_avg[i] = a
        momentum_buffer[i] = b
        p[i] = move(p[i], lr, b, decay, l1)

register(
    "rmsprop_centered_momentum", <kernel>rmsprop_centered_momentum[float], <kernel>rmsprop_centered_momentum[double],
    states=3, scalars=5
)


cdef void adadelta(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* square_avg = state[0]
    cdef floating* acc_delta = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating rho = scalars[3], rest = scalars[4], eps = scalars[5]
    cdef floating s, ratio, delta
    cdef Py_ssize_t i
    for i in range(n):
        s = flush(rho * square_avg[i] + rest * (g[i] * g[i]))
        ratio = root((acc_delta[i] + eps) / (s + eps))
        delta = ratio * g[i]
        square_avg[i] = s
        acc_delta[i] = flush(rho * acc_delta[i] + rest * (delta * delta))
        p[i] = move(p[i], lr * ratio, g[i], decay, l1)

register("adadelta", <kernel>adadelta[float], <kernel>adadelta[double], states=2, scalars=4)


# `agree` is positive if the gradient kept its sign. The comparisons pass a NaN on to the states.
cdef void rprop(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* prev = state[0]
    cdef floating* step_size = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], minus = scalars[2], plus = scalars[3]
    cdef floating least = scalars[4], most = scalars[5]
    cdef floating agree, s, kept
    cdef Py_ssize_t i
    for i in range(n):
        agree = g[i] * prev[i]
        s = plus if agree > 0 else 1 + agree
        s = step_size[i] * (minus if agree < 0 else s)
        s = least if s < least else s
        s = flush(most if s > most else s)
        kept = 0 if agree < 0 else g[i]
        kept = kept if agree == agree else agree
        prev[i] = flush(kept)
        step_size[i] = s
        p[i] = move(p[i], s, sign(kept), decay, l1)

register("rprop", <kernel>rprop[float], <kernel>rprop[double], states=2, scalars=4)
