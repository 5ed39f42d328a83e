/* The settings at another batch, what the derivation says, and where a rule ends. */
#include "base/err.h"
#include "check_main.h"
#include "optim/lrscale.h"

#include <math.h>
#include <string.h>

/* Relative; a root and a few products. */
#define TOLERANCE 1e-15
/* The same of values that are written here in decimals. */
#define WRITTEN 1e-12

static const struct optim_settings tuned = {
    .lr = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .momentum = 0.8, .weight_decay = 0.1};

static const struct lrscale_rule *row(const char *name)
{
    const struct lrscale_rule *rule;
    ck_assert_msg(lrscale_find(&rule, name) == OK, "%s", err_message());
    return rule;
}

static struct lrscale_job job(double base, double batch, double noise_scale, bool adaptive)
{
    return (struct lrscale_job){base, batch, noise_scale, adaptive};
}

static void expect(double got, double want, double tolerance)
{
    ck_assert_double_eq_tol(got, want, tolerance * fabs(want));
}

static const struct {
    const char *rule;
    double lr, base, batch, peak;
} known[] = {
    {"none", 3e-3, 16, 64, 3e-3},     {"linear", 3e-3, 16, 64, 12e-3},
    {"sqrt", 3e-3, 16, 64, 6e-3},     {"linear", 0.1, 256, 8192, 3.2},
    {"sqrt", 1e-3, 64, 16, 5e-4},     {"linear", 1e-3, 64, 16, 2.5e-4},
    {"sqrt", 1e-3, 8, 8, 1e-3},       {"sqrt_decay", 3e-3, 16, 64, 6e-3},
    {"malladi", 3e-3, 16, 64, 6e-3},  {"half_life", 3e-3, 16, 64, 6e-3},
    {"adascale", 3e-3, 16, 64, 3e-3},
};

START_TEST(rates_follow_the_batch)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct optim_settings s = tuned;
        struct lrscale_job j = job(known[i].base, known[i].batch, 0, true);
        s.lr = known[i].lr;
        expect(lrscale_settings(row(known[i].rule), &s, &j).lr, known[i].peak, TOLERANCE);
    }
}
END_TEST

static void expect_settings(const char *rule, double batch, struct optim_settings want)
{
    struct lrscale_job j = job(16, batch, 100, true);
    struct optim_settings s = lrscale_settings(row(rule), &tuned, &j);
    expect(s.lr, want.lr, WRITTEN);
    expect(s.beta1, want.beta1, WRITTEN);
    expect(s.beta2, want.beta2, WRITTEN);
    expect(s.eps, want.eps, WRITTEN);
    expect(s.momentum, want.momentum, WRITTEN);
    expect(s.weight_decay, want.weight_decay, WRITTEN);
}

START_TEST(averages_eps_and_decay_follow_where_the_rule_says)
{
    expect_settings("sqrt", 64, (struct optim_settings){6e-3, 0.9, 0.95, 1e-8, 0.8, 0.1});
    expect_settings("sqrt_decay", 64, (struct optim_settings){6e-3, 0.9, 0.95, 1e-8, 0.8, 0.2});
    expect_settings("malladi", 64, (struct optim_settings){6e-3, 0.6, 0.8, 5e-9, 0.8, 0.1});
    expect_settings("malladi", 4, (struct optim_settings){1.5e-3, 0.975, 0.9875, 2e-8, 0.8, 0.1});
    expect_settings("half_life", 64,
                    (struct optim_settings){6e-3, 0.6561, 0.81450625, 5e-9, 0.8, 0.2});
    expect_settings(
        "half_life", 4,
        (struct optim_settings){1.5e-3, 0.97400374642529, 0.9872585449014338, 2e-8, 0.8, 0.05});
}
END_TEST

/* What the rule is named after: a token's weight in the averages, and all that a token takes of a
 * weight by decay, stay. */
