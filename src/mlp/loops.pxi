# The loops over one part of a mini-batch: all that is not a matrix product. Rows are contiguous; `width` is a row's length.

ctypedef fused floating:
    float
    double

cdef enum Activation:
    IDENTITY, RELU, LEAKY_RELU, LOGISTIC, TANH, GELU

cdef enum Loss:
    SOFTMAX, BINARY, SQUARED, POISSON, LOOP

cdef enum:
    LOOP_OUTPUTS = 64           # that a loop of the linear models gets at a time

ACTIVATIONS = {
    "identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU, "logistic": LOGISTIC, "tanh": TANH, "gelu": GELU
}
# The losses of networks alone, by the names of gdfast/sklearn/_losses.py; the others are loops of src/linear/losses.pxi.
LOSSES = {"multinomial": SOFTMAX, "log_loss": BINARY, "squared_error": SQUARED, "poisson": POISSON}

cdef double LEAK = 0.01             # PyTorch's slope of leaky_relu below zero
cdef double ROOT_HALF = 0.70710678118654752440
cdef double ROOT_TWO_PI_INVERSE = 0.39894228040143267794


cdef inline floating exp_negative(floating x) noexcept nogil:
    """exp(x) for x <= 0."""
    if floating is float:
        return exp_f32(x)
    else:
        return exp_f64(x)


cdef inline floating neg_abs(floating x) noexcept nogil:
    """-|x|; NaN stays NaN."""
    return x if x < 0 else -x


cdef void activate(
    floating* value, floating* slope, const floating* bias, int kind, Py_ssize_t rows, Py_ssize_t width
) noexcept nogil:
    """Add the bias, apply the activation in place, and keep its derivative in `slope`."""
    cdef floating z, e, one = 1, zero = 0, leak = <floating>LEAK
    cdef Py_ssize_t r, j
    for r in range(rows):
        if kind == IDENTITY:
            for j in range(width):
                value[j] = value[j] + bias[j]
                slope[j] = one
        elif kind == RELU:
            for j in range(width):
                z = value[j] + bias[j]
                value[j] = zero if z < zero else z
                slope[j] = one if z > zero else zero
        elif kind == LEAKY_RELU:
            for j in range(width):
                z = value[j] + bias[j]
                value[j] = leak * z if z < zero else z
                slope[j] = one if z > zero else leak
        elif kind == LOGISTIC:
            for j in range(width):
                z = value[j] + bias[j]
                e = exp_negative(neg_abs(z))
                e = (e if z < zero else one) / (one + e)
                value[j] = e
                slope[j] = e * (one - e)
        elif kind == TANH:
            for j in range(width):
                z = value[j] + bias[j]
                e = exp_negative(2 * neg_abs(z))
                e = (one - e) / (one + e)
                value[j] = -e if z < zero else e
                slope[j] = one - e * e
        else:
            gelu(value, slope, bias, width)
        value += width
        slope += width


cdef void gelu(floating* value, floating* slope, const floating* bias, Py_ssize_t width) noexcept nogil:
    """z * Phi(z), with the normal distribution's own Phi (the error function), not the approximation by tanh."""
    cdef double z, below
    cdef Py_ssize_t j
    for j in range(width):
        z = value[j] + bias[j]
        below = 0.5 * (1.0 + erf(z * ROOT_HALF))
        value[j] = <floating>(z * below)
        slope[j] = <floating>(below + z * ROOT_TWO_PI_INVERSE * exp_f64(-0.5 * z * z))


cdef void drop(
    floating* value, floating* slope, double rate, uint64_t seed, uint64_t first, Py_ssize_t size
) noexcept nogil:
    """Dropout: zero each unit with probability `rate` and scale the others; its share of the derivative too."""
    cdef uint32_t threshold = <uint32_t>(rate * 4294967296.0)
    cdef floating kept = <floating>(1.0 / (1.0 - rate)), factor
    cdef Py_ssize_t i
    for i in range(size):
        factor = kept if random_bits(seed, first + <uint64_t>i) >= threshold else 0
        value[i] = value[i] * factor
        slope[i] = slope[i] * factor


