/* Update rules against known numbers and a double-precision twin; ranks change no bit.
 * ranks: 1 2 3 4 */
#include "base/mem.h"
#include "mpi_main.h"
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

static struct comm alone(void)
{
    struct comm c = ck_world;
    c.size = 1;
    c.rank = 0;
    return c;
}

/* A rule with its division and state. */
struct job {
    struct optim_layout layout;
    struct optim o;
};

static void begin(struct job *j, const struct optim_rule *rule, const struct optim_group *groups,
                  int n_groups, size_t bucket, double momentum, const struct comm *c)
{
    size_t n = groups[n_groups - 1].at.first + groups[n_groups - 1].at.n;
    ck_assert_int_eq(optim_layout_init(&j->layout, rule, groups, n_groups, n, bucket, c->size), OK);
    ck_assert_int_eq(optim_init(&j->o, rule, &j->layout, groups, n_groups, momentum, c), OK);
}

static void end(struct job *j)
{
    optim_release(&j->o);
    optim_layout_release(&j->layout);
}

/* The usual settings, with the rule's momentum. */
static struct optim_step settings(const struct optim_rule *rule, double lr, double decay)
{
    return (struct optim_step){.lr = lr,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = rule->eps,
                               .momentum = rule->momentum,
                               .weight_decay = decay,
                               .grad_scale = 0.25,
                               .trust = 1e-3,
                               .d0 = 0.05,
                               .hyper_lr = 0.01,
                               .hyper_cap = 10};
}

/* Three steps from w = 1 with lr 0.1 and g = 0.5, -0.3, 0.8; by an independent program. */
static const struct {
    const char *name;
    double decay, momentum;
    bool nesterov;
    double beta2, w[3];
} known[] = {
    {"sgd", 0, 0, false, 0, {0.95, 0.98, 0.9}},
    {"sgd", 0, 0.9, false, 0, {0.95, 0.935, 0.8415}},
    {"sgd", 0, 0.9, true, 0, {0.905, 0.9215, 0.75735}},
    {"adagrad", 0, 0, false, 0, {0.9, 0.951449576, 0.870637372}},
    {"rmsprop", 0, 0, false, 0.99, {2e-7, 0.516397891, -0.294157313}},
    {"adam", 0, 0, false, 0.999, {0.900000002, 0.880850199, 0.820496564}},
    {"adamw", 0, 0, false, 0.999, {0.900000002, 0.880850199, 0.820496564}},
    {"adamw", 0.1, 0, false, 0.999, {0.890000002, 0.861950199, 0.792977062}},
    {"lion", 0.1, 0, false, 0.99, {0.89, 0.9811, 0.871289}},
    {"schedule_free", 0, 0, false, 0.999, {0.9, 0.936384628, 0.901865178}},
};
static const float known_g[] = {0.5f, -0.3f, 0.8f};

/* Three steps of a few float roundings each, near 1. */
#define KNOWN_TOLERANCE 4e-7

START_TEST(rules_give_the_known_numbers)
{
    const struct optim_group one = {.at = {0, 1}, .decay = true, .rate = 1};
    const struct comm c = alone();
    for (size_t i = 0; i < N_OF(known); i++) {
        const struct optim_rule *rule = rule_of(known[i].name);
        struct optim_step s = settings(rule, 0.1, known[i].decay);
        struct job j;
        float w = 1;
        s.momentum = known[i].momentum;
        s.nesterov = known[i].nesterov;
        s.beta2 = known[i].beta2;
        begin(&j, rule, &one, 1, 1, s.momentum, &c);
        optim_begin(&j.o, &w, false);
        for (s.t = 1; s.t <= 3; s.t++) {
            float g = 4 * known_g[s.t - 1];
            optim_hide(&j.o, &w);
            optim_update(&j.o, &s, &w, &g);
            optim_show(&j.o, &w);
            ck_assert_msg(fabs((double)w - known[i].w[s.t - 1]) < KNOWN_TOLERANCE,
                          "%s, step %d: %.9g, not %.9g", rule->name, (int)s.t, (double)w,
                          known[i].w[s.t - 1]);
        }
        end(&j);
    }
}
END_TEST

