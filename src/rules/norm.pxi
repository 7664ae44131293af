# Not a rule: the sum of squares of one block of a gradient, in double precision and in one fixed order.
#
# Sixteen lanes, each a running sum of every sixteenth element; then a tree over the lanes. The order depends on neither
# the vectors' width nor the threads, and `gdfast.reference` sums in the same one.

cdef inline floating element(const floating* g, const floating* other, bint summed, Py_ssize_t i) noexcept nogil:
    return other[i] + g[i] if summed else g[i]


cdef inline double folded(double* lanes) noexcept nogil:
    """Add the lanes up, in a tree."""
    cdef Py_ssize_t k, width = NORM_LANES // 2
    while width > 0:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]


cdef inline double sum_lanes(const floating* g, const floating* other, bint summed, Py_ssize_t n) noexcept nogil:
    cdef double lanes[NORM_LANES]
    cdef double x
    cdef Py_ssize_t i, k
    cdef Py_ssize_t whole = n - n % NORM_LANES
    for k in range(NORM_LANES):
        lanes[k] = 0
    i = 0
    while i < whole:
        for k in range(NORM_LANES):
            x = element(g, other, summed, i + k)
            lanes[k] += x * x
        i += NORM_LANES
    for k in range(n - whole):
        x = element(g, other, summed, whole + k)
        lanes[k] += x * x
    return folded(lanes)


cdef double square_sum(const floating* g, const floating* other, Py_ssize_t n) noexcept nogil:
    """The sum of squares of g, or of other + g where there is another."""
    return sum_lanes(g, other, False, n) if other == NULL else sum_lanes(g, other, True, n)

SQUARE_SUM = <uintptr_t><reducer>square_sum[float], <uintptr_t><reducer>square_sum[double]
