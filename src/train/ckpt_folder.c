#include "ckpt_parts.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "par/agree.h"
#include "par/vigil.h"
#include "train/restart.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_KEPT = 2 };

static int folder_path(char *path, const char *run_dir)
{
    return fs_join(path, run_dir, "checkpoints");
}

int ckpt_path(char *path, const char *run_dir, int64_t step)
{
    char name[64];
    snprintf(name, sizeof name, "step-%09lld.h5", (long long)step);
    TRY(folder_path(path, run_dir));
    return fs_join(path, path, name);
}

/* The step in "step-000001000.h5<ending>", or -1 when the name is another's. */
static int64_t step_of(const char *name, const char *ending)
{
    int used = 0;
    long long step;
    if (sscanf(name, "step-%lld.h5%n", &step, &used) != 1 || used == 0 || step < 0)
        return -1;
    return strcmp(name + used, ending) == 0 ? (int64_t)step : -1;
}

/* Calls visit for every name in the folder; a folder that is not there is empty. */
static int each_name(const char *folder, void (*visit)(void *ctx, const char *name), void *ctx)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return errno == ENOENT ? OK : ERR(E_IO, "%s: cannot list it: %s", folder, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        visit(ctx, e->d_name);
    closedir(dir);
    return OK;
}

/* ---- listing ---- */

struct listing {
    int64_t *step;
    size_t n, cap;
    struct ckpt_aside aside;
    int rc;
};

static void grow(struct listing *l)
{
    int64_t *more;
    size_t cap = l->cap > 0 ? 2 * l->cap : 64;
    l->rc = mem_alloc(&more, cap, sizeof *more, "list of checkpoints");
    if (l->rc != OK)
        return;
    if (l->n > 0)
        memcpy(more, l->step, l->n * sizeof *more);
    mem_free(l->step);
    l->step = more;
    l->cap = cap;
}

