/* Ranks read each other's memory, or all know that they cannot.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "par/peers.h"

#include <string.h>

enum { N = 300000 };

START_TEST(a_rank_alone_has_no_peers)
{
    int with = ck_world.peers != NULL, least;
    MPI_Allreduce(&with, &least, 1, MPI_INT, MPI_MIN, ck_world.world);
    ck_all(&ck_world, with == least);
    ck_all(&ck_world, ck_world.size > 1 || !with);
}
END_TEST

START_TEST(what_is_read_is_what_was_written)
{
    if (ck_world.peers == NULL) {
        if (ck_world.size > 1)
            puts("SKIP: ranks cannot read each other's memory here");
        return;
    }
    static int mine[N], theirs[N];
    int *at[64] = {mine};
    for (int i = 0; i < N; i++)
        mine[i] = i * 31 + ck_world.rank;
    int *here = mine;
    MPI_Allgather(&here, sizeof here, MPI_BYTE, at, sizeof here, MPI_BYTE, ck_world.world);
    for (int r = 0; r < ck_world.size; r++) {
        memset(theirs, 0, sizeof theirs);
        /* Not at the beginning of a page, nor to the end of one. */
        ck_all(&ck_world,
               peers_read(ck_world.peers, r, theirs, at[r] + 1, (N - 3) * sizeof *theirs) == OK);
        bool same = theirs[N - 3] == 0;
        for (int i = 0; i < N - 3; i++)
            same = same && theirs[i] == (i + 1) * 31 + r;
        ck_all(&ck_world, same);
    }
}
END_TEST

START_TEST(what_is_not_there_is_an_error)
{
    if (ck_world.peers == NULL)
        return;
    int x, next = (ck_world.rank + 1) % ck_world.size;
    ck_all(&ck_world, peers_read(ck_world.peers, next, &x, (void *)8, sizeof x) == E_RANK);
    ck_all(&ck_world, strstr(err_message(), "cannot read the memory of rank") != NULL);
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_rank_alone_has_no_peers);
    tcase_add_test(t, what_is_read_is_what_was_written);
    tcase_add_test(t, what_is_not_there_is_an_error);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/peers", add);
}