START_TEST(sgd_dampens_all_but_the_first_gradient)
{
    const struct optim_group one = {.at = {0, 1}, .rate = 1};
    const struct comm c = alone();
    struct optim_step s = settings(rule_of("sgd"), 0.1, 0);
    struct job j;
    float w = 1;
    s.momentum = 0.9;
    s.dampening = 0.5;
    begin(&j, rule_of("sgd"), &one, 1, 1, s.momentum, &c);
    for (s.t = 1; s.t <= 2; s.t++) {
        float g = 4 * known_g[s.t - 1];
        optim_update(&j.o, &s, &w, &g);
    }
    end(&j);
    /* u: 0.5; 0.9·0.5 - 0.5·0.3. */
    ck_assert_double_eq_tol((double)w, 0.95 - 0.1 * 0.3, KNOWN_TOLERANCE);
}
END_TEST

/* One step from w = (3, 4) with g = (0.6, 0.8) and lr 0.1; by an independent program. */
START_TEST(lars_and_lamb_scale_by_the_norms)
{
    static const struct {
        const char *name;
        double decay, w[2];
    } norms[] = {{"lars", 0.1, {2.9997, 3.9996}}, {"lamb", 0.01, {2.648159, 3.644743}}};
    const struct optim_group one = {.at = {0, 2}, .decay = true, .rate = 1};
    const struct comm c = alone();
    for (size_t i = 0; i < N_OF(norms); i++) {
        const struct optim_rule *rule = rule_of(norms[i].name);
        struct optim_step s = settings(rule, 0.1, norms[i].decay);
        float w[] = {3, 4}, g[] = {2.4f, 3.2f};
        struct job j;
        s.t = 1;
        begin(&j, rule, &one, 1, 1, s.momentum, &c);
        optim_update(&j.o, &s, w, g);
        for (int k = 0; k < 2; k++)
            ck_assert_double_eq_tol((double)w[k], norms[i].w[k], 1e-6);
        end(&j);
    }
}
END_TEST

/* Three steps on a matrix, rates and decay 0.1; by an independent program in double. */
static const float matrix_w[] = {.5f, -.3f, .8f, -1, .2f, .7f};
static const float matrix_g[3][6] = {{.1f, -.2f, .3f, .4f, .5f, -.6f},
                                     {-.7f, .2f, .1f, .3f, -.1f, .5f},
                                     {.2f, .2f, -.4f, -.3f, .6f, .1f}};
static const struct {
    const char *name;
    size_t rows, cols;
    double decay, w[6];
} matrices[] = {
    {"muon",
     2,
     3,
     0.1,
     {0.49689683118670214, -0.3008372508195845, 0.7736625287171278, -1.0051154739911825,
      0.14170255858411251, 0.6586435327739587}},
    {"adafactor",
     2,
     3,
     0.1,
     {0.5164153683993302, -0.3234289579524532, 0.7674619047153557, -1.0300909522122679,
      0.052645677513989506, 0.6536935546303203}},
    {"adafactor",
     6,
     1,
     0,
     {0.489308666054696, -0.3664201521030665, 0.791722243407555, -1.0602232159595815,
      0.06895067659059977, 0.6894581350082092}},
};
/* Muon's five products of products lose a few bits more. */
#define MATRIX_TOLERANCE 1e-6

