/* The frame that every test program with ranks shares. Its source says at how many it runs, in one
 * of its first lines: "ranks: 1 2 3 4".
 *
 *     int main(int argc, char **argv) { return run_suite_mpi(&argc, &argv, "par/zero", add); }
 *
 * An assertion that fails on one rank alone would leave the others waiting in the next collective
 * call: between those, use ck_all. */
#ifndef CARAT_MPI_MAIN_H
#define CARAT_MPI_MAIN_H

#include "base/err.h"
#include "check_main.h"
#include "par/comm.h"

/* All ranks, for the tests. */
static struct comm ck_world;
static char ck_folder_path[64];

static inline bool ck_everywhere(const struct comm *c, bool cond)
{
    int yes = cond;
    MPI_Allreduce(MPI_IN_PLACE, &yes, 1, MPI_INT, MPI_MIN, c->world);
    return yes;
}

/* Fails on every rank when cond is false on any; the rank where it was false says so. Collective.
 */
#define ck_all(comm, cond)                                                                         \
    do {                                                                                           \
        bool ck_here_ = (cond);                                                                    \
        if (!ck_here_)                                                                             \
            fprintf(stderr, "%s:%d: rank %d: %s; %s\n", __FILE__, __LINE__, (comm)->rank, #cond,   \
                    err_message());                                                                \
        ck_assert_msg(ck_everywhere((comm), ck_here_), "%s (on some rank)", #cond);                \
    } while (0)

/* A folder for all ranks, made at the first call and removed when the tests have run. Collective at
 * the first call. */
static inline const char *ck_folder(void)
{
    if (ck_folder_path[0] == '\0') {
        snprintf(ck_folder_path, sizeof ck_folder_path, "/tmp/carat-test-XXXXXX");
        if (ck_world.rank == 0 && mkdtemp(ck_folder_path) == NULL)
            MPI_Abort(ck_world.world, E_IO);
        MPI_Bcast(ck_folder_path, sizeof ck_folder_path, MPI_CHAR, 0, ck_world.world);
    }
    return ck_folder_path;
}

static inline void ck_remove_folder(void)
{
    char command[sizeof ck_folder_path + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", ck_folder_path);
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0 && ck_folder_path[0] != '\0' && system(command) != 0)
        fprintf(stderr, "%s is left behind\n", ck_folder_path);
}

/* Begins MPI, runs the tests on every rank, ends MPI; the exit status of the program. */
static inline int run_suite_mpi(int *argc, char ***argv, const char *name, void (*add)(TCase *t))
{
    if (comm_init(&ck_world, argc, argv) != OK) {
        fprintf(stderr, "%s: %s\n", name, err_message());
        return EXIT_FAILURE;
    }
    int rc = run_suite(name, add);
    ck_remove_folder();
    comm_end(&ck_world);
    return rc;
}

#endif
