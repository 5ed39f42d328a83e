/* Detectors: each sees its own trouble, once until it clears, and nothing in a run that is well. */
#include "base/rng.h"
#include "check_main.h"
#include "train/detect.h"

#include <math.h>
#include <string.h>

static const struct detect_limits LIMITS = {.spike_sigma = 6,
                                            .margin = 0.5,
                                            .oscillation = -0.3,
                                            .clip_rate = 0.5,
                                            .window = 128,
                                            .diverged_steps = 200,
                                            .overfit_times = 3};
/* Against figures worked out elsewhere to this many digits. */
static const double DIGITS = 1e-9;

/* A run so far: what each detector said, and when first. */
struct history {
    struct detect d;
    struct detect_limits l;
    int64_t step;
    int times[N_DETECTORS];
    int64_t first[N_DETECTORS];
    struct sight last[N_DETECTORS];
};

static void note(struct history *h, enum detector which, bool met, const struct sight *s)
{
    if (!met || !s->is_new)
        return;
    if (h->times[which]++ == 0)
        h->first[which] = h->step;
    h->last[which] = *s;
}

static void step(struct history *h, double loss, double grad, bool clipped)
{
    struct sight s = {0};
    h->step++;
    const struct detect_step v = {h->step, loss, grad, 1000.0 * (double)h->step, clipped};
    bool bad = detect_nonfinite(&h->d, &v, &s);
    note(h, DETECT_NONFINITE, bad, &s);
    if (bad)
        return;
    note(h, DETECT_SPIKE, detect_spike(&h->d, &h->l, &v, &s), &s);
    detect_average(&h->d, &v);
    note(h, DETECT_DIVERGED, detect_diverged(&h->d, &h->l, &v, &s), &s);
    note(h, DETECT_OSCILLATION, detect_oscillation(&h->d, &h->l, &v, &s), &s);
    note(h, DETECT_PLATEAU, detect_plateau(&h->d, &h->l, &v, &s), &s);
    note(h, DETECT_CLIP, detect_clip(&h->d, &h->l, &v, &s), &s);
}

static double noise(int64_t i)
{
    return rng_normal(11, 1, (uint64_t)i);
}

/* A loss that falls as losses do. */
static double healthy(int64_t i)
{
    return 2 + 4 * pow((double)i + 1, -0.3) + 0.05 * noise(i);
}

static void begin(struct history *h)
{
    memset(h, 0, sizeof *h);
    h->l = LIMITS;
}

static struct history h;

START_TEST(a_run_that_is_well_is_left_alone)
{
    begin(&h);
    for (int64_t i = 0; i < 5000; i++)
        step(&h, healthy(i), 1 + 0.1 * noise(i + 9999), i % 5 == 0);
    for (int i = 0; i < N_DETECTORS; i++)
        ck_assert_msg(h.times[i] == 0, "detector %d: %s", i, h.last[i].text);
}
END_TEST

START_TEST(what_is_not_finite_is_seen_once_until_it_clears)
{
    begin(&h);
    step(&h, 2, 1, false);
    step(&h, NAN, 1, false);
    step(&h, 2, INFINITY, false);
    ck_assert_int_eq(h.times[DETECT_NONFINITE], 1);
    ck_assert_int_eq(h.first[DETECT_NONFINITE], 2);
    step(&h, 2, 1, false);
    step(&h, 2, -NAN, false);
    ck_assert_int_eq(h.times[DETECT_NONFINITE], 2);
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_NONFINITE].text, "nan"));
    ck_assert_double_eq(h.d.s.seen, 2); /* the others are in no window */
}
END_TEST

/* Losses of mean 2 and sample deviation std about it, for n steps. */
static void level(int n, double std)
{
    begin(&h);
    for (int i = 0; i < n; i++)
        step(&h, 2 + (i % 2 ? std : -std) * sqrt((n - 1) / (double)n), 1, false);
}

