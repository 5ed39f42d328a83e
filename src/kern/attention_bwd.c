#include "kern/attention.h"

#include "attn_pack.h"
#include "attn_scratch.h"
#include "attn_softmax.h"

static size_t turned_at(size_t k0, const struct attention_shape *s)
{
    return k0 / BLOCK_KEYS * s->Hd * LD_SCORES;
}

/* One key/value head's keys and values as operands; their gradients start from 0. */
static void pack_head(const struct scratch *c, const float *qkv, size_t b, size_t kv,
                      const struct attention_shape *s)
{
    struct rows x;
    size_t ld = ld_head(s);
    for (size_t k0 = 0; k0 < s->T; k0 += BLOCK_KEYS) {
        rows_of_block(&x, qkv, b, k0, key_column(s, kv), s);
        pack_transposed(c->keys_t + turned_at(k0, s), &x, s->products);
        pack_summed_rows(c->keys + k0 * ld, ld, &x, s->products);
        rows_of_block(&x, qkv, b, k0, value_column(s, kv), s);
        pack_transposed(c->values_t + turned_at(k0, s), &x, s->products);
    }
    memset(c->dkeys, 0, s->T * ld * sizeof *c->dkeys);
    memset(c->dvalues, 0, s->T * ld * sizeof *c->dvalues);
}

