# Not rules: the vector operation of a quasi-Newton method. Each step of its two-loop recursion updates a vector and
# takes the dot product of the result with the next one: both in one pass, summed in the same order as the norm.

cdef enum:
    CHUNK = 512     # elements that are updated, and then read again from L1 for the product

cdef inline void axpy(floating* y, const floating* x, floating a, floating c, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = c * (y[i] + a * x[i])


cdef inline void add_products(double* lanes, const floating* y, const floating* z, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0, k
    cdef Py_ssize_t whole = n - n % NORM_LANES
    while i < whole:
        for k in range(NORM_LANES):
            lanes[k] += <double>y[i + k] * <double>z[i + k]
        i += NORM_LANES
    for k in range(n - whole):
        lanes[k] += <double>y[whole + k] * <double>z[whole + k]


cdef double axpy_dot(floating* y, const floating* x, const floating* z, const floating* scalars, Py_ssize_t n) noexcept nogil:
    """Set y to c*(y + a*x), unless x is NULL, and return its dot product with z; the scalars are a and c."""
    cdef double lanes[NORM_LANES]
    cdef Py_ssize_t start = 0, size, k
    for k in range(NORM_LANES):
        lanes[k] = 0
    while start < n:
        size = min(CHUNK, n - start)
        if x != NULL:
            axpy(y + start, x + start, scalars[0], scalars[1], size)
        add_products(lanes, y + start, z + start, size)
        start += size
    return fold(lanes)

AXPY_DOT = <uintptr_t><vector_reducer>axpy_dot[float], <uintptr_t><vector_reducer>axpy_dot[double]
