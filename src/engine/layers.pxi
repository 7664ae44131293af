# Layers: a plan for layer-wise rules, whose numbers depend on norms of each array.
#
# Design: norms are measured before the step in passes that only read: the new state is computed there, used, and discarded.
# So the step itself remains one pass that writes all or nothing and cannot be interrupted half way; for memory-bound rules,
# reading an array again costs less than writing it twice. Each array is cut into blocks, as for the norm: threads divide the
# blocks, but the order of summation is fixed. Reduced state (one number per array, or a vector per matrix) is computed by
# the caller, and stored when the step begins.

cdef enum:
    MAX_EXTRAS = 2
    ROW_BLOCK = 256             # rows whose squares one thread sums by column; more if they are short (NORM_BLOCK)

ROWS = ROW_BLOCK

cdef struct Layer:              # the data of an array beyond its segment
    kernel measured             # loop that computes the measured quantity; NULL: the gradient is measured
    adder column_squares
    char* output                # where the measured quantity is stored; NULL: nowhere
    char* extra[MAX_EXTRAS]     # further arrays that the loops read, before the state
    Py_ssize_t extras
    Py_ssize_t measured_extras  # the number that the measuring loop takes
    Py_ssize_t stepped_extras   # the number that the rule's loop takes
    Py_ssize_t rows, columns    # of each matrix, if extra[0] has a number per row and extra[1] one per column


cdef struct Matrices:           # the array whose rows and columns are being measured
    Py_ssize_t array
    Py_ssize_t rows, columns
    Py_ssize_t height, high     # rows per block, blocks per matrix
    double* row_sums
    double* column_sums         # of each block


