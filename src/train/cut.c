#include "train/cut.h"

#include "base/clock.h"
#include "train/restart.h"
#include "train/stop.h"

#include <errno.h>
#include <signal.h>

static const double LOOK_S = 0.05;

static bool is_up(const struct cut_terms *c, double since_s)
{
    double limit_s = c->slice.limit_s;
    return slice_is_up(limit_s - (clock_now_s() - since_s), limit_s, c->save_s, 0);
}

/* Again and again, for the start may not have been counted yet. */
static void look(const struct cut_terms *c, bool *noted)
{
    if (is_up(c, c->slice.begun_s) || stop_signal() != 0)
        restart_forgive(c->run_dir);
    double since_s = slice_since_s(&c->slice, c->init_s);
    if (*noted || !is_up(c, since_s))
        return;
    const struct slice_times t = {.startup_s = clock_now_s() - since_s, .save_s = c->save_s};
    slice_note(c->run_dir, &t, c->ranks);
    *noted = true;
}

static void *watch(void *of)
{
    struct cut_watch *w = of;
    bool noted = false;
    for (;;) {
        struct timespec until = clock_after(CLOCK_REALTIME, LOOK_S);
        int rc;
        do
            rc = sem_timedwait(&w->ended, &until);
        while (rc != 0 && errno == EINTR);
        if (rc == 0 || run_is_lost(w->terms.lock))
            return NULL;
        look(&w->terms, &noted);
    }
}

void cut_watch_begin(struct cut_watch *w, const struct cut_terms *terms)
{
    sigset_t all, before;
    w->terms = *terms;
    sem_init(&w->ended, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    w->has_thread = pthread_create(&w->thread, NULL, watch, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void cut_watch_end(struct cut_watch *w)
{
    if (!w->has_thread)
        return;
    sem_post(&w->ended);
    pthread_join(w->thread, NULL);
    sem_destroy(&w->ended);
    w->has_thread = false;
}
