#include "kern/rmsnorm.h"

#include <math.h>

#include "lanes.h"

/* 1 / sqrt(mean(x²) + eps) of one row. */
static float row_rstd(const float *x, size_t d, float eps)
{
    double mean = (double)lanes_dot(x, x, d) / (double)d;
    return (float)(1.0 / sqrt(mean + (double)eps));
}

void rmsnorm_fwd(float *y, size_t ldy, float *rstd, const float *x, size_t ldx, const float *w,
                 size_t n, size_t d, float eps)
{
    for (size_t i = 0; i < n; i++) {
        const float *xi = x + i * ldx;
        float *yi = y + i * ldy; /* may be xi */
        float r = row_rstd(xi, d, eps);
#pragma GCC ivdep
        for (size_t j = 0; j < d; j++)
            yi[j] = xi[j] * r * (1.0f + w[j]);
        if (rstd)
            rstd[i] = r;
    }
}

/* Σ dy·(1+w)·x of one row, in lanes as lanes_dot has them. */
static float dot_weighted(const float *dy, const float *x, const float *w, size_t d)
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

/* With g = dy·(1+w) and r = rstd: dx = r·(g - x·r²·mean(g·x)), dw += dy·x·r. */
static void row_bwd(float *dx, float *restrict dw, const float *dy, const float *x, const float *w,
                    float r, size_t d, int add)
{
    float c = -(dot_weighted(dy, x, w, d) / (float)d) * r * r * r;
    if (add) {
#pragma GCC ivdep
        for (size_t j = 0; j < d; j++) {
            float g = dy[j] * r;
            dw[j] = fmaf_(g, x[j], dw[j]);
            dx[j] += fmaf_(g, 1.0f + w[j], x[j] * c);
        }
        return;
    }
#pragma GCC ivdep
    for (size_t j = 0; j < d; j++) {
        float g = dy[j] * r; /* read before dx[j], which may be the same place, is written */
        dw[j] = fmaf_(g, x[j], dw[j]);
        dx[j] = fmaf_(g, 1.0f + w[j], x[j] * c);
    }
}

void rmsnorm_bwd(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x,
                 size_t ldx, const float *rstd, const float *w, size_t n, size_t d, int add)
{
    for (size_t i = 0; i < n; i++)
        row_bwd(dx + i * lddx, dw, dy + i * lddy, x + i * ldx, w, rstd[i], d, add);
}

void rmsnorm_add_fwd(float *restrict res, float *restrict rstd, const float *restrict x,
                     const float *restrict w, size_t n, size_t d, float eps)
{
    for (size_t i = 0; i < n; i++) {
        const float *xi = x + i * d;
        float *ri = res + i * d;
        float r = row_rstd(xi, d, eps);
        for (size_t j = 0; j < d; j++)
            ri[j] = fmaf_(xi[j] * r, 1.0f + w[j], ri[j]);
        if (rstd)
            rstd[i] = r;
    }
}
