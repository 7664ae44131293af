/* Design: the scores of a tile of rows of a linear model, in both element types, are written with the compilers' own vectors.
 * Left to themselves they keep the sums of several rows in memory: docs/decisions/rows-in-vectors.md. Without such vectors,
 * the same sums number by number. */
#ifndef GDFAST_LINEAR_ROWS_H
#define GDFAST_LINEAR_ROWS_H
#include <stddef.h>
#include <string.h>

#include "portable.h"

#define GDFAST_LANES 16
#define GDFAST_AHEAD 6 /* rows: a core has room for some 24 lines that are on their way */

#if defined(__GNUC__)
#if defined(__AVX512F__)
#define GDFAST_VECTOR_BYTES 64
#elif defined(__AVX__)
#define GDFAST_VECTOR_BYTES 32
#else
#define GDFAST_VECTOR_BYTES 16
#endif
typedef float gdfast_vector_f32 __attribute__((vector_size(GDFAST_VECTOR_BYTES), aligned(4), may_alias));
typedef double gdfast_vector_f64 __attribute__((vector_size(GDFAST_VECTOR_BYTES), aligned(8), may_alias));
#define GDFAST_UNROLL _Pragma("GCC unroll 16")
#else
typedef float gdfast_vector_f32;
typedef double gdfast_vector_f64;
#define GDFAST_UNROLL
#endif

#define GDFAST_JOINED(type, name) gdfast_##type##_##name
#define GDFAST_OF(type, name) GDFAST_JOINED(type, name)

#define REAL float
#define VECTOR gdfast_vector_f32
#define NAME f32
#include "linear/score_rows.h"
#undef REAL
#undef VECTOR
#undef NAME

#define REAL double
#define VECTOR gdfast_vector_f64
#define NAME f64
#include "linear/score_rows.h"
#undef REAL
#undef VECTOR
#undef NAME

#endif
