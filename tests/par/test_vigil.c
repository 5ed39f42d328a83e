/* Root works alone, the others wait and count as getting on.
 * ranks: 1 2 3 */
#include "base/watch.h"
#include "mpi_main.h"
#include "par/vigil.h"

START_TEST(the_others_wait_until_root_is_done)
{
    const struct comm *c = &ck_world;
    struct vigil v;
    int done = 0;
    watch_phase(PHASE_SAMPLE);
    int64_t before = watch_here()->at_ns;
    if (c->rank == 0) {
        vigil_begin(&v, c);
        for (int i = 0; i < 3; i++) {
            v.told_s -= 60; /* long ago */
            vigil_still(&v);
        }
        vigil_still(&v); /* nothing is due */
        ck_assert_int_eq(vigil_end(&v), OK);
    } else {
        ck_assert_int_eq(vigil_wait(c), OK);
    }
    ck_all(c, watch_here()->at_ns > before);
    /* Nobody is a message behind. */
    done = c->rank;
    MPI_Bcast(&done, 1, MPI_INT, c->size - 1, c->world);
    ck_all(c, done == c->size - 1);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_others_wait_until_root_is_done);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/vigil", add);
}