/* transposed: the same numbers, column by column. */
static void check_matrix(size_t i, bool transposed)
{
    size_t rows = matrices[i].rows, cols = matrices[i].cols;
    const struct optim_group one = {.at = {0, 6},
                                    .decay = true,
                                    .rate = 1,
                                    .rows = transposed ? cols : rows,
                                    .cols = transposed ? rows : cols,
                                    .hidden = true};
    const struct optim_rule *rule = rule_of(matrices[i].name);
    const struct comm c = alone();
    struct optim_step s = settings(rule, 0.1, matrices[i].decay);
    struct job j;
    float w[6], g[6];
    for (size_t k = 0; k < 6; k++)
        w[transposed ? k % cols * rows + k / cols : k] = matrix_w[k];
    begin(&j, rule, &one, 1, 1, s.momentum, &c);
    for (s.t = 1; s.t <= 3; s.t++) {
        for (size_t k = 0; k < 6; k++)
            g[transposed ? k % cols * rows + k / cols : k] = 4 * matrix_g[s.t - 1][k];
        optim_update(&j.o, &s, w, g);
    }
    end(&j);
    for (size_t k = 0; k < 6; k++)
        ck_assert_double_eq_tol((double)w[transposed ? k % cols * rows + k / cols : k],
                                matrices[i].w[k], MATRIX_TOLERANCE);
}

START_TEST(matrix_rules_give_the_known_numbers)
{
    for (size_t i = 0; i < N_OF(matrices); i++)
        check_matrix(i, false);
    check_matrix(0, true);
    check_matrix(1, true);
}
END_TEST

/* Steps down a quadratic, g = w - target; by an independent program in double. */
static const float target[] = {1, -1, .5f, .25f, -.5f, 2};
static const struct {
    const char *name;
    int steps;
    double lr, decay, growth, cap, w[6], scalar; /* the rule's first, or the rate */
} descents[] = {
    {"prodigy",
     10,
     1,
     0.1,
     0,
     0,
     {0.6399929835219643, -1.4302191012849663, 0.37518987597975034, 0.5254816502125407,
      -0.9271227733105993, 2.0648311273712556},
     0.3121581723021503},
    {"prodigy",
     10,
     1,
     0,
     1.02,
     0,
     {0.7320769905245362, -0.7739087652438894, 0.3991393494729639, 0.7902941587642283,
      -0.2739087652438894, 2.597335645327599},
     0.08237453515752567},
    {"sgd_hd",
     6,
     0.05,
     0,
     0,
     10,
     {0.793435435227812, -0.7108096093189367, 0.6239387388633129, -0.26641141193047013,
      -0.21080960931893672, 1.4629321315923112},
     0.19661877441548037 - 0.05},
    {"sgd_hd",
     6,
     0.05,
     0,
     0,
     1.5,
     {0.6783361369628907, -0.5496705917480469, 0.6929983178222656, -0.5541596575927734,
      -0.04967059174804689, 1.1636739561035156},
     0.075 - 0.05},
    {"adam_hd",
     6,
     0.05,
     0,
     0,
     10,
     {1.2140621618907235, -1.0673336085502518, 0.25677263448794363, -0.1960982485752221,
      -0.5673336085502519, 1.5051658877547747},
     0.19812417068690835 - 0.05},
};
/* Each step feeds its rounding back. Prodigy takes differences of weights, so that with a small
 * first guess single precision itself would tell: hence d0. */
#define DESCENT_TOLERANCE 2e-7 /* a step */

START_TEST(rules_that_find_their_rate_give_the_known_numbers)
{
    const struct optim_group one = {.at = {0, 6}, .decay = true, .rate = 1};
    const struct comm c = alone();
    for (size_t i = 0; i < N_OF(descents); i++) {
        const struct optim_rule *rule = rule_of(descents[i].name);
        struct optim_step s = settings(rule, descents[i].lr, descents[i].decay);
        struct job j;
        float w[6], g[6];
        s.d_growth = descents[i].growth;
        s.hyper_cap = descents[i].cap;
        memcpy(w, matrix_w, sizeof w);
        begin(&j, rule, &one, 1, 1, 0, &c);
        optim_begin(&j.o, w, false);
        for (s.t = 1; s.t <= descents[i].steps; s.t++) {
            for (int k = 0; k < 6; k++)
                g[k] = 4 * (w[k] - target[k]);
            optim_update(&j.o, &s, w, g);
        }
        for (int k = 0; k < 6; k++)
            ck_assert_msg(
                fabs((double)w[k] - descents[i].w[k]) < DESCENT_TOLERANCE * descents[i].steps,
                "%s: w[%d] is %.9g, not %.9g", rule->name, k, (double)w[k], descents[i].w[k]);
        ck_assert_double_eq_tol(j.o.scalar[0], descents[i].scalar,
                                DESCENT_TOLERANCE * descents[i].steps *
                                    (1 + fabs(descents[i].scalar)));
        end(&j);
    }
}
END_TEST

