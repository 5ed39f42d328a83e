/* A job's schedule: amounts in units of its clock, pieces, and what is refused. */
#include "base/err.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "train/derive.h"

#include <math.h>
#include <string.h>

/* Relative; a few roundings of double. */
#define TOLERANCE 1e-12

enum { GLOBAL = 8, T = 64, N_STEPS = 200, N_SAMPLES = 400 };

static struct config conf;
static struct course course;
static struct scaling scaling;
static struct schedule made;
static struct str said;

/* A run of N_STEPS with peak rate 1 and these settings. */
static int make(const char *settings)
{
    struct conf_origins origins;
    char text[2048];
    snprintf(text, sizeof text,
             "batch: {global: %d, seq_len: %d}\ntrain.steps: %d\noptimizer.lr: 1\n%s", GLOBAL, T,
             N_STEPS, settings);
    ck_assert_msg(conf_load_text(&conf, &origins, text, "test") == OK, "%s", err_message());
    str_release(&said);
    ck_assert_int_eq(derive_course(&course, &conf, N_SAMPLES, (struct ramp_at){0, 0}), OK);
    ck_assert_int_eq(derive_scaling(&scaling, &conf), OK);
    return derive_schedule(&made, &conf, &course, &scaling, &said);
}

static void makes(const char *settings)
{
    ck_assert_msg(make(settings) == OK, "%s: %s", settings, err_message());
}

static double rate(int64_t step)
{
    return derive_rate(&made, &conf, &course, &scaling, step);
}

static struct optim_settings settings(int64_t step)
{
    static const struct gain unmeasured;
    return derive_step(&made, &conf, &course, &scaling, course_at(&course, step), &unmeasured);
}

static void is(double got, double want)
{
    ck_assert_double_eq_tol(got, want, TOLERANCE * fabs(want));
}

/* With a batch that does not change, every clock shows the same curve, whatever the amounts are
 * counted in: a step is 8 samples, 512 tokens, 1/50 epoch, 0.5% of the run. */
START_TEST(clocks_and_amounts_agree)
{
    static const char *const clock[] = {"tokens", "samples", "steps", "epochs"};
    static const char *const every[] = {"20 steps", "10240 tokens", "160 samples", "0.4 epochs",
                                        "10%"};
    static const char *const rule[] = {"step", "exponential"};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 5; k++)
            for (int r = 0; r < 2; r++) {
                char text[512];
                snprintf(text, sizeof text,
                         "schedule: {name: %s, clock: %s, every: %s, gamma: 0.5, warmup: 0}",
                         rule[r], clock[i], every[k]);
                makes(text);
                for (int t = 0; t < N_STEPS; t++)
                    is(rate(t), pow(0.5, r == 0 ? t / 20 : t / 20.));
            }
}
END_TEST

/* 100 steps of 2 sequences, then 100 of 8: half the steps are a fifth of what is consumed. */
START_TEST(clocks_part_where_the_batch_grows)
{
    static const char *const clock[] = {"steps", "tokens", "samples", "epochs"};
    for (int i = 0; i < 4; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "batch.ramp: '0:2 100 steps:8'\nschedule: {name: linear, clock: %s, final: 0, "
                 "warmup: 0}",
                 clock[i]);
        makes(text);
        for (int t = 0; t < N_STEPS; t++) {
            double samples = t < 100 ? 2 * t : 200 + 8 * (t - 100);
            is(rate(t), i == 0 ? 1 - t / 200. : 1 - samples / 1000);
        }
        /* A share of the run is one of its clock. */
        snprintf(text, sizeof text,
                 "batch.ramp: '0:2 100 steps:8'\nschedule: {name: step, clock: %s, every: 20%%, "
                 "gamma: 0.5, warmup: 0}",
                 clock[i]);
        makes(text);
        is(rate(99), i == 0 ? 0.25 : 1);
        is(rate(100), i == 0 ? 0.25 : 0.5);
        /* And what is given in steps falls at that step, whatever the clock. */
        snprintf(text, sizeof text,
                 "batch.ramp: '0:2 100 steps:8'\nschedule: {name: multi_step, clock: %s, "
                 "milestones: '150 steps', gamma: 0.5, warmup: 10 steps}",
                 clock[i]);
        makes(text);
        is(rate(4), 0.5);
        is(rate(10), 1);
        is(rate(149), 1);
        is(rate(150), 0.5);
    }
}
END_TEST

