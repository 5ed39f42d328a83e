/* What the watchdog says of a rank that hangs, and how it begins and ends.
 * ranks: 1 2 3 */
#include "base/fault.h"
#include "base/watch.h"
#include "mpi_main.h"
#include "par/agree.h"
#include "train/watchdog.h"

#include <string.h>

static const char *text_of(const struct watchdog_report *r)
{
    static char text[1024];
    watchdog_text(r, text, sizeof text);
    ck_assert_ptr_null(strchr(text, '\n'));
    return text;
}

static void says(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "no '%s' in: %s", part, text);
}

START_TEST(a_rank_that_hangs_by_itself_is_to_blame)
{
    const struct watchdog_report r = {.rank = 3,
                                      .host = "node7",
                                      .phase = PHASE_COMPUTE,
                                      .step = 812,
                                      .still_s = 121,
                                      .limit_s = 120,
                                      .key = "run.watchdog",
                                      .behind = "rank 1 (data of step 812)"};
    const char *text = text_of(&r);
    says(text, "rank 3 on node7 has made no progress for 121 s (limit 120 s) in phase compute");
    says(text, "step 812");
    says(text, "it is slow, stopped or in a loop");
    says(text, "with a greater run.watchdog if nothing hung");
    ck_assert_ptr_null(strstr(text, "rank 1"));
}
END_TEST

START_TEST(a_rank_that_waits_names_those_that_are_behind)
{
    struct watchdog_report r = {.host = "a",
                                .phase = PHASE_REDUCE,
                                .behind = "rank 1 (compute of step 3)",
                                .sees_all = true};
    says(text_of(&r), "another rank is slow, stopped or gone; behind it: rank 1 (compute of");
    r.behind = "";
    says(text_of(&r), "all ranks are in that phase, and one does not take part");
    r.sees_all = false;
    says(text_of(&r), "a rank of another node is slow, stopped or gone");
    ck_assert_ptr_null(strstr(text_of(&r), "greater"));
}
END_TEST

START_TEST(a_rank_without_memory_leaves_none_waiting)
{
    for (int nth = 1; nth <= 6; nth++) {
        char spec[64];
        snprintf(spec, sizeof spec, "mem:%d:%d", ck_world.size - 1, nth);
        setenv("CARAT_FAULT", spec, 1);
        fault_rearm();
        watchdog_begin(&ck_world, 1000, NULL);
        ck_assert_int_eq(agree(&ck_world, OK), OK);
        watchdog_end();
        ck_assert_int_eq(agree(&ck_world, OK), OK);
    }
    unsetenv("CARAT_FAULT");
    fault_rearm();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_rank_without_memory_leaves_none_waiting);
    tcase_add_test(t, a_rank_that_hangs_by_itself_is_to_blame);
    tcase_add_test(t, a_rank_that_waits_names_those_that_are_behind);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/watchdog", add);
}
