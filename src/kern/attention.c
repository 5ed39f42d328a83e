#include "kern/attention.h"

#include <string.h>

#include "kern/gemm.h"
#include "lanes.h"

#define LN2 0.69314718055994530942f
/* What a masked score is set to: finite, so that its difference from a maximum is never NaN. */
#define MASKED (-1e30f)

enum {
    STACK_ROWS = 48, /* rows a product should have: queries of a tile times heads of a group */
    MIN_QUERIES = 8, /* queries a tile has at least */
    SKEW = 16,       /* added to row lengths, so that columns do not share cache sets */
    /* Multiplications in one call of the BLAS at most. Up to here OpenBLAS takes the operands as
     * they lie instead of packing them, which for these thin products is a sixth faster. */
    CALL_WORK = 1000000,
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
    size_t ldout;   /* elements between positions of out */
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

/* Floats between positions of qkv, elements between those of out. */
static size_t ld_qkv(const struct attention_shape *s)
{
    return s->ldqkv ? s->ldqkv : (s->H + 2 * s->K) * s->Hd;
}

static size_t ld_out(const struct attention_shape *s)
{
    return s->ldout ? s->ldout : s->H * s->Hd;
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
    return round_up(keys, LANES) + SKEW;
}

/* Floats between rows of transposed keys or values. */
static size_t transposed_ld(const struct attention_shape *s)
{
    return round_up(s->T, LANES) + SKEW;
}

/* Scratch, cut up: two squares of scores, three stacks of head rows, two numbers a row, and one
 * head's keys and values: transposed, and as they lie ([T,Hd], in the products' type). */
struct scratch {
    float *scores, *dscores, *q, *o, *dq, *row, *top, *keys, *values, *key_rows, *value_rows;
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
        c->top = c->row + round_up(rows, LANES);
        c->keys = c->top + round_up(rows, LANES);
        c->values = c->keys + s->Hd * transposed_ld(s);
        c->key_rows = c->values + s->Hd * transposed_ld(s);
        c->value_rows = c->key_rows + s->T * s->Hd;
    }
    return 2 * square + 3 * stack + 2 * round_up(rows, LANES) +
           2 * s->Hd * (transposed_ld(s) + s->T);
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
    t.ldqkv = ld_qkv(s);
    t.ldout = ld_out(s);
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

/* x[n] as an operand of the products. */
static void copy_operand(float *restrict to, const float *restrict x, size_t n, enum dtype products)
{
    if (products == F32)
        memcpy(to, x, n * sizeof *x);
    else
        for (size_t j = 0; j < n; j++)
            to[j] = bf16_to_f32(f32_to_bf16(x[j]));
}

static void round_operand(float *x, size_t n, enum dtype products)
{
    for (size_t j = 0; products == BF16 && j < n; j++)
        x[j] = bf16_to_f32(f32_to_bf16(x[j]));
}

/* stack[group·n_q, Hd] from x, whose positions are ld apart. One stack means one product, which
 * packs the keys once for the whole group. */
static void gather(float *stack, const float *x, size_t ld, const struct tile *t)
{
    size_t Hd = t->s->Hd;
    for (size_t h = 0; h < t->group; h++)
        for (size_t i = 0; i < t->n_q; i++)
            copy_operand(stack + (h * t->n_q + i) * Hd, x + head_at(t, ld, h, i), Hd,
                         t->s->products);
}

/* out[n] of type `type` from x[n]. */
static void store(void *out, enum dtype type, size_t at, const float *x, size_t n, float factor)
{
    float *wide = (float *)out + at;
    uint16_t *narrow = (uint16_t *)out + at;
    for (size_t j = 0; type == F32 && j < n; j++)
        wide[j] = x[j] * factor;
    for (size_t j = 0; type == BF16 && j < n; j++)
        narrow[j] = f32_to_bf16(x[j] * factor);
}

/* The reverse, each row times factor[row] (NULL: 1). */
static void scatter(void *x, enum dtype type, const float *stack, const float *factor, size_t ld,
                    const struct tile *t)
{
    size_t Hd = t->s->Hd;
    for (size_t h = 0; h < t->group; h++)
        for (size_t i = 0; i < t->n_q; i++) {
            size_t row = h * t->n_q + i;
            store(x, type, head_at(t, ld, h, i), stack + row * Hd, Hd, factor ? factor[row] : 1.0f);
        }
}

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_index __attribute__((vector_size(16)));

static quad load(const float *x)
{
    quad q;
    memcpy(&q, x, sizeof q);
    return q;
}

/* y[4,4] from x[4,4] turned over. */
static void transpose_quads(float *restrict y, size_t ldy, const float *restrict x, size_t ldx)
{
    const quad_index low = {0, 4, 1, 5}, high = {2, 6, 3, 7};
    const quad_index first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
    quad a = load(x), b = load(x + ldx), c = load(x + 2 * ldx), d = load(x + 3 * ldx);
    quad ab = __builtin_shuffle(a, b, low), cd = __builtin_shuffle(c, d, low);
    quad ab2 = __builtin_shuffle(a, b, high), cd2 = __builtin_shuffle(c, d, high);
    quad rows[4] = {__builtin_shuffle(ab, cd, first), __builtin_shuffle(ab, cd, second),
                    __builtin_shuffle(ab2, cd2, first), __builtin_shuffle(ab2, cd2, second)};
    for (size_t i = 0; i < 4; i++)
        memcpy(y + i * ldy, rows + i, sizeof *rows);
}

/* y[Hd, T] from x[T, Hd], whose rows are ldx apart: products with keys and values as they are
 * stored would make the BLAS transpose them in every call. */
static void transpose(float *restrict y, const float *restrict x, size_t ldx,
                      const struct attention_shape *s)
{
    size_t ldy = transposed_ld(s), T4 = s->T / 4 * 4, Hd4 = s->Hd / 4 * 4;
    for (size_t j = 0; j < T4; j += 4) {
        for (size_t e = 0; e < Hd4; e += 4)
            transpose_quads(y + e * ldy + j, ldy, x + j * ldx + e, ldx);
        for (size_t e = Hd4; e < s->Hd; e++)
            for (size_t l = j; l < j + 4; l++)
                y[e * ldy + l] = x[l * ldx + e];
    }
    for (size_t j = T4; j < s->T; j++)
        for (size_t e = 0; e < s->Hd; e++)
            y[e * ldy + j] = x[j * ldx + e];
}

/* One head's keys and values as operands: as they lie, and keys (with `transposed_values` values
 * too) transposed. */
static void pack_head(const struct scratch *c, const float *qkv, size_t b, size_t kv,
                      const struct attention_shape *s, int transposed_values)
{
    size_t ld = ld_qkv(s), Hd = s->Hd;
    const float *keys = qkv + b * s->T * ld + (s->H + kv) * Hd, *values = keys + s->K * Hd;
    for (size_t j = 0; j < s->T; j++) {
        copy_operand(c->key_rows + j * Hd, keys + j * ld, Hd, s->products);
        copy_operand(c->value_rows + j * Hd, values + j * ld, Hd, s->products);
    }
    transpose(c->keys, c->key_rows, Hd, s);
    if (transposed_values)
        transpose(c->values, c->value_rows, Hd, s);
}

/* How many of n columns (or rows) one call takes, each costing `work` multiplications. */
static size_t piece(size_t n, size_t work)
{
    size_t most = CALL_WORK / work / LANES * LANES;
    return min_size(n, most ? most : LANES);
}

/* C[m,n] = alpha · A[m,k] · B[k,n], by columns. */
static void thin_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb,
                    size_t m, size_t n, size_t k, float alpha)
{
    size_t step = piece(n, m * k);
    for (size_t j = 0; j < n; j += step)
        gemm_nn(c + j, ldc, a, lda, b + j, ldb, m, min_size(step, n - j), k, alpha, 0.0f);
}

