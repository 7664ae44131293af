# The loops over the elements of a tile of rows.
#
# Sums over the columns go in sixteen lanes and a tree over them, sums over the rows one row after the other, in every
# element type and at every width of vectors; `gdfast.reference.linear` sums in the same order. The zeros that fill a row
# up change no sum.

cdef inline floating tree(floating* lanes) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(8):                  # written out: a loop over the widths is not unrolled
        lanes[k] += lanes[k + 8]
    for k in range(4):
        lanes[k] += lanes[k + 4]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


cdef inline void fetch(const floating* row, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t j = 0
    while j < columns:
        gdfast_prefetch_read(row + j)
        j += LINE // <Py_ssize_t>sizeof(floating)


cdef void gather(
    floating* tile, const floating* data, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t columns, Py_ssize_t padded,
    const floating* mean, const floating* inv_scale
) noexcept nogil:
    cdef const floating* row
    cdef floating* out
    cdef Py_ssize_t i, j
    for i in range(n):
        row = data + rows[i] * columns
        out = tile + i * padded
        if i + AHEAD < n:               # the rows lie anywhere: ask for one before its turn
            fetch(data + rows[i + AHEAD] * columns, columns)
        for j in range(columns):
            out[j] = (row[j] - mean[j]) * inv_scale[j]

LOOPS["gather"] = <uintptr_t><gatherer>gather[float], <uintptr_t><gatherer>gather[double]


LOOPS["score"] = <uintptr_t>score_rows_f32, <uintptr_t>score_rows_f64


cdef void add_rows(
    floating* grad, const floating* tile, const double* derivative, Py_ssize_t n, Py_ssize_t padded
) noexcept nogil:
    cdef floating d0, d1, d2, d3
    cdef const floating* row
    cdef Py_ssize_t i = 0, j
    while i + 4 <= n:                   # four rows at a time save three of four trips of the gradient
        row = tile + i * padded
        d0, d1 = <floating>derivative[i], <floating>derivative[i + 1]
        d2, d3 = <floating>derivative[i + 2], <floating>derivative[i + 3]
        for j in range(padded):
            grad[j] = (
                ((grad[j] + d0 * row[j]) + d1 * row[padded + j]) + d2 * row[2 * padded + j]
            ) + d3 * row[3 * padded + j]
        i += 4
    while i < n:
        row = tile + i * padded
        d0 = <floating>derivative[i]
        for j in range(padded):
            grad[j] += d0 * row[j]
        i += 1

LOOPS["add"] = <uintptr_t><adder>add_rows[float], <uintptr_t><adder>add_rows[double]


cdef void reduce_parts(
    floating* grad, const floating* parts, Py_ssize_t count, Py_ssize_t stride, Py_ssize_t start, Py_ssize_t n
) noexcept nogil:
    cdef const floating* part
    cdef Py_ssize_t b, j
    memcpy(grad + start, parts + start, n * sizeof(floating))
    for b in range(1, count):
        part = parts + b * stride
        for j in range(start, start + n):
            grad[j] += part[j]

LOOPS["reduce"] = <uintptr_t><reducer_of_parts>reduce_parts[float], <uintptr_t><reducer_of_parts>reduce_parts[double]


cdef double sum_of(const double* x, Py_ssize_t n) noexcept nogil:
    cdef double lanes[LANES]
    cdef Py_ssize_t whole = n - n % LANES, i, k
    for k in range(LANES):
        lanes[k] = 0
    i = 0
    while i < whole:
        for k in range(LANES):
            lanes[k] += x[i + k]
        i += LANES
    for k in range(n - whole):
        lanes[k] += x[whole + k]
    return tree(lanes)

LOOPS["sum"] = <uintptr_t><summer>sum_of


cdef void moments(
    double* sums, double* squares, const floating* data, const Py_ssize_t* rows, const double* weights, Py_ssize_t n,
    Py_ssize_t columns, const floating* shift
) noexcept nogil:
    cdef const floating* row
    cdef double x, w
    cdef Py_ssize_t i, j
    for i in range(n):
        row = data + rows[i] * columns
        w = weights[rows[i]] if weights != NULL else 1.0
        for j in range(columns):
            x = <double>row[j] - <double>shift[j]
            sums[j] += w * x
            squares[j] += w * (x * x)

LOOPS["moments"] = <uintptr_t><moments_function>moments[float], <uintptr_t><moments_function>moments[double]
