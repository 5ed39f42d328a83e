/* Rates against their closed forms. */
#include "base/err.h"
#include "check_main.h"
#include "optim/schedule.h"

#include <math.h>
#include <string.h>

/* Relative; a few roundings of double. */
#define TOLERANCE 1e-12

static struct schedule of(const char *name, double peak, double final, double warmup, double total)
{
    struct schedule s = {NULL, peak, final, warmup, total};
    ck_assert_int_eq(schedule_find(&s.rule, name), OK);
    return s;
}

static void is(double got, double want)
{
    ck_assert_double_eq_tol(got, want, TOLERANCE * fabs(want));
}

START_TEST(warmup_is_linear_and_never_zero)
{
    static const char *const name[] = {"constant", "linear", "cosine"};
    for (int i = 0; i < 3; i++) {
        struct schedule s = of(name[i], 0.8, 0.1, 400, 2000);
        for (int t = 0; t < 4; t++)
            is(schedule_rate(&s, 100 * t, 100), 0.8 * (t + 1) / 4);
        is(schedule_rate(&s, 400, 100), 0.8);
    }
    /* A warmup that ends within a step. */
    struct schedule s = of("constant", 1, 1, 250, 1000);
    is(schedule_rate(&s, 0, 100), 0.4);
    is(schedule_rate(&s, 100, 100), 0.8);
    is(schedule_rate(&s, 200, 100), 1);
}
END_TEST

START_TEST(constant_stays)
{
    struct schedule s = of("constant", 3e-4, 0, 0, 100);
    for (int c = 0; c <= 200; c += 10)
        is(schedule_rate(&s, c, 10), 3e-4);
}
END_TEST

/* b·(1 + (e-1)·min(t,N)/N). */
START_TEST(linear_is_a_line)
{
    struct schedule s = of("linear", 0.05, 0.2, 0, 40);
    for (int t = 0; t <= 40; t++)
        is(schedule_rate(&s, t, 1), 0.05 * (1 - 0.8 * t / 40));
    is(schedule_rate(&s, 55, 1), 0.05 * 0.2);
}
END_TEST

/* m + (b-m)·(1 + cos(πt/T))/2, with m the final rate. */
START_TEST(cosine_is_a_half_wave)
{
    double peak = 2e-3, least = 0.1 * 2e-3;
    struct schedule s = of("cosine", peak, 0.1, 500, 4500);
    for (int t = 0; t <= 40; t++)
        is(schedule_rate(&s, 500 + 100 * t, 100),
           least + (peak - least) * (1 + cos(M_PI * t / 40)) / 2);
    is(schedule_rate(&s, 1500, 100), least + (peak - least) * (1 + sqrt(0.5)) / 2);
    is(schedule_rate(&s, 2500, 100), (peak + least) / 2);
    is(schedule_rate(&s, 9999, 100), least);
}
END_TEST

/* The clock is tokens: halving the batch halves nothing but the distance between steps. */
START_TEST(the_clock_is_tokens)
{
    struct schedule s = of("cosine", 1, 0, 0, 1000);
    is(schedule_rate(&s, 300, 100), schedule_rate(&s, 300, 50));
    ck_assert(schedule_rate(&s, 999, 1) > 0);
}
END_TEST

START_TEST(a_run_that_is_all_warmup_ends_at_the_end)
{
    struct schedule s = of("linear", 1, 0.5, 100, 100);
    is(schedule_rate(&s, 90, 10), 1);
    is(schedule_rate(&s, 100, 10), 1);
    is(schedule_rate(&s, 110, 10), 0.5);
}
END_TEST

START_TEST(rows_are_found_by_name)
{
    int n = 0;
    const struct schedule_rule *rule;
    for (; schedule_row(n) != NULL; n++) {
        ck_assert_int_eq(schedule_find(&rule, schedule_row(n)->name), OK);
        ck_assert_ptr_eq(rule, schedule_row(n));
    }
    ck_assert_int_ge(n, 3);
    ck_assert_int_eq(schedule_find(&rule, "cosin"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "did you mean \"cosine\""));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, warmup_is_linear_and_never_zero);
    tcase_add_test(t, constant_stays);
    tcase_add_test(t, linear_is_a_line);
    tcase_add_test(t, cosine_is_a_half_wave);
    tcase_add_test(t, the_clock_is_tokens);
    tcase_add_test(t, a_run_that_is_all_warmup_ends_at_the_end);
    tcase_add_test(t, rows_are_found_by_name);
}

int main(void)
{
    return run_suite("optim/schedule", add);
}
