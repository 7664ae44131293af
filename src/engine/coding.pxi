# Arrays in fewer bits: what of an array lies in which format.
#
# Design: a tile is decoded to float32 in the cache, the ordinary step of a tile runs there, and the tile is encoded again
# (`Plan.step_coded`), so every rule has every format. The work is cut at multiples of FORMAT_BLOCK elements of each array,
# which are whole blocks of every format. Random bits are hashed from the step, the array, the state's place and the
# element's: 32 bits serve two states.

cdef enum:
    CODED_TILE = 4 * FORMAT_BLOCK
    CODED_PARAM = MAX_STATES    # the parameter's place among what has random bits
    CODED_ROW = CODED_TILE + 16 # of scratch: rows a multiple of 4 KB apart would get into each other's way

PARAM_PLACE = CODED_PARAM

# format -> bytes of an element, bytes beside it, and of how many elements those are
SIZES = {
    None: (4, 0, 1), "bfloat16": (2, 0, 1), "bfloat16_nearest": (2, 0, 1), "float16": (2, 0, 1), "split": (2, 2, 1),
    "8bit_signed": (1, 1, FORMAT_BLOCK), "8bit_non_negative": (1, 1, FORMAT_BLOCK),
}
RANDOM = ("bfloat16", "8bit_signed", "8bit_non_negative")  # rounded at random


