#include "kern/rmsnorm.h"

#include "rows.h"

INLINE void fwd_rows(void *y, enum dtype ty, size_t ldy, float *rstd, const float *x, size_t ldx,
                     const float *w, size_t n, size_t d, float eps)
{
    for (size_t i = 0; i < n; i++) {
        float r = row_rstd(x + i * ldx, d, eps);
        scale_row(at(y, ty, i * ldy), ty, x + i * ldx, w, r, d);
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

/* dx += what comes back through the norm. */
INLINE void add_back_row(float *dx, const struct norm_back *b, size_t d)
{
    size_t j = 0;
    for (; j + VL <= d; j += VL)
        put(dx, F32, j, VL, v_load(dx + j) + norm_back_step(b, j, VL));
    if (j < d)
        put(dx, F32, j, d - j, get(dx, F32, j, d - j) + norm_back_step(b, j, d - j));
}

INLINE void bwd_rows(void *dx, enum dtype tx, size_t lddx, float *dw, const float *dy, size_t lddy,
                     const float *x, size_t ldx, const float *rstd, const float *w, size_t n,
                     size_t d, int add)
{
    for (size_t i = 0; i < n; i++) {
        struct norm_back b = {dy + i * lddy, x + i * ldx, w, dw, rstd[i], 0.0f};
        norm_back_begin(&b, row_sum(add_weighted, &b, d), d);
        if (add)
            add_back_row((float *)dx + i * lddx, &b, d);
        else
            norm_back_row(at(dx, tx, i * lddx), tx, &b, d);
    }
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

/* One row of a residual sum. */
struct residual {
    float *out;
    const float *res, *branch, *w; /* w: of the post-norm, or NULL */
    float r;                       /* its rstd */
};

/* out = res + branch·r·(1+w), or res + branch; the sum gets its squares. */
INLINE vf add_residual(vf sum, void *row, size_t j, size_t n)
{
    const struct residual *s = row;
    vf b = get(s->branch, F32, j, n), res = get(s->res, F32, j, n);
    vf out = s->w ? res + b * s->r * (get(s->w, F32, j, n) + 1.0f) : res + b;
    put(s->out, F32, j, n, out);
    return sum + out * out;
}

INLINE void residual_rows(float *out, void *y, enum dtype ty, size_t ldy, float *rstd_branch,
                          float *rstd_out, const float *res, const float *branch,
                          const float *w_branch, const float *w_next, size_t n, size_t d, float eps)
{
    for (size_t i = 0; i < n; i++) {
        struct residual s = {out + i * d, res + i * d, branch + i * d, w_branch, 1.0f};
        if (w_branch)
            s.r = row_rstd(s.branch, d, eps);
        if (w_branch && rstd_branch)
            rstd_branch[i] = s.r;
        float r = rstd_of(row_sum(add_residual, &s, d), d, eps);
        if (!w_next)
            continue;
        scale_row(at(y, ty, i * ldy), ty, s.out, w_next, r, d);
        if (rstd_out)
            rstd_out[i] = r;
    }
}

void rmsnorm_residual_fwd(float *out, void *y, enum dtype ty, size_t ldy, float *rstd_branch,
                          float *rstd_out, const float *res, const float *branch,
                          const float *w_branch, const float *w_next, size_t n, size_t d, float eps)
{
    if (ty == BF16 && w_branch)
        residual_rows(out, y, BF16, ldy, rstd_branch, rstd_out, res, branch, w_branch, w_next, n, d,
                      eps);
    else if (ty == BF16)
        residual_rows(out, y, BF16, ldy, NULL, rstd_out, res, branch, NULL, w_next, n, d, eps);
    else if (w_branch)
        residual_rows(out, y, F32, ldy, rstd_branch, rstd_out, res, branch, w_branch, w_next, n, d,
                      eps);
    else
        residual_rows(out, y, F32, ldy, NULL, rstd_out, res, branch, NULL, w_next, n, d, eps);
}

/* Both norms around a residual sum, one row on its way back. */
struct residual_back {
    float *dx;
    struct norm_back next, post; /* next.dy NULL: none */
};

/* dx += what comes through the next norm; the sum gets what the post-norm's way back begins with.
 */
INLINE vf add_residual_back(vf sum, void *row, size_t j, size_t n)
{
    const struct residual_back *b = row;
    vf dx = get(b->dx, F32, j, n) + norm_back_step(&b->next, j, n);
    put(b->dx, F32, j, n, dx);
    return sum + dx * (get(b->post.w, F32, j, n) + 1.0f) * get(b->post.x, F32, j, n);
}

INLINE void residual_row_back(void *dbranch, enum dtype tb, struct residual_back *b, size_t d)
{
    bool next = b->next.w != NULL, post = dbranch && b->post.w;
    if (next)
        norm_back_begin(&b->next, row_sum(add_weighted, &b->next, d), d);
    if (next && post)
        norm_back_begin(&b->post, row_sum(add_residual_back, b, d), d);
    else if (post)
        norm_back_begin(&b->post, row_sum(add_weighted, &b->post, d), d);
    else if (next)
        add_back_row(b->dx, &b->next, d);
    if (post)
        norm_back_row(dbranch, tb, &b->post, d);
    else if (dbranch)
        store_row(dbranch, tb, b->dx, d);
}

INLINE void residual_rows_back(float *dx, void *dbranch, enum dtype tb, size_t ldb, float *dw_next,
                               float *dw_branch, const float *dy, const float *x,
                               const float *rstd_out, const float *w_next, const float *branch,
                               const float *rstd_branch, const float *w_branch, size_t n, size_t d)
{
    for (size_t i = 0; i < n; i++) {
        struct residual_back b = {.dx = dx + i * d};
        if (w_next)
            b.next = (struct norm_back){dy + i * d, x + i * d, w_next, dw_next, rstd_out[i], 0.0f};
        if (w_branch)
            b.post =
                (struct norm_back){b.dx, branch + i * d, w_branch, dw_branch, rstd_branch[i], 0.0f};
        residual_row_back(dbranch ? at(dbranch, tb, i * ldb) : NULL, tb, &b, d);
    }
}

void rmsnorm_residual_bwd(float *dx, void *dbranch, enum dtype tb, size_t ldb, float *dw_next,
                          float *dw_branch, const float *dy, const float *x, const float *rstd_out,
                          const float *w_next, const float *branch, const float *rstd_branch,
                          const float *w_branch, size_t n, size_t d)
{
    if (tb == BF16)
        residual_rows_back(dx, dbranch, BF16, ldb, dw_next, dw_branch, dy, x, rstd_out, w_next,
                           branch, rstd_branch, w_branch, n, d);
    else
        residual_rows_back(dx, dbranch, F32, ldb, dw_next, dw_branch, dy, x, rstd_out, w_next,
                           branch, rstd_branch, w_branch, n, d);
}
