# The signatures shared by the loops of the linear models (src/linear/, built once per instruction set, who fill LOOPS) and
# by the driver (src/linear/linear.pyx, who calls). void* is float32 or float64, the type of the data.
#
# A tile is a few rows, gathered, standardised and filled up with zeros to whole lanes: `padded` columns apart.

# tile = (data[rows] - mean) * inv_scale
ctypedef void (*gatherer)(
    void* tile, const void* data, const Py_ssize_t* rows, Py_ssize_t n, Py_ssize_t columns, Py_ssize_t padded,
    const void* mean, const void* inv_scale
) noexcept nogil
# That, and score = tile @ coef + intercept, each sum in sixteen lanes; the `coming` rows after these are fetched ahead.
# mean, inv_scale and coef have zeros behind them, up to whole lanes.
ctypedef void (*scorer)(
    double* score, void* tile, const void* coef, const void* intercept, Py_ssize_t n, Py_ssize_t coming,
    Py_ssize_t padded, const void* data, Py_ssize_t data_rows, const Py_ssize_t* rows, Py_ssize_t columns,
    const void* mean, const void* inv_scale
) noexcept nogil
# grad += derivative @ tile, row after row
ctypedef void (*adder)(
    void* grad, const void* tile, const double* derivative, Py_ssize_t n, Py_ssize_t padded
) noexcept nogil
# grad = the sum of `count` parts that lie `stride` elements apart, one after the other; n elements from `start`
ctypedef void (*reducer_of_parts)(
    void* grad, const void* parts, Py_ssize_t count, Py_ssize_t stride, Py_ssize_t start, Py_ssize_t n
) noexcept nogil
# Of n scores: each one's loss, and the loss's derivative by the score.
ctypedef void (*loss_function)(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil
# The multinomial loss of n rows with `outputs` scores each; score and derivative hold output after output, n apart.
ctypedef void (*softmax_function)(
    double* loss, double* derivative, const double* score, const double* target, Py_ssize_t outputs, Py_ssize_t n
) noexcept nogil
ctypedef double (*summer)(const double* x, Py_ssize_t n) noexcept nogil
# moments += weighted sums of (x - shift) and its square over n rows
ctypedef void (*moments_function)(
    double* sums, double* squares, const void* data, const Py_ssize_t* rows, const double* weights, Py_ssize_t n,
    Py_ssize_t columns, const void* shift
) noexcept nogil

cdef enum:
    LANES = 16
    MAX_TILE = 256              # rows
