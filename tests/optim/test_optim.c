/* Update rules against known numbers and a double-precision twin; the cut changes no bit. */
#include "base/err.h"
#include "check_main.h"
#include "optim/optim.h"

#include <math.h>
#include <string.h>

#define N_OF(a) (sizeof(a) / sizeof(a)[0])

static const struct optim_rule *rule_of(const char *name)
{
    const struct optim_rule *rule;
    ck_assert_int_eq(optim_find(&rule, name), OK);
    return rule;
}

/* Three steps from w = 1 with lr 0.1 and g = 0.5, -0.3, 0.8; by an independent program. */
static const struct {
    const char *name;
    double decay, w[3];
} known[] = {
    {"sgd", 0, {0.95, 0.98, 0.9}},
    {"adam", 0, {0.900000002, 0.880850199, 0.820496564}},
    {"adamw", 0, {0.900000002, 0.880850199, 0.820496564}},
    {"adamw", 0.1, {0.890000002, 0.861950199, 0.792977062}},
};
static const float known_g[] = {0.5f, -0.3f, 0.8f};

/* Three steps of a few float roundings each, near 1. */
#define KNOWN_TOLERANCE 3e-7

START_TEST(rules_give_the_known_numbers)
{
    for (size_t i = 0; i < N_OF(known); i++) {
        const struct optim_rule *rule = rule_of(known[i].name);
        float w = 1, slots[OPTIM_MAX_SLOTS] = {0}, *slot[OPTIM_MAX_SLOTS];
        for (int k = 0; k < OPTIM_MAX_SLOTS; k++)
            slot[k] = &slots[k];
        struct optim_step s = {.lr = 0.1,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = 1e-8,
                               .weight_decay = known[i].decay,
                               .grad_scale = 0.25};
        for (s.t = 1; s.t <= 3; s.t++) {
            float g = 4 * known_g[s.t - 1];
            rule->update(&w, &g, slot, 1, true, &s);
            ck_assert_double_eq_tol(w, known[i].w[s.t - 1], KNOWN_TOLERANCE);
        }
    }
}
END_TEST

START_TEST(decay_is_for_groups_that_take_it)
{
    struct optim_step s = {.lr = 0.1, .beta2 = 0.5, .eps = 1, .weight_decay = 0.5, .t = 1};
    for (int i = 0; optim_row(i) != NULL; i++) {
        float g = 0, with = 2, without = 2, m = 0, v = 0, *slot[] = {&m, &v};
        optim_row(i)->update(&without, &g, slot, 1, false, &s);
        ck_assert_float_eq(without, 2);
        optim_row(i)->update(&with, &g, slot, 1, true, &s);
        ck_assert_float_lt(with, 2);
    }
}
END_TEST

enum { N = 3 * SHARD_BLOCK + 77, N_STEPS = 5 };

/* The fixtures' recipe, step by step in double. */
struct twin {
    double w[N], m[N], v[N];
};

static double twin_norm(const float *g)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += (double)g[i] * g[i];
    return sqrt(sum);
}

static void twin_step(struct twin *x, const float *g, const struct optim_group *groups, int t)
{
    double scale = fmin(1, 1 / (twin_norm(g) + 1e-6));
    for (int i = 0; i < N; i++) {
        double gi = g[i] * scale, decay = (size_t)i < groups[0].at.n ? 0.1 : 0;
        x->w[i] -= 1e-3 * decay * x->w[i];
        x->m[i] = 0.9 * x->m[i] + 0.1 * gi;
        x->v[i] = 0.95 * x->v[i] + 0.05 * gi * gi;
        double mean = x->m[i] / (1 - pow(0.9, t)), square = x->v[i] / (1 - pow(0.95, t));
        x->w[i] -= 1e-3 * mean / (sqrt(square) + 1e-8);
    }
}

/* In [-1, 1]. */
static float noise(unsigned i, unsigned t)
{
    unsigned h = (i + 1) * 2654435761u ^ (t * 40503u);
    h = (h ^ h >> 15) * 2246822519u;
    h ^= h >> 13;
    return (float)(int)h * 0x1p-31f;
}

/* Weights of at most 1 are rounded thrice a step; a step moves them by about lr = 1e-3, whose own
 * error is 1e-6 of it. */
#define TWIN_TOLERANCE (N_STEPS * (3 * 0x1p-24 + 1e-3 * 1e-6))

START_TEST(adamw_follows_its_double_twin)
{
    static struct twin x;
    static float w[N], g[N], m[N], v[N];
    float *slot[] = {m, v};
    struct optim_group groups[] = {{{0, N / 2}, true, 1, 1}, {{N / 2, N - N / 2}, false, 1, 1}};
    struct shard shard;
    shard_init(&shard, N, 1, 1, 0);
    for (unsigned i = 0; i < N; i++) {
        w[i] = noise(i, 0);
        x.w[i] = w[i];
    }
    for (int t = 1; t <= N_STEPS; t++) {
        for (unsigned i = 0; i < N; i++)
            g[i] = noise(i, (unsigned)t);
        struct optim_step s = {1e-3, 0.9, 0.95, 1e-8, 0.1, clip_scale(twin_norm(g), 1), t};
        optim_update(rule_of("adamw"), &s, &shard, groups, 2, w, g, slot);
        twin_step(&x, g, groups, t);
        for (int i = 0; i < N; i++)
            ck_assert_double_eq_tol(w[i], x.w[i], TWIN_TOLERANCE);
    }
}
END_TEST

