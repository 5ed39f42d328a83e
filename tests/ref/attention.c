#include "ref/ref.h"

#include <math.h>
#include <stdlib.h>

/* One query head of one position: its place in qkv, and the keys it sees. */
struct query {
    size_t b, h, i; /* sequence, head, position */
    size_t lo;      /* first key seen; the last is i */
    size_t q, k, v; /* columns in a row of qkv */
    size_t ld;      /* of qkv */
    double *weight; /* [T] softmax */
    double *slope;  /* [T] derivative of the soft cap */
};

static struct query query_at(const struct attention_shape *s, const int32_t *start, size_t b,
                             size_t h, size_t i)
{
    struct query x = {.b = b, .h = h, .i = i, .ld = (s->H + 2 * s->K) * s->Hd};
    size_t kv = h / (s->H / s->K);
    if (s->window != 0 && i + 1 > s->window)
        x.lo = i + 1 - s->window;
    if (start && (size_t)start[b * s->T + i] > x.lo)
        x.lo = (size_t)start[b * s->T + i];
    x.q = h * s->Hd;
    x.k = (s->H + kv) * s->Hd;
    x.v = (s->H + s->K + kv) * s->Hd;
    return x;
}

/* Fills weight and slope; returns the log-sum-exp. */
static double softmax(struct query *x, const double *qkv, const struct attention_shape *s)
{
    const double *rows = qkv + x->b * s->T * x->ld;
    double max = -INFINITY, sum = 0.0;
    for (size_t j = x->lo; j <= x->i; j++) {
        double z = 0.0;
        for (size_t e = 0; e < s->Hd; e++)
            z += rows[x->i * x->ld + x->q + e] * rows[j * x->ld + x->k + e];
        z *= (double)s->scale;
        double th = s->cap != 0.0f ? tanh(z / (double)s->cap) : 0.0;
        x->slope[j] = 1.0 - th * th;
        x->weight[j] = s->cap != 0.0f ? (double)s->cap * th : z;
        max = fmax(max, x->weight[j]);
    }
    for (size_t j = x->lo; j <= x->i; j++)
        sum += exp(x->weight[j] - max);
    for (size_t j = x->lo; j <= x->i; j++)
        x->weight[j] = exp(x->weight[j] - max) / sum;
    return max + log(sum);
}

static void one_fwd(double *out, double *lse, const double *qkv, struct query *x,
                    const struct attention_shape *s)
{
    lse[(x->b * s->H + x->h) * s->T + x->i] = softmax(x, qkv, s);
    for (size_t e = 0; e < s->Hd; e++) {
        double sum = 0.0;
        for (size_t j = x->lo; j <= x->i; j++)
            sum += x->weight[j] * qkv[(x->b * s->T + j) * x->ld + x->v + e];
        out[(x->b * s->T + x->i) * s->H * s->Hd + x->q + e] = sum;
    }
}

static void one_bwd(double *dqkv, const double *dout, const double *qkv, struct query *x,
                    const struct attention_shape *s)
{
    size_t row = x->b * s->T + x->i;
    const double *g = dout + row * s->H * s->Hd + x->q;
    double *dp = ref_doubles(s->T), mean = 0.0;
    softmax(x, qkv, s);
    for (size_t j = x->lo; j <= x->i; j++) {
        size_t key = (x->b * s->T + j) * x->ld;
        for (size_t e = 0; e < s->Hd; e++) {
            dp[j] += g[e] * qkv[key + x->v + e];
            dqkv[key + x->v + e] += x->weight[j] * g[e];
        }
        mean += x->weight[j] * dp[j];
    }
    for (size_t j = x->lo; j <= x->i; j++) {
        size_t key = (x->b * s->T + j) * x->ld;
        double dz = x->weight[j] * (dp[j] - mean) * x->slope[j] * (double)s->scale;
        for (size_t e = 0; e < s->Hd; e++) {
            dqkv[row * x->ld + x->q + e] += dz * qkv[key + x->k + e];
            dqkv[key + x->k + e] += dz * qkv[row * x->ld + x->q + e];
        }
    }
    free(dp);
}

/* Forward when out is given, backward otherwise. */
static void every_query(double *out, double *lse, double *dqkv, const double *dout,
                        const double *qkv, const int32_t *start, const struct attention_shape *s)
{
    double *weight = ref_doubles(s->T), *slope = ref_doubles(s->T);
    for (size_t b = 0; b < s->B; b++)
        for (size_t h = 0; h < s->H; h++)
            for (size_t i = 0; i < s->T; i++) {
                struct query x = query_at(s, start, b, h, i);
                x.weight = weight;
                x.slope = slope;
                if (out)
                    one_fwd(out, lse, qkv, &x, s);
                else
                    one_bwd(dqkv, dout, qkv, &x, s);
            }
    free(weight);
    free(slope);
}

void ref_attention_fwd(double *out, double *lse, const double *qkv, const int32_t *start,
                       const struct attention_shape *s)
{
    every_query(out, lse, NULL, NULL, qkv, start, s);
}

void ref_attention_bwd(double *dqkv, const double *dout, const double *qkv, const int32_t *start,
                       const struct attention_shape *s)
{
    for (size_t i = 0; i < s->B * s->T * (s->H + 2 * s->K) * s->Hd; i++)
        dqkv[i] = 0.0;
    every_query(NULL, NULL, dqkv, dout, qkv, start, s);
}
