# Steps of only those columns that a mini-batch of CSR touches: the others have no gradient, and the rule leaves them as they
# are. A hashed table has a million columns, of which a mini-batch has a few thousand. They are numbered, gathered, stepped by the rule's
# own loop, and put back, so that every bit is that of a step over all columns.

cdef struct Touched:
    int32_t* numbers            # of each column: its place among the places, counted from 1; 0: it is none of them
    int32_t* stored             # of each stored element of the mini-batch, the place of its column, counted from 0
    Py_ssize_t* places          # the touched columns, in the order in which they are met
    char* param
    char* grad
    char* state[MAX_STATES]


cdef Py_ssize_t touch(
    Touched* t, const index* indices, const index* pointers, const Py_ssize_t* rows, Py_ssize_t n
) noexcept nogil:
    """Find the columns of n rows; return how many there are. Without a branch: whether a column is new is no habit."""
    cdef Py_ssize_t i, at, seen = 0
    cdef int32_t found = 0, number
    for i in range(n):
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            number = t.numbers[indices[at]]
            t.places[found] = indices[at]
            found += number == 0
            number = found if number == 0 else number
            t.numbers[indices[at]] = number
            t.stored[seen] = number - 1
            seen += 1
    return found


cdef void add_touched(
    floating* grad, const int32_t* stored, const floating* data, const index* indices, const index* pointers,
    const floating* inv_scale, const floating* derivative, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs
) noexcept nogil:
    """Do what `sparse_add` does, in a gradient of the touched columns alone."""
    cdef floating x
    cdef floating* g
    cdef Py_ssize_t i, k, at, seen = 0
    for i in range(n):
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            x = data[at] * inv_scale[indices[at]] if inv_scale != NULL else data[at]
            g = grad + <Py_ssize_t>stored[seen] * outputs
            seen += 1
            for k in range(outputs):
                g[k] += derivative[i * outputs + k] * x


cdef void csr_add_touched(
    Csr* x, Touched* t, const void* derivative, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs
) noexcept nogil:
    if x.double_precision:
        if x.wide:
            add_touched(
                <double*>t.grad, t.stored, <double*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers,
                <double*>x.inv_scale, <double*>derivative, rows, n, outputs
            )
        else:
            add_touched(
                <double*>t.grad, t.stored, <double*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers,
                <double*>x.inv_scale, <double*>derivative, rows, n, outputs
            )
    elif x.wide:
        add_touched(
            <float*>t.grad, t.stored, <float*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers,
            <float*>x.inv_scale, <float*>derivative, rows, n, outputs
        )
    else:
        add_touched(
            <float*>t.grad, t.stored, <float*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers,
            <float*>x.inv_scale, <float*>derivative, rows, n, outputs
        )


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
    """Put values back into their places."""
    cdef Py_ssize_t i, k
    for i in range(n):
        for k in range(outputs):
            data[places[i] * outputs + k] = values[i * outputs + k]


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
    Touched* t, Csr* x, Piece* piece, const void* derivatives, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs,
    const double* numbers, const double* averages
) noexcept nogil:
    """Step the columns of these rows."""
    cdef Piece part = piece[0]
    cdef Py_ssize_t found, k, i
    if x.wide:
        found = touch(t, <int64_t*>x.indices, <int64_t*>x.pointers, rows, n)
    else:
        found = touch(t, <int32_t*>x.indices, <int32_t*>x.pointers, rows, n)
    memset(t.grad, 0, found * outputs * (8 if x.double_precision else 4))
    csr_add_touched(x, t, derivatives, rows, n, outputs)
    part.param, part.grad = t.param, t.grad
    gather_to(x.double_precision, part.param, piece.param, t, found, outputs)
    for k in range(piece.states):
        part.state[k] = t.state[k]
        gather_to(x.double_precision, part.state[k], piece.state[k], t, found, outputs)
    step_piece(&part, 0, found * outputs, numbers, averages, x.double_precision, False)
    put_back(x.double_precision, piece.param, part.param, t, found, outputs)
    for k in range(piece.states):
        put_back(x.double_precision, piece.state[k], part.state[k], t, found, outputs)
    for i in range(found):
        t.numbers[t.places[i]] = 0
