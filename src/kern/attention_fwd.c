#include "kern/attention.h"

#include "attn_block.h"
#include "attn_pack.h"
#include "attn_scratch.h"
#include "attn_softmax.h"

#define LN2 0.69314718055994530942f

/* One key/value head's keys and values as operands. */
static void pack_head(const struct scratch *c, const float *qkv, const struct place *p,
                      const struct attention_shape *s)
{
    struct rows x;
    for (size_t k0 = 0; k0 < s->T; k0 += BLOCK_KEYS) {
        rows_of_block(&x, qkv, key_column(s, p->kv), k0, p, s);
        pack_transposed(c->keys_t + k0 / BLOCK_KEYS * s->Hd * LD_SCORES, &x, s->products);
        rows_of_block(&x, qkv, value_column(s, p->kv), k0, p, s);
        pack_summed_rows(c->summed + k0 * ld_head(s), ld_head(s), &x, s->products);
    }
}

static void tile_start(const struct scratch *c, const float *qkv, const struct tile *t)
{
    struct rows x = {.n = t->n, .Hd = t->s->Hd};
    for (size_t r = 0; r < t->n; r++)
        x.at[r] = qkv + query_at(t, r);
    pack_rows(c->q, ld_head(t->s), &x, t->s->products);
    memset(c->sums, 0, TILE_ROWS * VL * sizeof *c->sums);
    for (size_t r = 0; r < TILE_ROWS; r++)
        c->top[r] = LOWEST_TOP;
}

/* Takes a maximum into the row's; *shrink: by how much the exponents of earlier sums shrink. */
static void raise_top(float *top, float *shrink, float most)
{
    float was = *top;
    *top = most > was ? most : was;
    *shrink = was - *top;
}

/* Two rows' maxima over the vectors v. */
static void raise_two(const struct scratch *c, size_t r, struct span v, float scale)
{
    const float *x = c->scores + r * LD_SCORES, *y = x + LD_SCORES;
    vf a = v_splat(MASKED), b = a;
    for (size_t j = v.from; j < v.to; j += VL) {
        a = v_max(v_load(x + j), a);
        b = v_max(v_load(y + j), b);
    }
    raise_top(&c->top[r], &c->factor[r], v_greatest(a) * scale);
    raise_top(&c->top[r + 1], &c->factor[r + 1], v_greatest(b) * scale);
}

/* Every row's new maximum; factor: what its earlier sums then count. */
static void raise_tops(const struct scratch *c, const struct block *k, const struct tile *t)
{
    float scale = exponent_scale(t->s);
    for (size_t g = 0; g * MICRO_ROWS < t->n; g++) {
        struct span v = group_vectors(k, g, t->s->products == BF16 ? 2 * VL : VL);
        finish_scores(c->scores + g * MICRO_ROWS * LD_SCORES, k, g, v, t->s);
        for (size_t r = g * MICRO_ROWS; r < (g + 1) * MICRO_ROWS; r += 2)
            raise_two(c, r, v, scale);
    }
    for (size_t r = 0; r < t->n; r += VL)
        v_store(c->factor + r, v_exp2(v_load(c->factor + r)));
}

/* Scores → weights 2^(score - top): one vector of a row. */
INLINE vf weigh(const float *x, float scale, float top, vf *sum)
{
    vf w = v_exp2(v_load(x) * scale - top);
    *sum += w;
    return w;
}

/* Two rows; the weights take the scores' place, or go narrow where the products want them so. */
INLINE void weigh_two(const struct scratch *c, size_t r, struct span v, float scale,
                      enum dtype type)
{
    float *x = c->scores + r * LD_SCORES, *y = x + LD_SCORES;
    float *nx = c->narrow + r * LD_SCORES, *ny = nx + LD_SCORES;
    float top_x = c->top[r], top_y = c->top[r + 1];
    vf sum_x = v_load(c->sums + r * VL) * c->factor[r];
    vf sum_y = v_load(c->sums + (r + 1) * VL) * c->factor[r + 1];
    for (size_t j = v.from; type == F32 && j < v.to; j += VL) {
        v_store(x + j, weigh(x + j, scale, top_x, &sum_x));
        v_store(y + j, weigh(y + j, scale, top_y, &sum_y));
    }
    for (size_t j = v.from; type == BF16 && j < v.to; j += 2 * VL) {
        vf a = weigh(x + j, scale, top_x, &sum_x), b = weigh(y + j, scale, top_y, &sum_y);
        v_store(nx + j / 2, v_narrow(a, weigh(x + j + VL, scale, top_x, &sum_x)));
        v_store(ny + j / 2, v_narrow(b, weigh(y + j + VL, scale, top_y, &sum_y)));
    }
    v_store(c->sums + r * VL, sum_x);
    v_store(c->sums + (r + 1) * VL, sum_y);
}

