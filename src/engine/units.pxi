# Units: a plan whose gradients may be centralised and clipped unit by unit, before the rule reads them.
#
# Design: a unit is the part of an array that shares an index of the first axis (a neuron's weights), or a whole vector.
# Before the step, a pass that only reads computes two numbers per unit: a shift that is subtracted from its gradient, and a
# factor that the result is multiplied by. A unit is always summed by one thread, in lanes and a tree over them. The step
# applies shift and factor as it prepares each tile of the gradient.

cdef struct Unit:               # what the units of one array have in common
    Py_ssize_t size             # elements
    bint centralize
    double clipping             # the largest norm of a unit's gradient, relative to its parameters'; 0: no limit
    double least                # smallest norm of the parameters to be used
    double* shifts              # of each unit; NULL: gradients are neither centralised nor clipped
    double* factors
    bint fresh                  # whether they were computed from the gradient taken
    kernel prepare
    adder values
    adder squares


cdef struct Chunk:              # one item of the measuring work: the elements, or the units, [start, stop) of an array
    Py_ssize_t segment
    Py_ssize_t start
    Py_ssize_t stop
    double ready_sum
    double param_sum


cdef class UnitPlan(Plan):
    """A plan that can prepare gradients unit by unit.

    Parameters
    ----------
    rules, entries, n_groups, averaged
        As for `Plan`.
    units : list of (centralize, clipping, least, size)
        For each array: whether the mean of a unit's gradient is subtracted; the largest norm of a unit's gradient,
        relative to that of its parameters (at least `least`), or 0 for no limit; and the number of elements of a unit.
    """
    cdef Unit* units
    cdef Chunk* chunks          # each about NORM_BLOCK elements
    cdef Py_ssize_t n_chunks
    cdef Py_ssize_t first, stop # the range of arrays being measured
    cdef list unit_numbers      # keeps the memory of shifts and factors alive

    def __init__(self, rules, list entries, Py_ssize_t n_groups, bint averaged, list units):
        super().__init__(rules, entries, n_groups, averaged)
        cdef Unit* unit
        cdef Py_ssize_t i, count
        cdef bint double_precision
        self.units = <Unit*>calloc(max(self.count, 1), sizeof(Unit))
        if self.units == NULL:
            raise MemoryError("no memory for the plan of an optimizer")
        self.unit_numbers, chunks = [], []
        for i, (centralize, clipping, least, size) in enumerate(units):
            unit = &self.units[i]
            double_precision = self.segments[i].itemsize == 8
            unit.prepare = <kernel><uintptr_t>rules.PREPARE_UNIT[double_precision]
            unit.values = <adder><uintptr_t>rules.ADD_VALUES[double_precision]
            unit.squares = <adder><uintptr_t>rules.ADD_SQUARES[double_precision]
            unit.centralize, unit.clipping, unit.least, unit.size = centralize, clipping, least, size
            if self.segments[i].size and (centralize or clipping > 0):
                count, some = self.segments[i].size // size, max(1, NORM_BLOCK // size)
                numbers = np.zeros(count), np.ones(count)
                unit.shifts, unit.factors = <double*>address(numbers[0]), <double*>address(numbers[1])
                self.unit_numbers.append(numbers)
                chunks += [(i, at, min(at + some, count)) for at in range(0, count, some)]
        self.chunks, self.n_chunks = chunks_of(chunks), len(chunks)

    def __dealloc__(self):
        free(self.units)
        free(self.chunks)

    cdef bint accept(self, Py_ssize_t i, grad) except -1:
        """Check and bind one gradient; see `Plan`."""
        self.units[i].fresh = False
        return Plan.accept(self, i, grad)

    cdef Py_ssize_t tile(self, Segment* segment) noexcept nogil:
        """Return the number of elements prepared at a time, a multiple of the number of lanes."""
        cdef Py_ssize_t n = min(self.tile_bytes, SCRATCH_DOUBLES * 8) // segment.itemsize
        return max(NORM_LANES, n - n % NORM_LANES)

    cdef const void* prepared_grad(
        self, Segment* segment, Py_ssize_t start, Py_ssize_t n, void* scratch
    ) noexcept nogil:
        """Return the prepared gradient of a tile: in place if it needs no preparation, else in scratch."""
        cdef Unit* unit = &self.units[segment - self.segments]
        cdef Numbers* numbers = &self.numbers[segment.group]
        cdef const void* prepare = <void*>numbers.prepare_f64 if segment.itemsize == 8 else <void*>numbers.prepare_f32
        cdef void* param = segment.param + start * segment.itemsize
        cdef const void* grad
        cdef char* out = <char*>scratch
        cdef Py_ssize_t k, m
        if unit.shifts == NULL:
            grad = self.given(segment, start, n, scratch)
            if numbers.prepared:
                segment.prepare(scratch, grad, &param, prepare, n)
                grad = scratch
            return grad
        while n > 0:
            k = start // unit.size
            m = min(n, (k + 1) * unit.size - start)
            self.prepare_unit(segment, start, m, out, unit.shifts[k], unit.factors[k], numbers.prepare_f64[2])
            out += m * segment.itemsize
            start += m
            n -= m
        return scratch

    cdef void prepare_unit(
        self, Segment* segment, Py_ssize_t start, Py_ssize_t n, void* out, double shift, double factor, double l2
    ) noexcept nogil:
        """Prepare a part of one unit's gradient."""
        cdef Numbers* numbers = &self.numbers[segment.group]
        cdef void* param = segment.param + start * segment.itemsize
        cdef double f64[5]
        cdef float f32[5]
        cdef Py_ssize_t i
        f64[0], f64[1], f64[2], f64[3], f64[4] = numbers.prepare_f64[0], numbers.prepare_f64[1], l2, shift, factor
        for i in range(5):
            f32[i] = <float>f64[i]
        self.units[segment - self.segments].prepare(
            out, self.given(segment, start, n, out), &param, <void*>f64 if segment.itemsize == 8 else <void*>f32, n
        )

    cdef const void* given(self, Segment* segment, Py_ssize_t start, Py_ssize_t n, void* scratch) noexcept nogil:
        """Return a tile of the gradient in place, or its sum with the bound sums in scratch."""
        cdef const void* grad = segment.grad + start * segment.itemsize
        cdef void* accumulated
        if not self.add_accumulated:
            return grad
        accumulated = segment.accumulated + start * segment.itemsize
        segment.add(scratch, grad, &accumulated, NULL, n)
        return scratch

    cdef measure_units(self, Py_ssize_t first, Py_ssize_t stop, Py_ssize_t threads, bint add_accumulated):
        """Compute the shifts and factors of the arrays [first, stop) that have none for this step."""
        cdef Py_ssize_t i
        cdef void* context = <void*>self
        self.add_accumulated, self.first, self.stop = add_accumulated, first, stop
        with nogil:
            share(<task>measure_chunk, context, self.n_chunks, min(threads, self.most_parts), self.n_bytes)
        for i in range(first, stop):
            self.units[i].fresh = True

    cdef void measure_unit(self, Segment* segment, Unit* unit, Py_ssize_t k) noexcept nogil:
        """Compute the shift and the factor of one unit: its gradient's mean, and the clipping factor of the rest."""
        cdef double sums[2]
        cdef double norm, limit
        unit.shifts[k], unit.factors[k] = 0, 1
        if unit.centralize:
            self.sum_unit(segment, unit, k, False, sums)
            unit.shifts[k] = sums[0] / unit.size
        if unit.clipping > 0:
            self.sum_unit(segment, unit, k, True, sums)
            norm, limit = sqrt(sums[0]), sqrt(sums[1])
            limit = unit.clipping * (unit.least if limit < unit.least else limit)
            if not norm < limit:
                unit.factors[k] = limit / (1e-6 if norm < 1e-6 else norm)

    cdef void sum_unit(self, Segment* segment, Unit* unit, Py_ssize_t k, bint squares, double* sums) noexcept nogil:
        """Sum a unit's gradient (less its shift), or the squares of that and those of its parameters."""
        cdef Py_ssize_t tile = self.tile(segment)
        cdef Py_ssize_t start = k * unit.size, stop = (k + 1) * unit.size, n
        cdef double lanes[NORM_LANES]
        cdef double param_lanes[NORM_LANES]
        cdef double scratch[SCRATCH_DOUBLES]
        memset(lanes, 0, sizeof(lanes))
        memset(param_lanes, 0, sizeof(param_lanes))
        while start < stop:
            n = min(tile, stop - start)
            self.prepare_unit(segment, start, n, scratch, unit.shifts[k], 1, 0)
            if squares:
                unit.squares(scratch, n, lanes)
                unit.squares(segment.param + start * segment.itemsize, n, param_lanes)
            else:
                unit.values(scratch, n, lanes)
            start += n
        sums[0], sums[1] = fold(lanes), fold(param_lanes)


cdef void measure_chunk(UnitPlan plan, Py_ssize_t i, Py_ssize_t member) noexcept nogil:
    cdef Chunk* chunk = &plan.chunks[i]
    cdef Py_ssize_t k
    if plan.first <= chunk.segment < plan.stop and not plan.units[chunk.segment].fresh:
        for k in range(chunk.start, chunk.stop):
            plan.measure_unit(&plan.segments[chunk.segment], &plan.units[chunk.segment], k)


cdef inline char* address(array):
    return <char*>cnp.PyArray_DATA(array)


cdef Chunk* chunks_of(list places) except NULL:
    cdef Chunk* chunks = <Chunk*>calloc(max(len(places), 1), sizeof(Chunk))
    if chunks == NULL:
        raise MemoryError("no memory for the plan of an optimizer")
    for i, (segment, start, stop) in enumerate(places):
        chunks[i].segment, chunks[i].start, chunks[i].stop = segment, start, stop
    return chunks
