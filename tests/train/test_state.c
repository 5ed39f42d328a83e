#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "conf/config_table.h"
#include "train/effect.h"
#include "train/state.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    static const struct config c;
    ck_assert(state_same("", "", &c));
    ck_assert(state_same("watch.loss 1 2\nlr 3\n", "lr 3\nwatch 4\n", &c));
    ck_assert(state_same("watch 1\n", "", &c));
    ck_assert(!state_same("watch 1\nlr 3\n", "lr 4\n", &c));
    ck_assert(!state_same("lr 3\n", "lr 3\nmore 1\n", &c));
    ck_assert(!state_same("lr 3\n", "lr 33\n", &c));
    ck_assert(!state_same("", "lr 3\n", &c));
}
END_TEST

/* A run that acts on what it measures has it as part of its state. */
START_TEST(measurements_count_where_something_goes_by_them)
{
    static struct config spike, diverged, noise;
    strcpy(spike.monitor.spike, "skip");
    strcpy(diverged.monitor.diverged, "back");
    strcpy(noise.scaling.rule, "adascale");
    const struct {
        const char *a, *b;
        bool spike, diverged, noise; /* the same to such a run */
    } rows[] = {{"watch 1\n", "watch 2\n", false, false, true},
                {"watch.loss.128 1\n", "watch.loss.128 2\n", false, true, true},
                {"watch.grad.128 1\n", "watch.grad.64 1\n", false, true, true},
                {"watch.noise 1\n", "watch.noise 2\n", true, true, false},
                {"watch.bins 1\n", "watch.bins 2\n", true, true, true},
                {"lr 1\n", "lr 2\n", false, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(state_same(rows[i].a, rows[i].b, &spike), rows[i].spike);
        ck_assert_int_eq(state_same(rows[i].a, rows[i].b, &diverged), rows[i].diverged);
        ck_assert_int_eq(state_same(rows[i].a, rows[i].b, &noise), rows[i].noise);
    }
}
END_TEST

START_TEST(keys_are_safe_while_nothing_goes_by_them)
{
    static const struct {
        const char *key, *set, *to;
    } rows[] = {{"validate.every", "schedule.name", "reduce_on_plateau"},
                {"validate.samples", "schedule.name", "reduce_on_plateau"},
                {"data.valid", "schedule.name", "reduce_on_plateau"},
                {"validate.every", "schedule.name", "plateau"},
                {"checkpoint.every", "monitor.diverged", "back"},
                {"checkpoint.keep", "monitor.nonfinite", "back"},
                {"checkpoint.keep_every", "monitor.spike", "back"},
                {"noise.every", "scaling.rule", "adascale"},
                {"noise.decay", "scaling.rule", "adascale"},
                {"parallel.bucket_mib", "parallel.reduce", "fast"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct config c;
        const struct conf_key *k = conf_find(rows[i].key);
        memset(&c, 0, sizeof c);
        ck_assert_int_eq(effect_of(k, &c), EFFECT_SAFE);
        ck_assert_int_eq(conf_set_text(conf_find(rows[i].set), &c, rows[i].to), OK);
        ck_assert_msg(effect_of(k, &c) == EFFECT_TRAJECTORY, "%s", rows[i].key);
        ck_assert_ptr_nonnull(effect_unless(k));
        ck_assert_int_eq(effect_of(conf_find("run.dir"), &c), EFFECT_SAFE);
        ck_assert_int_eq(effect_of(conf_find("run.seed"), &c), EFFECT_IMPOSSIBLE);
    }
}
END_TEST

/* Under either of its names. */
START_TEST(validations_matter_where_a_piece_follows_them)
{
    static struct config c;
    const struct conf_key *k = conf_find("validate.every");
    strcpy(c.schedule.name, "piecewise");
    strcpy(c.schedule.pieces, "constant 4 steps, plateau patience=0");
    ck_assert_int_eq(effect_of(k, &c), EFFECT_TRAJECTORY);
    strcpy(c.schedule.pieces, "reduce_on_plateau 50%,\n linear");
    ck_assert_int_eq(effect_of(k, &c), EFFECT_TRAJECTORY);
    strcpy(c.schedule.pieces, "constant 4 steps, cosine");
    ck_assert_int_eq(effect_of(k, &c), EFFECT_SAFE);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, measurements_count_where_something_goes_by_them);
    tcase_add_test(t, keys_are_safe_while_nothing_goes_by_them);
    tcase_add_test(t, validations_matter_where_a_piece_follows_them);
    tcase_add_test(t, measurements_do_not_tell_states_apart);
    tcase_add_test(t, numbers_come_back_bit_for_bit);
    tcase_add_test(t, another_count_is_refused_and_an_unknown_row_passed_over);
}

int main(void)
{
    return run_suite("train/state", add);
}