START_TEST(rules_begin_after_the_warmup)
{
    makes("schedule: {name: step, every: 50 steps, gamma: 0.5, warmup: 10%}");
    for (int t = 0; t < N_STEPS; t++)
        is(rate(t), t < 20 ? (t + 1) / 20. : pow(0.5, floor((t - 20) / 50.)));
    /* But milestones are counted from the start, as one reads them. */
    makes("schedule: {name: multi_step, milestones: '25% 100 steps, 76800tok', gamma: 0.5, "
          "warmup: 10%}");
    for (int t = 20; t < N_STEPS; t++)
        is(rate(t), pow(0.5, (t >= 50) + (t >= 100) + (t >= 150)));
    /* Shares are of what follows, so that cycles and falls end with the run. */
    makes("schedule: {name: restarts, cycle: 50%, final: 0, warmup: 20 steps}");
    for (int t = 20; t < N_STEPS; t++)
        is(rate(t), (1 + cos(M_PI * ((t - 20) % 90) / 90)) / 2);
    makes("schedule: {name: inverse_sqrt, warmup: 16}");
    is(rate(64), 0.5);
    makes("schedule: {name: inverse_sqrt, warmup: 16, timescale: 40 steps}");
    is(rate(16 + 40), 1 / sqrt(2));
    makes("schedule: {name: power, warmup: 16}");
    is(rate(64), pow(4, -0.51));
}
END_TEST

/* 7% of 100 steps are 7, though 0.07 · 100 is a little more. */
START_TEST(a_warmup_is_whole_steps)
{
    makes("schedule: {name: constant, warmup: 3.5%}");
    ck_assert_double_eq(made.warmup.length, 7 * GLOBAL * T);
    makes("schedule: {name: constant, warmup: 3.6%}");
    ck_assert_double_eq(made.warmup.length, 8 * GLOBAL * T);
    ck_assert_ptr_nonnull(strstr(said.s, "linear over 8 steps = 4096 tokens"));
    makes("schedule: {name: constant, warmup: 1 tokens, clock: steps}");
    ck_assert_double_eq(made.warmup.length, 1);
    makes("schedule: {name: constant, warmup: 100%}");
    is(rate(N_STEPS - 1), 1);
}
END_TEST

START_TEST(warmups_have_their_shape)
{
    makes("schedule: {name: constant, warmup: 10, warmup_shape: constant, warmup_start: 0.3}");
    is(rate(9), 0.3);
    is(rate(10), 1);
    makes("schedule: {name: constant, warmup: 10, warmup_shape: gradual, warmup_start: 0.5}");
    is(rate(0), 0.5);
    is(rate(5), 0.75);
    makes("schedule: {name: constant, warmup: 10, warmup_shape: exponential}\n"
          "optimizer.beta2: 0.9");
    is(rate(4), 1 - exp(-0.5));
    is(rate(30), 1 - exp(-3.1));
    makes("schedule: {name: constant, warmup: 10, warmup_shape: exponential}"); /* adamw's own */
    is(rate(4), 1 - exp(-5 * (1 - 0.95)));
    makes("schedule: {name: constant, warmup: 10, warmup_shape: none}");
    is(rate(0), 1);
    ck_assert_int_eq(make("schedule: {name: constant, warmup: 10, warmup_shape: exponential}\n"
                          "optimizer.name: sgd"),
                     E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "beta2"));
}
END_TEST

