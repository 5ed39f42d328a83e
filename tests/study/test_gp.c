/* Gaussian processes: they go through what they saw, expect improvement where there is some, find
 * what random points do not. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "study/gp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR 0.02 /* of a smooth curve's range; the fit allows for a little noise */

static double wave(double x)
{
    return sin(6 * x) + x;
}

START_TEST(goes_through_what_it_saw)
{
    enum { N = 9 };
    double x[N], y[N], mean, deviation;
    struct gp g;
    for (int i = 0; i < N; i++) {
        x[i] = i / (double)(N - 1);
        y[i] = 100 + 10 * wave(x[i]);
    }
    ck_assert_int_eq(gp_fit(&g, x, y, N, 1), OK);
    for (int i = 0; i < N; i++) {
        gp_predict(&g, &x[i], &mean, &deviation);
        ck_assert_double_eq_tol(mean, y[i], 10 * NEAR);
        ck_assert_double_lt(deviation, 10 * NEAR);
    }
    for (double at = 0.05; at < 1; at += 0.1) {
        gp_predict(&g, &at, &mean, &deviation);
        ck_assert_double_eq_tol(mean, 100 + 10 * wave(at), 20 * NEAR);
    }
    double far = 3, edge = 1;
    double d_far, d_edge;
    gp_predict(&g, &far, &mean, &d_far);
    gp_predict(&g, &edge, &mean, &d_edge);
    ck_assert_double_gt(d_far, 20 * d_edge);
    gp_release(&g);
}
END_TEST

/* Values that have nothing to do with their places are taken for noise. */
START_TEST(tells_noise)
{
    enum { N = 40 };
    double x[N], y[N], mean, deviation, at = 0.5;
    struct gp g;
    for (int i = 0; i < N; i++) {
        x[i] = i / (double)(N - 1);
        y[i] = rng_normal(1, 2, (uint64_t)i);
    }
    ck_assert_int_eq(gp_fit(&g, x, y, N, 1), OK);
    ck_assert_double_gt(g.noise, 0.1);
    gp_predict(&g, &at, &mean, &deviation);
    ck_assert_double_lt(fabs(mean), 1); /* it does not follow single values */
    gp_release(&g);
    /* All the same, and twice at one place: no error, no NaN. */
    for (int i = 0; i < N; i++) {
        x[i] = 0.5;
        y[i] = 2;
    }
    ck_assert_int_eq(gp_fit(&g, x, y, N, 1), OK);
    gp_predict(&g, &at, &mean, &deviation);
    ck_assert_double_eq_tol(mean, 2, NEAR);
    ck_assert(isfinite(deviation));
    gp_release(&g);
}
END_TEST

START_TEST(coordinates_that_do_not_matter_get_long)
{
    enum { N = 30, D = 2 };
    double x[N * D], y[N];
    struct gp g;
    for (int i = 0; i < N * D; i++)
        x[i] = rng_uniform(3, 4, (uint64_t)i);
    for (int i = 0; i < N; i++)
        y[i] = wave(x[2 * i]);
    ck_assert_int_eq(gp_fit(&g, x, y, N, D), OK);
    ck_assert_double_gt(g.length[1], 3 * g.length[0]);
    gp_release(&g);
}
END_TEST

/* The integral of max(best - v, 0) over the normal density, by a fine sum. */
static double integral(double best, double mean, double deviation)
{
    enum { N = 200000 };
    double sum = 0, step = 20.0 / N;
    for (int i = 0; i < N; i++) {
        double z = -10 + (i + 0.5) * step;
        sum += fmax(best - mean - deviation * z, 0) * exp(-0.5 * z * z) / sqrt(2 * M_PI) * step;
    }
    return sum;
}

