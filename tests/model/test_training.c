/* What training may have beside the plain loss: dropout, label smoothing, z-loss, muP and frozen
 * tensors, against the double-precision twin and against what may not change. */
#include "base/err.h"
#include "kern/gemm16.h"
#include "model/block.h"
#include "model/convert.h"
#include "model/kvcache.h"
#include "model/work.h"
#include "ref/gemma_ref.h"
#include "ref/ref.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As in test_model.c: float32 through the layers twice, against a tensor's largest gradient. Kept
 * branches are divided by their share, so that values are twice as large. */
#define TOL_GRAD 1e-4
/* Of the central difference. */
#define STEP 1e-5
/* Losses of the same sequences in one pass and in two. */
#define TOL_SUM 1e-5
/* Entries of a tensor that are differenced. */
enum { MAX_ENTRIES = 4 };

struct setup {
    struct model_spec spec;
    struct model_options o;
    struct model *m;
    const struct tensor_table *t;
    float *params, *grads;
    struct pass_result result;
    struct tiny_batch batch;
};

static void begin(struct setup *u, const struct model_spec *s, const struct model_options *o)
{
    *u = (struct setup){.spec = *s, .o = *o};
    ck_assert_msg(model_new(&u->m, s, TINY_B, TINY_T, o) == OK, "%s", err_message());
    ck_assert_int_eq(model_set_forms(u->m, NULL), OK);
    u->t = model_tensors(u->m);
    u->params = tiny_params(u->t, 7);
    u->grads = tiny_params(u->t, 8);
    tiny_batch_fill(&u->batch, s->V, (uint64_t)(40 + s->family));
    u->batch.view.first = 1000;
    model_pack(u->m, u->params, 0, 1);
}

static void pass(struct setup *u)
{
    model_grad(u->m, u->params, &u->batch.view, u->grads, &u->result, NULL, NULL);
}

static void end(struct setup *u)
{
    mem_free(u->params);
    mem_free(u->grads);
    model_free(u->m);
}

/* ---- against the twin ---- */

/* What gradients are of: the twin's logits in, weighted losses and what is added to them out. */
static double objective(const struct setup *u, const double *w)
{
    const struct batch_view *b = &u->batch.view;
    double *logits = ref_doubles(TINY_N * (size_t)u->spec.V), loss[TINY_N], extra[TINY_N], sum = 0;
    const struct dropout drop = {.share = u->o.dropout, .seed = u->o.seed};
    gemma_ref_dropout = u->o.dropout > 0 ? &drop : NULL;
    gemma_ref_loss(&u->spec, u->t, w, b, logits, NULL);
    gemma_ref_dropout = NULL;
    ref_softmax_ce(loss, extra, NULL, NULL, logits, b->target, NULL, TINY_N, (size_t)u->spec.V, 0,
                   u->o.also);
    for (int i = 0; i < TINY_N; i++)
        sum += (double)b->weight[i] * (loss[i] + extra[i]);
    free(logits);
    return sum;
}

static void check_tensor(const struct setup *u, const struct tensor *t, double *w)
{
    double largest = 0;
    size_t step = t->n > MAX_ENTRIES ? t->n / MAX_ENTRIES : 1;
    for (size_t i = 0; i < t->n; i++)
        largest = fmax(largest, fabs((double)u->grads[t->offset + i]));
    ck_assert_double_gt(largest, 0);
    for (size_t i = 0; i < t->n; i += step) {
        double *x = &w[t->offset + i], keep = *x, got = (double)u->grads[t->offset + i];
        *x = keep + STEP;
        double up = objective(u, w);
        *x = keep - STEP;
        double want = (up - objective(u, w)) / (2 * STEP);
        *x = keep;
        ck_assert_msg(fabs(got - want) <= TOL_GRAD * largest, "%s[%zu]: %.8g, twin %.8g", t->name,
                      i, got, want);
    }
}

