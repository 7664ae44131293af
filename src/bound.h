/* What an array is at this moment, read from its own fields: what Python code says of it may be overridden. */
#ifndef GDFAST_BOUND_H
#define GDFAST_BOUND_H

#include <Python.h>
#include <numpy/arrayobject.h>

/* An array as it was when it was bound. `shape` lies in a view that nobody else has. */
typedef struct {
    PyObject *array;
    void *data;
    const npy_intp *shape;
    int ndim;
    int type;
} gdfast_held;

/* Whether an array's memory still lies in the array that owns it, which may have been resized since. */
static inline int gdfast_backed(PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object, *owner = array;
    PyObject *base;
    npy_intp low = 0, high, reach;
    const char *start;
    int k;
    while ((base = PyArray_BASE(owner)) != NULL && PyArray_Check(base))
        owner = (PyArrayObject *)base;
    if (owner == array || !PyArray_CHKFLAGS(owner, NPY_ARRAY_OWNDATA) || PyArray_SIZE(array) == 0)
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

/* Whether its elements can be read one after the other, and written to if asked. */
static inline int gdfast_plain(PyObject *object, int written)
{
    PyArrayObject *array = (PyArrayObject *)object;
    const int flags = written ? NPY_ARRAY_CARRAY : NPY_ARRAY_CARRAY_RO;
    return PyArray_CHKFLAGS(array, flags) && PyArray_ISNOTSWAPPED(array) && gdfast_backed(object);
}

/* Whether two arrays are of one type and shape. */
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

/* Whether a bound array still is what it was. */
static inline int gdfast_still(const gdfast_held *held, int written)
{
    return PyArray_DATA((PyArrayObject *)held->array) == held->data && gdfast_alike(held->array, held->type, held->ndim, held->shape)
        && gdfast_plain(held->array, written);
}

#endif
