/* exp2, log2 and tanh as straight-line code that the compiler turns into
 * vectors: no branches, no tables. Fused multiply-adds are written out, so a value is the same
 * wherever in a vector, or after the last whole vector, it is computed. */
#ifndef CARAT_SRC_KERN_VMATH_H
#define CARAT_SRC_KERN_VMATH_H

#include <stdint.h>
#include <string.h>

/* a·b + c, in one rounding where the machine can. */
static inline float fmaf_(float a, float b, float c)
{
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

static inline uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* 1.5·2^23: adding it rounds to an integer, which then stands in the low bits. */
#define VM_ROUND 12582912.0f
#define VM_LOG2E 1.44269504088896341f
/* ln 2 in two parts; the first has trailing zeros, so that n times it is exact. */
#define VM_LN2_HI 0.693359375f
#define VM_LN2_LO (-2.12194440e-4f)

/* 2^n, n the integer that t = n + VM_ROUND holds; -126 ≤ n ≤ 127. */
static inline float vm_pow2(float t)
{
    return bits_float((float_bits(t) << 23) + 0x3f800000u);
}

/* (exp(r) - 1 - r) / r² on |r| ≤ ln 2 / 2: Chebyshev interpolation, 1e-8 of exp(r). */
static inline float vm_exp_tail(float r)
{
    float q = 0.0013926213466234792f;
    q = fmaf_(q, r, 0.008363202971573724f);
    q = fmaf_(q, r, 0.04166655443768687f);
    q = fmaf_(q, r, 0.16666576845994002f);
    return fmaf_(q, r, 0.5f);
}

/* 2^x for -126 ≤ x ≤ 127, and NaN for NaN. */
static inline float vm_exp2_inside(float x)
{
    float t = x + VM_ROUND;
    float r = x - (t - VM_ROUND);
    /* (2^r - 1) / r on |r| ≤ 1/2: Chebyshev interpolation, 5e-9 of 2^r. */
    float p = 0.000154532624102502f;
    p = fmaf_(p, r, 0.001339097824810743f);
    p = fmaf_(p, r, 0.009618082370614976f);
    p = fmaf_(p, r, 0.055503568986271276f);
    p = fmaf_(p, r, 0.24022650760957298f);
    p = fmaf_(p, r, 0.6931471880711761f);
    return fmaf_(p, r, 1.0f) * vm_pow2(t);
}

/* 2^x for x ≤ 127, not below 2^-125: what a softmax needs once its maximum is taken off. */
static inline float vm_exp2_softmax(float x)
{
    return vm_exp2_inside(x < -125.0f ? -125.0f : x);
}

/* tanh(x) = (e^2a - 1) / (e^2a + 1) with x's sign, a = |x|; e^2a - 1 = 2^n·p + (2^n - 1) keeps its
 * relative precision down to 0. From a = 9.1 on the quotient is 1. */
static inline float vm_tanh(float x)
{
    uint32_t sign = float_bits(x) & 0x80000000u;
    float a = bits_float(float_bits(x) & 0x7fffffffu);
    a = a > 10.0f ? 10.0f : a;
    float y = a + a;
    float t = fmaf_(y, VM_LOG2E, VM_ROUND);
    float n = t - VM_ROUND;
    float r = fmaf_(n, -VM_LN2_HI, y);
    r = fmaf_(n, -VM_LN2_LO, r);
    float p = fmaf_(vm_exp_tail(r) * r, r, r);
    float s = vm_pow2(t);
    float q = fmaf_(s, p, s - 1.0f) / fmaf_(s, p, s + 1.0f);
    return bits_float(float_bits(q) | sign);
}

#endif