/* Groups that begin and end anywhere, with gaps that no update may touch. */
static const struct optim_group cut_groups[] = {
    {{0, 1}, true, 1, 1},       {{1, 30}, false, 1, 1},
    {{40, 5000}, true, 1, 1},   {{5040, 3}, false, 1, 1},
    {{5043, 1}, true, 1, 1},    {{5044, 4096}, false, 1, 1},
    {{9140, 3000}, true, 1, 1}, {{12150, N - 12150 - 3}, false, 1, 1},
};

struct state {
    float w[N], g[N], slot[2][N];
};

static void fill(struct state *s)
{
    for (unsigned i = 0; i < N; i++) {
        s->w[i] = noise(i, 1);
        s->g[i] = noise(i, 2);
        s->slot[0][i] = noise(i, 3);
        s->slot[1][i] = fabsf(noise(i, 4));
    }
}

/* One update by `size` ranks in turn, each with its shards. */
static void update_cut(struct state *s, const struct optim_rule *rule, int size, size_t bucket)
{
    static float slots[2][N];
    float *slot[] = {slots[0], slots[1]};
    struct optim_step step = {1e-2, 0.9, 0.95, 1e-8, 0.1, 0.37, 3};
    for (int r = 0; r < size; r++) {
        struct shard sh;
        shard_init(&sh, N, bucket, size, r);
        for (int k = 0; k < sh.n_buckets; k++) {
            struct range p = shard_piece(&sh, k, r);
            size_t at = shard_offset(&sh, k, r);
            for (int j = 0; j < 2; j++)
                memcpy(slots[j] + at, s->slot[j] + p.first, p.n * sizeof(float));
        }
        optim_update(rule, &step, &sh, cut_groups, N_OF(cut_groups), s->w, s->g, slot);
        for (int k = 0; k < sh.n_buckets; k++) {
            struct range p = shard_piece(&sh, k, r);
            for (int j = 0; j < 2; j++)
                memcpy(s->slot[j] + p.first, slots[j] + shard_offset(&sh, k, r),
                       p.n * sizeof(float));
        }
    }
}

/* Element by element, each a call of its own: no vector body at all. */
static void update_singly(struct state *s, const struct optim_rule *rule)
{
    struct optim_step step = {1e-2, 0.9, 0.95, 1e-8, 0.1, 0.37, 3};
    for (size_t k = 0; k < N_OF(cut_groups); k++)
        for (size_t i = 0; i < cut_groups[k].at.n; i++) {
            size_t at = cut_groups[k].at.first + i;
            float *slot[] = {&s->slot[0][at], &s->slot[1][at]};
            rule->update(&s->w[at], &s->g[at], slot, 1, cut_groups[k].decay, &step);
        }
}

START_TEST(the_cut_changes_no_bit)
{
    static struct state want, got;
    static const int sizes[] = {1, 2, 3, 4, 7};
    for (int i = 0; optim_row(i) != NULL; i++) {
        fill(&want);
        update_singly(&want, optim_row(i));
        for (size_t k = 0; k < N_OF(sizes); k++)
            for (size_t bucket = 1; bucket <= 1 << 16; bucket <<= 4) {
                fill(&got);
                update_cut(&got, optim_row(i), sizes[k], bucket);
                ck_assert_mem_eq(&got, &want, sizeof got);
            }
    }
}
END_TEST

START_TEST(what_no_group_holds_stays)
{
    static struct state before, after;
    fill(&before);
    fill(&after);
    update_cut(&after, rule_of("adamw"), 2, 1);
    static const size_t outside[] = {31, 39, 12140, 12149, N - 3, N - 1};
    for (size_t i = 0; i < N_OF(outside); i++)
        ck_assert_float_eq(after.w[outside[i]], before.w[outside[i]]);
    ck_assert_float_ne(after.w[40], before.w[40]);
}
END_TEST

START_TEST(clipping_bounds_the_norm)
{
    ck_assert_double_eq(clip_scale(5, 0), 1);
    ck_assert_double_eq(clip_scale(0.5, 1), 1);
    ck_assert_double_eq(clip_scale(0, 1), 1);
    ck_assert_double_eq_tol(clip_scale(4, 1), 0.25, 1e-6);
    ck_assert_double_eq(clip_scale(4, 1), 1 / (4 + 1e-6));
}
END_TEST

START_TEST(an_unknown_rule_is_refused_with_a_suggestion)
{
    const struct optim_rule *rule;
    ck_assert_int_eq(optim_find(&rule, "adamv"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "\"adamw\""));
    ck_assert_int_eq(optim_find(&rule, "lbfgs"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "adamw, adam, sgd"));
    ck_assert_ptr_null(optim_row(-1));
}
END_TEST

START_TEST(rows_are_complete)
{
    for (int i = 0; optim_row(i) != NULL; i++) {
        const struct optim_rule *r = optim_row(i);
        ck_assert_ptr_eq(rule_of(r->name), r);
        ck_assert(r->n_slots <= OPTIM_MAX_SLOTS && *r->note != '\0');
        for (int k = 0; k < r->n_slots; k++)
            ck_assert_ptr_nonnull(r->slot[k]);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, rules_give_the_known_numbers);
    tcase_add_test(t, decay_is_for_groups_that_take_it);
    tcase_add_test(t, adamw_follows_its_double_twin);
    tcase_add_test(t, the_cut_changes_no_bit);
    tcase_add_test(t, what_no_group_holds_stays);
    tcase_add_test(t, clipping_bounds_the_norm);
    tcase_add_test(t, an_unknown_rule_is_refused_with_a_suggestion);
    tcase_add_test(t, rows_are_complete);
}

int main(void)
{
    return run_suite("optim/optim", add);
}
