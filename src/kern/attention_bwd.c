#include "kern/attention.h"

#include "attn_block.h"
#include "attn_pack.h"
#include "attn_scratch.h"
#include "attn_softmax.h"

static size_t turned_at(size_t k0, const struct attention_shape *s)
{
    return k0 / BLOCK_KEYS * s->Hd * LD_SCORES;
}

/* What a tile reads and writes. */
struct gradients {
    float *dqkv;
    const float *dout, *lse, *qkv;
    const void *out;
    enum dtype tout;
};

/* One key/value head's keys and values as operands. */
static void pack_head(const struct scratch *c, const float *qkv, const struct place *p,
                      const struct attention_shape *s)
{
    struct rows x;
    size_t ld = ld_head(s);
    for (size_t k0 = 0; k0 < s->T; k0 += BLOCK_KEYS) {
        rows_of_block(&x, qkv, key_column(s, p->kv), k0, p, s);
        pack_transposed(c->keys_t + turned_at(k0, s), &x, s->products);
        pack_summed_rows(c->summed + k0 * ld, ld, &x, s->products);
        rows_of_block(&x, qkv, value_column(s, p->kv), k0, p, s);
        pack_transposed(c->values_t + turned_at(k0, s), &x, s->products);
    }
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
static void tile_start(const struct scratch *c, const struct gradients *x, const struct tile *t)
{
    enum dtype type = t->s->products;
    size_t ld = ld_head(t->s);
    struct rows q = {.n = t->n, .Hd = t->s->Hd}, g = q;
    for (size_t r = 0; r < t->n; r++) {
        q.at[r] = x->qkv + query_at(t, r);
        g.at[r] = x->dout + out_at(t, r);
        c->factor[r] = row_delta(g.at[r], x->out, x->tout, out_at(t, r), t->s);
        c->top[r] = x->lse[lse_at(t, r)] * VM_LOG2E;
    }
    pack_rows(c->q, ld, &q, type);
    pack_rows(c->dout, ld, &g, type);
    if (type == BF16) {
        pack_row_pairs(c->q_summed, ld, &q);
        pack_row_pairs(c->dout_summed, ld, &g);
    }
    for (size_t r = t->n; r < TILE_ROWS; r++) /* rows of a group that do not exist */
        c->factor[r] = c->top[r] = 0.0f;
}

/* One vector: score → P (*p) and, returned, the gradient of the score but for its scale, from dP:
 * P·(dP - delta), times 1 - tanh² when capped. */
INLINE vf score_bwd(vf *p, const float *x, const float *dx, float scale, float lse2, float delta,
                    bool capped)
{
    vf s = v_load(x), d;
    *p = v_exp2(s * scale - lse2);
    d = *p * (v_load(dx) - delta);
    return capped ? d * (1.0f - s * s) : d;
}

/* A row's vectors v, both results in place. */
INLINE void row_bwd(const struct scratch *c, size_t r, struct span v, float scale, bool capped)
{
    float *x = c->scores + r * LD_SCORES, *dx = c->dscores + r * LD_SCORES;
    float lse2 = c->top[r], delta = c->factor[r];
    for (size_t j = v.from; j < v.to; j += VL) {
        vf p, d = score_bwd(&p, x + j, dx + j, scale, lse2, delta, capped);
        v_store(x + j, p);
        v_store(dx + j, d);
    }
}

/* Two rows' vectors v as bfloat16: P by pairs of rows, the gradient by pairs of rows and of keys.
 */
INLINE void two_rows_bwd(const struct scratch *c, size_t r, struct span v, float scale, bool capped)
{
    const float *x = c->scores + r * LD_SCORES, *dx = c->dscores + r * LD_SCORES;
    float *pairs = c->pairs + r / 2 * LD_SCORES, *dpairs = c->dpairs + r / 2 * LD_SCORES;
    float *narrow = c->narrow + r * LD_SCORES;
    float lse2[2] = {c->top[r], c->top[r + 1]}, delta[2] = {c->factor[r], c->factor[r + 1]};
    for (size_t j = v.from; j < v.to; j += 2 * VL) {
        vf kept[2];
        for (size_t h = 0; h < 2; h++) {
            size_t i = j + h * VL, below = i + LD_SCORES;
            vf p, q, d = score_bwd(&p, x + i, dx + i, scale, lse2[0], delta[0], capped);
            vf e = score_bwd(&q, x + below, dx + below, scale, lse2[1], delta[1], capped);
            v_store(pairs + i, v_pair(p, q));
            v_store(dpairs + i, v_pair(d, e));
            if (h == 0) {
                kept[0] = d, kept[1] = e;
                continue;
            }
            v_store(narrow + j / 2, v_narrow(kept[0], d));
            v_store(narrow + LD_SCORES + j / 2, v_narrow(kept[1], e));
        }
    }
}

/* Zeros in a row of units where its group sees nothing: other groups' rows are summed with it. */
static void clear_unseen(float *x, struct span v, size_t n)
{
    for (size_t j = 0; j < v.from; j += VL)
        v_store(x + j, (vf){0});
    for (size_t j = v.to; j < n; j += VL)
        v_store(x + j, (vf){0});
}

INLINE void group_bwd(const struct scratch *c, const struct block *k, size_t g,
                      const struct attention_shape *s, bool half, bool capped)
{
    float scale = exponent_scale(s), *p = half ? c->pairs : c->scores;
    float *d = half ? c->dpairs : c->dscores;
    struct span v = group_vectors(k, g, half ? 2 * VL : VL);
    finish_scores(c->scores + g * MICRO_ROWS * LD_SCORES, k, g, v, s);
    mask_group(c->dscores + g * MICRO_ROWS * LD_SCORES, k, g, v, 0.0f);
    for (size_t r = g * MICRO_ROWS; r < (g + 1) * MICRO_ROWS; r += half ? 2 : 1) {
        size_t unit = half ? r / 2 : r;
        if (half)
            two_rows_bwd(c, r, v, scale, capped);
        else
            row_bwd(c, r, v, scale, capped);
        clear_unseen(p + unit * LD_SCORES, v, k->n);
        clear_unseen(d + unit * LD_SCORES, v, k->n);
    }
}

static void softmax_bwd(const struct scratch *c, const struct block *k, const struct tile *t)
{
    bool half = t->s->products == BF16, capped = t->s->cap != 0.0f;
    for (size_t g = 0; g * MICRO_ROWS < t->n; g++)
        if (half && capped)
            group_bwd(c, k, g, t->s, true, true);
        else if (half)
            group_bwd(c, k, g, t->s, true, false);
        else if (capped)
            group_bwd(c, k, g, t->s, false, true);
        else
            group_bwd(c, k, g, t->s, false, false);
}

/* Five products: scores again, dP, then gradients of values, keys and queries. */
static void block_bwd(const struct scratch *c, const struct block *k, const struct tile *t,
                      bool first)
{
    enum dtype type = t->s->products;
    size_t ld = ld_head(t->s), n = units(t->s->Hd, type), at = k->k0 * ld;
    bool half = type == BF16;
    /* Tiles come in order of positions, so the first to see a block's keys starts their sums. */
    enum onto keys = k->k0 >= t->key_known ? NEW : ADDED;
    block_scores(c->scores, c->q, ld, c->keys_t + turned_at(k->k0, t->s), n, k, t);
    block_scores(c->dscores, c->dout, ld, c->values_t + turned_at(k->k0, t->s), n, k, t);
    softmax_bwd(c, k, t);
    block_keys(c->dvalues + at, keys, half ? c->pairs : c->scores, half ? c->dout_summed : c->dout,
               k, t);
    block_keys(c->dkeys + at, keys, half ? c->dpairs : c->dscores, half ? c->q_summed : c->q, k, t);
    block_values(c->result, first ? NEW : ADDED, c->factor, half ? c->narrow : c->dscores,
                 c->summed + at, k, t);
}

static void put_row(float *restrict to, const float *restrict x, float factor, size_t n)
{
    for (size_t e = 0; e < n; e++)
        to[e] = x[e] * factor;
}

static void tile_bwd(const struct gradients *x, const struct scratch *c, const struct tile *t)
{
    struct block k;
    bool first = true;
    tile_start(c, x, t);
    for (size_t k0 = t->key_first / BLOCK_KEYS * BLOCK_KEYS; k0 < t->key_end; k0 += BLOCK_KEYS) {
        block_init(&k, t, k0);
        if (k.empty)
            continue;
        block_bwd(c, &k, t, first);
        first = false;
    }
    for (size_t r = 0; r < t->n; r++)
        put_row(x->dqkv + query_at(t, r), c->result + r * ld_head(t->s), t->s->scale, t->s->Hd);
}

/* Gradients of one head's keys and values, once all its queries are done. */
static void head_finish(float *dqkv, const struct scratch *c, const struct place *p,
                        const struct attention_shape *s)
{
    for (size_t j = 0; j < s->T; j++) {
        float *to = dqkv + (p->b * s->T + j) * ld_qkv(s);
        put_row(to + key_column(s, p->kv), c->dkeys + j * ld_head(s), s->scale, s->Hd);
        put_row(to + value_column(s, p->kv), c->dvalues + j * ld_head(s), 1.0f, s->Hd);
    }
}

void attention_bwd(float *dqkv, const float *dout, const void *out, enum dtype tout,
                   const float *lse, const float *qkv, const int32_t *start,
                   const struct attention_shape *s, float *scratch)
{
    const struct gradients x = {dqkv, dout, lse, qkv, out, tout};
    struct scratch c;
    struct tile t;
    struct place p = {0};
    scratch_cut(&c, scratch, s);
    if (s->B * s->T == 0)
        return;
    do {
        if (p.row == 0)
            pack_head(&c, qkv, &p, s);
        tile_init(&t, &p, start, s);
        tile_bwd(&x, &c, &t);
        if (p.row + TILE_ROWS >= rows_in_all(s))
            head_finish(dqkv, &c, &p, s);
    } while (place_next(&p, s));
}
