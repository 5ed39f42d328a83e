/* RMSNorm of one row, for the kernels that norm. A row fits the first cache, so that only the first
 * of the passes over it waits for memory. */
#ifndef CARAT_SRC_KERN_ROWS_H
#define CARAT_SRC_KERN_ROWS_H

#include <math.h>

#include "lanes.h"
#include "typed.h"

/* 1 / sqrt(mean(x²) + eps). */
static inline float row_rstd(const float *x, size_t d, float eps)
{
    double mean = (double)lanes_dot(x, x, d) / (double)d;
    return (float)(1.0 / sqrt(mean + (double)eps));
}

/* y = x·rstd·(1+w); returns rstd. y may be x. */
INLINE float norm_row(void *y, enum dtype ty, const float *x, const float *w, size_t d, float eps)
{
    float r = row_rstd(x, d, eps);
#pragma GCC ivdep
    for (size_t j = 0; j < d; j++)
        put(y, ty, j, x[j] * r * (1.0f + w[j]));
    return r;
}

/* Σ dy·(1+w)·x, in lanes as lanes_dot has them. */
static inline float dot_weighted(const float *dy, const float *x, const float *w, size_t d)
{
    float acc[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= d; j += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] = fmaf_(dy[j + l] * (1.0f + w[j + l]), x[j + l], acc[l]);
    for (size_t l = 0; j + l < d; l++)
        acc[l] = fmaf_(dy[j + l] * (1.0f + w[j + l]), x[j + l], acc[l]);
    return lanes_total(acc);
}

/* With g = dy·(1+w) and r = rstd: dx = r·(g - x·r²·mean(g·x)), dw += dy·x·r; add: dx += instead, in
 * F32. dx may be dy: each place is read before it is written. */
INLINE void norm_row_bwd(void *dx, enum dtype tx, float *dw, const float *dy, const float *x,
                         const float *w, float r, size_t d, int add)
{
    float c = -(dot_weighted(dy, x, w, d) / (float)d) * r * r * r;
#pragma GCC ivdep
    for (size_t j = 0; j < d; j++) {
        float g = dy[j] * r, held = add ? get(dx, F32, j) : 0.0f;
        float gained = fmaf_(g, 1.0f + w[j], x[j] * c);
        dw[j] = fmaf_(g, x[j], dw[j]);
        put(dx, tx, j, add ? held + gained : gained);
    }
}

#endif
