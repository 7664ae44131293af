# Gradient descent with and without momentum, or averaged. State: momentum_buffer; ax.

cdef void sgd(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = move(p[i], lr, g[i], decay, l1)

# All three forms take the same scalars (mu and damp are not read here), so that one class can serve them.
register("sgd", <kernel>sgd[float], <kernel>sgd[double], states=0, scalars=3)


cdef void momentum(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* momentum_buffer = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2], mu = scalars[3], damp = scalars[4]
    cdef floating b
    cdef Py_ssize_t i
    for i in range(n):
        b = flush(mu * momentum_buffer[i] + damp * g[i])
        momentum_buffer[i] = b
        p[i] = move(p[i], lr, b, decay, l1)

register("momentum", <kernel>momentum[float], <kernel>momentum[double], states=1, scalars=3)


cdef void nesterov(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* momentum_buffer = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2], mu = scalars[3], damp = scalars[4]
    cdef floating b
    cdef Py_ssize_t i
    for i in range(n):
        b = flush(mu * momentum_buffer[i] + damp * g[i])
        momentum_buffer[i] = b
        p[i] = move(p[i], lr, damp * g[i] + mu * b, decay, l1)

register("nesterov", <kernel>nesterov[float], <kernel>nesterov[double], states=1, scalars=3)


cdef void asgd(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* ax = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], eta = scalars[2], mu = scalars[3]
    cdef floating moved
    cdef Py_ssize_t i
    for i in range(n):
        moved = move(p[i], eta, g[i], decay, l1)
        ax[i] = flush(approach(ax[i], moved, mu))
        p[i] = moved

register("asgd", <kernel>asgd[float], <kernel>asgd[double], states=1, scalars=2)
