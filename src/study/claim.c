/* Claims: who works on a trial. The file's first line, of fixed length, is rewritten in place: a
 * count that grows while the worker lives, and whether it still holds the trial. The second names
 * the worker, the third the checkpoint that it found. */
#include "folder.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/ckpt.h"
#include "train/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD      "held    "
#define RELEASED  "released"
#define FROM_STEP "from step "
enum { BEATS_A_STALE = 6, FIRST_LINE = 20 + 1 + 8 + 1 };

/* ---- the heartbeat ---- */

struct beat {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool end;
    int fd;
    double every_s;
    unsigned long long count;
};

static void first_line(char line[FIRST_LINE + 1], unsigned long long count, const char *hold)
{
    snprintf(line, FIRST_LINE + 1, "%020llu %s\n", count, hold);
}

/* A failure is not told: without signs of life the trial is taken over, and that is told. */
static void put_line(int fd, unsigned long long count, const char *hold)
{
    char line[FIRST_LINE + 1];
    first_line(line, count, hold);
    if (pwrite(fd, line, FIRST_LINE, 0) == FIRST_LINE)
        (void)fdatasync(fd);
}

static void wait_until(struct beat *b)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, b->every_s);
    while (!b->end && pthread_cond_timedwait(&b->wake, &b->lock, &until) != ETIMEDOUT)
        continue;
}

static void *beating(void *arg)
{
    struct beat *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        wait_until(b);
        if (b->end)
            break;
        put_line(b->fd, ++b->count, HELD);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Signals are for the threads that train. */
static int start_thread(struct beat *b)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&b->thread, NULL, beating, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 ? OK : ERR(E_MEM, "cannot start a thread: %s", strerror(failed));
}

static int start_beat(struct beat **out, int fd, double stale_s)
{
    pthread_condattr_t monotonic;
    struct beat *b;
    TRY(mem_alloc(&b, 1, sizeof *b, "heartbeat"));
    b->fd = fd;
    b->every_s = stale_s / BEATS_A_STALE;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&b->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = start_thread(b);
    if (rc != OK)
        mem_free(b);
    else
        *out = b;
    return rc;
}

/* Gives back the file, no longer written by the thread. */
static int end_beat(struct beat *b, unsigned long long *count)
{
    pthread_mutex_lock(&b->lock);
    b->end = true;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    int fd = b->fd;
    *count = b->count;
    mem_free(b);
    return fd;
}

/* ---- the file ---- */

enum hold claim_look(const struct study *s, int trial, int generation, unsigned long long *beat)
{
    char path[FS_PATH_MAX], line[FIRST_LINE + 1] = "";
    *beat = 0;
    if (trial_file(path, s, trial, "claim", generation) != OK)
        return HOLD_NONE;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return HOLD_NONE;
    /* One that is just being made is empty. */
    if (pread(fd, line, FIRST_LINE, 0) == FIRST_LINE)
        *beat = strtoull(line, NULL, 10);
    close(fd);
    return strstr(line, RELEASED) != NULL ? HOLD_RELEASED : HOLD_HELD;
}

static bool holder_of_claim(const char *path, struct holder *who)
{
    char *text;
    size_t n;
    if (fs_read_file(path, 4096, &text, &n) != OK) {
        err_clear();
        return false;
    }
    bool whole = n > FIRST_LINE && holder_parse(text + FIRST_LINE, who);
    mem_free(text);
    return whole;
}

/* No sign of life for long enough, by this process's clock, which is read before the file: where
 * this process itself was stopped in between, that must not look like the other's silence. */
static bool is_silent(const struct study *s, int trial, int generation)
{
    struct sighting *seen = &s->known->seen[trial];
    unsigned long long beat;
    double now = clock_now_s();
    claim_look(s, trial, generation, &beat);
    if (seen->generation != generation || seen->beat != beat) {
        *seen = (struct sighting){generation, beat, clock_now_s()};
        return false;
    }
    return now - seen->since_s > s->stale_s;
}

/* how (128 bytes): what tells that it is. A claim given back since the trial was looked at is not:
 * the next look will tell. */
static bool worker_is_dead(const struct study *s, const struct trial *t, const char *path,
                           char *how)
{
    struct holder who, me;
    unsigned long long beat;
    holder_this(&me);
    if (claim_look(s, t->number, t->claims, &beat) != HOLD_HELD)
        return false;
    if (holder_of_claim(path, &who) && holder_is_gone(&who, &me)) {
        snprintf(how, 128, "process %ld on %s is gone", who.pid, who.host);
        return true;
    }
    snprintf(how, 128, "no sign of life from its worker for %g s", s->stale_s);
    return is_silent(s, t->number, t->claims);
}

/* The trial's newest checkpoint; -1: none. */
static long long saved_step(const struct study *s, int trial)
{
    char path[FS_PATH_MAX], run[FS_PATH_MAX];
    int64_t *step = NULL;
    size_t n = 0;
    if (trial_path(path, s, trial) != OK || fs_join(run, path, "run") != OK ||
        ckpt_list(run, &step, &n, NULL) != OK)
        err_clear();
    long long newest = n > 0 ? (long long)step[0] : -1;
    mem_free(step);
    return newest;
}

