/* Ranks, nodes, errors of MPI, and the end of all ranks by one.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "base/log.h"

#include <string.h>

START_TEST(ranks_and_nodes_are_numbered)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_all(&ck_world, ck_world.rank == rank && ck_world.size == size);
    ck_all(&ck_world, ck_world.world != MPI_COMM_WORLD);
    ck_all(&ck_world, ck_world.node >= 0 && ck_world.node < ck_world.n_nodes);
    ck_all(&ck_world, ck_world.node_rank < ck_world.node_size && ck_world.node_size <= size);
    ck_all(&ck_world, rank != 0 || (ck_world.node == 0 && ck_world.node_rank == 0));
    /* The ranks of all nodes are all ranks. */
    int firsts = ck_world.node_rank == 0 ? ck_world.node_size : 0;
    MPI_Allreduce(MPI_IN_PLACE, &firsts, 1, MPI_INT, MPI_SUM, ck_world.world);
    ck_all(&ck_world, firsts == size);
}
END_TEST

START_TEST(the_process_is_named)
{
    char who[128];
    snprintf(who, sizeof who, "rank %d on %s", ck_world.rank, ck_world.host);
    ck_all(&ck_world, *ck_world.host != '\0' && strcmp(log_who(), who) == 0);
}
END_TEST

static int send_nowhere(void)
{
    int x = 0;
    MPI_TRY(MPI_Send(&x, 1, MPI_INT, ck_world.size, 0, ck_world.world));
    return OK;
}

START_TEST(errors_of_mpi_are_returned_in_its_words)
{
    ck_all(&ck_world, comm_check(MPI_SUCCESS, "x") == OK);
    ck_all(&ck_world, send_nowhere() == E_RANK);
    ck_all(&ck_world, strncmp(err_message(), "MPI_Send(", 9) == 0);
    ck_all(&ck_world, strstr(err_message(), "MPI_ERR_RANK") != NULL);
    err_clear();
}
END_TEST

START_TEST(a_second_init_leaves_mpi_to_the_first)
{
    struct comm again;
    ck_all(&ck_world, comm_init(&again, NULL, NULL) == OK);
    ck_all(&ck_world, !again.owns_mpi && again.size == ck_world.size);
    comm_end(&again);
    int ended;
    MPI_Finalized(&ended);
    ck_all(&ck_world, !ended);
}
END_TEST

/* Teams are whole nodes, or as small as asked for; together they are all ranks, in order. */
static void check_teams(const struct comm *c, int most)
{
    const struct team *t = &c->team;
    int rank, size;
    ck_all(c, t->size == c->size && t->rank == c->rank && t->per >= 1 && t->per <= most);
    MPI_Comm_rank(c->team_world, &rank);
    MPI_Comm_size(c->team_world, &size);
    ck_all(c, team_first(t, team_of(t, c->rank)) + rank == c->rank);
    ck_all(c, team_size(t, team_of(t, c->rank)) == size);
    ck_all(c, team_leads(t) == (rank == 0));
    int all = 0;
    for (int j = 0; j < team_count(t); j++)
        all += team_size(t, j);
    ck_assert_int_eq(all, c->size);
}

START_TEST(teams_are_as_asked_for)
{
    for (int n = 1; n <= ck_world.size; n++) {
        struct comm c;
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        setenv("CARAT_RANKS_PER_NODE", text, 1);
        ck_all(&ck_world, comm_first(&c, &ck_world, ck_world.size) == OK);
        check_teams(&c, n);
        ck_all(&ck_world, c.n_nodes > 1 || c.team.per == n);
        struct comm alone = comm_without_teams(&c);
        ck_assert_int_eq(team_count(&alone.team), c.size);
        comm_end(&c);
    }
    unsetenv("CARAT_RANKS_PER_NODE");
    check_teams(&ck_world, ck_world.node_size);
}
END_TEST

START_TEST(the_first_ranks_alone)
{
    for (int n = 1; n <= ck_world.size; n++) {
        struct comm c;
        ck_all(&ck_world, comm_first(&c, &ck_world, n) == OK);
        bool in = ck_world.rank < n;
        ck_all(&ck_world, c.size == (in ? n : 0));
        ck_all(&ck_world, (c.world != MPI_COMM_NULL) == in);
        ck_all(&ck_world, !in || (c.rank == ck_world.rank && c.node_size <= n && !c.owns_mpi));
        int sum = 1;
        if (in)
            MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_INT, MPI_SUM, c.world);
        ck_all(&ck_world, !in || sum == n);
        comm_end(&c);
    }
}
END_TEST

START_TEST(groups_in_turn_and_a_rest_in_none)
{
    for (int per = 1; per <= ck_world.size; per++) {
        struct comm c;
        ck_all(&ck_world, comm_groups(&c, &ck_world, per) == OK);
        bool in = ck_world.rank < ck_world.size / per * per;
        ck_all(&ck_world, c.size == (in ? per : 0));
        ck_all(&ck_world, !in || c.rank == ck_world.rank % per);
        int first = ck_world.rank;
        if (in)
            MPI_Bcast(&first, 1, MPI_INT, 0, c.world);
        ck_all(&ck_world, !in || first == ck_world.rank - c.rank);
        comm_end(&c);
    }
}
END_TEST

/* Of each other team exactly one rank deals with a rank. */
START_TEST(one_of_each_other_team_deals_with_a_rank)
{
    for (int size = 1; size <= 9; size++)
        for (int per = 1; per <= size; per++)
            for (int q = 0; q < size; q++) {
                int dealing = 0;
                for (int r = 0; r < size; r++) {
                    struct team t = {.size = size, .per = per, .rank = r};
                    dealing += team_deals_with(&t, q);
                    ck_assert(!team_deals_with(&t, q) || team_of(&t, q) != team_of(&t, r));
                }
                struct team t = {.size = size, .per = per};
                ck_assert_int_eq(dealing, team_count(&t) - 1);
            }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, teams_are_as_asked_for);
    tcase_add_test(t, the_first_ranks_alone);
    tcase_add_test(t, groups_in_turn_and_a_rest_in_none);
    tcase_add_test(t, one_of_each_other_team_deals_with_a_rank);
    tcase_add_test(t, ranks_and_nodes_are_numbered);
    tcase_add_test(t, the_process_is_named);
    tcase_add_test(t, errors_of_mpi_are_returned_in_its_words);
    tcase_add_test(t, a_second_init_leaves_mpi_to_the_first);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/comm", add);
}
