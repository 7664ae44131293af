# What is remembered of each parameter that the engine steps, its numbers and its state (src/engine/tensors.pyx).

cdef double MAX_COUNT = 2.0**52     # of steps; one more is another number
cdef uintptr_t LOW = 2**32          # below it are few tensors in memory, and the offsets of all that have none

cdef struct Number:             # one number of a parameter, and the address where PyTorch's users see it
    double value
    char* seen
    bint double_precision

cdef struct Member:             # one parameter that the engine steps
    char* address
    Py_ssize_t first_extent     # in the row of all shapes and strides: ndim of each
    int ndim
    uint8_t code
    uint8_t bits
    bint copied                 # is stepped as a dense copy
    Py_ssize_t size             # in floats
    Py_ssize_t group
    Py_ssize_t first_array      # in the row of all state arrays
    Py_ssize_t arrays
    bint double_precision
    bint stepped                # has a gradient in this step
    bint unreadable             # had one that DLPack does not know, which is slow to find out
    uint8_t grad_kind           # of the gradient taken, a place in GRAD_FORMATS
    Number* numbers             # as many as every parameter has

cdef struct StateArray:         # one array of the state as it was bound
    char* address
    uint8_t code
    uint8_t bits
    Py_ssize_t beside           # -1 if it lies as its parameter does, else the size of the vector that it is

cdef enum:                      # kinds of gradients
    AS_COMPUTED = 0
    BFLOAT16 = 1
    FLOAT16 = 2


cdef inline int kind_of(Member* member, DLTensor* grad) noexcept:
    """Return the kind of a gradient of a parameter; -1 if the engine does not read such a one."""
    if member.code == DL_COMPLEX or member.double_precision:
        return AS_COMPUTED if grad.code == member.code and grad.bits == member.bits else -1
    if grad.code == DL_BFLOAT:
        return BFLOAT16
    if grad.code != DL_FLOAT:
        return -1
    return AS_COMPUTED if grad.bits == 32 else FLOAT16 if grad.bits == 16 else -1


cdef inline bint signed_later(Member* member, tensor) except -1:
    """Whether PyTorch has deferred a conjugation or a negation, so that memory holds other values.

    PyTorch takes longer to say so than all else here. So what was bound, when it was asked for every tensor, is asked again
    only where autograd's own negative views, which have the strides of complex numbers, would pass the layout check.
    """
    return (member.code == DL_COMPLEX or member.size == 1) and grad_signed_later(member, tensor)


cdef inline bint grad_signed_later(Member* member, grad) except -1:
    """Whether it has for a gradient: another tensor in every step, with any strides (`torch._neg_view`)."""
    return grad.is_neg() or (member.code == DL_COMPLEX and grad.is_conj())


cdef inline bint is_in_memory(DLTensor* grad, tensor) except -1:
    """Whether a gradient has memory: PyTorch adds its offset to the address of its storage also where that is null."""
    if <uintptr_t>begin(grad) >= LOW or tensor.storage_offset() == 0:
        return True
    return tensor.untyped_storage().data_ptr() != 0     # raises an error for zeros that never had any


cdef bint same_param(Member* member, const int64_t* extents, DLTensor* own, param) except -1:
    """Whether a parameter has the same address, type, shape and strides as before."""
    cdef Py_ssize_t k
    extents += member.first_extent
    if (
        begin(own) != member.address or own.code != member.code or own.bits != member.bits
        or own.ndim != member.ndim or own.device_type != DL_CPU
    ):
        return False
    for k in range(member.ndim):
        if own.shape[k] != extents[k] or own.strides[k] != extents[member.ndim + k]:
            return False
    return not signed_later(member, param)


def same_settings(list groups, list settings):
    """Whether groups hold the very hyperparameters that are known.

    Parameters
    ----------
    groups : list of dicts
    settings : list of tuples or None
        Of each group its names, the objects that it had under them, and what the plan knows their numbers by; None of one
        that is to be read again in any case, as one with a ``state_dtype`` is.
    """
    cdef PyObject* value
    cdef tuple names, given
    cdef Py_ssize_t k
    if len(groups) != len(settings):
        return False
    for group, known in zip(groups, settings):
        if known is None or type(group) is not dict:
            return False
        names, given, _ = <tuple>known
        for k in range(len(names)):
            if PyDict_GetItemWithError(group, names[k]) != <PyObject*>given[k]:
                return False
        value = PyDict_GetItemWithError(group, "state_dtype")
        if value != NULL and <object>value is not None:
            return False
    return True


cdef inline void refresh(Number* number) noexcept:
    """Read the number back if the user changed it where it is shown."""
    cdef double shown
    if number.seen != NULL:
        shown = (<double*>number.seen)[0] if number.double_precision else (<float*>number.seen)[0]
        if shown != (number.value if number.double_precision else <float>number.value):
            number.value = shown


cdef inline void show(Number* number) noexcept:
    if number.seen == NULL:
        return
    if number.double_precision:
        (<double*>number.seen)[0] = number.value
    else:
        (<float*>number.seen)[0] = <float>number.value
