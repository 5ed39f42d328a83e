#include "train/stop.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
    caught = sig;
}

static void asked_for(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGUSR1);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

/* A person's second Ctrl-C means now. */
static void end_at_once(int sig)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, sig);
    signal(sig, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    raise(sig);
}

static void *wait_for_signals(void *unused)
{
    sigset_t set;
    int sig;
    asked_for(&set);
    for (;;) {
        if (sigwait(&set, &sig) != 0)
            continue;
        if (sig == SIGINT && caught == SIGINT)
            end_at_once(sig);
        caught = sig;
    }
    return unused;
}

/* A thread of its own takes the signals, and all others, which begin later, block them: a handler
 * must not run on a stack that is in the middle of a matrix product, for oneDNN's products on
 * AVX-512 keep what they need where a signal's frame is put. Where no thread can be had, and in
 * threads of libraries that were there before, the handler sets the flag. */
void stop_install(void)
{
    struct sigaction keep = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t set, before;
    pthread_t thread;
    asked_for(&set);
    sigemptyset(&keep.sa_mask);
    sigaction(SIGUSR1, &keep, NULL);
    sigaction(SIGTERM, &keep, NULL);
    keep.sa_flags |= SA_RESETHAND;
    sigaction(SIGINT, &keep, NULL);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    if (pthread_create(&thread, NULL, wait_for_signals, NULL) == 0)
        pthread_detach(thread);
    else
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int stop_signal(void)
{
    return caught;
}
