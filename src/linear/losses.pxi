# The losses of the linear models: loss and derivative with respect to the score, for n rows, in double precision.
#
# exp (src/elementary.h) and log1p are our own, in + - * / and the bits of a number, because those of the C library and of NumPy
# differ from machine to machine in the last bit. Polynomials are summed by pairs, then pairs of pairs (Estrin's scheme): by
# Horner's each operation would wait for the one before. Every select gives NaN for NaN.
# gdfast/reference/losses.py has the same operations in NumPy, in the same order.

cdef inline double log1p_of_fraction(double x) noexcept nogil:
    """log(1 + x) for 0 <= x <= 1: twice the inverse hyperbolic tangent of x/(2+x); above sqrt(2)-1, of half of 1+x."""
    cdef bint halved = x > 0.41421356237309503
    cdef double s = (x - 1.0 if halved else x) / (3.0 + x if halved else 2.0 + x)
    cdef double q = s * s
    cdef double q2 = q * q
    cdef double q4 = q2 * q2
    cdef double low = (1.0 / 3.0 + 1.0 / 5.0 * q) + (1.0 / 7.0 + 1.0 / 9.0 * q) * q2
    cdef double middle = (1.0 / 11.0 + 1.0 / 13.0 * q) + (1.0 / 15.0 + 1.0 / 17.0 * q) * q2
    cdef double p = (low + middle * q4) + (1.0 / 19.0 + 1.0 / 21.0 * q) * (q4 * q4)
    return (LN2 if halved else 0.0) + 2.0 * (s + s * (q * p))


# Classification: target is -1 or 1, margin m = target * score.

