#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "train/state.h"
#include <math.h>
#include <stdlib.h>

START_TEST(numbers_come_back_bit_for_bit)
{
    double a[3] = {1.0 / 3, -5e-324, INFINITY}, b[1] = {NAN}, c[3] = {0}, d[1] = {0};
    struct state from = {0}, to = {0};
    char *text = NULL;
    ck_assert_int_eq(state_add(&from, "window", a, 3), OK);
    ck_assert_int_eq(state_add(&from, "window.best", b, 1), OK);
    ck_assert_int_eq(state_text(&from, &text), OK);
    ck_assert_int_eq(state_add(&to, "window.best", d, 1), OK);
    ck_assert_int_eq(state_add(&to, "window", c, 3), OK);
    ck_assert_int_eq(state_take(&to, text, "x"), OK);
    ck_assert_mem_eq(a, c, sizeof a);
    ck_assert(isnan(d[0]));
    mem_free(text);
}
END_TEST

START_TEST(another_count_is_refused_and_an_unknown_row_passed_over)
{
    double a[2] = {7, 8};
    struct state s = {0};
    ck_assert_int_eq(state_add(&s, "a", a, 2), OK);
    ck_assert_int_eq(state_take(&s, "gone 1 2 3\n", "x"), OK);
    ck_assert_double_eq(a[0], 7);
    ck_assert_int_eq(state_take(&s, "a 1\n", "x.h5"), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "x.h5"));
    ck_assert_int_eq(state_take(&s, "a 1 2 3\n", "x"), E_DATA);
    ck_assert_int_eq(state_take(&s, "a 1 2", "x"), E_DATA);
    ck_assert_int_eq(state_take(&s, "a 1\nb 2\n", "x"), E_DATA);
    ck_assert_int_eq(state_take(&s, "", "x"), OK);
    ck_assert_int_eq(state_add(&s, "a", a, 1), E_BUG);
}
END_TEST

START_TEST(measurements_do_not_tell_states_apart)
{
    ck_assert(state_same("", ""));
    ck_assert(state_same("watch.loss 1 2\nlr 3\n", "lr 3\nwatch 4\n"));
    ck_assert(state_same("watch 1\n", ""));
    ck_assert(!state_same("watch 1\nlr 3\n", "lr 4\n"));
    ck_assert(!state_same("lr 3\n", "lr 3\nmore 1\n"));
    ck_assert(!state_same("lr 3\n", "lr 33\n"));
    ck_assert(!state_same("", "lr 3\n"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, measurements_do_not_tell_states_apart);
    tcase_add_test(t, numbers_come_back_bit_for_bit);
    tcase_add_test(t, another_count_is_refused_and_an_unknown_row_passed_over);
}

int main(void)
{
    return run_suite("train/state", add);
}
