/* Marks of progress, and when they are too old, by given clocks. */
#include "base/watch.h"
#include "check_main.h"

#include <pthread.h>
#include <string.h>

START_TEST(the_limit_is_the_least_or_ten_times_the_median)
{
    double few[] = {20, 1000, 10}, even[] = {40, 10, 20, 30}, quick[] = {1, 1, 1};
    ck_assert_double_eq(watch_limit_of(120, NULL, 0), 120);
    ck_assert_double_eq(watch_limit_of(120, few, 3), 200);
    ck_assert_double_eq(watch_limit_of(120, even, 4), 250);
    ck_assert_double_eq(watch_limit_of(120, quick, 3), 120);
}
END_TEST

START_TEST(a_mark_that_moves_is_never_too_old)
{
    struct watch_seen w = {0};
    for (int i = 1; i < 1000; i++) {
        watch_look(&w, i, 50, 100);
        ck_assert_double_eq(w.still_s, 0);
    }
}
END_TEST

START_TEST(a_mark_that_stands_ages_by_the_watchers_clock)
{
    struct watch_seen w = {0};
    watch_look(&w, 7, 1, 2);
    for (int i = 1; i <= 120; i++) {
        watch_look(&w, 7, 1, 2);
        ck_assert_double_eq(w.still_s, i);
    }
    watch_look(&w, 8, 1, 2);
    ck_assert_double_eq(w.still_s, 0);
}
END_TEST

/* A job that was stopped as a whole, and goes on. */
START_TEST(a_look_that_comes_late_counts_no_more_than_two)
{
    struct watch_seen w = {0};
    watch_look(&w, 7, 1, 2);
    watch_look(&w, 7, 86400, 2);
    ck_assert_double_eq(w.still_s, 2);
}
END_TEST

START_TEST(phases_follow_and_give_way)
{
    struct watch_mark *m = watch_here();
    watch_phase(PHASE_METRICS);
    ck_assert_int_eq(watch_phase(PHASE_SAVE), PHASE_METRICS);
    ck_assert_int_eq(m->phase, PHASE_SAVE);
    ck_assert_int_eq(watch_phase(PHASE_METRICS), PHASE_SAVE);
    watch_step(12);
    ck_assert_int_eq(m->step, 12);
    int64_t before = m->at_ns;
    watch_beat();
    ck_assert_int_ge(m->at_ns, before);
    ck_assert_int_eq(m->phase, PHASE_METRICS);
}
END_TEST

START_TEST(marks_move_to_shared_memory_and_back)
{
    struct watch_mark shared = {0};
    watch_phase(PHASE_OPTIM);
    watch_step(3);
    watch_share(&shared);
    ck_assert_ptr_eq(watch_here(), &shared);
    ck_assert_int_eq(shared.phase, PHASE_OPTIM);
    ck_assert_int_eq(shared.step, 3);
    watch_phase(PHASE_GATHER);
    ck_assert_int_eq(shared.phase, PHASE_GATHER);
    watch_share(NULL);
    watch_phase(PHASE_OFF);
    ck_assert_int_eq(shared.phase, PHASE_GATHER);
}
END_TEST

static void *beat(void *unused)
{
    watch_beat();
    return unused;
}

/* Else a thread that reads ahead would hide a main thread that hangs. */
START_TEST(no_other_thread_keeps_the_mark_young)
{
    pthread_t t;
    watch_phase(PHASE_DATA);
    int64_t before = watch_here()->at_ns;
    ck_assert_int_eq(pthread_create(&t, NULL, beat, NULL), 0);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
    ck_assert_int_eq(watch_here()->at_ns, before);
}
END_TEST

/* A visit counts by its longest way from mark to mark, and the whole pass for all phases. */
START_TEST(what_phases_took_raises_their_limit)
{
    const int64_t s = 1000000000;
    struct watch_mark *m = watch_here();
    watch_phase(PHASE_SAVE);
    watch_forget();
    ck_assert_double_eq(watch_limit(PHASE_SAVE, 120), 120);
    atomic_fetch_sub(&m->at_ns, 50 * s);
    watch_beat();
    atomic_fetch_sub(&m->at_ns, 30 * s);
    watch_phase(PHASE_METRICS);
    double limit = watch_limit(PHASE_SAVE, 120);
    ck_assert_double_ge(limit, 500);
    ck_assert_double_lt(limit, 600); /* with what this test takes itself */
    ck_assert_double_eq(watch_limit(PHASE_REDUCE, 120), 120);
    watch_forget();
    ck_assert_double_eq(watch_limit(PHASE_SAVE, 120), 120);
}
END_TEST

START_TEST(all_phases_have_a_name_and_a_fault_point)
{
    for (int i = 0; i < N_PHASES; i++) {
        ck_assert_ptr_nonnull(PHASES[i].point);
        ck_assert_int_eq(strncmp(PHASES[i].point, "phase.", 6), 0);
        ck_assert_str_eq(phase_name((enum phase)i), PHASES[i].point + 6);
        ck_assert_int_gt((int)strlen(PHASES[i].help), 0);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_limit_is_the_least_or_ten_times_the_median);
    tcase_add_test(t, a_mark_that_moves_is_never_too_old);
    tcase_add_test(t, a_mark_that_stands_ages_by_the_watchers_clock);
    tcase_add_test(t, a_look_that_comes_late_counts_no_more_than_two);
    tcase_add_test(t, phases_follow_and_give_way);
    tcase_add_test(t, marks_move_to_shared_memory_and_back);
    tcase_add_test(t, no_other_thread_keeps_the_mark_young);
    tcase_add_test(t, what_phases_took_raises_their_limit);
    tcase_add_test(t, all_phases_have_a_name_and_a_fault_point);
}

int main(void)
{
    return run_suite("base/watch", add);
}
