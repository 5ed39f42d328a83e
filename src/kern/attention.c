#include "kern/attention.h"

#include <math.h>
#include <string.h>

#include "kern/gemm.h"
#include "lanes.h"

#define LN2 0.69314718055994530942
/* What a masked score is set to: finite, so that its difference from a maximum is never NaN. */
#define MASKED (-1e30f)

enum {
    STACK_ROWS = 256, /* rows a product should have: queries of a tile times heads of a group */
    MIN_QUERIES = 32, /* queries a tile has at least */
};

/* A tile: n_q queries from q0 on, all heads of one group, against n_k keys from k0 on. Stacked row
 * h·n_q + i is query q0 + i of the group's head h. */
struct tile {
    const struct attention_shape *s;
    const int32_t *start; /* of this sequence, or NULL */
    size_t b, kv;         /* sequence, key/value head */
    size_t group;         /* query heads to a key/value head */
    size_t q0, n_q, k0, n_k;
    size_t ld;      /* floats between rows of scores: a multiple of LANES, at least n_k */
    size_t ldqkv;   /* floats between positions of qkv */
    size_t row0;    /* b·T: the sequence's first row */
    size_t head0;   /* the group's first query head */
    size_t key_col; /* column of the group's key head in a row of qkv */
    size_t value_col;
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t tile_queries(const struct attention_shape *s)
{
    size_t n = STACK_ROWS / (s->H / s->K);
    return min_size(n < MIN_QUERIES ? MIN_QUERIES : n, s->T);
}

/* Floats between rows of scores: all the keys that a tile can see. */
static size_t score_ld(const struct attention_shape *s)
{
    size_t keys = s->T;
    if (s->window != 0)
        keys = min_size(keys, s->window + tile_queries(s) - 1);
    return round_up(keys, LANES);
}

/* Scratch, cut up: two squares of scores, three stacks of head rows, one number a row. */
struct scratch {
    float *scores, *dscores, *q, *o, *dq, *row;
};

static size_t cut(struct scratch *c, float *at, const struct attention_shape *s)
{
    size_t rows = tile_queries(s) * (s->H / s->K);
    size_t square = rows * score_ld(s), stack = round_up(rows * s->Hd, LANES);
    if (c) {
        c->scores = at;
        c->dscores = at + square;
        c->q = at + 2 * square;
        c->o = c->q + stack;
        c->dq = c->o + stack;
        c->row = c->dq + stack;
    }
    return 2 * square + 3 * stack + round_up(rows, LANES);
}

size_t attention_scratch(const struct attention_shape *s)
{
    return cut(NULL, NULL, s);
}

/* First key that query q sees. */
static size_t first_key(const struct tile *t, size_t q)
{
    size_t first = 0;
    if (t->s->window != 0 && q + 1 > t->s->window)
        first = q + 1 - t->s->window;
    if (t->start && t->start[q] > 0 && (size_t)t->start[q] > first)
        first = min_size((size_t)t->start[q], q); /* a query always sees itself */
    return first;
}

static struct tile tile_at(const struct attention_shape *s, const int32_t *start, size_t b,
                           size_t kv, size_t q0)
{
    struct tile t = {.s = s, .b = b, .kv = kv, .group = s->H / s->K, .q0 = q0};
    t.start = start ? start + b * s->T : NULL;
    t.n_q = min_size(tile_queries(s), s->T - q0);
    t.k0 = q0;
    for (size_t q = q0; q < q0 + t.n_q; q++)
        t.k0 = min_size(t.k0, first_key(&t, q));
    t.n_k = q0 + t.n_q - t.k0;
    t.ld = score_ld(s);
    t.ldqkv = (s->H + 2 * s->K) * s->Hd;
    t.row0 = b * s->T;
    t.head0 = kv * t.group;
    t.key_col = (s->H + kv) * s->Hd;
    t.value_col = (s->H + s->K + kv) * s->Hd;
    return t;
}

/* Where this tile's keys and values start in qkv (or their gradients in dqkv). */
static size_t key_at(const struct tile *t)
{
    return (t->row0 + t->k0) * t->ldqkv + t->key_col;
}

static size_t value_at(const struct tile *t)
{
    return (t->row0 + t->k0) * t->ldqkv + t->value_col;
}

/* Where head h of query q0 + i starts in an array whose positions are ld apart. */
static size_t head_at(const struct tile *t, size_t ld, size_t h, size_t i)
{
    return (t->row0 + t->q0 + i) * ld + (t->head0 + h) * t->s->Hd;
}

/* stack[group·n_q, Hd] from x, whose positions are ld apart. One stack means one product, which
 * packs the keys once for the whole group. */
static void gather(float *stack, const float *x, size_t ld, const struct tile *t)
{
    size_t Hd = t->s->Hd;
    for (size_t h = 0; h < t->group; h++)
        for (size_t i = 0; i < t->n_q; i++)
            memcpy(stack + (h * t->n_q + i) * Hd, x + head_at(t, ld, h, i), Hd * sizeof *x);
}

/* The reverse, each row times factor[row] (NULL: 1). */
static void scatter(float *restrict x, const float *restrict stack, const float *restrict factor,
                    size_t ld, const struct tile *t)
{
    size_t Hd = t->s->Hd;
    for (size_t h = 0; h < t->group; h++)
        for (size_t i = 0; i < t->n_q; i++) {
            size_t row = h * t->n_q + i;
            float f = factor ? factor[row] : 1.0f;
            float *to = x + head_at(t, ld, h, i);
            for (size_t j = 0; j < Hd; j++)
                to[j] = stack[row * Hd + j] * f;
        }
}

/* The keys of one query, counted from the tile's first: lo … hi-1 seen. Loops run over the whole
 * vectors from ‥ to, which hold them. */
struct span {
    size_t lo, hi, from, to;
};

static struct span span_of(const struct tile *t, size_t i)
{
    size_t q = t->q0 + i;
    struct span v = {.lo = first_key(t, q) - t->k0, .hi = q + 1 - t->k0};
    v.from = v.lo / LANES * LANES;
    v.to = round_up(v.hi, LANES);
    return v;
}

static void fill(float *x, size_t from, size_t to, float value)
{
    for (size_t j = from; j < to; j++)
        x[j] = value;
}

/* What is not seen weighs nothing in the products over n_k keys. */
static void clear_unseen(float *x, const struct span *v, size_t n_k)
{
    fill(x, 0, v->lo, 0.0f);
    fill(x, v->hi, n_k, 0.0f);
}

/* x ← cap·tanh(x/cap) on whole vectors. */
static void cap_scores(float *x, size_t n, float cap)
{
    float inverse = 1.0f / cap;
    for (size_t j = 0; j < n; j++)
        x[j] = cap * vm_tanh(x[j] * inverse);
}

/* One row of scores → exp(score - maximum). Returns the sum, the maximum in *top (base 2). */
static float softmax_row(float *x, const struct span *v, float cap, float *top)
{
    float *seen = x + v->from;
    size_t n = v->to - v->from;
    fill(x, v->hi, v->to, 0.0f); /* beyond the product's columns nothing has been written yet */
    if (cap != 0.0f)
        cap_scores(seen, n, cap);
    fill(x, v->from, v->lo, MASKED);
    fill(x, v->hi, v->to, MASKED);
    *top = lanes_max(seen, n, MASKED) * VM_LOG2E;
    float shift = -*top;
    for (size_t j = 0; j < n; j++)
        seen[j] = vm_exp2_softmax(fmaf_(seen[j], VM_LOG2E, shift));
    return lanes_sum(seen, n);
}

/* Rows of one tile: scores become unnormalized weights, factor[row] their normalization. */
static void softmax_tile(float *scores, float *factor, float *lse, const struct tile *t)
{
    size_t T = t->s->T;
    for (size_t i = 0; i < t->n_q; i++) {
        struct span v = span_of(t, i);
        for (size_t h = 0; h < t->group; h++) {
            size_t row = h * t->n_q + i;
            float *x = scores + row * t->ld, top;
            float sum = softmax_row(x, &v, t->s->cap, &top);
            clear_unseen(x, &v, t->n_k);
            factor[row] = 1.0f / sum;
            if (lse) /* [B, H, T] */
                lse[(t->b * t->s->H + t->head0 + h) * T + t->q0 + i] =
                    (float)(((double)top + log2((double)sum)) * LN2);
        }
    }
}

static void tile_fwd(float *out, float *lse, const float *qkv, const struct tile *t,
                     const struct scratch *c)
{
    size_t Hd = t->s->Hd, rows = t->group * t->n_q;
    gather(c->q, qkv, t->ldqkv, t);
    gemm_nt(c->scores, t->ld, c->q, Hd, qkv + key_at(t), t->ldqkv, rows, t->n_k, Hd, t->s->scale,
            0.0f);
    softmax_tile(c->scores, c->row, lse, t);
    gemm_nn(c->o, Hd, c->scores, t->ld, qkv + value_at(t), t->ldqkv, rows, Hd, t->n_k, 1.0f, 0.0f);
    scatter(out, c->o, c->row, t->s->H * Hd, t);
}

void attention_fwd(float *out, float *lse, const float *qkv, const int32_t *start,
                   const struct attention_shape *s, float *scratch)
{
    struct scratch c;
    cut(&c, scratch, s);
    for (size_t b = 0; b < s->B; b++)
        for (size_t kv = 0; kv < s->K; kv++)
            for (size_t q0 = 0; q0 < s->T; q0 += tile_queries(s)) {
                struct tile t = tile_at(s, start, b, kv, q0);
                tile_fwd(out, lse, qkv, &t, &c);
            }
}

/* delta[row] = dout · out: the mean of dP under P, which the softmax's gradient takes off. */
static void deltas(float *delta, const float *dout, const float *out, const struct tile *t)
{
    size_t Hd = t->s->Hd, ld = t->s->H * Hd;
    for (size_t h = 0; h < t->group; h++)
        for (size_t i = 0; i < t->n_q; i++) {
            size_t at = head_at(t, ld, h, i);
            delta[h * t->n_q + i] = lanes_dot(dout + at, out + at, Hd);
        }
}

/* scores → P, dP → gradient of the uncapped scores: P·(dP - delta)·(1 - tanh²). */
static void row_bwd(float *restrict x, float *restrict dx, size_t n, float lse2, float delta)
{
    for (size_t j = 0; j < n; j++) {
        float p = vm_exp2_softmax(fmaf_(x[j], VM_LOG2E, -lse2));
        x[j] = p;
        dx[j] = p * (dx[j] - delta);
    }
}

static void row_bwd_capped(float *restrict x, float *restrict dx, size_t n, float lse2, float delta,
                           float cap)
{
    float inverse = 1.0f / cap;
    for (size_t j = 0; j < n; j++) {
        float th = vm_tanh(x[j] * inverse);
        float p = vm_exp2_softmax(fmaf_(cap * th, VM_LOG2E, -lse2));
        x[j] = p;
        dx[j] = p * (dx[j] - delta) * fmaf_(-th, th, 1.0f);
    }
}

static void softmax_tile_bwd(float *scores, float *dscores, const float *delta, const float *lse,
                             const struct tile *t)
{
    for (size_t i = 0; i < t->n_q; i++) {
        struct span v = span_of(t, i);
        for (size_t h = 0; h < t->group; h++) {
            size_t row = h * t->n_q + i, n = v.to - v.from;
            float *x = scores + row * t->ld, *dx = dscores + row * t->ld;
            float l = lse[(t->b * t->s->H + t->head0 + h) * t->s->T + t->q0 + i] * VM_LOG2E;
            fill(x, v.hi, v.to, MASKED);
            fill(dx, v.hi, v.to, 0.0f);
            if (t->s->cap != 0.0f)
                row_bwd_capped(x + v.from, dx + v.from, n, l, delta[row], t->s->cap);
            else
                row_bwd(x + v.from, dx + v.from, n, l, delta[row]);
            clear_unseen(x, &v, t->n_k);
            clear_unseen(dx, &v, t->n_k);
        }
    }
}

/* Five products: scores again, dP, then dV, dQ, dK. Keys' and values' gradients add up over tiles
 * in order of queries, over the group's heads within a product. */
static void tile_bwd(float *dqkv, const float *dout, const float *out, const float *lse,
                     const float *qkv, const struct tile *t, const struct scratch *c)
{
    size_t Hd = t->s->Hd, rows = t->group * t->n_q, ld = t->ldqkv;
    float scale = t->s->scale;
    const float *keys = qkv + key_at(t), *values = qkv + value_at(t);
    gather(c->q, qkv, ld, t);
    gather(c->o, dout, t->s->H * Hd, t);
    deltas(c->row, dout, out, t);
    gemm_nt(c->scores, t->ld, c->q, Hd, keys, ld, rows, t->n_k, Hd, scale, 0.0f);
    gemm_nt(c->dscores, t->ld, c->o, Hd, values, ld, rows, t->n_k, Hd, 1.0f, 0.0f);
    softmax_tile_bwd(c->scores, c->dscores, c->row, lse, t);
    gemm_tn(dqkv + value_at(t), ld, c->scores, t->ld, c->o, Hd, t->n_k, Hd, rows, 1.0f, 1.0f);
    gemm_nn(c->dq, Hd, c->dscores, t->ld, keys, ld, rows, Hd, t->n_k, scale, 0.0f);
    gemm_tn(dqkv + key_at(t), ld, c->dscores, t->ld, c->q, Hd, t->n_k, Hd, rows, scale, 1.0f);
    scatter(dqkv, c->dq, NULL, ld, t);
}

/* Keys' and values' gradients start from 0; queries' are written whole. */
static void clear_dkv(float *dqkv, const struct attention_shape *s)
{
    size_t ld = (s->H + 2 * s->K) * s->Hd;
    for (size_t i = 0; i < s->B * s->T; i++)
        memset(dqkv + i * ld + s->H * s->Hd, 0, 2 * s->K * s->Hd * sizeof *dqkv);
}

void attention_bwd(float *dqkv, const float *dout, const float *out, const float *lse,
                   const float *qkv, const int32_t *start, const struct attention_shape *s,
                   float *scratch)
{
    struct scratch c;
    cut(&c, scratch, s);
    clear_dkv(dqkv, s);
    for (size_t b = 0; b < s->B; b++)
        for (size_t kv = 0; kv < s->K; kv++)
            for (size_t q0 = 0; q0 < s->T; q0 += tile_queries(s)) {
                struct tile t = tile_at(s, start, b, kv, q0);
                tile_bwd(dqkv, dout, out, lse, qkv, &t, &c);
            }
}

/* out[Hd] = Σ weight[j] · values[j], keys in order. */
static void weigh(float *restrict out, const float *restrict weight, const float *restrict values,
                  size_t ld, size_t n, size_t Hd)
{
    fill(out, 0, Hd, 0.0f);
    for (size_t j = 0; j < n; j++)
        for (size_t e = 0; e < Hd; e++)
            out[e] = fmaf_(weight[j], values[j * ld + e], out[e]);
}

void attention_decode(float *out, const float *q, const float *keys, const float *values,
                      size_t ldkv, size_t n, const struct attention_shape *s, float *scratch)
{
    size_t skip = s->window != 0 && n > s->window ? n - s->window : 0, seen = n - skip;
    for (size_t h = 0; h < s->H; h++) {
        size_t col = h / (s->H / s->K) * s->Hd;
        const float *k = keys + skip * ldkv + col;
        for (size_t j = 0; j < seen; j++)
            scratch[j] = lanes_dot(q + h * s->Hd, k + j * ldkv, s->Hd) * s->scale;
        if (s->cap != 0.0f)
            cap_scores(scratch, seen, s->cap);
        float top = lanes_max(scratch, seen, MASKED) * VM_LOG2E;
        for (size_t j = 0; j < seen; j++)
            scratch[j] = vm_exp2_softmax(fmaf_(scratch[j], VM_LOG2E, -top));
        float inverse = 1.0f / lanes_sum(scratch, seen);
        float *oh = out + h * s->Hd;
        weigh(oh, scratch, values + skip * ldkv + col, ldkv, seen, s->Hd);
        for (size_t e = 0; e < s->Hd; e++)
            oh[e] *= inverse;
    }
}
