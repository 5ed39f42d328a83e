/* RMSNorm of one row, for the kernels that norm. A row fits the first cache, so that only the first
 * pass over it waits for memory. */
#ifndef CARAT_SRC_KERN_ROWS_H
#define CARAT_SRC_KERN_ROWS_H

#include <math.h>
#include <stdbool.h>

#include "typed.h"

/* A sum over a row goes through partial sums: element j is added to lane j % SUM_LANES, and the
 * upper half of the lanes is folded onto the lower until one is left. The order is thus the same
 * for vectors of any length, and enough additions are under way to hide how long one takes. */
enum { SUM_LANES = 32, SUM_VECTORS = SUM_LANES / VL };

/* One vector's part of a sum: sum + what elements j … j+n-1 add, n ≤ VL. */
typedef vf sum_step(vf sum, void *row, size_t j, size_t n);

/* Σ over d elements. step and row are known where this is inlined, so that no call is left. */
INLINE float row_sum(sum_step *step, void *row, size_t d)
{
    vf v[SUM_VECTORS] = {0};
    size_t j = 0;
    for (; j + SUM_LANES <= d; j += SUM_LANES) {
#pragma GCC unroll 8
        for (size_t k = 0; k < SUM_VECTORS; k++)
            v[k] = step(v[k], row, j + k * VL, VL);
    }
#pragma GCC unroll 8
    for (size_t k = 0; k < SUM_VECTORS; k++, j += VL)
        if (j < d)
            v[k] = step(v[k], row, j, d - j < VL ? d - j : VL);
#pragma GCC unroll 8
    for (size_t half = SUM_VECTORS / 2; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            v[k] += v[k + half];
    return v_sum(v[0]);
}

INLINE vf add_square(vf sum, void *row, size_t j, size_t n)
{
    vf x = get(row, F32, j, n);
    return sum + x * x;
}

/* 1 / sqrt(mean + eps) from the sum of d squares. */
static inline float rstd_of(float squares, size_t d, float eps)
{
    return (float)(1.0 / sqrt((double)squares / (double)d + (double)eps));
}

static inline float row_rstd(const float *x, size_t d, float eps)
{
    return rstd_of(row_sum(add_square, (void *)x, d), d, eps);
}

/* y = x·r·(1+w). y may be x. */
INLINE void scale_row(void *y, enum dtype ty, const float *x, const float *w, float r, size_t d)
{
    size_t j = 0;
    for (; j + VL <= d; j += VL)
        put(y, ty, j, VL, v_load(x + j) * r * (v_load(w + j) + 1.0f));
    if (j < d)
        put(y, ty, j, d - j, get(x, F32, j, d - j) * r * (get(w, F32, j, d - j) + 1.0f));
}

/* A row on its way back through y = x·r·(1+w), and where its parts go. */
struct norm_back {
    const float *dy, *x, *w;
    float *dw; /* added to */
    float r;
    float c; /* -r³·mean(dy·(1+w)·x), from norm_back_begin */
};

/* sum + dy·(1+w)·x. */
INLINE vf add_weighted(vf sum, void *row, size_t j, size_t n)
{
    const struct norm_back *b = row;
    return sum + get(b->dy, F32, j, n) * (get(b->w, F32, j, n) + 1.0f) * get(b->x, F32, j, n);
}

/* From that sum over d elements. */
INLINE void norm_back_begin(struct norm_back *b, float sum, size_t d)
{
    b->c = -(sum / (float)d) * b->r * b->r * b->r;
}

/* The gradient of x, elements j … j+n-1: r·dy·(1+w) + c·x; dw += r·dy·x. */
INLINE vf norm_back_of(const struct norm_back *b, vf dy, size_t j, size_t n)
{
    vf x = get(b->x, F32, j, n), g = dy * b->r;
    put(b->dw, F32, j, n, get(b->dw, F32, j, n) + g * x);
    return g * (get(b->w, F32, j, n) + 1.0f) + x * b->c;
}

INLINE vf norm_back_step(const struct norm_back *b, size_t j, size_t n)
{
    return norm_back_of(b, get(b->dy, F32, j, n), j, n);
}

/* dx = that gradient. dx may be dy in F32. */
INLINE void norm_back_row(void *dx, enum dtype tx, const struct norm_back *b, size_t d)
{
    size_t j = 0;
    for (; j + VL <= d; j += VL)
        put(dx, tx, j, VL, norm_back_step(b, j, VL));
    if (j < d)
        put(dx, tx, j, d - j, norm_back_step(b, j, d - j));
}

#endif
