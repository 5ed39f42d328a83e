#include "kern/softmax_ce.h"

#include <math.h>

#include "rows.h"

enum {
    BLOCK = 1024,    /* logits taken at a time: they stay in the first cache */
    AHEAD = 8192,    /* logits of the next row that are asked for ahead */
    CACHE_LINE = 16, /* floats */
    MAX_TOPS = 2048, /* blocks whose maxima are kept, so that exponentials need not be redone */
};

/* Where a row's maximum starts; finite, so that rows that begin with -inf stay NaN-free. */
#define LOWEST (-1e30f)
#define LN2    0.69314718055994530942

void softcap(float *z, size_t n, float cap)
{
    if (cap == 0.0f)
        return;
    float inverse = 1.0f / cap;
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        v_store(z + j, v_tanh(v_load(z + j) * inverse) * cap);
    if (j < n)
        put(z, F32, j, n - j, v_tanh(get(z, F32, j, n - j) * inverse) * cap);
}

/* A row's softmax so far, in base 2: sum of 2^(z·log2 e - top), top the maximum's z·log2 e. */
struct running {
    float max, top;
    double sum;
};

/* The greatest of n logits and floor; a NaN never wins, it reaches the result through the sum. */
static float greatest(const float *z, size_t n, float floor)
{
    vf top[SUM_VECTORS];
    size_t j = 0;
    for (size_t k = 0; k < SUM_VECTORS; k++)
        top[k] = v_splat(floor);
    for (; j + SUM_LANES <= n; j += SUM_LANES)
        for (size_t k = 0; k < SUM_VECTORS; k++)
            top[k] = v_max(v_load(z + j + k * VL), top[k]);
    for (size_t k = 1; k < SUM_VECTORS; k++)
        top[0] = v_max(top[k], top[0]);
    floor = v_greatest(top[0]);
    for (; j < n; j++)
        floor = z[j] > floor ? z[j] : floor;
    return floor;
}

/* 2^x for x ≤ 0; 0 for -∞ as well. */
INLINE vf falling_exp2(vf x)
{
    return v_exp2(v_max(v_splat(-160.0f), x));
}

/* Logits and where their exponentials go; e NULL: nowhere. */
struct exps {
    float *e;
    const float *z;
    float top;
};

INLINE vf add_exp(vf sum, void *row, size_t j, size_t n)
{
    const struct exps *x = row;
    vf e = falling_exp2(get(x->z, F32, j, n) * VM_LOG2E - x->top);
    if (n < VL)
        e = v_select(v_lanes() < (int32_t)n, e, (vf){0});
    if (x->e)
        put(x->e, F32, j, n, e);
    return sum + e;
}

/* 2^(a - b). A row's blocks mostly share one maximum, and a short row feels the library's call. */
static double ratio_of(float a, float b)
{
    return a == b ? 1.0 : exp2((double)a - (double)b);
}

/* Takes z[n] into the maximum. */
static void raise_top(struct running *r, const float *z, size_t n)
{
    float max = greatest(z, n, r->max), top = max * VM_LOG2E;
    if (max > r->max) {
        if (r->sum > 0.0)
            r->sum *= ratio_of(r->top, top);
        r->max = max;
        r->top = top;
    }
}

/* Then into the sum: e[n] = 2^(z·log2 e - top); e may be z, or NULL. */
INLINE void absorb(struct running *r, float *e, const float *z, size_t n)
{
    struct exps x = {e, z, r->top};
    r->sum += (double)row_sum(add_exp, &x, n);
}

/* What a row's target has to do with the maximum. */
struct target_seen {
    float z;      /* its capped logit */
    int is_first; /* greater than all logits before it */
};

/* Target t of a block whose own maximum has just been taken into max. Only where it equals that is
 * there anything to look for. */
static struct target_seen see_target(const float *z, size_t t, float max_before, float max)
{
    int first = z[t] > max_before && z[t] >= max;
    for (size_t j = 0; first && j < t; j++)
        first = !(z[j] >= z[t]);
    return (struct target_seen){z[t], first};
}

/* By what the z-loss multiplies the probabilities in a row's gradient: 1 + 2·z·log Z. */
static double z_factor(float z, const struct running *r)
{
    return z == 0.0f ? 1.0 : 1.0 + 2.0 * (double)z * ((double)r->top + log2(r->sum)) * LN2;
}

/* The loss in nats. Both of its parts went through the same float log2 e, so a certain target's
 * loss is 0 and not a rounding error of its logit; what is left of one is not let below 0. */
static float row_loss(const struct running *r, float z_target)
{
    double bits = ((double)r->top - (double)z_target * (double)VM_LOG2E) + log2(r->sum);
    double nats = bits * LN2;
    return nats < 0.0 ? 0.0f : (float)nats;
}

/* One row's numbers, from the first pass. */
struct row {
    struct running run;
    struct target_seen seen;
};

/* Without a cap: logits become the exponentials, tops[] the maximum each block was taken with. */
static struct row pass_keeping(float *z, float *tops, size_t target, size_t V)
{
    struct row row = {.run = {.max = LOWEST, .top = LOWEST * VM_LOG2E}};
    for (size_t i = 0; i < V; i += BLOCK) {
        size_t n = V - i < BLOCK ? V - i : BLOCK;
        float before = row.run.max;
        raise_top(&row.run, z + i, n);
        if (target - i < n)
            row.seen = see_target(z + i, target - i, before, row.run.max);
        absorb(&row.run, z + i, z + i, n);
        tops[i / BLOCK] = row.run.top;
    }
    return row;
}

