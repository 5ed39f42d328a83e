/* Each rank sees what its team wrote; where there is no room, all know it.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "base/fault.h"
#include "base/mem.h"
#include "par/window.h"

#include <stdint.h>
#include <string.h>

/* Not a multiple of a page, nor the same on every rank; the last has nothing. */
static size_t bytes_of(int rank)
{
    return rank + 1 == ck_world.size && rank > 0 ? 0 : 10007 + 5 * (size_t)rank;
}

static char value(int rank, size_t i)
{
    return (char)(i * 7 + (size_t)rank * 13);
}

static bool is_filled(const char *part, int rank, int add)
{
    bool same = true;
    for (size_t i = 0; i < bytes_of(rank); i++)
        same = same && part[i] == (char)(value(rank, i) + add);
    return same;
}

START_TEST(parts_are_read_and_written_by_all)
{
    struct window *w;
    size_t mine = bytes_of(ck_world.rank), before = mem_bytes();
    int next = (ck_world.rank + 1) % ck_world.size;
    ck_all(&ck_world, ck_world.team.per == ck_world.size); /* one host */
    ck_all(&ck_world, window_new(&w, &ck_world, mine, "test") == OK);
    ck_all(&ck_world, mem_bytes() - before == window_bytes(&ck_world.team, mine));
    char *part = window_part(w, ck_world.rank);
    ck_all(&ck_world, (part == NULL) == (mine == 0) && (uintptr_t)part % MEM_ALIGN == 0);
    for (size_t i = 0; i < mine; i++)
        part[i] = value(ck_world.rank, i);
    ck_all(&ck_world, window_meet(&ck_world) == OK);
    for (int r = 0; r < ck_world.size; r++)
        ck_all(&ck_world, is_filled(window_part(w, r), r, 0));
    char *theirs = window_part(w, next);
    for (size_t i = 0; i < bytes_of(next); i++)
        theirs[i]++;
    ck_all(&ck_world, window_meet(&ck_world) == OK);
    ck_all(&ck_world, is_filled(part, ck_world.rank, 1));
    window_free(w);
    ck_all(&ck_world, mem_bytes() == before);
}
END_TEST

START_TEST(a_team_of_one_has_plain_memory)
{
    struct comm alone = comm_without_teams(&ck_world);
    struct window *w;
    ck_all(&ck_world, window_new(&w, &alone, 1 << 20, "test") == OK);
    memset(window_part(w, 0), ck_world.rank, 1 << 20);
    ck_all(&ck_world, window_meet(&alone) == OK);
    window_free(w);
}
END_TEST

/* The last rank's host has none. */
START_TEST(all_know_where_there_is_no_room)
{
    bool fits = false;
    char fault[32];
    ck_all(&ck_world, window_fits(&fits, &ck_world, 1000, "test") == OK && fits);
    /* More than any memory; alone, a rank needs no room. */
    ck_all(&ck_world, window_fits(&fits, &ck_world, (size_t)1 << 50, "test") == OK);
    ck_all(&ck_world, fits == (ck_world.size == 1));
    snprintf(fault, sizeof fault, "window:%d", ck_world.size - 1);
    setenv("CARAT_FAULT", fault, 1);
    fault_rearm();
    ck_all(&ck_world, window_fits(&fits, &ck_world, 1000, "test") == OK);
    ck_all(&ck_world, fits == (ck_world.size == 1));
    unsetenv("CARAT_FAULT");
    fault_rearm();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, parts_are_read_and_written_by_all);
    tcase_add_test(t, a_team_of_one_has_plain_memory);
    tcase_add_test(t, all_know_where_there_is_no_room);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/window", add);
}
