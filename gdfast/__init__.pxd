# What `cimport gdfast` gives to Cython code; the C header says what each function does (gdfast/include/gdfast.h).
from libc.stdint cimport int64_t, uintptr_t

cdef extern from "Python.h":  # before gdfast.h, which then has gdfast_import
    pass

cdef extern from "gdfast.h" nogil:
    ctypedef uintptr_t plan "gdfast_plan"
    ctypedef void (*loop "gdfast_loop")(
        void* param, const void* grad, void** state, const void* scalars, Py_ssize_t n
    ) noexcept

    enum:
        API_VERSION "GDFAST_API_VERSION"
        OK "GDFAST_OK"
        NOT_IMPORTED "GDFAST_NOT_IMPORTED"
        NO_PLAN "GDFAST_NO_PLAN"
        BUSY "GDFAST_BUSY"
        NO_NUMBERS "GDFAST_NO_NUMBERS"
        STALE "GDFAST_STALE"
        CHANGED "GDFAST_CHANGED"
        BAD_ARRAY "GDFAST_BAD_ARRAY"
        BAD_GRAD "GDFAST_BAD_GRAD"
        BAD_SCALE "GDFAST_BAD_SCALE"
        BAD_ROWS "GDFAST_BAD_ROWS"
        NOT_BY_ROWS "GDFAST_NOT_BY_ROWS"
        STEPPED "GDFAST_STEPPED"
        UNFINISHED "GDFAST_UNFINISHED"

    int use "gdfast_use"(const void* table) noexcept
    int step "gdfast_step"(plan, const void* const* grads, double grad_scale) noexcept
    int step_one "gdfast_step_one"(plan, Py_ssize_t array, const void* grad, double grad_scale) noexcept
    int step_rows "gdfast_step_rows"(
        plan, Py_ssize_t array, const int64_t* rows, Py_ssize_t n_rows, const void* values, double grad_scale
    ) noexcept
    int end_step "gdfast_end_step"(plan) noexcept
    Py_ssize_t steps_left "gdfast_steps_left"(plan) noexcept
    const char* error "gdfast_error"(int code) noexcept
    loop find_loop "gdfast_find_loop"(const char* rule, int itemsize) noexcept
    int find_scalar "gdfast_find_scalar"(const char* rule, const char* name) noexcept

cdef extern from "gdfast.h":
    int import_gdfast "gdfast_import"() except -1
