/* Where a trial's run begins: in its own folder, perhaps at another run's checkpoint. */
#include "study/trial_parts.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/ckpt.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A milestone's checkpoint beside the run, under the tokens that the plan gives it. */
static int milestone_path(char *path, const struct study *s, int trial, double tokens)
{
    char name[64];
    snprintf(name, sizeof name, "at-%.0f.h5", tokens);
    TRY(trial_path(path, s, trial));
    return fs_join(path, path, name);
}

int trial_keep_milestone(const struct study *s, const struct trial *t, int milestone,
                         const char *run_dir, int64_t step)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX];
    TRY(ckpt_path(from, run_dir, step));
    TRY(milestone_path(to, s, t->number, t->plan.milestones[milestone]));
    return fs_share(from, to);
}

/* The earliest checkpoint of the run at or past so many tokens; "" when there is none. */
static int find_at(char *path, const char *run_dir, double tokens)
{
    int64_t *step;
    size_t n;
    char one[FS_PATH_MAX];
    path[0] = '\0';
    TRY(ckpt_list(run_dir, &step, &n, NULL));
    int rc = OK;
    for (size_t i = 0; i < n && rc == OK; i++) {
        struct ckpt_meta m = {0};
        rc = ckpt_path(one, run_dir, step[i]);
        if (rc == OK)
            rc = ckpt_read_meta(one, &m);
        bool before = rc == OK && m.sched_tokens < tokens;
        ckpt_meta_release(&m);
        if (rc != OK || before)
            break;
        memcpy(path, one, sizeof one);
    }
    mem_free(step);
    return rc;
}

static int find_parent(char *path, const struct study *s, const struct trial_plan *p)
{
    char run[FS_PATH_MAX];
    TRY(milestone_path(path, s, p->parent, p->parent_tokens));
    if (fs_exists(path))
        return OK;
    TRY(trial_path(run, s, p->parent));
    TRY(fs_join(run, run, "run"));
    TRY(find_at(path, run, p->parent_tokens));
    return *path != '\0' ? OK
                         : ERR(E_DATA,
                               "it starts from trial %d after %.0f tokens, and that checkpoint is "
                               "not there any more",
                               p->parent, p->parent_tokens);
}

static int find_origin(char *path, const char *origin)
{
    int64_t *step;
    size_t n;
    if (!fs_is_dir(origin))
        return fs_join(path, "", origin);
    TRY(ckpt_list(origin, &step, &n, NULL));
    int rc = n > 0 ? ckpt_path(path, origin, step[0])
                   : ERR(E_DATA, "it starts from %s, which holds no checkpoint", origin);
    mem_free(step);
    return rc;
}

static int lay_checkpoint(const char *from, const char *run_dir)
{
    struct ckpt_meta m = {0};
    char to[FS_PATH_MAX];
    int rc = ckpt_read_meta(from, &m);
    if (rc == OK)
        rc = ckpt_path(to, run_dir, m.step);
    if (rc == OK)
        rc = fs_share(from, to);
    if (rc == OK)
        log_info("weights         from %s, with the optimizer's state and the place in the data",
                 from);
    ckpt_meta_release(&m);
    return rc;
}

static bool has_begun(const char *run_dir)
{
    int64_t *step = NULL;
    size_t n = 0;
    struct ckpt_aside aside = {0};
    bool begun =
        ckpt_list(run_dir, &step, &n, &aside) == OK && n + aside.damaged + aside.failed > 0;
    mem_free(step);
    err_clear();
    return begun;
}

/* The claim on the trial is this worker's, so a lock in its run is that of one that lost it. */
static int make_folder(const char *run_dir)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, run_dir, "checkpoints"));
    TRY(fs_mkdirs(path));
    TRY(fs_join(path, run_dir, "lock"));
    unlink(path);
    TRY(fs_join(path, run_dir, "log.txt"));
    return log_open(path);
}

int trial_prepare(const struct study *s, const struct trial *t, const char *run_dir)
{
    const struct trial_plan *p = &t->plan;
    char from[FS_PATH_MAX];
    TRY(make_folder(run_dir));
    if ((p->parent < 0 && *p->origin == '\0') || has_begun(run_dir))
        return OK;
    TRY(p->parent >= 0 ? find_parent(from, s, p) : find_origin(from, p->origin));
    return lay_checkpoint(from, run_dir);
}
