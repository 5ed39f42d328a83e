/* The model's passes against a plain double-precision twin, and what their header promises. */
#include "model/model.h"

#include "base/err.h"
#include "ref/gemma_ref.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* float32 through some layers: about 30 roundings of 6e-8 on values near 1, with room. */
#define TOL_FORWARD 2e-5
/* Gradients against the tensor's largest; they pass the layers twice and sum over positions. */
#define TOL_GRAD 5e-5
/* Of the central difference: truncation h² ≈ 1e-10, rounding 1e-16/h ≈ 1e-11. */
#define STEP 1e-5
/* Entries of a tensor that are differenced. */
enum { MAX_ENTRIES = 40 };

static const struct model_options TRAINING = {.training = true}, LOSS = {.training = false};

/* A tiny model with everything that its tests need. */
struct setup {
    struct model_spec spec;
    struct model *m;
    const struct tensor_table *t;
    float *params, *grads;
    struct tiny_batch batch;
};

static void begin(struct setup *u, int family)
{
    u->spec = tiny_spec(family);
    ck_assert_msg(model_new(&u->m, &u->spec, TINY_B, TINY_T, &TRAINING) == OK, "%s", err_message());
    u->t = model_tensors(u->m);
    u->params = tiny_params(u->t, 7);
    u->grads = tiny_params(u->t, 8);
    tiny_batch_fill(&u->batch, u->spec.V, (uint64_t)(40 + family));
}

static void end(struct setup *u)
{
    mem_free(u->params);
    mem_free(u->grads);
    model_free(u->m);
}