static void check_gradients(const struct model_spec *s, const struct model_options *o)
{
    struct setup u;
    begin(&u, s, o);
    double *w = ref_widen(u.params, u.t->n_elems);
    pass(&u);
    for (int i = 0; i < u.t->n; i++)
        check_tensor(&u, &u.t->row[i], w);
    free(w);
    end(&u);
}

static const struct ce_terms TERMS = {.smoothing = 0.1f, .z = 0.01f};

START_TEST(gradients_agree_with_twins_differences)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family), wide = s;
        wide.mup_base = 5;
        const struct model_options plain = {.training = true},
                                   all = {
                                       .training = true, .dropout = 0.4, .seed = 3, .also = TERMS};
        check_gradients(&wide, &plain);
        check_gradients(&s, &all);
    }
}
END_TEST

/* ---- dropout ---- */

static void pass_of(struct setup *u, int B, int at)
{
    struct batch_view b = u->batch.view;
    b.B = B;
    b.token += at * TINY_T;
    b.target += at * TINY_T;
    b.weight += at * TINY_T;
    b.start += at * TINY_T;
    b.first += (uint64_t)at;
    model_grad(u->m, u->params, &b, u->grads, &u->result, NULL, NULL);
}

START_TEST(dropout_belongs_to_samples)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        const struct model_options o = {.training = true, .dropout = 0.4, .seed = 3};
        struct setup u;
        begin(&u, &s, &o);
        pass_of(&u, 2, 0);
        double both = u.result.loss_sum, apart = 0;
        for (int i = 0; i < 2; i++) {
            pass_of(&u, 1, i);
            apart += u.result.loss_sum;
        }
        ck_assert_double_eq_tol(both, apart, TOL_SUM * both);
        /* Another sample's mask, and none without gradients. */
        u.batch.view.first++;
        pass_of(&u, 2, 0);
        ck_assert_double_gt(fabs(u.result.loss_sum - both), 100 * TOL_SUM * both);
        model_loss(u.m, u.params, &u.batch.view, &u.result, NULL);
        double *widened = ref_widen(u.params, u.t->n_elems);
        double plain = gemma_ref_loss(&s, u.t, widened, &u.batch.view, NULL, NULL);
        free(widened);
        ck_assert_double_eq_tol(u.result.loss_sum, plain, TOL_SUM * plain);
        end(&u);
    }
}
END_TEST

static bool has_bf16(void)
{
    if (gemm16_missing() != NULL)
        printf("SKIP: bfloat16: %s\n", gemm16_missing());
    return gemm16_missing() == NULL;
}

static void compare_recomputed(const struct model_spec *s, enum dtype products)
{
    struct model_options o = {
        .training = true, .products = products, .dropout = 0.4, .seed = 3, .also = TERMS};
    struct setup first;
    begin(&first, s, &o);
    pass(&first);
    for (int how = RECOMPUTE_SELECTIVE; how <= RECOMPUTE_FULL; how++) {
        struct setup u;
        o.recompute = (enum recompute)how;
        begin(&u, s, &o);
        pass(&u);
        ck_assert_mem_eq(u.grads, first.grads, u.t->n_elems * sizeof *u.grads);
        end(&u);
    }
    end(&first);
}

START_TEST(recomputation_draws_the_same)
{
    bool bf16 = has_bf16();
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        compare_recomputed(&s, F32);
        if (bf16)
            compare_recomputed(&s, BF16);
    }
}
END_TEST

START_TEST(bytes_are_exact)
{
    struct model_spec s = tiny_spec(3);
    s.mup_base = 5;
    const struct model_options o = {.training = true, .dropout = 0.1, .also = TERMS};
    struct model *m;
    size_t before = mem_bytes();
    ck_assert_int_eq(model_new(&m, &s, 3, 50, &o), OK);
    ck_assert_uint_eq(model_bytes(&s, 3, 50, &o), mem_bytes() - before);
    model_free(m);
}
END_TEST

/* ---- frozen tensors ---- */

