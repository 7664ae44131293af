/* Design: numbers in fewer bits, decoded to float32 and encoded again, a tile at a time. The rules in words stand in
 * docs/numerics.md, and gdfast/reference/formats.py is the readable twin. Plain loops over integers and float32 without a
 * table or a branch, so that the compiler's vectors round as the reference does. A block of eight-bit numbers that holds
 * infinities or NaN, or is about to overflow, takes a second, slower loop: the first one then needs no comparisons for them.
 */
#ifndef GDFAST_FORMATS_H
#define GDFAST_FORMATS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GDFAST_BLOCK 128                /* elements that share a scale */
#define GDFAST_INFINITY 0x7f800000
#define GDFAST_LAST_BFLOAT16 0x7f7f0000 /* the largest finite one, as float32 */

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
    const uint32_t start = key + (uint32_t)first;
    ptrdiff_t i;
    for (i = 0; i < n; i++)
        random[i] = gdfast_mix(start + (uint32_t)i);
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
static inline void gdfast_encode_bfloat16(
    void *to, uint8_t *scales, const float *values, const uint32_t *random, int shift, ptrdiff_t n)
{
    uint16_t *codes = (uint16_t *)to;
    ptrdiff_t i;
    (void)scales;
    for (i = 0; i < n; i++) {
        int32_t bits = gdfast_bits(values[i]), magnitude = bits & 0x7fffffff;
        int32_t noise = (int32_t)((random[i] >> shift) & 0xffff);
        bits += magnitude < GDFAST_LAST_BFLOAT16 ? noise : 0;
        bits = magnitude > GDFAST_INFINITY ? 0x7fc00000 : bits;
        codes[i] = (uint16_t)((uint32_t)bits >> 16);
    }
}

/* To the nearest, ties to even. */
static inline void gdfast_encode_bfloat16_nearest(
    void *to, uint8_t *scales, const float *values, const uint32_t *random, int shift, ptrdiff_t n)
{
    uint16_t *codes = (uint16_t *)to;
    ptrdiff_t i;
    (void)scales, (void)random, (void)shift;
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
    void *to, uint8_t *scales, const float *values, const uint32_t *random, int shift, ptrdiff_t n)
{
    uint16_t *codes = (uint16_t *)to;
    ptrdiff_t i;
    (void)scales, (void)random, (void)shift;
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

/* A float32 in two halves: the nearest bfloat16, ties up in magnitude, and the difference of the bit patterns. */

static inline void gdfast_decode_split(float *out, const void *from, const uint8_t *remainders, ptrdiff_t n)
{
    const uint16_t *high = (const uint16_t *)from;
    const int16_t *low = (const int16_t *)remainders;
    ptrdiff_t i;
    for (i = 0; i < n; i++)
        out[i] = gdfast_float((int32_t)(((uint32_t)high[i] << 16) + (uint32_t)(int32_t)low[i]));
}

static inline void gdfast_encode_split(
    void *to, uint8_t *remainders, const float *values, const uint32_t *random, int shift, ptrdiff_t n)
{
    uint16_t *high = (uint16_t *)to;
    int16_t *low = (int16_t *)remainders;
    ptrdiff_t i;
    (void)random, (void)shift;
    for (i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)gdfast_bits(values[i]);
        bits = (int32_t)(bits & 0x7fffffff) > GDFAST_INFINITY ? 0x7fc00000 : bits;
        high[i] = (uint16_t)((bits + 0x8000) >> 16);
        low[i] = (int16_t)(uint16_t)bits;
    }
}

/* Eight bits: small floats of 3 bits of mantissa, and 4 of exponent with a sign, or 5 without (`fields` is the largest
 * exponent, `top` the largest magnitude). The exponents of a block of numbers begin at its scale. The last two magnitudes
 * are infinity and NaN, which has no sign. */

static inline int32_t gdfast_one_decoded(int32_t code, int32_t top, int32_t scale, float least)
{
    int32_t kept = (code & top) << 20;
    int32_t below = gdfast_bits(gdfast_float(kept + ((scale + 1) << 23)) - least);
    int32_t bits = kept < 1 << 23 ? below : kept + (scale << 23);
    return top == 127 ? bits | ((code & 128) << 24) : bits;
}

static inline void gdfast_decode_blocks(float *out, const uint8_t *codes, const uint8_t *scales, ptrdiff_t n, int32_t top)
{
    const int32_t most = 254 - (top >> 3);
    ptrdiff_t start, i;
    for (start = 0; start < n; start += GDFAST_BLOCK, scales++) {
        const ptrdiff_t size = n - start < GDFAST_BLOCK ? n - start : GDFAST_BLOCK;
        const uint8_t *from = codes + start;
        const int32_t scale = *scales < most ? *scales : most;
        const float least = gdfast_float((scale + 1) << 23);
        float *to = out + start;
        uint8_t last = 0;
        for (i = 0; i < size; i++) {
            uint8_t magnitude = from[i] & top;
            last = last > magnitude ? last : magnitude;
        }
        if (last < top - 1) {
            for (i = 0; i < size; i++)
                to[i] = gdfast_float(gdfast_one_decoded(from[i], top, scale, least));
        } else {
            for (i = 0; i < size; i++) {
                int32_t bits = gdfast_one_decoded(from[i], top, scale, least), magnitude = from[i] & top;
                bits = magnitude == top - 1 ? (bits & INT32_MIN) | GDFAST_INFINITY : bits;
                to[i] = gdfast_float(magnitude == top ? 0x7fc00000 : bits);
            }
        }
    }
}

