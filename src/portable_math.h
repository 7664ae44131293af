/* What the loops of the linear models need beyond + - * /: a power of two put together from its bits, exactly. */
#ifndef GDFAST_PORTABLE_MATH_H
#define GDFAST_PORTABLE_MATH_H
#include <stdint.h>
#include <string.h>

/* 2**(k-1), where `shifted` is k + 1.5 * 2**52 and -1021 <= k <= 1024: k then stands in its lowest bits. */
static inline double gdfast_half_power_of_two(double shifted) {
    uint64_t bits;
    double power;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1022) << 52;
    memcpy(&power, &bits, sizeof power);
    return power;
}

#endif