cdef void log_loss(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double m, e, q
    cdef Py_ssize_t i
    for i in range(n):
        m = target[i] * score[i]
        e = exponential(-fabs(m))
        q = 1.0 / (1.0 + e)
        loss[i] = log1p_of_fraction(e) + (-m if m < 0 else 0.0)
        derivative[i] = -target[i] * (q if m < 0 else e * q)

LOOPS["log_loss"] = <uintptr_t><loss_function>log_loss


cdef void hinge(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double m
    cdef Py_ssize_t i
    for i in range(n):
        m = target[i] * score[i]
        loss[i] = 0.0 if m > parameter else parameter - m
        derivative[i] = 0.0 if m > parameter else -target[i]

LOOPS["hinge"] = <uintptr_t><loss_function>hinge


cdef void squared_hinge(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double u
    cdef Py_ssize_t i
    for i in range(n):
        u = 1.0 - target[i] * score[i]
        u = 0.0 if u < 0 else u
        loss[i] = u * u
        derivative[i] = (-2.0 * target[i]) * u

LOOPS["squared_hinge"] = <uintptr_t><loss_function>squared_hinge


cdef void modified_huber(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double m, u
    cdef Py_ssize_t i
    for i in range(n):
        m = target[i] * score[i]
        u = 1.0 - m
        u = 0.0 if u < 0 else u
        loss[i] = -4.0 * m if m < -1.0 else u * u
        derivative[i] = target[i] * (-4.0 if m < -1.0 else -2.0 * u)

LOOPS["modified_huber"] = <uintptr_t><loss_function>modified_huber


# Regression with identity link: r = score - target.

cdef void squared_error(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double r
    cdef Py_ssize_t i
    for i in range(n):
        r = score[i] - target[i]
        loss[i] = 0.5 * (r * r)
        derivative[i] = r

LOOPS["squared_error"] = <uintptr_t><loss_function>squared_error


cdef inline double signed_as(double size, double x) noexcept nogil:
    return -size if x < 0 else size


cdef void huber(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double r, a
    cdef Py_ssize_t i
    for i in range(n):
        r = score[i] - target[i]
        a = fabs(r)
        loss[i] = parameter * a - 0.5 * (parameter * parameter) if a > parameter else 0.5 * (r * r)
        derivative[i] = signed_as(parameter, r) if a > parameter else r

LOOPS["huber"] = <uintptr_t><loss_function>huber


cdef void log_cosh(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    """parameter**2 * log(cosh(r / parameter)); by its series where r is small, since log(cosh) would cancel there."""
    cdef double r, a, x, q, e, far, near
    cdef Py_ssize_t i
    for i in range(n):
        r = score[i] - target[i]
        a = fabs(r)
        x = 0.0 if a == 0 else a / parameter
        q = x * x
        e = exponential(-2.0 * x)
        far = parameter * ((a - parameter * LN2) + parameter * log1p_of_fraction(e))
        near = (a * a) * (0.5 - q * (1.0 / 12.0 - q * (1.0 / 45.0 - q * (17.0 / 2520.0))))
        loss[i] = near if x < 0.015625 else far
        near = r * (1.0 - q * (1.0 / 3.0 - q * (2.0 / 15.0 - q * (17.0 / 315.0))))
        derivative[i] = near if x < 0.015625 else signed_as(parameter * ((1.0 - e) / (1.0 + e)), r)

LOOPS["log_cosh"] = <uintptr_t><loss_function>log_cosh


cdef void epsilon_insensitive(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double r, u
    cdef Py_ssize_t i
    for i in range(n):
        r = score[i] - target[i]
        u = fabs(r) - parameter
        loss[i] = 0.0 if u < 0 else u
        derivative[i] = signed_as(1.0, r) if u > 0 else 0.0

LOOPS["epsilon_insensitive"] = <uintptr_t><loss_function>epsilon_insensitive


cdef void squared_epsilon_insensitive(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double r, u
    cdef Py_ssize_t i
    for i in range(n):
        r = score[i] - target[i]
        u = fabs(r) - parameter
        u = 0.0 if u < 0 else u
        loss[i] = u * u
        derivative[i] = signed_as(2.0 * u, r)

LOOPS["squared_epsilon_insensitive"] = <uintptr_t><loss_function>squared_epsilon_insensitive


cdef void quantile(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double r, slope
    cdef Py_ssize_t i
    for i in range(n):
        r = score[i] - target[i]
        slope = 1.0 - parameter if r > 0 else -parameter
        loss[i] = slope * r
        derivative[i] = slope

LOOPS["quantile"] = <uintptr_t><loss_function>quantile


# Half deviances with log link, dropping constant terms: prediction = exp(score).

cdef void poisson(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double e
    cdef Py_ssize_t i
    for i in range(n):
        e = exponential(score[i])
        loss[i] = e - target[i] * score[i]
        derivative[i] = e - target[i]

LOOPS["poisson"] = <uintptr_t><loss_function>poisson


cdef void gamma(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double e
    cdef Py_ssize_t i
    for i in range(n):
        e = target[i] * exponential(-score[i])
        loss[i] = score[i] + e
        derivative[i] = 1.0 - e

LOOPS["gamma"] = <uintptr_t><loss_function>gamma


cdef void tweedie(
    double* loss, double* derivative, const double* score, const double* target, double parameter, Py_ssize_t n
) noexcept nogil:
    cdef double one = 1.0 - parameter, two = 2.0 - parameter, a, b
    cdef Py_ssize_t i
    for i in range(n):
        a = target[i] * exponential(one * score[i])
        b = exponential(two * score[i])
        loss[i] = b / two - a / one
        derivative[i] = b - a

LOOPS["tweedie"] = <uintptr_t><loss_function>tweedie


cdef void softmax(
    double* loss, double* derivative, const double* score, const double* target, Py_ssize_t outputs, Py_ssize_t n
) noexcept nogil:
    """Multinomial log loss; target is the index of the class. `loss` holds the largest score in the meantime."""
    cdef double total[MAX_TILE]
    cdef double e
    cdef Py_ssize_t i, k
    for i in range(n):
        loss[i] = score[i]
        total[i] = 0
    for k in range(1, outputs):
        for i in range(n):
            loss[i] = score[k * n + i] if score[k * n + i] > loss[i] else loss[i]
    for k in range(outputs):
        for i in range(n):
            e = exponential(score[k * n + i] - loss[i])
            derivative[k * n + i] = e
            total[i] += e
    for i in range(n):
        k = <Py_ssize_t>target[i]
        loss[i] = (loss[i] - score[k * n + i]) + log(total[i])
        total[i] = 1.0 / total[i]
    for k in range(outputs):
        for i in range(n):
            derivative[k * n + i] = derivative[k * n + i] * total[i] - (1.0 if target[i] == k else 0.0)

LOOPS["multinomial"] = <uintptr_t><softmax_function>softmax
