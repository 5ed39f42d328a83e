#include "train/slice.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>

static const double MARGIN_MOST_S = 60, MARGIN_PART = 0.1;

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

static int refuse(const struct slice_times *t, double limit_s, const char *path)
{
    if (t->step_s > 0)
        return ERR(
            E_CONFIG,
            "train.time_limit %.3g s is too short to gain a step: the last start took %.3g s "
            "to its first step, %.3g s for that step and %.3g s a save, so at least %.3g s "
            "are needed (start-up + step + 2 saves); raise the limit, or remove %s if the "
            "job is faster now",
            limit_s, t->startup_s, t->step_s, t->save_s, slice_least_s(t), path);
    return ERR(E_CONFIG,
               "train.time_limit %.3g s is too short to gain a step: after %.3g s the last start "
               "was not through its first step and a save, and then it was time to end; raise the "
               "limit, or remove %s if the job is faster now",
               limit_s, t->startup_s, path);
}

int slice_check(const char *run_dir, double limit_s, int ranks)
{
    char path[FS_PATH_MAX];
    struct slice_times t;
    int ranks_then;
    TRY(times_path(path, run_dir));
    if (limit_s <= 0 || !read_times(path, &t, &ranks_then) || ranks_then != ranks)
        return OK;
    bool fits = t.step_s > 0 ? slice_least_s(&t) <= limit_s
                             : !slice_is_up(limit_s - t.startup_s, limit_s, t.save_s, 0);
    return fits ? OK : refuse(&t, limit_s, path);
}

void slice_note(const char *run_dir, const struct slice_times *t, int ranks)
{
    char path[FS_PATH_MAX], line[256];
    int n = snprintf(line, sizeof line, "ranks %d startup_s %.6f step_s %.6f save_s %.6f\n", ranks,
                     t->startup_s, t->step_s, t->save_s);
    if (times_path(path, run_dir) != OK || fs_write_file(path, line, (size_t)n) != OK)
        err_clear();
}
