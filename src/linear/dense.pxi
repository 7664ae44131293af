# For the driver: the products of several outputs, by BLAS, and one array's step by the rules' loops.

# gemm(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc), of Fortran
ctypedef void (*gemm_function)(
    char*, char*, int*, int*, int*, void*, void*, int*, void*, int*, void*, void*, int*
) noexcept nogil


cdef struct Scratch:            # one thread's own
    char* tile
    char* small                 # scores or derivatives of a tile in the data's type, for BLAS
    double* score
    double* target
    double* loss
    double* derivative


cdef void multiply(
    gemm_function gemm, bint double_precision, Scratch* s, Py_ssize_t n, Py_ssize_t outputs, Py_ssize_t columns,
    Py_ssize_t padded, void* coef, void* intercept
) noexcept nogil:
    """score = (tile @ coef + intercept).T"""
    cdef int m = <int>n, width = <int>outputs, inner = <int>columns, leading = <int>padded
    cdef Py_ssize_t i, k
    cdef double one = 1, zero = 0
    cdef float one32 = 1, zero32 = 0
    if double_precision:
        gemm(b"T", b"T", &m, &width, &inner, &one, s.tile, &leading, coef, &width, &zero, s.score, &m)
    else:
        gemm(b"T", b"T", &m, &width, &inner, &one32, s.tile, &leading, coef, &width, &zero32, s.small, &m)
    for k in range(outputs):
        for i in range(n):
            if double_precision:
                s.score[k * n + i] += (<double*>intercept)[k]
            else:
                s.score[k * n + i] = (<float*>s.small)[k * n + i] + (<float*>intercept)[k]


cdef void multiply_back(
    gemm_function gemm, bint double_precision, Scratch* s, void* share, Py_ssize_t n, Py_ssize_t outputs,
    Py_ssize_t columns, Py_ssize_t padded
) noexcept nogil:
    """share += tile.T @ derivative.T"""
    cdef int m = <int>n, width = <int>outputs, inner = <int>columns, leading = <int>padded
    cdef Py_ssize_t i
    cdef double one = 1
    cdef float one32 = 1
    if double_precision:
        gemm(b"T", b"T", &width, &inner, &m, &one, s.derivative, &m, s.tile, &leading, &one, share, &width)
        return
    for i in range(n * outputs):
        (<float*>s.small)[i] = <float>s.derivative[i]
    gemm(b"T", b"T", &width, &inner, &m, &one32, s.small, &m, s.tile, &leading, &one32, share, &width)


cdef struct Piece:              # one array that is stepped
    kernel rule
    kernel prepare
    kernel average
    char* param
    char* grad
    char* state[MAX_STATES]
    Py_ssize_t states
    Py_ssize_t size


cdef void step_piece(
    Piece* piece, Py_ssize_t start, Py_ssize_t end, const double* numbers, const double* averages,
    bint double_precision, bint averaged
) noexcept nogil:
    """Step the elements from start to end of one array: prepare the gradient, the rule, the average."""
    cdef double scratch[STRETCH]
    cdef double f64[NUMBERS + 1]
    cdef float f32[NUMBERS + 1]
    cdef StepLoops loops
    cdef void* state[MAX_STATES]
    cdef Py_ssize_t itemsize = 8 if double_precision else 4, n, k
    for k in range(NUMBERS + 1):
        f64[k] = numbers[k] if k < NUMBERS else averages[0]
        f32[k] = <float>f64[k]
    loops.prepare, loops.rule, loops.average = piece.prepare, piece.rule, piece.average if averaged else NULL
    loops.states = piece.states
    loops.prepare_scalars = <void*>f64 if double_precision else <void*>f32
    loops.scalars = <void*>(f64 + 3) if double_precision else <void*>(f32 + 3)
    loops.average_scalars = <void*>(f64 + NUMBERS) if double_precision else <void*>(f32 + NUMBERS)
    while start < end:
        n = min(STRETCH, end - start)
        for k in range(piece.states):
            state[k] = piece.state[k] + start * itemsize
        step_tile(&loops, piece.param + start * itemsize, piece.grad + start * itemsize, state, scratch, n)
        start += n