START_TEST(half_life_keeps_what_a_token_does)
{
    for (double batch = 2; batch < 1000; batch *= 3) {
        struct lrscale_job j = job(16, batch, 0, true);
        struct optim_settings s = lrscale_settings(row("half_life"), &tuned, &j);
        expect(log(s.beta1) / batch, log(tuned.beta1) / 16, WRITTEN);
        expect(log(s.beta2) / batch, log(tuned.beta2) / 16, WRITTEN);
        expect(s.lr * s.weight_decay / batch, tuned.lr * tuned.weight_decay / 16, WRITTEN);
    }
}
END_TEST

static double surge_rate(double batch, bool adaptive)
{
    struct lrscale_job j = job(16, batch, 100, adaptive);
    return lrscale_settings(row("surge"), &tuned, &j).lr;
}

START_TEST(surge_peaks_at_the_noise_scale)
{
    /* max / (½ (√(Bn/B) + √(B/Bn))), of which 3e-3 at 16 says what max is. */
    double most = 3e-3 * (sqrt(100. / 16) + sqrt(16 / 100.)) / 2;
    expect(surge_rate(16, true), 3e-3, TOLERANCE);
    expect(surge_rate(100, true), most, TOLERANCE * 4);
    expect(surge_rate(400, true), most / 1.25, TOLERANCE * 4);
    expect(surge_rate(25, true), surge_rate(400, true), TOLERANCE * 4);
    ck_assert_double_lt(surge_rate(90, true), most);
    ck_assert_double_lt(surge_rate(110, true), most);
    /* max / (1 + Bn/B) */
    expect(surge_rate(16, false), 3e-3, TOLERANCE);
    expect(surge_rate(100, false), 3e-3 * 7.25 / 2, TOLERANCE * 4);
    expect(surge_rate(1e12, false), 3e-3 * 7.25, 1e-9);
}
END_TEST

START_TEST(far_below_the_noise_scale_surge_is_the_plain_rule)
{
    struct lrscale_job j = job(1, 64, 1e9, true);
    expect(lrscale_settings(row("surge"), &tuned, &j).lr, 8 * tuned.lr, 1e-6);
    j.adaptive = false;
    expect(lrscale_settings(row("surge"), &tuned, &j).lr, 64 * tuned.lr, 1e-6);
}
END_TEST

/* At the base itself no bit may change, whatever the rule. */
START_TEST(at_the_base_nothing_changes)
{
    for (int i = 0; lrscale_row(i) != NULL; i++) {
        struct lrscale_job j = job(24, 24, 100, true);
        struct optim_settings s = lrscale_settings(lrscale_row(i), &tuned, &j);
        ck_assert_mem_eq(&s, &tuned, sizeof s);
    }
}
END_TEST

START_TEST(the_derivation_shows_rule_and_source)
{
    struct str text = {0};
    struct lrscale_job j = job(16, 64, 0, true), k = job(16, 24, 0, true);
    lrscale_derive(&text, row("sqrt"), &tuned, &j);
    ck_assert_str_eq(text.s, "learning rate   3.000e-03 tuned at 16 sequences\n"
                             "this batch      64 sequences = 4.00 × the base\n"
                             "sqrt rule       3.000e-03 · sqrt(4.00) = 6.000e-03"
                             "   (Malladi et al. 2022)\n");
    str_release(&text);
    lrscale_derive(&text, row("linear"), &tuned, &k);
    ck_assert_ptr_nonnull(
        strstr(text.s, "\nlinear rule     3.000e-03 · 1.50 = 4.500e-03   (Goyal et al. 2017)\n"));
    str_release(&text);
    lrscale_derive(&text, row("none"), &tuned, &k);
    ck_assert_ptr_nonnull(strstr(text.s, "\nnone rule       3.000e-03   ("));
    str_release(&text);
}
END_TEST

