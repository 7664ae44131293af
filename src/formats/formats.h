/* Design: numbers in fewer bits, decoded to float32 and encoded again, a tile at a time. The rules in words stand in
 * docs/numerics.md, and gdfast/reference/formats.py is the readable twin. Plain loops over integers and float32 without a
 * table or a branch, so that the compiler's vectors round as the reference does. A block of eight-bit numbers that holds
 * infinities or NaN, or is about to overflow, takes a second, slower loop: the first one then needs no comparisons for them.
 * The largest number of each block is looked for before any is encoded, with other work in between: finding it ends in a
 * chain of instructions that wait for each other.
 */
#ifndef GDFAST_FORMATS_H
#define GDFAST_FORMATS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GDFAST_BLOCK 128                /* elements that share a scale */
#define GDFAST_INFINITY 0x7f800000
#define GDFAST_LAST_BFLOAT16 0x7f7f0000 /* the largest finite one, as float32 */
#define GDFAST_ODD 255                  /* no scale: a block for the slower loop, until it is encoded */

static inline int32_t gdfast_bits(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float gdfast_float(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 32 random bits of a number: two rounds of xor-shift and multiply. */
static inline uint32_t gdfast_mix(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x7feb352dU;
    x = (x ^ (x >> 15)) * 0x846ca68bU;
    return x ^ (x >> 16);
}

/* What the elements of an array are hashed with: `lot` is which 32 bits of an element's. */
static inline uint32_t gdfast_key(uint32_t step_key, uint32_t array, uint32_t lot)
{
    return gdfast_mix(gdfast_mix(step_key + array) + lot);
}

static inline void gdfast_random(uint32_t *random, uint32_t key, ptrdiff_t first, ptrdiff_t n)
{
    uint32_t next = key + (uint32_t)first;      /* an index of 64 bits would be converted for every element */
    ptrdiff_t i;
    for (i = 0; i < n; i++, next++)
        random[i] = gdfast_mix(next);
}

/* bfloat16: the upper half of a float32. Every NaN becomes the same one. */

static inline void gdfast_decode_bfloat16(float *out, const void *from, const uint8_t *scales, ptrdiff_t n)
{
    const uint16_t *codes = (const uint16_t *)from;
    ptrdiff_t i;
    (void)scales;
    for (i = 0; i < n; i++)
        out[i] = gdfast_float((int32_t)((uint32_t)codes[i] << 16));
}

/* Random bits are added below the half that is kept. A finite number stays finite. */
static inline void gdfast_encode_upper_halves(
    uint16_t *codes, const float *values, const uint32_t *random, const int high, ptrdiff_t n)
{
    ptrdiff_t i;
    for (i = 0; i < n; i++) {
        int32_t bits = gdfast_bits(values[i]), magnitude = bits & 0x7fffffff;
        int32_t noise = (int32_t)(high ? random[i] >> 16 : random[i] & 0xffff);
        bits += magnitude < GDFAST_LAST_BFLOAT16 ? noise : 0;
        bits = magnitude > GDFAST_INFINITY ? 0x7fc00000 : bits;
        codes[i] = (uint16_t)((uint32_t)bits >> 16);
    }
}

static inline void gdfast_encode_bfloat16(
    void *to, uint8_t *scales, const float *values, const uint32_t *random, int high, ptrdiff_t n)
{
    (void)scales;
    if (high)
        gdfast_encode_upper_halves((uint16_t *)to, values, random, 1, n);
    else
        gdfast_encode_upper_halves((uint16_t *)to, values, random, 0, n);
}

/* To the nearest, ties to even. */
static inline void gdfast_encode_bfloat16_nearest(
    void *to, uint8_t *scales, const float *values, const uint32_t *random, int high, ptrdiff_t n)
{
    uint16_t *codes = (uint16_t *)to;
    ptrdiff_t i;
    (void)scales, (void)random, (void)high;
    for (i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)gdfast_bits(values[i]);
        uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
        rounded = (int32_t)(bits & 0x7fffffff) > GDFAST_INFINITY ? 0x7fc00000 : rounded;
        codes[i] = (uint16_t)(rounded >> 16);
    }
}

/* float16, to the nearest, ties to even. Numbers below the smallest normal one are shifted by an addition. */

static inline void gdfast_decode_float16(float *out, const void *from, const uint8_t *scales, ptrdiff_t n)
{
    const uint16_t *codes = (const uint16_t *)from;
    const float least = 0x1p-14f;
    ptrdiff_t i;
    (void)scales;
    for (i = 0; i < n; i++) {
        int32_t sign = (int32_t)((uint32_t)(codes[i] & 0x8000) << 16), magnitude = (codes[i] & 0x7fff) << 13;
        int32_t below = gdfast_bits(gdfast_float(magnitude + (113 << 23)) - least);
        int32_t bits = magnitude + (112 << 23);
        bits = magnitude < 1 << 23 ? below : bits;
        bits = magnitude >= 31 << 23 ? magnitude + (int32_t)(224 << 23) : bits;
        out[i] = gdfast_float(magnitude > 31 << 23 ? 0x7fc00000 : bits | sign);
    }
}

static inline void gdfast_encode_float16(
    void *to, uint8_t *scales, const float *values, const uint32_t *random, int high, ptrdiff_t n)
{
    uint16_t *codes = (uint16_t *)to;
    ptrdiff_t i;
    (void)scales, (void)random, (void)high;
    for (i = 0; i < n; i++) {
        int32_t bits = gdfast_bits(values[i]), magnitude = bits & 0x7fffffff;
        int32_t below = gdfast_bits(gdfast_float(magnitude) + 0.5f) - gdfast_bits(0.5f);
        int32_t code = (magnitude - (112 << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
        code = magnitude < 113 << 23 ? below : code;
        code = magnitude >= 143 << 23 ? 0x7c00 : code;
        code |= (int32_t)((uint32_t)bits >> 16) & 0x8000;
        codes[i] = (uint16_t)(magnitude > GDFAST_INFINITY ? 0x7e00 : code);
    }
}

/* A float32 in two halves: the nearest bfloat16, ties up in magnitude, and the difference of the bit patterns. That is
 * never negative beside a zero, unless others wrote the zero (who prunes, say): it is zero then, and not NaN. */

static inline void gdfast_decode_split(float *out, const void *from, const uint8_t *remainders, ptrdiff_t n)
{
    const uint16_t *upper = (const uint16_t *)from;
    const int16_t *lower = (const int16_t *)remainders;
    ptrdiff_t i;
    for (i = 0; i < n; i++) {
        int32_t below = lower[i], least = (upper[i] & 0x7fff) ? -0x8000 : 0;
        below = below < least ? 0 : below;
        out[i] = gdfast_float((int32_t)(((uint32_t)upper[i] << 16) + (uint32_t)below));
    }
}

static inline void gdfast_encode_split(
    void *to, uint8_t *remainders, const float *values, const uint32_t *random, int high, ptrdiff_t n)
{
    uint16_t *upper = (uint16_t *)to;
    int16_t *lower = (int16_t *)remainders;
    ptrdiff_t i;
    (void)random, (void)high;
    for (i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)gdfast_bits(values[i]);
        bits = (int32_t)(bits & 0x7fffffff) > GDFAST_INFINITY ? 0x7fc00000 : bits;
        upper[i] = (uint16_t)((bits + 0x8000) >> 16);
        lower[i] = (int16_t)(uint16_t)bits;
    }
}

/* Eight bits: small floats of 3 bits of mantissa, and 4 of exponent with a sign, or 5 without (`top` is the largest
 * magnitude, and 8 times the largest exponent). The exponents of a block of numbers begin at its scale, a power of two. The
 * last two magnitudes are infinity and NaN, which has no sign.
 *
 * With the least number N of exponent 1, a number is decoded as code*N*(1/8) below N, and by its exponent from N on. Both are
 * additions: to the bits of a float32, or of N. Which of the two it is needs no comparison: decoded it is the smaller one,
 * and encoded the larger. */

static inline int32_t gdfast_smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t gdfast_larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* The code of a format with a sign comes with that in all upper bits. */
static inline int32_t gdfast_one_decoded(int32_t code, const int32_t top, int32_t scale, float least)
{
    int32_t kept = (int32_t)((uint32_t)code << 20) & (top << 20);
    int32_t below = gdfast_bits(gdfast_float(kept + ((scale + 1) << 23)) - least);
    int32_t bits = gdfast_smaller(below, kept + (scale << 23));
    return top == 127 ? bits | (code & INT32_MIN) : bits;
}

static inline void gdfast_decode_block(
    float *__restrict to, const uint8_t *__restrict from, int32_t scale, ptrdiff_t n, const int32_t top, const int special)
{
    const float least = gdfast_float((scale + 1) << 23);
    ptrdiff_t i;
    for (i = 0; i < n; i++) {
        int32_t code = top == 127 ? (int8_t)from[i] : from[i], magnitude = code & top;
        int32_t bits = gdfast_one_decoded(code, top, scale, least);
        if (special) {
            bits = magnitude == top - 1 ? (bits & INT32_MIN) | GDFAST_INFINITY : bits;
            bits = magnitude == top ? 0x7fc00000 : bits;
        }
        to[i] = gdfast_float(bits);
    }
}

static inline void gdfast_decode_blocks(
    float *to, const uint8_t *from, const uint8_t *scales, ptrdiff_t n, const int32_t top, const int special)
{
    const int32_t most = 254 - (top >> 3);
    for (; n >= GDFAST_BLOCK; n -= GDFAST_BLOCK, to += GDFAST_BLOCK, from += GDFAST_BLOCK, scales++)
        gdfast_decode_block(to, from, gdfast_smaller(*scales, most), GDFAST_BLOCK, top, special);
    if (n > 0)
        gdfast_decode_block(to, from, gdfast_smaller(*scales, most), n, top, special);
}

static inline void gdfast_decode_tile(float *to, const uint8_t *from, const uint8_t *scales, ptrdiff_t n, const int32_t top)
{
    uint8_t largest = 0;
    ptrdiff_t i;
    for (i = 0; i < n; i++) {
        uint8_t magnitude = from[i] & top;
        largest = largest > magnitude ? largest : magnitude;
    }
    if (largest < top - 1)
        gdfast_decode_blocks(to, from, scales, n, top, 0);
    else
        gdfast_decode_blocks(to, from, scales, n, top, 1);
}

/* A magnitude with 20 random bits below those that are kept, of the lower or upper 20 of 32. */
static inline int32_t gdfast_one_encoded(int32_t magnitude, uint32_t random, const int high, int32_t scale, float least)
{
    int32_t below = gdfast_bits(gdfast_float(magnitude) + least) - (1 << 23);
    int32_t noise = (int32_t)(high ? random >> 12 : random & 0xfffff);
    return ((gdfast_larger(below, magnitude) + noise) >> 20) - scale * 8;
}

static inline int32_t gdfast_scale(int32_t largest, const int32_t top)
{
    return gdfast_larger(((largest + 0x2fffff) >> 23) - (top >> 3), 0);
}

/* A block with infinities, NaN, or numbers near the largest of float32, or negative ones where there is no sign. */
static inline int32_t gdfast_encode_odd_block(
    uint8_t *to, const float *from, const uint32_t *random, ptrdiff_t n, const int32_t top, const int high)
{
    int32_t largest = 0, scale;
    float least;
    ptrdiff_t i;
    for (i = 0; i < n; i++) {
        int32_t magnitude = gdfast_bits(from[i]) & 0x7fffffff;
        largest = gdfast_larger(largest, magnitude < GDFAST_INFINITY ? magnitude : 0);
    }
    scale = gdfast_smaller(gdfast_scale(largest, top), 254 - (top >> 3));
    least = gdfast_float((scale + 1) << 23);
    for (i = 0; i < n; i++) {
        int32_t bits = gdfast_bits(from[i]), whole = bits & 0x7fffffff;
        int32_t magnitude = top == 127 ? whole : gdfast_larger(bits, 0);
        int32_t code = gdfast_one_encoded(magnitude < GDFAST_INFINITY ? magnitude : 0, random[i], high, scale, least);
        code = gdfast_smaller(code, top - 2);
        code = magnitude == GDFAST_INFINITY ? top - 1 : code;
        code = top == 127 ? code | (int32_t)((uint32_t)bits >> 24 & 128) : gdfast_larger(code, gdfast_smaller(magnitude, 1));
        to[i] = (uint8_t)(whole > GDFAST_INFINITY ? top : code);
    }
    return scale;
}

static inline int32_t gdfast_block_scale(const float *from, ptrdiff_t n, const int32_t top)
{
    uint32_t largest = 0;
    ptrdiff_t i;
    for (i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)gdfast_bits(from[i]);     /* where there is no sign, negative numbers are the largest */
        bits = top == 127 ? bits & 0x7fffffff : bits;
        largest = largest > bits ? largest : bits;
    }
    return largest > 0x7f500000 ? GDFAST_ODD : gdfast_scale((int32_t)largest, top);
}

static inline void gdfast_measure_blocks(uint8_t *scales, const float *from, ptrdiff_t n, const int32_t top)
{
    for (; n >= GDFAST_BLOCK; n -= GDFAST_BLOCK, from += GDFAST_BLOCK)
        *scales++ = (uint8_t)gdfast_block_scale(from, GDFAST_BLOCK, top);
    if (n > 0)
        *scales = (uint8_t)gdfast_block_scale(from, n, top);
}

static inline int32_t gdfast_encode_block(uint8_t *__restrict to, const float *__restrict from, const uint32_t *__restrict random,
                                          int32_t scale, ptrdiff_t n, const int32_t top, const int high)
{
    const float least = gdfast_float((scale + 1) << 23);
    ptrdiff_t i;
    if (scale == GDFAST_ODD)
        return gdfast_encode_odd_block(to, from, random, n, top, high);
    for (i = 0; i < n; i++) {
        int32_t bits = gdfast_bits(from[i]), magnitude = top == 127 ? bits & 0x7fffffff : bits;
        int32_t code = gdfast_one_encoded(magnitude, random[i], high, scale, least);
        code = top == 127 ? code | (int32_t)((uint32_t)bits >> 24 & 128) : gdfast_larger(code, magnitude > 0);
        to[i] = (uint8_t)code;
    }
    return scale;
}

static inline void gdfast_encode_blocks(
    uint8_t *to, uint8_t *scales, const float *from, const uint32_t *random, ptrdiff_t n, const int32_t top, const int high)
{
    for (; n >= GDFAST_BLOCK; n -= GDFAST_BLOCK, scales++) {
        *scales = (uint8_t)gdfast_encode_block(to, from, random, *scales, GDFAST_BLOCK, top, high);
        to += GDFAST_BLOCK, from += GDFAST_BLOCK, random += GDFAST_BLOCK;
    }
    if (n > 0)
        *scales = (uint8_t)gdfast_encode_block(to, from, random, *scales, n, top, high);
}

static inline void gdfast_measure_signed(uint8_t *scales, const float *values, ptrdiff_t n)
{
    gdfast_measure_blocks(scales, values, n, 127);
}

static inline void gdfast_measure_non_negative(uint8_t *scales, const float *values, ptrdiff_t n)
{
    gdfast_measure_blocks(scales, values, n, 255);
}

static inline void gdfast_decode_signed(float *out, const void *codes, const uint8_t *scales, ptrdiff_t n)
{
    gdfast_decode_tile(out, (const uint8_t *)codes, scales, n, 127);
}

static inline void gdfast_decode_non_negative(float *out, const void *codes, const uint8_t *scales, ptrdiff_t n)
{
    gdfast_decode_tile(out, (const uint8_t *)codes, scales, n, 255);
}

static inline void gdfast_encode_signed(
    void *codes, uint8_t *scales, const float *values, const uint32_t *random, int high, ptrdiff_t n)
{
    if (high)
        gdfast_encode_blocks((uint8_t *)codes, scales, values, random, n, 127, 1);
    else
        gdfast_encode_blocks((uint8_t *)codes, scales, values, random, n, 127, 0);
}

static inline void gdfast_encode_non_negative(
    void *codes, uint8_t *scales, const float *values, const uint32_t *random, int high, ptrdiff_t n)
{
    if (high)
        gdfast_encode_blocks((uint8_t *)codes, scales, values, random, n, 255, 1);
    else
        gdfast_encode_blocks((uint8_t *)codes, scales, values, random, n, 255, 0);
}

#endif
