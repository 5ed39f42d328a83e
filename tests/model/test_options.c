/* What a model can be made for besides single precision and memory for everything: products in
 * bfloat16, activations computed again. */
#include "base/err.h"
#include "kern/gemm.h"
#include "kern/gemm16.h"
#include "ref/gemma_ref.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

/* How much rounding weights to bfloat16 moves the gradients of a model is the model's own matter.
 * Its products round two operands, and of gradients one more, of about the same relative size: with
 * weights alone as the measure, √3 times as much is to be expected, and this is the most. */
#define MOST_16 4.0
/* Any one tensor: a product that is wrong is off by its whole size. */
#define TOL_TENSOR_16 0.3
/* A loss sums over positions, whose errors are independent: 0.2 % was seen. */
#define TOL_LOSS_16 5e-3
/* float32 through two layers (see test_model.c). */
#define TOL_FORWARD 2e-5

static const enum recompute ways[] = {RECOMPUTE_NONE, RECOMPUTE_SELECTIVE, RECOMPUTE_FULL};

/* One pass of a model made for something. */
struct run {
    struct model *m;
    const struct tensor_table *t;
    float *params, *grads;
    struct pass_result result;
    struct tiny_batch batch;
};

static void make(struct run *r, const struct model_spec *s, const struct model_options *o)
{
    ck_assert_msg(model_new(&r->m, s, TINY_B, TINY_T, o) == OK, "%s", err_message());
    ck_assert_int_eq(model_set_forms(r->m, NULL), OK);
    r->t = model_tensors(r->m);
    r->params = tiny_params(r->t, 7);
    r->grads = tiny_params(r->t, 8);
    tiny_batch_fill(&r->batch, s->V, (uint64_t)(40 + s->family));
}

static void pass(struct run *r)
{
    model_pack(r->m, r->params, 0, 1);
    model_grad(r->m, r->params, &r->batch.view, r->grads, &r->result, NULL, NULL);
}

static void drop(struct run *r)
{
    model_free(r->m);
    mem_free(r->params);
    mem_free(r->grads);
}

static void same_bits(const struct run *a, const struct run *b)
{
    ck_assert_mem_eq(&a->result, &b->result, sizeof a->result);
    ck_assert_mem_eq(a->grads, b->grads, a->t->n_elems * sizeof *a->grads);
}

static bool has_bf16(void)
{
    if (gemm16_missing() != NULL)
        printf("SKIP: bfloat16: %s\n", gemm16_missing());
    return gemm16_missing() == NULL;
}

/* Rows that are a multiple of 4 KiB long, which are laid further apart. */
static struct model_spec wide_spec(int family)
{
    struct model_spec s = tiny_spec(family);
    const struct {
        const char *field;
        double value;
    } rows[] = {{"vocab", 2048}, {"ffn", 1024}, {"heads", 4}, {"kv_heads", 2}, {"head_dim", 256}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_int_eq(spec_set(&s, rows[i].field, rows[i].value), OK);
    if (family > 1)
        ck_assert_int_eq(spec_set(&s, "query_scalar", 256), OK);
    ck_assert_int_eq(spec_check(&s), OK);
    return s;
}

/* ---- recomputation ---- */

static void all_ways(const struct model_spec *s, enum dtype products)
{
    struct run first;
    size_t before = SIZE_MAX;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct model_options o = {
            .training = true, .products = products, .recompute = ways[i]};
        struct run r;
        make(&r, s, &o);
        pass(&r);
        pass(&r); /* over what the first one left behind */
        ck_assert_uint_lt(model_bytes(s, TINY_B, TINY_T, &o), before);
        before = model_bytes(s, TINY_B, TINY_T, &o);
        if (i > 0)
            same_bits(&first, &r);
        if (i > 0)
            drop(&r);
        else
            first = r;
    }
    drop(&first);
}

START_TEST(recomputation_changes_no_bit)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        all_ways(&s, F32);
        if (has_bf16())
            all_ways(&s, BF16);
    }
}
END_TEST

/* Logits in several chunks, which add up in the embedding's gradient: 512 rows of 32768 take three
 * in the layers' gradients, and would take eight in memory of their own. */
