#include "kern/attention.h"

#include "attn_pack.h"
#include "attn_scratch.h"
#include "attn_softmax.h"

#define LN2 0.69314718055994530942f

/* One key/value head's keys and values as operands. */
static void pack_head(const struct scratch *c, const float *qkv, size_t b, size_t kv,
                      const struct attention_shape *s)
{
    struct rows x;
    for (size_t k0 = 0; k0 < s->T; k0 += BLOCK_KEYS) {
        rows_of_block(&x, qkv, b, k0, key_column(s, kv), s);
        pack_transposed(c->keys_t + k0 / BLOCK_KEYS * s->Hd * LD_SCORES, &x, s->products);
        rows_of_block(&x, qkv, b, k0, value_column(s, kv), s);
        pack_summed_rows(c->values + k0 * ld_head(s), ld_head(s), &x, s->products);
    }
}

static void tile_start(const struct scratch *c, const float *qkv, const struct tile *t)
{
    struct rows x = {.n = t->n, .Hd = t->s->Hd};
    for (size_t r = 0; r < t->n; r++)
        x.at[r] = qkv + query_at(t, r);
    pack_rows(c->q, ld_head(t->s), &x, t->s->products);
    memset(c->result, 0, TILE_ROWS * ld_head(t->s) * sizeof *c->result);
    memset(c->sums, 0, TILE_ROWS * VL * sizeof *c->sums);
    for (size_t r = 0; r < TILE_ROWS; r++)
        c->top[r] = MASKED;
}

/* Takes the block's maximum into the row's and returns by how much the exponents shrink. */
static float raise_top(float *top, const float *x, const struct span *v, float scale)
{
    vf most = v_splat(MASKED);
    for (size_t j = v->from; j < v->to; j += VL)
        most = v_max(v_load(x + j), most);
    float was = *top, now = v_greatest(most) * scale;
    *top = now > was ? now : was;
    return was - *top;
}

/* Every row's new maximum; factor: what its earlier sums then count. */
static void raise_tops(const struct scratch *c, const struct block *k, const struct tile *t)
{
    float scale = exponent_scale(t->s);
    for (size_t r = 0; r < t->n; r++) {
        struct span v = span_of(k, r);
        float *x = c->scores + r * LD_SCORES;
        c->factor[r] = 0.0f;
        if (v.lo == v.hi)
            continue;
        finish_scores(x, &v, t->s);
        c->factor[r] = raise_top(&c->top[r], x, &v, scale);
    }
    for (size_t r = 0; r < t->n; r += VL)
        v_store(c->factor + r, v_exp2(v_load(c->factor + r)));
}

/* One row of scores → weights 2^(score - top). */
static void weigh_row(float *x, float *sums, float factor, float top, float scale,
                      const struct span *v)
{
    vf sum = v_load(sums) * factor;
    for (size_t j = v->from; j < v->to; j += VL) {
        vf w = v_exp2(v_load(x + j) * scale - top);
        v_store(x + j, w);
        sum += w;
    }
    v_store(sums, sum);
}

static void narrow_row(float *to, const float *x, size_t n)
{
    for (size_t j = 0; j < n; j += 2 * VL)
        v_store(to + j / 2, v_narrow(v_load(x + j), v_load(x + j + VL)));
}

static void weigh_rows(const struct scratch *c, const struct block *k, const struct tile *t)
{
    float scale = exponent_scale(t->s);
    for (size_t r = 0; r < t->n; r++) {
        struct span v = span_of(k, r);
        float *x = c->scores + r * LD_SCORES;
        weigh_row(x, c->sums + r * VL, c->factor[r], c->top[r], scale, &v);
        clear_unseen(x, &v, round_up(k->n, 2 * VL));
        if (t->s->products == BF16)
            narrow_row(c->narrow + r * LD_SCORES, x, k->n);
    }
}

static void block_fwd(const struct scratch *c, const struct block *k, const struct tile *t)
{
    size_t Hd = t->s->Hd, ld = ld_head(t->s);
    enum dtype type = t->s->products;
    block_scores(c->scores, c->q, ld, c->keys_t + k->k0 / BLOCK_KEYS * Hd * LD_SCORES,
                 units(Hd, type), k, t);
    raise_tops(c, k, t);
    weigh_rows(c, k, t);
    block_values(c->result, c->factor, type == BF16 ? c->narrow : c->scores, LD_SCORES,
                 c->values + k->k0 * ld, k, t);
}

/* out[n] of type tout from x·factor; x is used up. */
static void put_row(void *out, enum dtype tout, size_t at, float *x, float factor, size_t n)
{
    float *to = tout == F32 ? (float *)out + at : x;
    for (size_t e = 0; e < n; e++)
        to[e] = x[e] * factor;
    if (tout == BF16)
        bf16_narrow((uint16_t *)out + at, x, n);
}

static void tile_finish(void *out, enum dtype tout, float *lse, const struct scratch *c,
                        const struct tile *t)
{
    for (size_t r = 0; r < t->n; r++) {
        float sum = v_sum(v_load(c->sums + r * VL));
        put_row(out, tout, out_at(t, r), c->result + r * ld_head(t->s), 1.0f / sum, t->s->Hd);
        if (lse)
            lse[lse_at(t, r)] = (c->top[r] + vm_log2(sum)) * LN2;
    }
}

static void tile_fwd(void *out, enum dtype tout, float *lse, const float *qkv,
                     const struct scratch *c, const struct tile *t)
{
    struct block k;
    tile_start(c, qkv, t);
    for (size_t k0 = t->key_first / BLOCK_KEYS * BLOCK_KEYS; k0 < t->key_end; k0 += BLOCK_KEYS) {
        block_init(&k, t, k0);
        if (!k.empty)
            block_fwd(c, &k, t);
    }
    tile_finish(out, tout, lse, c, t);
}

void attention_fwd(void *out, enum dtype tout, float *lse, const float *qkv, const int32_t *start,
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
                tile_fwd(out, tout, lse, qkv, &c, &t);
            }
        }
}
