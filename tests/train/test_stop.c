/* Signals that ask for an end. */
#include "check_main.h"
#include "train/stop.h"

#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Signals are taken by a thread, so each needs a moment. */
static int within_seconds(int seconds)
{
    for (int i = 0; i < 100 * seconds && stop_signal() == 0; i++)
        usleep(10000);
    return stop_signal();
}

static void *blocks_all(void *yes)
{
    static const int signals[] = {SIGUSR1, SIGTERM, SIGINT};
    sigset_t mine;
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    *(int *)yes = 1;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (!sigismember(&mine, signals[i]))
            *(int *)yes = 0;
    return NULL;
}

/* A matrix product's stack is not a place for a handler's frame. */
START_TEST(no_thread_that_computes_is_interrupted)
{
    pthread_t later;
    int here, there;
    stop_install();
    blocks_all(&here);
    ck_assert_int_eq(pthread_create(&later, NULL, blocks_all, &there), 0);
    ck_assert_int_eq(pthread_join(later, NULL), 0);
    ck_assert(here && there);
    ck_assert_int_eq(stop_signal(), 0);
}
END_TEST

START_TEST(a_signal_is_seen)
{
    ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
    ck_assert_int_eq(within_seconds(10), SIGUSR1);
}
END_TEST

/* The first asks, the second ends. */
START_TEST(a_second_interrupt_ends_at_once)
{
    int ready[2], status;
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        stop_install();
        kill(getpid(), SIGINT);
        while (stop_signal() != SIGINT)
            usleep(1000);
        if (write(ready[1], "x", 1) == 1)
            sleep(30);
        _exit(0);
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    close(ready[0]);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, no_thread_that_computes_is_interrupted);
    tcase_add_test(t, a_signal_is_seen);
    tcase_add_test(t, a_second_interrupt_ends_at_once);
}

int main(void)
{
    return run_suite("train/stop", add);
}