START_TEST(recomputation_changes_no_bit_of_many_logits)
{
    enum { B = 4, T = 512 };
    static int32_t token[B * T], target[B * T];
    const struct {
        const char *field;
        double value;
    } sizes[] = {{"vocab", 32768}, {"width", 256}, {"layers", 4}, {"ffn", 2048}};
    struct model_spec s = tiny_spec(1);
    float *grads[sizeof ways / sizeof *ways], *w = NULL;
    size_t n = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        ck_assert_int_eq(spec_set(&s, sizes[i].field, sizes[i].value), OK);
    for (int i = 0; i < B * T; i++) {
        token[i] = (i * 7919) % s.V;
        target[i] = (i * 104729 + 5) % s.V;
    }
    const struct batch_view b = {.B = B, .T = T, .token = token, .target = target};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct model *m;
        struct pass_result result;
        ck_assert_int_eq(model_new(&m, &s, B, T,
                                   &(struct model_options){
                                       .training = true, .products = F32, .recompute = ways[i]}),
                         OK);
        const struct tensor_table *t = model_tensors(m);
        if (i == 0)
            w = tiny_params(t, 3);
        grads[i] = tiny_params(t, 4);
        n = t->n_elems;
        /* Small, so that every row says something of every logit. */
        for (size_t j = 0; i == 0 && j < n; j++)
            w[j] *= 0.05f;
        model_grad(m, w, &b, grads[i], &result, NULL, NULL);
        ck_assert_mem_eq(grads[i], grads[0], n * sizeof **grads);
        model_free(m);
    }
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        mem_free(grads[i]);
    mem_free(w);
}
END_TEST

START_TEST(bytes_are_exact)
{
    struct model_spec s = tiny_spec(3);
    for (int p = F32; p <= (gemm16_missing() == NULL ? BF16 : F32); p++)
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
            for (int training = 0; training <= 1; training++) {
                const struct model_options o = {
                    .training = training, .products = (enum dtype)p, .recompute = ways[i]};
                struct model *m;
                size_t before = mem_bytes();
                ck_assert_int_eq(model_new(&m, &s, 3, 50, &o), OK);
                ck_assert_uint_eq(model_bytes(&s, 3, 50, &o), mem_bytes() - before);
                ck_assert_int_eq(model_set_forms(m, NULL), OK);
                ck_assert_uint_eq(model_bytes(&s, 3, 50, &o) + model_forms_bytes(&s, o.products),
                                  mem_bytes() - before);
                model_free(m);
                ck_assert_uint_eq(mem_bytes(), before);
            }
}
END_TEST

/* Full keeps each layer's input and two numbers of norms a position, whatever the layer is made of.
 */
START_TEST(full_keeps_inputs_alone)
{
    const struct model_options o = {.training = true, .products = F32, .recompute = RECOMPUTE_FULL};
    struct model_spec s = tiny_spec(3), deep = s;
    ck_assert_int_eq(spec_set(&deep, "layers", 100), OK);
    size_t n = 4 * 64, layers = 100 - (size_t)s.L;
    size_t rows = layers * (tensors_count(&deep) - tensors_count(&s)) / layers;
    ck_assert_uint_eq(model_bytes(&deep, 4, 64, &o) - model_bytes(&s, 4, 64, &o),
                      layers * n * (size_t)(s.D + 2) * sizeof(float) +
                          rows * sizeof(struct tensor));
}
END_TEST

/* ---- bfloat16 ---- */

/* |a - b| / |b| over the gradients of tensor t. */
static double distance(const struct run *a, const struct run *b, const struct tensor *t)
{
    double off = 0, size = 0;
    for (size_t i = t->offset; i < t->offset + t->n; i++) {
        double d = (double)a->grads[i] - b->grads[i];
        off += d * d;
        size += (double)b->grads[i] * b->grads[i];
    }
    return sqrt(off / size);
}

/* The mean square over tensors. */
static double mean_distance(const struct run *a, const struct run *b)
{
    double sum = 0;
    for (int i = 0; i < a->t->n; i++)
        sum += pow(distance(a, b, &a->t->row[i]), 2);
    return sqrt(sum / a->t->n);
}

/* Matrices that keep the size of what passes them, so that small changes stay small. */
static void calm(struct run *r)
{
    for (int i = 0; i < r->t->n; i++) {
        const struct tensor *t = &r->t->row[i];
        for (size_t j = 0; t->n_dims == 2 && j < t->n; j++)
            r->params[t->offset + j] *= (float)(2.9 / sqrt((double)t->dims[1]));
    }
}

