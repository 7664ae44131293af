# Rows in CSR, for the driver. The order of every sum is the order of the stored elements, in four sums for one score, or of
# the rows: the columns are shared among the threads, and each thread takes the elements of its columns, so that no two write
# to one place.

ctypedef fused index:
    int32_t
    int64_t


cdef inline Py_ssize_t first_from(const index* indices, Py_ssize_t low, Py_ssize_t high, Py_ssize_t column) noexcept nogil:
    """The first place in low..high whose column is not before this one; the columns are sorted."""
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < column:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline Py_ssize_t shared_among(Py_ssize_t stored, Py_ssize_t threads) noexcept nogil:
    """The number of threads that a pass over `stored` elements is worth sharing among."""
    return max(1, min(threads, stored // PASS_GRAIN))


cdef void sparse_scores(
    const floating* data, const index* indices, const index* pointers, const floating* inv_scale, const floating* coef,
    const floating* intercept, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs, double* score
) noexcept nogil:
    cdef floating x
    cdef double lanes[4]
    cdef const floating* w
    cdef Py_ssize_t i, k, at, end
    for i in range(n):
        if outputs == 1:
            at, end = pointers[rows[i]], pointers[rows[i] + 1]
            for k in range(4):
                lanes[k] = 0
            while at + 4 <= end:            # four sums, so that none waits for the one before
                for k in range(4):
                    x = data[at + k] * inv_scale[indices[at + k]] if inv_scale != NULL else data[at + k]
                    lanes[k] += <double>x * coef[indices[at + k]]
                at += 4
            for k in range(end - at):
                x = data[at + k] * inv_scale[indices[at + k]] if inv_scale != NULL else data[at + k]
                lanes[k] += <double>x * coef[indices[at + k]]
            score[i] = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + intercept[0]
            continue
        for k in range(outputs):
            score[k * n + i] = intercept[k]
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            x = data[at] * inv_scale[indices[at]] if inv_scale != NULL else data[at]
            w = coef + <Py_ssize_t>indices[at] * outputs
            for k in range(outputs):
                score[k * n + i] += <double>x * w[k]


cdef void sparse_add(
    floating* grad, const floating* data, const index* indices, const index* pointers, const floating* inv_scale,
    const floating* derivative, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs, Py_ssize_t first,
    Py_ssize_t last, bint whole
) noexcept nogil:
    """Add n rows to the gradient of the columns first..last, which are sorted in each row, or all (`whole`)."""
    cdef floating x
    cdef floating* g
    cdef Py_ssize_t i, k, at, start, end
    for i in range(n):
        start, end = pointers[rows[i]], pointers[rows[i] + 1]
        if not whole:
            start = first_from(indices, start, end, first)
            end = first_from(indices, start, end, last)
        if outputs == 1 and inv_scale != NULL:
            for at in range(start, end):
                grad[indices[at]] += derivative[i] * (data[at] * inv_scale[indices[at]])
            continue
        for at in range(start, end):
            x = data[at] * inv_scale[indices[at]] if inv_scale != NULL else data[at]
            g = grad + <Py_ssize_t>indices[at] * outputs
            for k in range(outputs):
                g[k] += derivative[i * outputs + k] * x


cdef struct Pass:               # over the stored elements of a matrix in CSR, in parts
    const void* data
    const void* indices
    const void* pointers
    const void* numbers         # the columns' new ones
    const Py_ssize_t* rows
    char* out                   # of each part, one after the other; or of the whole
    Py_ssize_t n, columns, parts
    bint wide, double_precision


cdef void mark(unsigned char* stored, const index* indices, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(start, end):
        stored[indices[at]] = 1


def stored_columns(const index[::1] indices, Py_ssize_t columns, Py_ssize_t threads):
    """Return for each column of a matrix in CSR whether anything is stored in it; the indices were checked."""
    cdef Pass work
    work.n, work.columns, work.parts = indices.shape[0], columns, shared_among(indices.shape[0], threads)
    stored = np.zeros((work.parts, columns), np.uint8)
    if not work.n:
        return stored[0].view(np.bool_)
    work.indices, work.out, work.wide = &indices[0], <char*>cnp.PyArray_DATA(stored), index is int64_t
    with nogil:
        share(<task>mark_part, &work, work.parts, work.parts, work.n * sizeof(index))
    return stored.max(axis=0).view(np.bool_)


cdef void mark_part(const Pass* work, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    cdef Py_ssize_t start = work.n * part // work.parts, stop = work.n * (part + 1) // work.parts
    cdef unsigned char* stored = <unsigned char*>work.out + part * work.columns
    if work.wide:
        mark(stored, <const int64_t*>work.indices, start, stop)
    else:
        mark(stored, <const int32_t*>work.indices, start, stop)


def repeats(const index[::1] indices, const index[::1] pointers, Py_ssize_t columns):
    """Return whether a row of a matrix in CSR stores a column twice; indices and pointers were checked."""
    cdef Py_ssize_t row, at
    cdef Py_ssize_t[::1] last_row = np.zeros(columns, np.intp)      # of each column, counted from 1
    for row in range(pointers.shape[0] - 1):
        for at in range(pointers[row], pointers[row + 1]):
            if last_row[indices[at]] == row + 1:
                return True
            last_row[indices[at]] = row + 1
    return False


def renumbered(const index[::1] indices, const index[::1] numbers, Py_ssize_t threads):
    """Return the indices of a matrix in CSR with each column renumbered; the indices were checked."""
    cdef Pass work
    result = np.empty(indices.shape[0], np.int32 if index is int32_t else np.int64)
    work.n, work.parts = indices.shape[0], shared_among(indices.shape[0], threads)
    if not work.n:
        return result
    work.indices, work.numbers, work.wide = &indices[0], &numbers[0], index is int64_t
    work.out = <char*>cnp.PyArray_DATA(result)
    with nogil:
        share(<task>renumber_part, &work, work.parts, work.parts, 2 * work.n * sizeof(index))
    return result


cdef void renumber(
    index* out, const index* indices, const index* numbers, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(start, stop):
        out[at] = numbers[indices[at]]


cdef void renumber_part(const Pass* work, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    cdef Py_ssize_t start = work.n * part // work.parts, stop = work.n * (part + 1) // work.parts
    if work.wide:
        renumber(<int64_t*>work.out, <const int64_t*>work.indices, <const int64_t*>work.numbers, start, stop)
    else:
        renumber(<int32_t*>work.out, <const int32_t*>work.indices, <const int32_t*>work.numbers, start, stop)


cdef void grow(
    floating* largest, const floating* data, const index* indices, const index* pointers, const Py_ssize_t* rows,
    Py_ssize_t start, Py_ssize_t end
) noexcept nogil:
    cdef floating x
    cdef Py_ssize_t i, at
    for i in range(start, end):
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            x = data[at] if data[at] > 0 else -data[at]
            largest[indices[at]] = x if x > largest[indices[at]] else largest[indices[at]]  # branchless


def largest_of_columns(
    const floating[::1] data, const index[::1] indices, const index[::1] pointers, const Py_ssize_t[::1] rows,
    Py_ssize_t columns, Py_ssize_t threads
):
    """Return the largest absolute value of each column over these rows of a matrix in CSR."""
    cdef Pass work
    work.n, work.columns, work.parts = rows.shape[0], columns, shared_among(data.shape[0], threads)
    largest = np.zeros((work.parts, columns), np.float64 if floating is double else np.float32)
    if not data.shape[0]:
        return largest[0]
    work.data, work.indices, work.pointers, work.rows = &data[0], &indices[0], &pointers[0], &rows[0]
    work.out = <char*>cnp.PyArray_DATA(largest)
    work.wide, work.double_precision = index is int64_t, floating is double
    with nogil:
        share(<task>grow_part, &work, work.parts, work.parts, data.shape[0] * (sizeof(floating) + sizeof(index)))
    return largest.max(axis=0)


cdef void grow_part(const Pass* work, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    if work.double_precision:
        grow_rows(work, <double*>work.out + part * work.columns, part)
    else:
        grow_rows(work, <float*>work.out + part * work.columns, part)


cdef void grow_rows(const Pass* work, floating* largest, Py_ssize_t part) noexcept nogil:
    cdef const floating* data = <const floating*>work.data
    cdef Py_ssize_t start = work.n * part // work.parts, stop = work.n * (part + 1) // work.parts
    if work.wide:
        grow(largest, data, <const int64_t*>work.indices, <const int64_t*>work.pointers, work.rows, start, stop)
    else:
        grow(largest, data, <const int32_t*>work.indices, <const int32_t*>work.pointers, work.rows, start, stop)


def moments_of_columns(
    const floating[::1] data, const index[::1] indices, const index[::1] pointers, const double[::1] weights,
    const double[::1] inv_largest
):
    """Return sums over the rows of a matrix in CSR, of shape (3, columns), of x times `inv_largest`.

    Of the rows' weights where x is not zero, of x, and of its square; each times the rows' weights.
    """
    cdef Py_ssize_t i, at, column
    cdef double x
    sums = np.zeros((inv_largest.shape[0], 3))  # those of a column side by side: it is met anywhere
    cdef double[:, ::1] out = sums
    with nogil:
        for i in range(weights.shape[0]):
            if weights[i] == 0:
                continue
            for at in range(pointers[i], pointers[i + 1]):
                column = indices[at]
                x = data[at] * inv_largest[column]
                if data[at] != 0:
                    out[column, 0] += weights[i]
                out[column, 1] += x * weights[i]
                out[column, 2] += x * x * weights[i]
    return sums.T


cdef struct Csr:                # a matrix in CSR, with the size of its elements and indices
    void* data
    void* indices
    void* pointers
    void* inv_scale               # NULL, or what each column is multiplied by
    bint wide                   # int64 indices
    bint double_precision
    bint sorted


cdef void csr_scores(
    Csr* x, const void* coef, const void* intercept, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs,
    double* score
) noexcept nogil:
    if x.double_precision:
        if x.wide:
            sparse_scores(
                <double*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <double*>x.inv_scale, <double*>coef,
                <double*>intercept, rows, n, outputs, score
            )
        else:
            sparse_scores(
                <double*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <double*>x.inv_scale, <double*>coef,
                <double*>intercept, rows, n, outputs, score
            )
    elif x.wide:
        sparse_scores(
            <float*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <float*>x.inv_scale, <float*>coef,
            <float*>intercept, rows, n, outputs, score
        )
    else:
        sparse_scores(
            <float*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <float*>x.inv_scale, <float*>coef,
            <float*>intercept, rows, n, outputs, score
        )


cdef void csr_add(
    Csr* x, void* grad, const void* derivative, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs,
    Py_ssize_t first, Py_ssize_t last, bint whole
) noexcept nogil:
    if x.double_precision:
        if x.wide:
            sparse_add(
                <double*>grad, <double*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <double*>x.inv_scale,
                <double*>derivative, rows, n, outputs, first, last, whole
            )
        else:
            sparse_add(
                <double*>grad, <double*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <double*>x.inv_scale,
                <double*>derivative, rows, n, outputs, first, last, whole
            )
    elif x.wide:
        sparse_add(
            <float*>grad, <float*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <float*>x.inv_scale,
            <float*>derivative, rows, n, outputs, first, last, whole
        )
    else:
        sparse_add(
            <float*>grad, <float*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <float*>x.inv_scale,
            <float*>derivative, rows, n, outputs, first, last, whole
        )
