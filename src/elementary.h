/* exp and random bits, from + - * and the bits of a number: a compiler vectorises them, and they give the same bits
 * everywhere, which the C library does not promise.
 *
 * x = k ln 2 + r with |r| <= ln(2)/2; exp(r) is its Taylor polynomial (relative remainder under 1e-8 and 1e-17), and 2**k
 * is written into the exponent. Adding 1.5*2**23 (2**52) rounds to the nearest integer and leaves it in the lowest bits.
 * What would be subnormal is zero; NaN stays NaN. The error is below 2 units in the last place.
 */
#ifndef GDFAST_ELEMENTARY_H
#define GDFAST_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* For x <= 0. */
static inline float gdfast_exp_f32(float x)
{
    const float magic = 12582912.0f;
    float t = x * 1.44269504f + magic;
    float k = t - magic;
    float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.0f / 5040, scale;
    uint32_t bits;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127u) << 23;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}

/* The same for any x, as gdfast/reference/losses.py has it: a polynomial summed by pairs, then pairs of pairs (Estrin's
 * scheme), since by Horner's each operation would wait for the one before; infinity above 709.79. */
static inline double gdfast_exp_f64(double x)
{
    const double magic = 6755399441055744.0;
    const double low_ln2 = 1.90821492927058770002e-10;
    const double high_ln2 = 6.93147180369123816490e-01; /* its last 32 bits are zero: times k it is exact */
    double t = x * 1.4426950408889634 + magic;
    double k = t - magic;
    double r = (x - k * high_ln2) - k * low_ln2;
    double r2 = r * r, r4 = r2 * r2;
    double low = (1.0 / 2 + 1.0 / 6 * r) + (1.0 / 24 + 1.0 / 120 * r) * r2;
    double middle = (1.0 / 720 + 1.0 / 5040 * r) + (1.0 / 40320 + 1.0 / 362880 * r) * r2;
    double high = (1.0 / 3628800 + 1.0 / 39916800 * r) + (1.0 / 479001600 + 1.0 / 6227020800.0 * r) * r2;
    double p = 1.0 + (r + r2 * ((low + middle * r4) + high * (r4 * r4))), half;
    uint64_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 1022u) << 52; /* half of 2**k, which may be beyond the largest number */
    memcpy(&half, &bits, sizeof half);
    p = (p * half) * 2.0;
    p = x < -708.0 ? 0.0 : p;
    return x > 709.79 ? (double)INFINITY : p;
}

/* 32 random bits for place `counter` under `seed` (the output function of splitmix64, Steele, Lea, Flood, OOPSLA 2014). */
static inline uint32_t gdfast_random_bits(uint64_t seed, uint64_t counter)
{
    uint64_t z = seed + (counter + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

#endif
