/* The critical batch: points on the curve, and the noisy quadratic model, whose answer is known. */
#include "check_main.h"
#include "study/critical.h"

#include <math.h>

/* Points on the curve give its constants back as well as the search is precise. */
static const double EXACT = 1e-6;
/* The curve is no law of this model: its fit depends a little on which batches it is given. */
static const double OF_FIT = 0.05;

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

/* ---- the noisy quadratic: curvatures 1/i, gradient noise of variance h_i/B ---- */

enum { N = 10000, RATES = 160 };

/* ½ Σ h_i E[θ_i²] after t steps at rate eta, given up beyond `enough`. */
static double risk(double t, double eta, double batch, double enough)
{
    double sum = 0;
    for (int i = 1; i <= N && sum <= enough; i++) {
        double h = 1.0 / i, keep = (1 - eta * h) * (1 - eta * h), left = pow(keep, t);
        sum += 0.5 * h * (left + eta * eta * h / batch * (1 - left) / (1 - keep));
    }
    return sum;
}

/* The fewest steps to the target, none more than `most`. */
static double steps_at(double eta, double batch, double target, double most)
{
    double low = 0, high = most;
    if (risk(most, eta, batch, target) > target)
        return INFINITY;
    while (high - low > 1) {
        double middle = floor((low + high) / 2);
        if (risk(middle, eta, batch, target) > target)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* With the best of the rates geomspace(1e-4, 1.99, 160). */
static double fewest_steps(double batch, double target)
{
    double best = 1e6;
    for (int k = RATES - 1; k >= 0; k--)
        best = fmin(
            best, steps_at(1e-4 * pow(1.99 / 1e-4, (double)k / (RATES - 1)), batch, target, best));
    return best;
}

START_TEST(the_noisy_quadratic_takes_the_known_steps)
{
    const double batch[] = {1, 4, 16, 64, 1024}, known[] = {5606, 1488, 509, 299, 226};
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq(fewest_steps(batch[i], 1.0), known[i]);
}
END_TEST

START_TEST(the_noisy_quadratic_has_the_known_critical_batch)
{
    const double target[] = {1.0, 0.1}, known[] = {23.6, 109};
    for (int k = 0; k < 2; k++) {
        double batch[9], steps[9];
        struct critical c;
        for (int i = 0; i < 9; i++) {
            batch[i] = pow(4, i);
            steps[i] = fewest_steps(batch[i], target[k]);
        }
        ck_assert(critical_fit(&c, batch, steps, 9));
        ck_assert_msg(fabs(c.batch / known[k] - 1) <= OF_FIT, "Bcrit %g, not %g", c.batch,
                      known[k]);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, points_on_the_curve_give_its_constants);
    tcase_add_test(t, points_that_never_arrived_are_passed_over);
    tcase_add_test(t, a_parabola_has_its_least_between_the_points);
    tcase_add_test(t, the_noisy_quadratic_takes_the_known_steps);
    tcase_add_test(t, the_noisy_quadratic_has_the_known_critical_batch);
}

int main(void)
{
    return run_suite("study/critical", add);
}
