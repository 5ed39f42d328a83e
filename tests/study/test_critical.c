/* The critical batch: points on the curve, and the noisy quadratic model, whose answer is known. */
#include "base/rng.h"
#include "check_main.h"
#include "study/critical.h"
#include "study/efficiency.h"
#include "study/quadratic.h"

#include <math.h>

/* Points on the curve give its constants back as well as the search is precise. */
static const double EXACT = 1e-6;
/* The curve is no law of this model: its fit depends on which batches it is given, the more the
 * larger the critical one is against them. */
static const double OF_FIT[] = {0.05, 0.05, 0.1};
/* Of intervals that should hold the truth 95 times in 100: from so few worlds a count's standard
 * error is 3 of 100. Three seeds of a batch are few to draw from again. */
static const double COVERED = 0.87, COVERED_BY_THREE = 0.84;
enum { N_FITTED = 9 };

START_TEST(points_on_the_curve_give_its_constants)
{
    const double batch[] = {1, 4, 16, 64, 256};
    double steps[5];
    struct critical c;
    for (int i = 0; i < 5; i++)
        steps[i] = 86 + 2700 / batch[i];
    ck_assert(critical_fit(&c, batch, steps, 5));
    ck_assert_double_eq_tol(c.steps_least / 86, 1, EXACT);
    ck_assert_double_eq_tol(c.examples_least / 2700, 1, EXACT);
    ck_assert_double_eq_tol(c.batch / (2700.0 / 86), 1, EXACT);
    ck_assert_double_lt(c.residual, EXACT);
}
END_TEST

START_TEST(points_that_never_arrived_are_passed_over)
{
    const double batch[] = {1, 2, 4, 8};
    const double steps[] = {20, INFINITY, 12.5, NAN};
    struct critical c;
    ck_assert(critical_fit(&c, batch, steps, 4));
    ck_assert_double_eq_tol(c.steps_least, 10, 10 * EXACT);
    ck_assert(!critical_fit(&c, batch + 1, steps + 1, 2));
}
END_TEST

START_TEST(a_parabola_has_its_least_between_the_points)
{
    const double x[3] = {1, 2, 4}, flat[3] = {3, 3, 3}, down[3] = {9, 4, 3.9};
    double y[3];
    for (int i = 0; i < 3; i++)
        y[i] = 7 + 2 * (x[i] - 2.25) * (x[i] - 2.25);
    ck_assert_double_eq_tol(critical_least(x, y), 2.25, EXACT);
    ck_assert_double_eq(critical_least(x, flat), 2);
    ck_assert_double_le(critical_least(x, down), 4);
}
END_TEST

static const double BATCH[] = {1, 2, 4, 8, 16, 32, 64, 128};
enum { N_BATCH = sizeof BATCH / sizeof BATCH[0], N_SEEDS = 3, N_WORLDS = 80 };
static const double SMIN = 86, EMIN = 2700, NOISE = 0.1;

struct noisy {
    double steps[N_BATCH][N_SEEDS];
    struct seed_steps point[N_BATCH];
};

/* Steps on a curve with noise of their logarithm; seeds of each batch. */
static void make_noisy(struct noisy *w, int world, int seeds)
{
    for (int i = 0; i < N_BATCH; i++) {
        for (int k = 0; k < seeds; k++)
            w->steps[i][k] = (SMIN + EMIN / BATCH[i]) *
                             exp(NOISE * rng_normal(9, (uint64_t)world, (uint64_t)(i * 8 + k)));
        w->point[i] = (struct seed_steps){BATCH[i], w->steps[i], seeds};
    }
}

static struct critical fit_noisy(const struct noisy *w)
{
    struct critical c;
    double steps[N_BATCH];
    for (int i = 0; i < N_BATCH; i++) {
        steps[i] = 0;
        for (int k = 0; k < w->point[i].n; k++)
            steps[i] += log(w->steps[i][k]) / w->point[i].n;
        steps[i] = exp(steps[i]);
    }
    ck_assert(critical_fit(&c, BATCH, steps, N_BATCH));
    return c;
}

