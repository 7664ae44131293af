# What the other native modules call to share work among threads; src/engine/team.pyx.
ctypedef void (*task)(void* context, Py_ssize_t part, Py_ssize_t member) noexcept nogil

cdef void share(task run, void* context, Py_ssize_t parts, Py_ssize_t threads, Py_ssize_t n_bytes) noexcept nogil
