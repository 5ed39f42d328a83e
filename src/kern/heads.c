#include "kern/heads.h"

#include "rows.h"

/* y = x, normed where there is a weight, turned by the angles of one position. */
struct turn {
    const float *x, *w, *angle; /* w: of the norm; angle[2, half] */
    float r;                    /* its rstd */
    size_t half;                /* Hd/2 */
};

/* Vectors at j and at half + j. */
struct pair {
    vf a, b;
};

INLINE vf normed(const struct turn *t, bool norm, size_t j, size_t n)
{
    vf x = get(t->x, F32, j, n);
    return norm ? x * t->r * (get(t->w, F32, j, n) + 1.0f) : x;
}

INLINE void turn_step(float *y, const struct turn *t, bool norm, size_t j, size_t n)
{
    vf c = get(t->angle, F32, j, n), s = get(t->angle, F32, t->half + j, n);
    vf a = normed(t, norm, j, n), b = normed(t, norm, t->half + j, n);
    put(y, F32, j, n, a * c - b * s);
    put(y, F32, t->half + j, n, b * c + a * s);
}

/* One head. y may be x. */
INLINE void turn_head(float *y, const struct turn *t, bool norm)
{
    size_t j = 0;
    for (; j + VL <= t->half; j += VL)
        turn_step(y, t, norm, j, VL);
    if (j < t->half)
        turn_step(y, t, norm, j, t->half - j);
}

void heads_fwd(float *qkv, size_t ldqkv, float *rstd, const float *raw, size_t ldraw,
               const float *wq, const float *wk, const float *cos_sin, const struct heads_shape *s)
{
    size_t turned = s->H + s->K;
    struct turn t = {.half = s->Hd / 2};
    for (size_t i = 0; i < s->B * s->T; i++) {
        t.x = raw + i * ldraw;
        t.angle = cos_sin + (i % s->T + s->first) * s->Hd;
        float *y = qkv + i * ldqkv;
        for (size_t h = 0; h < turned; h++, t.x += s->Hd, y += s->Hd) {
            if (!wq) {
                turn_head(y, &t, false);
                continue;
            }
            t.w = h < s->H ? wq : wk;
            t.r = row_rstd(t.x, s->Hd, s->eps);
            turn_head(y, &t, true);
            if (rstd)
                rstd[i * turned + h] = t.r;
        }
        if (y != t.x)
            store_row(y, F32, t.x, s->K * s->Hd);
    }
}

/* One head's gradient from behind the rotation. */
struct back {
    const float *dy, *angle;
    size_t half;
    struct norm_back norm; /* its dy is not used: it exists only as vectors */
};

INLINE struct pair turned_back(const struct back *k, size_t j, size_t n)
{
    vf c = get(k->angle, F32, j, n), s = get(k->angle, F32, k->half + j, n);
    vf a = get(k->dy, F32, j, n), b = get(k->dy, F32, k->half + j, n);
    return (struct pair){a * c + b * s, b * c - a * s};
}

/* sum + dy·(1+w)·x over both halves. */
INLINE vf add_both(vf sum, void *row, size_t j, size_t n)
{
    const struct back *k = row;
    const struct norm_back *m = &k->norm;
    size_t up = k->half + j;
    struct pair d = turned_back(k, j, n);
    vf a = d.a * (get(m->w, F32, j, n) + 1.0f), b = d.b * (get(m->w, F32, up, n) + 1.0f);
    return sum + a * get(m->x, F32, j, n) + b * get(m->x, F32, up, n);
}

/* Both halves' gradient before rotation and norm. Turning back once more costs less than a place to
 * keep what was turned. */
INLINE void back_step(void *dx, enum dtype t, const struct back *k, bool norm, size_t j, size_t n)
{
    struct pair d = turned_back(k, j, n);
    if (norm) {
        d.a = norm_back_of(&k->norm, d.a, j, n);
        d.b = norm_back_of(&k->norm, d.b, k->half + j, n);
    }
    put(dx, t, j, n, d.a);
    put(dx, t, k->half + j, n, d.b);
}

/* One head. dx may be dy in F32. */
INLINE void head_back(void *dx, enum dtype t, const struct back *k, bool norm)
{
    size_t j = 0;
    for (; j + VL <= k->half; j += VL)
        back_step(dx, t, k, norm, j, VL);
    if (j < k->half)
        back_step(dx, t, k, norm, j, k->half - j);
}

INLINE void rows_bwd(void *draw, enum dtype t, size_t lddraw, float *dwq, float *dwk,
                     const float *dqkv, size_t lddqkv, const float *raw, size_t ldraw,
                     const float *rstd, const float *wq, const float *wk, const float *cos_sin,
                     const struct heads_shape *s)
{
    size_t turned = s->H + s->K;
    struct back k = {.half = s->Hd / 2};
    for (size_t i = 0; i < s->B * s->T; i++) {
        void *dx = at(draw, t, i * lddraw);
        k.dy = dqkv + i * lddqkv;
        k.angle = cos_sin + (i % s->T + s->first) * s->Hd;
        for (size_t h = 0; h < turned; h++, k.dy += s->Hd, dx = at(dx, t, s->Hd)) {
            if (!wq) {
                head_back(dx, t, &k, false);
                continue;
            }
            bool query = h < s->H;
            k.norm = (struct norm_back){.x = raw + i * ldraw + h * s->Hd,
                                        .w = query ? wq : wk,
                                        .dw = query ? dwq : dwk,
                                        .r = rstd[i * turned + h]};
            norm_back_begin(&k.norm, row_sum(add_both, &k, k.half), s->Hd);
            head_back(dx, t, &k, true);
        }
        store_row(dx, t, k.dy, s->K * s->Hd);
    }
}

void heads_bwd(void *draw, enum dtype t, size_t lddraw, float *dwq, float *dwk, const float *dqkv,
               size_t lddqkv, const float *raw, size_t ldraw, const float *rstd, const float *wq,
               const float *wk, const float *cos_sin, const struct heads_shape *s)
{
    if (t == BF16)
        rows_bwd(draw, BF16, lddraw, dwq, dwk, dqkv, lddqkv, raw, ldraw, rstd, wq, wk, cos_sin, s);
    else
        rows_bwd(draw, F32, lddraw, dwq, dwk, dqkv, lddqkv, raw, ldraw, rstd, wq, wk, cos_sin, s);
}
