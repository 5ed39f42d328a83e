/* The range test's arithmetic on curves made by hand. */
#include "base/err.h"
#include "check_main.h"
#include "study/range_curve.h"

#include <math.h>

/* Rates and slopes come from a few operations in double. */
static const double ROUNDING = 1e-12;

static struct range_curve begin(int64_t steps, double from, double to, bool linear)
{
    struct range_curve c;
    const struct range_ramp ramp = {from, to, steps, linear};
    ck_assert_int_eq(range_curve_init(&c, &ramp), OK);
    return c;
}

/* A curve whose smoothed loss is given, at rates 1e0, 1e1, 1e2, … */
static struct range_curve given(int64_t steps, const double *smooth, int64_t n)
{
    struct range_curve c = begin(steps, 1, 1e3, false);
    for (int64_t i = 0; i < n; i++) {
        c.lr[i] = pow(10, (double)i);
        c.loss[i] = c.smooth[i] = smooth[i];
    }
    c.n = n;
    return c;
}

START_TEST(rates_grow_by_a_factor_or_by_a_sum)
{
    const struct range_ramp e = {1e-4, 1e-2, 4, false}, l = {1, 5, 8, true};
    const double by_factor[] = {1e-4, 3.16227766016838e-4, 1e-3, 3.16227766016838e-3};
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(range_rate(&e, i) / by_factor[i], 1, ROUNDING);
    for (int i = 0; i < 8; i++)
        ck_assert_double_eq_tol(range_rate(&l, i), 1 + 0.5 * i, ROUNDING);
}
END_TEST

START_TEST(the_loss_is_averaged_without_bias)
{
    struct range_curve c = begin(20, 1, 2, false);
    ck_assert(range_add(&c, 1, 4));
    ck_assert_double_eq_tol(c.smooth[0], 4, ROUNDING);
    ck_assert(range_add(&c, 1, 2));
    ck_assert_double_eq_tol(c.smooth[1], (0.98 * 4 + 2) / 1.98, ROUNDING);
    ck_assert_double_eq(c.loss[1], 2);
    ck_assert_double_eq(c.best, c.smooth[1]);
    range_curve_release(&c);
}
END_TEST

START_TEST(the_test_ends_where_the_loss_is_four_times_its_best)
{
    struct range_curve c = begin(200, 1, 2, false);
    while (range_add(&c, 1, c.n < 10 ? 1 : 10))
        ;
    ck_assert_int_eq(c.end, RANGE_DIVERGED);
    ck_assert_double_gt(c.smooth[c.n - 1], 4);
    ck_assert_double_le(c.smooth[c.n - 2], 4);
    range_curve_release(&c);
}
END_TEST

START_TEST(the_test_ends_at_the_first_value_that_is_not_finite)
{
    struct range_curve c = begin(20, 1, 2, false);
    ck_assert(range_add(&c, 1, 1));
    ck_assert(!range_add(&c, 1, NAN));
    ck_assert_int_eq(c.end, RANGE_NONFINITE);
    ck_assert_double_eq(c.best, 1);
    range_curve_release(&c);

    c = begin(2, 1, 2, false);
    ck_assert(range_add(&c, 1, 1));
    ck_assert(!range_add(&c, 1, 1));
    ck_assert_int_eq(c.end, RANGE_WHOLE);
    range_curve_release(&c);
}
END_TEST

/* Of 20 steps the first 2 and the last 5 are not looked at: 13 points from the rate 1e2 on. */
START_TEST(suggestions_come_from_the_middle_of_the_curve)
{
    const double y[20] = {-9,  -9,  5,   5, 5, 4.9, 4.5, 3.5, 3.2, 3,
                          2.9, 2.8, 2.7, 6, 7, -9,  -9,  -9,  -9,  -9};
    struct range_curve c = given(20, y, 20);
    struct range_suggestion s;
    range_suggest(&s, &c);
    ck_assert_int_eq(s.first, 2);
    ck_assert_int_eq(s.n, 13);
    /* The longest fall: 5, 4.9, 4.5, 3.5, 3.2, 3, 2.9, 2.8, 2.7: 9 points that end at the 10th of
     * those looked at; begin 10 - 9 = 1, a third of 9 is 3, half of that 1: the 5th, y 3.5. */
    ck_assert_double_eq(s.valley, 1e7);
    ck_assert_double_eq(s.steepest, 1e6);
    ck_assert_double_eq(s.minimum, 1e11);
    ck_assert(!s.falling);
    range_curve_release(&c);
}
END_TEST

