/* The frame that every single-process test program shares. Tests that need ranks use
 * mpi_main.h instead.
 *
 *     static void add(TCase *t) { tcase_add_test(t, first_thing); ... }
 *     int main(void) { return run_suite("base/str", add); } */
#ifndef CARAT_CHECK_MAIN_H
#define CARAT_CHECK_MAIN_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The number of a process that was there and has gone. */
static inline long ck_dead_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return (long)pid;
}

/* Runs the tests that add() puts into the suite, in this process; the exit status of the program.
 * Check's own time limit is off: .make/check gives each program one. */
static inline int run_suite(const char *name, void (*add)(TCase *t))
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    Suite *suite = suite_create(name);
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 0);
    add(t);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int n_run = srunner_ntests_run(runner), n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    /* A program that runs nothing has tested nothing. */
    return n_failed > 0 || n_run == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