START_TEST(improvement_is_its_integral)
{
    static const double rows[][3] = {{0, 0, 1}, {1, 2, 0.5}, {3, 2, 0.5}, {0, 4, 1}, {-1, 0.3, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double gain = expected_improvement(rows[i][0], rows[i][1], rows[i][2]);
        ck_assert_double_gt(gain, 0);
        ck_assert_double_eq_tol(gain, integral(rows[i][0], rows[i][1], rows[i][2]), 1e-7);
    }
    ck_assert_double_eq(expected_improvement(1, 0.25, 0), 0.75);
    ck_assert_double_eq(expected_improvement(1, 2, 0), 0);
    ck_assert_double_ge(expected_improvement(0, 100, 1), 0);
}
END_TEST

static double branin(double u, double v)
{
    double x = 15 * u - 5, y = 15 * v;
    double b = y - 5.1 / (4 * M_PI * M_PI) * x * x + 5 / M_PI * x - 6;
    return b * b + 10 * (1 - 1 / (8 * M_PI)) * cos(x) + 10;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

enum { N_TRIALS = 30, N_RANDOM = 8, N_SEEDS = 7 };

static double minimize(const struct space *s, uint64_t seed, bool learn)
{
    double point[N_TRIALS][SPACE_MAX_AXES], u[SPACE_MAX_AXES], best = INFINITY;
    struct seen seen[N_TRIALS];
    for (int t = 0; t < N_TRIALS; t++) {
        struct dice d = {seed, (uint64_t)t, 0};
        u[0] = dice_uniform(&d);
        u[1] = dice_uniform(&d);
        space_at(s, u, point[t]);
        if (learn && t >= N_RANDOM)
            ck_assert_int_eq(gp_propose(point[t], s, seen, t, &d), OK);
        double value =
            branin(axis_place(&s->axis[0], point[t][0]), axis_place(&s->axis[1], point[t][1]));
        seen[t] = (struct seen){point[t], SEEN_DONE, value};
        best = fmin(best, value);
    }
    return best;
}

START_TEST(finds_more_than_random_points)
{
    struct space s;
    double by_gp[N_SEEDS], by_chance[N_SEEDS];
    ck_assert_int_eq(
        space_parse(&s, "optimizer.lr log 1e-4 1e-1; optimizer.weight_decay uniform 0 0.3"), OK);
    for (int i = 0; i < N_SEEDS; i++) {
        by_gp[i] = minimize(&s, (uint64_t)i + 1, true);
        by_chance[i] = minimize(&s, (uint64_t)i + 1, false);
    }
    qsort(by_gp, N_SEEDS, sizeof *by_gp, by_value);
    qsort(by_chance, N_SEEDS, sizeof *by_chance, by_value);
    /* The least is 0.3979; random points are at 2 or so. */
    ck_assert_double_lt(by_gp[N_SEEDS / 2], 0.45);
    ck_assert_double_gt(by_chance[N_SEEDS / 2], 2 * by_gp[N_SEEDS / 2]);
    space_release(&s);
}
END_TEST

/* Points of a choice, a condition, running and diverged trials are no trouble; what runs is not
 * proposed again. */
START_TEST(takes_all_kinds)
{
    struct space s;
    double point[20][SPACE_MAX_AXES], u[SPACE_MAX_AXES];
    struct seen seen[20];
    ck_assert_int_eq(space_parse(&s, "optimizer.lr log 1e-4 1e-1; schedule.name choice cosine "
                                     "linear wsd; schedule.final uniform 0 0.2 if "
                                     "schedule.name=linear; batch.global int 8 64 log"),
                     OK);
    ck_assert_int_eq(gp_width(&s), 1 + 3 + 1 + 1);
    for (int t = 0; t < 20; t++) {
        struct dice d = {7, (uint64_t)t, 0};
        for (int i = 0; i < s.n; i++)
            u[i] = dice_uniform(&d);
        space_at(&s, u, point[t]);
        if (t >= 8)
            ck_assert_int_eq(gp_propose(point[t], &s, seen, t, &d), OK);
        for (int i = 0; i < s.n; i++)
            ck_assert(isnan(point[t][i]) != space_applies(&s, i, point[t]));
        for (int k = 0; k < t && t >= 8; k++)
            ck_assert(memcmp(point[k], point[t], (size_t)s.n * sizeof(double)) != 0);
        seen[t] =
            (struct seen){point[t], SEEN_DONE, fabs(axis_place(&s.axis[0], point[t][0]) - 0.3)};
        if (t % 5 == 2)
            seen[t] = (struct seen){point[t], 0, INFINITY};
        if (t % 5 == 4)
            seen[t] = (struct seen){point[t], INFINITY, INFINITY};
    }
    space_release(&s);
}
END_TEST

/* Of many trials the worst are left out: what is proposed is the same without them. */
START_TEST(many_trials_are_bounded)
{
    enum { KEPT = 300, N = 500, RUNNING = 3 };
    static double point[N][SPACE_MAX_AXES];
    static struct seen all[N], some[KEPT];
    double by_all[SPACE_MAX_AXES], by_some[SPACE_MAX_AXES];
    struct space s;
    int n = 0;
    ck_assert_int_eq(space_parse(&s, "optimizer.lr log 1e-4 1e-1"), OK);
    for (int t = 0; t < N; t++) {
        point[t][0] = axis_at(&s.axis[0], (t + 0.5) / N);
        all[t] = (struct seen){point[t], SEEN_DONE, t == 200 ? -1 : (double)t / N};
        if (t >= N - RUNNING)
            all[t].step = all[t].value = INFINITY;
        if (t < KEPT - RUNNING || t >= N - RUNNING)
            some[n++] = all[t];
    }
    struct dice a = {1, 2, 0}, b = {1, 2, 0};
    ck_assert_int_eq(n, KEPT);
    ck_assert_int_eq(gp_propose(by_all, &s, all, N, &a), OK);
    ck_assert_int_eq(gp_propose(by_some, &s, some, n, &b), OK);
    ck_assert_double_eq(by_all[0], by_some[0]);
    space_release(&s);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, goes_through_what_it_saw);
    tcase_add_test(t, tells_noise);
    tcase_add_test(t, coordinates_that_do_not_matter_get_long);
    tcase_add_test(t, improvement_is_its_integral);
    tcase_add_test(t, finds_more_than_random_points);
    tcase_add_test(t, takes_all_kinds);
    tcase_add_test(t, many_trials_are_bounded);
}

int main(void)
{
    return run_suite("study/gp", add);
}