enum { MAX_TENSORS = 64 };

struct seen {
    const struct setup *u;
    size_t end;
};

/* What is handed over is final, frozen places included. */
static void note(void *ctx, size_t first, size_t n)
{
    struct seen *s = ctx;
    ck_assert_uint_eq(first + n, s->end);
    s->end = first;
    for (int i = 0; i < s->u->t->n; i++) {
        const struct tensor *t = &s->u->t->row[i];
        for (size_t j = 0; t->frozen && t->offset >= first && j < t->n; j++)
            if (t->offset + j < first + n)
                ck_assert_float_eq(s->u->grads[t->offset + j], 0);
    }
}

/* Against `want`, the gradient of all. */
static void check_frozen(struct setup *u, const bool *frozen, const float *want)
{
    struct seen seen = {u, u->t->n_elems};
    for (size_t i = 0; i < u->t->n_elems; i++)
        u->grads[i] = NAN;
    model_set_frozen(u->m, frozen);
    model_grad(u->m, u->params, &u->batch.view, u->grads, &u->result, note, &seen);
    ck_assert_uint_eq(seen.end, 0);
    size_t at = 0;
    for (int i = 0; i < u->t->n; i++) {
        const struct tensor *t = &u->t->row[i];
        for (; at < t->offset; at++)
            ck_assert_float_eq(u->grads[at], 0);
        for (; at < t->offset + t->n; at++)
            if (frozen[i])
                ck_assert_float_eq(u->grads[at], 0);
            else
                ck_assert_msg(memcmp(u->grads + at, want + at, sizeof *want) == 0,
                              "family %d, %s[%zu]: %g, %g with all", u->spec.family, t->name,
                              at - t->offset, (double)u->grads[at], (double)want[at]);
    }
}

static void freeze_in_all_ways(const struct model_spec *s, const struct model_options *o)
{
    struct setup u;
    bool frozen[MAX_TENSORS];
    begin(&u, s, o);
    ck_assert_int_le(u.t->n, MAX_TENSORS);
    pass(&u);
    float *want = ref_floats(u.t->n_elems);
    memcpy(want, u.grads, u.t->n_elems * sizeof *want);
    for (int k = 0; k < u.t->n; k++) {
        for (int i = 0; i < u.t->n; i++) /* all below k, */
            frozen[i] = i < k;
        check_frozen(&u, frozen, want);
        for (int i = 0; i < u.t->n; i++) /* k alone, */
            frozen[i] = i == k;
        check_frozen(&u, frozen, want);
        for (int i = 0; i < u.t->n; i++) /* all but k, */
            frozen[i] = i != k;
        check_frozen(&u, frozen, want);
        for (int i = 0; i < u.t->n; i++) /* and any. */
            frozen[i] = i != k && rng_uniform(5, (uint64_t)k, (uint64_t)i) < 0.6;
        check_frozen(&u, frozen, want);
    }
    model_set_frozen(u.m, NULL);
    pass(&u);
    ck_assert_mem_eq(u.grads, want, u.t->n_elems * sizeof *want);
    free(want);
    end(&u);
}

START_TEST(frozen_tensors_change_no_other_gradient)
{
    bool bf16 = has_bf16();
    for (int family = 1; family <= 3; family++)
        for (int how = 0; how < 3; how++) {
            static const enum recompute ways[] = {RECOMPUTE_NONE, RECOMPUTE_SELECTIVE,
                                                  RECOMPUTE_FULL};
            struct model_spec s = tiny_spec(family);
            struct model_options o = {.training = true, .recompute = ways[how]};
            o.dropout = how == 1 ? 0.3 : 0;
            o.products = how == 2 && bf16 ? BF16 : F32;
            freeze_in_all_ways(&s, &o);
        }
}
END_TEST

static void profile(struct setup *u, const bool *frozen, struct prof *p)
{
    model_set_frozen(u->m, frozen);
    model_set_prof(u->m, p);
    pass(u);
    model_set_prof(u->m, NULL);
}

