# The mini-batches of one call, that a team of threads shares (src/phases.h).

cdef struct Batches:
    gdfast_phases phases
    gdfast_shared* taken        # for each item
    long last                   # phase
    const Py_ssize_t* order
    Py_ssize_t total
    const double* numbers       # or NULL: no step
    Py_ssize_t groups
    const double* averages
    double loss


cdef inline const double* numbers_of(Batches* work, Py_ssize_t step) noexcept nogil:
    return NULL if work.numbers == NULL else work.numbers + step * work.groups * NUMBERS


cdef inline const double* averages_of(Batches* work, Py_ssize_t step) noexcept nogil:
    return NULL if work.averages == NULL else work.averages + step
