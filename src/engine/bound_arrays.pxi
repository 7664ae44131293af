# The addresses of an optimizer's arrays, and the check that the arrays have not changed since they were bound.
#
# Design: `gdfast.arrays` checked everything when the optimizer was made. What can change since is compared in the native
# call that then reads and writes: no Python code runs between the last comparison and the step.

cdef double STEPS = 2.0**63      # more than the number of any step

cdef struct Segment:            # one parameter array
    char* param
    char* grad
    char* accumulated                # the sum of micro-batches, to be added to the gradient; or NULL
    char* state[MAX_STATES]
    const cnp.npy_intp* shape   # of the parameter as it was bound
    int ndim
    int type                    # of the gradients taken; at first the parameter's
    Py_ssize_t first            # index of its first element among the elements of all arrays
    Py_ssize_t size
    Py_ssize_t itemsize
    Py_ssize_t states
    Py_ssize_t own              # number of the rule's own scalars, after decay and l1
    Py_ssize_t group
    kernel rule
    kernel add
    kernel prepare
    kernel average
    Coding* coding              # NULL: all of it is in the type that the rule computes in
    unsigned int array          # its number among all arrays, and its first element in it: where it is a slice, which
    Py_ssize_t origin           # has the random bits of the whole array
    unsigned int key            # what the random bits of this array in this step are hashed from


