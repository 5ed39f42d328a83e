/* Lengths, rates and micro-batches that follow from a configuration. */
#include "base/err.h"
#include "check_main.h"
#include "train/derive.h"

#include <math.h>
#include <string.h>

/* Relative; a few products. */
#define TOLERANCE 1e-15

static struct config base(void)
{
    struct config c = {0};
    c.batch.global = 7;
    c.batch.micro = 2;
    c.batch.seq_len = 100;
    strcpy(c.schedule.name, "cosine");
    strcpy(c.scaling.rule, "none");
    strcpy(c.optimizer.name, "adamw");
    c.scaling.base_batch = -1;
    c.schedule.final = 0.1;
    c.optimizer.lr = 1e-3;
    c.optimizer.beta1 = c.optimizer.beta2 = c.optimizer.eps = c.optimizer.momentum = -1;
    c.train.length = (struct amount){20, UNIT_STEPS};
    return c;
}

static const struct ramp_at START = {0, 0};
static const struct gain unmeasured;

static struct course course(const struct config *c, struct ramp_at from)
{
    struct course k;
    ck_assert_msg(derive_course(&k, c, 20, from) == OK, "%s", err_message());
    return k;
}

START_TEST(micro_batches_round_up)
{
    struct config c = base();
    ck_assert_int_eq(derive_n_micro(&c), 4);
    c.batch.global = 8;
    ck_assert_int_eq(derive_n_micro(&c), 4);
    ck_assert_int_eq(derive_micros(&c, 9), 5);
}
END_TEST

START_TEST(amounts_become_whole_steps)
{
    static const struct {
        struct amount a;
        int64_t steps;
    } row[] = {
        {{0, UNIT_NONE}, 0},      {{12, UNIT_STEPS}, 12},  {{1400, UNIT_TOKENS}, 2},
        {{1401, UNIT_TOKENS}, 3}, {{14, UNIT_SAMPLES}, 2}, {{15, UNIT_SAMPLES}, 3},
        {{2, UNIT_EPOCHS}, 6},    {{10, UNIT_PERCENT}, 5}, {{11, UNIT_PERCENT}, 6},
    };
    struct config c = base();
    c.train.length.value = 50;
    struct course k = course(&c, START);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        ck_assert_int_eq(course_steps(&k, &c, row[i].a), row[i].steps);
}
END_TEST

START_TEST(a_ramp_makes_amounts_other_steps)
{
    struct config c = base();
    strcpy(c.batch.ramp, "0:2 10 samples:5 12 steps:7");
    c.train.length = (struct amount){10000, UNIT_TOKENS};
    struct course k = course(&c, START);
    /* 5 steps of 2, 7 of 5, then 7: 45 of 100 sequences after 12 steps, 8 more steps follow. */
    ck_assert_int_eq(k.n_steps, 20);
    ck_assert_int_eq(course_at(&k, 12).samples, 45);
    ck_assert_int_eq(course_at(&k, 20).samples, 101);
    ck_assert_int_eq(course_steps(&k, &c, (struct amount){1100, UNIT_TOKENS}), 6);
    ck_assert_int_eq(course_steps(&k, &c, (struct amount){50, UNIT_PERCENT}), 13); /* 50.5 of 101 */
    ck_assert_int_eq(course_next(&k, START).step, 5);
    ck_assert_int_eq(course_next(&k, course_at(&k, 12)).step, 20);
}
END_TEST

