/* Slices of a run under a time limit: never one that gains nothing. */
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "check_main.h"
#include "train/cut.h"
#include "train/restart.h"
#include "train/slice.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void)
{
    char path[FS_PATH_MAX];
    snprintf(folder, sizeof folder, "/tmp/carat-slice-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_join(path, folder, "checkpoints"), OK);
    ck_assert_int_eq(fs_mkdirs(path), OK);
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

/* Seconds left, limit, save, what comes next: is it up? */
START_TEST(the_end_leaves_room_for_a_save)
{
    static const struct {
        double left, limit, save, next;
        bool up;
    } rows[] = {
        {-5, 0, 10, 10, false},                                     /* no limit */
        {1000, 14400, 100, 50, false}, {309, 14400, 100, 50, true}, /* 200 + 50 + 60 */
        {311, 14400, 100, 50, false},  {65, 100, 10, 35, false},    /* 20 + 35 + 10 */
        {64, 100, 10, 35, true},       {0.5, 1, 0.1, 0.1, false},   /* short limits are of use */
        {0.3, 1, 0.1, 0.1, true},      {-1, 10, 0, 0, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_msg(slice_is_up(rows[i].left, rows[i].limit, rows[i].save, rows[i].next) ==
                          rows[i].up,
                      "row %zu", i);
}
END_TEST

static void end_in(double s)
{
    char end[32];
    snprintf(end, sizeof end, "%lld", (long long)time(NULL) + (long long)s);
    setenv("SLURM_JOB_END_TIME", end, 1);
}

/* Of what was asked for and what the job has left the lesser counts. */
START_TEST(the_job_ends_when_slurm_says)
{
    double begun_s = clock_now_s() - 20;
    end_in(100);
    struct slice s = slice_of_job(begun_s, 0);
    ck_assert(s.of_job);
    ck_assert_double_eq_tol(s.limit_s, 120, 2);
    ck_assert_double_eq(s.begun_s, begun_s);
    ck_assert(slice_of_job(begun_s, 500).of_job);
    s = slice_of_job(begun_s, 50);
    ck_assert(!s.of_job);
    ck_assert_double_eq(s.limit_s, 50);
    static const char *const none[] = {"", "soon", "1000000000", "-5", "inf", "nan"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        setenv("SLURM_JOB_END_TIME", none[i], 1);
        s = slice_of_job(begun_s, 50);
        ck_assert_msg(!s.of_job && s.limit_s == 50, "row %zu", i);
        ck_assert_msg(slice_of_job(begun_s, 0).limit_s == 0, "row %zu", i);
    }
    unsetenv("SLURM_JOB_END_TIME");
    ck_assert(!slice_of_job(begun_s, 50).of_job);
}
END_TEST

/* A squeue that says so of the job 5_2. */
static void squeue_says(const char *state, double s)
{
    char path[FS_PATH_MAX], text[256];
    int n = snprintf(text, sizeof text, "#!/bin/sh\n[ \"$5\" = 5_2 ] && echo %s %lld\n", state,
                     (long long)time(NULL) + (long long)s);
    ck_assert_int_eq(fs_join(path, folder, "squeue"), OK);
    ck_assert_int_eq(fs_write_file(path, text, (size_t)n), OK);
    ck_assert_int_eq(chmod(path, 0755), 0);
}

START_TEST(an_end_can_be_put_off)
{
    char path[FS_PATH_MAX + 64];
    double now = clock_now_s();
    snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("SLURM_JOB_ID", "7", 1); /* the second task of an array */
    setenv("SLURM_ARRAY_JOB_ID", "5", 1);
    setenv("SLURM_ARRAY_TASK_ID", "2", 1);
    squeue_says("RUNNING", 100);
    struct slice s = slice_of_job(now, 0), own = slice_of_job(now, 50);
    ck_assert(s.of_job && !own.of_job);
    ck_assert_double_eq_tol(s.limit_s, 100, 2);
    ck_assert(!slice_is_longer(&s)); /* the same end */
    squeue_says("RUNNING", 300);
    ck_assert(!slice_is_longer(&own));
    ck_assert(slice_is_longer(&s));
    ck_assert_double_eq_tol(s.limit_s, 300, 2);
    squeue_says("PENDING", 900);
    ck_assert(!slice_is_longer(&s));
    squeue_says("RUNNING", 100);
    ck_assert(!slice_is_longer(&s)); /* sooner is not later */
    s = slice_of_job(now, 200);
    squeue_says("RUNNING", 300);
    ck_assert(slice_is_longer(&s)); /* then train.time_limit is the limit */
    ck_assert(!s.of_job && s.limit_s == 200);
    s = slice_of_job(now, 0);
    squeue_says("RUNNING NONE", 0);
    ck_assert(slice_is_longer(&s)); /* it has no limit any more */
    ck_assert_double_gt(s.limit_s, 1e8);
    ck_assert(!slice_of_job(now, 0).of_job);
    squeue_says("COMPLETING", 100);
    end_in(50); /* where squeue tells nothing */
    s = slice_of_job(now, 0);
    ck_assert(s.of_job);
    ck_assert_double_eq_tol(s.limit_s, 50, 2);
    unsetenv("SLURM_JOB_END_TIME");
    unsetenv("SLURM_JOB_ID");
    ck_assert(!slice_of_job(now, 0).of_job);
}
END_TEST

static int check(double limit_s, bool of_job, int ranks)
{
    const struct slice s = {.limit_s = limit_s, .of_job = of_job};
    return slice_check(folder, &s, ranks);
}

START_TEST(too_short_a_slice_is_refused)
{
    const struct slice_times t = {.startup_s = 30, .step_s = 8, .save_s = 4};
    ck_assert_double_eq(slice_least_s(&t), 46);
    ck_assert_int_eq(check(10, false, 2), OK); /* nothing is known */
    slice_note(folder, &t, 2);
    ck_assert_int_eq(check(46, false, 2), OK);
    ck_assert_int_eq(check(0, false, 2), OK);
    ck_assert_int_eq(check(45, false, 4), OK); /* other ranks are as fast as they are */
    ck_assert_int_eq(check(45, false, 2), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "train.time_limit 45 s"));
    ck_assert_ptr_nonnull(strstr(err_message(), "30 s to its first step, 8 s for that step and 4 s "
                                                "a save, so at least 46 s"));
    ck_assert_int_eq(check(45, true, 2), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "the time left to this Slurm job, 45 s, is too"));
}
END_TEST

START_TEST(a_slice_that_came_to_no_step_is_refused)
{
    const struct slice_times t = {.startup_s = 38, .save_s = 1};
    slice_note(folder, &t, 2);
    ck_assert_int_eq(check(45, false, 2), OK); /* 7 s left for 2 saves and 4.5 */
    ck_assert_int_eq(check(40, false, 4), OK);
    ck_assert_int_eq(check(40, false, 2), E_CONFIG); /* 2 s left for 2 saves and 4 */
    ck_assert_ptr_nonnull(strstr(err_message(), "after 38 s the last start was not through"));
    ck_assert_int_eq(check(45, true, 2), E_CONFIG); /* a job's start may be slower next time */
    ck_assert_int_eq(check(50, true, 2), OK);
}
END_TEST

START_TEST(a_save_is_known_to_later_slices)
{
    const struct slice_times t = {.startup_s = 30, .step_s = 8, .save_s = 4};
    ck_assert_double_eq(slice_save_s(folder), 0);
    slice_note(folder, &t, 2);
    ck_assert_double_eq(slice_save_s(folder), 4);
}
END_TEST

START_TEST(starts_are_counted_by_checkpoint)
{
    ck_assert_int_eq(restart_tries(folder, 7), 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(restart_begin(folder, 7), OK);
        ck_assert_int_eq(restart_tries(folder, 7), i);
    }
    ck_assert_int_eq(restart_tries(folder, 6), 0);
    (void)ERR(E_IO, "a full disk");
    restart_forgive(folder);
    ck_assert_str_eq(err_message(), "a full disk");
    ck_assert_int_eq(restart_tries(folder, 7), 2);
    ck_assert_int_eq(restart_begin(folder, 6), OK); /* another begins anew */
    ck_assert_int_eq(restart_tries(folder, 7), 0);
    restart_forgive(folder);
    restart_forgive(folder);
    ck_assert_int_eq(restart_tries(folder, 6), 0);
    ck_assert_int_eq(restart_begin(folder, 6), OK);
    restart_clear(folder);
    ck_assert_int_eq(restart_tries(folder, 6), 0);
}
END_TEST

START_TEST(a_start_is_taken_back_once)
{
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(restart_begin(folder, 7), OK);
    for (int i = 0; i < 2; i++) {
        restart_forgive(folder);
        ck_assert_int_eq(restart_tries(folder, 7), 1);
    }
    ck_assert_int_eq(restart_begin(folder, 7), OK);
    restart_clear(folder);
    ck_assert_int_eq(restart_tries(folder, 7), 0);
}
END_TEST

static struct run_lock lock; /* not lost */

static struct cut_terms terms_of(double limit_s)
{
    double now = clock_now_s();
    return (struct cut_terms){.run_dir = folder,
                              .lock = &lock,
                              .ranks = 2,
                              .slice = slice_of(now, limit_s),
                              .init_s = now,
                              .save_s = 0.125};
}

START_TEST(a_start_out_of_time_is_told_from_a_crash)
{
    struct cut_watch w;
    const struct cut_terms terms = terms_of(0.5);
    cut_watch_begin(&w, &terms);
    for (int i = 0; i < 1000 && check(0.5, false, 2) == OK; i++)
        usleep(10000);
    ck_assert_int_eq(check(0.5, false, 2), E_CONFIG);
    ck_assert_double_eq(slice_save_s(folder), 0.125); /* what was known stays so */
    ck_assert_int_eq(restart_begin(folder, 7), OK);   /* late as it is */
    for (int i = 0; i < 1000 && restart_tries(folder, 7) > 0; i++)
        usleep(10000);
    cut_watch_end(&w);
    ck_assert_int_eq(restart_tries(folder, 7), 0);
}
END_TEST

START_TEST(a_start_in_time_stays_counted)
{
    struct cut_watch w;
    const struct cut_terms none = terms_of(0), far = terms_of(1000);
    ck_assert_int_eq(restart_begin(folder, 7), OK);
    for (int i = 0; i < 2; i++) {
        cut_watch_begin(&w, i == 0 ? &none : &far);
        usleep(300000);
        cut_watch_end(&w);
        cut_watch_end(&w);
    }
    ck_assert_int_eq(restart_tries(folder, 7), 1);
    ck_assert_int_eq(check(0.1, false, 2), OK);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, the_end_leaves_room_for_a_save);
    tcase_add_test(t, the_job_ends_when_slurm_says);
    tcase_add_test(t, an_end_can_be_put_off);
    tcase_add_test(t, too_short_a_slice_is_refused);
    tcase_add_test(t, a_slice_that_came_to_no_step_is_refused);
    tcase_add_test(t, a_save_is_known_to_later_slices);
    tcase_add_test(t, starts_are_counted_by_checkpoint);
    tcase_add_test(t, a_start_is_taken_back_once);
    tcase_add_test(t, a_start_out_of_time_is_told_from_a_crash);
    tcase_add_test(t, a_start_in_time_stays_counted);
}

int main(void)
{
    return run_suite("train/slice", add);
}