static long long claim_step(const struct study *s, int trial, int generation)
{
    char path[FS_PATH_MAX], *text;
    size_t n;
    long long step = -1;
    if (trial_file(path, s, trial, "claim", generation) != OK ||
        fs_read_file(path, 4096, &text, &n) != OK) {
        err_clear();
        return -1;
    }
    const char *at = strstr(text, FROM_STEP);
    if (at == NULL || sscanf(at + sizeof FROM_STEP - 1, "%lld", &step) != 1)
        step = -1;
    mem_free(text);
    return step;
}

bool claim_made_way(const struct study *s, int trial, int generation)
{
    return claim_step(s, trial, generation + 1) > claim_step(s, trial, generation);
}

static int write_claim(int fd, const char *path, long long step)
{
    char line[FIRST_LINE + 1], text[512];
    struct holder me;
    holder_this(&me);
    first_line(line, 0, HELD);
    int n = snprintf(text, sizeof text, "%s", line);
    n += holder_text(&me, text + n, sizeof text - (size_t)n);
    n += snprintf(text + n, sizeof text - (size_t)n, FROM_STEP "%lld\n", step);
    TRY(fs_pwrite(fd, text, (size_t)n, 0, path));
    return fsync(fd) == 0 ? OK : ERR(E_IO, "%s: cannot fsync: %s", path, strerror(errno));
}

static int make_claim(const struct study *s, struct claim *c, bool *got)
{
    int fd = open(c->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
    *got = fd >= 0;
    if (fd < 0)
        return errno == EEXIST ? OK : ERR(E_IO, "%s: cannot create: %s", c->path, strerror(errno));
    struct beat *beat = NULL;
    int rc = write_claim(fd, c->path, saved_step(s, c->trial));
    if (rc == OK)
        rc = start_beat(&beat, fd, s->stale_s);
    if (rc != OK) {
        unlink(c->path);
        close(fd);
    }
    c->beat = beat;
    *got = rc == OK;
    return rc;
}

/* What was published between the look at the trial and the claim makes another task of it. */
static bool is_as_seen(const struct study *s, const struct trial *t)
{
    char end[FS_PATH_MAX], reached[FS_PATH_MAX];
    return trial_file(end, s, t->number, "end", 0) == OK && !fs_exists(end) &&
           trial_file(reached, s, t->number, "reached", t->n_reached + 1) == OK &&
           !fs_exists(reached);
}

int claim_take(struct study *s, const struct trial *t, struct claim *c, bool *got)
{
    char path[FS_PATH_MAX], how[128];
    memset(c, 0, sizeof *c);
    *got = false;
    if (t->state > TRIAL_RUNNING)
        return OK;
    TRY(trial_file(path, s, t->number, "claim", t->claims));
    if (t->state == TRIAL_RUNNING && !worker_is_dead(s, t, path, how))
        return OK;
    c->trial = t->number;
    c->generation = t->claims + 1;
    TRY(trial_file(c->path, s, t->number, "claim", c->generation));
    TRY(make_claim(s, c, got));
    if (!*got)
        return OK;
    TRY(trial_path(path, s, t->number));
    if (t->state == TRIAL_RUNNING) {
        log_warn("trial %d: %s; taking it over", t->number, how);
        remove_temporaries(path);
    }
    *got = is_as_seen(s, t);
    if (!*got)
        claim_give_back(c);
    return OK;
}

/* Whether there is a newer claim beside this one. */
static bool is_overtaken(const struct claim *c)
{
    char path[FS_PATH_MAX + 16];
    size_t n = (size_t)(strrchr(c->path, '/') - c->path);
    snprintf(path, sizeof path, "%.*s", (int)n, c->path);
    folder_revalidate(path);
    snprintf(path + n, sizeof path - n, "/claim-%04d", c->generation + 1);
    return fs_exists(path);
}

int claim_check(const struct study *s, const struct claim *c)
{
    return is_overtaken(c)
               ? ERR(E_STOPPED,
                     "another worker has taken over trial %d: this one was not heard of "
                     "for study.stale, %.0f s",
                     c->trial, s->stale_s)
               : OK;
}

void claim_give_back(struct claim *c)
{
    unsigned long long count;
    if (c->beat == NULL)
        return;
    int fd = end_beat(c->beat, &count);
    if (!is_overtaken(c)) /* else it stays a death */
        put_line(fd, count + 1, RELEASED);
    close(fd);
    c->beat = NULL;
}

/* ---- what its holder publishes ---- */

static int publish(const struct study *s, const struct claim *c, const struct trial *t,
                   const char *name, int number, bool *taken)
{
    char path[FS_PATH_MAX];
    TRY(claim_check(s, c));
    TRY(trial_file(path, s, t->number, name, number));
    json_t *o = trial_outcome_json(t);
    int rc = publish_once(path, o, taken);
    json_decref(o);
    return rc;
}

int study_reached(const struct study *s, const struct claim *c, const struct trial *t)
{
    bool taken; /* by one that lost its claim a moment ago: it had the same to say */
    return publish(s, c, t, "reached", t->n_reached + 1, &taken);
}

int study_end(const struct study *s, const struct claim *c, const struct trial *t)
{
    bool taken;
    TRY(publish(s, c, t, "end", 0, &taken));
    return taken ? ERR(E_STOPPED, "trial %d was ended by another worker", c->trial) : OK;
}