/* 10 steps of 3 sequences are done when the batch becomes 7: what was consumed counts. */
START_TEST(a_run_goes_on_from_what_is_done)
{
    struct config c = base();
    struct ramp_at done = {10, 30};
    c.train.length = (struct amount){100, UNIT_SAMPLES};
    struct course k = course(&c, done);
    ck_assert_int_eq(k.n_steps, 20);
    ck_assert_int_eq(course_at(&k, 20).samples, 100);
    c.train.length = (struct amount){14, UNIT_STEPS};
    k = course(&c, done);
    ck_assert_int_eq(k.n_steps, 14);
    ck_assert_int_eq(course_at(&k, 14).samples, 58);
    /* At the same batch all along, it does not matter where a run goes on. */
    c.train.length = (struct amount){100, UNIT_SAMPLES};
    k = course(&c, START);
    struct course later = course(&c, (struct ramp_at){9, 63});
    ck_assert_int_eq(k.n_steps, later.n_steps);
    ck_assert_int_eq(course_at(&later, 4).samples, course_at(&k, 4).samples);
}
END_TEST

static struct optim_settings settings_after(const struct config *c, int64_t step, struct str *text)
{
    struct schedule s;
    struct scaling g;
    struct course k = course(c, START);
    ck_assert_int_eq(derive_scaling(&g, c), OK);
    ck_assert_int_eq(derive_schedule(&s, c, &k, &g, text), OK);
    return derive_step(&s, c, &k, &g, course_at(&k, step), &unmeasured);
}

static double rate_after(const struct config *c, int64_t step)
{
    return settings_after(c, step, NULL).lr;
}

START_TEST(rate_follows_batch_warmup_and_schedule)
{
    struct config c = base();
    struct str text = {0};
    double peak = 0.5e-3;
    strcpy(c.scaling.rule, "sqrt");
    c.scaling.base_batch = 28;
    c.schedule.warmup = (struct amount){4, UNIT_STEPS};
    ck_assert_double_eq_tol(rate_after(&c, 0), peak / 4, TOLERANCE);
    ck_assert_double_eq_tol(rate_after(&c, 3), peak, TOLERANCE);
    double x = 8.0 / 16; /* step 12 begins half-way between warmup and end */
    double expected = peak * (0.1 + 0.9 * (1 + cos(M_PI * x)) / 2);
    ck_assert_double_eq_tol(settings_after(&c, 12, &text).lr, expected, TOLERANCE);
    ck_assert_ptr_nonnull(strstr(text.s, "first, last     1.250e-04, "));
    str_release(&text);
}
END_TEST

START_TEST(settings_follow_the_ramp)
{
    struct config c = base();
    strcpy(c.batch.ramp, "0:2 5 steps:4 10 steps:8");
    strcpy(c.scaling.rule, "half_life");
    strcpy(c.schedule.name, "constant");
    c.batch.global = 8;
    c.scaling.base_batch = 4;
    c.optimizer.weight_decay = 0.1;
    for (int64_t step = 0; step < 20; step++) {
        double kappa = step < 5 ? 0.5 : step < 10 ? 1 : 2;
        struct optim_settings s = settings_after(&c, step, NULL);
        ck_assert_double_eq_tol(s.lr, 1e-3 * sqrt(kappa), TOLERANCE);
        ck_assert_double_eq_tol(s.beta1, pow(0.9, kappa), TOLERANCE);
        ck_assert_double_eq_tol(s.beta2, pow(0.95, kappa), TOLERANCE);
        ck_assert_double_eq_tol(s.eps, 1e-8 / sqrt(kappa), TOLERANCE);
        ck_assert_double_eq_tol(s.weight_decay, 0.1 * sqrt(kappa), TOLERANCE);
    }
}
END_TEST

/* The schedule counts what is consumed: half-way is after half of the sequences. */
START_TEST(the_schedule_counts_sequences_through_a_ramp)
{
    struct config c = base();
    strcpy(c.batch.ramp, "0:2 10 steps:6");
    strcpy(c.schedule.name, "linear");
    c.batch.global = 6;
    c.schedule.final = 0;
    c.train.length = (struct amount){80, UNIT_SAMPLES};
    ck_assert_double_eq_tol(rate_after(&c, 10), 1e-3 * 0.75, TOLERANCE);
    ck_assert_double_eq_tol(rate_after(&c, 15), 1e-3 * 30 / 80, TOLERANCE);
}
END_TEST