START_TEST(the_derivation_has_a_line_for_each_changed_setting)
{
    struct str text = {0};
    struct lrscale_job j = job(16, 64, 100, true);
    lrscale_derive(&text, row("malladi"), &tuned, &j);
    ck_assert_ptr_nonnull(strstr(text.s, "\nbeta1           1 - 4.00 · (1 - 0.9) = 0.6\n"));
    ck_assert_ptr_nonnull(strstr(text.s, "\nbeta2           1 - 4.00 · (1 - 0.95) = 0.8\n"));
    ck_assert_ptr_nonnull(strstr(text.s, "\neps             1e-08 / sqrt(4.00) = 5e-09\n"));
    ck_assert_ptr_null(strstr(text.s, "weight decay"));
    str_release(&text);
    lrscale_derive(&text, row("half_life"), &tuned, &j);
    ck_assert_ptr_nonnull(strstr(text.s, "\nbeta1           0.9^4.00 = 0.6561\n"));
    ck_assert_ptr_nonnull(strstr(text.s, "\nweight decay    0.1 · sqrt(4.00) = 0.2\n"));
    str_release(&text);
    lrscale_derive(&text, row("surge"), &tuned, &j);
    ck_assert_ptr_nonnull(strstr(text.s, "surge rule      3.000e-03 · (sqrt(100/16) + sqrt(16/100))"
                                         " / (sqrt(100/64) + sqrt(64/100)) = 4.244e-03   ("));
    str_release(&text);
    lrscale_derive(&text, row("adascale"), &tuned, &j);
    ck_assert_ptr_nonnull(
        strstr(text.s, "3.000e-03 · sqrt(r), r the gain of each step, 1 to 4.00"));
    str_release(&text);
}
END_TEST

START_TEST(help_shows_formulas_with_letters)
{
    struct str text = {0};
    lrscale_formulas(&text, row("half_life"));
    ck_assert_str_eq(text.s, "lr · sqrt(κ), β^κ, ε / sqrt(κ), λ · sqrt(κ)");
    str_release(&text);
    lrscale_formulas(&text, row("malladi"));
    ck_assert_str_eq(text.s, "lr · sqrt(κ), 1 - κ · (1 - β), ε / sqrt(κ)");
    str_release(&text);
}
END_TEST

static int check(const char *rule, struct lrscale_job j)
{
    int rc = lrscale_check(row(rule), &tuned, &j);
    return rc;
}

START_TEST(malladi_ends_where_no_average_is_left)
{
    ck_assert_int_eq(check("malladi", job(16, 159, 0, true)), OK); /* κ (1 - 0.9) just below 1 */
    ck_assert_int_eq(check("malladi", job(16, 161, 0, true)), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "scaling.rule=half_life"));
    ck_assert_ptr_nonnull(strstr(err_message(), "κ(1 - β) is 1.01 with β 0.9"));
    err_clear();
    ck_assert_int_eq(check("malladi", job(16, 161, 0, false)), OK); /* SGD takes no such averages */
    ck_assert_int_eq(check("half_life", job(16, 4096, 0, true)), OK);
    struct optim_settings rmsprop = tuned;
    struct lrscale_job j = job(16, 161, 0, true);
    rmsprop.beta1 = 0; /* it has none */
    ck_assert_int_eq(lrscale_check(row("malladi"), &rmsprop, &j), OK);
    ck_assert_double_eq(lrscale_settings(row("malladi"), &rmsprop, &j).beta1, 0);
}
END_TEST

START_TEST(surge_needs_a_noise_scale)
{
    ck_assert_int_eq(check("surge", job(16, 64, 0, true)), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "scaling.noise_scale"));
    err_clear();
    ck_assert_int_eq(check("surge", job(16, 64, 50, true)), OK);
}
END_TEST

