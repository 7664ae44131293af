# Steps of only those columns that a mini-batch of CSR touches: the others have no gradient, and the rule leaves them as they
# are. A hashed table has a million columns, of which a mini-batch has a few thousand. They are gathered, stepped by the rule's
# own loop, and put back, so that every bit is that of a step over all columns.

cdef struct Touched:
    unsigned char* marks        # of each column, whether it is among the places
    Py_ssize_t* places          # the touched columns, in the order in which they are met
    char* param
    char* grad
    char* state[MAX_STATES]


cdef Py_ssize_t touch(
    Touched* t, const index* indices, const index* pointers, const Py_ssize_t* rows, Py_ssize_t n
) noexcept nogil:
    """Find the columns of n rows; return how many there are."""
    cdef Py_ssize_t i, at, found = 0
    for i in range(n):
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            if not t.marks[indices[at]]:
                t.marks[indices[at]] = 1
                t.places[found] = indices[at]
                found += 1
    return found


cdef Py_ssize_t most_stored(
    const index* pointers, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t batch
) noexcept nogil:
    """The largest number of elements that a mini-batch of these rows stores."""
    cdef Py_ssize_t i, stored = 0, most = 0
    for i in range(n):
        if i % batch == 0:
            stored = 0
        stored += pointers[rows[i] + 1] - pointers[rows[i]]
        most = max(most, stored)
    return most


cdef void gather_places(
    floating* out, const floating* data, const Py_ssize_t* places, Py_ssize_t n, Py_ssize_t outputs
) noexcept nogil:
    cdef Py_ssize_t i, k
    for i in range(n):
        for k in range(outputs):
            out[i * outputs + k] = data[places[i] * outputs + k]


cdef void scatter_places(
    floating* data, const floating* values, const Py_ssize_t* places, Py_ssize_t n, Py_ssize_t outputs
) noexcept nogil:
    """Put values back into their places, or zeros."""
    cdef Py_ssize_t i, k
    for i in range(n):
        for k in range(outputs):
            data[places[i] * outputs + k] = values[i * outputs + k] if values != NULL else 0


cdef void gather_to(bint double_precision, char* out, char* data, Touched* t, Py_ssize_t n, Py_ssize_t outputs) noexcept nogil:
    if double_precision:
        gather_places(<double*>out, <double*>data, t.places, n, outputs)
    else:
        gather_places(<float*>out, <float*>data, t.places, n, outputs)


cdef void put_back(bint double_precision, char* data, char* values, Touched* t, Py_ssize_t n, Py_ssize_t outputs) noexcept nogil:
    if double_precision:
        scatter_places(<double*>data, <double*>values, t.places, n, outputs)
    else:
        scatter_places(<float*>data, <float*>values, t.places, n, outputs)


cdef void step_touched(
    Touched* t, Csr* x, Piece* piece, const void* derivatives, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t columns,
    Py_ssize_t outputs, const double* numbers, const double* averages
) noexcept nogil:
    """Step the columns of these rows. The piece's gradient is zero before, and after."""
    cdef Piece part = piece[0]
    cdef Py_ssize_t found, k, i
    if x.wide:
        found = touch(t, <int64_t*>x.indices, <int64_t*>x.pointers, rows, n)
    else:
        found = touch(t, <int32_t*>x.indices, <int32_t*>x.pointers, rows, n)
    csr_add(x, piece.grad, derivatives, rows, n, outputs, 0, columns, True)
    part.param, part.grad = t.param, t.grad
    gather_to(x.double_precision, part.param, piece.param, t, found, outputs)
    gather_to(x.double_precision, part.grad, piece.grad, t, found, outputs)
    for k in range(piece.states):
        part.state[k] = t.state[k]
        gather_to(x.double_precision, part.state[k], piece.state[k], t, found, outputs)
    step_piece(&part, 0, found * outputs, numbers, averages, x.double_precision, False)
    put_back(x.double_precision, piece.param, part.param, t, found, outputs)
    put_back(x.double_precision, piece.grad, NULL, t, found, outputs)
    for k in range(piece.states):
        put_back(x.double_precision, piece.state[k], part.state[k], t, found, outputs)
    for i in range(found):
        t.marks[t.places[i]] = 0
