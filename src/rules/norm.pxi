# Not rules: sums in double precision and in one fixed order.
#
# Sixteen lanes, each a running sum of every sixteenth element; then a tree over the lanes. The order depends on neither
# the vectors' width nor the threads, and `gdfast.reference` sums in the same order. Lanes may be carried over
# from call to call, if every call but the last adds a multiple of sixteen elements.

cdef inline floating element(const floating* g, const floating* other, bint summed, Py_ssize_t i) noexcept nogil:
    return other[i] + g[i] if summed else g[i]


cdef inline void add_lanes(
    const floating* g, const floating* other, bint summed, bint squared, Py_ssize_t n, double* sums
) noexcept nogil:
    cdef double lanes[NORM_LANES]
    cdef double x
    cdef Py_ssize_t i, k
    cdef Py_ssize_t whole = n - n % NORM_LANES
    for k in range(NORM_LANES):
        lanes[k] = sums[k]
    i = 0
    while i < whole:
        for k in range(NORM_LANES):
            x = element(g, other, summed, i + k)
            lanes[k] += x * x if squared else x
        i += NORM_LANES
    for k in range(n - whole):
        x = element(g, other, summed, whole + k)
        lanes[k] += x * x if squared else x
    for k in range(NORM_LANES):
        sums[k] = lanes[k]


cdef double square_sum(const floating* g, const floating* other, Py_ssize_t n) noexcept nogil:
    """The sum of squares of g, or of other + g if `other` is not NULL."""
    cdef double lanes[NORM_LANES]
    cdef Py_ssize_t k
    for k in range(NORM_LANES):
        lanes[k] = 0
    if other == NULL:
        add_lanes(g, other, False, True, n, lanes)
    else:
        add_lanes(g, other, True, True, n, lanes)
    return fold(lanes)

SQUARE_SUM = <uintptr_t><reducer>square_sum[float], <uintptr_t><reducer>square_sum[double]


cdef void add_values(const floating* x, Py_ssize_t n, double* lanes) noexcept nogil:
    add_lanes(x, <const floating*>NULL, False, False, n, lanes)

cdef void add_squares(const floating* x, Py_ssize_t n, double* lanes) noexcept nogil:
    add_lanes(x, <const floating*>NULL, False, True, n, lanes)

ADD_VALUES = <uintptr_t><adder>add_values[float], <uintptr_t><adder>add_values[double]
ADD_SQUARES = <uintptr_t><adder>add_squares[float], <uintptr_t><adder>add_squares[double]


# Adds the square of each element to its own sum; called for row after row, this sums the columns of a matrix.
cdef void add_column_squares(const floating* x, Py_ssize_t n, double* columns) noexcept nogil:
    cdef double value
    cdef Py_ssize_t i
    for i in range(n):
        value = x[i]
        columns[i] = columns[i] + value * value

ADD_COLUMN_SQUARES = <uintptr_t><adder>add_column_squares[float], <uintptr_t><adder>add_column_squares[double]
