#include "train/run.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "par/agree.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who holds a lock, one line: "<host> <pid> <Slurm job or -> <restart count>". */
struct holder {
    char host[64];
    long pid;
    char job[32];
    long restart;
};

static void this_holder(struct holder *h)
{
    memset(h, 0, sizeof *h);
    if (gethostname(h->host, sizeof h->host - 1) != 0)
        snprintf(h->host, sizeof h->host, "unknown");
    h->pid = (long)getpid();
    const char *job = getenv("SLURM_JOB_ID"), *restart = getenv("SLURM_RESTART_COUNT");
    snprintf(h->job, sizeof h->job, "%s", job ? job : "-");
    h->restart = restart ? strtol(restart, NULL, 10) : 0;
}

static bool read_holder(const char *path, struct holder *h)
{
    char *text = NULL;
    size_t n;
    if (fs_read_file(path, 4096, &text, &n) != OK) {
        err_clear();
        return false;
    }
    memset(h, 0, sizeof *h);
    bool whole = sscanf(text, "%63s %ld %31s %ld", h->host, &h->pid, h->job, &h->restart) == 4;
    mem_free(text);
    return whole;
}

static bool same_holder(const struct holder *a, const struct holder *b)
{
    return a->pid == b->pid && a->restart == b->restart && strcmp(a->host, b->host) == 0 &&
           strcmp(a->job, b->job) == 0;
}

/* A zombie is gone too: it only waits for its parent to take note. */
static bool process_is_gone(long pid)
{
    char path[64], *text = NULL;
    size_t n;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (kill((pid_t)pid, 0) != 0)
        return errno == ESRCH;
    if (fs_read_file(path, 4096, &text, &n) != OK) {
        err_clear();
        return false;
    }
    const char *state = strrchr(text, ')'); /* "pid (name) state …" */
    bool zombie = state && (strncmp(state, ") Z", 3) == 0 || strncmp(state, ") X", 3) == 0);
    mem_free(text);
    return zombie;
}

/* A holder that cannot be alive: another start of the same Slurm job, or a process of this host
 * that is gone. */
static bool holder_is_gone(const struct holder *old, const struct holder *me)
{
    if (strcmp(old->job, "-") != 0 && strcmp(old->job, me->job) == 0)
        return old->restart < me->restart;
    return strcmp(old->host, me->host) == 0 && process_is_gone(old->pid);
}

static int create_lock(const char *path, const struct holder *me, bool *taken)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    *taken = fd < 0 && errno == EEXIST;
    if (*taken)
        return OK;
    if (fd < 0)
        return ERR(E_IO, "cannot write in the run folder: %s: %s", path, strerror(errno));
    char line[256];
    int n = snprintf(line, sizeof line, "%s %ld %s %ld\n", me->host, me->pid, me->job, me->restart);
    int rc = fs_pwrite(fd, line, (size_t)n, 0, path);
    if (close(fd) != 0 && rc == OK)
        rc = ERR(E_IO, "cannot close %s: %s", path, strerror(errno));
    return rc;
}

/* Moves a dead holder's lock away. The rename succeeds for one of several who try at once, and the
 * moved file is read again: a lock that changed hands in between is put back. */
static int set_aside(const char *path, const struct holder *old)
{
    char aside[FS_PATH_MAX + 32];
    snprintf(aside, sizeof aside, "%s.stale-%ld", path, (long)getpid());
    if (rename(path, aside) != 0)
        return OK;
    struct holder moved;
    if (read_holder(aside, &moved) && !same_holder(&moved, old)) {
        if (link(aside, path) != 0 && errno != EEXIST)
            return ERR(E_IO, "cannot restore the lock %s: %s", path, strerror(errno));
    }
    unlink(aside);
    return OK;
}

