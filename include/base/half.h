/* 16-bit floats as bit patterns: bfloat16 and IEEE binary16, from and to float32.
 * Widening is exact. Narrowing rounds to nearest, ties to even; too large becomes infinite; a NaN
 * stays a NaN and keeps what fits of its payload. No result depends on the rounding or
 * flush-to-zero mode of the processor.
 * Source: IEEE 754-2019, section 4.3.1 and binary16; bfloat16 is binary32's upper half. */
#ifndef CARAT_BASE_HALF_H
#define CARAT_BASE_HALF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What an array holds: float, or uint16_t patterns of bfloat16. */
enum dtype { F32, BF16 };

static inline size_t dtype_size(enum dtype t)
{
    return t == BF16 ? sizeof(uint16_t) : sizeof(float);
}

static inline uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float f32_of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float bf16_to_f32(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

static inline uint16_t f32_to_bf16(float x)
{
    uint32_t u = f32_bits(x);
    uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    /* A payload in the lower half alone must not turn into infinity. */
    uint32_t nan = u >> 16 | ((u & 0x7f0000u) == 0 ? 0x40u : 0u);
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float x);

/* n values each; the arrays must not overlap. */
void bf16_widen(float *restrict out, const uint16_t *restrict in, size_t n);
void bf16_narrow(uint16_t *restrict out, const float *restrict in, size_t n);
void f16_widen(float *restrict out, const uint16_t *restrict in, size_t n);
void f16_narrow(uint16_t *restrict out, const float *restrict in, size_t n);

#endif
