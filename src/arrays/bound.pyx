"""Arrays whose addresses are kept, and the check that they have not changed since.

Design: a user can reach an optimizer's arrays, and may resize them, change their dtype or make them read-only between two
steps, in any Python code that runs after a check. So they are compared with what was bound, in the same native call that
then reads or writes them (by modules that cimport `gdfast/arrays/_bound.pxd`). Only the fields of the C objects are read,
because a subclass may override attributes. State needs no comparison: its memory belongs to a `Block`.
"""
cimport cython
from cpython.object cimport PyObject
from libc.stdlib cimport calloc, free

import numpy as np

cimport numpy as cnp

cnp.import_array()


class ChangedError(ValueError):
    """An array was changed since it was bound. Raised before anything is written."""


def backed(cnp.ndarray array):
    """Whether an array's memory is still part of the array that owns it, which may have been resized."""
    return gdfast_backed(<PyObject*>array)


@cython.no_gc
cdef class Block:
    """Memory that cannot be resized: arrays over it do not own it, and the array that does is private."""
    def __init__(self, cnp.ndarray owner):
        if self.owner is not None or type(owner) is not cnp.ndarray or not gdfast_plain(<PyObject*>owner, True):
            raise ValueError("a block is made once, of a plain array")
        self.owner = owner

    def array(self):
        """Return a new array over the memory."""
        cdef cnp.ndarray view = cnp.PyArray_SimpleNewFromData(
            self.owner.ndim, self.owner.shape, cnp.PyArray_TYPE(self.owner), cnp.PyArray_DATA(self.owner)
        )
        cnp.set_array_base(view, self)
        return view


def unowned(array):
    """Return an array over the memory of a plain one, which the caller must give up: the owner is then out of reach."""
    return Block(array).array()


def fresh(array):
    """Return another array over the memory of an `unowned` one, with its own shape and flags."""
    return (<Block?>cnp.get_array_base(array)).array()


cdef class Bound:
    """Arrays as they are now, for a comparison later.

    Parameters
    ----------
    paths : list of str
        The name of each in the user's code, for errors.
    arrays : list of arrays
        Checked by `gdfast.arrays.buffers`; subclasses are allowed.

    Attributes
    ----------
    views : list of arrays
        Private plain arrays over the same memory.
    """
    def __init__(self, list paths, list arrays):
        if self.held != NULL:
            raise RuntimeError("arrays are bound once")
        self.paths, self.arrays, self.count = list(paths), list(arrays), len(arrays)
        self.views = [np.ndarray.view(array, np.ndarray) for array in self.arrays]
        self.held = <gdfast_held*>calloc(max(self.count, 1), sizeof(gdfast_held))
        if self.held == NULL:
            raise MemoryError("no memory to record an optimizer's arrays")
        for i, (array, view) in enumerate(zip(self.arrays, self.views)):
            gdfast_hold(&self.held[i], <PyObject*>array, <PyObject*>view)

    def __dealloc__(self):
        free(self.held)

    def check(self, bint written=True):
        """Check that the arrays have not changed, and are writeable if `written`.

        Raises
        ------
        ChangedError
            Naming the first that has changed.
        """
        cdef Py_ssize_t i = gdfast_first_changed(self.held, self.count, written)
        if i == self.count:
            return
        path, now, then = self.paths[i], np.ndarray.view(self.arrays[i], np.ndarray), self.views[i]
        again = "after the optimizer was made; make a new optimizer for it"
        if now.dtype != then.dtype:
            raise ChangedError(f"{path} was {then.dtype} and has been made {now.dtype} {again}")
        if now.ctypes.data != then.ctypes.data or now.size != then.size or not gdfast_backed(<PyObject*>now):
            raise ChangedError(f"{path} was resized {again}")
        if now.shape != then.shape:
            raise ChangedError(f"{path} was reshaped from {then.shape} to {now.shape} {again}")
        if not gdfast_plain(<PyObject*>now, False):
            raise ChangedError(f"{path} was given other strides, {now.strides}, {again}")
        raise ChangedError(f"{path} must be writeable to be updated in place; it was made read-only")
