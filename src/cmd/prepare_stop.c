#include "base/err.h"
#include "prepare.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_SIGNALS = sizeof signals / sizeof signals[0] };

static struct sigaction before[N_SIGNALS];
static volatile sig_atomic_t requested, at_once;

static void on_signal(int number)
{
    static const char text[] = "\ncarat: " STOP_MESSAGE "\n";
    (void)number;
    requested = 1;
    if (at_once && write(STDERR_FILENO, text, sizeof text - 1) >= 0)
        _exit(E_STOPPED);
}

void stop_begin(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    sigemptyset(&a.sa_mask);
    requested = at_once = 0;
    for (int i = 0; i < N_SIGNALS; i++) {
        sigaction(signals[i], NULL, &before[i]);
        /* nohup and batch systems may have set one aside. */
        if (before[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &a, NULL);
    }
}

void stop_end(void)
{
    for (int i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

bool stop_requested(void)
{
    return requested != 0;
}

void stop_at_once(bool yes)
{
    at_once = yes;
    if (yes && requested)
        on_signal(0);
}