/* How many of N_WORLDS intervals hold the truth; *narrow: the mean of high over low. */
static int count_covered(int seeds, enum resampled by)
{
    int covered = 0;
    for (int world = 0; world < N_WORLDS; world++) {
        struct noisy w;
        struct critical_spread s = {.steps = NULL};
        make_noisy(&w, world, seeds);
        struct critical c = fit_noisy(&w);
        critical_resample(&s, &c, w.point, N_BATCH, NULL, 0);
        ck_assert_int_eq(s.by, by);
        ck_assert(s.batch.low <= c.batch && c.batch <= s.batch.high);
        covered += s.batch.low <= EMIN / SMIN && EMIN / SMIN <= s.batch.high;
    }
    return covered;
}

START_TEST(intervals_hold_the_truth_as_often_as_they_say)
{
    int residuals = count_covered(1, RESAMPLED_RESIDUALS),
        seeds = count_covered(3, RESAMPLED_SEEDS);
    ck_assert_msg(residuals >= COVERED * N_WORLDS, "residuals: %d", residuals);
    ck_assert_msg(seeds >= COVERED_BY_THREE * N_WORLDS, "seeds: %d", seeds);
    ck_assert_msg(residuals < N_WORLDS, "an interval that always holds says nothing");
}
END_TEST

START_TEST(three_points_leave_nothing_to_resample)
{
    struct noisy w;
    struct critical_spread s;
    struct interval band[2];
    double at[2] = {1, 64};
    make_noisy(&w, 1, 1);
    struct critical c = fit_noisy(&w);
    s.steps = band;
    critical_resample(&s, &c, w.point, 3, at, 2);
    ck_assert_int_eq(s.by, RESAMPLED_NONE);
    ck_assert(isnan(s.batch.low) && isnan(band[1].high));
    critical_resample(&s, &c, w.point, N_BATCH, at, 2);
    for (int i = 0; i < 2; i++)
        ck_assert(band[i].low < critical_steps(&c, at[i]) &&
                  critical_steps(&c, at[i]) < band[i].high);
    struct interval before = s.batch;
    critical_resample(&s, &c, w.point, N_BATCH, at, 2);
    ck_assert_double_eq(s.batch.low, before.low);
}
END_TEST

START_TEST(the_law_of_the_rate_has_its_exponent_and_range)
{
    struct rate_at p[4];
    struct rate_law law;
    for (int i = 0; i < 4; i++)
        p[i] = (struct rate_at){pow(4, i), 0.001 * pow(4, 0.45 * i), 0};
    ck_assert(rate_law_fit(&law, p, 4));
    ck_assert_double_eq_tol(law.exponent, 0.45, EXACT);
    ck_assert_double_eq_tol(law.factor, 0.001, EXACT);
    ck_assert_double_le(law.range.high - law.range.low, EXACT);
    /* Known to 0.2 in log: the slope's error is that over the root of the sum of squares. */
    for (int i = 0; i < 4; i++)
        p[i].error = 0.2;
    ck_assert(rate_law_fit(&law, p, 4));
    double half = 1.96 * 0.2 / (log(4) * sqrt(5));
    ck_assert_double_eq_tol(law.range.high, 0.45 + half, EXACT);
    /* Scatter of 0.3 beside the line, of which the slope takes a tenth: chi² is 4.05 of 2. */
    p[1].lr *= exp(0.3);
    p[2].lr *= exp(-0.3);
    ck_assert(rate_law_fit(&law, p, 4));
    ck_assert_double_eq_tol((law.range.high - law.range.low) / (2 * half), sqrt(2.025), EXACT);
    ck_assert(rate_law_fit(&law, p, 2));
    ck_assert(!rate_law_fit(&law, p, 1));
    p[1].batch = p[0].batch;
    ck_assert(!rate_law_fit(&law, p, 2));
}
END_TEST

