#include "report/run.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "conf/config_file.h"
#include "io/json.h"
#include "model/tensors.h"
#include "report/marks.h"
#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- columns ---- */

int metric_find(const char *name)
{
    for (int k = 0; k < M_N; k++)
        if (strcmp(METRIC_COLUMNS[k].name, name) == 0)
            return k;
    return -1;
}

void report_column(const struct report_run *r, int column, double *v)
{
    for (int64_t i = 0; i < r->n; i++)
        v[i] = column >= 0 ? r->rows[i * M_N + column] : NAN;
}

bool report_has(const struct report_run *r, int column)
{
    for (int64_t i = 0; column >= 0 && i < r->n; i++)
        if (isfinite(r->rows[i * M_N + column]))
            return true;
    return false;
}

/* ---- parts of a run ---- */

/* Rows that were written meanwhile, by a run that goes on, are left for the next report. */
static int add_layers(struct report_run *r)
{
    int64_t n = 0;
    TRY(metrics_read_layers(r->path, &r->layers, &n, &r->n_groups));
    if (n < r->n) {
        MEM_FREE(r->layers);
        r->n_groups = 0;
    }
    return OK;
}

static int add_times(struct report_run *r)
{
    double all = 0;
    TRY(mem_alloc(&r->time_s, (size_t)r->n, sizeof *r->time_s, "times of a run"));
    for (int64_t i = 0; i < r->n; i++) {
        double s = r->rows[i * M_N + M_STEP_S];
        all += isfinite(s) ? s : 0;
        r->time_s[i] = all;
    }
    return OK;
}

static void add_model(struct report_run *r)
{
    struct model_spec s;
    struct tensor_table t;
    if (r->meta.spec_json == NULL || spec_from_json(&s, r->meta.spec_json, r->path) != OK) {
        err_clear();
        return;
    }
    snprintf(r->model, sizeof r->model,
             "Gemma %d: %d layers, width %d, %d query and %d key/value heads of %d, "
             "feed-forward %d, vocabulary %d",
             s.family, s.L, s.D, s.H, s.K, s.Hd, s.F, s.V);
    if (tensors_init(&t, &s) == OK) {
        r->n_params = t.n_params;
        tensors_release(&t);
    }
}

/* A run without checkpoints, or with damaged ones, still has its metrics. */
static void add_checkpoint(struct report_run *r)
{
    int64_t *step = NULL;
    size_t n = 0;
    char path[FS_PATH_MAX];
    if (ckpt_list(r->path, &step, &n, NULL) == OK)
        for (size_t i = 0; i < n && !r->has_meta; i++)
            r->has_meta =
                ckpt_path(path, r->path, step[i]) == OK && ckpt_read_meta(path, &r->meta) == OK;
    err_clear();
    mem_free(step);
    if (r->has_meta)
        add_model(r);
}

static void add_config(struct report_run *r)
{
    struct conf_origins origins;
    char path[FS_PATH_MAX];
    if (fs_join(path, r->path, "job.yaml") == OK && fs_exists(path))
        r->has_conf = conf_load(&r->conf, &origins, path, NULL, 0) == OK;
    else if (r->has_meta && r->meta.config_text != NULL)
        r->has_conf = conf_load_text(&r->conf, &origins, r->meta.config_text, r->path) == OK;
    if (err_code() != OK)
        log_warn("%s: its settings are left out: %s", r->path, err_message());
    err_clear();
}

static void add_failure(struct report_run *r)
{
    char path[FS_PATH_MAX];
    const char *message = "", *host = "";
    int64_t rank = 0;
    json_t *o;
    if (fs_join(path, r->path, "FAILED") != OK || !fs_exists(path))
        return;
    snprintf(r->failed, sizeof r->failed, "it ended with an error");
    if (json_read_file(path, &o) == OK) {
        if (json_str(o, "message", "", &message) == OK && json_str(o, "host", "", &host) == OK &&
            json_i64(o, "rank", 0, &rank) == OK)
            snprintf(r->failed, sizeof r->failed, "rank %d on %.60s: %.220s", (int)rank, host,
                     message);
        json_decref(o);
    }
    err_clear();
}

static void add_standing(struct report_run *r)
{
    char who[64];
    bool gone;
    if (run_holder(r->path, who, sizeof who, &gone))
        snprintf(r->standing, sizeof r->standing, "%s %s",
                 gone ? "killed:" : "running, says its lock:", who);
}

/* The last part of a path, without slashes behind it; of "." and ".." that of the folder they are.
 */
static void last_part(char name[RUN_NAME], const char *path)
{
    char real[FS_PATH_MAX];
    size_t dots = strspn(path, "./");
    if (path[0] == '.' && path[dots] == '\0' && realpath(path, real) != NULL)
        path = real;
    const char *end = path + strlen(path);
    while (end > path + 1 && end[-1] == '/')
        end--;
    const char *begin = end;
    while (begin > path && begin[-1] != '/')
        begin--;
    char part[FS_PATH_MAX];
    snprintf(part, sizeof part, "%.*s", (int)(end - begin), begin);
    plain_copy(name, RUN_NAME, part);
}

static int check_folder(const char *path)
{
    char metrics[FS_PATH_MAX];
    if (!fs_exists(path))
        return ERR(E_DATA, "%s: no such run folder", path);
    TRY(fs_join(metrics, path, "metrics"));
    if (!fs_is_dir(path) || !fs_is_dir(metrics))
        return ERR(E_DATA,
                   "%s: no run folder (it has no metrics/); name the folder that "
                   "`carat train` wrote, its run.dir",
                   path);
    return OK;
}

static int load(struct report_run *r)
{
    TRY(check_folder(r->path));
    TRY(metrics_read(r->path, &r->rows, &r->n, &r->n_bad));
    if (r->n == 0)
        return ERR(E_DATA, "%s: no step has been completed yet%s", r->path,
                   r->n_bad > 0 ? ", or all rows are damaged" : "; try again after the first");
    TRY(metrics_read_ranks(r->path, &r->ranks));
    TRY(add_layers(r));
    TRY(add_times(r));
    add_checkpoint(r);
    add_config(r);
    add_failure(r);
    add_standing(r);
    last_part(r->name, r->path);
    return report_marks(r);
}

int report_run_load(struct report_run *r, const char *path)
{
    *r = (struct report_run){.path = path};
    int rc = load(r);
    if (rc != OK)
        report_run_release(r);
    return rc;
}

void report_run_release(struct report_run *r)
{
    mem_free(r->rows);
    mem_free(r->time_s);
    mem_free(r->ranks.mean);
    mem_free(r->layers);
    mem_free(r->mark);
    ckpt_meta_release(&r->meta);
    *r = (struct report_run){0};
}

void report_run_names(struct report_run *runs, int n)
{
    char name[RUN_NAME], other[RUN_NAME];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            last_part(name, runs[i].path);
            last_part(other, runs[k].path);
            size_t len = strlen(runs[i].path), most = RUN_NAME - 1;
            if (k != i && strcmp(name, other) == 0)
                plain_copy(runs[i].name, RUN_NAME, runs[i].path + (len > most ? len - most : 0));
        }
}
