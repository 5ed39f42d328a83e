/* Series on their way into a figure: smoothing, thinning that keeps spikes, marks of an axis. */
#include "check_main.h"
#include "report/series.h"

#include <math.h>
#include <string.h>

enum { N = 10000, BUCKETS = 100 };
/* A few roundings of sums of about fifty weighted values. */
static const double ROUNDING = 1e-12;

static double x[N], y[N], z[N];

static void fill(double (*of)(int i))
{
    for (int i = 0; i < N; i++) {
        x[i] = i + 1;
        y[i] = of(i);
    }
}

static double constant(int i)
{
    (void)i;
    return 3;
}

static double ramp(int i)
{
    return 2 + 0.5 * i;
}

static double wave(int i)
{
    return sin(0.01 * i);
}

START_TEST(smoothing_is_a_mean_without_a_lag)
{
    fill(constant);
    series_smooth(y, N, 40);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(y[i], 3, ROUNDING);
    /* Far from the ends both sides weigh the same, so that a straight line stays one. */
    fill(ramp);
    series_smooth(y, N, 40);
    for (int i = 2000; i < N - 2000; i++)
        ck_assert_double_eq_tol(y[i], ramp(i), ROUNDING * N);
    ck_assert_double_gt(y[0], ramp(0));
    ck_assert_double_lt(y[N - 1], ramp(N - 1));
}
END_TEST

START_TEST(smoothing_passes_over_what_is_not_finite)
{
    double v[] = {NAN, 4, NAN, INFINITY, 4, 4, NAN};
    enum { K = sizeof v / sizeof *v };
    series_smooth(v, K, 5);
    for (int i = 0; i < K; i++)
        if (i == 1 || i == 4 || i == 5)
            ck_assert_double_eq_tol(v[i], 4, ROUNDING);
        else
            ck_assert(isnan(v[i]));
    double one[] = {7};
    series_smooth(one, 1, 40);
    ck_assert_double_eq(one[0], 7);
    series_smooth(NULL, 0, 40);
    double few[] = {1, 2, 3};
    series_smooth(few, 3, 1); /* over one value */
    ck_assert_double_eq(few[1], 2);
}
END_TEST

START_TEST(thinning_keeps_spikes_and_ends)
{
    fill(wave);
    y[4321] = 1e6;
    y[77] = -1e6;
    y[0] = 0.25;
    y[N - 1] = 0.75;
    int64_t n = series_thin(x, y, NULL, N, BUCKETS);
    ck_assert_int_le(n, 2 * BUCKETS + 2);
    ck_assert_int_gt(n, BUCKETS);
    bool up = false, down = false;
    for (int64_t i = 0; i < n; i++) {
        up = up || (y[i] == 1e6 && x[i] == 4322);
        down = down || (y[i] == -1e6 && x[i] == 78);
        ck_assert(i == 0 || x[i] >= x[i - 1]);
    }
    ck_assert(up && down);
    ck_assert_double_eq(x[0], 1);
    ck_assert_double_eq(y[0], 0.25);
    ck_assert_double_eq(x[n - 1], N);
    ck_assert_double_eq(y[n - 1], 0.75);
}
END_TEST

START_TEST(thinning_keeps_gaps_and_pairs)
{
    fill(wave);
    for (int i = 0; i < N; i++)
        z[i] = y[i] + 10;
    for (int i = 3000; i < 4000; i++)
        y[i] = i % 2 == 0 ? NAN : INFINITY;
    int64_t n = series_thin(x, y, z, N, BUCKETS), gaps = 0;
    for (int64_t i = 0; i < n; i++) {
        gaps += isnan(y[i]);
        ck_assert(isnan(y[i]) == isnan(z[i]));
        ck_assert(isnan(y[i]) || z[i] == y[i] + 10);
    }
    ck_assert_int_eq(gaps, 1); /* one break for the whole gap */
    /* Short series stay as they are, but for what is not finite. */
    double sx[] = {1, 2, 3}, sy[] = {5, INFINITY, 6};
    ck_assert_int_eq(series_thin(sx, sy, NULL, 3, BUCKETS), 3);
    ck_assert(isnan(sy[1]));
    ck_assert_int_eq(series_thin(sx, sy, NULL, 0, BUCKETS), 0);
}
END_TEST