START_TEST(rules_that_rise_have_no_warmup)
{
    makes("schedule: {name: one_cycle, warmup: 10%}");
    ck_assert_ptr_nonnull(strstr(said.s, "none: one_cycle rises by itself"));
    is(rate(0), 0.04);
    is(rate(59), 1);
    is(rate(N_STEPS - 1), 4e-6);
    is(settings(0).beta1, 0.95);
    is(settings(59).beta1, 0.85);
    ck_assert_double_eq(settings(59).momentum, 0); /* adamw has none */
    makes("schedule.name: one_cycle\noptimizer: {name: sgd, momentum: 0.9}");
    is(settings(0).momentum, 0.95);
    is(settings(59).momentum, 0.85);
    ck_assert_double_eq(settings(59).beta1, 0);
    makes("schedule: {name: triangular, cycle: 20 steps}");
    is(rate(0), 0.25);
    is(rate(10), 1);
    is(rate(20), 0.25);
}
END_TEST

START_TEST(a_piece_begins_where_the_one_before_ended)
{
    makes("schedule: {name: piecewise, warmup: 10 steps, pieces: 'constant 40 steps, cosine 30% "
          "final=0.5, exponential gamma=0.25 every=100%'}");
    ck_assert_int_eq(made.n, 3);
    is(rate(4), 0.5);
    is(rate(39), 1);
    is(rate(70), 0.75);
    for (int t = 100; t < N_STEPS; t++)
        is(rate(t), 0.5 * pow(0.25, (t - 100) / 100.));
    ck_assert_ptr_nonnull(strstr(said.s, "from step 41"));
    ck_assert_ptr_nonnull(strstr(said.s, "from step 101"));
    /* A jump, by one's own wish; shares are of the piece. */
    makes("schedule: {name: piecewise, warmup: 0, pieces: 'linear 50% final=0.2, restarts 50% "
          "from=0.6 cycle=25% final=0'}");
    is(rate(50), 0.6);
    for (int t = 100; t < N_STEPS; t++)
        is(rate(t), 0.3 * (1 + cos(M_PI * (t % 25) / 25)));
}
END_TEST

