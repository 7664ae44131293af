# What is found out about rows and columns before the epochs begin, and between them.

def shuffle_chunks(Py_ssize_t[::1] order, bit_generator, Py_ssize_t chunk):
    """Shuffle an order in place, so many neighbours together; what is left of it at the end stays there."""
    cdef bitgen_t* source = <bitgen_t*>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef Py_ssize_t i, k, here, there
    with bit_generator.lock, nogil:
        for i in range(order.shape[0] // chunk - 1, 0, -1):
            here = i * chunk
            there = <Py_ssize_t>(source.next_double(source.state) * (i + 1)) * chunk
            for k in range(chunk):
                order[here + k], order[there + k] = order[there + k], order[here + k]


def column_moments(loops, data, const Py_ssize_t[::1] rows, weights, shift, Py_ssize_t threads):
    """Return the weighted sums, column by column, of x - shift and of its square, over these rows.

    The rows are cut into blocks whatever the threads, and the blocks' sums added in order.
    """
    cdef bint double_precision = data.dtype.itemsize == 8
    cdef moments_function moments = <moments_function><uintptr_t>loops.LOOPS["moments"][double_precision]
    cdef Py_ssize_t n = rows.shape[0], columns = data.shape[1], b, part
    cdef Py_ssize_t blocks = max(1, min(MOMENT_BLOCKS, n // 64)), parts = max(1, min(threads, n * columns // PASS_GRAIN))
    sums, squares = np.zeros((blocks, columns)), np.zeros((blocks, columns))
    cdef double[:, ::1] sum_rows = sums, square_rows = squares
    cdef const void* values = cnp.PyArray_DATA(data)
    cdef const void* shifts = cnp.PyArray_DATA(shift)
    cdef const double* w = <double*>cnp.PyArray_DATA(weights) if weights is not None else NULL
    for part in prange(parts, nogil=True, num_threads=parts, schedule="static", chunksize=1):
        for b in range(blocks * part // parts, blocks * (part + 1) // parts):
            moments(
                &sum_rows[b, 0], &square_rows[b, 0], values, &rows[n * b // blocks], w,
                n * (b + 1) // blocks - n * b // blocks, columns, shifts
            )
    return sums.cumsum(axis=0)[blocks - 1], squares.cumsum(axis=0)[blocks - 1]  # one after the other
