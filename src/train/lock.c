#include "train/lock.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/holder.h"
#include "train/slurm_job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BEAT_MS = 15000,
    /* A node that Slurm lost does not come back within this, nor does a file system that stalled
     * keep a holder silent for so long. */
    SILENT_S = 600,
    /* What is done under the guard takes milliseconds, and to write who made it less. */
    GUARD_S = 10,
    UNSIGNED_S = 2,
    GUARD_WAIT_S = 20,
    LINE_MAX_BYTES = 512
};

static double seconds(struct timespec a)
{
    return (double)a.tv_sec + 1e-9 * (double)a.tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int read_holder(const char *path, struct holder *h)
{
    char *text = NULL;
    size_t n;
    TRY(fs_read_file(path, 4096, &text, &n));
    bool whole = holder_parse(text, h);
    mem_free(text);
    return whole ? OK : ERR(E_DATA, "%s: does not say who holds it", path);
}

/* ---- the guard ---- */

struct guard {
    char path[FS_PATH_MAX];
    struct stat mine; /* its time of change: the file system's clock */
};

static int name_guard(struct guard *g, const char *lock_path)
{
    if (snprintf(g->path, sizeof g->path, "%s.guard", lock_path) >= (int)sizeof g->path)
        return ERR(E_CONFIG, "%.60s...: the path is too long", lock_path);
    return OK;
}

static int make_guard(struct guard *g, const struct holder *me, bool *made)
{
    char line[LINE_MAX_BYTES];
    int fd = open(g->path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    *made = fd >= 0;
    if (fd < 0)
        return errno == EEXIST
                   ? OK
                   : ERR(E_IO, "cannot write in the run folder: %s: %s", g->path, strerror(errno));
    int rc = fs_pwrite(fd, line, (size_t)holder_text(me, line, sizeof line), 0, g->path);
    if (rc == OK && fstat(fd, &g->mine) != 0)
        rc = ERR(E_IO, "%s: %s", g->path, strerror(errno));
    close(fd);
    if (rc != OK)
        unlink(g->path);
    return rc;
}

/* Moves away the guard that was seen; one that came in its place meanwhile is put back. */
static void break_guard(const struct guard *g, const struct stat *seen)
{
    char aside[FS_PATH_MAX + 32];
    struct stat moved;
    snprintf(aside, sizeof aside, "%s.stale-%ld", g->path, (long)getpid());
    if (rename(g->path, aside) != 0)
        return;
    if (stat(aside, &moved) == 0 && !same_file(&moved, seen) && link(aside, g->path) != 0)
        log_warn("%s could not be put back: %s", g->path, strerror(errno));
    unlink(aside);
}

/* Its maker was killed: known by its process, or because it stays. *since_s: when it was first
 * seen, by this process's clock. */
static void break_if_left(const struct guard *g, const struct holder *me, struct stat *seen,
                          double *since_s)
{
    struct stat now;
    struct holder maker;
    if (stat(g->path, &now) != 0)
        return;
    if (*since_s == 0 || !same_file(seen, &now)) {
        *seen = now;
        *since_s = clock_now_s();
    }
    bool signed_by = read_holder(g->path, &maker) == OK;
    err_clear();
    bool gone = signed_by && holder_is_gone(&maker, me);
    if (gone || clock_now_s() - *since_s > (signed_by ? GUARD_S : UNSIGNED_S))
        break_guard(g, seen);
}

static int enter(struct guard *g, const char *lock_path, const struct holder *me)
{
    static const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    struct stat seen = {0};
    double since_s = 0, until = clock_now_s() + GUARD_WAIT_S;
    TRY(name_guard(g, lock_path));
    do {
        bool made;
        TRY(make_guard(g, me, &made));
        if (made)
            return OK;
        break_if_left(g, me, &seen, &since_s);
        nanosleep(&pause, NULL);
    } while (clock_now_s() < until);
    return ERR(E_CONFIG, "other jobs try to take the run folder all the time (%s); start one",
               g->path);
}

static bool is_inside(const struct guard *g)
{
    struct stat now;
    return stat(g->path, &now) == 0 && same_file(&now, &g->mine);
}

static void leave(const struct guard *g)
{
    if (is_inside(g))
        unlink(g->path);
}

/* ---- may it be taken from its holder? ---- */

struct contest {
    struct holder old, me;
    bool readable;
    double silent_s; /* since the holder's last heartbeat, by the file system's clock */
    bool job_ended;  /* the old holder's Slurm job, by squeue */
};

static bool process_ended(const struct contest *c)
{
    return c->readable && holder_has_ended(&c->old, &c->me);
}

static bool was_requeued(const struct contest *c)
{
    return c->readable && holder_was_requeued(&c->old, &c->me);
}

static bool job_ended(const struct contest *c)
{
    return c->readable && c->job_ended;
}

/* Who does not say all keeps no heartbeat. */
static bool is_silent(const struct contest *c)
{
    return (!c->readable || c->old.says_all) && c->silent_s > SILENT_S;
}

static const struct {
    bool (*applies)(const struct contest *c);
    const char *why;
} RULES[] = {
    {process_ended, "that process is gone"},
    {was_requeued, "it is an earlier start of this Slurm job"},
    {job_ended, "Slurm says that its job has ended"},
    {is_silent,
     "it gave no sign of life for more than 10 minutes, so its node is taken to be lost"},
};

static const char *why_taken(const struct contest *c)
{
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++)
        if (RULES[i].applies(c))
            return RULES[i].why;
    return NULL;
}

static int refuse(const struct contest *c, const char *path)
{
    if (!c->readable)
        return ERR(E_CONFIG,
                   "%s does not say who holds the run folder and changed %.0f s ago; remove it if "
                   "no job runs there (after 10 minutes it is taken over)",
                   path, c->silent_s);
    char alive[64] = "", job[128] = "";
    if (c->old.says_all)
        snprintf(alive, sizeof alive, ", last sign of life %.0f s ago", c->silent_s);
    if (strcmp(c->old.job, "-") != 0)
        snprintf(job, sizeof job, ", Slurm job %s", c->old.job);
    return ERR(
        E_CONFIG,
        "the run folder %.*s is in use by process %ld on %s%s%s; wait for it, choose another "
        "run.dir, or remove %s if that process is gone",
        (int)(strlen(path) - strlen("/lock")), path, c->old.pid, c->old.host, job, alive, path);
}

/* ---- taking ---- */

/* Whole from the moment it has its name, so that nobody reads half a line. */
static int write_lock(struct run_lock *lock, const struct guard *g, const struct holder *me)
{
    char temp[FS_PATH_MAX], line[LINE_MAX_BYTES];
    struct stat st;
    TRY(fs_temp_name(temp, lock->path));
    int fd = open(temp, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return ERR(E_IO, "cannot write in the run folder: %s: %s", temp, strerror(errno));
    int rc = fs_pwrite(fd, line, (size_t)holder_text(me, line, sizeof line), 0, temp);
    if (rc == OK && (fsync(fd) != 0 || fstat(fd, &st) != 0))
        rc = ERR(E_IO, "%s: cannot fsync: %s", temp, strerror(errno));
    if (rc == OK && !is_inside(g))
        rc = ERR(E_CONFIG, "another job took the run folder meanwhile; see %s", lock->path);
    if (rc == OK && rename(temp, lock->path) != 0)
        rc = ERR(E_IO, "%s: cannot rename: %s", temp, strerror(errno));
    if (rc != OK) {
        unlink(temp);
        close(fd);
        return rc;
    }
    lock->fd = fd;
    lock->since = st.st_mtim;
    lock->held = true;
    atomic_store(&lock->beat_ms, (long)(clock_now_s() * 1000));
    return OK;
}

/* asked: the holder whose job Slurm says has ended, or NULL. */
static int take_inside(struct run_lock *lock, const struct guard *g, const struct holder *me,
                       const struct holder *asked)
{
    struct contest c = {.me = *me};
    struct stat st;
    if (stat(lock->path, &st) != 0)
        return errno == ENOENT ? write_lock(lock, g, me)
                               : ERR(E_IO, "%s: %s", lock->path, strerror(errno));
    int rc = read_holder(lock->path, &c.old);
    if (rc != OK && rc != E_DATA) /* a disk that fails says nothing of who holds it */
        return rc;
    c.readable = rc == OK;
    err_clear();
    c.silent_s = seconds(g->mine.st_mtim) - seconds(st.st_mtim);
    c.silent_s = c.silent_s > 0 ? c.silent_s : 0;
    c.job_ended = asked != NULL && holder_same(&c.old, asked);
    const char *why = why_taken(&c);
    if (why == NULL)
        return refuse(&c, lock->path);
    if (c.readable)
        log_warn("%s is taken over from process %ld on %s: %s", lock->path, c.old.pid, c.old.host,
                 why);
    else
        log_warn("%s, which does not say who holds it, is taken over: %s", lock->path, why);
    if (c.readable && !holder_was_requeued(&c.old, me))
        lock->dead_until = st.st_mtim.tv_sec + BEAT_MS / 1000;
    return write_lock(lock, g, me);
}

/* Slurm is slow to answer, so it is asked before others have to wait. */
static bool holders_job_ended(const char *path, const struct holder *me, struct holder *old)
{
    bool there = fs_exists(path) && read_holder(path, old) == OK;
    err_clear();
    return there && !holder_is_gone(old, me) && strcmp(old->job, "-") != 0 &&
           strcmp(old->job, me->job) != 0 &&
           (strcmp(old->cluster, "-") == 0 || strcmp(old->cluster, me->cluster) == 0) &&
           slurm_job_has_ended(old->job);
}

/* ---- signs of life ---- */

static void *beat(void *of)
{
    struct run_lock *lock = of;
    for (;;) {
        struct timespec until = clock_after(CLOCK_REALTIME, BEAT_MS / 1e3);
        int rc;
        do
            rc = sem_timedwait(&lock->ended, &until);
        while (rc != 0 && errno == EINTR);
        if (rc == 0 || !run_heartbeat(lock))
            return NULL;
    }
}

/* Where no thread can be had, steps show signs of life as well. */
static void start_beating(struct run_lock *lock)
{
    sigset_t all, before;
    sem_init(&lock->ended, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    lock->has_thread = pthread_create(&lock->thread, NULL, beat, lock) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_beating(struct run_lock *lock)
{
    if (lock->has_thread) {
        sem_post(&lock->ended);
        pthread_join(lock->thread, NULL);
    }
    lock->has_thread = false;
    sem_destroy(&lock->ended);
}

int run_lock_take(struct run_lock *lock, const char *run_dir)
{
    struct holder old;
    struct guard g;
    memset(lock, 0, sizeof *lock);
    lock->fd = -1;
    TRY(fs_join(lock->path, run_dir, "lock"));
    holder_this(&lock->me);
    bool ended = holders_job_ended(lock->path, &lock->me, &old);
    TRY(enter(&g, lock->path, &lock->me));
    int rc = take_inside(lock, &g, &lock->me, ended ? &old : NULL);
    leave(&g);
    if (rc == OK)
        start_beating(lock);
    return rc;
}

/* ---- holding ---- */

static bool is_elsewhere(const struct run_lock *lock)
{
    struct stat mine, there;
    if (fstat(lock->fd, &mine) != 0)
        return errno == ESTALE;
    if (stat(lock->path, &there) != 0)
        return errno == ENOENT;
    return !same_file(&mine, &there);
}

bool run_heartbeat(struct run_lock *lock)
{
    long now = (long)(clock_now_s() * 1000), last = atomic_load(&lock->beat_ms);
    if (!lock->held || run_is_lost(lock))
        return !run_is_lost(lock);
    if (now - last < BEAT_MS || !atomic_compare_exchange_strong(&lock->beat_ms, &last, now))
        return true;
    if (is_elsewhere(lock))
        atomic_store(&lock->lost, true);
    else
        (void)futimens(lock->fd, NULL); /* a file system that fails here fails louder elsewhere */
    return !run_is_lost(lock);
}

bool run_is_lost(const struct run_lock *lock)
{
    return atomic_load(&lock->lost);
}

/* A lock that cannot be read for the moment is not another's. */
static int look_again(struct run_lock *lock)
{
    struct holder now;
    int rc = fs_exists(lock->path) ? read_holder(lock->path, &now) : E_DATA;
    if (rc != OK && rc != E_DATA)
        return rc;
    if (rc != OK)
        err_clear();
    if (rc != OK || !holder_same(&lock->me, &now))
        atomic_store(&lock->lost, true);
    return OK;
}

int run_still_ours(struct run_lock *lock)
{
    if (!lock->held)
        return OK;
    if (!run_is_lost(lock))
        TRY(look_again(lock));
    if (!run_is_lost(lock))
        return OK;
    log_close();
    return ERR(E_IO, "another job took the run folder's lock %s; nothing more is written there",
               lock->path);
}

/* What ended the run is recorded and stays so. */
void run_give_back(struct run_lock *lock)
{
    struct guard g;
    struct err_kept cause;
    if (!lock->held)
        return;
    err_keep(&cause);
    stop_beating(lock);
    if (enter(&g, lock->path, &lock->me) == OK) {
        if (run_still_ours(lock) == OK)
            unlink(lock->path);
        leave(&g);
    }
    close(lock->fd);
    lock->held = false;
    err_restore(&cause);
}

bool run_holder(const char *run_dir, char *text, size_t n, bool *gone)
{
    char path[FS_PATH_MAX];
    struct holder who, me;
    bool there =
        fs_join(path, run_dir, "lock") == OK && fs_exists(path) && read_holder(path, &who) == OK;
    err_clear();
    if (!there)
        return false;
    holder_this(&me);
    snprintf(text, n, "process %ld on %s", who.pid, who.host);
    *gone = holder_is_gone(&who, &me);
    return true;
}
