# The handles of native plans, and the table of functions that native code calls; see src/engine/native.pxi.

cdef list locks_of(Plan plan):
    """Return weak references to a plan's arrays and the owners of their memory, which NumPy then does not resize."""
    cdef Bound bound
    cdef list locks = []
    for bound in plan.bounds:
        for array in bound.arrays:
            while isinstance(array, np.ndarray):
                locks.append(weakref.ref(array))
                array = <object>cnp.get_array_base(array)
    return locks


cdef Py_ssize_t take_slot() except -1:
    """Return the place of a slot that is nobody's."""
    while gdfast_lock(&making, 1) != 0:
        pass
    try:
        if not free_slots:
            if slots_made == SLOTS * CHUNKS:
                raise MemoryError("there are too many native plans")
            chunks[slots_made // SLOTS] = <Slot*>calloc(SLOTS, sizeof(Slot))
            if chunks[slots_made // SLOTS] == NULL:
                raise MemoryError("no memory for a native plan")
            free_slots.extend(range(<Py_ssize_t>slots_made + SLOTS - 1, <Py_ssize_t>slots_made - 1, -1))
            gdfast_show(&slots_made, slots_made + SLOTS)
        return free_slots.pop()
    finally:
        gdfast_unlock(&making)


cdef void give_slot(Py_ssize_t place):
    while gdfast_lock(&making, 1) != 0:
        pass
    free_slots.append(place)
    gdfast_unlock(&making)


cdef Slot* hold_slot(gdfast_plan handle, int* code) noexcept nogil:
    """Hold the slot of a handle until `gdfast_unlock`; return NULL and set the code if that is impossible."""
    cdef uintptr_t place = handle & ((<uintptr_t>1 << HALF) - 1), generation = handle >> HALF
    cdef Slot* slot
    code[0] = GDFAST_NO_PLAN
    if place == 0 or place > gdfast_peek(&slots_made):
        return NULL
    slot = &chunks[(place - 1) // SLOTS][(place - 1) % SLOTS]
    if gdfast_peek(&slot.generation) != generation:
        return NULL
    if gdfast_lock(&slot.busy, 1) != 0:
        code[0] = GDFAST_BUSY
        return NULL
    if slot.generation != generation or slot.steps == NULL:     # it ended before it was held
        gdfast_unlock(&slot.busy)
        return NULL
    return slot


# The functions of the table. A `NativeSteps` is handed on as a pointer, because counting references needs the GIL.

ctypedef int (*all_of)(void*, const void* const*, double) noexcept nogil
ctypedef int (*rows_of)(void*, Py_ssize_t, const int64_t*, Py_ssize_t, const void*, double) noexcept nogil
ctypedef int (*end_of)(void*) noexcept nogil
ctypedef Py_ssize_t (*left_of)(void*) noexcept nogil

cdef all_of run_all = <all_of>step_all
cdef rows_of run_rows = <rows_of>step_rows_of
cdef end_of run_end = <end_of>end_one
cdef left_of run_left = <left_of>count_left


cdef int api_step(gdfast_plan plan, const void* const* grads, double grad_scale) noexcept nogil:
    cdef int code
    cdef Slot* slot = hold_slot(plan, &code)
    if slot != NULL:
        code = run_all(slot.steps, grads, grad_scale)
        gdfast_unlock(&slot.busy)
    return code


cdef int api_step_rows(
    gdfast_plan plan, Py_ssize_t i, const int64_t* rows, Py_ssize_t n_rows, const void* values, double grad_scale
) noexcept nogil:
    return step_some(plan, i, rows, n_rows if n_rows >= 0 else ANY - 1, values, grad_scale)     # ANY is not a caller's


cdef int api_step_one(gdfast_plan plan, Py_ssize_t i, const void* grad, double grad_scale) noexcept nogil:
    return step_some(plan, i, NULL, ANY, grad, grad_scale)


cdef inline int step_some(
    gdfast_plan plan, Py_ssize_t i, const int64_t* rows, Py_ssize_t n_rows, const void* values, double grad_scale
) noexcept nogil:
    cdef int code
    cdef Slot* slot = hold_slot(plan, &code)
    if slot != NULL:
        code = run_rows(slot.steps, i, rows, n_rows, values, grad_scale)
        gdfast_unlock(&slot.busy)
    return code


cdef int api_end_step(gdfast_plan plan) noexcept nogil:
    cdef int code
    cdef Slot* slot = hold_slot(plan, &code)
    if slot != NULL:
        code = run_end(slot.steps)
        gdfast_unlock(&slot.busy)
    return code


cdef Py_ssize_t api_steps_left(gdfast_plan plan) noexcept nogil:
    cdef int code
    cdef Slot* slot = hold_slot(plan, &code)
    cdef Py_ssize_t left = code
    if slot != NULL:
        left = run_left(slot.steps)
        gdfast_unlock(&slot.busy)
    return left


# Name -> (code, what it means).
MEANINGS = {
    "OK": (GDFAST_OK, b"the step was made"),
    "NOT_IMPORTED": (GDFAST_NOT_IMPORTED, b"gdfast_import() was not called, or failed"),
    "NO_PLAN": (GDFAST_NO_PLAN, b"no plan has this handle: it was closed, or its Python object is gone"),
    "BUSY": (GDFAST_BUSY, b"another thread is stepping this plan"),
    "NO_NUMBERS": (GDFAST_NO_NUMBERS, b"the steps that were prepared are used up: call plan.prepare(steps) in Python"),
    "STALE": (GDFAST_STALE, b"preparing failed after a hyperparameter was set: call plan.prepare(steps) in Python"),
    "CHANGED": (GDFAST_CHANGED, b"an array was given other memory, another dtype or other flags after it was bound"),
    "BAD_ARRAY": (GDFAST_BAD_ARRAY, b"there is no array of this index"),
    "BAD_GRAD": (GDFAST_BAD_GRAD, b"a gradient is NULL, not aligned, or in memory that the step writes"),
    "BAD_SCALE": (GDFAST_BAD_SCALE, b"grad_scale is not finite"),
    "BAD_ROWS": (GDFAST_BAD_ROWS, b"rows are not ascending and distinct, or outside the array"),
    "NOT_BY_ROWS": (GDFAST_NOT_BY_ROWS, b"the rule, or an option of the optimizer, must step whole arrays"),
    "STEPPED": (GDFAST_STEPPED, b"this array was stepped already in this step: call gdfast_end_step"),
    "UNFINISHED": (GDFAST_UNFINISHED, b"some arrays were not stepped yet in this step"),
}
CODES = {name: code for name, (code, _) in MEANINGS.items()}

cdef const char* texts[1 - GDFAST_UNFINISHED]

cdef keep_text(int code, bytes text):   # MEANINGS keeps it alive
    texts[-code] = text

for meaning in MEANINGS.values():
    keep_text(meaning[0], meaning[1])


cdef const char* api_error(int code) noexcept nogil:
    if not GDFAST_UNFINISHED <= code <= 0:
        return "no code of gdfast"
    return texts[-code]


cdef gdfast_loop api_find_loop(const char* rule, int itemsize) noexcept with gil:
    from gdfast.engine import isa     # it imports this module
    try:
        return <gdfast_loop><uintptr_t>isa.rules.TABLE[(<bytes>rule).decode()][{4: 0, 8: 1}[itemsize]]
    except (KeyError, UnicodeDecodeError):
        return NULL


cdef int api_find_scalar(const char* rule, const char* name) noexcept with gil:
    from gdfast.engine.native import scalar_names     # it imports this module
    try:
        return scalar_names((<bytes>rule).decode()).index((<bytes>name).decode())
    except ValueError:
        return -1


cdef gdfast_api API
API.version, API.size = GDFAST_API_VERSION, sizeof(gdfast_api)
API.step, API.step_one, API.step_rows, API.end_step = api_step, api_step_one, api_step_rows, api_end_step
API.steps_left, API.error = api_steps_left, api_error
API.find_loop, API.find_scalar = api_find_loop, api_find_scalar

C_API = PyCapsule_New(&API, "gdfast.engine._plan.C_API", NULL)


def api_addresses():
    """Return the address of the table of functions, and of each function by its name."""
    return <uintptr_t>&API, {
        "step": <uintptr_t>API.step,
        "step_one": <uintptr_t>API.step_one,
        "step_rows": <uintptr_t>API.step_rows,
        "end_step": <uintptr_t>API.end_step,
        "steps_left": <uintptr_t>API.steps_left,
        "error": <uintptr_t>API.error,
    }
