/* The batch of each step: closed forms against counting step by step, and what is refused. */
#include "base/err.h"
#include "check_main.h"
#include "train/ramp.h"

#include <stdio.h>
#include <string.h>

static struct config base(const char *text, int64_t global)
{
    struct config c = {0};
    c.batch.global = global;
    c.batch.micro = 2;
    c.batch.seq_len = 100;
    snprintf(c.batch.ramp, sizeof c.batch.ramp, "%s", text);
    return c;
}

static struct ramp ramp(const char *text, int64_t global)
{
    struct ramp r;
    struct config c = base(text, global);
    ck_assert_msg(ramp_init(&r, &c) == OK, "%s: %s", text, err_message());
    return r;
}

START_TEST(a_ramp_is_read)
{
    struct ramp r = ramp(" 0:4 1001tok:6, 40 samples: 9\n20steps:32 ", 32);
    const struct ramp_stage want[] = {{true, 0, 4}, {false, 11, 6}, {false, 40, 9}, {true, 20, 32}};
    ck_assert_int_eq(r.n, 4);
    for (int i = 0; i < r.n; i++) {
        ck_assert_int_eq(r.stage[i].by_step, want[i].by_step);
        ck_assert_int_eq(r.stage[i].from, want[i].from);
        ck_assert_int_eq(r.stage[i].batch, want[i].batch);
    }
}
END_TEST

static const struct {
    const char *text;
    int64_t global;
} ramps[] = {
    {"", 5},
    {"0:3", 3},
    {"0:2 1:3", 3},
    {"0:4 10 steps:7 25 steps:16", 16},
    {"0:4 1000tok:8 5ktok:12 6100tok:13", 13},
    {"0:3 7 samples:5 300 samples:64", 64},
    {"0:2 1001tok:3 20 steps:9 500 samples:10 100ktok:400", 400},
};

/* Step by step, from the definition: a stage begins with the first step at or past its amount. */
static int64_t batch_of_next(const struct ramp *r, struct ramp_at at)
{
    int64_t batch = r->stage[0].batch;
    for (int i = 1; i < r->n; i++)
        if ((r->stage[i].by_step ? at.step : at.samples) >= r->stage[i].from)
            batch = r->stage[i].batch;
    return batch;
}

enum { N_STEPS = 150 };

START_TEST(closed_forms_are_those_of_counting)
{
    for (size_t i = 0; i < sizeof ramps / sizeof *ramps; i++) {
        struct ramp r = ramp(ramps[i].text, ramps[i].global);
        struct ramp_at at[N_STEPS + 1] = {{0, 0}};
        for (int t = 0; t < N_STEPS; t++) {
            ck_assert_int_eq(ramp_batch(&r, at[t]), batch_of_next(&r, at[t]));
            at[t + 1] = (struct ramp_at){t + 1, at[t].samples + batch_of_next(&r, at[t])};
        }
        ck_assert_int_eq(ramp_batch(&r, at[N_STEPS]), ramps[i].global);
        for (int from = 0; from <= N_STEPS; from += 7)
            for (int to = from; to <= N_STEPS; to++) {
                struct ramp_at got = ramp_walk(&r, at[from], to - from);
                ck_assert_int_eq(got.step, to);
                ck_assert_int_eq(got.samples, at[to].samples);
            }
    }
}
END_TEST

START_TEST(a_length_takes_the_fewest_steps)
{
    for (size_t i = 0; i < sizeof ramps / sizeof *ramps; i++) {
        struct ramp r = ramp(ramps[i].text, ramps[i].global);
        for (int from = 0; from < 40; from += 13) {
            struct ramp_at begin = ramp_walk(&r, (struct ramp_at){0, 0}, from), at = begin;
            for (double samples = 0; samples < 700; samples += 0.5) {
                while ((double)at.samples < samples)
                    at = ramp_walk(&r, at, 1);
                ck_assert_int_eq(ramp_steps(&r, begin, samples), at.step - begin.step);
            }
        }
    }
}
END_TEST

START_TEST(a_stage_lasts_until_the_next_begins)
{
    for (size_t i = 0; i < sizeof ramps / sizeof *ramps; i++) {
        struct ramp r = ramp(ramps[i].text, ramps[i].global);
        struct ramp_at at = {0, 0};
        for (int k = 0; k < r.n; k++) {
            ck_assert_int_eq(ramp_stage_at(&r, at), k);
            if (k == r.n - 1) {
                ck_assert_int_eq(ramp_left(&r, at), INT64_MAX);
                break;
            }
            int64_t n = ramp_left(&r, at);
            ck_assert_int_eq(ramp_stage_at(&r, ramp_walk(&r, at, n - 1)), k);
            at = ramp_walk(&r, at, n);
        }
    }
}
END_TEST

