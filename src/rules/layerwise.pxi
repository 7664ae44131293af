# Layer-wise rules, which have scalars per array, and the preparation of a unit's gradient. State: exp_avg, exp_avg_sq;
# variance; momentum_buffer. (LARS is gradient descent with a rate per array: its loops are in sgd.pxi.)
#
# A measuring loop has the signature of a rule: it writes the quantity to be measured to its first argument, and its
# arrays are the parameter and then the state. It computes the new state without storing it. So a rule and its measure
# are one loop, `<rule>_pass`, which either steps or writes to `measured`; compiled once for each.

cdef inline void lamb_pass(
    floating* p, const floating* g, floating** state, const floating* scalars, floating* measured, Py_ssize_t n
) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating* exp_avg_sq = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3], beta2 = scalars[4], rest2 = scalars[5]
    cdef floating step = scalars[6], eps = scalars[7], l2 = scalars[8], rate = scalars[9]
    cdef floating m, v, direction
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + rest1 * g[i])
        v = flush(beta2 * exp_avg_sq[i] + rest2 * (g[i] * g[i]))
        direction = step / (root(v) + eps) * m + l2 * p[i]
        if measured != NULL:
            measured[i] = direction
        else:
            exp_avg[i] = m
            exp_avg_sq[i] = v
            p[i] = move(p[i], rate, direction, decay, l1)


