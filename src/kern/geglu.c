#include "kern/geglu.h"

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

void geglu_fwd(float *restrict h, const float *restrict gu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++) {
        const float *gate = gu + i * 2 * F, *up = gate + F;
        float *hi = h + i * F;
        for (size_t j = 0; j < F; j++)
            hi[j] = gelu(gate[j]) * up[j];
    }
}

/* One row. Every place is read before the same place is written, so dgate may be gate, dup up, and
 * h dh. gelu' = s + x·s·(1 - s)·(A + 3B·x²), s the logistic. */
static inline void row_bwd(float *dgate, float *dup, float *h, const float *dh, const float *gate,
                           const float *up, size_t F, int keep_h)
{
#pragma GCC ivdep
    for (size_t j = 0; j < F; j++) {
        float x = gate[j], u = up[j], d = dh[j], c = held(x), c2 = c * c;
        float s = gelu_share(c, c2), y = x * s;
        float slope = fmaf_(c * s * (1.0f - s), fmaf_(c2, 3.0f * GELU_B, GELU_A), s);
        dgate[j] = d * u * slope;
        dup[j] = d * y;
        if (keep_h)
            h[j] = y * u;
    }
}

void geglu_bwd(float *dgu, float *h, const float *dh, const float *gu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++) {
        const float *gate = gu + i * 2 * F;
        float *dgate = dgu + i * 2 * F;
        if (h)
            row_bwd(dgate, dgate + F, h + i * F, dh + i * F, gate, gate + F, F, 1);
        else
            row_bwd(dgate, dgate + F, NULL, dh + i * F, gate, gate + F, F, 0);
    }
}