/* The magnitude of a number that is not negative, before the bits that go are dropped. */
static inline int32_t gdfast_one_shifted(int32_t magnitude, int32_t scale, float least)
{
    int32_t below = gdfast_bits(gdfast_float(magnitude) + least) - ((scale + 1) << 23);
    return magnitude < (scale + 1) << 23 ? below : magnitude - (scale << 23);
}

static inline void gdfast_encode_blocks(
    uint8_t *codes, uint8_t *scales, const float *values, const uint32_t *random, int shift, ptrdiff_t n, int32_t top)
{
    const int32_t fields = top >> 3, sign = top == 127, most = 254 - fields;
    ptrdiff_t start, i;
    for (start = 0; start < n; start += GDFAST_BLOCK) {
        const ptrdiff_t size = n - start < GDFAST_BLOCK ? n - start : GDFAST_BLOCK;
        const float *from = values + start;
        const uint32_t *noise = random + start;
        uint8_t *to = codes + start;
        int32_t largest = 0, scale;
        float least;
        for (i = 0; i < size; i++) {
            int32_t magnitude = gdfast_bits(from[i]) & 0x7fffffff;
            largest = largest > magnitude ? largest : magnitude;
        }
        if (largest <= 0x7f500000) {
            scale = (int32_t)((largest + 0x2fffff) >> 23) - fields;
            scale = scale > 0 ? scale : 0;
            least = gdfast_float((scale + 1) << 23);
            for (i = 0; i < size; i++) {
                int32_t bits = gdfast_bits(from[i]);
                int32_t magnitude = sign ? bits & 0x7fffffff : (bits > 0 ? bits : 0);
                int32_t code = gdfast_one_shifted(magnitude, scale, least);
                code = (code + (int32_t)(((noise[i] >> shift) & 0xffff) << 4) + 8) >> 20;
                if (sign)
                    code |= (int32_t)((uint32_t)bits >> 24) & 128;
                else
                    code = magnitude > 0 && code < 1 ? 1 : code;
                to[i] = (uint8_t)code;
            }
        } else {
            largest = 0;
            for (i = 0; i < size; i++) {
                int32_t magnitude = gdfast_bits(from[i]) & 0x7fffffff;
                magnitude = magnitude < GDFAST_INFINITY ? magnitude : 0;
                largest = largest > magnitude ? largest : magnitude;
            }
            scale = (int32_t)((largest + 0x2fffff) >> 23) - fields;
            scale = scale > 0 ? (scale < most ? scale : most) : 0;
            least = gdfast_float((scale + 1) << 23);
            for (i = 0; i < size; i++) {
                int32_t bits = gdfast_bits(from[i]), whole = bits & 0x7fffffff;
                int32_t magnitude = sign ? whole : (bits > 0 ? bits : 0);
                int32_t code = gdfast_one_shifted(magnitude < GDFAST_INFINITY ? magnitude : 0, scale, least);
                code = (code + (int32_t)(((noise[i] >> shift) & 0xffff) << 4) + 8) >> 20;
                code = code < top - 2 ? code : top - 2;
                code = magnitude == GDFAST_INFINITY ? top - 1 : code;
                if (sign)
                    code |= (int32_t)((uint32_t)bits >> 24) & 128;
                else
                    code = magnitude > 0 && code < 1 ? 1 : code;
                to[i] = (uint8_t)(whole > GDFAST_INFINITY ? top : code);
            }
        }
        scales[start / GDFAST_BLOCK] = (uint8_t)scale;
    }
}

static inline void gdfast_decode_signed(float *out, const void *codes, const uint8_t *scales, ptrdiff_t n)
{
    gdfast_decode_blocks(out, (const uint8_t *)codes, scales, n, 127);
}

static inline void gdfast_decode_non_negative(float *out, const void *codes, const uint8_t *scales, ptrdiff_t n)
{
    gdfast_decode_blocks(out, (const uint8_t *)codes, scales, n, 255);
}

static inline void gdfast_encode_signed(
    void *codes, uint8_t *scales, const float *values, const uint32_t *random, int shift, ptrdiff_t n)
{
    gdfast_encode_blocks((uint8_t *)codes, scales, values, random, shift, n, 127);
}

static inline void gdfast_encode_non_negative(
    void *codes, uint8_t *scales, const float *values, const uint32_t *random, int shift, ptrdiff_t n)
{
    gdfast_encode_blocks((uint8_t *)codes, scales, values, random, shift, n, 255);
}

#endif
