/* RMSNorm with Gemma's weight: y = x / sqrt(mean(x²) + eps) · (1 + w), alone and together with the
 * residual sums around it.
 * Arithmetic is in float throughout; BF16 outputs are rounded as they are stored. Leading
 * dimensions (ld…) are elements between rows; what lies between d and ld is neither read nor
 * written. Arrays without one are dense. Sums over rows, for the gradients of weights, are taken in
 * row order, so results depend on n and d alone. Source: Zhang and Sennrich 2019, eq. 4; Gemma's (1
 * + w). */
#ifndef CARAT_KERN_RMSNORM_H
#define CARAT_KERN_RMSNORM_H

#include "base/half.h"

/* y[n,d] from x[n,d] and w[d]; rstd[n] (1/sqrt(mean(x²)+eps)) is kept for the backward pass, may
 * be NULL. y may be x where no backward follows and the type is F32. */
void rmsnorm_fwd(void *y, enum dtype ty, size_t ldy, float *rstd, const float *x, size_t ldx,
                 const float *w, size_t n, size_t d, float eps);
/* dx[n,d] = gradient of x (plus what dx held when add is non-zero: F32 only), dw[d] += gradient of
 * w, from dy, the forward's x and rstd. dx may be dy when add is 0 and the type is F32. */
void rmsnorm_bwd(void *dx, enum dtype tx, size_t lddx, float *dw, const float *dy, size_t lddy,
                 const float *x, size_t ldx, const float *rstd, const float *w, size_t n, size_t d,
                 int add);

/* Post-norm, residual sum and the next pre-norm in one pass:
 * out[n,d] = res + norm(branch; w_branch), or res + branch where w_branch is NULL;
 * y[n,d] = norm(out; w_next), none where w_next is NULL.
 * rstd_branch[n] and rstd_out[n] are kept for the backward pass; each may be NULL, and is left
 * alone where its weight is NULL. out may be res. */
void rmsnorm_residual_fwd(float *out, void *y, enum dtype ty, size_t ldy, float *rstd_branch,
                          float *rstd_out, const float *res, const float *branch,
                          const float *w_branch, const float *w_next, size_t n, size_t d,
                          float eps);
/* Its way back. dx[n,d], the gradient of out by every other way, gains what comes through the next
 * pre-norm: from dy, the forward's out (here x) and rstd_out; dw_next[d] +=. With w_next NULL
 * nothing comes. dx is then the gradient of res; that of the branch, through its post-norm, goes to
 * dbranch[n,d], and dw_branch[d] +=. With w_branch NULL dbranch is dx in its own type; with dbranch
 * NULL there is none. dbranch may be dy's storage where its rows take no more bytes than dy's. */
void rmsnorm_residual_bwd(float *dx, void *dbranch, enum dtype tb, size_t ldb, float *dw_next,
                          float *dw_branch, const float *dy, const float *x, const float *rstd_out,
                          const float *w_next, const float *branch, const float *rstd_branch,
                          const float *w_branch, size_t n, size_t d);

#endif
