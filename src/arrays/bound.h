/* The present state of an array, read from the fields of the C object: Python attributes may be overridden. */
#ifndef GDFAST_BOUND_H
#define GDFAST_BOUND_H

#include <Python.h>
#include <numpy/arrayobject.h>

/* An array as it was when it was bound. `shape` points into a private view; `owner`, the array that owns the memory (if
 * that is another one, which could be resized), is kept alive by `array`. */
typedef struct {
    PyObject *array;
    PyArrayObject *owner;
    PyArray_Descr *descr;
    void *data;
    void *owner_data;
    const npy_intp *shape;
    npy_intp owner_bytes;
    int ndim;
    int type;
} gdfast_held;

static inline void *gdfast_data(PyObject *array)
{
    return PyArray_DATA((PyArrayObject *)array);
}

/* The array that owns an array's memory; NULL if that is the array itself, or cannot be resized. */
static inline PyArrayObject *gdfast_owner(PyArrayObject *array)
{
    PyArrayObject *owner = array;
    PyObject *base;
    while ((base = PyArray_BASE(owner)) != NULL && PyArray_Check(base))
        owner = (PyArrayObject *)base;
    return owner != array && PyArray_CHKFLAGS(owner, NPY_ARRAY_OWNDATA) ? owner : NULL;
}

/* Whether an array's memory is still part of the array that owns it, which may have been resized. */
static int gdfast_backed(PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object, *owner = gdfast_owner(array);
    npy_intp low = 0, high, reach;
    const char *start;
    int k;
    if (owner == NULL || PyArray_SIZE(array) == 0)
        return 1;
    high = PyArray_ITEMSIZE(array);
    for (k = 0; k < PyArray_NDIM(array); k++) {
        reach = (PyArray_DIM(array, k) - 1) * PyArray_STRIDE(array, k);
        if (reach < 0)
            low += reach;
        else
            high += reach;
    }
    start = PyArray_BYTES(owner);
    return start <= PyArray_BYTES(array) + low && PyArray_BYTES(array) + high <= start + PyArray_NBYTES(owner);
}

/* Whether its elements are contiguous, aligned and in native byte order, and can be written if `written`. */
static inline int gdfast_plain(PyObject *object, int written)
{
    PyArrayObject *array = (PyArrayObject *)object;
    const int flags = written ? NPY_ARRAY_CARRAY : NPY_ARRAY_CARRAY_RO;
    return PyArray_CHKFLAGS(array, flags) && PyArray_ISNOTSWAPPED(array)
        && (PyArray_BASE(array) == NULL || gdfast_backed(object));
}

/* Whether an array is of this type and shape. */
static inline int gdfast_alike(PyObject *object, int type, int ndim, const npy_intp *shape)
{
    PyArrayObject *array = (PyArrayObject *)object;
    int k;
    if (PyArray_TYPE(array) != type || PyArray_NDIM(array) != ndim)
        return 0;
    for (k = 0; k < ndim; k++)
        if (PyArray_DIM(array, k) != shape[k])
            return 0;
    return 1;
}

/* Record an array's present state; `view` is a plain array over the same memory. */
static inline void gdfast_hold(gdfast_held *held, PyObject *array, PyObject *view)
{
    PyArrayObject *plain = (PyArrayObject *)view;
    held->array = array;
    held->owner = gdfast_owner((PyArrayObject *)array);
    held->descr = PyArray_DESCR((PyArrayObject *)array);
    held->data = PyArray_DATA(plain);
    held->shape = PyArray_DIMS(plain);
    held->ndim = PyArray_NDIM(plain);
    held->type = PyArray_TYPE(plain);
    if (held->owner != NULL) {
        held->owner_data = PyArray_DATA(held->owner);
        held->owner_bytes = PyArray_NBYTES(held->owner);
    }
}

/* Return the index of the first of n arrays that has changed, or n. */
static inline Py_ssize_t gdfast_first_changed(const gdfast_held *held, Py_ssize_t n, int written)
{
    const int flags = written ? NPY_ARRAY_CARRAY : NPY_ARRAY_CARRAY_RO;
    PyArrayObject *array;
    Py_ssize_t i;
    for (i = 0; i < n; i++, held++) {
        array = (PyArrayObject *)held->array;
        if (PyArray_DATA(array) != held->data || !PyArray_CHKFLAGS(array, flags)
            || (PyArray_DESCR(array) != held->descr && !PyArray_ISNOTSWAPPED(array))
            || !gdfast_alike(held->array, held->type, held->ndim, held->shape)
            || (held->owner != NULL
                && (PyArray_DATA(held->owner) != held->owner_data || PyArray_NBYTES(held->owner) != held->owner_bytes)))
            return i;
    }
    return n;
}

/* Whether one of n arrays has other memory, flags or dtype than when it was bound. For native code without the GIL: it
 * follows no pointer of the arrays, which another thread may replace, and the arrays themselves are kept alive. */
static inline int gdfast_moved(const gdfast_held *held, Py_ssize_t n)
{
    PyArrayObject *array;
    Py_ssize_t i;
    for (i = 0; i < n; i++, held++) {
        array = (PyArrayObject *)held->array;
        if (PyArray_DATA(array) != held->data || !PyArray_CHKFLAGS(array, NPY_ARRAY_CARRAY)
            || PyArray_DESCR(array) != held->descr)
            return 1;
    }
    return 0;
}

#endif
