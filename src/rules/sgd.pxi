# Gradient descent with and without momentum. State: momentum_buffer.

cdef void sgd(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = move(p[i], lr, g[i], decay, l1)

TABLE["sgd"] = entry(<kernel>sgd[float], <kernel>sgd[double])


cdef void momentum(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* momentum_buffer = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2], mu = scalars[3], damp = scalars[4]
    cdef floating b
    cdef Py_ssize_t i
    for i in range(n):
        b = flush(mu * momentum_buffer[i] + damp * g[i])
        momentum_buffer[i] = b
        p[i] = move(p[i], lr, b, decay, l1)

TABLE["momentum"] = entry(<kernel>momentum[float], <kernel>momentum[double])


cdef void nesterov(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* momentum_buffer = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2], mu = scalars[3], damp = scalars[4]
    cdef floating b
    cdef Py_ssize_t i
    for i in range(n):
        b = flush(mu * momentum_buffer[i] + damp * g[i])
        momentum_buffer[i] = b
        p[i] = move(p[i], lr, g[i] + mu * b, decay, l1)

TABLE["nesterov"] = entry(<kernel>nesterov[float], <kernel>nesterov[double])