/* Where a row's gradient goes, and what it is of. */
struct gradient {
    void *to;
    size_t target, V;
    float weight, hit, miss; /* what is taken off at the target, and off every entry */
    float z;
    const float *ahead; /* the next row's logits, or this one's */
};

/* While a short row's gradient is written nothing is read, and the processor's own read-ahead loses
 * its thread: the next row's beginning is asked for meanwhile. */
INLINE void ask_ahead(struct gradient g, size_t from, size_t to)
{
    for (size_t j = from; j < to && j < AHEAD; j += CACHE_LINE)
        __builtin_prefetch(g.ahead + j, 1);
}

/* Exponentials kept → weight · softmax - miss, and - hit at the target. */
INLINE void grad_kept(struct gradient g, enum dtype t, const float *e, const float *tops,
                      const struct running *r)
{
    double share = (double)g.weight * z_factor(g.z, r) / r->sum;
    float hit = 0.0f;
    for (size_t i = 0; i < g.V; i += BLOCK) {
        size_t end = g.V - i < BLOCK ? g.V : i + BLOCK, j = i;
        float f = (float)(ratio_of(tops[i / BLOCK], r->top) * share);
        ask_ahead(g, i, end);
        if (g.target >= i && g.target < end)
            hit = e[g.target] * f - g.miss - g.hit; /* before it is written over */
        for (; j + VL <= end; j += VL)
            put(g.to, t, j, VL, v_load(e + j) * f - g.miss);
        if (j < end)
            put(g.to, t, j, end - j, get(e, F32, j, end - j) * f - g.miss);
    }
    put(g.to, t, g.target, 1, v_splat(hit));
}

/* With a cap, or with nothing to be kept: logits become capped ones where write is non-zero. */
static struct row pass_reading(float *z, size_t target, size_t V, float cap, int write)
{
    struct row row = {.run = {.max = LOWEST, .top = LOWEST * VM_LOG2E}};
    float capped[BLOCK];
    for (size_t i = 0; i < V; i += BLOCK) {
        size_t n = V - i < BLOCK ? V - i : BLOCK;
        float *zi = z + i;
        if (!write && cap != 0.0f)
            zi = memcpy(capped, zi, n * sizeof *zi);
        softcap(zi, n, cap);
        float before = row.run.max;
        raise_top(&row.run, zi, n);
        if (target - i < n)
            row.seen = see_target(zi, target - i, before, row.run.max);
        absorb(&row.run, NULL, zi, n);
    }
    return row;
}

/* Capped logits → (weight · softmax - miss) · (1 - (z/cap)²), the last only with a cap. */
struct again {
    float cap_inverse, lse, weight, miss;
};

INLINE vf slope_of(const struct again *a, vf z)
{
    vf ratio = z * a->cap_inverse;
    return 1.0f - ratio * ratio;
}

INLINE vf grad_of(const struct again *a, vf z)
{
    return (falling_exp2(z * VM_LOG2E - a->lse) * a->weight - a->miss) * slope_of(a, z);
}

INLINE void grad_again(struct gradient g, enum dtype t, const float *z, const struct running *r,
                       float cap)
{
    struct again a = {cap == 0.0f ? 0.0f : 1.0f / cap, (float)((double)r->top + log2(r->sum)),
                      (float)((double)g.weight * z_factor(g.z, r)), g.miss};
    vf zt = v_splat(z[g.target]);
    size_t j = 0;
    for (; j + VL <= g.V; j += VL)
        put(g.to, t, j, VL, grad_of(&a, v_load(z + j)));
    if (j < g.V)
        put(g.to, t, j, g.V - j, grad_of(&a, get(z, F32, j, g.V - j)));
    put(g.to, t, g.target, 1, grad_of(&a, zt) - slope_of(&a, zt) * g.hit);
}

INLINE struct row one_row(struct gradient g, enum dtype t, float *z, float cap)
{
    float tops[MAX_TOPS];
    if (g.to && cap == 0.0f && g.V <= (size_t)MAX_TOPS * BLOCK) {
        struct row row = pass_keeping(z, tops, g.target, g.V);
        grad_kept(g, t, z, tops, &row.run);
        return row;
    }
    struct row row = pass_reading(z, g.target, g.V, cap, g.to != NULL);
    if (g.to)
        grad_again(g, t, z, &row.run, cap);
    return row;
}

void softmax_ce(float *loss, uint8_t *correct, void *grad, enum dtype tg, size_t ldg, float *logits,
                size_t ldz, const int32_t *target, const float *weight, size_t n, size_t V,
                float cap, struct ce_terms also)
{
    for (size_t i = 0; i < n; i++) {
        float w = weight ? weight[i] : 1.0f;
        struct gradient g = {.to = grad ? at(grad, tg, i * ldg) : NULL,
                             .target = (size_t)target[i],
                             .V = V,
                             .weight = w,
                             .hit = w * (1.0f - also.smoothing),
                             .miss = w * also.smoothing / (float)V,
                             .z = also.z,
                             .ahead = logits + (i + 1 < n ? i + 1 : i) * ldz};
        float *z = logits + i * ldz;
        struct row row = tg == BF16 ? one_row(g, BF16, z, cap) : one_row(g, F32, z, cap);
        loss[i] = row_loss(&row.run, row.seen.z);
        if (correct)
            correct[i] = row.seen.is_first && !(row.run.max > row.seen.z);
    }
}
