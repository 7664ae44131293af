# The numbers of a step, in the element types of the loops, and those that are computed here: Adam's.

cdef struct Numbers:            # of one group, in both element types
    Py_ssize_t own              # number of the rules' own scalars, after decay and l1; ANY without arrays
    float f32[MAX_SCALARS]
    double f64[MAX_SCALARS]
    float prepare_f32[3]
    double prepare_f64[3]
    bint prepared               # whether the gradient needs any preparation


cdef enum:
    ADAM_STEP = 6               # places of Adam's numbers that depend on the step
    ADAM_EPS = 7
    ADAM_EPS_ROOT = 8


cdef struct Corrections:        # what those are computed from, for one group
    double lr, beta1, beta2, eps, eps_root
    double log1, log2           # logarithms of the betas that are positive
    bint eps_hat
    bint constant               # there is nothing to compute: they are the same in all steps but the first


cdef inline double one_minus_power(double beta, double t) noexcept nogil:
    return one_minus_exp(beta, log(beta) if beta > 0 else 0.0, t)


cdef inline double one_minus_exp(double beta, double its_log, double t) noexcept nogil:
    return -expm1(t * its_log) if beta > 0 else 1.0


cdef inline void keep_logs(Corrections* own) noexcept nogil:
    own.log1, own.log2 = log(own.beta1) if own.beta1 > 0 else 0.0, log(own.beta2) if own.beta2 > 0 else 0.0


cdef void correct(Numbers* numbers, const Corrections* own, double t) noexcept nogil:
    """Set Adam's numbers that depend on the step: the same operations as in the class (gdfast/optimizers/adam.py)."""
    cdef double correction = one_minus_exp(own.beta2, own.log2, t), r = sqrt(correction)
    cdef Py_ssize_t i
    numbers.f64[ADAM_STEP] = own.lr * r / one_minus_exp(own.beta1, own.log1, t)
    if not own.eps_hat:
        numbers.f64[ADAM_EPS], numbers.f64[ADAM_EPS_ROOT] = own.eps * r, own.eps_root * correction
    for i in range(ADAM_STEP, ADAM_EPS_ROOT + 1):
        numbers.f32[i] = <float>numbers.f64[i]


cdef inline void prepare_with(Numbers* numbers, double grad_scale, double clip_value, double l2) noexcept nogil:
    """Set the numbers with which gradients are prepared."""
    numbers.prepare_f64[1], numbers.prepare_f64[2] = clip_value, l2
    numbers.prepare_f32[1], numbers.prepare_f32[2] = <float>clip_value, <float>l2
    scale_numbers(numbers, grad_scale)


cdef inline void scale_numbers(Numbers* numbers, double grad_scale) noexcept nogil:
    """Set what gradients are multiplied by."""
    numbers.prepare_f64[0], numbers.prepare_f32[0] = grad_scale, <float>grad_scale
    numbers.prepared = grad_scale != 1 or numbers.prepare_f64[2] != 0 or numbers.prepare_f64[1] <= DBL_MAX


cdef inline void round_numbers(Numbers* numbers) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(MAX_SCALARS):
        numbers.f32[i] = <float>numbers.f64[i]
