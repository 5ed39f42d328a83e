#include "train/restart.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

struct count {
    long long step, tries;
};

/* Whether this process's present start is in the count. */
static struct {
    pthread_mutex_t lock; /* of it and of the file */
    bool counted;
} start = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int count_path(char *path, const char *run_dir)
{
    return fs_join(path, run_dir, "checkpoints/restart");
}

/* A count that cannot be read is none: it guards against a loop and is no record. */
static struct count read_count(const char *path)
{
    struct count c = {-1, 0};
    char *text = NULL;
    size_t n;
    if (!fs_exists(path))
        return c;
    if (fs_read_file(path, 256, &text, &n) != OK)
        err_clear();
    else if (sscanf(text, "step %lld tries %lld", &c.step, &c.tries) != 2 || c.tries < 0)
        c = (struct count){-1, 0};
    mem_free(text);
    return c;
}

static int write_count(const char *path, const struct count *c)
{
    char line[64];
    int n = snprintf(line, sizeof line, "step %lld tries %lld\n", c->step, c->tries);
    return fs_write_file(path, line, (size_t)n);
}

int64_t restart_tries(const char *run_dir, int64_t step)
{
    char path[FS_PATH_MAX];
    if (count_path(path, run_dir) != OK)
        return 0;
    struct count c = read_count(path);
    return c.step == step ? c.tries : 0;
}

int restart_begin(const char *run_dir, int64_t step)
{
    char path[FS_PATH_MAX];
    TRY(count_path(path, run_dir));
    pthread_mutex_lock(&start.lock);
    struct count c = {step, restart_tries(run_dir, step) + 1};
    int rc = write_count(path, &c);
    start.counted = rc == OK;
    pthread_mutex_unlock(&start.lock);
    return rc;
}

static void take_back(const char *path)
{
    struct count c = read_count(path);
    c.tries--;
    if (c.tries <= 0)
        unlink(path);
    else
        (void)write_count(path, &c);
}

void restart_forgive(const char *run_dir)
{
    char path[FS_PATH_MAX];
    struct err_kept cause;
    err_keep(&cause);
    pthread_mutex_lock(&start.lock);
    if (start.counted && count_path(path, run_dir) == OK)
        take_back(path);
    start.counted = false;
    pthread_mutex_unlock(&start.lock);
    err_restore(&cause);
}

void restart_clear(const char *run_dir)
{
    char path[FS_PATH_MAX];
    pthread_mutex_lock(&start.lock);
    if (count_path(path, run_dir) == OK)
        unlink(path);
    start.counted = false;
    pthread_mutex_unlock(&start.lock);
}
