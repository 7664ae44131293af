# The signature of every native loop, shared by the rules (which fill the table) and the engine (which calls them).
#
#   param    the elements to update, read and written
#   grad     the prepared gradient (scaled, clipped, with the coupled decay added), only read
#   state    the rule's state arrays, in the order of the optimizer class's `rules`
#   scalars  decay (the share of the parameter that is subtracted) and l1, then the rule's own numbers in the order of the
#            class's `scalars()`; of the element's type
#   n        the number of elements
ctypedef void (*kernel)(void* param, const void* grad, void** state, const void* scalars, Py_ssize_t n) noexcept nogil

# Returns the sum of squares of a block of n elements; of its sum with `other`, unless that is NULL.
ctypedef double (*reducer)(const void* block, const void* other, Py_ssize_t n) noexcept nogil

# Updates a block of y from x and returns its dot product with z; see src/rules/vector.pxi.
ctypedef double (*vector_reducer)(
    void* y, const void* x, const void* z, const void* scalars, Py_ssize_t n
) noexcept nogil

# Adds n elements, or their squares, to running sums in double precision: one sum per lane, or one per column.
ctypedef void (*adder)(const void* elements, Py_ssize_t n, double* sums) noexcept nogil

# What decodes n elements of a format to float32, and what encodes them, from the beginning of a block. Scales lie beside
# the codes in some formats, and are set before the elements are encoded. Of the random bits of each element the upper or the
# lower ones are taken. See src/formats/formats.h.
ctypedef void (*decoder)(float* values, const void* codes, const unsigned char* scales, Py_ssize_t n) noexcept nogil
ctypedef void (*encoder)(
    void* codes, unsigned char* scales, const float* values, const unsigned int* random, int high, Py_ssize_t n
) noexcept nogil
ctypedef void (*measurer)(unsigned char* scales, const float* values, Py_ssize_t n) noexcept nogil

# What fills in the random bits of n elements of an array, from one on.
ctypedef void (*randomizer)(unsigned int* random, unsigned int key, Py_ssize_t first, Py_ssize_t n) noexcept nogil

cdef enum:
    FORMAT_BLOCK = 128              # elements that share a scale; tiles in formats begin at its multiples
    MAX_STATES = 8
    MAX_SCALARS = 16
    NORM_LANES = 16
    NORM_BLOCK = 65536


cdef struct Coded:              # a parameter, gradient, state or copy in fewer bits
    decoder decode              # NULL: it is in the type that the rule computes in
    encoder encode
    measurer measure            # NULL: it has no scales
    bint random                 # whether it is rounded at random
    char* codes                 # where it is not known from the segment
    char* beside                # scales of its blocks, or the remainders of its elements, or NULL
    Py_ssize_t itemsize
    Py_ssize_t beside_itemsize
    Py_ssize_t share            # elements that have one thing beside them in common


cdef struct Coding:             # what of one array lies in which format (src/engine/coding.pxi)
    Coded param, grad
    Coded copy                  # what receives the new parameter; without codes there is none
    Coded state[MAX_STATES]


cdef inline double fold(double* lanes) noexcept nogil:
    """Add up the lanes, as a tree."""
    cdef Py_ssize_t k, width = NORM_LANES // 2
    while width > 0:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]


cdef struct StepLoops:          # the loops that a step runs on each tile of an array, and their scalars
    kernel prepare              # or NULL if the gradient needs no preparation
    kernel rule
    kernel average              # or NULL if no average is kept; the average is the last state
    const void* prepare_scalars
    const void* scalars
    const void* average_scalars
    Py_ssize_t states


cdef inline void step_tile(
    const StepLoops* loops, void* param, const void* grad, void** state, void* scratch, Py_ssize_t n
) noexcept nogil:
    """Step one tile: prepare its gradient in scratch, carry the rule out, average. The only place that does this."""
    if loops.prepare != NULL:
        loops.prepare(scratch, grad, &param, loops.prepare_scalars, n)
        grad = scratch
    loops.rule(param, grad, state, loops.scalars, n)
    if loops.average != NULL:
        loops.average(state[loops.states - 1], param, NULL, loops.average_scalars, n)