static void run_calm(struct run *r, const struct model_spec *s, enum dtype products, bool rounded)
{
    make(r, s,
         &(struct model_options){
             .training = true, .products = products, .recompute = RECOMPUTE_NONE});
    calm(r);
    for (size_t i = 0; rounded && i < r->t->n_elems; i++)
        r->params[i] = bf16_to_f32(f32_to_bf16(r->params[i]));
    pass(r);
}

/* bfloat16 beside single precision: close in everything, the same in nothing. */
static void compare_precisions(const struct model_spec *s)
{
    struct run half, rounded, full;
    run_calm(&half, s, BF16, false);
    run_calm(&rounded, s, F32, true);
    run_calm(&full, s, F32, false);
    double expected = mean_distance(&rounded, &full), got = mean_distance(&half, &full);
    ck_assert_msg(got > 0 && got <= MOST_16 * expected, "off by %g, rounding weights by %g", got,
                  expected);
    for (int i = 0; i < half.t->n; i++) {
        double off = distance(&half, &full, &half.t->row[i]);
        ck_assert_msg(off <= TOL_TENSOR_16, "%s is off by %g", half.t->row[i].name, off);
    }
    ck_assert_double_ne(half.result.loss_sum, full.result.loss_sum);
    ck_assert_double_eq_tol(half.result.loss_sum, full.result.loss_sum,
                            TOL_LOSS_16 * full.result.loss_sum);
    drop(&half);
    drop(&rounded);
    drop(&full);
}

START_TEST(bf16_is_close_to_fp32)
{
    for (int family = 1; has_bf16() && family <= 3; family++) {
        struct model_spec s = tiny_spec(family), wide = wide_spec(family);
        compare_precisions(&s);
        compare_precisions(&wide);
    }
}
END_TEST

/* The loss alone and the logits are the training pass's. */
START_TEST(bf16_agrees_with_itself)
{
    for (int family = 1; has_bf16() && family <= 3; family++) {
        struct model_spec s = wide_spec(family);
        size_t V = (size_t)s.V;
        struct run r;
        struct pass_result loss;
        float *logits = malloc(TINY_N * V * sizeof *logits), token_loss[TINY_N];
        make(&r, &s,
             &(struct model_options){
                 .training = true, .products = BF16, .recompute = RECOMPUTE_NONE});
        pass(&r);
        model_loss(r.m, r.params, &r.batch.view, &loss, token_loss);
        ck_assert_mem_eq(&loss, &r.result, sizeof loss);
        model_logits(r.m, r.params, &r.batch.view, logits);
        for (size_t i = 0; i < TINY_N; i++) {
            double sum = exp(logits[i * V]);
            for (size_t v = 1; v < V; v++)
                sum += exp(logits[i * V + v]);
            ck_assert_double_eq_tol(log(sum) - logits[i * V + (size_t)r.batch.target[i]],
                                    token_loss[i], TOL_FORWARD);
        }
        free(logits);
        drop(&r);
    }
}
END_TEST

START_TEST(parts_pack_the_whole)
{
    struct model_spec s = wide_spec(3);
    struct run whole, parts;
    void *memory;
    if (!has_bf16())
        return;
    const struct model_options o = {
        .training = true, .products = BF16, .recompute = RECOMPUTE_NONE};
    make(&whole, &s, &o);
    make(&parts, &s, &o);
    pass(&whole);
    for (int n = 1; n <= 40; n = n * 3 + 1) {
        ck_assert_int_eq(mem_alloc(&memory, model_forms_bytes(&s, BF16), 1, "test"), OK);
        ck_assert_int_eq(model_set_forms(parts.m, memory), OK);
        for (int i = n - 1; i >= 0; i--)
            model_pack(parts.m, parts.params, i, n);
        model_grad(parts.m, parts.params, &parts.batch.view, parts.grads, &parts.result, NULL,
                   NULL);
        same_bits(&whole, &parts);
        mem_free(memory);
    }
    drop(&whole);
    drop(&parts);
}
END_TEST

/* A change of the parameters shows after packing: in each matrix. */
START_TEST(packing_follows_parameters)
{
    struct model_spec s = tiny_spec(2);
    struct run r;
    if (!has_bf16())
        return;
    make(&r, &s,
         &(struct model_options){.training = true, .products = BF16, .recompute = RECOMPUTE_NONE});
    pass(&r);
    for (int i = 0; i < r.t->n; i++) {
        struct pass_result before = r.result;
        if (r.t->row[i].n_dims == 2)
            for (size_t j = 0; j < r.t->row[i].n; j++)
                r.params[r.t->row[i].offset + j] *= 1.25f;
        pass(&r);
        ck_assert((r.t->row[i].n_dims == 2) == (memcmp(&before, &r.result, sizeof before) != 0));
    }
    drop(&r);
}
END_TEST