static double backward_flops(struct setup *u, const bool *frozen)
{
    struct prof p = {0};
    double sum = 0;
    profile(u, frozen, &p);
    for (int i = 0; i < PROF_N; i++)
        sum += PROF_NAMES[i].part == PART_BACKWARD ? p.row[i].flops : 0;
    return sum;
}

START_TEST(frozen_tensors_save_their_work)
{
    struct model_spec s = tiny_spec(3);
    const struct model_options o = {.training = true};
    struct setup u;
    bool frozen[MAX_TENSORS] = {false};
    begin(&u, &s, &o);
    double all = backward_flops(&u, NULL);
    frozen[0] = true;
    double head = 2.0 * TINY_N * s.V * s.D;
    ck_assert_double_eq(backward_flops(&u, frozen), all - head);
    /* With the lower half frozen as well, half of the layers are not gone through. */
    for (int i = 0; i < u.t->n; i++)
        frozen[i] = u.t->row[i].layer < s.L / 2 && u.t->row[i].kind != TENSOR_FINAL_NORM;
    ck_assert_double_eq_tol(backward_flops(&u, frozen), head + (all - 2 * head) / 2, all / 50);
    for (int i = 0; i < u.t->n; i++)
        frozen[i] = u.t->row[i].kind != TENSOR_FINAL_NORM;
    ck_assert_double_eq(backward_flops(&u, frozen), head);
    end(&u);
}
END_TEST

/* The same terms in double, added up in another order; of a difference, of the whole it is of. */
static const double SUM_ORDER = 1e-12;

/* What the formula leaves out is what the phases do not do: it counts half of T·T scores, they
 * those on the diagonal too, and their fifth product of attention's backward pass is no model FLOP.
 */
static void check_work(struct setup *u, const struct model_spec *s, const bool *frozen)
{
    struct prof all = {0}, some = {0};
    double products = 0;
    profile(u, NULL, &all);
    profile(u, frozen, &some);
    for (int i = 0; i < PROF_N; i++)
        if (PROF_NAMES[i].part == PART_BACKWARD && i != PROF_ATTENTION_BWD)
            products += all.row[i].flops - some.row[i].flops;
    double scores =
        (all.row[PROF_ATTENTION_BWD].flops - some.row[PROF_ATTENTION_BWD].flops) * 4 / 5;
    double left_out =
        TINY_N * (spec_flops_per_token(s, TINY_T) - work_flops_per_token(u->t, s, frozen, TINY_T));
    double whole = TINY_N * spec_flops_per_token(s, TINY_T);
    double most = products + scores, least = products + scores * TINY_T / (TINY_T + 1);
    ck_assert_double_le(left_out, most + whole * SUM_ORDER);
    ck_assert_double_ge(left_out, least - whole * SUM_ORDER);
}

START_TEST(work_is_what_the_phases_do)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        const struct model_options o = {.training = true};
        struct setup u;
        bool frozen[MAX_TENSORS] = {false};
        begin(&u, &s, &o);
        double all = spec_flops_per_token(&s, TINY_T);
        ck_assert_double_eq_tol(work_flops_per_token(u.t, &s, NULL, TINY_T), all, all * SUM_ORDER);
        for (int k = 0; k < u.t->n; k++) { /* all below k, then k alone */
            for (int i = 0; i < u.t->n; i++)
                frozen[i] = i < k;
            check_work(&u, &s, frozen);
            for (int i = 0; i < u.t->n; i++)
                frozen[i] = i == k;
            check_work(&u, &s, frozen);
        }
        end(&u);
    }
}
END_TEST

/* ---- muP ---- */

