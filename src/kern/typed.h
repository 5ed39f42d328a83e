/* Elements of arrays whose type is an argument. Everything here is inlined, so that a caller which
 * passes the type as a constant gets a loop over that type alone, which the compiler turns into
 * vectors. */
#ifndef CARAT_SRC_KERN_TYPED_H
#define CARAT_SRC_KERN_TYPED_H

#include "base/half.h"

#define INLINE static inline __attribute__((always_inline))

/* An array of floats may be written over as BF16, which the compiler must not take for impossible.
 */
typedef uint16_t bf16_bits __attribute__((may_alias));

INLINE float get(const void *x, enum dtype t, size_t i)
{
    return t == BF16 ? bf16_to_f32(((const bf16_bits *)x)[i]) : ((const float *)x)[i];
}

INLINE void put(void *x, enum dtype t, size_t i, float value)
{
    if (t == BF16)
        ((bf16_bits *)x)[i] = f32_to_bf16(value);
    else
        ((float *)x)[i] = value;
}

/* y[n] = x in y's type; y may be x. */
INLINE void store_row(void *y, enum dtype t, const float *x, size_t n)
{
#pragma GCC ivdep
    for (size_t j = 0; j < n; j++)
        put(y, t, j, x[j]);
}

/* Element i as an address. */
INLINE void *at(void *x, enum dtype t, size_t i)
{
    return (char *)x + i * dtype_size(t);
}

INLINE const void *at_const(const void *x, enum dtype t, size_t i)
{
    return (const char *)x + i * dtype_size(t);
}

#endif