START_TEST(what_is_measured_now_and_then_is_joined)
{
    double few_x[] = {1, 2, 3, 4, 5, 6, 7}, few_y[] = {NAN, 5, NAN, NAN, 6, NAN, 7};
    ck_assert_int_eq(series_join(few_x, few_y, NULL, 7), 3);
    ck_assert(few_x[0] == 2 && few_x[1] == 5 && few_x[2] == 7);
    ck_assert(few_y[0] == 5 && few_y[1] == 6 && few_y[2] == 7);
    /* A gap in what is measured in every step stays one. */
    double x7[] = {1, 2, 3, 4, 5, 6, 7}, y7[] = {5, 5, NAN, NAN, 6, 6, 6};
    ck_assert_int_eq(series_join(x7, y7, NULL, 7), 7);
    ck_assert(isnan(y7[2]));
    ck_assert_int_eq(series_join(x7, y7, NULL, 0), 0);
}
END_TEST

START_TEST(thinning_never_grows_whatever_x_is)
{
    /* Rows at one x, as of a run that was written twice. */
    for (int i = 0; i < N; i++) {
        x[i] = 5;
        y[i] = i % 7;
    }
    int64_t n = series_thin(x, y, NULL, N, BUCKETS);
    ck_assert_int_le(n, 2 * BUCKETS + 2);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = NAN;
    }
    ck_assert_int_le(series_thin(x, y, NULL, N, BUCKETS), 2 * BUCKETS + 2);
}
END_TEST

START_TEST(medians_and_last_values)
{
    const double v[] = {5, NAN, 1, 3, INFINITY, 4};
    ck_assert_double_eq(series_median(v, 6), 3.5);
    ck_assert_double_eq(series_last(v, 5), 3);
    ck_assert(isnan(series_median(v + 1, 1)));
    ck_assert(isnan(series_last(v + 1, 1)));
    ck_assert(isnan(series_median(NULL, 0)));
    struct extent e = EXTENT_NONE;
    ck_assert(!extent_any(&e));
    extent_add(&e, v, 6);
    ck_assert(extent_any(&e));
    ck_assert_double_eq(e.lo, 1);
    ck_assert_double_eq(e.hi, 5);
}
END_TEST

/* Between the ends, rising, few, and, from a factor of three on, at least two. */
static void expect_ticks(struct extent e, bool logarithmic)
{
    double at[SERIES_MAX_TICKS];
    double slack = 1e-6 * (e.hi - e.lo);
    int n = series_ticks(at, e, logarithmic);
    ck_assert_msg(n >= 2 && n <= SERIES_MAX_TICKS, "%d marks between %g and %g", n, e.lo, e.hi);
    for (int i = 0; i < n; i++) {
        ck_assert_msg(at[i] >= e.lo - slack && at[i] <= e.hi + slack, "%g in %g to %g", at[i], e.lo,
                      e.hi);
        ck_assert(i == 0 || at[i] > at[i - 1]);
    }
}

START_TEST(ticks_fit_any_span)
{
    for (int lo = -12; lo <= 12; lo++)
        for (double factor = 1.01; factor < 1e18; factor *= 1.7) {
            double low = 1.37 * pow(10, lo);
            expect_ticks((struct extent){low, low * factor}, false);
            if (factor >= 4)
                expect_ticks((struct extent){low, low * factor}, true);
            expect_ticks((struct extent){-low, low * factor}, false);
        }
    double at[SERIES_MAX_TICKS];
    ck_assert_int_eq(series_ticks(at, (struct extent){1, 1}, false), 0);
    ck_assert_int_eq(series_ticks(at, (struct extent){0, 9}, true), 0);
    ck_assert_int_eq(series_ticks(at, (struct extent){0, 2000}, false), 5);
    ck_assert_double_eq(at[1], 500);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, smoothing_is_a_mean_without_a_lag);
    tcase_add_test(t, smoothing_passes_over_what_is_not_finite);
    tcase_add_test(t, thinning_keeps_spikes_and_ends);
    tcase_add_test(t, thinning_keeps_gaps_and_pairs);
    tcase_add_test(t, what_is_measured_now_and_then_is_joined);
    tcase_add_test(t, thinning_never_grows_whatever_x_is);
    tcase_add_test(t, medians_and_last_values);
    tcase_add_test(t, ticks_fit_any_span);
}

int main(void)
{
    return run_suite("report/series", add);
}