cdef void backprop_activation(
    floating* delta, const floating* slope, floating* bias_grad, Py_ssize_t rows, Py_ssize_t width
) noexcept nogil:
    """Multiply the gradient by the activation's derivative, and sum it over the rows for the bias, in one pass."""
    cdef Py_ssize_t r, j
    memset(bias_grad, 0, width * sizeof(floating))
    for r in range(rows):
        for j in range(width):
            delta[j] = delta[j] * slope[j]
            bias_grad[j] = bias_grad[j] + delta[j]
        delta += width
        slope += width


cdef double softmax_row(floating* score, const floating* target, Py_ssize_t width) noexcept nogil:
    """Turn scores into probabilities minus the one-hot target (given as a class index); return the loss."""
    cdef floating top = score[0], total = 0
    cdef Py_ssize_t j, right = <Py_ssize_t>target[0]
    cdef double loss
    for j in range(1, width):
        if score[j] > top:
            top = score[j]
    loss = <double>top - <double>score[right]
    for j in range(width):
        score[j] = exp_negative(score[j] - top)
    for j in range(width):
        total += score[j]
    for j in range(width):
        score[j] = score[j] / total
    score[right] = score[right] - 1
    return loss + log(<double>total)


cdef double independent_loss_row(int kind, floating* score, const floating* target, Py_ssize_t width) noexcept nogil:
    """Turn the scores of independent outputs into the loss's derivatives; return the loss, summed over the outputs."""
    cdef double z, y, e, loss = 0
    cdef Py_ssize_t j
    for j in range(width):
        z, y = score[j], target[j]
        if kind == BINARY:
            e = exp_f64(neg_abs(z))
            loss += (z if z > 0 else 0) - z * y + log1p(e)
            score[j] = <floating>((e if z < 0 else 1.0) / (1.0 + e) - y)
        elif kind == SQUARED:
            loss += 0.5 * (z - y) * (z - y)
            score[j] = <floating>(z - y)
        else:
            e = exp(z)
            loss += e - y + (y * (log(y) - z) if y > 0 else 0)
            score[j] = <floating>(e - y)
    return loss


cdef double loop_row(
    loss_function loop, double parameter, floating* score, const floating* target, Py_ssize_t width
) noexcept nogil:
    """Do the same by a loop of the linear models, which takes float64."""
    cdef double[LOOP_OUTPUTS] z, y, loss, derivative
    cdef double total = 0
    cdef Py_ssize_t start = 0, n, j
    while start < width:
        n = min(<Py_ssize_t>LOOP_OUTPUTS, width - start)
        for j in range(n):
            z[j], y[j] = score[start + j], target[start + j]
        loop(loss, derivative, z, y, parameter, n)
        for j in range(n):
            score[start + j] = <floating>derivative[j]
            total += loss[j]
        start += n
    return total


cdef void add_bias(floating* score, const floating* bias, Py_ssize_t rows, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t r, j
    for r in range(rows):
        for j in range(width):
            score[j] = score[j] + bias[j]
        score += width


cdef double add_up(
    floating* grads, const floating* params, double decay, Py_ssize_t n_parts, Py_ssize_t stride,
    Py_ssize_t start, Py_ssize_t stop, Py_ssize_t n_weights
) noexcept nogil:
    """Add the parts' gradients from start to stop into the first, and `decay` times the weights; return their squares."""
    cdef Py_ssize_t i, k, end = min(stop, n_weights)
    cdef floating factor = <floating>decay
    cdef const floating* other
    cdef double[8] lane
    cdef double total = 0
    for k in range(1, n_parts):
        other = grads + k * stride
        for i in range(start, stop):
            grads[i] = grads[i] + other[i]
    if decay == 0 or end <= start:
        return 0
    for i in range(start, end):
        grads[i] = grads[i] + factor * params[i]
    for k in range(8):
        lane[k] = 0
    for i in range(start, end - 7, 8):
        for k in range(8):
            lane[k] += <double>params[i + k] * <double>params[i + k]
    for k in range(8):
        total += lane[k]
    for i in range(end - (end - start) % 8, end):
        total += <double>params[i] * <double>params[i]
    return total