static void weigh_rows(const struct scratch *c, const struct block *k, const struct tile *t)
{
    float scale = exponent_scale(t->s);
    for (size_t r = 0; r < t->n; r += 2)
        if (t->s->products == BF16)
            weigh_two(c, r, group_vectors(k, r / MICRO_ROWS, 2 * VL), scale, BF16);
        else
            weigh_two(c, r, group_vectors(k, r / MICRO_ROWS, VL), scale, F32);
}

static void block_fwd(const struct scratch *c, const struct block *k, const struct tile *t,
                      bool first)
{
    size_t Hd = t->s->Hd, ld = ld_head(t->s);
    enum dtype type = t->s->products;
    block_scores(c->scores, c->q, ld, c->keys_t + k->k0 / BLOCK_KEYS * Hd * LD_SCORES,
                 units(Hd, type), k, t);
    raise_tops(c, k, t);
    weigh_rows(c, k, t);
    block_values(c->result, first ? NEW : SCALED, c->factor, type == BF16 ? c->narrow : c->scores,
                 c->summed + k->k0 * ld, k, t);
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

/* Sums → what the outputs are still to be multiplied with, and top → log-sum-exp in base 2. */
static void finish_rows(const struct scratch *c, const struct tile *t)
{
    for (size_t r = 0; r < t->n; r++)
        c->factor[r] = v_sum(v_load(c->sums + r * VL));
    for (size_t r = 0; r < t->n; r += VL) {
        vf sum = v_load(c->factor + r);
        v_store(c->top + r, v_load(c->top + r) + v_log2(sum));
        v_store(c->factor + r, 1.0f / sum);
    }
}

/* The greatest score of any row, before top becomes a log-sum-exp; NaN loses against numbers. */
static float greatest_top(const struct scratch *c, const struct tile *t)
{
    float most = LOWEST_TOP;
    for (size_t r = 0; r < t->n; r++)
        most = c->top[r] > most ? c->top[r] : most;
    return most;
}

static void tile_finish(void *out, enum dtype tout, float *lse, const struct scratch *c,
                        const struct tile *t)
{
    finish_rows(c, t);
    for (size_t r = 0; r < t->n; r++)
        put_row(out, tout, out_at(t, r), c->result + r * ld_head(t->s), c->factor[r], t->s->Hd);
    for (size_t r = 0; lse && r < t->n; r++)
        lse[lse_at(t, r)] = c->top[r] * LN2;
}

/* Returns the greatest score as an exponent of 2. */
static float tile_fwd(void *out, enum dtype tout, float *lse, const float *qkv,
                     const struct scratch *c, const struct tile *t)
{
    struct block k;
    bool first = true;
    tile_start(c, qkv, t);
    for (size_t k0 = t->key_first / BLOCK_KEYS * BLOCK_KEYS; k0 < t->key_end; k0 += BLOCK_KEYS) {
        block_init(&k, t, k0);
        if (k.empty)
            continue;
        block_fwd(c, &k, t, first);
        first = false;
    }
    float most = greatest_top(c, t);
    tile_finish(out, tout, lse, c, t);
    return most;
}

float attention_fwd(void *out, enum dtype tout, float *lse, const float *qkv, const int32_t *start,
                    const struct attention_shape *s, float *scratch)
{
    float most = LOWEST_TOP;
    struct scratch c;
    struct tile t;
    struct place p = {0};
    scratch_cut(&c, scratch, s);
    if (s->B * s->T == 0)
        return most;
    do {
        if (p.row == 0)
            pack_head(&c, qkv, &p, s);
        tile_init(&t, &p, start, s);
        float here = tile_fwd(out, tout, lse, qkv, &c, &t);
        most = here > most ? here : most;
    } while (place_next(&p, s));
    return most * LN2;
}
