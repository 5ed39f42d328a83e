/* The law of the best rate: what points on it give back, and what is assumed without them. */
#include "base/rng.h"
#include "check_main.h"
#include "study/prior.h"

#include <math.h>
#include <string.h>

/* A least-squares fit of points without noise, in doubles. */
#define EXACT 1e-9
#define ALPHA 0.45
#define BETA  0.2
#define GAMMA 0.3
/* Noise of a best rate's logarithm. */
#define NOISE 0.2
/* A fit may miss by so many of its standard errors; over the cases below none should. */
#define ERRORS 4.0

static const struct prior_assumption adam = {.adaptive = true};

static struct prior_point point(double batch, double tokens, double params)
{
    return (struct prior_point){.at = {batch, tokens, params},
                                .lr = 0.7 * pow(batch, ALPHA) * pow(tokens, -BETA) *
                                      pow(params, -GAMMA),
                                .error = 0.05};
}

/* Batches, lengths and sizes each with each. */
static int grid(struct prior_point *p)
{
    int n = 0;
    for (int b = 0; b < 3; b++)
        for (int d = 0; d < 2; d++)
            for (int s = 0; s < 2; s++)
                p[n++] = point(1e3 * pow(4, b), 1e6 * pow(8, d), 1e5 * pow(10, s));
    return n;
}

START_TEST(points_on_the_law_give_its_exponents)
{
    struct prior_point x[12];
    struct prior p;
    const double at[PRIOR_N] = {3e3, 5e6, 4e5};
    ck_assert(prior_fit(&p, x, grid(x), adam));
    const double want[PRIOR_N] = {ALPHA, -BETA, -GAMMA};
    for (int k = 0; k < PRIOR_N; k++) {
        ck_assert(!p.exponent[k].assumed);
        ck_assert_double_eq_tol(p.exponent[k].value, want[k], EXACT);
    }
    struct prior_guess g = prior_guess(&p, at);
    ck_assert_double_eq_tol(g.lr / point(3e3, 5e6, 4e5).lr, 1, EXACT);
    ck_assert(!g.outside);
    ck_assert_double_lt(g.factor, 1.1);
}
END_TEST

START_TEST(what_does_not_vary_is_assumed)
{
    struct prior_point x[3] = {point(1e3, 1e6, 1e5), point(4e3, 1e6, 1e5), point(16e3, 1e6, 1e5)};
    struct prior p;
    ck_assert(prior_fit(&p, x, 3, adam));
    ck_assert(!p.exponent[PRIOR_BATCH].assumed);
    ck_assert_double_eq_tol(p.exponent[PRIOR_BATCH].value, ALPHA, EXACT);
    ck_assert(p.exponent[PRIOR_TOKENS].assumed && p.exponent[PRIOR_PARAMS].assumed);
    const double near[PRIOR_N] = {4e3, 1e6, 1e5}, longer[PRIOR_N] = {4e3, 64e6, 1e5};
    struct prior_guess a = prior_guess(&p, near), b = prior_guess(&p, longer);
    ck_assert_double_eq_tol(b.lr / a.lr, pow(64, p.exponent[PRIOR_TOKENS].value), EXACT);
    /* What is assumed is not known well. */
    ck_assert_double_gt(log(b.factor), 0.9 * PRIOR_ASSUMED_ERROR * log(64));
    ck_assert(b.outside && !a.outside);
}
END_TEST

START_TEST(one_point_gives_a_rate_by_assumed_exponents)
{
    struct prior_point x = point(1e3, 1e6, 1e5);
    struct prior p;
    const double at[PRIOR_N] = {4e3, 1e6, 1e5};
    ck_assert(!prior_fit(&p, &x, 0, adam));
    ck_assert(prior_fit(&p, &x, 1, adam));
    ck_assert_double_eq_tol(prior_guess(&p, at).lr / x.lr, 2, EXACT);
    ck_assert(prior_fit(&p, &x, 1, (struct prior_assumption){.adaptive = false, .mup = true}));
    ck_assert_double_eq_tol(prior_guess(&p, at).lr / x.lr, 4, EXACT);
    ck_assert_double_eq(p.exponent[PRIOR_PARAMS].value, 0);
}
END_TEST

/* Batch and length that grow together cannot be told apart: one of them is assumed. */
START_TEST(columns_that_go_together_are_not_both_fitted)
{
    struct prior_point x[4];
    struct prior p;
    for (int i = 0; i < 4; i++)
        x[i] = point(1e3 * pow(4, i), 1e6 * pow(4, i), 1e5);
    ck_assert(prior_fit(&p, x, 4, adam));
    ck_assert(!p.exponent[PRIOR_BATCH].assumed);
    ck_assert(p.exponent[PRIOR_TOKENS].assumed);
    ck_assert_double_eq_tol(p.exponent[PRIOR_BATCH].value + p.exponent[PRIOR_TOKENS].value,
                            ALPHA - BETA, EXACT);
}
END_TEST

START_TEST(two_batches_close_together_determine_nothing)
{
    struct prior_point x[2] = {point(1000, 1e6, 1e5), point(1100, 1e6, 1e5)};
    struct prior p;
    x[0].error = x[1].error = 0.3;
    ck_assert(prior_fit(&p, x, 2, adam));
    ck_assert(p.exponent[PRIOR_BATCH].assumed);
    ck_assert_double_eq(p.exponent[PRIOR_BATCH].value, 0.5);
}
END_TEST

START_TEST(errors_cover_what_noise_does)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prior_point x[12];
        struct prior p;
        int n = grid(x);
        for (int i = 0; i < n; i++)
            x[i].lr *= exp(NOISE * rng_normal(seed, 0, (uint64_t)i));
        ck_assert(prior_fit(&p, x, n, adam));
        const struct prior_exponent *e = &p.exponent[PRIOR_BATCH];
        ck_assert_double_le(fabs(e->value - ALPHA), ERRORS * e->error);
        /* Stated errors of .05 are too small here; the scatter says so. */
        ck_assert_double_gt(p.scatter, 0.4 * NOISE);
        ck_assert_double_lt(p.scatter, 2 * NOISE);
    }
}
END_TEST

START_TEST(the_law_is_shown_with_what_is_assumed)
{
    struct prior_point x[3] = {point(1e3, 1e6, 1e5), point(4e3, 1e6, 1e5), point(16e3, 1e6, 1e5)};
    struct prior p;
    struct str text = {0};
    ck_assert(prior_fit(&p, x, 3, adam));
    prior_show(&text, &p, 0);
    ck_assert_ptr_nonnull(strstr(text.s, "B 0.45 ± "));
    ck_assert_ptr_nonnull(strstr(text.s, "D -0.32 assumed (Bjorck et al. 2025)"));
    ck_assert_ptr_nonnull(strstr(text.s, "3 best rates"));
    str_release(&text);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, points_on_the_law_give_its_exponents);
    tcase_add_test(t, what_does_not_vary_is_assumed);
    tcase_add_test(t, one_point_gives_a_rate_by_assumed_exponents);
    tcase_add_test(t, columns_that_go_together_are_not_both_fitted);
    tcase_add_test(t, two_batches_close_together_determine_nothing);
    tcase_add_test(t, errors_cover_what_noise_does);
    tcase_add_test(t, the_law_is_shown_with_what_is_assumed);
}

int main(void)
{
    return run_suite("study/prior", add);
}