START_TEST(a_curve_crosses_a_loss_between_two_validations)
{
    const double step[] = {10, 20, 30, 40}, loss[] = {3, 2.5, 2.6, 2.0};
    ck_assert_double_eq_tol(critical_crossing(step, loss, 4, 2.75), 15, EXACT);
    ck_assert_double_eq_tol(critical_crossing(step, loss, 4, 2.3), 35, EXACT);
    ck_assert_double_eq(critical_crossing(step, loss, 4, 3.5), 10);
    ck_assert(isinf(critical_crossing(step, loss, 4, 1.9)));
    ck_assert(isinf(critical_crossing(step, loss, 0, 1.9)));
}
END_TEST

START_TEST(ways_are_compared_by_time_and_cost)
{
    /* Two ranks: faster and dearer; the third is beaten in both; the fourth was not measured. */
    struct way w[4] = {{.batch = 16, .ranks = 1, .steps = 200, .step_s = 1},
                       {.batch = 16, .ranks = 2, .steps = 200, .step_s = 0.7},
                       {.batch = 64, .ranks = 1, .steps = 120, .step_s = 4},
                       {.batch = 64, .ranks = 2, .steps = 120, .step_s = NAN}};
    for (int i = 0; i < 4; i++)
        way_fill(&w[i], w[i].batch < 20 ? 1 : 4, 1600, 64);
    way_front(w, 4);
    ck_assert_double_eq_tol(w[1].time_s, 140, EXACT);
    ck_assert_double_eq_tol(w[1].core_h, 280.0 / 3600, EXACT);
    ck_assert_double_eq_tol(w[1].system, 1 / 1.4, EXACT);
    ck_assert_double_eq_tol(w[1].statistical, 0.5, EXACT);
    ck_assert_double_eq_tol(w[1].goodput, 0.5 * 16 * 64 / 0.7, 1e3 * EXACT);
    ck_assert(w[0].front && w[1].front && !w[2].front && !w[3].front);
    ck_assert(isnan(w[3].time_s) && isnan(w[3].core_h));
    ck_assert_int_eq(way_choose(w, 4), 1); /* 140 s · 280 < 200 s · 200 */
    ck_assert_int_eq(way_choose(w + 3, 1), -1);
}
END_TEST

/* ---- the noisy quadratic ---- */

START_TEST(the_noisy_quadratic_takes_the_known_steps)
{
    const double batch[] = {1, 4, 16, 64, 1024}, known[] = {5606, 1488, 509, 299, 226};
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq(quadratic_best(batch[i], 1.0), known[i]);
}
END_TEST

START_TEST(the_noisy_quadratic_has_the_known_critical_batch)
{
    const double target[] = {1.0, 0.1, 0.01}, known[] = {23.6, 109, 796};
    for (int k = 0; k < 3; k++) {
        double batch[N_FITTED], steps[N_FITTED];
        struct critical c;
        for (int i = 0; i < N_FITTED; i++) {
            batch[i] = pow(8, i);
            steps[i] = quadratic_best(batch[i], target[k]);
        }
        ck_assert(critical_fit(&c, batch, steps, N_FITTED));
        ck_assert_msg(fabs(c.batch / known[k] - 1) <= OF_FIT[k], "Bcrit %g, not %g", c.batch,
                      known[k]);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, points_on_the_curve_give_its_constants);
    tcase_add_test(t, points_that_never_arrived_are_passed_over);
    tcase_add_test(t, a_parabola_has_its_least_between_the_points);
    tcase_add_test(t, intervals_hold_the_truth_as_often_as_they_say);
    tcase_add_test(t, three_points_leave_nothing_to_resample);
    tcase_add_test(t, the_law_of_the_rate_has_its_exponent_and_range);
    tcase_add_test(t, a_curve_crosses_a_loss_between_two_validations);
    tcase_add_test(t, ways_are_compared_by_time_and_cost);
    tcase_add_test(t, the_noisy_quadratic_takes_the_known_steps);
    tcase_add_test(t, the_noisy_quadratic_has_the_known_critical_batch);
}

int main(void)
{
    return run_suite("study/critical", add);
}
