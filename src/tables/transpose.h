/* Columns as rows: out[i * columns + j] = source[j][i], and whether all numbers are finite. */
#ifndef GDFAST_TRANSPOSE_H
#define GDFAST_TRANSPOSE_H

#include <stddef.h>
#include "portable.h"

#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
#define GDFAST_SSE 1
#else
#define GDFAST_SSE 0
#endif

#define GDFAST_ROWS 16 /* at a time: a line of each column. The hardware cannot fetch a hundred of these ahead by itself. */

/* A rectangle of rows and columns. A number times zero is NaN if it is not finite, and so is each sum with it. */
#define GDFAST_TRANSPOSE(REAL, NAME)                                                                                    \
    static inline REAL NAME(                                                                                            \
        REAL *out, const void **source, ptrdiff_t columns, ptrdiff_t i, ptrdiff_t end, ptrdiff_t j, ptrdiff_t last)     \
    {                                                                                                                   \
        REAL sum = 0;                                                                                                   \
        for (; j < last; j++) {                                                                                         \
            const REAL *x = (const REAL *)source[j];                                                                    \
            gdfast_prefetch_read(x + end + GDFAST_ROWS);                                                                \
            for (ptrdiff_t k = i; k < end; k++) {                                                                       \
                out[k * columns + j] = x[k];                                                                            \
                sum += x[k] * 0;                                                                                        \
            }                                                                                                           \
        }                                                                                                               \
        return sum;                                                                                                     \
    }

GDFAST_TRANSPOSE(float, gdfast_transpose_part_f32)
GDFAST_TRANSPOSE(double, gdfast_transpose_part_f64)

static inline int gdfast_transpose_f64(double *out, const void **source, ptrdiff_t rows, ptrdiff_t columns)
{
    double sum = 0;
    for (ptrdiff_t i = 0; i < rows; i += GDFAST_ROWS)
        sum += gdfast_transpose_part_f64(
            out, source, columns, i, i + GDFAST_ROWS < rows ? i + GDFAST_ROWS : rows, 0, columns);
    return sum == 0;
}

static inline int gdfast_transpose_f32(float *out, const void **source, ptrdiff_t rows, ptrdiff_t columns)
{
    float sum = 0;
    for (ptrdiff_t i = 0; i < rows; i += GDFAST_ROWS) {
        const ptrdiff_t end = i + GDFAST_ROWS < rows ? i + GDFAST_ROWS : rows;
        ptrdiff_t j = 0;
#if GDFAST_SSE
        __m128 sums = _mm_setzero_ps();
        const __m128 zero = _mm_setzero_ps();
        for (; end - i == GDFAST_ROWS && j + 4 <= columns; j += 4) {
            const float *x[4];
            for (int k = 0; k < 4; k++) {
                x[k] = (const float *)source[j + k] + i;
                gdfast_prefetch_read(x[k] + 2 * GDFAST_ROWS);
            }
            for (int k = 0; k < GDFAST_ROWS; k += 4) { /* four by four */
                __m128 a = _mm_loadu_ps(x[0] + k), b = _mm_loadu_ps(x[1] + k);
                __m128 c = _mm_loadu_ps(x[2] + k), d = _mm_loadu_ps(x[3] + k);
                float *to = out + (i + k) * columns + j;
                sums = _mm_add_ps(sums, _mm_add_ps(_mm_mul_ps(a, zero), _mm_mul_ps(b, zero)));
                sums = _mm_add_ps(sums, _mm_add_ps(_mm_mul_ps(c, zero), _mm_mul_ps(d, zero)));
                _MM_TRANSPOSE4_PS(a, b, c, d);
                _mm_storeu_ps(to, a);
                _mm_storeu_ps(to + columns, b);
                _mm_storeu_ps(to + 2 * columns, c);
                _mm_storeu_ps(to + 3 * columns, d);
            }
        }
        float four[4];
        _mm_storeu_ps(four, sums);
        sum += four[0] + four[1] + four[2] + four[3];
#endif
        sum += gdfast_transpose_part_f32(out, source, columns, i, end, j, columns);
    }
    return sum == 0;
}

#endif
