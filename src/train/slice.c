#include "train/slice.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/slurm_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double MARGIN_MOST_S = 60, MARGIN_PART = 0.1;
static const double PATIENCE_S = 10, PATIENCE_AGAIN_S = 2; /* the second while all ranks wait */
static const double LEAST_MORE_S = 2;                      /* ends come in whole seconds */
/* One start of a job is quicker than another, and what was too short once should not be tried
 * again for that. */
static const double SLACK_LEAST_S = 2, SLACK_PART = 0.1;

struct slice slice_of(double begun_s, double asked_s)
{
    return (struct slice){.begun_s = begun_s, .asked_s = asked_s, .limit_s = asked_s};
}

/* False for what is past, or no time at all: that is of no job that this process is in. */
static bool end_with_job(struct slice *s, double end_s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double left_s = end_s - (double)now.tv_sec - 1e-9 * (double)now.tv_nsec;
    double limit_s = left_s + clock_now_s() - s->begun_s;
    if (!isfinite(end_s) || left_s <= 0)
        return false;
    s->of_job = s->asked_s <= 0 || s->asked_s > limit_s;
    s->limit_s = s->of_job ? limit_s : s->asked_s;
    return true;
}

struct slice slice_of_job(double begun_s, double asked_s)
{
    struct slice s = slice_of(begun_s, asked_s);
    const char *told = getenv("SLURM_JOB_END_TIME");
    double end_s = slurm_job_end_s(PATIENCE_S);
    if (end_s == 0 && told != NULL)
        end_s = strtod(told, NULL);
    end_with_job(&s, end_s);
    return s;
}

bool slice_is_longer(struct slice *s)
{
    struct slice longer = slice_of(s->begun_s, s->asked_s);
    if (!s->of_job ||
        !end_with_job(&longer, fmin(slurm_job_end_s(PATIENCE_AGAIN_S), (double)time(NULL) + 1e9)) ||
        longer.limit_s < s->limit_s + LEAST_MORE_S)
        return false;
    log_info("time limit      Slurm gives the job more time: %.0f s for this run",
             longer.limit_s - s->limit_s);
    *s = longer;
    return true;
}

double slice_since_s(const struct slice *s, double init_s)
{
    return s->of_job ? s->begun_s : init_s;
}

double slice_least_s(const struct slice_times *t)
{
    return t->startup_s + t->step_s + 2 * t->save_s;
}

bool slice_is_up(double left_s, double limit_s, double save_s, double next_s)
{
    double margin_s = fmin(MARGIN_MOST_S, MARGIN_PART * limit_s);
    return limit_s > 0 && left_s < 2 * save_s + next_s + margin_s;
}

static int times_path(char *path, const char *run_dir)
{
    return fs_join(path, run_dir, "checkpoints/times");
}

static bool read_times(const char *path, struct slice_times *t, int *ranks)
{
    char *text = NULL;
    size_t n;
    if (!fs_exists(path))
        return false;
    if (fs_read_file(path, 1024, &text, &n) != OK) {
        err_clear();
        return false;
    }
    bool whole = sscanf(text, "ranks %d startup_s %lf step_s %lf save_s %lf", ranks, &t->startup_s,
                        &t->step_s, &t->save_s) == 4;
    mem_free(text);
    return whole;
}

double slice_save_s(const char *run_dir)
{
    char path[FS_PATH_MAX];
    struct slice_times t;
    int ranks;
    if (times_path(path, run_dir) == OK && read_times(path, &t, &ranks))
        return t.save_s;
    return 0;
}

static int refuse(const struct slice_times *t, const struct slice *s, const char *path)
{
    const char *what = s->of_job ? "the time left to this Slurm job," : "train.time_limit";
    const char *comma = s->of_job ? "," : "";
    const char *remedy = s->of_job ? "submit it with more --time" : "raise the limit";
    if (t->step_s > 0)
        return ERR(E_CONFIG,
                   "%s %.3g s%s is too short to gain a step: the last start took %.3g s "
                   "to its first step, %.3g s for that step and %.3g s a save, so at least %.3g s "
                   "are needed (start-up + step + 2 saves); %s, or remove %s if the "
                   "job is faster now",
                   what, s->limit_s, comma, t->startup_s, t->step_s, t->save_s, slice_least_s(t),
                   remedy, path);
    return ERR(E_CONFIG,
               "%s %.3g s%s is too short to gain a step: after %.3g s the last start "
               "was not through its first step and a save, and then it was time to end; %s, or "
               "remove %s if the job is faster now",
               what, s->limit_s, comma, t->startup_s, remedy, path);
}

int slice_check(const char *run_dir, const struct slice *s, int ranks)
{
    char path[FS_PATH_MAX];
    struct slice_times t;
    int ranks_then;
    TRY(times_path(path, run_dir));
    if (s->limit_s <= 0 || !read_times(path, &t, &ranks_then) || ranks_then != ranks)
        return OK;
    double slack_s = s->of_job ? fmax(SLACK_LEAST_S, SLACK_PART * t.startup_s) : 0;
    double left_s = s->limit_s - t.startup_s - slack_s;
    bool fits = t.step_s > 0 ? slice_least_s(&t) <= s->limit_s
                             : !slice_is_up(left_s, s->limit_s, t.save_s, 0);
    return fits ? OK : refuse(&t, s, path);
}

void slice_note(const char *run_dir, const struct slice_times *t, int ranks)
{
    char path[FS_PATH_MAX], line[256];
    int n = snprintf(line, sizeof line, "ranks %d startup_s %.6f step_s %.6f save_s %.6f\n", ranks,
                     t->startup_s, t->step_s, t->save_s);
    if (times_path(path, run_dir) != OK || fs_write_file(path, line, (size_t)n) != OK)
        err_clear();
}