START_TEST(pieces_may_be_any_rule)
{
    for (int i = 0; schedule_row(i) != NULL; i++) {
        char text[256];
        const struct schedule_rule *r = schedule_row(i);
        snprintf(text, sizeof text,
                 "schedule: {name: piecewise, warmup: 5%%, pieces: 'constant 20%%, %s 50%%%s%s, "
                 "linear final=0.01'}\nvalidate.every: 10",
                 r->name, schedule_reads(r, "final") ? " final=0.05" : "",
                 schedule_reads(r, "milestones") ? " milestones=50%" : "");
        if (r->share == NULL) {
            ck_assert_int_eq(make(text), E_CONFIG);
            continue;
        }
        makes(text);
        for (int t = 0; t < N_STEPS; t++)
            ck_assert_msg(rate(t) > 0 && rate(t) <= 1, "%s: step %d: %g", r->name, t, rate(t));
        double end = schedule_piece_end(&made.piece[1]);
        is(rate(140), end);
        is(rate(170), (end + 0.01) / 2);
    }
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *settings, *says;
    } row[] = {
        {"schedule.name: cosin", "schedule.name: "},
        {"schedule.name: cosin", "did you mean \"cosine\""},
        {"schedule.warmup: 201", "schedule.warmup, 201 steps, is longer than the run of 200"},
        {"schedule.warmup: 2Mtok", "schedule.warmup, 2000000 tokens"},
        {"schedule: {name: step, every: 0}", "schedule.every is 0"},
        {"schedule: {name: restarts, cycle: 0}", "schedule.cycle is 0"},
        {"schedule: {name: triangular, cycle: 0%}", "schedule.cycle is 0"},
        {"schedule: {name: inverse_sqrt, warmup: 0}", "schedule.timescale is 0"},
        {"schedule: {name: wsd, decay: 199 steps}", "schedule.decay is longer"},
        {"schedule: {name: polynomial, power: -1}", "schedule.power is -1"},
        {"schedule: {name: power, power: 1}", "schedule.power is 1"},
        {"schedule: {name: one_cycle, phases: 3, rise: 0.6}", "schedule.rise is 0.6"},
        {"schedule.name: multi_step", "schedule.milestones is empty"},
        {"schedule: {name: multi_step, milestones: '75% 50%'}", "write them in order"},
        {"schedule: {name: multi_step, milestones: '50 50'}", "write them in order"},
        {"schedule: {name: multi_step, milestones: 'half'}", "\"half\" is no amount"},
        {"schedule: {name: multi_step, milestones: '50 -1'}", "\"-1\" is no amount"},
        {"schedule: {name: multi_step, milestones: '1', warmup: 5}", "within the warmup"},
        {"schedule.name: plateau\nvalidate.every: 0", "set validate.every"},
        {"schedule.name: piecewise", "schedule.pieces is empty"},
        {"schedule: {name: piecewise, pieces: ' '}", "schedule.pieces is empty"},
        {"schedule: {name: piecewise, pieces: 'constant, cosine'}", "piece 1: constant has no len"},
        {"schedule: {name: piecewise, pieces: 'cosine 10%,, linear'}", "piece 2: a piece is empty"},
        {"schedule: {name: piecewise, pieces: 'cosine 10%, piecewise'}", "cannot be a piece"},
        {"schedule: {name: piecewise, pieces: 'cosin 10%'}", "did you mean \"cosine\""},
        {"schedule: {name: piecewise, pieces: 'cosine half'}", "\"half\" is no length"},
        {"schedule: {name: piecewise, pieces: 'cosine -5'}", "\"-5\" is no length"},
        {"schedule: {name: piecewise, pieces: 'cosine 0'}", "\"0\" is no length"},
        {"schedule: {name: piecewise, pieces: 'cosine 60%, linear 41%'}",
         "more than the run's 200"},
        {"schedule: {name: piecewise, pieces: 'cosine 100%, linear'}", "more than the run's 200"},
        {"schedule: {name: piecewise, pieces: 'cosine 300, linear'}", "more than the run's 200"},
        {"schedule: {name: piecewise, pieces: 'cosine gamma=1'}",
         "cosine does not read \"gamma=1\""},
        {"schedule: {name: piecewise, pieces: 'cosine final=2'}", "out of range"},
        {"schedule: {name: piecewise, pieces: 'cosine from=2'}", "a share of the peak"},
        {"schedule: {name: piecewise, pieces: 'step every=0'}", "piece 1: schedule.every is 0"},
        {"schedule: {name: piecewise, pieces: 'plateau 10%, plateau'}", "only one piece"},
        {"schedule: {name: piecewise, warmup: 11%, pieces: 'cosine 10%, linear'}",
         "longer than the first of schedule.pieces"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        ck_assert_msg(make(row[i].settings) == E_CONFIG, "%s", row[i].settings);
        ck_assert_msg(strstr(err_message(), row[i].says) != NULL, "%s: %s", row[i].settings,
                      err_message());
    }
    err_clear();
}
END_TEST

START_TEST(epochs_need_data)
{
    struct str text = {0};
    makes("schedule: {name: step, every: 1 epochs}");
    course.n_samples = 0;
    ck_assert_int_eq(derive_schedule(&made, &conf, &course, &scaling, &text), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "schedule.every is in epochs"));
    str_release(&text);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, clocks_and_amounts_agree);
    tcase_add_test(t, clocks_part_where_the_batch_grows);
    tcase_add_test(t, rules_begin_after_the_warmup);
    tcase_add_test(t, a_warmup_is_whole_steps);
    tcase_add_test(t, warmups_have_their_shape);
    tcase_add_test(t, rules_that_rise_have_no_warmup);
    tcase_add_test(t, a_piece_begins_where_the_one_before_ended);
    tcase_add_test(t, pieces_may_be_any_rule);
    tcase_add_test(t, what_is_wrong_is_named);
    tcase_add_test(t, epochs_need_data);
}

int main(void)
{
    int status = run_suite("train/schedule", add);
    str_release(&said);
    return status;
}
