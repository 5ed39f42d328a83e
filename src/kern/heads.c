#include "kern/heads.h"

#include <string.h>

#include "rows.h"
#include "typed.h"

/* y = x, normed where there is a weight, turned by the angles of one position. half = Hd/2. y may
 * be x. */
INLINE void turn(float *y, const float *x, const float *w, float r, const float *angle, size_t half)
{
#pragma GCC ivdep
    for (size_t i = 0; i < half; i++) {
        float c = angle[i], s = angle[half + i];
        float a = w ? x[i] * r * (1.0f + w[i]) : x[i];
        float b = w ? x[half + i] * r * (1.0f + w[half + i]) : x[half + i];
        y[i] = fmaf_(a, c, -(b * s));
        y[half + i] = fmaf_(b, c, a * s);
    }
}

/* One head; returns its rstd. */
static float head(float *y, const float *x, const float *w, const float *angle, size_t Hd,
                  float eps)
{
    if (!w) {
        turn(y, x, NULL, 1.0f, angle, Hd / 2);
        return 1.0f;
    }
    float r = row_rstd(x, Hd, eps);
    turn(y, x, w, r, angle, Hd / 2);
    return r;
}

void heads_fwd(float *qkv, size_t ldqkv, float *rstd, const float *raw, size_t ldraw,
               const float *wq, const float *wk, const float *cos_sin, const struct heads_shape *s)
{
    size_t turned = s->H + s->K, values = turned * s->Hd;
    for (size_t i = 0; i < s->B * s->T; i++) {
        const float *x = raw + i * ldraw, *angle = cos_sin + (i % s->T + s->first) * s->Hd;
        float *y = qkv + i * ldqkv;
        for (size_t h = 0; h < turned; h++) {
            const float *w = wq ? (h < s->H ? wq : wk) : NULL;
            float r = head(y + h * s->Hd, x + h * s->Hd, w, angle, s->Hd, s->eps);
            if (w && rstd)
                rstd[i * turned + h] = r;
        }
        if (y != x)
            memcpy(y + values, x + values, s->K * s->Hd * sizeof *y);
    }
}

/* One head's gradient. dy[Hd] comes from behind the rotation. */
struct back {
    const float *dy, *x, *w, *angle;
    size_t half; /* Hd/2 */
};

/* Elements i and i + half of the gradient before the rotation. */
struct pair {
    float a, b;
};

INLINE struct pair turned_back(struct back k, size_t i)
{
    float c = k.angle[i], s = k.angle[k.half + i], a = k.dy[i], b = k.dy[k.half + i];
    return (struct pair){fmaf_(a, c, b * s), fmaf_(b, c, -(a * s))};
}

/* Pair i's part of Σ g·x, g the gradient times the norm's weight. */
INLINE float weighted(struct back k, size_t i)
{
    struct pair d = turned_back(k, i);
    float upper = d.b * (1.0f + k.w[k.half + i]) * k.x[k.half + i];
    return fmaf_(d.a * (1.0f + k.w[i]), k.x[i], upper);
}

static float weighted_sum(struct back k)
{
    float acc[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= k.half; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            acc[l] += weighted(k, i + l);
    for (size_t l = 0; i + l < k.half; l++)
        acc[l] += weighted(k, i + l);
    return lanes_total(acc);
}

/* As norm_row_bwd, on a gradient that is turned back on the way: turning twice costs less than a
 * place to keep it. dx may be dy in F32. */
INLINE void head_norm_bwd(void *dx, enum dtype t, float *dw, struct back k, float r)
{
    float shrink = -(weighted_sum(k) / (float)(2 * k.half)) * r * r * r;
    size_t half = k.half;
#pragma GCC ivdep
    for (size_t i = 0; i < half; i++) {
        struct pair d = turned_back(k, i);
        float ga = d.a * r, gb = d.b * r, xa = k.x[i], xb = k.x[half + i];
        dw[i] = fmaf_(ga, xa, dw[i]);
        dw[half + i] = fmaf_(gb, xb, dw[half + i]);
        put(dx, t, i, fmaf_(ga, 1.0f + k.w[i], xa * shrink));
        put(dx, t, half + i, fmaf_(gb, 1.0f + k.w[half + i], xb * shrink));
    }
}

INLINE void head_turn_back(void *dx, enum dtype t, struct back k)
{
#pragma GCC ivdep
    for (size_t i = 0; i < k.half; i++) {
        struct pair d = turned_back(k, i);
        put(dx, t, i, d.a);
        put(dx, t, k.half + i, d.b);
    }
}

INLINE void rows_bwd(void *draw, enum dtype t, size_t lddraw, float *dwq, float *dwk,
                     const float *dqkv, size_t lddqkv, const float *raw, size_t ldraw,
                     const float *rstd, const float *wq, const float *wk, const float *cos_sin,
                     const struct heads_shape *s)
{
    size_t turned = s->H + s->K, values = turned * s->Hd;
    struct back k = {.half = s->Hd / 2};
    for (size_t i = 0; i < s->B * s->T; i++) {
        const float *dy = dqkv + i * lddqkv;
        void *dx = at(draw, t, i * lddraw);
        k.angle = cos_sin + (i % s->T + s->first) * s->Hd;
        for (size_t h = 0; h < turned; h++) {
            void *to = at(dx, t, h * s->Hd);
            k.dy = dy + h * s->Hd;
            if (!wq) {
                head_turn_back(to, t, k);
                continue;
            }
            k.x = raw + i * ldraw + h * s->Hd;
            k.w = h < s->H ? wq : wk;
            head_norm_bwd(to, t, h < s->H ? dwq : dwk, k, rstd[i * turned + h]);
        }
        store_row(at(dx, t, values), t, dy + values, s->K * s->Hd);
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