START_TEST(a_spike_is_six_deviations_above_the_steps_before)
{
    level(64, 0.1);
    step(&h, 2 + 0.1 * 6.001, 1, false);
    ck_assert_int_eq(h.times[DETECT_SPIKE], 1);
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_SPIKE].text, "64 steps before"));
    level(64, 0.1);
    step(&h, 2 + 0.1 * 5.999, 1, false);
    ck_assert_int_eq(h.times[DETECT_SPIKE], 0);
    level(63, 0.1); /* too few */
    step(&h, 20, 1, false);
    ck_assert_int_eq(h.times[DETECT_SPIKE], 0);
    level(300, 0.1); /* the window is the last 128 */
    step(&h, 20, 1, false);
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_SPIKE].text, "128 steps before"));
}
END_TEST

START_TEST(a_gradient_may_spike_too_and_falls_are_none)
{
    level(100, 0.1);
    step(&h, 0.1, 0, false);
    ck_assert_int_eq(h.times[DETECT_SPIKE], 0);
    level(100, 0.1);
    step(&h, 2, 1.5, false); /* all the norms before it were 1 */
    ck_assert_int_eq(h.times[DETECT_SPIKE], 1);
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_SPIKE].text, "gradient norm"));
    ck_assert_double_eq(h.last[DETECT_SPIKE].value, 1.5);
}
END_TEST

START_TEST(a_loss_that_stays_up_has_diverged)
{
    begin(&h);
    for (int64_t i = 0; i < 500; i++)
        step(&h, healthy(i), 1, false);
    for (int64_t i = 0; i < 400; i++)
        step(&h, 5, 1, false);
    ck_assert_int_eq(h.times[DETECT_DIVERGED], 1);
    /* The average has to climb first, then 200 steps have to pass. */
    ck_assert_int_gt(h.first[DETECT_DIVERGED], 700);
    ck_assert_int_lt(h.first[DETECT_DIVERGED], 730);
    ck_assert_int_eq(h.last[DETECT_DIVERGED].since, h.first[DETECT_DIVERGED] - 199);
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_DIVERGED].text, "best"));
}
END_TEST

START_TEST(a_loss_above_its_start_has_diverged)
{
    begin(&h);
    for (int64_t i = 0; i < 400; i++)
        step(&h, 7 + 0.3 * (i > 20) + 0.02 * noise(i), 1, false);
    ck_assert_int_eq(h.times[DETECT_DIVERGED], 1);
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_DIVERGED].text, "start"));
    begin(&h);
    for (int64_t i = 0; i < 3000; i++) /* level, as in a late fine-tuning */
        step(&h, 2 + 0.1 * noise(i), 1, false);
    ck_assert_int_eq(h.times[DETECT_DIVERGED], 0);
}
END_TEST

START_TEST(autocorrelation_is_about_the_line)
{
    /* Deviations 1, -1, 0, -1, 1 from a line: products -1, 0, 0, -1; squares 4. */
    const double e[] = {1, -1, 0, -1, 1};
    double v[5], swing[8];
    for (int i = 0; i < 5; i++)
        v[i] = 10 + 3 * i + e[i];
    ck_assert_double_eq_tol(detect_autocorrelation(v, 5), -0.5, DIGITS);
    for (int i = 0; i < 8; i++)
        swing[i] = i % 2 ? 1 : -1;
    ck_assert_double_lt(detect_autocorrelation(swing, 8), -0.7);
}
END_TEST

START_TEST(swings_are_seen)
{
    begin(&h);
    for (int64_t i = 0; i < 400; i++)
        step(&h, healthy(i) + (i % 2 ? 0.1 : -0.1), 1, false);
    ck_assert_int_eq(h.times[DETECT_OSCILLATION], 1);
    /* From a full window on; the fall at the beginning hides it for some steps more. */
    ck_assert_int_ge(h.first[DETECT_OSCILLATION], 128);
    ck_assert_int_lt(h.first[DETECT_OSCILLATION], 200);
    for (int64_t i = 400; i < 800; i++)
        step(&h, healthy(i), 1, false);
    for (int64_t i = 800; i < 1000; i++)
        step(&h, healthy(i) + (i % 2 ? 0.1 : -0.1), 1, false);
    ck_assert_int_eq(h.times[DETECT_OSCILLATION], 2);
}
END_TEST

