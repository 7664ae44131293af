# Arrays in fewer bits: what of an array lies in which format.
#
# Design: a tile is decoded to float32 in the cache, the ordinary step of a tile runs there, and the tile is encoded again
# (`Plan.step_coded`), so every rule has every format. The work is cut at multiples of FORMAT_BLOCK elements of each array,
# which are whole blocks of every format. Random bits are hashed from the step, the array, the state's place and the
# element's: 32 bits serve two states.

cdef enum:
    CODED_TILE = 4 * FORMAT_BLOCK
    CODED_ROW = CODED_TILE + 16 # of scratch: rows a multiple of 4 KB apart would get into each other's way

# format -> bytes of an element, bytes beside it, and of how many elements those are
SIZES = {
    None: (4, 0, 1), "bfloat16": (2, 0, 1), "bfloat16_nearest": (2, 0, 1), "float16": (2, 0, 1), "split": (2, 2, 1),
    "8bit_signed": (1, 1, FORMAT_BLOCK), "8bit_non_negative": (1, 1, FORMAT_BLOCK),
}


cdef class CodedArrays(BoundArrays):
    """Bound arrays of which some lie in fewer bits."""
    cdef unsigned int step_key  # what this step's random bits are hashed from
    cdef randomizer randomize
    cdef list beside            # keeps the scales

    def set_formats(self, rules, Py_ssize_t i, list formats):
        """Say once what the states of an array lie in.

        Parameters
        ----------
        rules : the module of one instruction-set level
        i : int
        formats : list of (format, scales)
            One a state: the name of its format and the array beside it, which has an element a block or is None; or
            (None, None) for float32.
        """
        cdef Segment* segment
        cdef Coding* coding
        cdef Py_ssize_t k
        self.check_places(i, i + 1)
        segment = &self.segments[i]
        if segment.coding != NULL or segment.itemsize != 4 or len(formats) != segment.states:
            raise ValueError(f"the formats of a float32 array's {segment.states} states are set once; got {formats}")
        for k in range(segment.states):
            check_coded(formats[k][0], self.states[i][k], formats[k][1], segment.size)
        segment.coding = coding = <Coding*>calloc(1, sizeof(Coding))
        if coding == NULL:
            raise MemoryError("no memory for the plan of an optimizer")
        for k, (name, scales) in enumerate(formats):
            if name is not None:
                coding.decode[k] = <decoder><uintptr_t>rules.FORMATS[name][0]
                coding.encode[k] = <encoder><uintptr_t>rules.FORMATS[name][1]
            coding.scales[k] = NULL if scales is None else <unsigned char*>cnp.PyArray_DATA(scales)
            coding.itemsize[k] = cnp.PyArray_ITEMSIZE(self.states[i][k])
        self.randomize = <randomizer><uintptr_t>rules.RANDOM
        self.beside = [*(self.beside or ()), formats]

    def set_random(self, unsigned int step_key):
        """Set what the random bits of the next step are hashed from."""
        self.step_key = step_key


cdef inline unsigned int mixed(unsigned int x) noexcept nogil:
    """32 well mixed bits for 32; `gdfast_mix` in src/formats."""
    x = (x ^ (x >> 16)) * <unsigned int>0x7feb352d
    x = (x ^ (x >> 15)) * <unsigned int>0x846ca68b
    return x ^ (x >> 16)


cdef inline unsigned int element_key(unsigned int step_key, unsigned int array, unsigned int lot) noexcept nogil:
    """What the elements of an array are hashed with, for one lot of 32 bits each."""
    return mixed(mixed(step_key + array) + lot)


def step_key(unsigned int seed, step):
    """Return what all random bits of a step are hashed from."""
    return mixed(mixed(seed) + <unsigned int>(step & 0xffffffff))


cdef inline bint is_run_of(array, Py_ssize_t size, Py_ssize_t itemsize):
    """Whether this is an array of so many elements, of so many bytes, in order."""
    return (
        cnp.PyArray_Check(array) and cnp.PyArray_SIZE(array) == size and cnp.PyArray_ITEMSIZE(array) == itemsize
        and gdfast_plain(<PyObject*>array, True)
    )


cdef check_coded(name, codes, scales, Py_ssize_t size):
    """Check that arrays are what a format's loops read and write."""
    cdef Py_ssize_t itemsize, beside, share
    if name not in SIZES:
        raise ValueError(f"there is no format {name!r}")
    itemsize, beside, share = SIZES[name]
    if not is_run_of(codes, size, itemsize) or (scales is not None) != (beside > 0):
        raise ValueError(f"an array in {name} must be {size} contiguous elements of {itemsize} bytes")
    if beside > 0 and not is_run_of(scales, (size + share - 1) // share, beside):
        raise ValueError(f"beside {size} elements in {name} there must be {(size + share - 1) // share} of {beside} bytes")


def decode_array(rules, str name, codes, scales, values):
    """Decode an array of a format to a float32 array of its size."""
    cdef unsigned char* beside = NULL
    check_coded(name, codes, scales, cnp.PyArray_SIZE(codes))
    check_coded(None, values, None, cnp.PyArray_SIZE(codes))
    if scales is not None:
        beside = <unsigned char*>cnp.PyArray_DATA(scales)
    (<decoder><uintptr_t>rules.FORMATS[name][0])(
        <float*>cnp.PyArray_DATA(values), cnp.PyArray_DATA(codes), beside, cnp.PyArray_SIZE(codes)
    )


def encode_array(rules, str name, codes, scales, values, random, int shift):
    """Encode a float32 array, with an array of 32 random bits an element, of which 16 are taken after a shift."""
    cdef unsigned char* beside = NULL
    check_coded(name, codes, scales, cnp.PyArray_SIZE(codes))
    check_coded(None, values, None, cnp.PyArray_SIZE(codes))
    check_coded(None, random, None, cnp.PyArray_SIZE(codes))
    if scales is not None:
        beside = <unsigned char*>cnp.PyArray_DATA(scales)
    (<encoder><uintptr_t>rules.FORMATS[name][1])(
        cnp.PyArray_DATA(codes), beside, <float*>cnp.PyArray_DATA(values), <unsigned int*>cnp.PyArray_DATA(random),
        shift, cnp.PyArray_SIZE(codes),
    )


def random_bits(rules, unsigned int step_key, unsigned int array, unsigned int lot, Py_ssize_t first, Py_ssize_t size):
    """Return the random bits of an array's elements from one on."""
    found = np.empty(max(size, 0), np.uint32)
    (<randomizer><uintptr_t>rules.RANDOM)(
        <unsigned int*>cnp.PyArray_DATA(found), element_key(step_key, array, lot), first, max(size, 0)
    )
    return found
