/* Products of small blocks for attention: C[rows, lanes] = start + A[rows, n] · B[n, lanes], kept
 * in registers, MICRO_ROWS rows by up to MICRO_VECTORS vectors at a time.
 *
 * Operands are counted in units of 32 bits: a float, or (BF16) two neighbours of the sum as a pair
 * of bfloat16; then n counts pairs. A's element (row m, i) is one unit at a[m·ld + i] or, for a
 * transposed A, a[i·ld + m]; B's rows are vectors of units. C is single precision. */
#ifndef CARAT_SRC_KERN_ATTN_PRODUCT_H
#define CARAT_SRC_KERN_ATTN_PRODUCT_H

#include "base/half.h"
#include "simd.h"

/* Broadcasts cost as much as two vectors' worth of arithmetic, so one vector runs at half speed. */
enum { MICRO_ROWS = MANY_REGISTERS ? 8 : 6, MICRO_VECTORS = MANY_REGISTERS ? 3 : 2 };

/* What a sum starts from. */
enum start { FROM_ZERO, FROM_C, FROM_SCALED_C /* c[m]·factor[m] */ };

struct product {
    float *c;
    const float *a, *b, *factor;
    size_t ldc, lda, ldb, n;
};

/* A compile-time variant. */
struct variant {
    int n_v;
    enum start start;
    int a_transposed;
    enum dtype type;
};

/* One row of sums in registers. */
struct micro_row {
    vf v[3];
};

INLINE vf start_vector(const float *c, enum start start, float factor)
{
    if (start == FROM_ZERO)
        return (vf){0};
    return start == FROM_C ? v_load(c) : v_load(c) * factor;
}

INLINE void row_start(struct micro_row *r, const struct product *p, size_t m,
                      const struct variant k)
{
    const float *c = p->c + m * p->ldc;
    float factor = k.start == FROM_SCALED_C ? p->factor[m] : 1.0f;
    r->v[0] = start_vector(c, k.start, factor);
    if (k.n_v > 1)
        r->v[1] = start_vector(c + VL, k.start, factor);
    if (k.n_v > 2)
        r->v[2] = start_vector(c + 2 * VL, k.start, factor);
}

INLINE vf multiply_add(vf sum, vf a, vf b, enum dtype type)
{
    return type == BF16 ? v_dot_pairs(sum, a, b) : sum + a * b;
}

INLINE void row_add(struct micro_row *r, const float *a, const struct micro_row *b,
                    const struct variant k)
{
    vf x = v_splat(*a);
    r->v[0] = multiply_add(r->v[0], x, b->v[0], k.type);
    if (k.n_v > 1)
        r->v[1] = multiply_add(r->v[1], x, b->v[1], k.type);
    if (k.n_v > 2)
        r->v[2] = multiply_add(r->v[2], x, b->v[2], k.type);
}

INLINE void row_put(float *c, const struct micro_row *r, const struct variant k)
{
    v_store(c, r->v[0]);
    if (k.n_v > 1)
        v_store(c + VL, r->v[1]);
    if (k.n_v > 2)
        v_store(c + 2 * VL, r->v[2]);
}

/* Written out rather than looped over: the compiler keeps only such rows in registers. */
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

INLINE void micro(const struct product *p, const struct variant k)
{
    const float *a = p->a, *b = p->b;
    size_t row = k.a_transposed ? 1 : p->lda, step = k.a_transposed ? p->lda : 1;
    struct micro_row r[8], x;
#define START(m)                                                                                   \
    if (m < MICRO_ROWS)                                                                            \
        row_start(&r[m], p, m, k);
#define ADD(m)                                                                                     \
    if (m < MICRO_ROWS)                                                                            \
        row_add(&r[m], a + m * row, &x, k);
#define PUT(m)                                                                                     \
    if (m < MICRO_ROWS)                                                                            \
        row_put(p->c + m * p->ldc, &r[m], k);
    EACH_ROW(START)
    for (size_t i = 0; i < p->n; i++, a += step, b += p->ldb) {
        x.v[0] = v_load(b);
        if (k.n_v > 1)
            x.v[1] = v_load(b + VL);
        if (k.n_v > 2)
            x.v[2] = v_load(b + 2 * VL);
        EACH_ROW(ADD)
    }
    EACH_ROW(PUT)
#undef START
#undef ADD
#undef PUT
}

INLINE void micro_vectors(const struct product *p, size_t n_v, struct variant k)
{
    k.n_v = 3;
    if (n_v == 3 && MICRO_VECTORS == 3)
        micro(p, k);
    k.n_v = 2;
    if (n_v == 2)
        micro(p, k);
    k.n_v = 1;
    if (n_v == 1)
        micro(p, k);
}

/* The variants that attention uses: one function each, by vectors and type. */
#define MICRO(name, from, transposed)                                                              \
    static inline void name(const struct product *p, size_t n_v, enum dtype type)                  \
    {                                                                                              \
        if (type == BF16)                                                                          \
            micro_vectors(p, n_v, (struct variant){1, from, transposed, BF16});                    \
        else                                                                                       \
            micro_vectors(p, n_v, (struct variant){1, from, transposed, F32});                     \
    }
MICRO(micro_new, FROM_ZERO, 0)
MICRO(micro_onto, FROM_C, 0)
MICRO(micro_onto_scaled, FROM_SCALED_C, 0)
MICRO(micro_transposed_new, FROM_ZERO, 1)
MICRO(micro_transposed_onto, FROM_C, 1)

/* How many of `left` vectors to take next. */
static inline size_t take_vectors(size_t left)
{
    return left == 3 && MICRO_VECTORS == 3 ? 3 : left < 2 ? left : 2;
}

#endif
