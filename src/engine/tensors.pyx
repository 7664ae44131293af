"""PyTorch's tensors as memory: the checks that a step of `gdfast.torch` makes of every tensor, in one native call.

Design: Python code for each of hundreds of tensors would be too slow. The address and layout of a tensor are read through
DLPack's table of C functions, which PyTorch offers as `torch.Tensor.__dlpack_c_exchange_api__`; so nothing of
PyTorch is needed to build this. What was bound is compared by identity, address, type and layout in every step: a user
may replace parameters, state or their memory at any time, and after any change all is bound again. Numbers that PyTorch
keeps per parameter (`step`, NAdam's `mu_product`) are in tensors of one element that are read before a step and
written with it; their memory belongs to NumPy and is kept even if the tensor is not, so that a step need not query them.
Parameters of one group with the same numbers share a slot: one set of the rule's numbers in the engine.

A complex number is two floats to the engine. Parameters, gradients and state of bfloat16 and float16, and state in eight
bits, are memory of that many bytes an element here; what they mean is the engine's (src/engine/coding.pxi). The gradient of
a parameter of at most 32 bits may be float32, bfloat16 or float16 in any step: `grad_kinds` says what came. A parameter with gaps in its memory is stepped as a dense copy, which is
filled before the engine runs and copied back after it, in the same call.
"""
from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t

import numpy as np

cimport numpy as cnp

cnp.import_array()

include "engine/dlpack.pxi"

include "engine/members.pxi"

# The formats of the kinds of gradients; None is the type that the rule computes in.
GRAD_FORMATS = (None, "bfloat16", "float16")

# Places of parameters that the engine does not step.
NO_GRADIENT_YET = -1
DUPLICATE = -2