START_TEST(mup_of_the_base_width_changes_no_bit)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family), base = s;
        const struct model_options o = {.training = true};
        struct setup a, b;
        base.mup_base = s.D;
        begin(&a, &s, &o);
        begin(&b, &base, &o);
        tensors_init_values(a.t, &s, 3, a.params);
        tensors_init_values(b.t, &base, 3, b.params);
        ck_assert_mem_eq(a.params, b.params, a.t->n_elems * sizeof *a.params);
        pass(&a);
        pass(&b);
        ck_assert_mem_eq(a.grads, b.grads, a.t->n_elems * sizeof *a.grads);
        end(&a);
        end(&b);
    }
}
END_TEST

/* Heads of one size, so that more width is more of them. */
static struct model_spec wide_spec(int width, int base)
{
    const struct {
        const char *field;
        double value;
    } rows[] = {{"vocab", 64},
                {"width", width},
                {"layers", 3},
                {"heads", width / 16.0},
                {"kv_heads", width / 16.0},
                {"head_dim", 16},
                {"ffn", 4.0 * width},
                {"window", 8}};
    struct model_spec s;
    spec_defaults(&s, 3);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_int_eq(spec_set(&s, rows[i].field, rows[i].value), OK);
    s.query_scalar = 16;
    s.mup_base = base;
    ck_assert_int_eq(spec_check(&s), OK);
    return s;
}

/* What a step of Adam comes to: each weight by its rate, against its gradient's sign. */
static void descend(const struct setup *u, double rate)
{
    double ratio = spec_width_ratio(&u->spec);
    for (int i = 0; i < u->t->n; i++) {
        const struct tensor *t = &u->t->row[i];
        double r = t->layer >= 0 && t->n_dims == 2 ? rate / ratio : rate;
        for (size_t j = t->offset; j < t->offset + t->n; j++)
            u->params[j] -= (float)(u->grads[j] > 0 ? r : u->grads[j] < 0 ? -r : 0);
    }
}

