# What is found out about rows and columns before the epochs begin, and between them.

def shuffle_chunks(Py_ssize_t[::1] order, bit_generator, Py_ssize_t chunk):
    """Shuffle an order in place in chunks of neighbours; a rest at the end, shorter than a chunk, stays there."""
    cdef bitgen_t* source = <bitgen_t*>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef Py_ssize_t i, k, here, there
    with bit_generator.lock, nogil:
        for i in range(order.shape[0] // chunk - 1, 0, -1):
            here = i * chunk
            there = <Py_ssize_t>(source.next_double(source.state) * (i + 1)) * chunk
            for k in range(chunk):
                order[here + k], order[there + k] = order[there + k], order[here + k]


cdef struct Moments:            # of blocks of rows
    moments_function loop
    double* sums
    double* squares
    const void* data
    const Py_ssize_t* rows
    const double* weights
    const void* shift
    Py_ssize_t n, columns, blocks


cdef void block_moments(const Moments* m, Py_ssize_t b, Py_ssize_t member) noexcept nogil:
    cdef Py_ssize_t start = m.n * b // m.blocks, stop = m.n * (b + 1) // m.blocks
    m.loop(
        m.sums + b * m.columns, m.squares + b * m.columns, m.data, m.rows + start, m.weights, stop - start, m.columns,
        m.shift
    )


def column_moments(loops, data, const Py_ssize_t[::1] rows, weights, shift, Py_ssize_t threads):
    """Return the weighted sums, column by column, of x - shift and of its square, over these rows.

    The rows are cut into blocks whatever the threads, and the blocks' sums added in order.
    """
    cdef bint double_precision = data.dtype.itemsize == 8
    cdef Moments work
    cdef Py_ssize_t n = rows.shape[0], columns = data.shape[1], blocks = max(1, min(MOMENT_BLOCKS, n // 64))
    sums, squares = np.zeros((blocks, columns)), np.zeros((blocks, columns))
    work.loop = <moments_function><uintptr_t>loops.LOOPS["moments"][data.dtype.itemsize == 8]
    work.sums, work.squares = <double*>cnp.PyArray_DATA(sums), <double*>cnp.PyArray_DATA(squares)
    work.data, work.shift = cnp.PyArray_DATA(data), cnp.PyArray_DATA(shift)
    work.rows = &rows[0] if n else NULL
    work.weights = <double*>cnp.PyArray_DATA(weights) if weights is not None else NULL
    work.n, work.columns, work.blocks = n, columns, blocks
    with nogil:
        share(<task>block_moments, &work, blocks, min(threads, n * columns // PASS_GRAIN), n * columns * 8)
    return sums.cumsum(axis=0)[blocks - 1], squares.cumsum(axis=0)[blocks - 1]  # one after the other
