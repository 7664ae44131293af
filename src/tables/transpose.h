/* Columns as rows: out[i * columns + j] = source[j][i], and whether all numbers are finite. */
#ifndef GDFAST_TRANSPOSE_H
#define GDFAST_TRANSPOSE_H

#include <stddef.h>
#include "portable.h"

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define GDFAST_SSE 1
#else
#define GDFAST_SSE 0
#endif

#define GDFAST_LINE 16 /* float32 numbers */

/* Rows that are written side by side stay in the second cache, and a few columns at a time are read along all of them:
   the hardware fetches ahead what is read in order, from few places. A whole row at once reads from as many places as
   there are columns, often a power of two apart, which throw each other out of the caches. Where these are few, 16 rows are
   better: what is written stays in the first cache. */
#define GDFAST_TILE_BYTES (1 << 17)
#define GDFAST_FEW_BYTES 128

static inline ptrdiff_t gdfast_transpose_rows(ptrdiff_t row_bytes)
{
    const ptrdiff_t rows = GDFAST_TILE_BYTES / row_bytes / GDFAST_LINE * GDFAST_LINE;
    return row_bytes > GDFAST_FEW_BYTES && rows > GDFAST_LINE ? rows : GDFAST_LINE;
}

/* A rectangle of rows and columns. A number times zero is NaN if it is not finite, and so is each sum with it. */
#define GDFAST_TRANSPOSE(REAL, NAME)                                                                                    \
    static inline REAL NAME(                                                                                            \
        REAL *out, const void **source, ptrdiff_t columns, ptrdiff_t i, ptrdiff_t end, ptrdiff_t j, ptrdiff_t last)     \
    {                                                                                                                   \
        REAL sum = 0;                                                                                                   \
        for (; j < last; j++) {                                                                                         \
            const REAL *x = (const REAL *)source[j];                                                                    \
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
    const ptrdiff_t tile = gdfast_transpose_rows(columns * (ptrdiff_t)sizeof(double));
    double sum = 0;
    for (ptrdiff_t i = 0; i < rows; i += tile) {
        const ptrdiff_t end = rows - i > tile ? i + tile : rows;
        ptrdiff_t j = 0;
#if GDFAST_SSE
        __m128d sums = _mm_setzero_pd();
        const __m128d zero = _mm_setzero_pd();
        const ptrdiff_t even = i + (end - i) / 2 * 2;
        for (; j + 2 <= columns; j += 2) {
            const double *x = (const double *)source[j], *y = (const double *)source[j + 1];
            for (ptrdiff_t k = i; k < even; k += 2) { /* two by two */
                const __m128d a = _mm_loadu_pd(x + k), b = _mm_loadu_pd(y + k);
                double *to = out + k * columns + j;
                sums = _mm_add_pd(sums, _mm_add_pd(_mm_mul_pd(a, zero), _mm_mul_pd(b, zero)));
                _mm_storeu_pd(to, _mm_unpacklo_pd(a, b));
                _mm_storeu_pd(to + columns, _mm_unpackhi_pd(a, b));
            }
        }
        double two[2];
        _mm_storeu_pd(two, sums);
        sum += two[0] + two[1];
        sum += gdfast_transpose_part_f64(out, source, columns, even, end, 0, j);
#endif
        sum += gdfast_transpose_part_f64(out, source, columns, i, end, j, columns);
    }
    return sum == 0;
}

static inline int gdfast_transpose_f32(float *out, const void **source, ptrdiff_t rows, ptrdiff_t columns)
{
    const ptrdiff_t tile = gdfast_transpose_rows(columns * (ptrdiff_t)sizeof(float));
    float sum = 0;
    for (ptrdiff_t i = 0; i < rows; i += tile) {
        const ptrdiff_t end = rows - i > tile ? i + tile : rows;
        ptrdiff_t j = 0;
#if GDFAST_SSE
        __m128 sums = _mm_setzero_ps();
        const __m128 zero = _mm_setzero_ps();
        const ptrdiff_t whole = i + (end - i) / GDFAST_LINE * GDFAST_LINE;
        for (; j + 4 <= columns; j += 4) {
            for (ptrdiff_t k = i; k < whole; k += GDFAST_LINE) {
                const float *x[4];
                for (int m = 0; m < 4; m++) {
                    x[m] = (const float *)source[j + m] + k;
                    gdfast_prefetch_read(x[m] + 4 * GDFAST_LINE);
                }
                for (int m = 0; m < GDFAST_LINE; m += 4) { /* four by four */
                    __m128 a = _mm_loadu_ps(x[0] + m), b = _mm_loadu_ps(x[1] + m);
                    __m128 c = _mm_loadu_ps(x[2] + m), d = _mm_loadu_ps(x[3] + m);
                    float *to = out + (k + m) * columns + j;
                    sums = _mm_add_ps(sums, _mm_add_ps(_mm_mul_ps(a, zero), _mm_mul_ps(b, zero)));
                    sums = _mm_add_ps(sums, _mm_add_ps(_mm_mul_ps(c, zero), _mm_mul_ps(d, zero)));
                    _MM_TRANSPOSE4_PS(a, b, c, d);
                    _mm_storeu_ps(to, a);
                    _mm_storeu_ps(to + columns, b);
                    _mm_storeu_ps(to + 2 * columns, c);
                    _mm_storeu_ps(to + 3 * columns, d);
                }
            }
        }
        float four[4];
        _mm_storeu_ps(four, sums);
        sum += four[0] + four[1] + four[2] + four[3];
        sum += gdfast_transpose_part_f32(out, source, columns, whole, end, 0, j);
#endif
        sum += gdfast_transpose_part_f32(out, source, columns, i, end, j, columns);
    }
    return sum == 0;
}

#endif
