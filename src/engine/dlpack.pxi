# The part of DLPack's C interface, version 1, that is used here: https://dmlc.github.io/dlpack/latest/c_api.html.
cdef enum:
    DLPACK_MAJOR = 1
    DL_CPU = 1
    DL_FLOAT = 2
    DL_BFLOAT = 4
    DL_COMPLEX = 5

ctypedef struct DLTensor:
    char* data
    int32_t device_type
    int32_t device_id
    int32_t ndim
    uint8_t code
    uint8_t bits
    uint16_t lanes
    int64_t* shape
    int64_t* strides
    uint64_t byte_offset

ctypedef int (*borrow)(void* tensor, DLTensor* out) except -1

ctypedef struct ExchangeApi:
    uint32_t major
    uint32_t minor
    void* previous
    void* managed_allocator
    void* managed_from_object
    void* managed_to_object
    borrow dltensor_from_object
    void* current_stream


cdef inline char* begin(DLTensor* tensor) noexcept:
    return tensor.data + tensor.byte_offset


cdef inline Py_ssize_t elements(DLTensor* tensor) noexcept:
    cdef Py_ssize_t n = 1
    cdef Py_ssize_t k
    for k in range(tensor.ndim):
        n *= tensor.shape[k]
    return n


cdef inline bint lie_alike(DLTensor* a, DLTensor* b) noexcept:
    """Whether a tensor in the CPU's memory is of another's shape and order of elements."""
    cdef Py_ssize_t k
    if b.device_type != DL_CPU or b.lanes != 1 or a.ndim != b.ndim:
        return False
    for k in range(a.ndim):
        if a.shape[k] != b.shape[k] or (a.strides[k] != b.strides[k] and a.shape[k] > 1):
            return False
    return True


cdef inline bint is_vector(DLTensor* tensor, Py_ssize_t size) noexcept:
    """Whether a tensor in the CPU's memory is a vector of a size, without gaps."""
    return (
        tensor.device_type == DL_CPU and tensor.lanes == 1 and tensor.ndim == 1 and tensor.shape[0] == size
        and (size <= 1 or tensor.strides[0] == 1)
    )
