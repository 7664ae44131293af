/* The steps of gdfast for C, C++ and Cython: without the GIL and without Python. The manual is docs/native-callers.md.
 *
 * Design: Python makes a plan (`opt.native()`) and hands out a handle; the functions here take it. They lie in a table
 * that the package keeps in a capsule, so nothing is linked, and the version of the table is compared when it is loaded.
 * A handle is never a pointer that is followed: a plan that is gone is an error code, whatever became of its memory. */
#ifndef GDFAST_H
#define GDFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of the table. Functions are only added at its end, with GDFAST_API_SIZE; anything else is another version. */
#define GDFAST_API_VERSION 1

/* A plan's handle: `plan.address` in Python. */
typedef uintptr_t gdfast_plan;

/* A rule's loop over n elements. The scalars are of the elements' type: decay, l1, and the rule's own. */
typedef void (*gdfast_loop)(void *param, const void *grad, void **state, const void *scalars, ptrdiff_t n);

/* What the functions return. Nothing has been written when it is not GDFAST_OK. */
enum {
    GDFAST_OK = 0,
    GDFAST_NOT_IMPORTED = -1, /* gdfast_import() was not called, or failed */
    GDFAST_NO_PLAN = -2,      /* no plan has this handle: it was closed, or its Python object is gone */
    GDFAST_BUSY = -3,         /* another thread is stepping this plan */
    GDFAST_NO_NUMBERS = -4,   /* the steps that were prepared are used up: call plan.prepare(steps) in Python */
    GDFAST_STALE = -5,        /* preparing failed after a hyperparameter was set: call plan.prepare(steps) in Python */
    GDFAST_CHANGED = -6,      /* an array was given other memory, another dtype or other flags after it was bound */
    GDFAST_BAD_ARRAY = -7,    /* there is no array of this index */
    GDFAST_BAD_GRAD = -8,     /* a gradient is NULL, not aligned, or in memory that the step writes */
    GDFAST_BAD_SCALE = -9,    /* grad_scale is not finite */
    GDFAST_BAD_ROWS = -10,    /* rows are not ascending and distinct, or outside the array */
    GDFAST_NOT_BY_ROWS = -11, /* the rule, or an option of the optimizer, must step whole arrays */
    GDFAST_STEPPED = -12,     /* this array was stepped already in this step: call gdfast_end_step */
    GDFAST_UNFINISHED = -13   /* some arrays were not stepped yet in this step */
};

typedef struct {
    int version;
    int size; /* of this struct in bytes, as the package was built */
    int (*step)(gdfast_plan plan, const void *const *grads, double grad_scale);
    int (*step_one)(gdfast_plan plan, ptrdiff_t array, const void *grad, double grad_scale);
    int (*step_rows)(
        gdfast_plan plan, ptrdiff_t array, const int64_t *rows, ptrdiff_t n_rows, const void *values, double grad_scale);
    int (*end_step)(gdfast_plan plan);
    ptrdiff_t (*steps_left)(gdfast_plan plan);
    const char *(*error)(int code);
    /* These two ask Python, and take the GIL by themselves. */
    gdfast_loop (*find_loop)(const char *rule, int itemsize);
    int (*find_scalar)(const char *rule, const char *name);
} gdfast_api;

/* The table, of each source file that includes this one. */
static const gdfast_api *gdfast_table = NULL;

/* Use a table whose address came another way (gdfast.native.table_address() in Python). Returns GDFAST_OK, or
 * GDFAST_NOT_IMPORTED if it is of another version. */
static inline int gdfast_use(const void *table)
{
    const gdfast_api *given = (const gdfast_api *)table;
    if (given == NULL || given->version != GDFAST_API_VERSION || given->size < (int)sizeof(gdfast_api))
        return GDFAST_NOT_IMPORTED;
    gdfast_table = given;
    return GDFAST_OK;
}

#ifdef Py_PYTHON_H
/* Load the table. Needs the GIL; returns 0, or -1 with a Python exception set. */
static inline int gdfast_import(void)
{
    PyObject *package = PyImport_ImportModule("gdfast.engine._plan");
    const gdfast_api *table;
    if (package == NULL)
        return -1;
    Py_DECREF(package);
    table = (const gdfast_api *)PyCapsule_Import("gdfast.engine._plan.C_API", 0);
    if (table == NULL)
        return -1;
    if (gdfast_use(table) != GDFAST_OK) {
        PyErr_Format(PyExc_ImportError,
            "this module was compiled with version %d (%d bytes) of gdfast's table of functions, the installed gdfast has "
            "version %d (%d bytes): compile it again, or install a newer gdfast",
            GDFAST_API_VERSION, (int)sizeof(gdfast_api), table->version, table->size);
        return -1;
    }
    return 0;
}
#endif

/* Step every array once. `grads`: a pointer for each array, in the order of `plan.arrays`, to as many elements of its dtype
 * as it has, C-contiguous. They are multiplied by grad_scale first, and only read. */
static inline int gdfast_step(gdfast_plan plan, const void *const *grads, double grad_scale)
{
    return gdfast_table == NULL ? GDFAST_NOT_IMPORTED : gdfast_table->step(plan, grads, grad_scale);
}

/* Step one array; gdfast_end_step closes the step, after every array was stepped once. */
static inline int gdfast_step_one(gdfast_plan plan, ptrdiff_t array, const void *grad, double grad_scale)
{
    return gdfast_table == NULL ? GDFAST_NOT_IMPORTED : gdfast_table->step_one(plan, array, grad, grad_scale);
}

/* Step some rows of one array, ascending and distinct. `values`: the gradient of each, one row behind the other. */
static inline int gdfast_step_rows(
    gdfast_plan plan, ptrdiff_t array, const int64_t *rows, ptrdiff_t n_rows, const void *values, double grad_scale)
{
    return gdfast_table == NULL ? GDFAST_NOT_IMPORTED
                                : gdfast_table->step_rows(plan, array, rows, n_rows, values, grad_scale);
}

/* Close a step that was made array by array. */
static inline int gdfast_end_step(gdfast_plan plan)
{
    return gdfast_table == NULL ? GDFAST_NOT_IMPORTED : gdfast_table->end_step(plan);
}

/* How many steps were prepared and not made yet; PTRDIFF_MAX without a limit; negative: an error code. */
static inline ptrdiff_t gdfast_steps_left(gdfast_plan plan)
{
    return gdfast_table == NULL ? GDFAST_NOT_IMPORTED : gdfast_table->steps_left(plan);
}

/* What a code means, in a sentence. */
static inline const char *gdfast_error(int code)
{
    return gdfast_table == NULL ? "gdfast_import() was not called, or failed" : gdfast_table->error(code);
}

/* A rule's loop for elements of 4 or 8 bytes, or NULL if there is no such rule. */
static inline gdfast_loop gdfast_find_loop(const char *rule, int itemsize)
{
    return gdfast_table == NULL ? NULL : gdfast_table->find_loop(rule, itemsize);
}

/* The index of a scalar of a rule by its name ("decay", "l1", "beta1"), or -1 if it has none of that name. */
static inline int gdfast_find_scalar(const char *rule, const char *name)
{
    return gdfast_table == NULL ? -1 : gdfast_table->find_scalar(rule, name);
}

#ifdef __cplusplus
}
#endif

#endif
