/* Ranks that are slower than the others: by given times.
 * ranks: 1 2 3 */
#include "mpi_main.h"
#include "train/stragglers.h"

#include <string.h>

enum { MOST = 8 };

static void factors(double *by, const double (*work)[2], int n)
{
    struct rank_work w[MOST];
    double room[MOST];
    for (int i = 0; i < n; i++)
        w[i] = (struct rank_work){.s = work[i][0], .micros = work[i][1]};
    stragglers_factors(by, room, w, n);
}

START_TEST(a_rank_is_measured_by_the_lower_median)
{
    double by[MOST];
    factors(by, (const double[][2]){{20, 20}, {30, 20}, {22, 20}, {20, 20}}, 4);
    ck_assert_double_eq(by[0], 1);
    ck_assert_double_eq(by[1], 1.5);
    factors(by, (const double[][2]){{30, 20}, {20, 20}}, 2);
    ck_assert_double_eq(by[0], 1.5);
    ck_assert_double_eq(by[1], 1);
}
END_TEST

/* More micro-batches are more work, and no reason to be called slow; none are none to be fast. */
START_TEST(work_counts_by_micro_batch)
{
    double by[MOST];
    factors(by, (const double[][2]){{40, 40}, {20, 20}, {0, 0}, {0, 0}}, 4);
    ck_assert_double_eq(by[0], 1);
    ck_assert_double_eq(by[1], 1);
    ck_assert_double_eq(by[2], 0);
    factors(by, (const double[][2]){{0, 0}, {0, 0}}, 2);
    ck_assert_double_eq(by[0], 0);
}
END_TEST

START_TEST(slow_is_what_is_worth_a_line)
{
    const struct rank_work much = {.s = 20}, little = {.s = 0.1};
    ck_assert(stragglers_is_slow(1.31, &much));
    ck_assert(!stragglers_is_slow(1.3, &much));
    ck_assert(!stragglers_is_slow(3, &little));
    ck_assert(!stragglers_is_slow(0, &much));
}
END_TEST

/* So many looks with the last rank by `times` slower; which rank root is to tell of. */
static int look(struct stragglers *s, double times)
{
    bool looked = false;
    double mine = ck_world.rank == ck_world.size - 1 ? times : 1;
    for (int i = 1; i <= STRAGGLER_STEPS; i++) {
        ck_all(&ck_world, stragglers_step(s, &ck_world, mine, 1, &looked) == OK);
        ck_all(&ck_world, looked == (i == STRAGGLER_STEPS && ck_world.size > 1));
    }
    return looked && ck_world.rank == 0 ? stragglers_next(s, &ck_world, 0) : -1;
}

START_TEST(one_is_told_of_once_a_spell)
{
    struct stragglers s;
    int last = ck_world.rank == 0 && ck_world.size > 1 ? ck_world.size - 1 : -1;
    ck_all(&ck_world, stragglers_init(&s, &ck_world) == OK);
    ck_all(&ck_world, look(&s, 1) == -1);
    ck_all(&ck_world, look(&s, 2) == last);
    ck_all(&ck_world, last < 0 || strcmp(s.all[last].host, ck_world.host) == 0);
    ck_all(&ck_world, look(&s, 2) == -1);
    ck_all(&ck_world, look(&s, 1) == -1);
    ck_all(&ck_world, look(&s, 2) == last);
    stragglers_release(&s);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_rank_is_measured_by_the_lower_median);
    tcase_add_test(t, work_counts_by_micro_batch);
    tcase_add_test(t, slow_is_what_is_worth_a_line);
    tcase_add_test(t, one_is_told_of_once_a_spell);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/stragglers", add);
}