START_TEST(decay_is_for_groups_that_take_it)
{
    const struct comm c = alone();
    for (int i = 0; optim_row(i) != NULL; i++) {
        const struct optim_rule *rule = optim_row(i);
        struct optim_step s = settings(rule, 0.1, 0.5);
        s.t = 1;
        for (int takes = 0; takes < 2; takes++) {
            const struct optim_group one = {.at = {0, 1}, .decay = takes, .rate = 1};
            struct job j;
            float w = 2, g = 0;
            begin(&j, rule, &one, 1, 1, s.momentum, &c);
            optim_begin(&j.o, &w, false);
            optim_update(&j.o, &s, &w, &g);
            ck_assert_msg(takes ? w < 2 : w == 2, "%s: %g", rule->name, (double)w);
            end(&j);
        }
    }
}
END_TEST

START_TEST(a_groups_factors_are_those_of_rate_and_decay)
{
    const struct comm c = alone();
    struct optim_step s = settings(rule_of("adamw"), 0.1, 0.5);
    s.t = 1;
    struct optim_group one = {.at = {0, 1}, .decay = true, .rate = 0.5, .decay_factor = 4};
    struct job j;
    float w = 2, g = 0;
    begin(&j, rule_of("adamw"), &one, 1, 1, 0, &c);
    optim_update(&j.o, &s, &w, &g);
    ck_assert_double_eq_tol((double)w, 2 * (1 - 0.1 * 0.5 * 0.5 * 4), KNOWN_TOLERANCE);
    end(&j);
}
END_TEST

enum { N = 3 * SHARD_BLOCK + 77, N_STEPS = 5 };

/* The fixtures' recipe, step by step in double. */
struct twin {
    double w[N], m[N], v[N];
    double left1, left2;
};

static double twin_norm(const float *g)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += (double)g[i] * (double)g[i];
    return sqrt(sum);
}

/* With the averages' decays of this step; what they have left of their first zeros is the product
 * of all of them. */