static double *widen(const float *x, size_t n)
{
    double *y = malloc(n * sizeof *y);
    ck_assert_ptr_nonnull(y);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

/* With and without documents and weights. */
static void each_view(struct setup *u, void (*test)(struct setup *))
{
    test(u);
    u->batch.view.start = NULL;
    test(u);
    u->batch.view.weight = NULL;
    test(u);
}

static void for_families(void (*test)(struct setup *))
{
    for (int family = 1; family <= 3; family++) {
        struct setup u;
        begin(&u, family);
        each_view(&u, test);
        end(&u);
    }
}

/* ---- against the twin ---- */

static void forward_once(struct setup *u)
{
    size_t V = (size_t)u->spec.V;
    float *logits = malloc(TINY_N * V * sizeof *logits), token_loss[TINY_N];
    double *want = malloc(TINY_N * V * sizeof *want), want_loss[TINY_N];
    double *w = widen(u->params, u->t->n_elems);
    struct pass_result r;
    double sum = gemma_ref_loss(&u->spec, u->t, w, &u->batch.view, want, want_loss);
    model_logits(u->m, u->params, &u->batch.view, logits);
    for (size_t i = 0; i < TINY_N * V; i++)
        ck_assert_double_eq_tol(logits[i], want[i], TOL_FORWARD);
    model_loss(u->m, u->params, &u->batch.view, &r, token_loss);
    for (int i = 0; i < TINY_N; i++)
        ck_assert_double_eq_tol(token_loss[i], want_loss[i], TOL_FORWARD);
    ck_assert_double_eq_tol(r.loss_sum, sum, TINY_N * TOL_FORWARD);
    free(logits);
    free(want);
    free(w);
}

START_TEST(forward_agrees_with_twin)
{
    for_families(forward_once);
}
END_TEST

static double difference(struct setup *u, double *w, size_t at)
{
    double keep = w[at];
    w[at] = keep + STEP;
    double up = gemma_ref_loss(&u->spec, u->t, w, &u->batch.view, NULL, NULL);
    w[at] = keep - STEP;
    double down = gemma_ref_loss(&u->spec, u->t, w, &u->batch.view, NULL, NULL);
    w[at] = keep;
    return (up - down) / (2 * STEP);
}

static void tensor_gradient(struct setup *u, const struct tensor *t, double *w)
{
    double largest = 0;
    for (size_t i = 0; i < t->n; i++)
        largest = fmax(largest, fabs(u->grads[t->offset + i]));
    ck_assert_double_gt(largest, 0);
    size_t step = t->n > MAX_ENTRIES ? t->n / MAX_ENTRIES : 1;
    for (size_t i = 0; i < t->n; i += step) {
        double want = difference(u, w, t->offset + i), got = u->grads[t->offset + i];
        ck_assert_msg(fabs(got - want) <= TOL_GRAD * largest, "%s[%zu]: %.8g, twin %.8g", t->name,
                      i, got, want);
    }
}

static void gradients_once(struct setup *u)
{
    struct pass_result r;
    double *w = widen(u->params, u->t->n_elems);
    model_grad(u->m, u->params, &u->batch.view, u->grads, &r, NULL, NULL);
    for (int i = 0; i < u->t->n; i++)
        tensor_gradient(u, &u->t->row[i], w);
    free(w);
}

START_TEST(gradients_agree_with_twins_differences)
{
    for_families(gradients_once);
}
END_TEST

/* ---- what the header promises ---- */

static void counts_once(struct setup *u)
{
    size_t V = (size_t)u->spec.V;
    float *logits = malloc(TINY_N * V * sizeof *logits), token_loss[TINY_N];
    struct pass_result loss, grad;
    double sum = 0, n = 0, correct = 0;
    model_logits(u->m, u->params, &u->batch.view, logits);
    /* Make some targets the greatest logit, so that there is something to count. */
    for (int i = 0; i < TINY_N; i += 3) {
        u->batch.target[i] = 0;
        for (size_t v = 1; v < V; v++)
            if (logits[(size_t)i * V + v] > logits[(size_t)i * V + (size_t)u->batch.target[i]])
                u->batch.target[i] = (int32_t)v;
    }
    model_loss(u->m, u->params, &u->batch.view, &loss, token_loss);
    model_grad(u->m, u->params, &u->batch.view, u->grads, &grad, NULL, NULL);
    for (int i = 0; i < TINY_N; i++) {
        double weight = u->batch.view.weight == NULL ? 1 : u->batch.weight[i];
        bool greatest = true;
        for (size_t v = 0; v < V; v++)
            greatest &=
                logits[(size_t)i * V + v] <= logits[(size_t)i * V + (size_t)u->batch.target[i]];
        sum += weight * token_loss[i];
        n += weight;
        correct += greatest ? weight : 0;
    }
    ck_assert_double_eq(loss.loss_sum, sum);
    ck_assert_double_eq(loss.n_targets, n);
    ck_assert_double_eq(loss.n_correct, correct);
    ck_assert_double_gt(correct, 0);
    ck_assert_mem_eq(&loss, &grad, sizeof loss);
    free(logits);
}

START_TEST(results_add_up)
{
    for_families(counts_once);
}
END_TEST

/* Every range is contiguous to the last, and its gradients are final when it is named. */
struct seen {
    const float *grads;
    float *at_call;
    size_t end, n_calls;
};

static void note(void *ctx, size_t first, size_t n)
{
    struct seen *s = ctx;
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_eq(first + n, s->end);
    memcpy(s->at_call + first, s->grads + first, n * sizeof *s->grads);
    s->end = first;
    s->n_calls++;
}

START_TEST(ready_covers_all_in_descending_order)
{
    for (int family = 1; family <= 3; family++) {
        struct setup u;
        struct pass_result r;
        begin(&u, family);
        struct seen s = {u.grads, malloc(u.t->n_elems * sizeof(float)), u.t->n_elems, 0};
        model_grad(u.m, u.params, &u.batch.view, u.grads, &r, note, &s);
        ck_assert_uint_eq(s.end, 0);
        ck_assert_uint_eq(s.n_calls, (size_t)u.spec.L + 2);
        ck_assert_mem_eq(s.at_call, u.grads, u.t->n_elems * sizeof(float));
        free(s.at_call);
        end(&u);
    }
}
END_TEST

START_TEST(gradients_are_overwritten_and_gaps_cleared)
{
    for (int family = 1; family <= 3; family++) {
        struct setup u;
        struct pass_result r;
        begin(&u, family);
        for (size_t i = 0; i < u.t->n_elems; i++)
            u.grads[i] = NAN;
        model_grad(u.m, u.params, &u.batch.view, u.grads, &r, NULL, NULL);
        size_t at = 0;
        for (int i = 0; i < u.t->n; i++) {
            for (; at < u.t->row[i].offset; at++)
                ck_assert_float_eq(u.grads[at], 0);
            for (; at < u.t->row[i].offset + u.t->row[i].n; at++)
                ck_assert(isfinite(u.grads[at]));
        }
        end(&u);
    }
}
END_TEST

START_TEST(passes_allocate_nothing)
{
    struct setup u;
    struct pass_result r;
    begin(&u, 3);
    float *logits = malloc(TINY_N * (size_t)u.spec.V * sizeof *logits);
    size_t before = mem_n_allocs();
    model_loss(u.m, u.params, &u.batch.view, &r, NULL);
    model_grad(u.m, u.params, &u.batch.view, u.grads, &r, NULL, NULL);
    model_logits(u.m, u.params, &u.batch.view, logits);
    ck_assert_uint_eq(mem_n_allocs(), before);
    free(logits);
    end(&u);
}
END_TEST

START_TEST(bytes_are_exact)
{
    for (int family = 1; family <= 3; family++)
        for (int training = 0; training <= 1; training++) {
            struct model_spec s = tiny_spec(family);
            struct model *m;
            size_t before = mem_bytes();
            const struct model_options o = {.training = training};
            ck_assert_int_eq(model_new(&m, &s, 3, 50, &o), OK);
            ck_assert_uint_eq(model_bytes(&s, 3, 50, &o), mem_bytes() - before);
            model_free(m);
            ck_assert_uint_eq(mem_bytes(), before);
        }
}
END_TEST

START_TEST(loss_alone_keeps_nothing_per_layer)
{
    struct model_spec s = tiny_spec(3), deep;
    deep = s;
    ck_assert_int_eq(spec_set(&deep, "layers", 100), OK);
    size_t table = tensors_count(&deep) - tensors_count(&s);
    ck_assert_uint_eq(model_bytes(&deep, 4, 64, &LOSS) - model_bytes(&s, 4, 64, &LOSS),
                      table * sizeof(struct tensor));
}
END_TEST

START_TEST(room_changes_no_bit)
{
    for (int family = 1; family <= 3; family++) {
        struct setup u;
        struct model *roomy;
        struct pass_result a, b;
        begin(&u, family);
        float *grads = malloc(u.t->n_elems * sizeof *grads);
        ck_assert_int_eq(model_new(&roomy, &u.spec, TINY_B + 3, TINY_T + 40, &TRAINING), OK);
        model_grad(u.m, u.params, &u.batch.view, u.grads, &a, NULL, NULL);
        for (int repeat = 0; repeat < 2; repeat++) {
            model_grad(roomy, u.params, &u.batch.view, grads, &b, NULL, NULL);
            ck_assert_mem_eq(&a, &b, sizeof a);
            ck_assert_mem_eq(grads, u.grads, u.t->n_elems * sizeof *grads);
        }
        model_free(roomy);
        free(grads);
        end(&u);
    }
}
END_TEST

/* A long batch over a vocabulary that needs several chunks of logits gives the sum of what its
 * sequences give alone, where one chunk is enough. */
enum { LONG_T = 150 };
START_TEST(chunks_of_logits_add_up)
{
    struct model_spec s = tiny_spec(1);
    struct model *m;
    struct pass_result both, one, sum = {0};
    int32_t token[2 * LONG_T], target[2 * LONG_T];
    ck_assert_int_eq(spec_set(&s, "vocab", 30011), OK);
    ck_assert_int_eq(model_new(&m, &s, 2, LONG_T, &TRAINING), OK);
    const struct tensor_table *t = model_tensors(m);
    float *w = tiny_params(t, 3), *got = tiny_params(t, 4), *part = tiny_params(t, 5);
    double *want = calloc(t->n_elems, sizeof *want), largest = 0;
    for (int i = 0; i < 2 * LONG_T; i++) {
        token[i] = (i * 7919) % s.V;
        target[i] = (i * 104729 + 5) % s.V;
    }
    struct batch_view b = {.B = 2, .T = LONG_T, .token = token, .target = target};
    model_grad(m, w, &b, got, &both, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        struct batch_view half = {
            .B = 1, .T = LONG_T, .token = token + i * LONG_T, .target = target + i * LONG_T};
        model_grad(m, w, &half, part, &one, NULL, NULL);
        sum.loss_sum += one.loss_sum;
        for (size_t j = 0; j < t->n_elems; j++)
            want[j] += part[j];
    }
    for (size_t j = 0; j < t->row[0].n; j++)
        largest = fmax(largest, fabs(want[j]));
    ck_assert_double_eq_tol(both.loss_sum, sum.loss_sum, 1e-6 * sum.loss_sum);
    for (size_t j = 0; j < t->row[0].n; j++)
        ck_assert_double_eq_tol(got[j], want[j], TOL_GRAD * largest);
    free(want);
    mem_free(w);
    mem_free(got);
    mem_free(part);
    model_free(m);
}
END_TEST

START_TEST(impossible_models_are_refused)
{
    struct model_spec s = tiny_spec(2);
    struct model *m;
    ck_assert_int_eq(model_new(&m, &s, 0, 4, &LOSS), E_CONFIG);
    ck_assert_int_eq(model_new(&m, &s, 1 << 20, 1 << 20, &TRAINING), E_CONFIG);
    ck_assert_uint_eq(model_bytes(&s, 1 << 20, 1 << 20, &TRAINING), SIZE_MAX);
    s.K = 3;
    ck_assert_int_eq(model_new(&m, &s, 1, 4, &LOSS), E_CONFIG);
    ck_assert_ptr_null(m);
    model_free(m);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, forward_agrees_with_twin);
    tcase_add_test(t, gradients_agree_with_twins_differences);
    tcase_add_test(t, results_add_up);
    tcase_add_test(t, ready_covers_all_in_descending_order);
    tcase_add_test(t, gradients_are_overwritten_and_gaps_cleared);
    tcase_add_test(t, passes_allocate_nothing);
    tcase_add_test(t, bytes_are_exact);
    tcase_add_test(t, loss_alone_keeps_nothing_per_layer);
    tcase_add_test(t, room_changes_no_bit);
    tcase_add_test(t, chunks_of_logits_add_up);
    tcase_add_test(t, impossible_models_are_refused);
}

int main(void)
{
    return run_suite("model/model", add);
}