static void list_one(void *ctx, const char *name)
{
    struct listing *l = ctx;
    int64_t step = step_of(name, "");
    l->aside.damaged += step_of(name, ".damaged") >= 0;
    l->aside.failed += step_of(name, ".failed") >= 0;
    if (step < 0 || l->rc != OK)
        return;
    if (l->n == l->cap)
        grow(l);
    if (l->rc == OK)
        l->step[l->n++] = step;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

int ckpt_list(const char *run_dir, int64_t **step, size_t *n, struct ckpt_aside *aside)
{
    char folder[FS_PATH_MAX];
    struct listing l = {0};
    *step = NULL;
    *n = 0;
    TRY(folder_path(folder, run_dir));
    int rc = each_name(folder, list_one, &l);
    rc = rc != OK ? rc : l.rc;
    if (rc != OK) {
        mem_free(l.step);
        return rc;
    }
    if (l.n > 0)
        qsort(l.step, l.n, sizeof *l.step, newest_first);
    *step = l.step;
    *n = l.n;
    if (aside != NULL)
        *aside = l.aside;
    return OK;
}

/* ---- the hint ---- */

enum { LATEST_MAX = 64 };

static int latest_path(char *path, const char *run_dir)
{
    TRY(folder_path(path, run_dir));
    return fs_join(path, path, "latest");
}

static size_t latest_line(char line[LATEST_MAX], int64_t step)
{
    return (size_t)snprintf(line, LATEST_MAX, "step-%09lld.h5\n", (long long)step);
}

static int write_latest(const char *run_dir, int64_t newest, const struct ckpt_keep *keep)
{
    char path[FS_PATH_MAX], line[LATEST_MAX];
    size_t n = latest_line(line, newest);
    TRY(latest_path(path, run_dir));
    if (fault_hit("ckpt.latest"))
        return ERR(E_IO, "%s: cannot write (fault ckpt.latest)", path);
    return fs_write_file_if(path, line, n, keep->may_publish, keep->may_publish_ctx);
}

/* No run depends on it; the next save or start writes it anew. keep: by whose leave. */
static void renew_latest(const char *run_dir, int64_t newest, const struct ckpt_keep *keep)
{
    struct err_kept before;
    err_keep(&before);
    if (write_latest(run_dir, newest, keep) != OK)
        log_warn("the name of the newest checkpoint was not noted: %s", err_message());
    err_restore(&before);
}

static bool latest_names(const char *run_dir, int64_t step)
{
    char path[FS_PATH_MAX], line[LATEST_MAX], *text = NULL;
    size_t n;
    latest_line(line, step);
    bool same = latest_path(path, run_dir) == OK &&
                fs_read_file(path, LATEST_MAX, &text, &n) == OK && strcmp(text, line) == 0;
    mem_free(text);
    err_clear();
    return same;
}

/* It may name a file that was set aside, also by who was killed before saying so. */
static void correct_latest(const char *run_dir, int64_t newest)
{
    if (!latest_names(run_dir, newest))
        renew_latest(run_dir, newest, &(const struct ckpt_keep){0});
}

/* ---- the newest that verifies ---- */

/* Root's view of the folder, and which file all ranks look at now. */
struct search {
    int64_t *step;
    size_t n, at;
    char path[FS_PATH_MAX];
    int64_t format; /* of that file */
    bool ours;      /* the folder: who only reads leaves it as it is */
    bool counts;    /* starts from it, for the run goes on from what is found */
    struct ckpt_aside aside;
};

/* It verifies, and yet no start from it ever got as far as a step. */
static int set_failed_aside(struct search *s)
{
    char aside[FS_PATH_MAX + 16];
    snprintf(aside, sizeof aside, "%s.failed", s->path);
    TRY(fs_rename(s->path, aside));
    log_warn("a checkpoint is passed over: %d starts from %s in a row ended before they had "
             "completed a step; it is now named %s",
             RESTART_MOST, s->path, aside);
    s->aside.failed++;
    return OK;
}

/* The newest that is not yet known to end whoever starts from it. */
static int next_step(struct search *s, const char *run_dir, int64_t *step)
{
    for (*step = -1; s->at < s->n; s->at++) {
        TRY(ckpt_path(s->path, run_dir, s->step[s->at]));
        if (!s->counts || restart_tries(run_dir, s->step[s->at]) < RESTART_MOST) {
            *step = s->step[s->at++];
            return OK;
        }
        TRY(set_failed_aside(s));
    }
    s->path[0] = '\0';
    return OK;
}

static int next_candidate(struct search *s, const char *run_dir)
{
    int64_t step;
    s->format = CKPT_FORMAT;
    TRY(next_step(s, run_dir, &step));
    if (step < 0)
        return OK;
    s->format = ckpt_format(s->path);
    /* Older files may be of this format, but they are not where the run stands. */
    if (s->format >= 0 && s->format != CKPT_FORMAT)
        return ERR(E_DATA, "%s: written in checkpoint format %lld; this carat reads format %d",
                   s->path, (long long)s->format, CKPT_FORMAT);
    return s->counts ? restart_begin(run_dir, step) : OK;
}

static int read_through(const struct comm *c, const char *path)
{
    struct vigil v;
    if (c->rank != 0)
        return agree(c, vigil_wait(c));
    vigil_begin(&v, c);
    int rc = fs_read_through(path, vigil_still, &v), told = vigil_end(&v);
    return agree(c, rc != OK ? rc : told);
}

/* A file is refused when it was read to its end and did not verify before or after: HDF5 can take a
 * fault of the disk, of the network or of memory for damage. */
static int verify_twice(const struct comm *c, const char *path)
{
    int rc = ckpt_verify(c, path, NULL);
    if (rc != E_DATA)
        return rc;
    TRY(read_through(c, path));
    return ckpt_verify(c, path, NULL);
}

/* Renamed so that neither this run nor a requeued one tries it again. */
static void pass_over(const struct search *s)
{
    char aside[FS_PATH_MAX + 16];
    snprintf(aside, sizeof aside, "%s.damaged", s->path);
    if (!s->ours || !fs_exists(s->path) || fs_rename(s->path, aside) != OK)
        aside[0] = '\0';
    log_warn("a checkpoint is passed over: %s%s%s", err_message(),
             aside[0] != '\0' ? "; it is now named " : "", aside);
}

static int nothing_whole(const char *run_dir, const struct search *s)
{
    size_t n_seen = s->n + s->aside.damaged;
    if (s->aside.failed > 0)
        return ERR(E_DATA,
                   "%s/checkpoints has no checkpoint left that is whole and lets a run go on; "
                   "rename a step-*.h5.failed back to step-*.h5 to try it again once the cause is "
                   "mended, or choose another run.dir",
                   run_dir);
    if (n_seen == 0)
        return OK;
    return ERR(E_DATA,
               "none of the %zu checkpoints in %s/checkpoints is whole; restore one, or remove "
               "them (also those named *.damaged) to begin anew",
               n_seen, run_dir);
}

static int search_newest(const struct comm *c, const char *run_dir, struct search *s, char *path)
{
    for (;;) {
        int rc = c->rank == 0 ? next_candidate(s, run_dir) : OK;
        TRY(agree_bcast(c, 0, rc, s->path, sizeof s->path));
        if (s->path[0] == '\0')
            return agree(c, c->rank == 0 ? nothing_whole(run_dir, s) : OK);
        rc = verify_twice(c, s->path);
        if (rc == OK)
            memcpy(path, s->path, FS_PATH_MAX);
        if (rc == OK && c->rank == 0 && s->ours)
            correct_latest(run_dir, s->step[s->at - 1]);
        if (rc != E_DATA) /* faults of the machinery say nothing about the file */
            return rc;
        if (c->rank == 0)
            pass_over(s);
        err_clear();
    }
}

static int find(const struct comm *c, const char *run_dir, bool ours, bool counts, char *path)
{
    struct search s = {.ours = ours, .counts = counts};
    path[0] = '\0';
    int rc = agree(c, c->rank == 0 ? ckpt_list(run_dir, &s.step, &s.n, &s.aside) : OK);
    if (rc == OK)
        rc = search_newest(c, run_dir, &s, path);
    mem_free(s.step);
    return rc;
}

int ckpt_newest(const struct comm *c, const char *run_dir, bool ours, char *path)
{
    return find(c, run_dir, ours, false, path);
}

int ckpt_restart(const struct comm *c, const char *run_dir, char *path)
{
    return find(c, run_dir, true, true, path);
}

/* ---- keeping and deleting ---- */

static int remove_step(const char *run_dir, int64_t step)
{
    char path[FS_PATH_MAX];
    TRY(ckpt_path(path, run_dir, step));
    if (fault_hit("ckpt.remove"))
        return ERR(E_IO, "%s: cannot remove (fault ckpt.remove)", path);
    return fs_remove(path);
}

/* Files of later steps than the newest belong to what this run left; they are not ours to judge. */
static int remove_old(const char *run_dir, int64_t newest, const struct ckpt_keep *keep)
{
    int64_t *step, held = 0, most = keep->newest < LEAST_KEPT ? LEAST_KEPT : keep->newest;
    size_t n;
    bool spared = false; /* the newest of those before keep->before */
    int rc = OK;
    TRY(ckpt_list(run_dir, &step, &n, NULL));
    for (size_t i = 0; i < n && rc == OK; i++) {
        if (step[i] > newest)
            continue;
        bool marked = keep->every > 0 && step[i] % keep->every == 0;
        bool spare = !spared && step[i] < keep->before;
        spared = spared || spare;
        if (held++ < most || marked || spare)
            continue;
        rc = keep->may_publish != NULL ? keep->may_publish(keep->may_publish_ctx) : OK;
        rc = rc != OK ? rc : remove_step(run_dir, step[i]);
    }
    mem_free(step);
    return rc;
}

static int retain_as_root(const char *run_dir, int64_t newest, const struct ckpt_keep *keep)
{
    char path[FS_PATH_MAX];
    TRY(ckpt_path(path, run_dir, newest));
    /* Nothing older may go before the newer one is there. */
    if (!fs_exists(path))
        return ERR(E_BUG, "%s: missing; no older checkpoint is removed", path);
    int rc = remove_old(run_dir, newest, keep); /* first: a full disk has room for no name */
    renew_latest(run_dir, newest, keep);
    return rc;
}

int ckpt_retain(const struct comm *c, const char *run_dir, int64_t newest,
                const struct ckpt_keep *keep)
{
    return agree(c, c->rank == 0 ? retain_as_root(run_dir, newest, keep) : OK);
}

static int leave_one(const char *run_dir, int64_t step)
{
    char path[FS_PATH_MAX], left[FS_PATH_MAX + 8];
    TRY(ckpt_path(path, run_dir, step));
    snprintf(left, sizeof left, "%s.left", path);
    log_info("left            %s: of the branch that ends here", left);
    return fs_rename(path, left);
}

static int leave_as_root(const char *run_dir, int64_t before)
{
    int64_t *step;
    size_t n;
    TRY(ckpt_list(run_dir, &step, &n, NULL));
    int rc = n > 0 ? OK : ERR(E_DATA, "%s/checkpoints has nothing to go back to", run_dir);
    for (size_t i = 0; i + 1 < n && step[i] >= before && rc == OK; i++)
        rc = leave_one(run_dir, step[i]);
    if (rc == OK && step[n - 1] >= before)
        log_warn("no checkpoint is left from before step %lld, where the trouble began: the run "
                 "goes back to its oldest, of step %lld, which has some of the trouble in it; "
                 "raise checkpoint.keep or set checkpoint.keep_every",
                 (long long)before, (long long)step[n - 1]);
    mem_free(step);
    return rc;
}

int ckpt_leave(const struct comm *c, const char *run_dir, int64_t before)
{
    return agree(c, c->rank == 0 ? leave_as_root(run_dir, before) : OK);
}

struct cleaning {
    const char *folder;
    int rc;
};

static void clean_one(void *ctx, const char *name)
{
    struct cleaning *k = ctx;
    char path[FS_PATH_MAX];
    const char *end = strstr(name, ".h5.tmp-");
    static const char *const begins[] = {"latest.tmp.", "restart.tmp.", "times.tmp."};
    bool ours = end != NULL && strncmp(name, "step-", 5) == 0;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        ours = ours || strncmp(name, begins[i], strlen(begins[i])) == 0;
    if (!ours || fs_join(path, k->folder, name) != OK)
        return;
    if (unlink(path) != 0 && errno != ENOENT)
        k->rc = ERR(E_IO, "%s: cannot remove: %s", path, strerror(errno));
}

int ckpt_clean_temporaries(const char *run_dir)
{
    char folder[FS_PATH_MAX];
    struct cleaning k = {.folder = folder, .rc = OK};
    TRY(folder_path(folder, run_dir));
    TRY(each_name(folder, clean_one, &k));
    return k.rc;
}