cdef class CodedArrays(BoundArrays):
    """Bound arrays of which some lie in fewer bits."""
    cdef randomizer randomize
    cdef list beside            # keeps what the addresses are of
    cdef object grads_given, groups_given           # what was given to `bind`
    cdef const uintptr_t[::1] addresses
    cdef const Py_ssize_t[::1] group_of

    def set_formats(self, rules, Py_ssize_t i, param, copy, list states):
        """Say once what an array and its state lie in.

        Parameters
        ----------
        rules : the module of one instruction-set level
        i : int
        param : (format, beside)
            The name of the parameter's format, None for float32, and the array of what lies beside it, or None.
        copy : (format, array)
            What receives the new parameter in the same pass; or (None, None).
        states : list of (format, beside)
            One a state.
        """
        cdef Segment* segment
        cdef Coding* coding
        cdef Py_ssize_t k
        self.check_places(i, i + 1)
        segment = &self.segments[i]
        if segment.itemsize == 8 or len(states) != segment.states:
            raise ValueError(f"the {segment.states} states of a float32 array have formats; got {states}")
        param_form, param_beside = param
        copy_form, copied = copy
        check_coded(param_form, self.params[i], param_beside, segment.size)
        if copy_form is not None:
            check_coded(copy_form, copied, None, segment.size)
        for (form, beside), codes in zip(states, self.states[i]):
            check_coded(form, codes, beside, segment.size)
        coding = self.coding_of(i)
        set_coded(rules, &coding.param, param_form, param_beside)
        set_coded(rules, &coding.copy, copy_form, None)
        coding.copy.codes = NULL if copy_form is None else <char*>cnp.PyArray_DATA(copied)
        for k, (form, beside) in enumerate(states):
            set_coded(rules, &coding.state[k], form, beside)
        self.randomize = <randomizer><uintptr_t>rules.RANDOM
        self.beside = [*(self.beside or ()), param, copy, states]

    def set_grad_format(self, rules, Py_ssize_t i, name):
        """Say what the gradients of an array lie in from now on, None for float32; return whether any of it is coded.

        If nothing is, the array is stepped where it stands again.
        """
        cdef Segment* segment
        self.check_places(i, i + 1)
        if name not in SIZES or SIZES[name][1] > 0:
            raise ValueError(f"gradients must lie in a format without anything beside it; got {name!r}")
        segment = &self.segments[i]
        if segment.itemsize != 8 and (name is not None or segment.coding != NULL):
            set_coded(rules, &self.coding_of(i).grad, name, None)
            segment.grad = NULL    # the next one is checked, even at the same address
            if name is None and not self.is_coded(segment):
                free(segment.coding)
                segment.coding = NULL
        return segment.coding != NULL

    cdef bint is_coded(self, Segment* segment) noexcept:
        """Whether the parameter, its copy or a state lies in fewer bits."""
        cdef Coding* coding = segment.coding
        cdef Py_ssize_t k
        for k in range(segment.states):
            if coding.state[k].decode != NULL:
                return True
        return coding.param.decode != NULL or coding.copy.codes != NULL

    cdef Coding* coding_of(self, Py_ssize_t i) except NULL:
        """Return what an array has beyond its segment, made if it is not there."""
        cdef Segment* segment = &self.segments[i]
        cdef Py_ssize_t k
        if segment.coding == NULL:
            segment.coding = <Coding*>calloc(1, sizeof(Coding))
            if segment.coding == NULL:
                raise MemoryError("no memory for the plan of an optimizer")
            segment.coding.param.itemsize = segment.coding.grad.itemsize = segment.coding.copy.itemsize = sizeof(float)
            for k in range(segment.states):
                segment.coding.state[k].itemsize = sizeof(float)
        return segment.coding

    def bind(self, grads, groups):
        """Bind gradients by address, 0 for an array that the next step leaves alone, and each array's group.

        The arrays of both are kept: reading the same ones again costs nothing. The caller guarantees dtype, size and
        element order. Returns the indices of gradients in memory that the step writes.
        """
        cdef Py_ssize_t i, itemsize, group
        cdef Segment* segment
        cdef char* grad
        cdef list inside = []
        cdef bint changed = False
        if grads is not self.grads_given or groups is not self.groups_given:
            self.grads_given = self.groups_given = None
            self.addresses, self.group_of = grads, groups
            self.grads_given, self.groups_given = grads, groups
        if self.addresses.shape[0] != self.count or self.group_of.shape[0] != self.count:
            raise ValueError(f"there must be an address and a group for each of {self.count} arrays")
        for i in range(self.count):
            segment, grad, group = &self.segments[i], <char*>self.addresses[i], self.group_of[i]
            if not 0 <= group < self.n_groups:
                raise ValueError(f"groups must be in [0, {self.n_groups}); got {group}")
            changed |= segment.group != group or (segment.grad == NULL) != (grad == NULL)
            segment.group = group
            if segment.grad != grad:
                segment.grad = grad
                itemsize = segment.itemsize if segment.coding == NULL else segment.coding.grad.itemsize
                if self.lies_in_own_memory(<uintptr_t>grad, segment.size * itemsize):
                    inside.append(i)
        if changed:
            self.count_numbers(True)
        return inside

    def set_random(self, unsigned int step_key):
        """Set what the random bits of the next step are hashed from."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.segments[i].key = step_key + self.segments[i].array

    def set_origin(self, Py_ssize_t i, unsigned int array, Py_ssize_t first):
        """Say which array one is, or is a slice of: random bits are those of the array of this number, from `first` on."""
        self.check_places(i, i + 1)
        self.segments[i].array, self.segments[i].origin = array, first

    def set_random_of(self, Py_ssize_t i, unsigned int step_key):
        """Set the same for one array."""
        self.check_places(i, i + 1)
        self.segments[i].key = step_key + self.segments[i].array


cdef set_coded(rules, Coded* coded, name, beside):
    """Set the loops of a format, and the address of what lies beside it."""
    coded.decode = NULL if name is None else <decoder><uintptr_t>rules.FORMATS[name][0]
    coded.encode = NULL if name is None else <encoder><uintptr_t>rules.FORMATS[name][1]
    coded.measure = NULL if name is None else <measurer><uintptr_t>rules.FORMATS[name][2]
    coded.random = name in RANDOM
    coded.itemsize, coded.beside_itemsize, coded.share = SIZES[name]
    coded.beside = NULL if beside is None else <char*>cnp.PyArray_DATA(beside)


cdef inline unsigned char* beside_at(const Coded* coded, Py_ssize_t start) noexcept nogil:
    return <unsigned char*>coded.beside + start // coded.share * coded.beside_itemsize if coded.beside != NULL else NULL


cdef inline void* decode_tile(const Coded* coded, char* codes, float* values, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """Return a tile of an array as float32: where it stands, or decoded."""
    codes += start * coded.itemsize
    if coded.decode == NULL:
        return codes
    coded.decode(values, codes, beside_at(coded, start), n)
    return values


cdef inline void* line_of(void* place) noexcept nogil:
    """Where the cache line that a place lies in, or the next one, begins."""
    return <void*>((<uintptr_t>place + (LINE - 1)) & ~<uintptr_t>(LINE - 1))


cdef inline Py_ssize_t whole_blocks(Py_ssize_t start, Py_ssize_t size) noexcept nogil:
    """Where the block begins that a part of an array in formats begins with: every part is cut so, at both ends."""
    return min(size, (start + FORMAT_BLOCK - 1) // FORMAT_BLOCK * FORMAT_BLOCK)


cdef inline void encode_run(
    Coded* coded, char* codes, const float* values, const unsigned int* random, bint high, Py_ssize_t start, Py_ssize_t n
) noexcept nogil:
    coded.encode(codes + start * coded.itemsize, beside_at(coded, start), values, random, high, n)


cdef inline void fetch_coded(Segment* segment, Py_ssize_t start, Py_ssize_t n, bint add_accumulated) noexcept nogil:
    cdef Coding* coding = segment.coding
    cdef Py_ssize_t k
    fetch_run(&coding.param, segment.param, start, n, True)
    fetch_run(&coding.grad, segment.grad, start, n, False)
    if coding.copy.encode != NULL:
        fetch_run(&coding.copy, coding.copy.codes, start, n, True)
    if add_accumulated:
        fetch_lines(segment.accumulated, start * sizeof(float), n * sizeof(float), False)
    for k in range(segment.states):
        fetch_run(&coding.state[k], segment.state[k], start, n, True)


cdef inline void fetch_run(Coded* coded, char* codes, Py_ssize_t start, Py_ssize_t n, bint written) noexcept nogil:
    fetch_lines(codes, start * coded.itemsize, n * coded.itemsize, written)
    if coded.share == 1 and coded.beside != NULL:
        fetch_lines(coded.beside, start * coded.beside_itemsize, n * coded.beside_itemsize, written)


cdef inline void fetch_lines(char* array, Py_ssize_t at, Py_ssize_t n_bytes, bint written) noexcept nogil:
    cdef Py_ssize_t end = at + n_bytes
    while at < end:
        if written:
            gdfast_prefetch_write(array + at)
        else:
            gdfast_prefetch_read(array + at)
        at += LINE


cdef inline unsigned int mixed(unsigned int x) noexcept nogil:
    """32 well mixed bits for 32; `gdfast_mix` in src/formats."""
    x = (x ^ (x >> 16)) * <unsigned int>0x7feb352d
    x = (x ^ (x >> 15)) * <unsigned int>0x846ca68b
    return x ^ (x >> 16)


cdef inline unsigned int element_key(unsigned int array_key, unsigned int lot) noexcept nogil:
    """What the elements of an array are hashed with, for one lot of 32 bits each."""
    return mixed(mixed(array_key) + lot)


def step_key(unsigned int seed, step):
    """Return what all random bits of a step are hashed from."""
    return mixed(mixed(seed) + <unsigned int>(step & 0xffffffff))


cdef inline bint is_run_of(array, Py_ssize_t size, Py_ssize_t itemsize, bint written):
    """Whether this is an array of so many elements, of so many bytes, in order, that can be written if it is to be."""
    return (
        cnp.PyArray_Check(array) and cnp.PyArray_SIZE(array) == size and cnp.PyArray_ITEMSIZE(array) == itemsize
        and gdfast_plain(<PyObject*>array, written)
    )


cdef check_coded(name, codes, scales, Py_ssize_t size, bint written=True):
    """Check that arrays are what a format's loops read and write."""
    cdef Py_ssize_t itemsize, beside, share
    if name not in SIZES:
        raise ValueError(f"there is no format {name!r}")
    itemsize, beside, share = SIZES[name]
    if not is_run_of(codes, size, itemsize, written) or (scales is not None) != (beside > 0):
        raise ValueError(f"an array in {name} must be {size} contiguous elements of {itemsize} bytes")
    if beside > 0 and not is_run_of(scales, (size + share - 1) // share, beside, written):
        raise ValueError(f"beside {size} elements in {name} there must be {(size + share - 1) // share} of {beside} bytes")


def decode_array(rules, str name, cnp.ndarray codes not None, scales, values):
    """Decode an array of a format to a float32 array of its size."""
    cdef unsigned char* beside = NULL
    check_coded(name, codes, scales, cnp.PyArray_SIZE(codes), False)
    check_coded(None, values, None, cnp.PyArray_SIZE(codes))
    if scales is not None:
        beside = <unsigned char*>cnp.PyArray_DATA(scales)
    (<decoder><uintptr_t>rules.FORMATS[name][0])(
        <float*>cnp.PyArray_DATA(values), cnp.PyArray_DATA(codes), beside, cnp.PyArray_SIZE(codes)
    )


def encode_array(rules, str name, cnp.ndarray codes not None, scales, values, random, bint high):
    """Encode a float32 array, with an array of 32 random bits an element, of which the upper or lower ones are taken."""
    cdef unsigned char* beside = NULL
    cdef measurer measure
    check_coded(name, codes, scales, cnp.PyArray_SIZE(codes))
    check_coded(None, values, None, cnp.PyArray_SIZE(codes), False)
    check_coded(None, random, None, cnp.PyArray_SIZE(codes), False)
    if scales is not None:
        beside = <unsigned char*>cnp.PyArray_DATA(scales)
    measure = <measurer><uintptr_t>rules.FORMATS[name][2]
    if measure != NULL:
        measure(beside, <float*>cnp.PyArray_DATA(values), cnp.PyArray_SIZE(codes))
    (<encoder><uintptr_t>rules.FORMATS[name][1])(
        cnp.PyArray_DATA(codes), beside, <float*>cnp.PyArray_DATA(values), <unsigned int*>cnp.PyArray_DATA(random),
        high, cnp.PyArray_SIZE(codes),
    )


def random_bits(rules, unsigned int step_key, unsigned int array, unsigned int lot, Py_ssize_t first, Py_ssize_t size):
    """Return the random bits of an array's elements from one on."""
    found = np.empty(max(size, 0), np.uint32)
    (<randomizer><uintptr_t>rules.RANDOM)(
        <unsigned int*>cnp.PyArray_DATA(found), element_key(step_key + array, lot), first, max(size, 0)
    )
    return found