cdef class BoundArrays:
    """The addresses of parameters, state, and the gradients of the next step.

    Parameters
    ----------
    rules : the module of one instruction-set level (`gdfast.engine.isa`)
    entries : list of (param, states, rule name, group index), checked by `gdfast.arrays.buffers`
    n_groups : int
    averaged : bool
        Whether the last state of each is the average of its parameter.
    others : list of arrays
        Further arrays that no gradient may share memory with.

    Raises
    ------
    ValueError
        If a rule's loop takes another number of states, or the rules of one group take different numbers of scalars.
    """
    cdef Segment* segments
    cdef Numbers* numbers
    cdef Corrections* corrections
    cdef list kept              # of each group: the hyperparameters that its numbers are made of, if they hold in all steps
    cdef Py_ssize_t count, total, n_groups
    cdef list params, states, others, loops
    cdef list bounds            # a `Bound` of each entry's arrays; `held`: their records in one C array
    cdef gdfast_held* held
    cdef Py_ssize_t* held_first # index of each entry's first record; NULL if the arrays are private
    cdef tuple row              # the gradients taken, until the step has run; `lone`: a single one
    cdef bint offered           # whether `run` must check them
    cdef object lone
    cdef Py_ssize_t lone_place
    cdef Bound sums
    cdef Py_ssize_t taken       # number of memory intervals of all arrays, and their sorted bounds
    cdef uintptr_t* begins
    cdef uintptr_t* ends
    cdef readonly Py_ssize_t n_bytes
    cdef float average_f32[1]
    cdef double average_f64[1]

    def __init__(self, rules, list entries, Py_ssize_t n_groups, bint averaged=False, list others=[]):
        cdef Segment* segment
        cdef Py_ssize_t i, first = 0
        cdef bint double_precision
        if self.segments != NULL:
            raise RuntimeError("a plan is made once")
        self.count, self.n_groups = len(entries), n_groups
        self.segments = <Segment*>calloc(max(self.count, 1), sizeof(Segment))
        self.numbers = <Numbers*>calloc(max(n_groups, 1), sizeof(Numbers))
        self.corrections = <Corrections*>calloc(max(n_groups, 1), sizeof(Corrections))
        self.kept = [None] * n_groups
        if self.segments == NULL or self.numbers == NULL or self.corrections == NULL:
            raise MemoryError("no memory for the plan of an optimizer")
        self.params, self.states, self.others, self.loops = [], [], others, []
        self.lone_place = -1
        for i, (param, states, rule, group) in enumerate(entries):
            segment = &self.segments[i]
            double_precision = param.dtype.itemsize == 8
            segment.param = <char*>cnp.PyArray_DATA(param)
            segment.shape, segment.ndim = cnp.PyArray_DIMS(param), cnp.PyArray_NDIM(param)
            segment.type = cnp.PyArray_TYPE(param)
            segment.first, segment.size, segment.itemsize = first, param.size, param.dtype.itemsize
            segment.states, segment.group, segment.array = len(states), group, i
            loop = rules.TABLE[rule]
            loop.check_states(segment.states - averaged)
            segment.rule, segment.own = <kernel><uintptr_t>loop[double_precision], loop.scalars
            segment.add = <kernel><uintptr_t>rules.ADD[double_precision]
            segment.prepare = <kernel><uintptr_t>rules.PREPARE[double_precision]
            segment.average = <kernel><uintptr_t>rules.AVERAGE[double_precision] if averaged else NULL
            for k, state in enumerate(states):
                segment.state[k] = <char*>cnp.PyArray_DATA(state)
            self.params.append(param)
            self.states.append(states)
            self.loops.append(loop)
            first += segment.size
            self.n_bytes += param.nbytes * (2 + segment.states)
        self.total = first
        self.count_numbers(False)
        self.remember_memory()

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.segments != NULL:
            for i in range(self.count):
                free(self.segments[i].coding)
        free(self.segments)
        free(self.numbers)
        free(self.corrections)
        free(self.held)
        free(self.held_first)
        free(self.begins)
        free(self.ends)

    cdef count_numbers(self, bint bound):
        """Set the number of scalars of each group: those that the rules of its arrays take (of all, or of those bound)."""
        cdef Segment* segment
        cdef Numbers* numbers
        cdef Py_ssize_t i
        for i in range(self.n_groups):
            self.numbers[i].own = ANY
        for i in range(self.count):
            segment = &self.segments[i]
            if not 0 <= segment.group < self.n_groups:
                raise IndexError(f"group must be in [0, {self.n_groups}); got {segment.group}")
            if bound and segment.grad == NULL:
                continue
            numbers = &self.numbers[segment.group]
            if numbers.own == ANY:
                numbers.own = segment.own
            elif numbers.own != segment.own:
                self.loops[i].check_scalars(numbers.own)

    def check_numbers(self, Py_ssize_t group, Py_ssize_t own):
        """Raise ValueError unless a group's rules take this number of scalars after decay and l1."""
        cdef Py_ssize_t i, expected
        if not 0 <= group < self.n_groups:
            raise IndexError(f"group must be in [0, {self.n_groups}); got {group}")
        expected = self.numbers[group].own
        if own == expected:
            return
        for i in range(self.count):
            if self.segments[i].group == group and self.segments[i].own == expected:
                self.loops[i].check_scalars(own)
        if own > MAX_SCALARS - 2:
            raise ValueError(f"a rule has at most {MAX_SCALARS - 2} numbers from scalars(); got {own}")

    cdef remember_memory(self):
        """Sort the memory of parameters and state by address, to find gradients that overlap it."""
        arrays = [*self.others, *(a for p, states in zip(self.params, self.states) for a in (p, *states))]
        spans = sorted((<uintptr_t>cnp.PyArray_DATA(a), <uintptr_t>a.nbytes) for a in arrays if a.size)
        self.taken = len(spans)
        self.begins = <uintptr_t*>calloc(max(self.taken, 1), sizeof(uintptr_t))
        self.ends = <uintptr_t*>calloc(max(self.taken, 1), sizeof(uintptr_t))
        if self.begins == NULL or self.ends == NULL:
            raise MemoryError("no memory for the plan of an optimizer")
        for i, (begin, n_bytes) in enumerate(spans):
            self.begins[i], self.ends[i] = begin, begin + n_bytes

    cdef bint lies_in_own_memory(self, uintptr_t begin, Py_ssize_t n_bytes) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self.taken, middle
        while low < high:                       # the first interval that ends after `begin`
            middle = (low + high) // 2
            if self.ends[middle] <= begin:
                low = middle + 1
            else:
                high = middle
        return n_bytes > 0 and low < self.taken and self.begins[low] < begin + n_bytes

    def set_numbers(self, Py_ssize_t group, tuple given):
        """Set a group's numbers of this step, each rounded once to the element types.

        grad_scale, clip_value and l2 prepare the gradient; decay, l1 and the tuple of the rule's scalars are for its loop.
        """
        cdef Numbers* numbers = &self.numbers[group]
        cdef double grad_scale, clip_value, l2, decay, l1
        cdef tuple scalars
        cdef Py_ssize_t i
        grad_scale, clip_value, l2, decay, l1, scalars = given
        if not 0 <= group < self.n_groups or numbers.own != <Py_ssize_t>len(scalars):
            self.check_numbers(group, len(scalars))
        self.kept[group] = None
        prepare_with(numbers, grad_scale, clip_value, l2)
        numbers.f64[0], numbers.f64[1] = decay, l1
        for i in range(len(scalars)):
            numbers.f64[2 + i] = scalars[i]
        round_numbers(numbers)

    def keep_numbers(self, Py_ssize_t group, values, tuple own):
        """Let `renew_numbers` compute those of later steps, from lr, beta1, beta2, eps, eps_root and eps_hat (`own`).

        Without these (an empty tuple) the numbers stay as they are, which must not be those of the first step.
        """
        cdef Corrections* kept = &self.corrections[group]
        if own or not 0 <= group < self.n_groups:
            self.check_numbers(group, ADAM_EPS_ROOT - 1)
        kept.constant = not own
        if own:
            kept.lr, kept.beta1, kept.beta2, kept.eps, kept.eps_root, kept.eps_hat = own
            keep_logs(kept)
        self.kept[group] = values

    def renew_numbers(self, Py_ssize_t group, values not None, double t):
        """Compute a group's numbers of step t, counted from 1, if those of `values` are kept; return whether it did."""
        return self.renew(group, values, t)

    cdef bint renew(self, Py_ssize_t group, values, double t) except -1:
        if not 0 <= group < self.n_groups or self.kept[group] is not values or not 1 <= t < STEPS or t != <long long>t:
            return False
        if self.corrections[group].constant:
            return t > 1
        correct(&self.numbers[group], &self.corrections[group], t)
        return True

    def set_average(self, double weight):
        """Set the weight of the new parameters in their average at this step."""
        self.average_f64[0], self.average_f32[0] = weight, <float>weight

    def watch(self, list bounds):
        """Compare arrays with what was bound, in every call that reads or writes them. `bounds`: a `Bound` of each entry.

        Arrays in a `Block` are not compared, because they cannot be resized or moved.
        """
        cdef Py_ssize_t i, k, n, total = sum([len(bound.views) for bound in bounds])
        cdef Bound bound
        if self.held_first != NULL or len(bounds) != self.count:
            raise RuntimeError("watch must be called once, with a Bound of each entry")
        self.bounds = bounds
        self.held = <gdfast_held*>calloc(max(total, 1), sizeof(gdfast_held))
        self.held_first = <Py_ssize_t*>calloc(self.count + 1, sizeof(Py_ssize_t))
        if self.held == NULL or self.held_first == NULL:
            raise MemoryError("no memory for the plan of an optimizer")
        for i in range(self.count):
            bound, n = bounds[i], self.held_first[i]
            for k in range(bound.count):
                if not isinstance(cnp.get_array_base(bound.arrays[k]), Block):
                    self.held[n] = bound.held[k]
                    n += 1
            self.held_first[i + 1] = n

    def offer(self, tuple grads):
        """Keep the gradients of the next step for `run` to check; return False if `take` must be called instead.

        For a step that does not need the gradients before it runs: each is then checked only once.
        """
        if not self.holds_arrays(grads):
            return False
        self.row, self.offered = grads, True
        return True

    cdef bint holds_arrays(self, tuple grads) noexcept:
        """Whether these are NumPy arrays, of no subclass, one for each parameter."""
        cdef Py_ssize_t i
        if PyTuple_GET_SIZE(grads) != self.count:
            return False
        for i in range(self.count):
            if type(<object>PyTuple_GET_ITEM(grads, i)) is not cnp.ndarray:
                return False
        return True

    def take(self, tuple grads):
        """Check the gradients of the next step and bind them; return them as plain arrays.

        The check here is fast. If it fails, a subclass's `explain` raises the error, or returns if the gradient is valid
        after all (an array of a subclass, say). The gradients are kept until the step has run, or until `release`.
        """
        cdef Py_ssize_t i
        cdef bint exact = True
        if len(grads) != self.count:
            raise ValueError(f"grads must be {self.count} arrays, one per parameter; got {len(grads)}")
        for i in range(self.count):
            exact &= self.accept(i, grads[i])
        self.row, self.offered = grads, False
        return grads if exact else tuple([np.ndarray.view(grad, cnp.ndarray) for grad in grads])

    def take_one(self, Py_ssize_t i, grad):
        """Check the gradient of one entry and bind it; return it as a plain array."""
        self.check_places(i, i + 1)
        exact = self.accept(i, grad)
        self.row, self.offered, self.lone, self.lone_place = None, False, grad, i
        return grad if exact else np.ndarray.view(grad, cnp.ndarray)

    cdef int check_places(self, Py_ssize_t first, Py_ssize_t stop) except -1:
        if not 0 <= first <= stop <= self.count:
            raise IndexError(f"there are {self.count} arrays; got indices from {first} to {stop}")
        return 0

    cdef bint accept(self, Py_ssize_t i, grad) except -1:
        """Check and bind one gradient; return whether its class is exactly ndarray. Subclasses drop what they kept."""
        if not self.try_bind(i, grad):
            self.explain(i, grad)
            self.segments[i].type = cnp.PyArray_TYPE(grad)
            self.segments[i].grad = <char*>cnp.PyArray_DATA(grad)
        return type(grad) is cnp.ndarray

    def take_none(self):
        """Step without gradients, for a rule that reads none."""
        cdef Py_ssize_t i
        self.release()
        for i in range(self.count):
            self.segments[i].grad = self.segments[i].param

    def release(self):
        """Drop gradients that were taken and will not be stepped."""
        self.let_go()

    cdef void let_go(self) noexcept:
        self.row = self.lone = None
        self.lone_place, self.offered = -1, False

    def bind_sums(self, Bound sums):
        """Bind the sums of micro-batches, arrays like the parameters that `run` can add to the gradients."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.segments[i].accumulated = <char*>cnp.PyArray_DATA(sums.views[i])
        self.sums = sums

    cdef bint try_bind(self, Py_ssize_t i, grad):
        """Bind a gradient if it passes the fast check; return whether it did.

        The overlap with the optimizer's memory is checked only if the address is not the one bound before.
        """
        cdef Segment* segment = &self.segments[i]
        cdef char* address
        if type(grad) is not cnp.ndarray or not is_like(segment, <PyObject*>grad):
            return False
        address = <char*>cnp.PyArray_DATA(grad)
        if address != segment.grad or address == segment.param:
            if self.lies_in_own_memory(<uintptr_t>address, segment.size * cnp.PyArray_ITEMSIZE(grad)):
                return False
            segment.grad = address
        return True

    cdef int check(self, Py_ssize_t first, Py_ssize_t stop, bint zero_grad, bint add_accumulated) except -1:
        """Check that the arrays of some entries, and the gradients taken, have not changed since they were bound.

        No Python code can run between this and the use of the arrays.
        """
        cdef Py_ssize_t i, n
        self.check_places(first, stop)
        if self.held_first != NULL:
            n = self.held_first[stop] - self.held_first[first]
            if gdfast_first_changed(&self.held[self.held_first[first]], n, True) != n:
                for i in range(first, stop):
                    self.bounds[i].check()
        if add_accumulated:
            if self.sums is None:
                raise ChangedError("there are no micro-batches to add: accumulate() was never called")
            self.sums.check()
        if self.offered and self.accept_offered():
            return 0
        if self.row is not None:
            for i in range(first, stop):
                if not is_as_taken(&self.segments[i], PyTuple_GET_ITEM(self.row, i), zero_grad):
                    self.changed(i, zero_grad)
        elif first <= self.lone_place < stop:
            if not is_as_taken(&self.segments[self.lone_place], <PyObject*>self.lone, zero_grad):
                self.changed(self.lone_place, zero_grad)
        return 0

    cdef bint accept_offered(self) except -1:
        """Check and bind the gradients offered. Return whether the fast check sufficed, so that no Python code ran."""
        cdef Py_ssize_t i
        cdef bint quick = True
        for i in range(self.count):
            if not self.try_bind(i, <object>PyTuple_GET_ITEM(self.row, i)):
                quick = False
                self.accept(i, self.row[i])
        self.offered = False
        return quick

    def changed(self, Py_ssize_t i, bint zero_grad):
        """Raise the error for a gradient that was changed after it was taken; a subclass names it."""
        raise ChangedError(f"the gradient of array {i} was changed during the step")


cdef inline bint is_like(const Segment* segment, PyObject* grad) noexcept:
    """Whether a gradient can be read in place, and has its parameter's type and shape."""
    return gdfast_alike(grad, segment.type, segment.ndim, segment.shape) and gdfast_plain(grad, False)


cdef inline bint is_as_taken(const Segment* segment, PyObject* grad, bint zero_grad) noexcept:
    return (
        gdfast_data(grad) == segment.grad
        and gdfast_alike(grad, segment.type, segment.ndim, segment.shape)
        and gdfast_plain(grad, zero_grad)
    )
