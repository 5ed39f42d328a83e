/* Vectors from and to arrays whose type is an argument. Everything here is inlined, so that a
 * caller which passes the type as a constant gets code for that type alone. BF16 is rounded to
 * nearest even; where the processor has an instruction for it, that one is used, which takes
 * denormal values for zeros: integer arithmetic would cost as much as the rest of a norm.
 *
 * A row of d elements is taken as whole vectors and a part of one:
 *     for (j = 0; j + VL <= d; j += VL)
 *         step(…, j, VL);
 *     if (j < d)
 *         step(…, j, d - j);
 */
#ifndef CARAT_SRC_KERN_TYPED_H
#define CARAT_SRC_KERN_TYPED_H

#include "base/half.h"
#include "simd.h"

typedef uint16_t vh __attribute__((vector_size(2 * VL)));

/* Element i as an address. */
INLINE void *at(void *x, enum dtype t, size_t i)
{
    return (char *)x + i * dtype_size(t);
}

INLINE const void *at_const(const void *x, enum dtype t, size_t i)
{
    return (const char *)x + i * dtype_size(t);
}

/* Widened; the compiler's own conversion would go through halves. */
INLINE vf v_widen(vh h)
{
#if defined(__AVX512F__)
    return (vf)((vu)_mm512_cvtepu16_epi32((__m256i)h) << 16);
#elif defined(__AVX2__)
    return (vf)((vu)_mm256_cvtepu16_epi32((__m128i)h) << 16);
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

/* Elements j … j+n-1, n ≤ VL, then zeros. */
INLINE vf get(const void *x, enum dtype t, size_t j, size_t n)
{
    const void *from = at_const(x, t, j);
    if (t == F32)
        return n == VL ? v_load(from) : v_load_part(from, n);
    vh h = {0};
    if (n == VL)
        memcpy(&h, from, sizeof h);
    else
        memcpy(&h, from, n * sizeof(uint16_t));
    return v_widen(h);
}

/* The first n ≤ VL lanes to elements j … j+n-1. */
INLINE void put(void *x, enum dtype t, size_t j, size_t n, vf v)
{
    void *to = at(x, t, j);
    if (t == F32) {
        memcpy(to, &v, n == VL ? sizeof v : n * sizeof(float));
        return;
    }
#ifdef __AVX512BF16__
    vh h = (vh)_mm512_cvtneps_pbh((__m512)v);
#else
    vh h = __builtin_convertvector(v_round_bf16(v) >> 16, vh);
#endif
    memcpy(to, &h, n == VL ? sizeof h : n * sizeof(uint16_t));
}

/* y[n] = x in y's type; y may be x. */
INLINE void store_row(void *y, enum dtype t, const float *x, size_t n)
{
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        put(y, t, j, VL, v_load(x + j));
    if (j < n)
        put(y, t, j, n - j, v_load_part(x + j, n - j));
}

#endif