static const struct {
    const char *rule;
    double base, batch, noise_scale;
    bool adaptive;
    const char *says; /* NULL: nothing */
} regimes[] = {
    {"linear", 16, 64, 0, true, "overshoots for Adam"},
    {"linear", 16, 64, 0, false, NULL},
    {"linear", 16, 16, 0, true, NULL},
    {"sqrt", 16, 64, 0, true, NULL},
    {"sqrt", 16, 64, 0, false, "scaling.rule=linear"},
    {"sqrt", 16, 64, 63, true, "above scaling.noise_scale (63)"},
    {"sqrt", 16, 64, 65, true, NULL},
    {"linear", 16, 64, 63, false, "scaling.rule=surge"},
    {"half_life", 16, 64, 0, true, NULL},
    {"half_life", 16, 128, 0, true, "makes beta1 0.43 "}, /* 0.9^8 */
    {"malladi", 16, 96, 0, true, "makes beta1 0.4 "},
    {"surge", 16, 64, 63, true, NULL},
    {"none", 16, 64, 63, true, NULL},
    {"adascale", 16, 64, 63, true, NULL},
    {"adascale", 16, 16, 63, true, "does nothing"},
};

START_TEST(rules_warn_outside_their_regime)
{
    for (size_t i = 0; i < sizeof regimes / sizeof *regimes; i++) {
        struct str lines = {0};
        struct lrscale_job j =
            job(regimes[i].base, regimes[i].batch, regimes[i].noise_scale, regimes[i].adaptive);
        lrscale_warn(&lines, row(regimes[i].rule), &tuned, &j);
        if (regimes[i].says == NULL)
            ck_assert_msg(lines.len == 0, "%s: %s", regimes[i].rule, lines.s);
        else
            ck_assert_msg(lines.len > 0 && strstr(lines.s, regimes[i].says) != NULL &&
                              strchr(lines.s, '\n') == lines.s + lines.len - 1,
                          "%s: %s", regimes[i].rule, lines.len ? lines.s : "nothing");
        str_release(&lines);
    }
}
END_TEST

START_TEST(only_sgd_and_its_like_do_not_adapt)
{
    ck_assert(!lrscale_is_adaptive("sgd") && !lrscale_is_adaptive("lars"));
    ck_assert(lrscale_is_adaptive("adamw") && lrscale_is_adaptive("muon"));
}
END_TEST

START_TEST(the_gain_lies_between_one_and_the_scale)
{
    expect(adascale_gain(0, 2, 8), 1, TOLERANCE);        /* no noise: nothing gained */
    expect(adascale_gain(5, 0, 8), 8, TOLERANCE);        /* all noise: all of it */
    expect(adascale_gain(3, 1, 4), 4 / 1.75, TOLERANCE); /* (σ²+μ²)/(σ²/S+μ²) */
    expect(adascale_gain(3, -1, 4), 4, TOLERANCE);       /* estimates may be negative */
    expect(adascale_gain(-3, 1, 4), 1, TOLERANCE);
    expect(adascale_gain(3, 1, 0.5), 1, TOLERANCE);
    expect(adascale_gain(0, 0, 4), 1, TOLERANCE);
    expect(adascale_gain(NAN, NAN, 4), 1, TOLERANCE);
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
    ck_assert_int_eq(n, 8);
    ck_assert_int_eq(lrscale_find(&rule, "liner"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "did you mean \"linear\""));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, rates_follow_the_batch);
    tcase_add_test(t, averages_eps_and_decay_follow_where_the_rule_says);
    tcase_add_test(t, half_life_keeps_what_a_token_does);
    tcase_add_test(t, surge_peaks_at_the_noise_scale);
    tcase_add_test(t, far_below_the_noise_scale_surge_is_the_plain_rule);
    tcase_add_test(t, at_the_base_nothing_changes);
    tcase_add_test(t, the_derivation_shows_rule_and_source);
    tcase_add_test(t, the_derivation_has_a_line_for_each_changed_setting);
    tcase_add_test(t, help_shows_formulas_with_letters);
    tcase_add_test(t, malladi_ends_where_no_average_is_left);
    tcase_add_test(t, surge_needs_a_noise_scale);
    tcase_add_test(t, rules_warn_outside_their_regime);
    tcase_add_test(t, only_sgd_and_its_like_do_not_adapt);
    tcase_add_test(t, the_gain_lies_between_one_and_the_scale);
    tcase_add_test(t, rows_are_found_by_name);
}

int main(void)
{
    return run_suite("optim/lrscale", add);
}