static double rms(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

struct sizes {
    double stream, logits; /* root mean squares after some steps */
};

static struct sizes sizes_after(int width, int base, int n_steps)
{
    struct model_spec s = wide_spec(width, base);
    const struct model_options o = {.training = true};
    struct setup u;
    begin(&u, &s, &o);
    tensors_init_values(u.t, &s, 5, u.params);
    for (int i = 0; i < n_steps; i++) {
        pass(&u);
        descend(&u, 0.02);
    }
    struct net n;
    const struct act_plan plan = {.n_rows = TINY_N, .T = TINY_T, .use = USE_LOSS};
    struct pass p = {.B = TINY_B, .T = TINY_T, .N = TINY_N, .start = u.batch.view.start};
    float *logits = ref_floats(TINY_N * (size_t)s.V);
    ck_assert_int_eq(net_init(&n, &s, &plan), OK);
    block_embed(&n, &p, u.params, u.batch.view.token);
    for (int l = 0; l < s.L; l++)
        block_fwd(&n, &p, l, u.params);
    model_logits(u.m, u.params, &u.batch.view, logits);
    struct sizes z = {rms(act(&n.acts, ACT_X, s.L), TINY_N * (size_t)s.D),
                      rms(logits, TINY_N * (size_t)s.V)};
    net_release(&n);
    free(logits);
    end(&u);
    return z;
}

/* The coordinate check: after some steps nothing grows with the width, where without muP it does.
 * Source: Yang et al. 2022, appendix D.1. */
START_TEST(coordinates_do_not_grow_with_width)
{
    enum { BASE = 32, WIDEST = 256, STEPS = 4 };
    struct sizes base = sizes_after(BASE, BASE, STEPS), standard = sizes_after(WIDEST, 0, STEPS);
    for (int width = 2 * BASE; width <= WIDEST; width *= 2) {
        struct sizes z = sizes_after(width, BASE, STEPS);
        ck_assert_msg(z.stream < 1.5 * base.stream && z.logits < 1.5 * base.logits,
                      "width %d: stream %g, logits %g; at %d: %g, %g", width, z.stream, z.logits,
                      BASE, base.stream, base.logits);
    }
    ck_assert_double_gt(standard.logits, 2 * base.logits);
}
END_TEST

/* Generation goes by the same constants. */
START_TEST(mup_holds_in_generation)
{
    struct model_spec s = tiny_spec(3);
    const struct model_options o = {.training = true};
    struct setup u;
    struct kvcache *cache;
    s.mup_base = 4;
    begin(&u, &s, &o);
    size_t V = (size_t)s.V;
    float *all = ref_floats(TINY_N * V), *last = ref_floats(V);
    struct batch_view one = {.B = 1, .T = TINY_T, .token = u.batch.token, .target = u.batch.target};
    model_logits(u.m, u.params, &one, all);
    ck_assert_int_eq(kvcache_new(&cache, &s, TINY_T), OK);
    ck_assert_int_eq(kvcache_feed(cache, u.params, u.batch.token, TINY_T, last), OK);
    for (size_t v = 0; v < V; v++)
        ck_assert_double_eq_tol((double)last[v], (double)all[(TINY_T - 1) * V + v], TOL_SUM);
    kvcache_free(cache);
    free(all);
    free(last);
    end(&u);
}
END_TEST

/* What is exported computes the same in the plain form. */
START_TEST(mup_is_exported_as_a_plain_model)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family), plain;
        char folder[] = "/tmp/carat-test-XXXXXX", command[64];
        const struct model_options o = {.training = true};
        struct setup u, v;
        s.mup_base = 4;
        ck_assert_ptr_nonnull(mkdtemp(folder));
        begin(&u, &s, &o);
        int exact = 1;
        ck_assert_msg(convert_write(folder, &s, u.t, u.params, CONVERT_F32, 0, &exact) == OK, "%s",
                      err_message());
        ck_assert_int_eq(exact, 0);
        ck_assert_int_eq(spec_from_file(&plain, folder), OK);
        ck_assert_int_eq(plain.mup_base, 0);
        begin(&v, &plain, &o);
        ck_assert_int_eq(convert_read(folder, v.t, v.params), OK);
        model_loss(u.m, u.params, &u.batch.view, &u.result, NULL);
        model_loss(v.m, v.params, &u.batch.view, &v.result, NULL);
        ck_assert_double_eq_tol(u.result.loss_sum, v.result.loss_sum, TOL_SUM * u.result.loss_sum);
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        ck_assert_int_eq(system(command), 0);
        end(&u);
        end(&v);
    }
}
END_TEST

START_TEST(mup_base_is_kept_in_json)
{
    struct model_spec s = tiny_spec(3), back;
    char *text;
    s.mup_base = 7;
    ck_assert_int_eq(spec_to_json(&s, &text), OK);
    ck_assert_int_eq(spec_from_json(&back, text, "test"), OK);
    ck_assert_int_eq(back.mup_base, 7);
    mem_free(text);
    s.mup_base = 0;
    ck_assert_int_eq(spec_to_json(&s, &text), OK);
    ck_assert_ptr_null(strstr(text, "mup"));
    mem_free(text);
    s.mup_base = -1;
    ck_assert_int_eq(spec_check(&s), E_CONFIG);
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, gradients_agree_with_twins_differences);
    tcase_add_test(t, dropout_belongs_to_samples);
    tcase_add_test(t, recomputation_draws_the_same);
    tcase_add_test(t, bytes_are_exact);
    tcase_add_test(t, frozen_tensors_change_no_other_gradient);
    tcase_add_test(t, frozen_tensors_save_their_work);
    tcase_add_test(t, work_is_what_the_phases_do);
    tcase_add_test(t, mup_of_the_base_width_changes_no_bit);
    tcase_add_test(t, coordinates_do_not_grow_with_width);
    tcase_add_test(t, mup_holds_in_generation);
    tcase_add_test(t, mup_is_exported_as_a_plain_model);
    tcase_add_test(t, mup_base_is_kept_in_json);
}

int main(void)
{
    return run_suite("model/training", add);
}
