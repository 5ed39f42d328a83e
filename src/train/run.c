#include "train/run.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "par/agree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* What processes that were killed left in the folder itself; in its parts those clean who write
 * there. */
static int clean(const char *run_dir)
{
    static const char *const begins[] = {"job.yaml.tmp.", "lock.tmp.", "lock.stale-",
                                         "lock.guard.stale-", "metrics.h5.tmp-"};
    char path[FS_PATH_MAX];
    DIR *dir = opendir(run_dir);
    if (dir == NULL)
        return ERR(E_IO, "%s: cannot list it: %s", run_dir, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
            if (strncmp(e->d_name, begins[i], strlen(begins[i])) == 0 &&
                fs_join(path, run_dir, e->d_name) == OK)
                unlink(path);
    closedir(dir);
    return OK;
}

/* Of how an attempt ended. */
static const char *const RECORDS[] = {"FAILED", "STOPPED"};

static int claim_as_root(const char *run_dir, struct run_lock *lock)
{
    char path[FS_PATH_MAX];
    TRY(make_part(run_dir, "checkpoints"));
    TRY(make_part(run_dir, "metrics"));
    TRY(run_lock_take(lock, run_dir));
    for (size_t i = 0; i < sizeof RECORDS / sizeof *RECORDS; i++) {
        TRY(fs_join(path, run_dir, RECORDS[i]));
        unlink(path);
    }
    return clean(run_dir);
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

void run_drop_stale(const char *run_dir, const struct run_lock *lock)
{
    static const char *const what[] = {"stop", "save"};
    char path[FS_PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
        if (fs_join(path, run_dir, what[i]) != OK || stat(path, &st) != 0 ||
            st.st_mtim.tv_sec > lock->dead_until)
            continue;
        unlink(path);
        log_info("dropped         %s: meant for a run that was killed before it saw it", path);
    }
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

/* Another rank's error carries that rank's name in front (par/agree.h). */
static const char *whose(const char *message, int *rank, char host[64])
{
    int n = 0, r;
    char h[64];
    if (sscanf(message, "rank %d on %63[^: ]: %n", &r, h, &n) != 2 || n == 0)
        return message;
    *rank = r;
    snprintf(host, 64, "%s", h);
    return message + n;
}

/* False when there is one already. */
static bool write_record(const char *run_dir, const char *name, const struct str *text)
{
    char path[FS_PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", run_dir, name) >= (int)sizeof path)
        return false;
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno != EEXIST;
    /* Half a record would be none; on a full disk the exit code must do. */
    if (write(fd, text->s, text->len) != (ssize_t)text->len)
        unlink(path);
    close(fd);
    return true;
}

bool run_record_failure(const char *run_dir, int rank, const char *host, long step, int code,
                        const char *message)
{
    char stamp[32];
    struct str out = {0};
    str_addf(&out, "{\"time\": \"%s\", \"rank\": %d, \"host\": ", clock_stamp(stamp, sizeof stamp),
             rank);
    add_json_text(&out, host);
    str_addf(&out, ", \"step\": %ld, \"code\": %d, \"message\": ", step, code);
    add_json_text(&out, message);
    str_add(&out, "}\n");
    bool first = write_record(run_dir, "FAILED", &out);
    str_release(&out);
    return first;
}

void run_write_stopped(const char *run_dir, long step, enum stop_cause cause)
{
    static const char *const names[] = {
        [STOP_SIGNAL] = "signal", [STOP_FILE] = "file", [STOP_TIME] = "time"};
    const char *job = getenv("SLURM_JOB_ID");
    char stamp[32];
    struct str out = {0};
    str_addf(&out, "{\"time\": \"%s\", \"job\": ", clock_stamp(stamp, sizeof stamp));
    add_json_text(&out, job != NULL ? job : "");
    str_addf(&out, ", \"step\": %ld, \"cause\": \"%s\"}\n", step, names[cause]);
    write_record(run_dir, "STOPPED", &out);
    str_release(&out);
}

bool run_write_failed(const char *run_dir, const struct comm *c, long step, int code)
{
    char host[64];
    int rank = c->rank;
    snprintf(host, sizeof host, "%s", c->host);
    const char *message = whose(err_message(), &rank, host);
    return run_record_failure(run_dir, rank, host, step, code, message);
}

/* fatal() may come from anywhere and knows no run. */
static struct {
    const char *run_dir;
    const struct comm *c;
    const int64_t *step;
} noted;

static bool write_last_words(int code, const char *message)
{
    err_adopt(code, message, "");
    return run_write_failed(noted.run_dir, noted.c, (long)*noted.step, code);
}

void run_note_fatal(const char *run_dir, const struct comm *c, const int64_t *step)
{
    noted.run_dir = run_dir;
    noted.c = c;
    noted.step = step;
    err_set_last_words(run_dir != NULL ? write_last_words : NULL);
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
