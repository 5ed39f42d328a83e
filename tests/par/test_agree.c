/* After a local failure every rank holds the same code and message.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "par/agree.h"

#include <string.h>

START_TEST(success_of_all_is_success)
{
    err_clear();
    ck_all(&ck_world, agree(&ck_world, OK) == OK);
    ck_all(&ck_world, err_code() == OK);
}
END_TEST

/* What every rank must hold once rank r has failed with "cannot read". */
static bool blames(int r)
{
    char start[128];
    snprintf(start, sizeof start, "rank %d on %s: cannot read", r, ck_world.host);
    return strcmp(err_message(), start) == 0 && strstr(err_place(), "test_agree.c:") != NULL;
}

START_TEST(one_failing_rank_is_named_on_all)
{
    for (int r = 0; r < ck_world.size && ck_world.size > 1; r++) {
        err_clear();
        int rc = ck_world.rank == r ? ERR(E_IO, "cannot read") : OK;
        ck_all(&ck_world, agree(&ck_world, rc) == E_IO);
        ck_all(&ck_world, err_code() == E_IO && blames(r));
    }
}
END_TEST

START_TEST(of_two_failing_ranks_the_lower_is_named)
{
    for (int r = 0; r + 1 < ck_world.size; r++) {
        err_clear();
        int rc = OK;
        if (ck_world.rank == r)
            rc = ERR(E_DATA, "cannot read");
        if (ck_world.rank == r + 1)
            rc = ERR(E_IO, "cannot write");
        ck_all(&ck_world, agree(&ck_world, rc) == E_DATA);
        ck_all(&ck_world, blames(r));
    }
}
END_TEST

START_TEST(what_all_say_names_no_rank)
{
    ck_all(&ck_world, agree(&ck_world, ERR(E_CONFIG, "no such key")) == E_CONFIG);
    ck_all(&ck_world, strcmp(err_message(), "no such key") == 0);
}
END_TEST

START_TEST(agreeing_twice_names_the_rank_once)
{
    int last = ck_world.size - 1;
    err_clear();
    int rc = agree(&ck_world, ck_world.rank == last ? ERR(E_IO, "cannot read") : OK);
    rc = agree(&ck_world, rc);
    ck_all(&ck_world, rc == E_IO);
    ck_all(&ck_world, last == 0 ? strcmp(err_message(), "cannot read") == 0 : blames(last));
}
END_TEST

START_TEST(a_failure_without_a_message_has_its_codes_name)
{
    err_clear();
    ck_all(&ck_world, agree(&ck_world, E_MEM) == E_MEM);
    ck_all(&ck_world, strcmp(err_message(), "out of memory") == 0);
}
END_TEST

enum { N_BYTES = 100003 };

START_TEST(bcast_sends_the_roots_bytes)
{
    static unsigned char data[N_BYTES + 1];
    for (int root = 0; root < ck_world.size; root++) {
        memset(data, 0, sizeof data);
        for (int i = 0; i < N_BYTES && ck_world.rank == root; i++)
            data[i] = (unsigned char)(i * 7 + root);
        ck_all(&ck_world, agree_bcast(&ck_world, root, OK, data, N_BYTES) == OK);
        bool same = data[N_BYTES] == 0;
        for (int i = 0; i < N_BYTES; i++)
            same = same && data[i] == (unsigned char)(i * 7 + root);
        ck_all(&ck_world, same);
    }
}
END_TEST

START_TEST(bcast_fails_with_the_root)
{
    int x = ck_world.rank, root = ck_world.size - 1;
    int rc = ck_world.rank == root ? ERR(E_DATA, "cannot read") : OK;
    ck_all(&ck_world, agree_bcast(&ck_world, root, rc, &x, sizeof x) == E_DATA);
    ck_all(&ck_world, x == ck_world.rank);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, success_of_all_is_success);
    tcase_add_test(t, one_failing_rank_is_named_on_all);
    tcase_add_test(t, of_two_failing_ranks_the_lower_is_named);
    tcase_add_test(t, what_all_say_names_no_rank);
    tcase_add_test(t, agreeing_twice_names_the_rank_once);
    tcase_add_test(t, a_failure_without_a_message_has_its_codes_name);
    tcase_add_test(t, bcast_sends_the_roots_bytes);
    tcase_add_test(t, bcast_fails_with_the_root);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/agree", add);
}