/* VL values of either type, n left. */
static vf load_typed(const void *x, enum dtype type, size_t at, size_t n)
{
    typedef uint16_t halves __attribute__((vector_size(2 * VL)));
    if (type == F32)
        return v_load_part((const float *)x + at, n);
    halves h = {0};
    memcpy(&h, (const uint16_t *)x + at, min_size(n, VL) * sizeof(uint16_t));
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

/* dout · out of one row: the mean of dP under P, which the softmax's gradient takes off. dout as
 * the products have it, so that the gradients of a row's scores sum to 0. */
static float row_delta(const float *dout, const void *out, enum dtype tout, size_t at,
                       const struct attention_shape *s)
{
    vf sum = {0};
    for (size_t e = 0; e < s->Hd; e += VL) {
        vf g = v_load_part(dout + e, s->Hd - e);
        if (s->products == BF16)
            g = (vf)(v_round_bf16(g) & 0xffff0000u);
        sum += g * load_typed(out, tout, at + e, s->Hd - e);
    }
    return v_sum(sum);
}

/* The tile's queries and output gradients as operands. top: log-sum-exp as exponents of 2;
 * factor: delta. */
static void tile_start(const struct scratch *c, const float *dout, const void *out, enum dtype tout,
                       const float *lse, const float *qkv, const struct tile *t)
{
    enum dtype type = t->s->products;
    size_t ld = ld_head(t->s);
    struct rows q = {.n = t->n, .Hd = t->s->Hd}, g = q;
    for (size_t r = 0; r < t->n; r++) {
        q.at[r] = qkv + query_at(t, r);
        g.at[r] = dout + out_at(t, r);
        c->factor[r] = row_delta(g.at[r], out, tout, out_at(t, r), t->s);
        c->top[r] = lse[lse_at(t, r)] * VM_LOG2E;
    }
    pack_rows(c->q, ld, &q, type);
    pack_rows(c->dout, ld, &g, type);
    if (type == BF16) {
        pack_row_pairs(c->q_summed, ld, &q);
        pack_row_pairs(c->dout_summed, ld, &g);
    }
    memset(c->result, 0, TILE_ROWS * ld * sizeof *c->result);
}

/* scores → P, dP → gradient of the scores but for their scale: P·(dP - delta), times 1 - tanh² when
 * capped. */
static void row_bwd(float *restrict x, float *restrict dx, const struct span *v, float scale,
                    float lse2, float delta, bool capped)
{
    for (size_t j = v->from; j < v->to; j += VL) {
        vf s = v_load(x + j), p = v_exp2(s * scale - lse2);
        vf d = p * (v_load(dx + j) - delta);
        v_store(x + j, p);
        v_store(dx + j, capped ? d * (1.0f - s * s) : d);
    }
}

static void softmax_bwd(const struct scratch *c, const struct block *k, const struct tile *t)
{
    float scale = exponent_scale(t->s);
    bool capped = t->s->cap != 0.0f;
    for (size_t r = 0; r < t->n; r++) {
        struct span v = span_of(k, r);
        float *x = c->scores + r * LD_SCORES, *dx = c->dscores + r * LD_SCORES;
        if (v.lo < v.hi)
            finish_scores(x, &v, t->s);
        if (capped)
            row_bwd(x, dx, &v, scale, c->top[r], c->factor[r], true);
        else
            row_bwd(x, dx, &v, scale, c->top[r], c->factor[r], false);
        clear_unseen(x, &v, round_up(k->n, 2 * VL));
        clear_unseen(dx, &v, round_up(k->n, 2 * VL));
    }
}

static void pair_rows(float *to, const float *x, const float *next, size_t n)
{
    for (size_t j = 0; j < n; j += VL)
        v_store(to + j, v_pair(v_load(x + j), next ? v_load(next + j) : (vf){0}));
}

static void narrow_row(float *to, const float *x, size_t n)
{
    for (size_t j = 0; j < n; j += 2 * VL)
        v_store(to + j / 2, v_narrow(v_load(x + j), v_load(x + j + VL)));
}

static void narrow_block(const struct scratch *c, const struct block *k, const struct tile *t)
{
    for (size_t r = 0; r < t->n; r++)
        narrow_row(c->narrow + r * LD_SCORES, c->dscores + r * LD_SCORES, k->n);
    for (size_t r = 0; r < t->n; r += 2) {
        const float *x = c->scores + r * LD_SCORES, *dx = c->dscores + r * LD_SCORES;
        bool last = r + 1 == t->n;
        pair_rows(c->pairs + r / 2 * LD_SCORES, x, last ? NULL : x + LD_SCORES, k->n);
        pair_rows(c->dpairs + r / 2 * LD_SCORES, dx, last ? NULL : dx + LD_SCORES, k->n);
    }
}

/* Five products: scores again, dP, then gradients of values, keys and queries. */
static void block_bwd(const struct scratch *c, const struct block *k, const struct tile *t)
{
    enum dtype type = t->s->products;
    size_t ld = ld_head(t->s), n = units(t->s->Hd, type), at = k->k0 * ld;
    bool half = type == BF16;
    block_scores(c->scores, c->q, ld, c->keys_t + turned_at(k->k0, t->s), n, k, t);
    block_scores(c->dscores, c->dout, ld, c->values_t + turned_at(k->k0, t->s), n, k, t);
    softmax_bwd(c, k, t);
    if (half)
        narrow_block(c, k, t);
    block_keys(c->dvalues + at, half ? c->pairs : c->scores, half ? c->dout_summed : c->dout, k, t);
    block_keys(c->dkeys + at, half ? c->dpairs : c->dscores, half ? c->q_summed : c->q, k, t);
    block_values(c->result, NULL, half ? c->narrow : c->dscores, LD_SCORES, c->keys + at, k, t);
}

static void put_row(float *restrict to, const float *restrict x, float factor, size_t n)
{
    for (size_t e = 0; e < n; e++)
        to[e] = x[e] * factor;
}

static void tile_bwd(float *dqkv, const struct scratch *c, const struct tile *t)
{
    struct block k;
    for (size_t k0 = t->key_first / BLOCK_KEYS * BLOCK_KEYS; k0 < t->key_end; k0 += BLOCK_KEYS) {
        block_init(&k, t, k0);
        if (!k.empty)
            block_bwd(c, &k, t);
    }
    for (size_t r = 0; r < t->n; r++)
        put_row(dqkv + query_at(t, r), c->result + r * ld_head(t->s), t->s->scale, t->s->Hd);
}

/* Gradients of one head's keys and values, once all its queries are done. */
static void head_finish(float *dqkv, const struct scratch *c, size_t b, size_t kv,
                        const struct attention_shape *s)
{
    for (size_t j = 0; j < s->T; j++) {
        float *to = dqkv + (b * s->T + j) * ld_qkv(s);
        put_row(to + key_column(s, kv), c->dkeys + j * ld_head(s), s->scale, s->Hd);
        put_row(to + value_column(s, kv), c->dvalues + j * ld_head(s), 1.0f, s->Hd);
    }
}

void attention_bwd(float *dqkv, const float *dout, const void *out, enum dtype tout,
                   const float *lse, const float *qkv, const int32_t *start,
                   const struct attention_shape *s, float *scratch)
{
    struct scratch c;
    struct tile t;
    scratch_cut(&c, scratch, s);
    for (size_t b = 0; b < s->B; b++)
        for (size_t kv = 0; kv < s->K; kv++) {
            pack_head(&c, qkv, b, kv, s);
            for (size_t row = 0; row < rows_in_all(s); row += TILE_ROWS) {
                tile_init(&t, s, start, b, kv, row);
                tile_start(&c, dout, out, tout, lse, qkv, &t);
                tile_bwd(dqkv, &c, &t);
            }
            head_finish(dqkv, &c, b, kv, s);
        }
}