static void twin_step(struct twin *x, const float *g, const struct optim_group *groups,
                      double beta1, double beta2)
{
    x->left1 *= beta1;
    x->left2 *= beta2;
    double scale = fmin(1, 1 / (twin_norm(g) + 1e-6));
    for (int i = 0; i < N; i++) {
        double gi = (double)g[i] * scale, decay = (size_t)i < groups[0].at.n ? 0.1 : 0;
        x->w[i] -= 1e-3 * decay * x->w[i];
        x->m[i] = beta1 * x->m[i] + (1 - beta1) * gi;
        x->v[i] = beta2 * x->v[i] + (1 - beta2) * gi * gi;
        double mean = x->m[i] / (1 - x->left1), square = x->v[i] / (1 - x->left2);
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

/* Of one step. */
struct decays {
    double beta1, beta2;
};

static struct decays constant_decays(int t)
{
    (void)t;
    return (struct decays){0.9, 0.95};
}

static struct decays decays_of_a_ramp(int t)
{
    return t <= N_STEPS / 2 ? (struct decays){0.9, 0.95} : (struct decays){0.6, 0.8};
}

static struct decays decays_of_a_cycle(int t)
{
    return (struct decays){0.95 - 0.1 * t / N_STEPS, 0.95};
}

static void follow_twin(struct decays (*decays)(int t))
{
    static struct twin x;
    static float w[N], g[N];
    const struct optim_group groups[] = {{.at = {0, N / 2}, .decay = true, .rate = 1},
                                         {.at = {N / 2, N - N / 2}, .rate = 1}};
    const struct comm c = alone();
    struct job j;
    memset(&x, 0, sizeof x);
    x.left1 = x.left2 = 1;
    for (unsigned i = 0; i < N; i++) {
        w[i] = noise(i, 0);
        x.w[i] = (double)w[i];
    }
    begin(&j, rule_of("adamw"), groups, 2, 1, 0, &c);
    for (int t = 1; t <= N_STEPS; t++) {
        for (unsigned i = 0; i < N; i++)
            g[i] = noise(i, (unsigned)t);
        struct optim_step s = settings(rule_of("adamw"), 1e-3, 0.1);
        s.beta1 = decays(t).beta1;
        s.beta2 = decays(t).beta2;
        s.grad_scale = clip_scale(twin_norm(g), 1);
        optim_update(&j.o, &s, w, g);
        twin_step(&x, g, groups, s.beta1, s.beta2);
        for (int i = 0; i < N; i++)
            ck_assert_double_eq_tol((double)w[i], x.w[i], TWIN_TOLERANCE);
    }
    end(&j);
}

START_TEST(adamw_follows_its_double_twin)
{
    follow_twin(constant_decays);
}
END_TEST

START_TEST(corrections_are_those_of_all_decays_so_far)
{
    follow_twin(decays_of_a_ramp);
    follow_twin(decays_of_a_cycle);
}
END_TEST

/* While no decay changes the corrections are powers, and an optimizer that counts anew from a file
 * without a count has the same bits. */
START_TEST(updates_are_counted_or_assumed)
{
    const struct optim_group one = {.at = {0, 1}, .rate = 1};
    const struct comm c = alone();
    struct optim_step s = settings(rule_of("adamw"), 0.1, 0);
    struct job a, b;
    begin(&a, rule_of("adamw"), &one, 1, 1, 0, &c);
    begin(&b, rule_of("adamw"), &one, 1, 1, 0, &c);
    for (int t = 1; t <= 7; t++) {
        float w = 1, g = 0.5f;
        optim_update(&a.o, &s, &w, &g);
        optim_assume(&b.o, t, s.beta1, s.beta2);
        ck_assert_mem_eq(&a.o.past, &b.o.past, sizeof a.o.past);
    }
    ck_assert_double_eq(a.o.past.of[0].before, 1);
    end(&a);
    end(&b);
}
END_TEST

/* ---- ranks ---- */

/* Tensors of many blocks and of few floats, with gaps that no update may touch. Rows of the second
 * make three of adafactor's units. */
static const struct optim_group tensors[] = {
    {.at = {0, 70 * 36}, .decay = true, .rate = 1, .rows = 70, .cols = 36},
    {.at = {2528, 2500 * 32}, .decay = true, .rate = 0.5, .rows = 2500, .cols = 32},
    {.at = {82528, 36}, .rate = 1, .rows = 36, .cols = 1},
    {.at = {82576, 48 * 36}, .decay = true, .rate = 1, .rows = 48, .cols = 36, .hidden = true},
    {.at = {84304, 36 * 100}, .decay = true, .rate = 1, .rows = 36, .cols = 100, .hidden = true},
    {.at = {87904, 5000}, .rate = 2, .rows = 5000, .cols = 1},
    {.at = {92912, 110 * 101}, .decay = true, .rate = 1, .rows = 110, .cols = 101, .hidden = true},
    {.at = {104032, 5}, .rate = 1, .rows = 5, .cols = 1},
};
enum { N_TENSORS = N_OF(tensors), N_SLAB = 104032 + 5, N_UPDATES = 4 };

struct slabs {
    float w[N_SLAB], g[N_SLAB];
};
static struct slabs one, shared;

static bool in_tensor(size_t i)
{
    for (int k = 0; k < (int)N_TENSORS; k++)
        if (i >= tensors[k].at.first && i < tensors[k].at.first + tensors[k].at.n)
            return true;
    return false;
}

static void fill(float *x, unsigned t)
{
    for (unsigned i = 0; i < N_SLAB; i++)
        x[i] = in_tensor(i) ? noise(i, t) : 0;
}

/* Every rank's pieces of a slab to all, bit for bit: elsewhere it may hold anything. */
struct gathering {
    const float *from;
    float *to;
    bool from_shard;
};

static void take_piece(void *ctx, struct range piece, size_t at)
{
    struct gathering *x = ctx;
    memcpy(x->to + piece.first, x->from + (x->from_shard ? at : piece.first),
           piece.n * sizeof(float));
}

static void gather(float *to, const float *from, const struct shard *s, bool from_shard)
{
    struct gathering x = {from, to, from_shard};
    memset(to, 0, N_SLAB * sizeof *to);
    shard_each(s, take_piece, &x);
    if (s->size > 1)
        MPI_Allreduce(MPI_IN_PLACE, to, N_SLAB, MPI_INT32_T, MPI_SUM, ck_world.world);
}

static void compare_slots(const struct optim *a, const struct optim *b)
{
    static float x[N_SLAB], y[N_SLAB];
    for (int i = 0; i < a->n_slots; i++) {
        gather(x, a->slot[i], &a->slot_shard[i], true);
        gather(y, b->slot[i], &b->slot_shard[i], true);
        ck_all(&ck_world, memcmp(x, y, sizeof x) == 0);
    }
    for (int i = 0; i < a->rule->n_stats; i++)
        ck_all(&ck_world, memcmp(a->stat[i], b->stat[i], a->stat_n[i] * sizeof(float)) == 0);
    ck_all(&ck_world, memcmp(a->scalar, b->scalar, sizeof a->scalar) == 0);
}

/* By one rank, and by all together. */
static void update_both(const struct optim_rule *rule, size_t bucket)
{
    const struct comm c = alone();
    struct job a, b;
    struct optim_step s = settings(rule, 1e-2, 0.1);
    s.momentum = s.momentum > 0 ? s.momentum : 0.9;
    begin(&a, rule, tensors, N_TENSORS, 1 << 20, s.momentum, &c);
    begin(&b, rule, tensors, N_TENSORS, bucket, s.momentum, &ck_world);
    fill(one.w, 0);
    fill(shared.w, 0);
    optim_begin(&a.o, one.w, false);
    optim_begin(&b.o, shared.w, false);
    for (s.t = 1; s.t <= N_UPDATES; s.t++) {
        static float all[N_SLAB];
        fill(one.g, (unsigned)s.t);
        memcpy(shared.g, one.g, sizeof one.g);
        optim_update(&a.o, &s, one.w, one.g);
        optim_update(&b.o, &s, shared.w, shared.g);
        gather(all, shared.w, &b.o.shard, false);
        memcpy(shared.w, all, sizeof all);
        ck_all(&ck_world, memcmp(one.w, shared.w, sizeof one.w) == 0);
    }
    compare_slots(&a.o, &b.o);
    end(&a);
    end(&b);
}

START_TEST(ranks_and_buckets_change_no_bit)
{
    static float before[N_SLAB];
    fill(before, 0);
    for (int i = 0; optim_row(i) != NULL; i++)
        for (size_t bucket = 1; bucket <= 1 << 18; bucket <<= 9) {
            update_both(optim_row(i), bucket);
            ck_assert_mem_ne(one.w, before, sizeof before);
            for (size_t k = 0; k < N_SLAB; k++)
                if (!in_tensor(k))
                    ck_assert_float_eq(one.w[k], 0);
        }
}
END_TEST

/* ---- frozen tensors ---- */

START_TEST(frozen_tensors_have_no_state_and_stay)
{
    struct optim_group some[N_TENSORS];
    static float before[N_SLAB];
    const struct comm c = alone();
    memcpy(some, tensors, sizeof some);
    some[1].frozen = some[4].frozen = true;
    fill(before, 0);
    for (int i = 0; optim_row(i) != NULL; i++) {
        const struct optim_rule *rule = optim_row(i);
        struct optim_step s = settings(rule, 1e-2, 0.1);
        struct job j, all;
        s.t = 1;
        begin(&all, rule, tensors, N_TENSORS, 1 << 14, s.momentum, &c);
        begin(&j, rule, some, N_TENSORS, 1 << 14, s.momentum, &c);
        memcpy(one.w, before, sizeof before);
        fill(one.g, 1);
        optim_begin(&j.o, one.w, false);
        optim_update(&j.o, &s, one.w, one.g);
        for (size_t k = 0; k < N_TENSORS; k++) {
            const struct range at = some[k].at;
            bool same = memcmp(one.w + at.first, before + at.first, at.n * sizeof(float)) == 0;
            ck_assert_int_eq(same, some[k].frozen);
            ck_assert_int_eq(shard_holds(&j.o.shard, at.first, at.n), !some[k].frozen);
        }
        size_t kept = shard_total(&j.o.shard), whole = shard_total(&all.o.shard);
        ck_assert_uint_le(kept + some[1].at.n + some[4].at.n, whole);
        if (j.o.n_slots > 0)
            ck_assert_uint_eq(shard_total(&j.o.slot_shard[0]), kept);
        end(&j);
        end(&all);
    }
}
END_TEST

START_TEST(hidden_matrices_are_whole_and_lack_a_slot)
{
    struct job j;
    begin(&j, rule_of("muon"), tensors, N_TENSORS, 1, 0.95, &ck_world);
    int owned = 0, all;
    size_t hidden = 0;
    for (size_t k = 0; k < N_TENSORS; k++) {
        if (!tensors[k].hidden)
            continue;
        hidden += tensors[k].at.n;
        for (int b = shard_bucket_from(&j.o.shard, tensors[k].at.first), r = 0; r < ck_world.size;
             r++)
            owned += r == ck_world.rank && shard_piece(&j.o.shard, b, r).n > 0;
        ck_assert(!shard_holds(&j.o.slot_shard[1], tensors[k].at.first, tensors[k].at.n));
    }
    MPI_Allreduce(&owned, &all, 1, MPI_INT, MPI_SUM, ck_world.world);
    ck_assert_int_eq(all, 3);
    ck_assert_uint_eq(shard_total(&j.o.slot_shard[0]), shard_total(&j.o.slot_shard[1]) + hidden);
    end(&j);
}
END_TEST

/* ---- weights that are shown ---- */

START_TEST(showing_the_average_and_hiding_it_changes_no_bit)
{
    const struct optim_rule *rule = rule_of("schedule_free");
    const struct comm c = alone();
    struct optim_step s = settings(rule, 1e-2, 0.1);
    struct job j;
    static float before[N_SLAB];
    begin(&j, rule, tensors, N_TENSORS, 1, 0, &c);
    fill(one.w, 0);
    optim_begin(&j.o, one.w, false);
    for (s.t = 1; s.t <= 3; s.t++) {
        fill(one.g, (unsigned)s.t);
        ck_assert(optim_hide(&j.o, one.w));
        optim_update(&j.o, &s, one.w, one.g);
        memcpy(before, one.w, sizeof before);
        ck_assert(optim_show(&j.o, one.w) && !optim_show(&j.o, one.w));
        ck_assert(s.t == 1 || memcmp(before, one.w, sizeof before) != 0);
        ck_assert(optim_hide(&j.o, one.w) && !optim_hide(&j.o, one.w));
        ck_assert_mem_eq(before, one.w, sizeof before);
        optim_show(&j.o, one.w);
    }
    end(&j);
}
END_TEST

/* ---- the table ---- */

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
    err_clear();
}
END_TEST

START_TEST(rows_are_complete)
{
    for (int i = 0; optim_row(i) != NULL; i++) {
        const struct optim_rule *r = optim_row(i);
        ck_assert_ptr_eq(rule_of(r->name), r);
        ck_assert(r->n_slots <= OPTIM_MAX_SLOTS && *r->note != '\0');
        ck_assert(r->n_saved <= r->n_slots && r->n_passes > 0 && r->moves >= 3);
        for (int k = 0; k < r->n_slots; k++)
            ck_assert_ptr_nonnull(r->slot[k]);
        for (int k = 0; k < r->n_scalars; k++)
            ck_assert_ptr_nonnull(r->scalar[k]);
    }
}
END_TEST

START_TEST(zones_are_cut_by_whole_blocks)
{
    for (int i = 0; optim_row(i) != NULL; i++)
        for (size_t cols = 2; cols < 3000; cols += 7) {
            const struct optim_group matrix = {.at = {32, 40 * cols}, .rate = 1, .cols = cols};
            struct optim_layout l;
            ck_assert_int_eq(
                optim_layout_init(&l, optim_row(i), &matrix, 1, 32 + 40 * cols, 1, ck_world.size),
                OK);
            for (int z = 0; z < l.n_zones; z++)
                ck_assert_uint_eq(l.zones[z].unit % SHARD_BLOCK, 0);
            optim_layout_release(&l);
        }
}
END_TEST

START_TEST(what_is_planned_is_what_is_held)
{
    for (int i = 0; optim_row(i) != NULL; i++) {
        const struct optim_rule *rule = optim_row(i);
        struct optim_layout l;
        struct optim o;
        ck_assert_int_eq(optim_layout_init(&l, rule, tensors, N_TENSORS, N_SLAB, 1, ck_world.size),
                         OK);
        size_t before = mem_bytes();
        ck_assert_int_eq(optim_init(&o, rule, &l, tensors, N_TENSORS, 0.9, &ck_world), OK);
        size_t held = mem_bytes() - before;
        size_t planned = optim_slot_bytes(rule, &l, 0.9, ck_world.size, ck_world.rank) +
                         sizeof(float) * optim_stat_floats(rule, tensors, N_TENSORS) +
                         optim_scratch_bytes(rule, tensors, N_TENSORS, ck_world.size);
        if (held != planned)
            printf("%s: held %zu, planned %zu\n", rule->name, held, planned);
        ck_all(&ck_world, held == planned);
        optim_release(&o);
        optim_layout_release(&l);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, rules_give_the_known_numbers);
    tcase_add_test(t, sgd_dampens_all_but_the_first_gradient);
    tcase_add_test(t, lars_and_lamb_scale_by_the_norms);
    tcase_add_test(t, matrix_rules_give_the_known_numbers);
    tcase_add_test(t, rules_that_find_their_rate_give_the_known_numbers);
    tcase_add_test(t, decay_is_for_groups_that_take_it);
    tcase_add_test(t, a_groups_factors_are_those_of_rate_and_decay);
    tcase_add_test(t, adamw_follows_its_double_twin);
    tcase_add_test(t, corrections_are_those_of_all_decays_so_far);
    tcase_add_test(t, updates_are_counted_or_assumed);
    tcase_add_test(t, zones_are_cut_by_whole_blocks);
    tcase_add_test(t, ranks_and_buckets_change_no_bit);
    tcase_add_test(t, frozen_tensors_have_no_state_and_stay);
    tcase_add_test(t, hidden_matrices_are_whole_and_lack_a_slot);
    tcase_add_test(t, showing_the_average_and_hiding_it_changes_no_bit);
    tcase_add_test(t, clipping_bounds_the_norm);
    tcase_add_test(t, an_unknown_rule_is_refused_with_a_suggestion);
    tcase_add_test(t, rows_are_complete);
    tcase_add_test(t, what_is_planned_is_what_is_held);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "optim/optim", add);
}
