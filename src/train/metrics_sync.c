#include "metrics_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct metrics_sync {
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t turn;  /* it is to end, or a sync is over */
    double every_s;
    bool ends, busy;
    int fd;               /* -1: nothing to sync */
    int64_t step, synced; /* of the newest row, and of the newest that is on the disk; -1: none */
    bool written;         /* a row, since the last sync began */
    int error;            /* errno of the sync that failed */
};

static int sync_fd(int fd)
{
    if (fault_hit("metrics.fdatasync"))
        return EIO;
    return fdatasync(fd) != 0 ? errno : 0;
}

/* With the lock, which it gives up for as long as the disk takes. */
static void sync_now(struct metrics_sync *s)
{
    int fd = s->fd;
    int64_t step = s->step;
    s->busy = true;
    s->written = false;
    pthread_mutex_unlock(&s->lock);
    int error = sync_fd(fd);
    pthread_mutex_lock(&s->lock);
    s->busy = false;
    s->error = error;
    s->synced = error == 0 ? step : s->synced;
    pthread_cond_broadcast(&s->turn);
}

static void *sync_sometimes(void *sync)
{
    struct metrics_sync *s = sync;
    pthread_mutex_lock(&s->lock);
    while (!s->ends) {
        struct timespec until = clock_after(CLOCK_MONOTONIC, s->every_s);
        while (!s->ends && pthread_cond_timedwait(&s->turn, &s->lock, &until) == 0)
            ;
        if (!s->ends && s->fd >= 0 && s->error == 0 && s->written)
            sync_now(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static int start(struct metrics_sync *s)
{
    pthread_condattr_t by_clock;
    sigset_t all, before;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&by_clock);
    pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC);
    pthread_cond_init(&s->turn, &by_clock);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&s->thread, NULL, sync_sometimes, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? OK : ERR(E_MEM, "no thread that syncs metrics: %s", strerror(error));
}

int metrics_sync_new(struct metrics_sync **out, double every_s)
{
    struct metrics_sync *s;
    *out = NULL;
    TRY(mem_alloc(&s, 1, sizeof *s, "metrics' thread"));
    *s = (struct metrics_sync){.every_s = every_s, .fd = -1, .step = -1, .synced = -1};
    int rc = start(s);
    if (rc != OK)
        mem_free(s);
    else
        *out = s;
    return rc;
}

void metrics_sync_free(struct metrics_sync *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_broadcast(&s->turn);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->turn);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* Under one lock: between waiting and setting no sync of the old file may begin, for its owner
 * closes it. */
void metrics_sync_file(struct metrics_sync *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->turn, &s->lock);
    s->fd = fd;
    s->step = s->synced = -1;
    s->written = false;
    pthread_mutex_unlock(&s->lock);
}

void metrics_sync_row(struct metrics_sync *s, int64_t step)
{
    pthread_mutex_lock(&s->lock);
    s->step = step;
    s->written = true;
    pthread_mutex_unlock(&s->lock);
}

int64_t metrics_sync_done(struct metrics_sync *s)
{
    pthread_mutex_lock(&s->lock);
    int64_t step = s->synced;
    pthread_mutex_unlock(&s->lock);
    return step;
}

int metrics_sync_error(struct metrics_sync *s, const char *path)
{
    pthread_mutex_lock(&s->lock);
    int error = s->error;
    pthread_mutex_unlock(&s->lock);
    return error == 0 ? OK : ERR(E_IO, "%s: cannot fdatasync: %s", path, strerror(error));
}
