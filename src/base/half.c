#include "base/half.h"

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
    if (exponent == 31)
        return f32_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0)
        return f32_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    /* Zero or subnormal: fraction · 2^-24, a normal float32. */
    return f32_of_bits(sign | f32_bits((float)fraction * 0x1p-24f));
}

/* magnitude: the bits of a float32 from 2^-25 on and below 2^-14. */
static uint32_t f16_subnormal(uint32_t magnitude)
{
    uint32_t shift = 126 - (magnitude >> 23), fraction = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t h = fraction >> shift, rest = fraction & ((1u << shift) - 1), half = 1u << (shift - 1);
    return h + (rest > half || (rest == half && (h & 1)));
}

uint16_t f32_to_f16(float x)
{
    uint32_t u = f32_bits(x), sign = u >> 16 & 0x8000u, m = u & 0x7fffffffu, h;
    if (m > 0x7f800000u)
        h = 0x7c00u | ((m >> 13 & 0x3ffu) == 0 ? 0x200u : m >> 13 & 0x3ffu);
    else if (m >= 0x477ff000u) /* 65520: half way from the greatest to 2^16 */
        h = 0x7c00u;
    else if (m >= 0x38800000u) /* 2^-14: the exponent's bias drops from 127 to 15 */
        h = (m - 0x38000000u + 0xfffu + (m >> 13 & 1u)) >> 13;
    else if (m >= 0x33000000u) /* 2^-25 */
        h = f16_subnormal(m);
    else
        h = 0;
    return (uint16_t)(sign | h);
}

void bf16_widen(float *restrict out, const uint16_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = bf16_to_f32(in[i]);
}

void bf16_narrow(uint16_t *restrict out, const float *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f32_to_bf16(in[i]);
}

void f16_widen(float *restrict out, const uint16_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_to_f32(in[i]);
}

void f16_narrow(uint16_t *restrict out, const float *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f32_to_f16(in[i]);
}