START_TEST(of_equal_falls_the_first_counts)
{
    /* After the first point, two falls of three points with a rise between. */
    const double y[15] = {9, 3, 2, 1, 6, 5, 4, 7, 7, 7, 0, 0, 0, 0, 0};
    struct range_curve c = given(15, y, 15);
    struct range_suggestion s;
    range_suggest(&s, &c);
    ck_assert_int_eq(s.first, 1);
    ck_assert_int_eq(s.n, 9);
    /* Ends at the third of the points looked at; begin 2 - 3 = -1; a third is 1, its half 0. */
    ck_assert_double_eq(s.valley, 1e1);
    /* And equal minima: the first. */
    const double flat[12] = {9, 5, 4, 4, 4, 5, 5, 5, 0, 0, 0, 0};
    struct range_curve f = given(12, flat, 12);
    range_suggest(&s, &f);
    ck_assert_double_eq(s.minimum, 1e1);
    range_curve_release(&f);
    range_curve_release(&c);
}
END_TEST

START_TEST(a_fall_over_all_points_has_its_valley_inside)
{
    double y[45];
    for (int i = 0; i < 45; i++)
        y[i] = 100 - i;
    struct range_curve c = given(45, y, 45);
    struct range_suggestion s;
    range_suggest(&s, &c);
    /* 36 points from the 4th on: -1 + 12 + 6. */
    ck_assert_int_eq(s.n, 36);
    ck_assert_double_eq(s.valley, c.lr[4 + 17]);
    ck_assert(s.falling);
    c.end = RANGE_DIVERGED;
    range_suggest(&s, &c);
    ck_assert(!s.falling);
    range_curve_release(&c);
}
END_TEST

START_TEST(points_from_the_first_that_is_not_finite_on_are_cut)
{
    double y[30];
    for (int i = 0; i < 30; i++)
        y[i] = i < 20 ? 30 - i : NAN;
    struct range_curve c = given(30, y, 30);
    struct range_suggestion s;
    range_suggest(&s, &c);
    ck_assert_int_eq(s.first, 3);
    ck_assert_int_eq(s.n, 17);
    ck_assert_double_eq(s.minimum, c.lr[19] / 10);
    range_curve_release(&c);
}
END_TEST

START_TEST(a_curve_that_tells_nothing_suggests_nothing)
{
    const double rising[20] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                               11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    const int64_t points[] = {0, 1, 5, 7, 8, 20}; /* 7 of 20 steps: none is left; 8: one */
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct range_curve c = given(20, rising, points[i]);
        struct range_suggestion s;
        range_suggest(&s, &c);
        ck_assert_msg(isnan(s.valley) && isnan(s.steepest) && isnan(s.minimum), "%d points",
                      (int)points[i]);
        range_curve_release(&c);
    }
    double nothing[20];
    for (int i = 0; i < 20; i++)
        nothing[i] = NAN;
    struct range_curve c = given(20, nothing, 20);
    struct range_suggestion s;
    range_suggest(&s, &c);
    ck_assert(isnan(s.valley) && s.n == 0);
    range_curve_release(&c);
}
END_TEST

START_TEST(a_fall_within_the_noise_is_called_weak)
{
    struct range_suggestion s;
    double y[30];
    for (int i = 0; i < 30; i++)
        y[i] = 4 - 0.001 * i;
    struct range_curve c = given(30, y, 30);
    range_suggest(&s, &c);
    ck_assert(!s.weak);
    for (int i = 0; i < 30; i++)
        c.loss[i] = y[i] + (i % 2 ? 0.01 : -0.01);
    range_suggest(&s, &c);
    ck_assert(s.weak);
    /* Nor is there a fall where the first point is the lowest. */
    c.smooth[s.first] = 1;
    range_suggest(&s, &c);
    ck_assert(s.weak);
    range_curve_release(&c);
}
END_TEST

START_TEST(the_exponent_is_the_slope_of_logarithms)
{
    const double batch[] = {16, 64, 256, 1024}, lr[] = {1e-3, 2e-3, NAN, 8e-3};
    ck_assert_double_eq_tol(range_exponent(batch, lr, 4), 0.5, ROUNDING);
    ck_assert(isnan(range_exponent(batch, lr, 1)));
    ck_assert(isnan(range_exponent(batch + 2, lr + 2, 2)));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, rates_grow_by_a_factor_or_by_a_sum);
    tcase_add_test(t, the_loss_is_averaged_without_bias);
    tcase_add_test(t, the_test_ends_where_the_loss_is_four_times_its_best);
    tcase_add_test(t, the_test_ends_at_the_first_value_that_is_not_finite);
    tcase_add_test(t, suggestions_come_from_the_middle_of_the_curve);
    tcase_add_test(t, of_equal_falls_the_first_counts);
    tcase_add_test(t, a_fall_over_all_points_has_its_valley_inside);
    tcase_add_test(t, points_from_the_first_that_is_not_finite_on_are_cut);
    tcase_add_test(t, a_curve_that_tells_nothing_suggests_nothing);
    tcase_add_test(t, a_fall_within_the_noise_is_called_weak);
    tcase_add_test(t, the_exponent_is_the_slope_of_logarithms);
}

int main(void)
{
    return run_suite("study/range_curve", add);
}
