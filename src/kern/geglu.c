#include "kern/geglu.h"

#include "typed.h"
#include "vmath.h"

/* gelu_tanh(x) = x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) = x·logistic(x·(A + B·x²)): the same
 * function with one exponential, and no cancellation where tanh is near -1. */
#define GELU_A 1.5957691216057308f  /* 2·√(2/π) */
#define GELU_B 0.07135481282670577f /* 0.044715·A */
/* Beyond ±9.9 the logistic is 1, or less than 1e-37: held there, its exponent stays inside float's
 * range and no x³ overflows. */
#define GELU_END 9.9f

static inline float held(float x)
{
    x = x < -GELU_END ? -GELU_END : x;
    return x > GELU_END ? GELU_END : x;
}

/* logistic(x·(A + B·x²)) for x within ±GELU_END, by a power of two. */
static inline float gelu_share(float x, float x2)
{
    return 1.0f / (1.0f + vm_exp2_inside(x * fmaf_(x2, -GELU_B * VM_LOG2E, -GELU_A * VM_LOG2E)));
}

static inline float gelu(float x)
{
    float c = held(x);
    return x * gelu_share(c, c * c);
}

INLINE void rows_fwd(void *h, enum dtype th, size_t ldh, const void *gu, enum dtype tgu,
                     size_t ldgu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++) {
        const void *gate = at_const(gu, tgu, i * ldgu), *up = at_const(gate, tgu, F);
        void *hi = at(h, th, i * ldh);
#pragma GCC ivdep
        for (size_t j = 0; j < F; j++)
            put(hi, th, j, gelu(get(gate, tgu, j)) * get(up, tgu, j));
    }
}

void geglu_fwd(void *h, enum dtype th, size_t ldh, const void *gu, enum dtype tgu, size_t ldgu,
               size_t n, size_t F)
{
    if (th == BF16 && tgu == BF16)
        rows_fwd(h, BF16, ldh, gu, BF16, ldgu, n, F);
    else if (th == BF16)
        rows_fwd(h, BF16, ldh, gu, F32, ldgu, n, F);
    else if (tgu == BF16)
        rows_fwd(h, F32, ldh, gu, BF16, ldgu, n, F);
    else
        rows_fwd(h, F32, ldh, gu, F32, ldgu, n, F);
}

/* One row. Every place is read before the same place is written, so dgate may be gate, dup up, and
 * h dh. gelu' = s + x·s·(1 - s)·(A + 3B·x²), s the logistic. */
INLINE void row_bwd(void *dgate, void *h, const void *dh, enum dtype th, const void *gate,
                    enum dtype tgu, size_t F, int keep_h)
{
    const void *up = at_const(gate, tgu, F);
    void *dup = at(dgate, tgu, F);
#pragma GCC ivdep
    for (size_t j = 0; j < F; j++) {
        float x = get(gate, tgu, j), u = get(up, tgu, j), d = get(dh, th, j);
        float c = held(x), c2 = c * c, s = gelu_share(c, c2), y = x * s;
        float slope = fmaf_(c * s * (1.0f - s), fmaf_(c2, 3.0f * GELU_B, GELU_A), s);
        put(dgate, tgu, j, d * u * slope);
        put(dup, tgu, j, d * y);
        if (keep_h)
            put(h, th, j, y * u);
    }
}

INLINE void rows_bwd(void *dgu, void *h, const void *dh, enum dtype th, size_t ldh, const void *gu,
                     enum dtype tgu, size_t ldgu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++) {
        const void *gate = at_const(gu, tgu, i * ldgu), *dhi = at_const(dh, th, i * ldh);
        void *dgate = at(dgu, tgu, i * ldgu);
        if (h)
            row_bwd(dgate, at(h, th, i * ldh), dhi, th, gate, tgu, F, 1);
        else
            row_bwd(dgate, NULL, dhi, th, gate, tgu, F, 0);
    }
}

void geglu_bwd(void *dgu, void *h, const void *dh, enum dtype th, size_t ldh, const void *gu,
               enum dtype tgu, size_t ldgu, size_t n, size_t F)
{
    if (th == BF16 && tgu == BF16)
        rows_bwd(dgu, h, dh, BF16, ldh, gu, BF16, ldgu, n, F);
    else if (th == BF16)
        rows_bwd(dgu, h, dh, BF16, ldh, gu, F32, ldgu, n, F);
    else if (tgu == BF16)
        rows_bwd(dgu, h, dh, F32, ldh, gu, BF16, ldgu, n, F);
    else
        rows_bwd(dgu, h, dh, F32, ldh, gu, F32, ldgu, n, F);
}
