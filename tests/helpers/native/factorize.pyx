# cython: language_level=3, boundscheck=False, wraparound=False
"""Matrix factorisation on ratings: each rating moves one row of users and one of items, by Adam, without the GIL."""
from libc.stdint cimport int64_t, uintptr_t

cimport gdfast

gdfast.import_gdfast()


def epoch(plan, float[:, ::1] users, float[:, ::1] items, const int64_t[::1] of_user, const int64_t[::1] of_item,
          const float[::1] ratings, float penalty):
    """Step once for each rating; return the sum of the squared errors, each before its step."""
    cdef gdfast.plan handle = <uintptr_t>plan.address
    cdef Py_ssize_t users_index = plan.arrays["users"], items_index = plan.arrays["items"]
    cdef Py_ssize_t n = ratings.shape[0], width = users.shape[1], i, k
    cdef float user_grad[64]
    cdef float item_grad[64]
    cdef float error
    cdef double loss = 0.0
    cdef int code = gdfast.OK
    if width > 64 or items.shape[1] != width or of_user.shape[0] != n or of_item.shape[0] != n:
        raise ValueError("factors must have at most 64 columns, and each rating a user and an item")
    for i in range(n):
        if not (0 <= of_user[i] < users.shape[0] and 0 <= of_item[i] < items.shape[0]):
            raise IndexError(f"rating {i} is of a user or an item that does not exist")
    with nogil:
        for i in range(n):
            error = -ratings[i]
            for k in range(width):
                error += users[of_user[i], k] * items[of_item[i], k]
            for k in range(width):
                user_grad[k] = error * items[of_item[i], k] + penalty * users[of_user[i], k]
                item_grad[k] = error * users[of_user[i], k] + penalty * items[of_item[i], k]
            code = gdfast.step_rows(handle, users_index, &of_user[i], 1, user_grad, 1.0)
            if code == gdfast.OK:
                code = gdfast.step_rows(handle, items_index, &of_item[i], 1, item_grad, 1.0)
            if code == gdfast.OK:
                code = gdfast.end_step(handle)
            if code != gdfast.OK:
                break
            loss += error * error
    if code != gdfast.OK:
        raise RuntimeError((<bytes>gdfast.error(code)).decode())
    return loss


def empty_calls(plan, Py_ssize_t n, grads_address):
    """Make n whole steps, for benchmarks/native_call.py."""
    cdef gdfast.plan handle = <uintptr_t>plan.address
    cdef const void* const* grads = <const void* const*><uintptr_t>grads_address
    cdef Py_ssize_t i
    cdef int code = gdfast.OK
    with nogil:
        for i in range(n):
            code |= gdfast.step(handle, grads, 1.0)
    return code


def momentum_by_loop(float[::1] param, const float[::1] grad, float[::1] buffer, float lr, float mu):
    """Step by the rule's loop alone, with the numbers at the places of their names."""
    cdef gdfast.loop loop = gdfast.find_loop(b"momentum", sizeof(float))
    cdef float[16] scalars
    cdef void* state[1]
    if loop == NULL or grad.shape[0] != param.shape[0] or buffer.shape[0] != param.shape[0]:
        raise ValueError("no such loop, or arrays of different lengths")
    state[0] = &buffer[0]
    scalars[:] = [0.0] * 16
    scalars[gdfast.find_scalar(b"momentum", b"lr")] = lr
    scalars[gdfast.find_scalar(b"momentum", b"mu")] = mu
    scalars[gdfast.find_scalar(b"momentum", b"damp")] = 1.0
    with nogil:
        loop(&param[0], &grad[0], state, scalars, param.shape[0])
    return gdfast.find_scalar(b"momentum", b"no such name"), gdfast.find_loop(b"no such rule", 4) == NULL
