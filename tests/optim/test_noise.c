/* The gradient noise scale of gradients whose noise is known. */
#include "base/err.h"
#include "base/rng.h"
#include "check_main.h"
#include "optim/noise.h"

#include <math.h>

/* A gradient of D elements, each with some mean and, in one sequence's, standard deviation STD. */
enum { D = 100, STEPS = 2000 };
static const double STD = 0.9637, WEAK = 0.1, STRONG = 0.5;

/* Standard errors that the estimate may be off: 4 are exceeded once in 16000 seeds. */
static const double SIGMAS = 4;
/* The standard error may itself be off by so much: it comes from few steps. */
static const double ERROR_TOLERANCE = 0.25;
static const double ROUNDING = 1e-12;

static double truth(double mean)
{
    return STD * STD / (mean * mean);
}

/* One step: contributions of size[n] sequences with so many targets each. */
static struct noise_sums draw(uint64_t step, const int *size, int n, int targets, double mean)
{
    struct noise_sums s = {.n = n};
    double total[D] = {0};
    uint64_t stream = step * 64;
    for (int i = 0; i < n; i++) {
        double square = 0;
        for (int d = 0; d < D; d++) {
            double g = 0;
            for (int k = 0; k < size[i]; k++)
                g += targets * (mean + STD * rng_normal(7, stream + (uint64_t)k, (uint64_t)d));
            square += g * g;
            total[d] += g;
        }
        stream += (uint64_t)size[i];
        s.each_sq += square / (size[i] * targets);
        s.targets += size[i] * targets;
        s.batch += size[i];
    }
    for (int d = 0; d < D; d++)
        s.total_sq += total[d] * total[d];
    return s;
}

START_TEST(one_step_is_the_formula)
{
    /* Two contributions of one sequence and one target: g = (3, 0) and (1, 2). */
    const struct noise_sums s = {.each_sq = 9 + 5, .total_sq = 16 + 4, .targets = 2, .n = 2,
                                 .batch = 2};
    double trace, signal, p = 7, q = 5, b = 1, B = 2;
    ck_assert(noise_of_step(&trace, &signal, &s));
    ck_assert_double_eq_tol(signal, (B * q - b * p) / (B - b), ROUNDING);
    ck_assert_double_eq_tol(trace, (p - q) / (1 / b - 1 / B), ROUNDING);
}
END_TEST

static void measure(struct noise *n, double decay, const int *size, int parts, double *mean_ratio)
{
    *n = (struct noise){0};
    *mean_ratio = 0;
    for (uint64_t i = 0; i < STEPS; i++) {
        struct noise_sums s = draw(i, size, parts, 3, WEAK);
        double trace, signal;
        noise_take(n, &s, decay);
        ck_assert(noise_of_step(&trace, &signal, &s));
        *mean_ratio += trace / signal / STEPS;
    }
}

START_TEST(the_ratio_of_averages_is_the_truth)
{
    const int even[] = {2, 2, 2, 2}, uneven[] = {3, 2, 2, 1};
    const int *const sizes[] = {even, uneven};
    for (int i = 0; i < 2; i++) {
        struct noise n;
        double mean_ratio;
        measure(&n, 1 - 1.0 / STEPS, sizes[i], 4, &mean_ratio);
        double error = noise_error(&n);
        ck_assert_double_eq_tol(noise_scale(&n), truth(WEAK), SIGMAS * error);
        ck_assert_double_lt(error, truth(WEAK) / 10);
        /* The average of ratios is not: its denominator passes through zero. */
        ck_assert_double_gt(fabs(mean_ratio - truth(WEAK)), SIGMAS * error);
    }
}
END_TEST

START_TEST(the_error_is_the_spread_of_estimates)
{
    enum { RUNS = 100, EACH = 60, PARTS = 4 };
    const int size[PARTS] = {1, 1, 1, 1};
    double sum = 0, squares = 0, told = 0;
    for (int r = 0; r < RUNS; r++) {
        struct noise n = {0};
        for (int i = 0; i < EACH; i++) {
            struct noise_sums s = draw((uint64_t)(r * EACH + i), size, PARTS, 1, STRONG);
            noise_take(&n, &s, 0.98);
        }
        sum += noise_scale(&n) / RUNS;
        squares += noise_scale(&n) * noise_scale(&n) / RUNS;
        told += noise_error(&n) / RUNS;
    }
    double spread = sqrt(squares - sum * sum);
    ck_assert_double_eq_tol(told, spread, ERROR_TOLERANCE * spread);
}
END_TEST

START_TEST(averages_are_debiased)
{
    struct noise n = {0};
    const struct noise_sums s = {.each_sq = 14, .total_sq = 20, .targets = 2, .n = 2, .batch = 2};
    ck_assert(isnan(noise_scale(&n)) && isnan(noise_error(&n)) && isnan(noise_critical(&n)));
    noise_take(&n, &s, 0.99);
    ck_assert_double_eq_tol(noise_scale(&n), 4.0 / 3, ROUNDING);
    ck_assert_double_eq(n.last_trace, 4);
    ck_assert(isnan(noise_error(&n)));
    for (int i = 0; i < 10; i++)
        noise_take(&n, &s, 0.99);
    ck_assert_double_eq_tol(noise_scale(&n), 4.0 / 3, ROUNDING);
    ck_assert_double_eq_tol(n.trace / n.weight, 4, ROUNDING);
    /* A constant noise scale is the critical batch. */
    ck_assert_double_eq_tol(noise_critical(&n), 4.0 / 3, ROUNDING);
}
END_TEST

START_TEST(what_cannot_be_measured_changes_nothing)
{
    struct noise n = {0}, before;
    const struct noise_sums good = {.each_sq = 14, .total_sq = 20, .targets = 2, .n = 2, .batch = 2};
    noise_take(&n, &good, 0.9);
    before = n;
    struct noise_sums one = good, nan = good, none = good;
    one.n = 1;
    nan.each_sq = NAN;
    none.targets = 0;
    noise_take(&n, &one, 0.9);
    noise_take(&n, &nan, 0.9);
    noise_take(&n, &none, 0.9);
    ck_assert_mem_eq(&n, &before, sizeof n);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, one_step_is_the_formula);
    tcase_add_test(t, the_ratio_of_averages_is_the_truth);
    tcase_add_test(t, the_error_is_the_spread_of_estimates);
    tcase_add_test(t, averages_are_debiased);
    tcase_add_test(t, what_cannot_be_measured_changes_nothing);
}

int main(void)
{
    return run_suite("optim/noise", add);
}
