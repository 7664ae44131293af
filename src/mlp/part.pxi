# One part of a mini-batch, from its rows in X to the gradient of all weights.

cdef void gradient_of_part(MLPKernel net, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    cdef Work* work = &net.work
    cdef Py_ssize_t start = work.n * part // work.parts, stop = work.n * (part + 1) // work.parts
    if net.double_precision:
        net.sums[part] = run_part(net, <double*>net.grads, start, stop, part)
    else:
        net.sums[part] = run_part(net, <float*>net.grads, start, stop, part)


cdef void add_block(MLPKernel net, Py_ssize_t k, Py_ssize_t member) noexcept nogil:
    cdef Py_ssize_t start = k * ADD_BLOCK, stop = min(start + ADD_BLOCK, net.n_params), n = net.n_params, parts = net.work.parts
    cdef double decay = net.work.decay
    if net.double_precision:
        net.sums[MAX_PARTS + k] = add_up(
            <double*>net.grads, <double*>net.params, decay, parts, n, start, stop, net.n_weights
        )
    else:
        net.sums[MAX_PARTS + k] = add_up(
            <float*>net.grads, <float*>net.params, decay, parts, n, start, stop, net.n_weights
        )


cdef void scores_of_part(MLPKernel net, Py_ssize_t part, Py_ssize_t member) noexcept nogil:
    cdef Work* work = &net.work
    cdef Py_ssize_t start = work.n * part // work.parts, stop = work.n * (part + 1) // work.parts
    if net.double_precision:
        copy_scores(net, work.rows, work.first, start, stop, <double*>work.scores)
    else:
        copy_scores(net, work.rows, work.first, start, stop, <float*>work.scores)


cdef void copy_scores(
    MLPKernel net, const Py_ssize_t* rows, Py_ssize_t first, Py_ssize_t start, Py_ssize_t stop, floating* out
) noexcept nogil:
    cdef Py_ssize_t last = net.n_layers - 1, width = net.units[net.n_layers], n = stop - start
    cdef floating* score = layer(net, <floating*>net.values, last, start)
    forward(net, score, rows, first, start, stop, 0.0, 0)
    add_bias(score, <floating*>net.intercepts[last], n, width)
    memcpy(out + start * width, score, n * width * sizeof(floating))


cdef inline floating* layer(MLPKernel net, const floating* buffer, Py_ssize_t index, Py_ssize_t row) noexcept nogil:
    """The place of a row in what `values` or `slopes` hold for a layer, counted from 0 for the first hidden one."""
    return <floating*>buffer + net.capacity * net.unit_at[index] + row * net.units[index + 1]


cdef double run_part(
    MLPKernel net, floating* all_grads, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t part
) noexcept nogil:
    """Forward, loss and back; returns the sum of the rows' losses."""
    cdef const Py_ssize_t* rows = net.work.rows
    cdef floating* grads = all_grads + part * net.n_params
    cdef floating* bias_grads = grads + net.n_weights
    cdef Py_ssize_t l, last = net.n_layers - 1, n = stop - start
    cdef floating* inputs
    cdef floating* delta = layer(net, <floating*>net.values, last, start)
    cdef double loss
    forward(net, delta, rows, 0, start, stop, net.work.dropout, net.work.seed)
    loss = losses(
        net, delta, <floating*>net.intercepts[last], bias_grads + net.unit_at[last], rows + start, n, net.work.share
    )
    for l in range(last, 0, -1):
        inputs = layer(net, <floating*>net.values, l - 1, start)
        gemm(net, True, False, net.units[l], net.units[l + 1], n, inputs, delta, grads + net.weight_at[l])
        gemm(net, False, True, n, net.units[l], net.units[l + 1], delta, <floating*>net.coefs[l], inputs)
        delta = inputs      # its values are no longer needed
        inputs = layer(net, <floating*>net.slopes, l - 1, start)
        backprop_activation(delta, inputs, bias_grads + net.unit_at[l - 1], n, net.units[l])
    if net.sparse:
        csr_gradient(net, delta, grads, rows + start, n)
    else:
        inputs = <floating*>net.inputs + start * net.units[0]
        gemm(net, True, False, net.units[0], net.units[1], n, inputs, delta, grads)
    return loss


cdef void forward(
    MLPKernel net, floating* scores, const Py_ssize_t* rows, Py_ssize_t first, Py_ssize_t start, Py_ssize_t stop,
    double dropout, uint64_t seed
) noexcept nogil:
    """Take the rows rows[start:stop] (first + start to first + stop without `rows`) up to the scores without bias."""
    cdef floating* inputs = scores
    cdef floating* values
    cdef floating* slopes
    cdef Py_ssize_t l, n = stop - start, width
    for l in range(net.n_layers):
        width = net.units[l + 1]
        values = layer(net, <floating*>net.values, l, start)
        if l == 0 and net.sparse:
            csr_product(net, <floating*>net.coefs[0], values, rows, first, start, stop)
        else:
            if l == 0:
                inputs = <floating*>net.inputs + start * net.units[0]
                gather(net, inputs, rows, first, start, stop)
            gemm(net, False, False, n, width, net.units[l], inputs, <floating*>net.coefs[l], values)
        if l < net.n_layers - 1:
            slopes = layer(net, <floating*>net.slopes, l, start)
            activate(values, slopes, <floating*>net.intercepts[l], net.activation, n, width)
            if dropout > 0:
                drop(values, slopes, dropout, seed, <uint64_t>(net.capacity * net.unit_at[l] + start * width), n * width)
        inputs = values


cdef inline Py_ssize_t row_of(const Py_ssize_t* rows, Py_ssize_t first, Py_ssize_t i) noexcept nogil:
    return first + i if rows == NULL else rows[i]


cdef void gather(
    MLPKernel net, floating* out, const Py_ssize_t* rows, Py_ssize_t first, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    """Copy the rows side by side, standardised."""
    cdef Py_ssize_t width = net.units[0], i, j
    cdef const floating* mean = <floating*>net.mean
    cdef const floating* inv_scale = <floating*>net.inv_scale
    cdef const floating* row
    for i in range(start, stop):
        row = <const floating*>net.X + row_of(rows, first, i) * width
        if inv_scale == NULL:
            memcpy(out, row, width * sizeof(floating))
        else:
            for j in range(width):
                out[j] = (row[j] - mean[j]) * inv_scale[j]
        out += width


cdef inline Py_ssize_t integer(const char* array, bint wide, Py_ssize_t k) noexcept nogil:
    return <Py_ssize_t>(<const int64_t*>array)[k] if wide else <Py_ssize_t>(<const int32_t*>array)[k]


cdef void csr_product(
    MLPKernel net, const floating* weights, floating* values, const Py_ssize_t* rows, Py_ssize_t first, Py_ssize_t start,
    Py_ssize_t stop
) noexcept nogil:
    """CSR rows times the first layer's weights."""
    cdef Py_ssize_t width = net.units[1], i, j, k, row, column
    cdef const floating* inv_scale = <floating*>net.inv_scale
    cdef const floating* weight
    cdef floating x
    memset(values, 0, (stop - start) * width * sizeof(floating))
    for i in range(start, stop):
        row = row_of(rows, first, i)
        for k in range(integer(net.indptr, net.wide, row), integer(net.indptr, net.wide, row + 1)):
            column = integer(net.indices, net.wide, k)
            x = (<const floating*>net.X)[k]
            if inv_scale != NULL:
                x = x * inv_scale[column]
            weight = weights + column * width
            for j in range(width):
                values[j] = values[j] + x * weight[j]
        values += width


cdef void csr_gradient(
    MLPKernel net, const floating* delta, floating* grads, const Py_ssize_t* rows, Py_ssize_t n
) noexcept nogil:
    """The transposed CSR rows times the gradient of the first layer's values."""
    cdef Py_ssize_t width = net.units[1], i, j, k, column
    cdef const floating* inv_scale = <floating*>net.inv_scale
    cdef floating* grad
    cdef floating x
    memset(grads, 0, net.units[0] * width * sizeof(floating))
    for i in range(n):
        for k in range(integer(net.indptr, net.wide, rows[i]), integer(net.indptr, net.wide, rows[i] + 1)):
            column = integer(net.indices, net.wide, k)
            x = (<const floating*>net.X)[k]
            if inv_scale != NULL:
                x = x * inv_scale[column]
            grad = grads + column * width
            for j in range(width):
                grad[j] = grad[j] + x * delta[j]
        delta += width


cdef double losses(
    MLPKernel net, floating* score, const floating* bias, floating* bias_grad, const Py_ssize_t* rows, Py_ssize_t n, double share
) noexcept nogil:
    """Turn the scores without bias into the loss's gradient, a row's times its weight times `share`; sum the losses."""
    cdef Py_ssize_t width = net.units[net.n_layers], i, j
    cdef const floating* target
    cdef floating factor
    cdef double loss, weight, total = 0
    memset(bias_grad, 0, width * sizeof(floating))
    for i in range(n):
        add_bias(score, bias, 1, width)
        target = <floating*>net.targets + rows[i] * net.target_width
        if net.loss == SOFTMAX:
            loss = softmax_row(score, target, width)
        elif net.loss == LOOP:
            loss = loop_row(net.loop, net.parameter, score, target, width)
        else:
            loss = independent_loss_row(net.loss, score, target, width)
        weight = 1 if net.weights == NULL else (<floating*>net.weights)[rows[i]]
        total += loss * weight
        factor = <floating>(weight * share)
        for j in range(width):
            score[j] = score[j] * factor
            bias_grad[j] = bias_grad[j] + score[j]
        score += width
    return total


cdef void gemm(
    MLPKernel net, bint transpose_a, bint transpose_b, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t inner,
    const floating* a, const floating* b, floating* out
) noexcept nogil:
    """out = a @ b for contiguous rows; a transposed operand is stored as (inner, rows), or (columns, inner).

    BLAS counts by columns: to it the arrays are transposed, and out' = b' @ a'.
    """
    cdef char* of_a = b"T" if transpose_a else b"N"
    cdef char* of_b = b"T" if transpose_b else b"N"
    cdef int m = <int>columns, n = <int>rows, k = <int>inner
    cdef int lda = <int>(rows if transpose_a else inner), ldb = <int>(inner if transpose_b else columns)
    cdef floating one = 1, zero = 0
    net.multiply(of_b, of_a, &m, &n, &k, &one, b, &ldb, a, &lda, &zero, out, &m)