cdef class LayerPlan(UnitPlan):
    """A plan that can also measure, and whose loops may read further arrays besides the state.

    Parameters
    ----------
    rules, entries, n_groups, averaged, units
        As for `UnitPlan`; for layer-wise rules, each array is its own group.
    """
    cdef Layer* layers
    cdef Chunk* blocks          # of all arrays
    cdef Py_ssize_t n_blocks
    cdef Py_ssize_t first_block # the first one being measured
    cdef bint with_params
    cdef Matrices matrices
    cdef dict lent              # index -> the caller's arrays whose addresses are kept until the step is done
    cdef dict arriving          # index -> reduced state arrays, and their values when the step begins

    def __init__(self, rules, list entries, Py_ssize_t n_groups, bint averaged, list units):
        super().__init__(rules, entries, n_groups, averaged, units)
        cdef Py_ssize_t i, size
        cdef bint double_precision
        self.layers = <Layer*>calloc(max(self.count, 1), sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError("no memory for the plan of an optimizer")
        self.lent, self.arriving, blocks = {}, {}, []
        for i, (_, _, rule, _) in enumerate(entries):
            size, double_precision = self.segments[i].size, self.segments[i].itemsize == 8
            loop, measuring = rules.TABLE[rule], rules.MEASURE.get(rule)
            if measuring is not None:
                measuring.check_states(loop.states)
                measuring.check_scalars(loop.scalars)
                self.layers[i].measured = <kernel><uintptr_t>measuring[double_precision]
                self.layers[i].measured_extras = measuring.extras
            self.layers[i].stepped_extras = loop.extras
            self.layers[i].column_squares = <adder><uintptr_t>rules.ADD_COLUMN_SQUARES[double_precision]
            blocks += [(i, at, min(at + NORM_BLOCK, size)) for at in range(0, size, NORM_BLOCK)]
        self.blocks, self.n_blocks = chunks_of(blocks), len(blocks)

    def __dealloc__(self):
        free(self.layers)
        free(self.blocks)

    # Set by the caller.

    def offer(self, tuple grads):
        """Return False: gradients may be measured before the step runs."""
        return False

    cdef bint accept(self, Py_ssize_t i, grad) except -1:
        """Check and bind one gradient; see `Plan`. Drops what was set for the previous one."""
        self.layers[i].output, self.layers[i].extras, self.layers[i].columns = NULL, 0, 0
        self.lent.pop(i, None)
        self.arriving.pop(i, None)
        return UnitPlan.accept(self, i, grad)

    def set_output(self, Py_ssize_t i, output):
        """Set the array, of the same size and type, that the measured quantity of array i is written to."""
        self.check_places(i, i + 1)
        self.check_lent(i, output, self.segments[i].size)
        self.layers[i].output = address(output)
        self.lent.setdefault(i, []).append(output)

    def set_extras(self, Py_ssize_t i, tuple extras, Py_ssize_t rows=0, Py_ssize_t columns=0):
        """Set further arrays that the loops of array i read before its state, until the step is done.

        They are like the array; or, given the rows and columns of its matrices, one has a number per row, the other one
        per column.
        """
        cdef Layer* layer
        cdef Py_ssize_t k, size, n = len(extras)
        self.check_places(i, i + 1)
        layer, size = &self.layers[i], self.segments[i].size
        self.loops[i].check_extras(n)
        sizes = (size // max(columns, 1), size // max(rows, 1)) if columns > 0 else (size,) * n
        if n > MAX_EXTRAS or len(sizes) != n or (columns > 0 and (rows <= 0 or size % (rows * columns) != 0)):
            raise ValueError(f"there must be at most {MAX_EXTRAS} extra arrays, or one of rows and one of columns; got {n}")
        for extra, wanted in zip(extras, sizes):
            self.check_lent(i, extra, wanted)
        layer.extras, layer.rows, layer.columns = n, rows, columns
        for k in range(n):
            layer.extra[k] = address(extras[k])
        self.lent.setdefault(i, []).extend(extras)

    def set_reduced(self, Py_ssize_t i, state, value):
        """Set the value that a reduced state array of array i gets when its step begins."""
        if value.shape != state.shape or value.dtype != state.dtype:
            raise ValueError(f"reduced state must be {state.dtype} {state.shape}; got {value.dtype} {value.shape}")
        self.arriving.setdefault(i, []).append((state, value))

    cdef int check_lent(self, Py_ssize_t i, array, Py_ssize_t size) except -1:
        """Check a further array for the loops of array i: its size, type and layout (unless array i is empty)."""
        if self.segments[i].size > 0 and (
            not cnp.PyArray_Check(array)
            or not gdfast_plain(<PyObject*>array, True)
            or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(self.params[i])
            or cnp.PyArray_SIZE(array) != size
        ):
            raise ValueError(f"what the loops of array {i} read beside it must be {size} elements of its type, in order")
        return 0

    # Measuring.

    def measure(self, Py_ssize_t first, Py_ssize_t stop, Py_ssize_t threads, bint add_accumulated, bint with_params):
        """Return, for each array in [first, stop), the sums of squares of what is measured and of the parameters."""
        cdef Py_ssize_t i, begin = 0, end
        cdef double ready_sum, param_sum
        cdef void* context = <void*>self
        self.check(first, stop, False, add_accumulated)
        self.measure_units(first, stop, threads, add_accumulated)
        for i in range(first, stop):
            if self.layers[i].measured != NULL and self.layers[i].extras != self.layers[i].measured_extras:
                self.loops[i]._replace(extras=self.layers[i].measured_extras).check_extras(self.layers[i].extras)
        while begin < self.n_blocks and self.blocks[begin].segment < first:
            begin += 1
        end = begin
        while end < self.n_blocks and self.blocks[end].segment < stop:
            end += 1
        self.first_block, self.with_params = begin, with_params
        with nogil:
            share(<task>measure_block, context, end - begin, min(threads, self.most_parts), self.n_bytes)
        sums = []
        i = begin
        for k in range(first, stop):
            ready_sum = param_sum = 0
            while i < end and self.blocks[i].segment == k:
                ready_sum += self.blocks[i].ready_sum
                param_sum += self.blocks[i].param_sum
                i += 1
            sums.append((ready_sum, param_sum))
        return sums

    def measure_matrices(self, Py_ssize_t i, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t threads, bint add_accumulated):
        """Return the sums of squares of each row and of each column of the matrices in a prepared gradient.

        Returns
        -------
        pair of float64 arrays, of shapes (matrices, rows) and (matrices, columns)
        """
        cdef Py_ssize_t matrices, height, high, k, m, c
        self.check(i, i + 1, False, add_accumulated)
        if rows <= 0 or columns <= 0 or self.segments[i].size % (rows * columns) != 0:
            raise ValueError(f"{self.segments[i].size} elements make no matrices of shape ({rows}, {columns})")
        matrices = self.segments[i].size // (rows * columns)
        height = max(ROW_BLOCK, NORM_BLOCK // columns)
        high = (rows + height - 1) // height
        cdef void* context = <void*>self
        of_rows, of_columns = np.zeros((matrices, rows)), np.zeros((matrices, columns))
        parts = np.zeros((matrices * high, columns))
        cdef double* column_sums = <double*>address(of_columns)
        cdef double* part_sums = <double*>address(parts)
        self.measure_units(i, i + 1, threads, add_accumulated)
        self.matrices = Matrices(i, rows, columns, height, high, <double*>address(of_rows), part_sums)
        with nogil:
            share(<task>measure_rows, context, matrices * high, min(threads, self.most_parts), self.n_bytes)
        with nogil:
            for m in range(matrices):
                for k in range(m * high, (m + 1) * high):
                    for c in range(columns):
                        column_sums[m * columns + c] += part_sums[k * columns + c]
        return of_rows, of_columns

    # The step.

    def run(self, Py_ssize_t threads, bint zero_grad=False, bint add_accumulated=False):
        """Step every array; see `Plan`. Reduced state is stored first, in the same call."""
        self.check(0, self.count, zero_grad, add_accumulated)
        self.measure_units(0, self.count, threads, add_accumulated)
        for i in range(self.count):
            self.check_extras(i)
        for i in range(self.count):
            self.arrive(i)
        Plan.run(self, threads, zero_grad, add_accumulated)
        self.lent.clear()

    def run_one(self, Py_ssize_t i, Py_ssize_t threads, bint zero_grad=False):
        """Step one array; see `Plan`."""
        self.check(i, i + 1, zero_grad, False)
        self.measure_units(i, i + 1, threads, False)
        self.check_extras(i)
        self.arrive(i)
        Plan.run_one(self, i, threads, zero_grad)
        self.lent.pop(i, None)

    cdef check_extras(self, Py_ssize_t i):
        if self.layers[i].extras != self.layers[i].stepped_extras:
            self.loops[i].check_extras(self.layers[i].extras)

    cdef arrive(self, Py_ssize_t i):
        for state, value in self.arriving.pop(i, ()):
            cnp.PyArray_CopyInto(state, value)

    cdef void step_segment(self, Segment* segment, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
        """Step the elements [start, stop) of one array, tile by tile."""
        cdef Layer* layer = &self.layers[segment - self.segments]
        cdef Py_ssize_t tile = self.tile(segment), n
        cdef double scratch[SCRATCH_DOUBLES]
        cdef StepLoops loops
        if self.units[segment - self.segments].shifts == NULL and layer.extras == 0:
            Plan.step_segment(self, segment, start, stop)
            return
        loops = self.loops_of(segment)
        loops.prepare = NULL
        loops.states += layer.extras
        while start < stop:
            n = min(tile, stop - start)
            self.call(&loops, NULL, self.prepared_grad(segment, start, n, scratch), segment, layer, start, n)
            if self.zero_grad:
                memset(segment.grad + start * segment.itemsize, 0, n * segment.itemsize)
            start += n

    # Implementation.

    cdef void call(
        self, const StepLoops* loops, void* measured, const void* grad, Segment* segment, Layer* layer, Py_ssize_t start,
        Py_ssize_t n
    ) noexcept nogil:
        """Step a tile, or compute its measured quantity; row by row, if the loops read numbers per row and column."""
        cdef Py_ssize_t itemsize = segment.itemsize, stop = start + n, k, at, row, column, m
        cdef void* arrays[1 + MAX_EXTRAS + MAX_STATES]
        while start < stop:
            at = start * itemsize
            m = stop - start
            arrays[0] = segment.param + at
            if layer.columns > 0:
                row, column = start // layer.columns, start % layer.columns
                m = min(m, layer.columns - column)
                arrays[1] = layer.extra[0] + row * itemsize
                arrays[2] = layer.extra[1] + (row // layer.rows * layer.columns + column) * itemsize
            else:
                for k in range(layer.extras):
                    arrays[1 + k] = layer.extra[k] + at
            for k in range(segment.states):
                arrays[1 + layer.extras + k] = segment.state[k] + at
            if measured == NULL:
                step_tile(loops, arrays[0], grad, &arrays[1], NULL, m)
            else:
                layer.measured(measured, grad, arrays, loops.scalars, m)
                measured = <char*>measured + m * itemsize
            grad = <const char*>grad + m * itemsize
            start += m

    cdef void measure_one(self, Chunk* block) noexcept nogil:
        """Sum the squares of the measured quantity, and of the parameters, in a block."""
        cdef Segment* segment = &self.segments[block.segment]
        cdef Layer* layer = &self.layers[block.segment]
        cdef Py_ssize_t tile = self.tile(segment), start = block.start, n
        cdef double ready_lanes[NORM_LANES]
        cdef double param_lanes[NORM_LANES]
        cdef double scratch[SCRATCH_DOUBLES]
        cdef double measured[SCRATCH_DOUBLES]
        cdef adder squares = self.units[block.segment].squares
        cdef StepLoops loops = self.loops_of(segment)
        cdef const void* grad
        cdef void* out
        memset(ready_lanes, 0, sizeof(ready_lanes))
        memset(param_lanes, 0, sizeof(param_lanes))
        while start < block.stop:
            n = min(tile, block.stop - start)
            grad = self.prepared_grad(segment, start, n, scratch)
            if layer.measured != NULL:
                out = measured if layer.output == NULL else <void*>(layer.output + start * segment.itemsize)
                self.call(&loops, out, grad, segment, layer, start, n)
                grad = out
            squares(grad, n, ready_lanes)
            if self.with_params:
                squares(segment.param + start * segment.itemsize, n, param_lanes)
            start += n
        block.ready_sum, block.param_sum = fold(ready_lanes), fold(param_lanes)

    cdef void measure_some_rows(
        self, Py_ssize_t i, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t columns, double* row_sums, double* column_sums
    ) noexcept nogil:
        """Sum the squares of `rows` rows from `row` on: of each row, and of each column over these rows."""
        cdef Segment* segment = &self.segments[i]
        cdef Layer* layer = &self.layers[i]
        cdef Py_ssize_t tile = self.tile(segment), k, column, n
        cdef double lanes[NORM_LANES]
        cdef double scratch[SCRATCH_DOUBLES]
        cdef adder squares = self.units[i].squares
        cdef const void* grad
        for k in range(row, row + rows):
            memset(lanes, 0, sizeof(lanes))
            column = 0
            while column < columns:
                n = min(tile, columns - column)
                grad = self.prepared_grad(segment, k * columns + column, n, scratch)
                squares(grad, n, lanes)
                layer.column_squares(grad, n, column_sums + column)
                column += n
            row_sums[k] = fold(lanes)


cdef void measure_block(LayerPlan plan, Py_ssize_t k, Py_ssize_t member) noexcept nogil:
    plan.measure_one(&plan.blocks[plan.first_block + k])


cdef void measure_rows(LayerPlan plan, Py_ssize_t k, Py_ssize_t member) noexcept nogil:
    cdef Matrices* m = &plan.matrices
    cdef Py_ssize_t row = k % m.high * m.height
    plan.measure_some_rows(
        m.array, k // m.high * m.rows + row, min(m.height, m.rows - row), m.columns, m.row_sums,
        m.column_sums + k * m.columns
    )
