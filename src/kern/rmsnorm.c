#include "kern/rmsnorm.h"

#include "rows.h"
#include "typed.h"

INLINE void fwd_rows(void *y, enum dtype ty, size_t ldy, float *rstd, const float *x, size_t ldx,
                     const float *w, size_t n, size_t d, float eps)
{
    for (size_t i = 0; i < n; i++) {
        float r = norm_row(at(y, ty, i * ldy), ty, x + i * ldx, w, d, eps);
        if (rstd)
            rstd[i] = r;
    }
}

void rmsnorm_fwd(void *y, enum dtype ty, size_t ldy, float *rstd, const float *x, size_t ldx,
                 const float *w, size_t n, size_t d, float eps)
{
    if (ty == BF16)
        fwd_rows(y, BF16, ldy, rstd, x, ldx, w, n, d, eps);
    else
        fwd_rows(y, F32, ldy, rstd, x, ldx, w, n, d, eps);
}

INLINE void bwd_rows(void *dx, enum dtype tx, size_t lddx, float *dw, const float *dy, size_t lddy,
                     const float *x, size_t ldx, const float *rstd, const float *w, size_t n,
                     size_t d, int add)
{
    for (size_t i = 0; i < n; i++)
        norm_row_bwd(at(dx, tx, i * lddx), tx, dw, dy + i * lddy, x + i * ldx, w, rstd[i], d, add);
}

void rmsnorm_bwd(void *dx, enum dtype tx, size_t lddx, float *dw, const float *dy, size_t lddy,
                 const float *x, size_t ldx, const float *rstd, const float *w, size_t n, size_t d,
                 int add)
{
    if (add)
        bwd_rows(dx, F32, lddx, dw, dy, lddy, x, ldx, rstd, w, n, d, 1);
    else if (tx == BF16)
        bwd_rows(dx, BF16, lddx, dw, dy, lddy, x, ldx, rstd, w, n, d, 0);
    else
        bwd_rows(dx, F32, lddx, dw, dy, lddy, x, ldx, rstd, w, n, d, 0);
}

/* out = res + branch·r·(1+w), or res + branch without w. out may be res. */
static void residual_row(float *out, const float *res, const float *branch, const float *w, float r,
                         size_t d)
{
    if (!w) {
#pragma GCC ivdep
        for (size_t j = 0; j < d; j++)
            out[j] = res[j] + branch[j];
        return;
    }
#pragma GCC ivdep
    for (size_t j = 0; j < d; j++)
        out[j] = fmaf_(branch[j] * r, 1.0f + w[j], res[j]);
}

void rmsnorm_residual_fwd(float *out, void *y, enum dtype ty, size_t ldy, float *rstd_branch,
                          float *rstd_out, const float *res, const float *branch,
                          const float *w_branch, const float *w_next, size_t n, size_t d, float eps)
{
    for (size_t i = 0; i < n; i++) {
        const float *bi = branch + i * d;
        float *oi = out + i * d, r = w_branch ? row_rstd(bi, d, eps) : 1.0f;
        residual_row(oi, res + i * d, bi, w_branch, r, d);
        if (w_branch && rstd_branch)
            rstd_branch[i] = r;
        if (!w_next)
            continue;
        /* The row is still in the first cache. */
        r = ty == BF16 ? norm_row(at(y, BF16, i * ldy), BF16, oi, w_next, d, eps)
                       : norm_row(at(y, F32, i * ldy), F32, oi, w_next, d, eps);
        if (rstd_out)
            rstd_out[i] = r;
    }
}

INLINE void residual_rows_bwd(float *dx, void *dbranch, enum dtype tb, size_t ldb, float *dw_next,
                              float *dw_branch, const float *dy, const float *x,
                              const float *rstd_out, const float *w_next, const float *branch,
                              const float *rstd_branch, const float *w_branch, size_t n, size_t d)
{
    for (size_t i = 0; i < n; i++) {
        float *dxi = dx + i * d;
        if (w_next)
            norm_row_bwd(dxi, F32, dw_next, dy + i * d, x + i * d, w_next, rstd_out[i], d, 1);
        if (!dbranch)
            continue;
        void *dbi = at(dbranch, tb, i * ldb);
        if (w_branch)
            norm_row_bwd(dbi, tb, dw_branch, dxi, branch + i * d, w_branch, rstd_branch[i], d, 0);
        else
            store_row(dbi, tb, dxi, d);
    }
}

void rmsnorm_residual_bwd(float *dx, void *dbranch, enum dtype tb, size_t ldb, float *dw_next,
                          float *dw_branch, const float *dy, const float *x, const float *rstd_out,
                          const float *w_next, const float *branch, const float *rstd_branch,
                          const float *w_branch, size_t n, size_t d)
{
    if (tb == BF16)
        residual_rows_bwd(dx, dbranch, BF16, ldb, dw_next, dw_branch, dy, x, rstd_out, w_next,
                          branch, rstd_branch, w_branch, n, d);
    else
        residual_rows_bwd(dx, dbranch, F32, ldb, dw_next, dw_branch, dy, x, rstd_out, w_next,
                          branch, rstd_branch, w_branch, n, d);
}
