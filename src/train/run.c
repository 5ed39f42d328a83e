#include "train/run.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/str.h"
#include "par/agree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Root is asked whether it may, so that a folder that cannot be written ends the job here and not
 * at its first save. */
static int make_part(const char *run_dir, const char *name)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, run_dir, name));
    TRY(fs_mkdirs(path));
    if (access(path, W_OK | X_OK) != 0)
        return ERR(E_IO, "cannot write in the run folder: %s: %s", path, strerror(errno));
    return OK;
}

static int claim_as_root(const char *run_dir, struct run_lock *lock)
{
    char path[FS_PATH_MAX];
    TRY(make_part(run_dir, "checkpoints"));
    TRY(make_part(run_dir, "metrics"));
    TRY(run_lock_take(lock, run_dir));
    TRY(fs_join(path, run_dir, "FAILED"));
    unlink(path);
    return OK;
}

int run_claim(const struct comm *c, const char *run_dir, struct run_lock *lock)
{
    memset(lock, 0, sizeof *lock);
    lock->fd = -1;
    return agree(c, c->rank == 0 ? claim_as_root(run_dir, lock) : OK);
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
