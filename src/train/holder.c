#include "train/holder.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* State and start of a process, from /proc/<pid>/stat: "pid (name) state ppid …", the start being
 * the 22nd field. A name may hold anything, so fields are counted behind its last bracket. */
static bool look_at_process(long pid, char *state, unsigned long long *start)
{
    enum { FIELDS_TO_START = 19 };
    char path[64], *text = NULL;
    size_t n;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (fs_read_file(path, 4096, &text, &n) != OK) {
        err_clear();
        return false;
    }
    const char *at = strrchr(text, ')');
    bool whole = at != NULL && strlen(at) > 2;
    *state = whole ? at[2] : '?';
    at = whole ? at + 2 : NULL;
    for (int i = 0; i < FIELDS_TO_START && at != NULL; i++) {
        at = strchr(at, ' ');
        at = at != NULL ? at + 1 : NULL;
    }
    *start = at != NULL ? strtoull(at, NULL, 10) : 0;
    mem_free(text);
    return whole;
}

void holder_this(struct holder *h)
{
    char state;
    memset(h, 0, sizeof *h);
    if (gethostname(h->host, sizeof h->host - 1) != 0)
        snprintf(h->host, sizeof h->host, "unknown");
    h->pid = (long)getpid();
    const char *job = getenv("SLURM_JOB_ID"), *restart = getenv("SLURM_RESTART_COUNT");
    snprintf(h->job, sizeof h->job, "%s", job ? job : "-");
    h->restart = restart ? strtol(restart, NULL, 10) : 0;
    if (!look_at_process(h->pid, &state, &h->start))
        h->start = 0;
}

int holder_text(const struct holder *h, char *buf, size_t n)
{
    return snprintf(buf, n, "%s %ld %s %ld %llu\n", h->host, h->pid, h->job, h->restart, h->start);
}

bool holder_parse(const char *text, struct holder *h)
{
    memset(h, 0, sizeof *h);
    return sscanf(text, "%63s %ld %31s %ld %llu", h->host, &h->pid, h->job, &h->restart,
                  &h->start) >= 4;
}

bool holder_same(const struct holder *a, const struct holder *b)
{
    return a->pid == b->pid && a->restart == b->restart && a->start == b->start &&
           strcmp(a->host, b->host) == 0 && strcmp(a->job, b->job) == 0;
}

/* A zombie is gone too: it only waits for its parent to take note. */
static bool process_is_gone(const struct holder *old)
{
    char state;
    unsigned long long start;
    if (kill((pid_t)old->pid, 0) != 0)
        return errno == ESRCH;
    if (!look_at_process(old->pid, &state, &start))
        return false;
    return state == 'Z' || state == 'X' || (old->start != 0 && start != 0 && start != old->start);
}

bool holder_is_gone(const struct holder *old, const struct holder *me)
{
    if (strcmp(old->job, "-") != 0 && strcmp(old->job, me->job) == 0 && old->restart < me->restart)
        return true;
    return strcmp(old->host, me->host) == 0 && process_is_gone(old);
}
