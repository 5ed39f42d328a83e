#include "train/holder.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* One word, "-" where there is none: words of a line are told apart by blanks. */
static void copy_word(char *to, size_t n, const char *from)
{
    snprintf(to, n, "%.*s", from != NULL ? (int)strcspn(from, " \t\n") : 0,
             from != NULL ? from : "");
    if (*to == '\0')
        snprintf(to, n, "-");
}

static void read_boot(char *boot, size_t n)
{
    char *text = NULL;
    size_t len;
    if (fs_read_file("/proc/sys/kernel/random/boot_id", 256, &text, &len) != OK)
        err_clear();
    copy_word(boot, n, text);
    mem_free(text);
}

void holder_this(struct holder *h)
{
    char state;
    struct stat st;
    memset(h, 0, sizeof *h);
    if (gethostname(h->host, sizeof h->host - 1) != 0 || *h->host == '\0')
        snprintf(h->host, sizeof h->host, "unknown");
    h->pid = (long)getpid();
    const char *restart = getenv("SLURM_RESTART_COUNT");
    copy_word(h->job, sizeof h->job, getenv("SLURM_JOB_ID"));
    h->restart = restart ? strtol(restart, NULL, 10) : 0;
    if (!look_at_process(h->pid, &state, &h->start))
        h->start = 0;
    read_boot(h->boot, sizeof h->boot);
    h->pids = stat("/proc/self/ns/pid", &st) == 0 ? (unsigned long long)st.st_ino : 0;
    copy_word(h->cluster, sizeof h->cluster, getenv("SLURM_CLUSTER_NAME"));
    h->says_all = true;
}

int holder_text(const struct holder *h, char *buf, size_t n)
{
    return snprintf(buf, n, "%s %ld %s %ld %llu %s %llu %s\n", h->host, h->pid, h->job, h->restart,
                    h->start, h->boot, h->pids, h->cluster);
}

bool holder_parse(const char *text, struct holder *h)
{
    enum { LEAST = 4, ALL = 8 };
    memset(h, 0, sizeof *h);
    int n = sscanf(text, "%63s %ld %31s %ld %llu %39s %llu %39s", h->host, &h->pid, h->job,
                   &h->restart, &h->start, h->boot, &h->pids, h->cluster);
    h->says_all = n == ALL;
    if (!h->says_all) {
        snprintf(h->boot, sizeof h->boot, "-");
        snprintf(h->cluster, sizeof h->cluster, "-");
        h->pids = 0;
    }
    return n >= LEAST;
}

bool holder_same(const struct holder *a, const struct holder *b)
{
    return a->pid == b->pid && a->restart == b->restart && a->start == b->start &&
           a->pids == b->pids && strcmp(a->host, b->host) == 0 && strcmp(a->job, b->job) == 0 &&
           strcmp(a->boot, b->boot) == 0;
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

/* Where one of them is not known, they may be the same. */
static bool may_be_same(const char *a, const char *b)
{
    return strcmp(a, "-") == 0 || strcmp(b, "-") == 0 || strcmp(a, b) == 0;
}

bool holder_was_requeued(const struct holder *old, const struct holder *me)
{
    return strcmp(old->job, "-") != 0 && strcmp(old->job, me->job) == 0 &&
           may_be_same(old->cluster, me->cluster) && old->restart < me->restart;
}

/* Only where the number names the same process to both. */
bool holder_has_ended(const struct holder *old, const struct holder *me)
{
    bool comparable = strcmp(old->host, me->host) == 0 && may_be_same(old->boot, me->boot) &&
                      (old->pids == 0 || me->pids == 0 || old->pids == me->pids);
    return comparable && process_is_gone(old);
}

bool holder_is_gone(const struct holder *old, const struct holder *me)
{
    return holder_was_requeued(old, me) || holder_has_ended(old, me);
}
