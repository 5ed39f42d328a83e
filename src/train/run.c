#include "train/run.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "par/agree.h"
#include "train/holder.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_holder(const char *path, struct holder *h)
{
    char *text = NULL;
    size_t n;
    if (fs_read_file(path, 4096, &text, &n) != OK) {
        err_clear();
        return false;
    }
    bool whole = holder_parse(text, h);
    mem_free(text);
    return whole;
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
    int n = holder_text(me, line, sizeof line);
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
    if (read_holder(aside, &moved) && !holder_same(&moved, old)) {
        if (link(aside, path) != 0 && errno != EEXIST)
            return ERR(E_IO, "cannot restore the lock %s: %s", path, strerror(errno));
    }
    unlink(aside);
    return OK;
}

static int take_lock(const char *run_dir, struct run_lock *lock)
{
    struct holder me, old;
    holder_this(&me);
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
    holder_this(&me);
    if (!read_holder(lock->path, &now) || !holder_same(&me, &now))
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
    holder_this(&me);
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

bool run_record_failure(const char *run_dir, int rank, const char *host, long step, int code,
                        const char *message)
{
    char path[FS_PATH_MAX], stamp[32];
    if (snprintf(path, sizeof path, "%s/FAILED", run_dir) >= (int)sizeof path)
        return false;
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno != EEXIST;
    struct str out = {0};
    str_addf(&out, "{\"time\": \"%s\", \"rank\": %d, \"host\": ", clock_stamp(stamp, sizeof stamp),
             rank);
    add_json_text(&out, host);
    str_addf(&out, ", \"step\": %ld, \"code\": %d, \"message\": ", step, code);
    add_json_text(&out, message);
    str_add(&out, "}\n");
    ssize_t written = write(fd, out.s, out.len);
    (void)written; /* its being there tells of the failure, if not of what it was */
    close(fd);
    str_release(&out);
    return true;
}

void run_write_failed(const char *run_dir, const struct comm *c, long step, int code)
{
    (void)run_record_failure(run_dir, c->rank, c->host, step, code, err_message());
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