/* C[m,n] += alpha · A[k,m]ᵀ · B[k,n], by rows. */
static void thin_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb,
                    size_t m, size_t n, size_t k, float alpha)
{
    size_t step = piece(m, n * k);
    for (size_t i = 0; i < m; i += step)
        gemm_tn(c + i * ldc, ldc, a + i, lda, b, ldb, min_size(step, m - i), n, k, alpha, 1.0f);
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

/* Rows of one tile: scores become unnormalized weights; sum[row], top[row] as softmax_row has them.
 */
static void softmax_tile(float *scores, float *sum, float *top, const struct tile *t)
{
    for (size_t i = 0; i < t->n_q; i++) {
        struct span v = span_of(t, i);
        for (size_t h = 0; h < t->group; h++) {
            size_t row = h * t->n_q + i;
            float *x = scores + row * t->ld;
            sum[row] = softmax_row(x, &v, t->s->cap, top + row);
            clear_unseen(x, &v, t->n_k);
        }
    }
}

/* Where lse[B, H, T] has the group's head h. */
static size_t lse_at(const struct tile *t, size_t h)
{
    return (t->b * t->s->H + t->head0 + h) * t->s->T + t->q0;
}

/* Sums and maxima → log-sum-exp, then sums → the factors that normalize. */
static void finish_rows(float *lse, float *sum, const float *top, const struct tile *t)
{
    for (size_t h = 0; lse && h < t->group; h++) {
        float *to = lse + lse_at(t, h);
        const float *l = sum + h * t->n_q, *m = top + h * t->n_q;
        for (size_t i = 0; i < t->n_q; i++)
            to[i] = (m[i] + vm_log2(l[i])) * LN2;
    }
    for (size_t row = 0; row < t->group * t->n_q; row++)
        sum[row] = 1.0f / sum[row];
}

static void tile_fwd(void *out, enum dtype tout, float *lse, const float *qkv, const struct tile *t,
                     const struct scratch *c)
{
    size_t Hd = t->s->Hd, rows = t->group * t->n_q;
    gather(c->q, qkv, t->ldqkv, t);
    thin_nn(c->scores, t->ld, c->q, Hd, c->keys + t->k0, transposed_ld(t->s), rows, t->n_k, Hd,
            t->s->scale);
    softmax_tile(c->scores, c->row, c->top, t);
    finish_rows(lse, c->row, c->top, t);
    round_operand(c->scores, rows * t->ld, t->s->products);
    thin_nn(c->o, Hd, c->scores, t->ld, c->value_rows + t->k0 * Hd, Hd, rows, Hd, t->n_k, 1.0f);
    scatter(out, tout, c->o, c->row, t->ldout, t);
}

void attention_fwd(void *out, enum dtype tout, float *lse, const float *qkv, const int32_t *start,
                   const struct attention_shape *s, float *scratch)
{
    struct scratch c;
    cut(&c, scratch, s);
    for (size_t b = 0; b < s->B; b++)
        for (size_t kv = 0; kv < s->K; kv++) {
            pack_head(&c, qkv, b, kv, s, 0);
            for (size_t q0 = 0; q0 < s->T; q0 += tile_queries(s)) {
                struct tile t = tile_at(s, start, b, kv, q0);
                tile_fwd(out, tout, lse, qkv, &t, &c);
            }
        }
}

/* dout · out of one head's row. */
static float row_delta(const float *dout, const void *out, enum dtype tout, size_t n)
{
    if (tout == F32)
        return lanes_dot(dout, out, n);
    const uint16_t *narrow = out;
    float sum = 0.0f;
    for (size_t j = 0; j < n; j++)
        sum = fmaf_(dout[j], bf16_to_f32(narrow[j]), sum);
    return sum;
}

/* delta[row] = dout · out: the mean of dP under P, which the softmax's gradient takes off. dout as
 * the products have it, so that a row's gradients of scores sum to 0. */
static void deltas(float *delta, const float *stack, const void *out, enum dtype tout,
                   const struct tile *t)
{
    size_t Hd = t->s->Hd;
    for (size_t h = 0; h < t->group; h++)
        for (size_t i = 0; i < t->n_q; i++) {
            size_t row = h * t->n_q + i, at = head_at(t, t->ldout, h, i);
            delta[row] =
                row_delta(stack + row * Hd, (const char *)out + at * dtype_size(tout), tout, Hd);
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
            float l = lse[lse_at(t, h) + i] * VM_LOG2E;
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
static void tile_bwd(float *dqkv, const float *dout, const void *out, enum dtype tout,
                     const float *lse, const float *qkv, const struct tile *t,
                     const struct scratch *c)
{
    size_t Hd = t->s->Hd, rows = t->group * t->n_q, ld = t->ldqkv, ldt = transposed_ld(t->s);
    float scale = t->s->scale;
    gather(c->q, qkv, ld, t);
    gather(c->o, dout, t->ldout, t);
    deltas(c->row, c->o, out, tout, t);
    thin_nn(c->scores, t->ld, c->q, Hd, c->keys + t->k0, ldt, rows, t->n_k, Hd, scale);
    thin_nn(c->dscores, t->ld, c->o, Hd, c->values + t->k0, ldt, rows, t->n_k, Hd, 1.0f);
    softmax_tile_bwd(c->scores, c->dscores, c->row, lse, t);
    round_operand(c->scores, rows * t->ld, t->s->products);
    round_operand(c->dscores, rows * t->ld, t->s->products);
    thin_tn(dqkv + value_at(t), ld, c->scores, t->ld, c->o, Hd, t->n_k, Hd, rows, 1.0f);
    thin_nn(c->dq, Hd, c->dscores, t->ld, c->key_rows + t->k0 * Hd, Hd, rows, Hd, t->n_k, scale);
    thin_tn(dqkv + key_at(t), ld, c->dscores, t->ld, c->q, Hd, t->n_k, Hd, rows, scale);
    scatter(dqkv, F32, c->dq, NULL, ld, t);
}

/* Keys' and values' gradients start from 0; queries' are written whole. */
static void clear_dkv(float *dqkv, const struct attention_shape *s)
{
    size_t ld = ld_qkv(s);
    for (size_t i = 0; i < s->B * s->T; i++)
        memset(dqkv + i * ld + s->H * s->Hd, 0, 2 * s->K * s->Hd * sizeof *dqkv);
}

void attention_bwd(float *dqkv, const float *dout, const void *out, enum dtype tout,
                   const float *lse, const float *qkv, const int32_t *start,
                   const struct attention_shape *s, float *scratch)
{
    struct scratch c;
    cut(&c, scratch, s);
    clear_dkv(dqkv, s);
    for (size_t b = 0; b < s->B; b++)
        for (size_t kv = 0; kv < s->K; kv++) {
            pack_head(&c, qkv, b, kv, s, 1);
            for (size_t q0 = 0; q0 < s->T; q0 += tile_queries(s)) {
                struct tile t = tile_at(s, start, b, kv, q0);
                tile_bwd(dqkv, dout, out, tout, lse, qkv, &t, &c);
            }
        }
}

/* out[Hd] += Σ weight[j] · values[j] of four keys, in order. */
static void weigh_four(float *restrict out, const float *restrict weight,
                       const float *restrict values, size_t ld, size_t Hd)
{
    const float *a = values, *b = a + ld, *c = b + ld, *d = c + ld;
    for (size_t e = 0; e < Hd; e++) {
        float sum = fmaf_(weight[0], a[e], out[e]);
        sum = fmaf_(weight[1], b[e], sum);
        sum = fmaf_(weight[2], c[e], sum);
        out[e] = fmaf_(weight[3], d[e], sum);
    }
}

/* out[Hd] = Σ weight[j] · values[j], keys in order. */
static void weigh(float *restrict out, const float *restrict weight, const float *restrict values,
                  size_t ld, size_t n, size_t Hd)
{
    size_t j = 0;
    fill(out, 0, Hd, 0.0f);
    for (; j + 4 <= n; j += 4)
        weigh_four(out, weight + j, values + j * ld, ld, Hd);
    for (; j < n; j++)
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