START_TEST(a_slope_has_its_confidence_interval)
{
    /* y = 1 + 2x and residuals 1, -1, -1, 1 about it: slope 2, se = sqrt(4/2/5). */
    struct detect_bin s = {0};
    const double e[] = {1, -1, -1, 1};
    double slope, half;
    for (int i = 0; i < 4; i++) {
        double x = i, y = 1 + 2 * x + e[i];
        s = (struct detect_bin){s.n + 1, s.x + x, s.y + y, s.xx + x * x, s.xy + x * y, s.yy + y * y};
    }
    detect_slope(&s, &slope, &half);
    ck_assert_double_eq_tol(slope, 2, DIGITS);
    ck_assert_double_eq_tol(half, 1.96 * sqrt(0.4), DIGITS);
}
END_TEST

START_TEST(a_plateau_is_seen)
{
    begin(&h);
    for (int64_t i = 0; i < 1000; i++)
        step(&h, healthy(i), 1, false);
    ck_assert_int_eq(h.times[DETECT_PLATEAU], 0);
    double last = 2 + 4 * pow(1000, -0.3);
    for (int64_t i = 1000; i < 2000; i++)
        step(&h, last + 0.02 * noise(i), 1, false);
    ck_assert_int_ge(h.times[DETECT_PLATEAU], 1);
    ck_assert_int_lt(h.first[DETECT_PLATEAU], 1500); /* two looks at tenths of the tokens later */
    ck_assert_ptr_nonnull(strstr(h.last[DETECT_PLATEAU].text, "slope"));
    /* Noise in which no fall could be seen is no plateau. */
    begin(&h);
    for (int64_t i = 0; i < 1000; i++)
        step(&h, 2 + noise(i), 1, false);
    ck_assert_int_eq(h.times[DETECT_PLATEAU], 0);
}
END_TEST

START_TEST(frequent_clipping_is_seen)
{
    begin(&h);
    for (int64_t i = 0; i < 300; i++)
        step(&h, healthy(i), 1, i % 5 < 2);
    ck_assert_int_eq(h.times[DETECT_CLIP], 0);
    for (int64_t i = 0; i < 300; i++)
        step(&h, healthy(i), 1, i % 5 < 4);
    ck_assert_int_eq(h.times[DETECT_CLIP], 1);
}
END_TEST

static bool validate(double loss)
{
    struct sight s = {0};
    return detect_overfit(&h.d, &h.l, h.step, loss, &s) && s.is_new;
}

START_TEST(overfitting_is_three_rises_while_training_falls)
{
    const double valid[] = {3, 2.5, 2.6, 2.7, 2.8, 2.9, 2.4, 2.5, 2.6, 2.7};
    const bool want[] = {0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    begin(&h);
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 50; k++)
            step(&h, 3 - 0.1 * i, 1, false);
        ck_assert_msg(validate(valid[i]) == want[i], "validation %d", i);
    }
    begin(&h);
    for (int i = 0; i < 5; i++) { /* the training loss rises too */
        for (int k = 0; k < 50; k++)
            step(&h, 3 + 0.1 * i, 1, false);
        ck_assert(!validate(3 + i));
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_run_that_is_well_is_left_alone);
    tcase_add_test(t, what_is_not_finite_is_seen_once_until_it_clears);
    tcase_add_test(t, a_spike_is_six_deviations_above_the_steps_before);
    tcase_add_test(t, a_gradient_may_spike_too_and_falls_are_none);
    tcase_add_test(t, a_loss_that_stays_up_has_diverged);
    tcase_add_test(t, a_loss_above_its_start_has_diverged);
    tcase_add_test(t, autocorrelation_is_about_the_line);
    tcase_add_test(t, swings_are_seen);
    tcase_add_test(t, a_slope_has_its_confidence_interval);
    tcase_add_test(t, a_plateau_is_seen);
    tcase_add_test(t, frequent_clipping_is_seen);
    tcase_add_test(t, overfitting_is_three_rises_while_training_falls);
}

int main(void)
{
    return run_suite("train/detect", add);
}
