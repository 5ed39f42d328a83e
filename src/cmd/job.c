#include "cmd/job.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/store.h"
#include "study/study.h"
#include "train/shape.h"

#include <string.h>

enum { MAX_OVERRIDES = 256 };

bool job_print_config;

struct arguments {
    const char *job;                /* as the user named it */
    char file[FS_PATH_MAX];         /* the YAML file */
    bool is_study;                  /* it is a study's folder, which holds its job */
    char run_dir[FS_PATH_MAX + 16]; /* "run.dir=<folder>" when the job is a run folder */
    char *overrides[MAX_OVERRIDES + 1];
    int n;
};

static int take_arguments(struct arguments *a, int argc, char **argv)
{
    a->job = NULL;
    a->is_study = false;
    a->n = 0;
    for (int i = 1; i < argc; i++) {
        if (strchr(argv[i], '=') != NULL && !fs_exists(argv[i])) {
            if (a->n == MAX_OVERRIDES)
                return ERR(E_USAGE, "more than %d settings", MAX_OVERRIDES);
            a->overrides[a->n++] = argv[i];
        } else if (a->job == NULL) {
            a->job = argv[i];
        } else {
            return ERR(E_USAGE,
                       "\"%s\": one job is enough (\"%s\"); settings are written key=value",
                       argv[i], a->job);
        }
    }
    if (a->job == NULL)
        return ERR(E_USAGE,
                   "which job? carat %s JOB: a job file such as jobs/quickstart.yaml, or a "
                   "run's or study's folder",
                   argv[0]);
    return OK;
}

/* A folder that was moved is still its own run or study, whatever its job says. */
static int resolve_folder(struct arguments *a)
{
    if (!fs_is_dir(a->job))
        return fs_join(a->file, "", a->job);
    a->is_study = study_is_folder(a->job);
    TRY(fs_join(a->file, a->job, a->is_study ? "study.json" : "job.yaml"));
    if (!fs_exists(a->file))
        return ERR(E_DATA, "%s: the folder holds no job.yaml, so it is no run folder", a->job);
    memmove(a->overrides + 1, a->overrides, (size_t)a->n * sizeof a->overrides[0]);
    snprintf(a->run_dir, sizeof a->run_dir, "%s=%s", a->is_study ? "study.dir" : "run.dir", a->job);
    a->overrides[0] = a->run_dir;
    a->n++;
    return OK;
}

static int load_config(struct job *j, struct arguments *a)
{
    struct study s;
    if (!a->is_study)
        return conf_load(&j->conf, &j->origins, a->file, a->overrides, a->n);
    TRY(study_read(&s, a->job));
    int rc = conf_load_text(&j->conf, &j->origins, s.job, a->file);
    if (rc == OK)
        rc = conf_override(&j->conf, &j->origins, a->overrides, a->n);
    study_close(&s);
    return rc;
}

static void take_name(struct job *j, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t end = n;
    for (size_t i = start + 1; i < n; i++)
        if (path[i] == '.')
            end = i;
    snprintf(j->name, sizeof j->name, "%.*s", (int)(end - start), path + start);
}

static int print_config(const struct job *j)
{
    char *text;
    TRY(conf_text(&j->conf, &j->origins, &text));
    size_t n = strlen(text);
    log_info("%.*s", n > 0 ? (int)n - 1 : 0, text);
    mem_free(text);
    return OK;
}

static const char *origin_of(const struct job *j, const char *key)
{
    return j->origins.text[conf_find(key) - CONF_KEYS];
}

static int load_spec(struct job *j)
{
    const struct config *c = &j->conf;
    const char *key = *c->model.init != '\0'   ? "model.init"
                      : *c->model.path != '\0' ? "model.path"
                                               : "model.preset";
    int rc = shape_of_job(&j->spec, c);
    return rc == OK ? OK : err_context(rc, "%s (%s)", key, origin_of(j, key));
}

/* Counts of the training data, and its vocabulary where none is set. */
static int load_data(struct job *j)
{
    struct store s;
    const struct config *c = &j->conf;
    int rc = store_open(&s, c->data.train, SPLIT_TRAIN);
    if (rc != OK && j->without_data && !fs_exists(c->data.train)) {
        err_clear();
        return OK;
    }
    if (rc != OK)
        return err_context(rc, "data.train (%s)", origin_of(j, "data.train"));
    j->has_data = true;
    j->n_tokens = s.n_tokens;
    j->n_samples = s.n_tokens > 0 ? (s.n_tokens - 1) / (uint64_t)c->batch.seq_len : 0;
    int checked = shape_take_vocab(&j->spec, c, &s);
    store_close(&s);
    return checked;
}

/* Where the key that a message names first was set; a file may lack it. */
static const char *place_of(const struct job *j, const char *message)
{
    const char *first = NULL, *origin = j->file;
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const char *at = strstr(message, CONF_KEYS[i].name);
        if (at == NULL || (first != NULL && at >= first))
            continue;
        first = at;
        origin = origin_of(j, CONF_KEYS[i].name);
    }
    return strcmp(origin, "default") != 0 ? origin : j->file;
}

/* What is asked of a run alone. */
static void supply_run(struct config *c)
{
    if (*c->data.train == '\0')
        snprintf(c->data.train, sizeof c->data.train, "synthetic tokens");
    if (c->train.length.unit == UNIT_NONE)
        c->train.length = (struct amount){1, UNIT_STEPS};
}

int job_load(struct job *j, int argc, char **argv)
{
    struct arguments a;
    TRY(take_arguments(&a, argc, argv));
    TRY(resolve_folder(&a));
    take_name(j, a.job);
    memcpy(j->file, a.file, sizeof j->file);
    j->from_study = a.is_study;
    TRY(load_config(j, &a));
    if (job_print_config) {
        j->print_only = true;
        return print_config(j);
    }
    if (j->without_run)
        supply_run(&j->conf);
    int rc = conf_check(&j->conf);
    if (rc != OK)
        return err_context(rc, "%s", place_of(j, err_message()));
    TRY(load_spec(j));
    return load_data(j);
}