cdef class Tensors:
    """The tensors of an optimizer as they were bound, and the check that they have not changed.

    Parameters
    ----------
    plain : type
        `torch.Tensor`; what a gradient of a subclass holds may not be in its memory.
    walk : list of (parameter, group index, place)
        Every parameter in the order of the groups; its place in the engine, `NO_GRADIENT_YET` or `DUPLICATE`.
    state : dict
        The optimizer's state, with all that the engine needs in it.
    arrays : list of lists of tensors
        The state arrays of each place: like its parameter in shape and memory layout, or vectors.
    works : list of tensors
        What the engine steps in each place: the parameter itself, or a dense copy.
    numbers : list of lists of (float, array or None)
        The numbers of each place, and the memory of the tensors of one element that show them. Equally many everywhere.
    """
    cdef ExchangeApi* api
    cdef Member* members
    cdef Number* all_numbers        # of all members, in their order
    cdef Py_ssize_t* places         # of each parameter in the walk
    cdef Py_ssize_t* groups
    cdef Py_ssize_t* first_of_slot  # the place whose numbers are the slot's
    cdef StateArray* state_arrays
    cdef int64_t* extents
    cdef Py_ssize_t count, n_numbers, n_slots
    cdef list params, works, state_keys, state_values, arrays, shown, held
    cdef uintptr_t[::1] grads
    cdef Py_ssize_t[::1] slots
    cdef uint8_t[::1] kinds
    cdef uintptr_t[::1] sizes
    cdef readonly object plain, grad_addresses, slot_of, n_bytes, grad_kinds
    cdef readonly list indirect_grads, stepped, copied
    cdef readonly bint new_kinds    # whether a kind of gradient has changed since `kinds_told`

    def __init__(self, plain, list walk, state, list works, list arrays, list numbers):
        if self.members != NULL:
            raise RuntimeError("tensors are bound once")
        self.api = <ExchangeApi*>PyCapsule_GetPointer(plain.__dlpack_c_exchange_api__, "dlpack_exchange_api")
        if self.api.major != DLPACK_MAJOR or self.api.dltensor_from_object == NULL:
            raise ImportError("gdfast.torch needs a PyTorch whose tensors C code can borrow by DLPack 1")
        self.count, self.works, self.plain = len(works), works, plain
        self.n_numbers = len(numbers[0]) if numbers else 0
        self.members = <Member*>PyMem_Calloc(self.count + 1, sizeof(Member))
        self.all_numbers = <Number*>PyMem_Calloc(self.count * self.n_numbers + 1, sizeof(Number))
        self.places = <Py_ssize_t*>PyMem_Calloc(len(walk) + 1, sizeof(Py_ssize_t))
        self.groups = <Py_ssize_t*>PyMem_Calloc(len(walk) + 1, sizeof(Py_ssize_t))
        self.first_of_slot = <Py_ssize_t*>PyMem_Calloc(self.count + 1, sizeof(Py_ssize_t))
        self.state_arrays = <StateArray*>PyMem_Calloc(sum(map(len, arrays)) + 1, sizeof(StateArray))
        self.extents = <int64_t*>PyMem_Calloc(2 * sum([work.dim() for work in works]) + 1, sizeof(int64_t))
        if NULL in (
            self.members, self.all_numbers, self.places, self.groups, self.first_of_slot, self.state_arrays, self.extents
        ):
            raise MemoryError("no memory for the plan of an optimizer")
        self.grad_addresses, self.slot_of = np.zeros(self.count, np.uintp), np.zeros(self.count, np.intp)
        self.n_bytes, self.grad_kinds = np.zeros(self.count, np.uintp), np.zeros(self.count, np.uint8)
        self.grads, self.slots, self.kinds = self.grad_addresses, self.slot_of, self.grad_kinds
        self.sizes = self.n_bytes
        self.held = [None] * self.count
        self.bind_params(walk)
        self.bind_arrays(arrays)
        self.bind_numbers(numbers)
        self.state_keys, self.state_values = [], []
        for key, inner in state.items():
            self.state_keys.append(key)
            self.state_values.append((inner, (*inner, *inner.values()) if isinstance(inner, dict) else ()))

    def __dealloc__(self):
        PyMem_Free(self.members)
        PyMem_Free(self.all_numbers)
        PyMem_Free(self.places)
        PyMem_Free(self.groups)
        PyMem_Free(self.first_of_slot)
        PyMem_Free(self.state_arrays)
        PyMem_Free(self.extents)

    cdef bind_params(self, list walk):
        cdef DLTensor tensor
        cdef Member* member
        cdef Py_ssize_t first_extent = 0
        cdef Py_ssize_t k
        self.params = []
        for i, (param, group, place) in enumerate(walk):
            self.params.append(param)
            self.places[i], self.groups[i] = place, group
            if place < 0:
                continue
            member = &self.members[place]
            self.api.dltensor_from_object(<void*>param, &tensor)
            member.address, member.group, member.copied = begin(&tensor), group, self.works[place] is not param
            member.code, member.bits, member.ndim, member.first_extent = tensor.code, tensor.bits, tensor.ndim, first_extent
            for k in range(tensor.ndim):
                self.extents[first_extent + k] = tensor.shape[k]
                self.extents[first_extent + tensor.ndim + k] = tensor.strides[k]
            first_extent += 2 * tensor.ndim
            member.size = elements(&tensor) * (2 if tensor.code == DL_COMPLEX else 1)
            member.double_precision = tensor.bits == (128 if tensor.code == DL_COMPLEX else 64)
            self.keep_kind(place, AS_COMPUTED)

    cdef bind_arrays(self, list arrays):
        cdef DLTensor tensor, work
        cdef StateArray* bound
        self.arrays = []
        for place, own in enumerate(arrays):
            self.members[place].first_array, self.members[place].arrays = len(self.arrays), len(own)
            self.api.dltensor_from_object(<void*>self.works[place], &work)
            for array in own:
                self.api.dltensor_from_object(<void*>array, &tensor)
                bound = &self.state_arrays[len(self.arrays)]
                bound.address, bound.code, bound.bits = begin(&tensor), tensor.code, tensor.bits
                bound.beside = -1 if lie_alike(&work, &tensor) else elements(&tensor)
                self.arrays.append(array)

    cdef bind_numbers(self, list numbers):
        cdef Number* number
        self.shown = []
        if [len(own) for own in numbers] != [self.n_numbers] * self.count:
            raise ValueError(f"each of {self.count} parameters must have {self.n_numbers} numbers")
        for place, own in enumerate(numbers):
            self.members[place].numbers = &self.all_numbers[place * self.n_numbers]
            for k, (value, shown) in enumerate(own):
                number = &self.members[place].numbers[k]
                number.value = value
                if shown is not None:
                    self.shown.append(shown)
                    number.seen = <char*>cnp.PyArray_DATA(shown)
                    number.double_precision = cnp.PyArray_ITEMSIZE(shown) == 8

    def try_take(self, list groups, state):
        """Take the gradients of a step, if all tensors are as they were bound; return False if one is not: bind again.

        Otherwise `grad_addresses` and `slot_of` are what `Plan.bind` wants, `stepped` lists the parameters that have a
        gradient, `indirect_grads` the places of gradients that cannot be read where they are, and `copied` the
        parameters to be stepped as copies, with these. Call `release` after the step.
        """
        cdef Py_ssize_t i = 0, n = len(self.params), index, place
        cdef DLTensor own
        if not self.same_state(state):
            return False
        self.n_slots, self.indirect_grads, self.stepped, self.copied = 0, [], [], []
        for index, group in enumerate(groups):
            for param in group["params"]:
                if i == n or param is not self.params[i] or self.groups[i] != index:
                    return False
                place = self.places[i]
                grad = None if place == DUPLICATE else param.grad
                if place >= 0:
                    self.api.dltensor_from_object(<void*>param, &own)
                    if not same_param(&self.members[place], self.extents, &own, param):
                        return False
                    if self.members[place].copied:
                        self.api.dltensor_from_object(<void*>self.works[place], &own)
                    if not self.same_arrays(&self.members[place], &own):
                        return False
                    self.take(place, param, &own, grad)
                elif grad is not None:
                    return False
                i += 1
        return i == n

    cdef bint same_state(self, state) except -1:
        """Whether every entry of the state is the same object as before, under the same name."""
        cdef Py_ssize_t i = 0, at = 0, inner_at, k, n
        cdef PyObject *key
        cdef PyObject *value
        cdef tuple known
        if not isinstance(state, dict) or len(state) != len(self.state_keys):
            return False
        while PyDict_Next(state, &at, &key, &value):
            inner, known = self.state_values[i]
            if <object>key is not self.state_keys[i] or <object>value is not inner:
                return False
            i += 1
            if not isinstance(inner, dict):     # an entry of the user's
                continue
            n = len(inner)
            if 2 * n != len(known):             # its names, then its values
                return False
            inner_at, k = 0, 0
            while PyDict_Next(inner, &inner_at, &key, &value):
                if <object>key is not known[k] or <object>value is not known[n + k]:
                    return False
                k += 1
        return True

    cdef bint same_arrays(self, Member* member, DLTensor* own) except -1:
        """Whether the state arrays of a parameter have the same addresses and types, and the layouts that they should."""
        cdef DLTensor other
        cdef StateArray* bound
        cdef Py_ssize_t k
        for k in range(member.first_array, member.first_array + member.arrays):
            self.api.dltensor_from_object(<void*>self.arrays[k], &other)
            bound = &self.state_arrays[k]
            if begin(&other) != bound.address or other.code != bound.code or other.bits != bound.bits:
                return False
            if not (lie_alike(own, &other) if bound.beside < 0 else is_vector(&other, bound.beside)):
                return False
            if signed_later(member, self.arrays[k]):
                return False
        return True

    cdef int take(self, Py_ssize_t place, param, DLTensor* own, grad) except -1:
        """Take one parameter's gradient for the next step."""
        cdef Member* member = &self.members[place]
        member.stepped = grad is not None
        self.grads[place] = 0
        if not member.stepped:
            return 0
        self.held[place] = grad
        self.stepped.append(param)
        if member.copied:
            self.copied.append((param.detach(), self.works[place]))
        self.slots[place] = self.slot(place)
        self.grads[place] = self.readable(place, member, own, grad)
        if self.grads[place] == 0 and member.size > 0:
            self.indirect_grads.append(place)
        return 0

    cdef uintptr_t readable(self, Py_ssize_t place, Member* member, DLTensor* own, grad):
        """Return the address of a gradient that can be read in place, else 0."""
        cdef DLTensor other
        cdef int kind
        if member.unreadable or type(grad) is not self.plain:
            return 0
        try:
            self.api.dltensor_from_object(<void*>grad, &other)
            if not is_in_memory(&other, grad):
                return 0
        except Exception:                       # a sparse one, say
            member.unreadable = True
            return 0
        kind = kind_of(member, &other)
        if kind < 0 or not lie_alike(own, &other) or grad_signed_later(member, grad):
            return 0
        self.keep_kind(place, kind)
        return <uintptr_t>begin(&other)

    cdef void keep_kind(self, Py_ssize_t place, int kind) noexcept:
        """Remember the kind of a gradient, and how many bytes it has."""
        cdef Member* member = &self.members[place]
        self.new_kinds |= kind != self.kinds[place]
        member.grad_kind = self.kinds[place] = kind
        self.sizes[place] = member.size * (2 if kind != AS_COMPUTED else 8 if member.double_precision else 4)

    cdef Py_ssize_t slot(self, Py_ssize_t place):
        """Return the slot of a parameter's group and numbers, a new one if need be."""
        cdef Member* member = &self.members[place]
        cdef Member* other
        cdef Py_ssize_t i, k
        for k in range(self.n_numbers):
            refresh(&member.numbers[k])
        for i in range(self.n_slots - 1, -1, -1):
            other = &self.members[self.first_of_slot[i]]
            k = 0
            while k < self.n_numbers and other.numbers[k].value == member.numbers[k].value:
                k += 1
            if other.group == member.group and k == self.n_numbers:
                return i
        self.first_of_slot[self.n_slots] = place
        self.n_slots += 1
        return self.n_slots - 1

    def slots_now(self):
        """Return the group and the numbers of every slot of the next step."""
        return [(self.members[self.first_of_slot[i]].group, self.numbers(self.first_of_slot[i])) for i in range(self.n_slots)]

    def numbers(self, Py_ssize_t place):
        """Return the numbers of a place."""
        return tuple([self.members[place].numbers[k].value for k in range(self.n_numbers)])

    def replace(self, Py_ssize_t place, grad):
        """Take another gradient, which can be read in place, instead of one; return the one replaced."""
        cdef DLTensor tensor
        replaced, self.held[place] = self.held[place], grad
        self.api.dltensor_from_object(<void*>grad, &tensor)
        self.keep_kind(place, kind_of(&self.members[place], &tensor))
        self.grads[place] = <uintptr_t>begin(&tensor)
        return replaced

    def arrays_of_grads(self):
        """Return the bound gradients of the next step by place, as flat NumPy arrays that are valid until `release`.

        Those of bfloat16 are arrays of uint16.
        """
        cdef Py_ssize_t place
        cdef cnp.npy_intp size
        found = {}
        for place in range(self.count):
            size = self.members[place].size
            if self.members[place].stepped and (self.grads[place] or size == 0):
                kind = (
                    cnp.NPY_DOUBLE if self.members[place].double_precision
                    else (cnp.NPY_FLOAT, cnp.NPY_UINT16, cnp.NPY_FLOAT16)[self.members[place].grad_kind]
                )
                found[place] = cnp.PyArray_SimpleNewFromData(1, &size, kind, <void*>self.grads[place])
        return found

    def run(self, plan, list numbers, Py_ssize_t threads, bint zero_grad):
        """Set the numbers of each slot's parameters, and run the plan: in one call, so that no signal comes between."""
        cdef Py_ssize_t place, k
        cdef Number* number
        for param, work in self.copied:
            work.copy_(param)
        for place in range(self.count):
            if self.members[place].stepped:
                new = numbers[self.slots[place]]
                for k in range(self.n_numbers):
                    number = &self.members[place].numbers[k]
                    number.value = new[k]
                    show(number)
        plan.run(threads, zero_grad)
        for param, work in self.copied:
            param.copy_(work)

    def try_run(self, plan, list settings, increment_version, Py_ssize_t threads):
        """Make the step for which gradients were taken, if nothing lies between them and the rule: no copy, no new kind.

        Return False, before anything is written, if it must be made with what the other methods offer.

        Parameters
        ----------
        plan : Plan
        settings : list
            As for `same_settings`. The plan must compute the numbers of a step of theirs by itself, of a count of steps.
        increment_version : callable
            What PyTorch offers to tell it that tensors are written to.
        threads : int
        """
        cdef Py_ssize_t i, place
        cdef Number* count
        if self.new_kinds or self.indirect_grads or self.copied or self.n_numbers != 1:
            return False
        for i in range(self.n_slots):
            known = settings[self.members[self.first_of_slot[i]].group]
            count = &self.members[self.first_of_slot[i]].numbers[0]
            if known is None or not 0 <= count.value < MAX_COUNT:
                return False
            if not plan.renew_numbers(i, (<tuple>known)[2], floor(count.value) + 1):
                return False
        if plan.bind(self.grad_addresses, self.slot_of):
            return False
        increment_version(self.stepped)
        for place in range(self.count):
            if self.members[place].stepped:
                count = &self.members[place].numbers[0]
                count.value = floor(count.value) + 1
                show(count)
        plan.run(threads, False)
        return True

    def kinds_told(self):
        """Note that the plan knows the kinds of the gradients taken."""
        self.new_kinds = False

    def release(self):
        """Let the gradients go."""
        cdef Py_ssize_t place
        for place in range(self.count):
            self.held[place] = None
        self.copied = []
