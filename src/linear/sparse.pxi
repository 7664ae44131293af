# Rows in CSR, for the driver. The order of every sum is the order of the stored elements, or of the rows: the columns are
# shared among the threads, and each thread takes the elements of its columns, so that no two write to one place.

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


cdef void sparse_scores(
    const floating* data, const index* indices, const index* pointers, const floating* inverse, const floating* coef,
    const floating* intercept, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs, double* score
) noexcept nogil:
    cdef floating x
    cdef double total
    cdef const floating* w
    cdef Py_ssize_t i, k, at
    for i in range(n):
        if outputs == 1:
            total = 0
            for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
                x = data[at] * inverse[indices[at]] if inverse != NULL else data[at]
                total += <double>x * coef[indices[at]]
            score[i] = total + intercept[0]
            continue
        for k in range(outputs):
            score[k * n + i] = intercept[k]
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            x = data[at] * inverse[indices[at]] if inverse != NULL else data[at]
            w = coef + <Py_ssize_t>indices[at] * outputs
            for k in range(outputs):
                score[k * n + i] += <double>x * w[k]


cdef void sparse_add(
    floating* grad, const floating* data, const index* indices, const index* pointers, const floating* inverse,
    const floating* derivative, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs, Py_ssize_t first,
    Py_ssize_t last, bint whole
) noexcept nogil:
    """Add the share of n rows to the gradient of the columns first..last; sorted, or `whole` if those are all."""
    cdef floating x
    cdef floating* g
    cdef Py_ssize_t i, k, at, end
    for i in range(n):
        at, end = pointers[rows[i]], pointers[rows[i] + 1]
        if not whole:
            at = first_from(indices, at, end, first)
        while at < end and indices[at] < last:
            x = data[at] * inverse[indices[at]] if inverse != NULL else data[at]
            if outputs == 1:
                grad[indices[at]] += derivative[i] * x
            else:
                g = grad + <Py_ssize_t>indices[at] * outputs
                for k in range(outputs):
                    g[k] += derivative[i * outputs + k] * x
            at += 1


def largest_of_columns(
    const floating[::1] data, const index[::1] indices, const index[::1] pointers, const Py_ssize_t[::1] rows,
    Py_ssize_t columns
):
    """Return the largest absolute value of each column over these rows of a matrix in CSR."""
    dtype = np.float64 if floating is double else np.float32
    largest = np.zeros(columns, dtype)
    cdef floating[::1] out = largest
    cdef floating x
    cdef Py_ssize_t i, at
    for i in range(rows.shape[0]):
        for at in range(pointers[rows[i]], pointers[rows[i] + 1]):
            x = data[at] if data[at] > 0 else -data[at]
            if x > out[indices[at]]:
                out[indices[at]] = x
    return largest


cdef struct Csr:                # a matrix in CSR, with the size of its elements and indices
    void* data
    void* indices
    void* pointers
    void* inverse               # NULL, or what each column is multiplied by
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
                <double*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <double*>x.inverse, <double*>coef,
                <double*>intercept, rows, n, outputs, score
            )
        else:
            sparse_scores(
                <double*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <double*>x.inverse, <double*>coef,
                <double*>intercept, rows, n, outputs, score
            )
    elif x.wide:
        sparse_scores(
            <float*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <float*>x.inverse, <float*>coef,
            <float*>intercept, rows, n, outputs, score
        )
    else:
        sparse_scores(
            <float*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <float*>x.inverse, <float*>coef,
            <float*>intercept, rows, n, outputs, score
        )


cdef void csr_add(
    Csr* x, void* grad, const void* derivative, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t outputs,
    Py_ssize_t first, Py_ssize_t last, bint whole
) noexcept nogil:
    if x.double_precision:
        if x.wide:
            sparse_add(
                <double*>grad, <double*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <double*>x.inverse,
                <double*>derivative, rows, n, outputs, first, last, whole
            )
        else:
            sparse_add(
                <double*>grad, <double*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <double*>x.inverse,
                <double*>derivative, rows, n, outputs, first, last, whole
            )
    elif x.wide:
        sparse_add(
            <float*>grad, <float*>x.data, <int64_t*>x.indices, <int64_t*>x.pointers, <float*>x.inverse,
            <float*>derivative, rows, n, outputs, first, last, whole
        )
    else:
        sparse_add(
            <float*>grad, <float*>x.data, <int32_t*>x.indices, <int32_t*>x.pointers, <float*>x.inverse,
            <float*>derivative, rows, n, outputs, first, last, whole
        )
