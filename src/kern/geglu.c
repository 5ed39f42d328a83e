#include "kern/geglu.h"

#include "typed.h"

/* gelu_tanh(x) = x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) = x·logistic(x·(A + B·x²)): the same
 * function with one exponential, and no cancellation where tanh is near -1. */
#define GELU_A 1.5957691216057308f  /* 2·√(2/π) */
#define GELU_B 0.07135481282670577f /* 0.044715·A */
/* Beyond ±9.9 the logistic is 1, or less than 1e-37: held there, its exponent stays inside float's
 * range and no x³ overflows. */
#define GELU_END 9.9f

/* Within ±GELU_END; a NaN stays one. */
INLINE vf held(vf x)
{
    return v_min(v_splat(GELU_END), v_max(v_splat(-GELU_END), x));
}

/* logistic(x·(A + B·x²)) for x within ±GELU_END, by a power of two. */
INLINE vf gelu_share(vf x, vf x2)
{
    return 1.0f / (v_exp2(x * (x2 * (-GELU_B * VM_LOG2E) - GELU_A * VM_LOG2E)) + 1.0f);
}

INLINE void fwd_step(void *h, enum dtype th, const void *gate, const void *up, enum dtype tgu,
                     size_t j, size_t n)
{
    vf x = get(gate, tgu, j, n), c = held(x);
    put(h, th, j, n, x * gelu_share(c, c * c) * get(up, tgu, j, n));
}

INLINE void rows_fwd(void *h, enum dtype th, size_t ldh, const void *gu, enum dtype tgu,
                     size_t ldgu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++) {
        const void *gate = at_const(gu, tgu, i * ldgu), *up = at_const(gate, tgu, F);
        void *hi = at(h, th, i * ldh);
        size_t j = 0;
        for (; j + VL <= F; j += VL)
            fwd_step(hi, th, gate, up, tgu, j, VL);
        if (j < F)
            fwd_step(hi, th, gate, up, tgu, j, F - j);
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

/* One row's places; dgate may be gate, h may be dh or NULL. */
struct back {
    void *dgate, *dup, *h;
    const void *gate, *up, *dh;
    enum dtype tgu, th;
};

/* gelu' = s + x·s·(1 - s)·(A + 3B·x²), s the logistic. */
INLINE void bwd_step(const struct back *b, size_t j, size_t n)
{
    vf x = get(b->gate, b->tgu, j, n), u = get(b->up, b->tgu, j, n), d = get(b->dh, b->th, j, n);
    vf c = held(x), c2 = c * c, s = gelu_share(c, c2), y = x * s;
    vf slope = c * s * (1.0f - s) * (c2 * (3.0f * GELU_B) + GELU_A) + s;
    put(b->dgate, b->tgu, j, n, d * u * slope);
    put(b->dup, b->tgu, j, n, d * y);
    if (b->h)
        put(b->h, b->th, j, n, y * u);
}

INLINE void rows_bwd(void *dgu, void *h, const void *dh, enum dtype th, size_t ldh, const void *gu,
                     enum dtype tgu, size_t ldgu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++) {
        struct back b = {.tgu = tgu, .th = th, .h = h ? at(h, th, i * ldh) : NULL};
        b.gate = at_const(gu, tgu, i * ldgu), b.up = at_const(b.gate, tgu, F);
        b.dgate = at(dgu, tgu, i * ldgu), b.dup = at(b.dgate, tgu, F);
        b.dh = at_const(dh, th, i * ldh);
        size_t j = 0;
        for (; j + VL <= F; j += VL)
            bwd_step(&b, j, VL);
        if (j < F)
            bwd_step(&b, j, F - j);
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
