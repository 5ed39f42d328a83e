/* How long a run still takes. */
#include "check_main.h"
#include "train/pace.h"

#include <math.h>

static const double ROUNDING = 1e-12;

START_TEST(nothing_is_guessed_from_one_step)
{
    struct pace p = {0};
    const struct pace_plan plan = {.step = 1, .n_steps = 11, .left = 10};
    ck_assert(isnan(pace_left_s(&p, &plan)));
    pace_step(&p, 9);
    ck_assert(isnan(pace_left_s(&p, &plan)));
    pace_step(&p, 2);
    ck_assert_double_eq_tol(pace_left_s(&p, &plan), 20, ROUNDING); /* the first does not count */
}
END_TEST

START_TEST(one_slow_step_changes_nothing)
{
    struct pace p = {0};
    const struct pace_plan plan = {.step = 50, .n_steps = 60, .left = 10};
    for (int i = 0; i < 50; i++)
        pace_step(&p, i == 40 ? 1000 : 2);
    ck_assert_double_eq_tol(pace_left_s(&p, &plan), 20, ROUNDING);
    for (int i = 0; i < 40; i++)
        pace_step(&p, 3);
    ck_assert_double_eq_tol(pace_left_s(&p, &plan), 30, ROUNDING);
}
END_TEST

START_TEST(validations_and_saves_take_their_time)
{
    struct pace p = {.save_s = 5};
    struct pace_plan plan = {
        .step = 9, .n_steps = 25, .valid_every = 10, .save_every = 0, .left = 16};
    pace_step(&p, 1);
    pace_step(&p, 1);
    pace_valid(&p, 7);
    /* After steps 10, 20 and, as the last, 25; one save at the end. */
    ck_assert_double_eq_tol(pace_left_s(&p, &plan), 16 + 3 * 7 + 5, ROUNDING);
    plan.step = 20;
    plan.left = 5;
    ck_assert_double_eq_tol(pace_left_s(&p, &plan), 5 + 7 + 5, ROUNDING);
    plan.step = 25;
    plan.left = 0;
    ck_assert_double_eq_tol(pace_left_s(&p, &plan), 0, ROUNDING);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, nothing_is_guessed_from_one_step);
    tcase_add_test(t, one_slow_step_changes_nothing);
    tcase_add_test(t, validations_and_saves_take_their_time);
}

int main(void)
{
    return run_suite("train/pace", add);
}
