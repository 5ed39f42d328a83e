/* The fit of times over rank counts: recovers the law's own curves, and keeps to its range. */
#include "check_main.h"
#include "cmd/amdahl.h"

#include <math.h>

static const double TOL = 1e-12; /* a few additions of numbers near 1 */

START_TEST(recovers_a_curve)
{
    const int ranks[] = {1, 2, 3, 8, 64};
    for (double serial = 0; serial <= 1; serial += 0.125) {
        const struct amdahl law = {3.5, serial};
        double seconds[5];
        struct amdahl fit;
        for (int i = 0; i < 5; i++)
            seconds[i] = amdahl_time(&law, ranks[i]);
        ck_assert(amdahl_fit(&fit, ranks, seconds, 5));
        ck_assert_double_eq_tol(fit.one_s, 3.5, TOL);
        ck_assert_double_eq_tol(fit.serial, serial, TOL);
    }
}
END_TEST

/* T = 1, 0.7, 0.4 at x = 1, 1/2, 1/4: the line of least squares, worked by hand. */
START_TEST(least_squares)
{
    const int ranks[] = {1, 2, 4};
    const double seconds[] = {1, 0.7, 0.4};
    struct amdahl fit;
    double xm = 1.75 / 3, ym = 0.7, sxx = 0, sxy = 0;
    for (int i = 0; i < 3; i++) {
        sxx += pow(1.0 / ranks[i] - xm, 2);
        sxy += (1.0 / ranks[i] - xm) * (seconds[i] - ym);
    }
    double b = sxy / sxx, a = ym - b * xm;
    ck_assert(amdahl_fit(&fit, ranks, seconds, 3));
    ck_assert_double_eq_tol(fit.one_s, a + b, TOL);
    ck_assert_double_eq_tol(fit.serial, a / (a + b), TOL);
}
END_TEST

/* Faster than in proportion, and slower with more ranks: noise, or caches. */
START_TEST(keeps_the_range)
{
    const int ranks[] = {1, 2};
    const double fast[] = {1, 0.45}, slow[] = {1, 1.2};
    struct amdahl fit;
    ck_assert(amdahl_fit(&fit, ranks, fast, 2));
    ck_assert_double_eq(fit.serial, 0);
    ck_assert_double_eq_tol(fit.one_s, (1 + 0.5 * 0.45) / 1.25, TOL);
    ck_assert(amdahl_fit(&fit, ranks, slow, 2));
    ck_assert_double_eq(fit.serial, 1);
    ck_assert_double_eq_tol(fit.one_s, 1.1, TOL);
}
END_TEST

START_TEST(needs_two_counts)
{
    const int one[] = {4}, same[] = {4, 4};
    const double seconds[] = {1, 1};
    struct amdahl fit;
    ck_assert(!amdahl_fit(&fit, one, seconds, 0));
    ck_assert(!amdahl_fit(&fit, one, seconds, 1));
    ck_assert(!amdahl_fit(&fit, same, seconds, 2));
}
END_TEST

START_TEST(efficiency)
{
    const struct amdahl law = {2, 0.1}, none = {2, 0};
    for (double n = 1; n < 1000; n *= 3)
        ck_assert_double_eq_tol(amdahl_efficiency(&law, n),
                                amdahl_time(&law, 1) / n / amdahl_time(&law, n), TOL);
    for (double e = 0.1; e < 1; e += 0.2)
        ck_assert_double_eq_tol(amdahl_efficiency(&law, amdahl_ranks_at(&law, e)), e, TOL);
    ck_assert(isinf(amdahl_ranks_at(&none, 0.5)));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, recovers_a_curve);
    tcase_add_test(t, least_squares);
    tcase_add_test(t, keeps_the_range);
    tcase_add_test(t, needs_two_counts);
    tcase_add_test(t, efficiency);
}

int main(void)
{
    return run_suite("cmd/amdahl", add);
}
