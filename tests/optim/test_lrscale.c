/* The peak rate at another batch, and what the derivation says. */
#include "base/err.h"
#include "check_main.h"
#include "optim/lrscale.h"

#include <math.h>
#include <string.h>

/* Relative; one root and one product. */
#define TOLERANCE 1e-15

static double peak(const char *name, double lr, double base, double batch, struct str *text)
{
    const struct lrscale_rule *rule;
    ck_assert_int_eq(lrscale_find(&rule, name), OK);
    return lrscale_peak(rule, lr, base, batch, text);
}

static const struct {
    const char *rule;
    double lr, base, batch, peak;
} known[] = {
    {"none", 3e-3, 16, 64, 3e-3}, {"linear", 3e-3, 16, 64, 12e-3},
    {"sqrt", 3e-3, 16, 64, 6e-3}, {"linear", 0.1, 256, 8192, 3.2},
    {"sqrt", 1e-3, 64, 16, 5e-4}, {"linear", 1e-3, 64, 16, 2.5e-4},
    {"sqrt", 1e-3, 8, 8, 1e-3},
};

START_TEST(rates_follow_the_batch)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double got = peak(known[i].rule, known[i].lr, known[i].base, known[i].batch, NULL);
        ck_assert_double_eq_tol(got, known[i].peak, TOLERANCE * known[i].peak);
    }
}
END_TEST

START_TEST(the_derivation_shows_rule_and_source)
{
    struct str text = {0};
    peak("sqrt", 3e-3, 16, 64, &text);
    ck_assert_str_eq(text.s, "learning rate   3.000e-03 tuned at 16 sequences\n"
                             "this batch      64 sequences = 4.00 × the base\n"
                             "sqrt rule       3.000e-03 · sqrt(4.00) = 6.000e-03"
                             "   (Malladi et al. 2022)\n");
    str_release(&text);
    peak("linear", 3e-3, 16, 24, &text);
    ck_assert_ptr_nonnull(
        strstr(text.s, "\nlinear rule     3.000e-03 · 1.50 = 4.500e-03   (Goyal et al. 2017)\n"));
    str_release(&text);
    peak("none", 3e-3, 16, 24, &text);
    ck_assert_ptr_nonnull(strstr(text.s, "\nnone rule       3.000e-03   ("));
    str_release(&text);
}
END_TEST

START_TEST(rows_are_found_by_name)
{
    int n = 0;
    const struct lrscale_rule *rule;
    for (; lrscale_row(n) != NULL; n++) {
        ck_assert_int_eq(lrscale_find(&rule, lrscale_row(n)->name), OK);
        ck_assert_ptr_eq(rule, lrscale_row(n));
    }
    ck_assert_int_ge(n, 3);
    ck_assert_int_eq(lrscale_find(&rule, "liner"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "did you mean \"linear\""));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, rates_follow_the_batch);
    tcase_add_test(t, the_derivation_shows_rule_and_source);
    tcase_add_test(t, rows_are_found_by_name);
}

int main(void)
{
    return run_suite("optim/lrscale", add);
}
