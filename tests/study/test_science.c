/* The small form of tests/bench/science: the same set-up, for some seconds.
 * ranks: 1 */
#include "bench/science.h"
#include "mpi_main.h"

/* One seed of each; tests/bench/science holds three against narrower bounds. The set-up's steps to
 * 2.1 at B=16 are 271 and its best rate is 0.004 to 0.007; single seeds lie 15% apart. */
static const double STEPS_LEAST = 200, STEPS_MOST = 340;
static const double VALLEY_LEAST = 0.003, VALLEY_MOST = 0.012;
/* Nats between a rate that learns and one that does not: seeds differ by some hundredths. */
static const double APART = 0.3;
static const double DECAY_GAIN = 0.02;

static struct science place;
static struct model_spec model;
static bool there;

START_TEST(the_set_up_is_the_documented_one)
{
    const char *text = science_text();
    there = text != NULL;
    if (!there) {
        puts("SKIP: tiny Shakespeare is not there; name the text by CARAT_SHAKESPEARE=FILE");
        return;
    }
    science_begin(&place, &ck_world, text);
    model = science_model(&place, 64);
    ck_assert_int_eq(place.vocab, 65);
    ck_assert_double_eq_tol(spec_n_params(&model), 86e3, 1e3);
}
END_TEST

START_TEST(the_target_is_reached_in_the_known_steps)
{
    const struct trial k = {
        .seed = 1, .batch = 16, .steps = 400, .lr = 0.004, .target = 2.1, .warmup = -1};
    if (!there)
        return;
    struct outcome o = science_train(&place, &model, &k, NULL);
    ck_assert_msg(o.steps >= STEPS_LEAST && o.steps <= STEPS_MOST, "%g steps", o.steps);
}
END_TEST

START_TEST(the_range_test_finds_the_best_rate)
{
    if (!there)
        return;
    double valley = science_range(&place, &model, 16, 1).valley;
    ck_assert_msg(valley >= VALLEY_LEAST && valley <= VALLEY_MOST, "%g", valley);
}
END_TEST

/* From 0.004 at B=16 the linear rule comes to 0.016 at B=64, and to 0.064 at B=256. */
START_TEST(a_rate_far_too_high_does_not_learn)
{
    struct trial k = {.seed = 1, .batch = 64, .steps = 60, .lr = 0.008, .warmup = -1};
    if (!there)
        return;
    double good = science_train(&place, &model, &k, NULL).loss;
    k.lr = 0.128;
    double bad = science_train(&place, &model, &k, NULL).loss;
    ck_assert_msg(bad > good + APART, "%g, and %g at the higher rate", good, bad);
}
END_TEST

/* Experiment 4: without clipping, at a rate that is too high for the first weights. */
START_TEST(warmup_helps)
{
    struct trial k = {.seed = 1, .batch = 64, .steps = 60, .lr = 0.032, .unclipped = true};
    if (!there)
        return;
    double without = science_train(&place, &model, &k, NULL).loss;
    k.warmup = 40;
    double with = science_train(&place, &model, &k, NULL).loss;
    ck_assert_msg(with < without, "%g with warmup, %g without", with, without);
}
END_TEST

/* Experiment 6, at equal tokens; in so short a run at a rate whose noise already tells. */
START_TEST(decay_beats_a_constant_rate)
{
    struct trial k = {.seed = 1, .batch = 16, .steps = 400, .lr = 0.016, .warmup = -1};
    if (!there)
        return;
    double constant = science_train(&place, &model, &k, NULL).loss;
    k.schedule = "linear";
    double decayed = science_train(&place, &model, &k, NULL).loss;
    ck_assert_msg(decayed <= constant - DECAY_GAIN, "%g, constant %g", decayed, constant);
}
END_TEST

START_TEST(the_folder_goes)
{
    if (!there)
        return;
    science_end(&place, &ck_world);
    ck_assert(!fs_exists(place.folder));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_set_up_is_the_documented_one);
    tcase_add_test(t, the_target_is_reached_in_the_known_steps);
    tcase_add_test(t, the_range_test_finds_the_best_rate);
    tcase_add_test(t, a_rate_far_too_high_does_not_learn);
    tcase_add_test(t, warmup_helps);
    tcase_add_test(t, decay_beats_a_constant_rate);
    tcase_add_test(t, the_folder_goes);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "study/science", add);
}
