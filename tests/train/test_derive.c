/* Lengths, rates and micro-batches that follow from a configuration. */
#include "base/err.h"
#include "check_main.h"
#include "train/derive.h"
#include <math.h>
#include <string.h>

static struct config base(void)
{
    struct config c = {0};
    c.batch.global = 7;
    c.batch.micro = 2;
    c.batch.seq_len = 100;
    strcpy(c.schedule.name, "cosine");
    strcpy(c.scaling.rule, "none");
    c.schedule.final = 0.1;
    c.optimizer.lr = 1e-3;
    return c;
}

START_TEST(micro_batches_round_up)
{
    struct config c = base();
    ck_assert_int_eq(derive_n_micro(&c), 4);
    c.batch.global = 8;
    ck_assert_int_eq(derive_n_micro(&c), 4);
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
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        ck_assert_int_eq(derive_steps(&c, row[i].a, 20, 50), row[i].steps);
}
END_TEST

START_TEST(rate_follows_batch_warmup_and_schedule)
{
    struct config c = base();
    struct schedule s;
    struct str text = {0};
    strcpy(c.scaling.rule, "sqrt");
    c.scaling.base_batch = 28;
    c.schedule.warmup = (struct amount){4, UNIT_STEPS};
    ck_assert_int_eq(derive_schedule(&s, &c, 1000, 20, &text), OK);
    ck_assert_double_eq_tol(s.peak, 0.5e-3, 1e-15);
    ck_assert_double_eq_tol(derive_rate(&s, &c, 0), s.peak / 4, 1e-15);
    ck_assert_double_eq_tol(derive_rate(&s, &c, 3), s.peak, 1e-15);
    double x = 8.0 / 16; /* step 12 begins half-way between warmup and end */
    double expected = s.peak * (0.1 + 0.9 * (1 + cos(M_PI * x)) / 2);
    ck_assert_double_eq_tol(derive_rate(&s, &c, 12), expected, 1e-15);
    ck_assert_ptr_nonnull(strstr(text.s, "sqrt"));
    str_release(&text);
}
END_TEST

START_TEST(warmup_longer_than_the_run_is_refused)
{
    struct config c = base();
    struct schedule s;
    c.schedule.warmup = (struct amount){21, UNIT_STEPS};
    ck_assert_int_eq(derive_schedule(&s, &c, 1000, 20, NULL), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "schedule.warmup"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, micro_batches_round_up);
    tcase_add_test(t, amounts_become_whole_steps);
    tcase_add_test(t, rate_follows_batch_warmup_and_schedule);
    tcase_add_test(t, warmup_longer_than_the_run_is_refused);
}

int main(void)
{
    return run_suite("derive", add);
}
