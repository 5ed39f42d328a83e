/* Vectors of single precision as wide as the machine's registers, by the compiler's vector
 * extensions: one source for every instruction set, chosen at compile time. */
#ifndef CARAT_SRC_KERN_SIMD_H
#define CARAT_SRC_KERN_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX__
#include <immintrin.h>
#endif

#include "vmath.h"

/* Floats in a vector, and whether there are 32 registers of them rather than 16. */
#if defined(__AVX512F__)
enum { VL = 16, MANY_REGISTERS = 1 };
#elif defined(__AVX__)
enum { VL = 8, MANY_REGISTERS = 0 };
#elif defined(__aarch64__)
enum { VL = 4, MANY_REGISTERS = 1 };
#else
enum { VL = 4, MANY_REGISTERS = 0 };
#endif

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef uint32_t vu __attribute__((vector_size(4 * VL)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf v_load(const void *x)
{
    vf v;
    memcpy(&v, x, sizeof v);
    return v;
}

/* The first n < VL floats, then zeros; all of them from VL on. */
INLINE vf v_load_part(const float *x, size_t n)
{
    vf v = {0};
    if (n >= VL)
        return v_load(x);
    memcpy(&v, x, n * sizeof *x);
    return v;
}

INLINE void v_store(void *x, vf v)
{
    memcpy(x, &v, sizeof v);
}

INLINE vf v_splat(float x)
{
    return x - (vf){0}; /* exact for every x, so nothing is computed */
}

/* mask ? a : b, lane by lane; mask is all ones or all zeros in a lane. */
INLINE vf v_select(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* a > b ? a : b, so that a NaN in b stays and one in a does not. */
INLINE vf v_max(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_select(a > b, a, b);
#endif
}

/* a < b ? a : b, likewise. */
INLINE vf v_min(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return v_select(a < b, a, b);
#endif
}

/* 2^r for |r| ≤ 1/2: the polynomial of vm_exp2_inside. */
INLINE vf v_exp2_fraction(vf r)
{
    vf p = v_splat(0.000154532624102502f);
    p = p * r + 0.001339097824810743f;
    p = p * r + 0.009618082370614976f;
    p = p * r + 0.055503568986271276f;
    p = p * r + 0.24022650760957298f;
    p = p * r + 0.6931471880711761f;
    return p * r + 1.0f;
}

/* 2^x for x ≤ 127; 0 far below, at the latest from -150 on; NaN for NaN. */
INLINE vf v_exp2(vf x)
{
#ifdef __AVX512F__
    vf n = (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return (vf)_mm512_scalef_ps((__m512)v_exp2_fraction(x - n), (__m512)n);
#else
    x = v_max(v_splat(-127.0f), x);
    vf t = x + VM_ROUND;
    return v_exp2_fraction(x - (t - VM_ROUND)) * (vf)(((vu)t << 23) + 0x3f800000u);
#endif
}

/* log2(x) for normal x > 0; NaN for NaN and infinity. x = 2^e·m, m in [√½, √2), t = m - 1:
 * log2(m) / t by Chebyshev interpolation, 3e-8 of it. */
INLINE vf v_log2(vf x)
{
    vu shifted = (vu)x - 0x3f3504f3u;
    vf e = __builtin_convertvector((vi)shifted >> 23, vf);
    vf t = (vf)((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    vf p = v_splat(0.12310968466188424f);
    p = p * t - 0.20586188050697654f;
    p = p * t + 0.2160782255236259f;
    p = p * t - 0.2391698814021903f;
    p = p * t + 0.28790326092449453f;
    p = p * t - 0.3606932681352622f;
    p = p * t + 0.4809107534594121f;
    p = p * t - 0.7213474682495641f;
    p = p * t + 1.4426950035679822f;
    return (p * t + e) + (x - x);
}

/* tanh(x); see vm_tanh for the method. */
INLINE vf v_tanh(vf x)
{
    vu sign = (vu)x & 0x80000000u;
    vf a = (vf)((vu)x & 0x7fffffffu);
    a = v_select(a > 10.0f, v_splat(10.0f), a);
    vf y = a + a, t = y * VM_LOG2E + VM_ROUND, n = t - VM_ROUND;
    vf r = n * -VM_LN2_LO + (n * -VM_LN2_HI + y);
    vf q = v_splat(0.0013926213466234792f);
    q = q * r + 0.008363202971573724f;
    q = q * r + 0.04166655443768687f;
    q = q * r + 0.16666576845994002f;
    q = q * r + 0.5f;
    vf p = (q * r) * r + r, s = (vf)(((vu)t << 23) + 0x3f800000u);
    return (vf)((vu)((s * p + (s - 1.0f)) / (s * p + (s + 1.0f))) | sign);
}

/* The lanes' numbers. */
INLINE vi v_lanes(void)
{
#if defined(__AVX512F__)
    return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX__)
    return (vi){0, 1, 2, 3, 4, 5, 6, 7};
#else
    return (vi){0, 1, 2, 3};
#endif
}

/* Each lane gets the one whose number differs by the bit n; itself when there is none. */
INLINE vf v_swap(vf v, int n)
{
    return n < VL ? __builtin_shuffle(v, v_lanes() ^ n) : v;
}

/* Lanes folded in a fixed order. */
INLINE float v_sum(vf v)
{
    if (VL > 8)
        v += v_swap(v, 8);
    if (VL > 4)
        v += v_swap(v, 4);
    v += v_swap(v, 2);
    v += v_swap(v, 1);
    return v[0];
}

INLINE float v_greatest(vf v)
{
    v = v_max(v, v_swap(v, 8));
    v = v_max(v, v_swap(v, 4));
    v = v_max(v, v_swap(v, 2));
    v = v_max(v, v_swap(v, 1));
    return v[0];
}

/* Rounded to bfloat16, which then stands in the upper half of each lane. */
INLINE vu v_round_bf16(vf x)
{
    vu u = (vu)x, rounded = u + 0x7fffu + (u >> 16 & 1u);
    vu nan = (vu)((u & 0x7fffffffu) > 0x7f800000u);
    return (~nan & rounded) | (nan & (u | 0x400000u));
}

/* Pairs of bfloat16, one in each lane; low is the earlier in memory. */
INLINE vf v_pair(vf low, vf high)
{
#ifdef __AVX512BF16__
    typedef uint16_t halves __attribute__((vector_size(64)));
    const halves zip = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    halves both = (halves)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    return (vf)__builtin_shuffle(both, zip);
#else
    return (vf)(v_round_bf16(low) >> 16 | (v_round_bf16(high) & 0xffff0000u));
#endif
}

/* 2·VL floats in a row, first and second, as as many bfloat16 in a row. */
INLINE vf v_narrow(vf first, vf second)
{
#ifdef __AVX512BF16__
    return (vf)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
    vi even = v_lanes() * 2;
    return v_pair(__builtin_shuffle(first, second, even),
                  __builtin_shuffle(first, second, even + 1));
#endif
}

/* sum + a·b, both halves of each lane. */
INLINE vf v_dot_pairs(vf sum, vf a, vf b)
{
#ifdef __AVX512BF16__
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    sum += (vf)((vu)a << 16) * (vf)((vu)b << 16);
    return sum + (vf)((vu)a & 0xffff0000u) * (vf)((vu)b & 0xffff0000u);
#endif
}

#endif