cdef void lamb(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    lamb_pass(p, g, state, scalars, NULL, n)


cdef void lamb_measure(
    floating* out, const floating* g, floating** arrays, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    lamb_pass(arrays[0], g, &arrays[1], scalars, out, n)

register("lamb", <kernel>lamb[float], <kernel>lamb[double], states=2, scalars=8)
register_measure("lamb", <kernel>lamb_measure[float], <kernel>lamb_measure[double], states=2, scalars=8)


cdef inline floating agrees(floating g, floating m) noexcept nogil:
    return 1 if sign(g) * m > 0 else 0      # not g*m, which can vanish


cdef void cautious_adamw_measure(
    floating* out, const floating* g, floating** arrays, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* exp_avg = arrays[1]
    cdef floating beta1 = scalars[2], rest1 = scalars[3]
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = agrees(g[i], flush(beta1 * exp_avg[i] + rest1 * g[i]))

register_measure(
    "cautious_adamw", <kernel>cautious_adamw_measure[float], <kernel>cautious_adamw_measure[double],
    states=2, scalars=6
)


# What disagrees is multiplied by 0, not left out: so a NaN stays one.
cdef void cautious_adamw(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
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
        p[i] = move(p[i], step / (root(v) + eps), m * agrees(g[i], m), decay, l1)

register("cautious_adamw", <kernel>cautious_adamw[float], <kernel>cautious_adamw[double], states=2, scalars=6)


cdef void novograd(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* exp_avg = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], lr = scalars[2]
    cdef floating beta1 = scalars[3], share = scalars[4], l2 = scalars[5]
    cdef floating m
    cdef Py_ssize_t i
    for i in range(n):
        m = flush(beta1 * exp_avg[i] + (share * g[i] + l2 * p[i]))
        exp_avg[i] = m
        p[i] = move(p[i], lr, m, decay, l1)

register("novograd", <kernel>novograd[float], <kernel>novograd[double], states=1, scalars=4)


cdef inline floating floored_root(floating v, floating floor) noexcept nogil:
    return root(larger(v, floor))


# Adafactor's loops over a part of one row of a matrix: one factor for the row, one for each column.

cdef inline void adafactor_pass(
    floating* p, const floating* g, floating** state, const floating* scalars, floating* measured, Py_ssize_t n
) noexcept nogil:
    cdef floating* columns = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], rate = scalars[2], floor = scalars[3]
    cdef floating row = state[0][0]
    cdef Py_ssize_t i
    for i in range(n):
        if measured != NULL:
            measured[i] = g[i] / floored_root(row * columns[i], floor)
        else:
            p[i] = move(p[i], rate / floored_root(row * columns[i], floor), g[i], decay, l1)


cdef void adafactor(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    adafactor_pass(p, g, state, scalars, NULL, n)


cdef void adafactor_measure(
    floating* out, const floating* g, floating** arrays, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    adafactor_pass(arrays[0], g, &arrays[1], scalars, out, n)

register("adafactor", <kernel>adafactor[float], <kernel>adafactor[double], states=0, scalars=2, extras=2)
register_measure(
    "adafactor", <kernel>adafactor_measure[float], <kernel>adafactor_measure[double], states=0, scalars=2, extras=2
)


cdef inline void adafactor_vector_pass(
    floating* p, const floating* g, floating** state, const floating* scalars, floating* measured, Py_ssize_t n
) noexcept nogil:
    cdef floating* variance = state[0]
    cdef floating decay = scalars[0], l1 = scalars[1], rate = scalars[2], floor = scalars[3]
    cdef floating keep = scalars[4], rest = scalars[5]
    cdef floating v
    cdef Py_ssize_t i
    for i in range(n):
        v = flush(keep * variance[i] + rest * (g[i] * g[i]))
        if measured != NULL:
            measured[i] = g[i] / floored_root(v, floor)
        else:
            variance[i] = v
            p[i] = move(p[i], rate / floored_root(v, floor), g[i], decay, l1)


cdef void adafactor_vector(
    floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    adafactor_vector_pass(p, g, state, scalars, NULL, n)


cdef void adafactor_vector_measure(
    floating* out, const floating* g, floating** arrays, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    adafactor_vector_pass(arrays[0], g, &arrays[1], scalars, out, n)

register("adafactor_vector", <kernel>adafactor_vector[float], <kernel>adafactor_vector[double], states=1, scalars=4)
register_measure(
    "adafactor_vector", <kernel>adafactor_vector_measure[float], <kernel>adafactor_vector_measure[double],
    states=1, scalars=4
)


# Muon: the matrix to be orthogonalised, and the step along the orthogonal matrix (given before the state).

cdef void muon_measure(
    floating* out, const floating* g, floating** arrays, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating* momentum_buffer = arrays[1]
    cdef floating mu = scalars[3], rest = scalars[4], own = scalars[5], behind = scalars[6]
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = own * g[i] + behind * flush(mu * momentum_buffer[i] + rest * g[i])

register_measure("muon", <kernel>muon_measure[float], <kernel>muon_measure[double], states=1, scalars=5)


cdef void muon(floating* p, const floating* g, floating** state, const floating* scalars, Py_ssize_t n) noexcept nogil:
    cdef floating* orthogonal = state[0]
    cdef floating* momentum_buffer = state[1]
    cdef floating decay = scalars[0], l1 = scalars[1], rate = scalars[2], mu = scalars[3], rest = scalars[4]
    cdef Py_ssize_t i
    for i in range(n):
        momentum_buffer[i] = flush(mu * momentum_buffer[i] + rest * g[i])
        p[i] = move(p[i], rate, orthogonal[i], decay, l1)

register("muon", <kernel>muon[float], <kernel>muon[double], states=1, scalars=5, extras=1)


# Not a rule: `prepare` for a part of one unit of an array, with the shift and factor of that unit.

cdef void prepare_unit(
    floating* ready, const floating* grad, floating** param, const floating* scalars, Py_ssize_t n
) noexcept nogil:
    cdef floating scale = scalars[0], bound = scalars[1], l2 = scalars[2], shift = scalars[3], factor = scalars[4]
    cdef const floating* p = param[0]
    cdef floating g
    cdef Py_ssize_t i
    for i in range(n):
        g = (clip(scale * grad[i], bound) - shift) * factor
        ready[i] = g + l2 * p[i] if l2 != 0 else g

PREPARE_UNIT = entry(<kernel>prepare_unit[float], <kernel>prepare_unit[double])
