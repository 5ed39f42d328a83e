/* Tiny models of each family at sizes that no vector width divides, with weights and batches. */
#ifndef CARAT_MODEL_TINY_H
#define CARAT_MODEL_TINY_H

#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "model/model.h"

enum { TINY_B = 2, TINY_T = 11, TINY_N = TINY_B * TINY_T };

/* Windows shorter than the sequence, both kinds of layers, caps low enough to bend the scores. */
static inline struct model_spec tiny_spec(int family)
{
    static const struct {
        const char *field;
        double value[3];
    } rows[] = {
        {"vocab", {37, 41, 43}}, {"width", {13, 11, 14}},     {"layers", {2, 3, 4}},
        {"heads", {3, 4, 6}},    {"kv_heads", {1, 2, 3}},     {"head_dim", {6, 10, 4}},
        {"ffn", {17, 9, 19}},    {"eps", {1e-6, 1e-5, 1e-4}}, {"rope_theta", {50, 100, 200}},
    };
    struct model_spec s;
    spec_defaults(&s, family);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_int_eq(spec_set(&s, rows[i].field, rows[i].value[family - 1]), 0);
    if (family > 1) {
        ck_assert_int_eq(spec_set(&s, "window", family == 2 ? 4 : 3), 0);
        ck_assert_int_eq(spec_set(&s, "query_scalar", family == 2 ? 7 : 5), 0);
    }
    if (family == 2) {
        ck_assert_int_eq(spec_set(&s, "attn_cap", 1.5), 0);
        ck_assert_int_eq(spec_set(&s, "final_cap", 2.5), 0);
    }
    if (family == 3) {
        ck_assert_int_eq(spec_set(&s, "pattern", 3), 0);
        ck_assert_int_eq(spec_set(&s, "rope_factor", 4), 0);
        ck_assert_int_eq(spec_set(&s, "rope_theta_local", 20), 0);
    }
    ck_assert_int_eq(spec_check(&s), 0);
    return s;
}

/* Uniform in ±0.6, the norms' too: large enough that each matters. Gaps stay zero. Free with
 * mem_free. */
static inline float *tiny_params(const struct tensor_table *t, uint64_t seed)
{
    float *w;
    ck_assert_int_eq(mem_alloc(&w, t->n_elems, sizeof *w, "test weights"), 0);
    for (int i = 0; i < t->n; i++)
        for (size_t j = 0; j < t->row[i].n; j++)
            w[t->row[i].offset + j] = (float)(1.2 * rng_uniform(seed, (uint64_t)i, j) - 0.6);
    return w;
}

/* Tokens and targets below V, some targets uncounted, two documents in each sequence. */
struct tiny_batch {
    int32_t token[TINY_N], target[TINY_N], start[TINY_N];
    float weight[TINY_N];
    struct batch_view view;
};

static inline void tiny_batch_fill(struct tiny_batch *b, int V, uint64_t seed)
{
    for (int i = 0; i < TINY_N; i++) {
        int p = i % TINY_T, second = i < TINY_T ? 4 : 7;
        b->token[i] = (int32_t)(rng_uniform(seed, 1, (uint64_t)i) * V);
        b->target[i] = (int32_t)(rng_uniform(seed, 2, (uint64_t)i) * V);
        b->weight[i] = i % 5 == 3 ? 0 : 1;
        b->start[i] = p < second ? 0 : second;
    }
    b->view = (struct batch_view){.B = TINY_B,
                                  .T = TINY_T,
                                  .token = b->token,
                                  .target = b->target,
                                  .weight = b->weight,
                                  .start = b->start};
}

#endif
