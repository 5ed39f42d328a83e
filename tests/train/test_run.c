/* The run folder: one writer, a dead writer's lock is taken over, requests are seen once.
 * ranks: 1 3 */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "mpi_main.h"
#include "train/run.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void root_writes(const struct comm *c, const char *name, const char *text)
{
    char path[FS_PATH_MAX];
    if (c->rank == 0) {
        fs_join(path, ck_folder(), name);
        ck_assert_int_eq(fs_write_file(path, text, strlen(text)), OK);
    }
    MPI_Barrier(c->world);
}

START_TEST(claim_and_give_back)
{
    const struct comm *c = &ck_world;
    struct run_lock a;
    ck_all(c, run_claim(c, ck_folder(), &a) == OK);
    if (c->rank == 0) {
        ck_assert(a.held);
        ck_assert_int_eq(run_still_ours(&a), OK);
    }
    run_give_back(&a);
    MPI_Barrier(c->world);
    ck_assert(!fs_exists(a.path) || c->rank != 0);
}
END_TEST

START_TEST(a_living_holder_is_respected)
{
    const struct comm *c = &ck_world;
    struct run_lock a;
    char line[128], host[64];
    gethostname(host, sizeof host);
    snprintf(line, sizeof line, "%s %ld - 0\n", host, (long)getppid());
    root_writes(c, "lock", line);
    ck_all(c, run_claim(c, ck_folder(), &a) == E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "in use"));
    root_writes(c, "lock", "elsewhere 1 77 0\n");
    ck_all(c, run_claim(c, ck_folder(), &a) == E_CONFIG);
}
END_TEST

START_TEST(a_dead_holder_is_replaced)
{
    const struct comm *c = &ck_world;
    struct run_lock a;
    char line[128], host[64];
    gethostname(host, sizeof host);
    snprintf(line, sizeof line, "%s %ld - 0\n", host, ck_dead_process());
    root_writes(c, "lock", line);
    ck_all(c, run_claim(c, ck_folder(), &a) == OK);
    run_give_back(&a);
    MPI_Barrier(c->world);
}
END_TEST

START_TEST(a_zombie_holder_is_replaced)
{
    const struct comm *c = &ck_world;
    struct run_lock a;
    char line[128], host[64];
    gethostname(host, sizeof host);
    pid_t pid = fork(); /* not waited for until the end: its entry stays */
    if (pid == 0)
        _exit(0);
    usleep(50000);
    snprintf(line, sizeof line, "%s %ld - 0\n", host, (long)pid);
    root_writes(c, "lock", line);
    ck_all(c, run_claim(c, ck_folder(), &a) == OK);
    run_give_back(&a);
    waitpid(pid, NULL, 0);
    MPI_Barrier(c->world);
}
END_TEST

START_TEST(a_requeued_job_replaces_its_earlier_start)
{
    const struct comm *c = &ck_world;
    struct run_lock a;
    setenv("SLURM_JOB_ID", "77", 1);
    setenv("SLURM_RESTART_COUNT", "2", 1);
    root_writes(c, "lock", "elsewhere 1 77 1\n");
    ck_all(c, run_claim(c, ck_folder(), &a) == OK);
    run_give_back(&a);
    MPI_Barrier(c->world);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
}
END_TEST

START_TEST(requests_and_failures)
{
    const struct comm *c = &ck_world;
    char *text, path[FS_PATH_MAX];
    size_t n;
    if (c->rank != 0)
        return;
    fs_join(path, ck_folder(), "save");
    ck_assert_int_eq(fs_write_file(path, "", 0), OK);
    ck_assert(run_asked(ck_folder(), "save"));
    ck_assert(!run_asked(ck_folder(), "save"));
    (void)ERR(E_IO, "disk \"a\\b\"\n gone");
    ck_assert(run_write_failed(ck_folder(), c, 41, E_IO));
    (void)ERR(E_BUG, "a later one");
    ck_assert(!run_write_failed(ck_folder(), c, 42, E_BUG));
    fs_join(path, ck_folder(), "FAILED");
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    ck_assert_ptr_nonnull(strstr(text, "\"step\": 41, \"code\": 74"));
    ck_assert_ptr_nonnull(strstr(text, "disk \\\"a\\\\b\\\"\\u000a gone"));
    mem_free(text);
}
END_TEST

START_TEST(ids_differ)
{
    char a[37], b[37];
    ck_assert_int_eq(run_new_id(a), OK);
    ck_assert_int_eq(run_new_id(b), OK);
    ck_assert_int_eq(strlen(a), 36);
    ck_assert_int_eq(a[14], '4');
    ck_assert_str_ne(a, b);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, claim_and_give_back);
    tcase_add_test(t, a_living_holder_is_respected);
    tcase_add_test(t, a_dead_holder_is_replaced);
    tcase_add_test(t, a_zombie_holder_is_replaced);
    tcase_add_test(t, a_requeued_job_replaces_its_earlier_start);
    tcase_add_test(t, requests_and_failures);
    tcase_add_test(t, ids_differ);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/run", add);
}
