/* RMSNorm with Gemma's weight: y = x / sqrt(mean(x²) + eps) · (1 + w).
 * Source: Zhang and Sennrich 2019, eq. 4; Gemma's (1 + w). */
#ifndef CARAT_KERN_RMSNORM_H
#define CARAT_KERN_RMSNORM_H

#include <stddef.h>

/* y[n,d] from x[n,d] and w[d]; rstd[n] (1/sqrt(mean(x²)+eps)) is kept for the backward pass, may
 * be NULL. Row i of x is at x + i·ldx, of y at y + i·ldy. y may be x where no backward follows. */
void rmsnorm_fwd(float *y, size_t ldy, float *rstd, const float *x, size_t ldx, const float *w,
                 size_t n, size_t d, float eps);
/* dx[n,d] = gradient of x (plus what dx held when add is non-zero), dw[d] += gradient of w,
 * from dy, the forward's x and rstd. dx may alias dy when add is 0. Row sums for dw are taken in
 * row order, so the result depends on n and d alone. */
void rmsnorm_bwd(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x,
                 size_t ldx, const float *rstd, const float *w, size_t n, size_t d, int add);
/* res[n,d] += rmsnorm(x): post-norm and residual in one pass. */
void rmsnorm_add_fwd(float *res, float *rstd, const float *x, const float *w, size_t n, size_t d,
                     float eps);

#endif