/* Of a run that did its first steps with another batch. */
START_TEST(what_is_done_decides_not_how)
{
    struct ramp r = ramp("0:4 1000tok:8 20 steps:10", 10);
    ck_assert_int_eq(ramp_batch(&r, (struct ramp_at){1, 9}), 4);
    ck_assert_int_eq(ramp_batch(&r, (struct ramp_at){1, 10}), 8);
    ck_assert_int_eq(ramp_batch(&r, (struct ramp_at){20, 9}), 10);
    struct ramp_at at = ramp_walk(&r, (struct ramp_at){1, 10}, 21);
    ck_assert_int_eq(at.samples, 10 + 19 * 8 + 2 * 10);
}
END_TEST

START_TEST(long_runs_take_no_time_and_stay_exact)
{
    struct ramp r = ramp("0:64 2Mtok:128 20Mtok:1048576", 1 << 20);
    int64_t n = (int64_t)1e9;
    struct ramp_at at = ramp_walk(&r, (struct ramp_at){0, 0}, n);
    /* 20000 sequences at 64 are 313 steps, from there to 200000 at 128 another 1406. */
    ck_assert_int_eq(at.samples, 313 * 64 + 1406 * 128 + (n - 313 - 1406) * (1 << 20));
    ck_assert_int_eq(ramp_steps(&r, (struct ramp_at){0, 0}, (double)at.samples), n);
}
END_TEST

static const struct {
    const char *text;
    int64_t global;
    const char *says;
} bad[] = {
    {"64", 64, "is no AMOUNT:BATCH"},
    {"0:64 2Mtok", 64, "is no AMOUNT:BATCH"},
    {"0:x", 64, "is no AMOUNT:BATCH"},
    {"0:", 64, "is no AMOUNT:BATCH"},
    {"0:64.5", 64, "is no AMOUNT:BATCH"},
    {":64", 64, "is no AMOUNT:BATCH"},
    {"0:32 many:64", 64, "is no AMOUNT:BATCH"},
    {"0:32 -5 steps:64", 64, "is no AMOUNT:BATCH"},
    {"0:32 1.5 steps:64", 64, "is no AMOUNT:BATCH"},
    {"0:32 10%:64", 64, "in percent"},
    {"0:32 2 epochs:64", 64, "in epochs"},
    {" , ", 64, "is no AMOUNT:BATCH"},
    {"5 steps:64", 64, "begin it with 0:BATCH"},
    {"0:0 10 steps:64", 64, "batch of 0"},
    {"0:-4 10 steps:64", 64, "batch of -4"},
    {"0:1 10 steps:64", 64, "less than batch.micro (2)"},
    {"0:32 10 steps:16", 16, "has to grow"},
    {"0:32 10 steps:32", 32, "has to grow"},
    {"0:8 20 steps:16 10 steps:32", 32, "sort the amounts"},
    {"0:8 10 steps:16 10 steps:32", 32, "sort the amounts"},
    {"0:8 0:16", 16, "sort the amounts"},
    {"0:4 100:12 50:12", 12, "begins at 50 steps, and the one before it at 100; sort"},
    {"0:8 10 samples:16 12 samples:32", 32, "leave a step between"},
    {"0:8 100 steps:16 50 samples:32", 32, "sort the amounts"},
    {"0:8 10 steps:16", 32, "set batch.global=16"},
};

START_TEST(bad_ramps_are_refused_with_key_and_fix)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ramp r;
        struct config c = base(bad[i].text, bad[i].global);
        ck_assert_msg(ramp_init(&r, &c) == E_CONFIG, "\"%s\" is taken", bad[i].text);
        ck_assert_msg(strstr(err_message(), "batch.ramp") != NULL &&
                          strstr(err_message(), bad[i].says) != NULL,
                      "\"%s\": %s", bad[i].text, err_message());
        err_clear();
    }
}
END_TEST

START_TEST(too_many_stages_are_refused)
{
    struct ramp r;
    struct config c = base("", 2 + RAMP_MAX);
    size_t n = 0;
    for (int i = 0; i <= RAMP_MAX; i++)
        n += (size_t)snprintf(c.batch.ramp + n, sizeof c.batch.ramp - n, "%d:%d ", i, i + 2);
    ck_assert_int_eq(ramp_init(&r, &c), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "more than 32 stages"));
    err_clear();
    c.batch.ramp[strlen(c.batch.ramp) - strlen("32:34 ")] = '\0';
    c.batch.global--;
    ck_assert_int_eq(ramp_init(&r, &c), OK);
    ck_assert_int_eq(r.n, RAMP_MAX);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_ramp_is_read);
    tcase_add_test(t, closed_forms_are_those_of_counting);
    tcase_add_test(t, a_length_takes_the_fewest_steps);
    tcase_add_test(t, a_stage_lasts_until_the_next_begins);
    tcase_add_test(t, what_is_done_decides_not_how);
    tcase_add_test(t, long_runs_take_no_time_and_stay_exact);
    tcase_add_test(t, bad_ramps_are_refused_with_key_and_fix);
    tcase_add_test(t, too_many_stages_are_refused);
}

int main(void)
{
    return run_suite("train/ramp", add);
}