START_TEST(settings_of_the_job_come_before_the_rules_own)
{
    struct config c = base();
    struct optim_settings s = settings_after(&c, 3, NULL);
    ck_assert_double_eq(s.beta1, 0.9);
    ck_assert_double_eq(s.beta2, 0.95);
    c.optimizer.beta1 = 0;
    c.optimizer.eps = 1e-6;
    s = settings_after(&c, 3, NULL);
    ck_assert_double_eq(s.beta1, 0);
    ck_assert_double_eq(s.eps, 1e-6);
}
END_TEST

START_TEST(the_ramp_is_described)
{
    struct config c = base();
    struct scaling g;
    struct str text = {0}, lines = {0};
    strcpy(c.batch.ramp, "0:2 5 steps:4 10 steps:7");
    strcpy(c.scaling.rule, "sqrt");
    c.scaling.base_batch = 4;
    struct course k = course(&c, START);
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    course_describe(&k, &c, &g, &text);
    ck_assert_str_eq(text.s, "batch ramp      from token    batch      steps  micro-batches"
                             "    peak rate\n"
                             "                         0        2          5              1"
                             "    7.071e-04\n"
                             "                     1.00k        4          5              2"
                             "    1.000e-03\n"
                             "                     3.00k        7         10              4"
                             "    1.323e-03\n");
    course_warn(&k, &c, &lines);
    ck_assert_uint_eq(lines.len, 0);
    c.train.length.value = 10;
    k = course(&c, START);
    course_warn(&k, &c, &lines);
    ck_assert_ptr_nonnull(strstr(lines.s, "batch.ramp ends after the run"));
    str_release(&text);
    str_release(&lines);
    course_warn_idle(&k, &c, 1, &lines);
    course_warn_idle(&k, &c, 5, &lines); /* more than ever have work: said elsewhere */
    ck_assert_uint_eq(lines.len, 0);
    course_warn_idle(&k, &c, 4, &lines);
    ck_assert_ptr_nonnull(strstr(lines.s, "3 of 4 ranks wait until it has grown"));
    str_release(&lines);
}
END_TEST

/* Steps at twice the base: where there is no signal each is worth two, where there is no noise one.
 */
START_TEST(adascale_counts_what_steps_are_worth)
{
    static const struct {
        double trace, signal, gain;
        int64_t steps;
    } row[] = {{100, 0, 2, 20}, {0, 1, 1, 40}, {28, 1, 5 / 3., 24}, {0, 0, 1, 40}};
    struct config c = base();
    struct schedule s;
    struct scaling g;
    strcpy(c.scaling.rule, "adascale");
    strcpy(c.schedule.name, "linear");
    c.batch.global = 14;
    c.scaling.base_batch = 7;
    c.noise.every = 1;
    c.schedule.final = 0;
    struct course k = course(&c, START);
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    ck_assert_int_eq(derive_schedule(&s, &c, &k, &g, NULL), OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct gain m = {.trace = row[i].trace, .signal = row[i].signal};
        struct ramp_at at = START;
        for (; at.step < derive_end(&k, &g, at, &m); at = ramp_walk(&k.ramp, at, 1)) {
            double done = (double)at.step * row[i].gain / 2 / 20;
            double want = 1e-3 * sqrt(row[i].gain) * (1 - done);
            double lr = derive_step(&s, &c, &k, &g, at, &m).lr;
            ck_assert_double_eq_tol(lr, want, TOLERANCE * 10);
            gain_count(&m, &g, ramp_batch(&k.ramp, at));
        }
        ck_assert_int_eq(at.step, row[i].steps);
    }
}
END_TEST

/* one_cycle sets beta1 in each step: what malladi would make of it is not judged, and what the job
 * sets is told. */
