#include "train/stop.h"
#include "base/clock.h"
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
    caught = sig;
}

void stop_install(void)
{
    struct sigaction keep = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&keep.sa_mask);
    sigaction(SIGUSR1, &keep, NULL);
    sigaction(SIGTERM, &keep, NULL);
    /* A person's second Ctrl-C means now. */
    keep.sa_flags |= SA_RESETHAND;
    sigaction(SIGINT, &keep, NULL);
}

int stop_signal(void)
{
    return caught;
}

bool stop_time_is_up(double begun_s, double limit_s, double save_s, double step_s)
{
    if (limit_s <= 0)
        return false;
    double left = limit_s - (clock_now_s() - begun_s);
    return left < 2 * save_s + step_s + 10;
}