START_TEST(passes_allocate_nothing)
{
    struct model_spec s = tiny_spec(3);
    struct run r;
    if (!has_bf16())
        return;
    make(&r, &s,
         &(struct model_options){.training = true, .products = BF16, .recompute = RECOMPUTE_FULL});
    size_t before = mem_n_allocs();
    pass(&r);
    ck_assert_uint_eq(mem_n_allocs(), before);
    drop(&r);
}
END_TEST

START_TEST(bf16_is_refused_with_the_reason)
{
    struct model_spec s = tiny_spec(3);
    struct model *m;
    if (gemm16_missing() == NULL)
        return;
    const struct model_options o = {
        .training = true, .products = BF16, .recompute = RECOMPUTE_NONE};
    ck_assert_int_eq(model_new(&m, &s, 1, 4, &o), E_CONFIG);
    ck_assert(strstr(err_message(), gemm16_missing()) != NULL);
    ck_assert_ptr_null(m);
}
END_TEST

/* ---- single precision ---- */

/* Wide rows, by each library. */
static void wide_forward(const struct model_spec *s)
{
    struct run r;
    double want[TINY_N];
    float got[TINY_N];
    make(&r, s,
         &(struct model_options){.training = true, .products = F32, .recompute = RECOMPUTE_NONE});
    double *w = malloc(r.t->n_elems * sizeof *w);
    for (size_t i = 0; i < r.t->n_elems; i++)
        w[i] = r.params[i];
    gemma_ref_loss(s, r.t, w, &r.batch.view, NULL, want);
    model_loss(r.m, r.params, &r.batch.view, &r.result, got);
    for (int i = 0; i < TINY_N; i++)
        ck_assert_double_eq_tol(got[i], want[i], TOL_FORWARD * fmax(1, fabs(want[i])));
    free(w);
    drop(&r);
}

START_TEST(wide_rows_agree_with_twin)
{
    enum gemm_library by_itself = gemm_library();
    for (int l = GEMM_OPENBLAS; l <= GEMM_ONEDNN; l++)
        for (int family = 1; gemm_use((enum gemm_library)l) && family <= 3; family++) {
            struct model_spec s = wide_spec(family);
            wide_forward(&s);
        }
    ck_assert(gemm_use(by_itself));
}
END_TEST

/* Every operation of a pass is in a phase: together they are what the formula says, and the scores
 * that attention's backward pass computes again. */
START_TEST(phases_cover_the_pass)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        struct prof prof = {0};
        struct run r;
        double flops = 0, want = spec_flops_per_token(&s, TINY_T) * TINY_N;
        make(&r, &s,
             &(struct model_options){
                 .training = true, .products = F32, .recompute = RECOMPUTE_NONE});
        model_set_prof(r.m, &prof);
        prof_start(&prof);
        pass(&r);
        ck_assert_double_gt(prof.row[PROF_RECOMPUTE].n, 0);
        for (int i = 0; i < PROF_N; i++)
            flops += prof.row[i].flops;
        double scores = prof.row[PROF_ATTENTION_BWD].flops / 5;
        double attention = prof.row[PROF_ATTENTION].flops + 4 * scores;
        /* The formula counts half of T·T scores, the phases those on the diagonal too. */
        double halves = want - (flops - scores - attention);
        ck_assert_double_gt(halves, 0);
        ck_assert_double_le(halves, attention);
        ck_assert_double_ge(halves, attention * TINY_T / (TINY_T + 1) * (1 - 1e-12));
        drop(&r);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, recomputation_changes_no_bit);
    tcase_add_test(t, recomputation_changes_no_bit_of_many_logits);
    tcase_add_test(t, bytes_are_exact);
    tcase_add_test(t, full_keeps_inputs_alone);
    tcase_add_test(t, bf16_is_close_to_fp32);
    tcase_add_test(t, bf16_agrees_with_itself);
    tcase_add_test(t, parts_pack_the_whole);
    tcase_add_test(t, packing_follows_parameters);
    tcase_add_test(t, passes_allocate_nothing);
    tcase_add_test(t, bf16_is_refused_with_the_reason);
    tcase_add_test(t, wide_rows_agree_with_twin);
    tcase_add_test(t, phases_cover_the_pass);
}

int main(void)
{
    return run_suite("model/options", add);
}