static int take_lock(const char *run_dir, struct run_lock *lock)
{
    struct holder me, old;
    this_holder(&me);
    for (int attempt = 0; attempt < 3; attempt++) {
        bool taken;
        TRY(create_lock(lock->path, &me, &taken));
        if (!taken) {
            lock->held = true;
            return OK;
        }
        if (!read_holder(lock->path, &old))
            continue;
        if (!holder_is_gone(&old, &me))
            return ERR(E_CONFIG,
                       "the run folder %s is in use by process %ld on %s (Slurm job %s); wait for "
                       "it, choose another run.dir, or remove %s if that process is gone",
                       run_dir, old.pid, old.host, old.job, lock->path);
        log_warn("taking over %s: process %ld on %s is gone", lock->path, old.pid, old.host);
        TRY(set_aside(lock->path, &old));
    }
    return ERR(E_IO, "the lock %s changes hands or is unreadable; remove it if no job runs",
               lock->path);
}

static int claim_as_root(const char *run_dir, struct run_lock *lock)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, run_dir, "checkpoints"));
    TRY(fs_mkdirs(path));
    TRY(fs_join(path, run_dir, "metrics"));
    TRY(fs_mkdirs(path));
    TRY(fs_join(lock->path, run_dir, "lock"));
    TRY(take_lock(run_dir, lock));
    TRY(fs_join(path, run_dir, "FAILED"));
    unlink(path);
    return OK;
}

int run_claim(const struct comm *c, const char *run_dir, struct run_lock *lock)
{
    memset(lock, 0, sizeof *lock);
    return agree(c, c->rank == 0 ? claim_as_root(run_dir, lock) : OK);
}

int run_still_ours(const struct run_lock *lock)
{
    struct holder me, now;
    if (!lock->held)
        return OK;
    this_holder(&me);
    if (!read_holder(lock->path, &now) || !same_holder(&me, &now))
        return ERR(E_IO, "another job took the run folder's lock %s; nothing more is written here",
                   lock->path);
    return OK;
}

void run_give_back(struct run_lock *lock)
{
    if (lock->held && run_still_ours(lock) == OK)
        unlink(lock->path);
    lock->held = false;
}

bool run_holder(const char *run_dir, char *text, size_t n, bool *gone)
{
    char path[FS_PATH_MAX];
    struct holder who, me;
    if (fs_join(path, run_dir, "lock") != OK || !fs_exists(path) || !read_holder(path, &who))
        return false;
    this_holder(&me);
    snprintf(text, n, "process %ld on %s", who.pid, who.host);
    *gone = holder_is_gone(&who, &me);
    return true;
}

bool run_asked(const char *run_dir, const char *what)
{
    char path[FS_PATH_MAX];
    if (fs_join(path, run_dir, what) != OK || !fs_exists(path))
        return false;
    unlink(path);
    return true;
}

static void add_json_text(struct str *out, const char *text)
{
    str_add(out, "\"");
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            str_addf(out, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            str_addf(out, "\\u%04x", (unsigned)*p);
        else
            str_addn(out, p, 1);
    }
    str_add(out, "\"");
}

void run_write_failed(const char *run_dir, const struct comm *c, long step, int code)
{
    char path[FS_PATH_MAX], stamp[32];
    if (fs_join(path, run_dir, "FAILED") != OK)
        return;
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    struct str out = {0};
    str_addf(&out, "{\"time\": \"%s\", \"rank\": %d, \"host\": ", clock_stamp(stamp, sizeof stamp),
             c->rank);
    add_json_text(&out, c->host);
    str_addf(&out, ", \"step\": %ld, \"code\": %d, \"message\": ", step, code);
    add_json_text(&out, err_message());
    str_add(&out, "}\n");
    if (fs_pwrite(fd, out.s, out.len, 0, path) != OK)
        err_clear();
    close(fd);
    str_release(&out);
}

int run_new_id(char id[37])
{
    unsigned char b[16];
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "cannot open /dev/urandom: %s", strerror(errno));
    int rc = OK;
    if (read(fd, b, sizeof b) != sizeof b)
        rc = ERR(E_IO, "cannot read /dev/urandom: %s", strerror(errno));
    close(fd);
    TRY(rc);
    b[6] = (b[6] & 0x0f) | 0x40; /* version 4, RFC 4122 */
    b[8] = (b[8] & 0x3f) | 0x80;
    char *p = id;
    for (int i = 0; i < 16; i++)
        p += sprintf(p, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
    return OK;
}
