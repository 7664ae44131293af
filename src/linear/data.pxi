# What a linear model is trained on: its data, targets, parameters and loops by address, and the buffers of each thread.

cdef class TrainingData:
    """A linear model's data, parameters and buffers, bound for training.

    Parameters
    ----------
    rules, loops : modules of one instruction-set level
    data : array of shape (rows, columns), or (data, indices, indptr) of CSR
    targets : float64 array of shape (rows, outputs), or int32 array of shape (rows,) with class numbers
    weights : float64 array of shape (rows,), or None
    mean, inv_scale : arrays of shape (columns,) of the data's type, with zeros behind them up to whole lanes
        For CSR, mean is None and inv_scale may be None.
    loss : (name, parameter)
    coef : array of shape (columns,) for one output, (columns, outputs) for several, in the data's type
    intercept : array of shape (outputs,)
    batch_size : int
    block_rows : int
        Rows of a block: a part of a mini-batch with a partial gradient of its own.
    tile_rows : int
        Rows that are gathered at a time, at most TILE_LIMIT.
    indices_sorted : bool
        Whether every row of CSR has its columns in order.
    gemm : pair of capsules, optional
        BLAS's sgemm and dgemm, needed for several outputs of dense data.
    """
    cdef object kept
    cdef Py_ssize_t data_rows, columns, padded, outputs, itemsize, batch, tile, block, blocks
    cdef bint sparse, double_precision, multinomial
    cdef Csr csr
    cdef char* data
    cdef const double* target_values
    cdef const int32_t* classes
    cdef const double* weights
    cdef char* mean
    cdef char* inv_scale
    cdef char* coef
    cdef char* intercept
    cdef char* coef_grad
    cdef char* intercept_grad
    cdef double parameter
    cdef gatherer gather
    cdef scorer score
    cdef adder add
    cdef reducer_of_parts reduce
    cdef loss_function loss
    cdef softmax_function softmax
    cdef summer sum
    cdef gemm_function gemm
    cdef Scratch* scratch
    cdef Py_ssize_t scratches
    cdef char* partial_grads    # block after block; in CSR the batch's derivatives, row after row
    cdef double* partial_intercept_grads
    cdef double* losses
    cdef Piece pieces[MAX_PIECES]
    cdef Py_ssize_t piece_count
    cdef bint averaged
    cdef Batch batch_now

    def __init__(
        self, rules, loops, data, targets, weights, mean, inv_scale, tuple loss, coef, intercept, coef_grad,
        intercept_grad, Py_ssize_t batch_size, Py_ssize_t block_rows, Py_ssize_t tile_rows,
        bint indices_sorted=True, gemm=None
    ):
        cdef Py_ssize_t stored
        if self.partial_grads != NULL:
            raise RuntimeError("a LinearKernel is bound once")
        self.kept = (data, targets, weights, mean, inv_scale, coef, intercept, coef_grad, intercept_grad, rules, loops)
        self.double_precision = coef.dtype.itemsize == 8
        self.itemsize, self.columns = coef.dtype.itemsize, coef.shape[0]
        self.outputs = intercept.shape[0]
        self.padded = (self.columns + LANES - 1) // LANES * LANES
        self.sparse = isinstance(data, tuple)
        if self.sparse:
            self.csr.data, self.csr.indices = cnp.PyArray_DATA(data[0]), cnp.PyArray_DATA(data[1])
            self.csr.pointers = cnp.PyArray_DATA(data[2])
            self.csr.inv_scale = cnp.PyArray_DATA(inv_scale) if inv_scale is not None else NULL
            self.csr.wide, self.csr.sorted = data[1].dtype.itemsize == 8, indices_sorted
            self.csr.double_precision = self.double_precision
        else:
            self.data, self.data_rows = <char*>cnp.PyArray_DATA(data), data.shape[0]
        if targets.dtype == np.int32:
            self.classes = <const int32_t*>cnp.PyArray_DATA(targets)
        else:
            self.target_values = <const double*>cnp.PyArray_DATA(targets)
        self.weights = <const double*>cnp.PyArray_DATA(weights) if weights is not None else NULL
        self.mean = <char*>cnp.PyArray_DATA(mean) if mean is not None else NULL
        self.inv_scale = <char*>cnp.PyArray_DATA(inv_scale) if inv_scale is not None else NULL
        self.coef, self.intercept = <char*>cnp.PyArray_DATA(coef), <char*>cnp.PyArray_DATA(intercept)
        self.coef_grad = <char*>cnp.PyArray_DATA(coef_grad)
        self.intercept_grad = <char*>cnp.PyArray_DATA(intercept_grad)
        self.bind_loops(loops.LOOPS, loss, gemm)
        self.batch, self.block, self.tile = batch_size, block_rows, tile_rows
        self.blocks = (self.batch + self.block - 1) // self.block
        stored = self.batch * self.outputs if self.sparse else self.blocks * self.padded * self.outputs
        self.partial_grads = <char*>memory(stored * self.itemsize)
        self.partial_intercept_grads = <double*>memory(self.blocks * self.outputs * 8)
        self.losses = <double*>memory(self.blocks * 8)

    cdef bind_loops(self, loops, tuple loss, gemm):
        cdef bint k = self.double_precision
        self.gather, self.score = <gatherer><uintptr_t>loops["gather"][k], <scorer><uintptr_t>loops["score"][k]
        self.add, self.reduce = <adder><uintptr_t>loops["add"][k], <reducer_of_parts><uintptr_t>loops["reduce"][k]
        self.sum = <summer><uintptr_t>loops["sum"]
        self.multinomial = loss[0] == "multinomial"
        if self.multinomial:
            self.softmax = <softmax_function><uintptr_t>loops["multinomial"]
        else:
            self.loss = <loss_function><uintptr_t>loops[loss[0]]
        self.parameter = loss[1]
        if gemm is not None:
            self.gemm = <gemm_function>PyCapsule_GetPointer(gemm[k], PyCapsule_GetName(gemm[k]))

    def __dealloc__(self):
        self.free_scratch()
        free(self.partial_grads)
        free(self.partial_intercept_grads)
        free(self.losses)

    cdef free_scratch(self):
        for i in range(self.scratches):
            free(self.scratch[i].tile)
            free(self.scratch[i].small)
            free(self.scratch[i].score)
        free(self.scratch)
        self.scratch, self.scratches = NULL, 0

    cdef make_scratch(self, Py_ssize_t threads):
        """Give each thread its buffers."""
        cdef Py_ssize_t n = self.tile * self.outputs, i
        cdef Scratch* s
        if threads <= self.scratches:
            return
        self.free_scratch()
        self.scratch = <Scratch*>memory(threads * sizeof(Scratch))
        self.scratches = threads
        for i in range(threads):
            s = &self.scratch[i]
            if not self.sparse:
                s.tile = <char*>memory(self.tile * self.padded * self.itemsize)
            s.small = <char*>memory(n * self.itemsize)
            s.score = <double*>memory((4 * n) * 8)
            s.target, s.loss, s.derivative = s.score + n, s.score + 2 * n, s.score + 3 * n

    def bind_step(self, rules, list pieces, bint averaged):
        """Bind what is stepped: (param, grad, states, rule name), coefficients first; the last state may be an average."""
        cdef Piece* piece
        if len(pieces) > MAX_PIECES:
            raise ValueError(f"pieces must be at most {MAX_PIECES}; got {len(pieces)}")
        for _, _, states, rule in pieces:
            rules.TABLE[rule].check_states(len(states) - averaged)
        self.piece_count, self.averaged = len(pieces), averaged
        self.kept = (*self.kept[:10], rules, pieces)
        for i, (param, grad, states, rule) in enumerate(pieces):
            piece = &self.pieces[i]
            piece.rule = <kernel><uintptr_t>rules.TABLE[rule][self.double_precision]
            piece.prepare = <kernel><uintptr_t>rules.PREPARE[self.double_precision]
            piece.average = <kernel><uintptr_t>rules.AVERAGE[self.double_precision]
            piece.param, piece.grad = <char*>cnp.PyArray_DATA(param), <char*>cnp.PyArray_DATA(grad)
            piece.size, piece.states = param.size, len(states)
            for k, state in enumerate(states):
                piece.state[k] = <char*>cnp.PyArray_DATA(state)