START_TEST(a_beta1_that_the_schedule_sets_is_not_judged)
{
    struct config c = base();
    struct scaling g;
    struct str lines = {0};
    c.batch.global = 8;
    strcpy(c.scaling.rule, "malladi");
    c.scaling.base_batch = 1;
    c.optimizer.beta1 = 0.8; /* κ(1 - β) is 1.6 */
    c.optimizer.beta2 = 0.99;
    c.schedule.momentum_low = 0.85;
    c.schedule.momentum_high = 0.95;
    ck_assert_int_eq(derive_scaling(&g, &c), E_CONFIG);
    strcpy(c.schedule.name, "one_cycle");
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    ck_assert_double_eq(derive_settings(&g, 8).beta1, 0.8);
    ck_assert_double_eq_tol(derive_settings(&g, 8).beta2, 1 - 8 * 0.01, 1e-12);
    scaling_warn(&g, &c, &lines);
    ck_assert_ptr_nonnull(strstr(lines.s, "optimizer.beta1 0.8 is not used"));
    str_release(&lines);
    strcpy(c.schedule.name, "onecycle"); /* its second name */
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    c.schedule.momentum_high = 0.85; /* the optimizer's own is kept */
    ck_assert_int_eq(derive_scaling(&g, &c), E_CONFIG);
}
END_TEST

START_TEST(a_rule_without_a_base_batch_is_told)
{
    struct config c = base();
    struct scaling g;
    struct str lines = {0};
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    scaling_warn(&g, &c, &lines);
    ck_assert_uint_eq(lines.len, 0);
    strcpy(c.scaling.rule, "sqrt");
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    scaling_warn(&g, &c, &lines);
    ck_assert_ptr_nonnull(strstr(lines.s, "scaling.base_batch is not set"));
    str_release(&lines);
    strcpy(c.batch.ramp, "0:2 10 steps:7"); /* the batch changes all the same */
    scaling_warn(&g, &c, &lines);
    ck_assert_uint_eq(lines.len, 0);
    str_release(&lines);
}
END_TEST

START_TEST(adascale_needs_noise_to_be_measured)
{
    struct config c = base();
    struct scaling g;
    strcpy(c.scaling.rule, "adascale");
    ck_assert_int_eq(derive_scaling(&g, &c), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "noise.every=1"));
    c.noise.every = 1;
    c.batch.micro = 7;
    ck_assert_int_eq(derive_scaling(&g, &c), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "lower batch.micro"));
    c.batch.micro = 6;
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
}
END_TEST

START_TEST(a_warmup_longer_than_the_run_is_refused)
{
    struct config c = base();
    struct schedule s;
    struct scaling g;
    c.schedule.warmup = (struct amount){21, UNIT_STEPS};
    struct course k = course(&c, START);
    ck_assert_int_eq(derive_scaling(&g, &c), OK);
    ck_assert_int_eq(derive_schedule(&s, &c, &k, &g, NULL), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "schedule.warmup"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, micro_batches_round_up);
    tcase_add_test(t, amounts_become_whole_steps);
    tcase_add_test(t, a_ramp_makes_amounts_other_steps);
    tcase_add_test(t, a_run_goes_on_from_what_is_done);
    tcase_add_test(t, rate_follows_batch_warmup_and_schedule);
    tcase_add_test(t, settings_follow_the_ramp);
    tcase_add_test(t, the_schedule_counts_sequences_through_a_ramp);
    tcase_add_test(t, settings_of_the_job_come_before_the_rules_own);
    tcase_add_test(t, the_ramp_is_described);
    tcase_add_test(t, adascale_counts_what_steps_are_worth);
    tcase_add_test(t, a_beta1_that_the_schedule_sets_is_not_judged);
    tcase_add_test(t, a_rule_without_a_base_batch_is_told);
    tcase_add_test(t, adascale_needs_noise_to_be_measured);
    tcase_add_test(t, a_warmup_longer_than_the_run_is_refused);
}

int main(void)
{
    return run_suite("derive", add);
}
