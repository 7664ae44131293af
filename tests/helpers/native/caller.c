/* A caller that knows no Python: the table's address comes from outside. */
#include "gdfast.h"

int use(const void *table) { return gdfast_use(table); }

int steps(gdfast_plan plan, const void *const *grads, int n)
{
    int code = GDFAST_OK, i;
    for (i = 0; i < n && code == GDFAST_OK; i++)
        code = gdfast_step(plan, grads, 0.5);
    return code;
}

const char *meaning(int code) { return gdfast_error(code); }
ptrdiff_t left(gdfast_plan plan) { return gdfast_steps_left(plan); }
