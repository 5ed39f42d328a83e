/* Looking through a folder of earlier work. */
#include "study/past.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "optim/lrscale.h"
#include "train/metrics.h"
#include "train/scaling.h"
#include "train/shape.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_DEPTH = 6 };

struct look {
    struct past *past;
    const struct config *job;
    struct config defaults;
    const char *without;
    struct past_sample *sample;
    int n, room;
};

static struct past_sample *add_sample(struct look *l)
{
    struct past_sample *more;
    if (l->n == l->room) {
        int room = l->room > 0 ? 2 * l->room : 64;
        if (mem_alloc(&more, (size_t)room, sizeof *more, "trials of the past") != OK)
            return NULL;
        if (l->n > 0)
            memcpy(more, l->sample, (size_t)l->n * sizeof *more);
        mem_free(l->sample);
        l->sample = more;
        l->room = room;
    }
    return &l->sample[l->n++];
}

/* Why a configuration's rate is no example for the job's; NULL: it is one. */
static const char *unlike(const struct config *c, const struct config *job)
{
    static char why[160];
    if (strcmp(c->optimizer.name, job->optimizer.name) != 0) {
        snprintf(why, sizeof why, "its optimizer is %.32s", c->optimizer.name);
        return why;
    }
    if ((c->rates.mup_base > 0) != (job->rates.mup_base > 0))
        return c->rates.mup_base > 0 ? "its rates are muP's" : "its rates are not muP's";
    if (*c->model.init != '\0')
        return "it began from other weights";
    if (*c->batch.ramp != '\0')
        return "its batch changed on the way";
    return NULL;
}

/* Puts what scaling.rule makes of the settings in their place: the same run, said without it. */
static int settle_scaling(struct config *c)
{
    struct scaling g;
    TRY(derive_scaling(&g, c));
    if (g.rule->per_step)
        return OK;
    struct optim_settings s = derive_settings(&g, c->batch.global);
    c->optimizer.lr = s.lr;
    c->optimizer.beta1 = s.beta1;
    c->optimizer.beta2 = s.beta2;
    c->optimizer.eps = s.eps;
    c->optimizer.weight_decay = s.weight_decay;
    snprintf(c->scaling.rule, sizeof c->scaling.rule, "none");
    c->scaling.base_batch = -1;
    c->scaling.noise_scale = 0;
    return OK;
}

/* What makes runs comparable but for their rate: all settings that decide the weights, without the
 * rate and the seed. */
static int name_group(char group[65], const struct config *c, const struct config *defaults)
{
    static const char *const aside[] = {"optimizer.lr", "run.seed", "run.dir"};
    struct config left = *c;
    char *text;
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        bool skip = k->effect == EFFECT_SAFE;
        for (size_t j = 0; j < sizeof aside / sizeof aside[0]; j++)
            skip |= strcmp(k->name, aside[j]) == 0;
        if (skip)
            memcpy((char *)&left + k->offset, (const char *)defaults + k->offset, k->size);
    }
    TRY(conf_text(&left, NULL, &text));
    sha256_of(group, text, strlen(text));
    mem_free(text);
    return OK;
}

int past_params(double *params, const struct config *job)
{
    struct model_spec s;
    TRY(job->model.vocab >= 0 ? shape_of_job(&s, job) : shape_with_data(&s, job));
    *params = spec_n_params(&s);
    return OK;
}

/* Adds a run with this configuration. E_CONFIG where it makes no sense. */
static int add_run(struct look *l, struct config *c, struct past_sample run)
{
    TRY(settle_scaling(c));
    TRY(name_group(run.group, c, &l->defaults));
    TRY(past_params(&run.at[PRIOR_PARAMS], c));
    run.at[PRIOR_BATCH] = (double)c->batch.global * (double)c->batch.seq_len;
    run.lr = c->optimizer.lr;
    struct past_sample *s = add_sample(l);
    if (s == NULL)
        return E_MEM;
    *s = run;
    return OK;
}

/* ---- studies ---- */

/* A trial that began by itself and whose end says something about its rate. */
static bool tells(const struct trial *t)
{
    return t->plan.parent < 0 && *t->plan.origin == '\0' && t->state >= TRIAL_DONE &&
           t->state != TRIAL_FAILED;
}

static double score_of(const struct trial *t)
{
    if (t->state != TRIAL_DONE || !isfinite(t->value))
        return INFINITY;
    if (t->plan.target <= 0)
        return t->value;
    return t->value <= t->plan.target ? t->tokens : INFINITY;
}

static int add_trial(struct look *l, const struct config *job, const struct trial *t,
                     const char *from)
{
    struct config c = *job;
    struct past_sample s = {
        .at = {[PRIOR_TOKENS] = t->tokens}, .score = score_of(t), .target = t->plan.target};
    for (int i = 0; i < t->plan.n_set; i++) {
        const struct conf_key *k = conf_find(t->plan.set[i].key);
        if (k == NULL)
            return ERR(E_CONFIG, "trial %d sets %s, which is no key", t->number,
                       t->plan.set[i].key);
        TRY(conf_set_text(k, &c, t->plan.set[i].value));
    }
    snprintf(s.from, sizeof s.from, "%.200s, batch %" PRId64, from, c.batch.global);
    return add_run(l, &c, s);
}

static int add_trials(struct look *l, struct study *s, const char *from)
{
    struct config job;
    struct conf_origins origins;
    struct history h = {0};
    TRY(conf_load_text(&job, &origins, s->job, from));
    const char *why = unlike(&job, l->job);
    if (why != NULL)
        return past_add_skip(l->past, from, why);
    TRY(study_history(s, &h));
    int rc = OK;
    for (int i = 0; i < h.n && rc == OK; i++)
        if (tells(&h.trial[i]))
            rc = add_trial(l, &job, &h.trial[i], from);
    return rc;
}

static int add_study(struct look *l, const char *path, const char *from)
{
    struct study s;
    TRY(study_read(&s, path));
    int rc = add_trials(l, &s, from);
    study_close(&s);
    return rc;
}

/* ---- runs ---- */

static int add_single(struct look *l, const char *path, const char *from)
{
    struct config c;
    struct conf_origins origins;
    char job[FS_PATH_MAX];
    double *rows = NULL;
    int64_t n, n_bad;
    TRY(fs_join(job, path, "job.yaml"));
    TRY(conf_load(&c, &origins, job, NULL, 0));
    const char *why = unlike(&c, l->job);
    if (why != NULL)
        return past_add_skip(l->past, from, why);
    TRY(metrics_read(path, &rows, &n, &n_bad));
    double loss = n > 0 ? rows[(n - 1) * M_N + M_VALID_LOSS] : NAN;
    struct past_sample s = {.score = isfinite(loss) ? loss : INFINITY};
    s.at[PRIOR_TOKENS] = n > 0 ? rows[(n - 1) * M_N + M_SAMPLES] * (double)c.batch.seq_len : 0;
    mem_free(rows);
    if (!isfinite(loss))
        return past_add_skip(l->past, from, "it has no loss of validation at its end");
    snprintf(s.from, sizeof s.from, "%.200s and other runs, batch %" PRId64, from, c.batch.global);
    return add_run(l, &c, s);
}

/* ---- folders ---- */

static bool is_run(const char *path)
{
    char job[FS_PATH_MAX], metrics[FS_PATH_MAX];
    return fs_join(job, path, "job.yaml") == OK && fs_exists(job) &&
           fs_join(metrics, path, "metrics") == OK && fs_is_dir(metrics);
}

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return b != NULL && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static int look_at(struct look *l, const char *path, int depth);

static int wanted(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* Symbolic links are not followed: what they point to is found where it is, once. */
static int look_into(struct look *l, const char *path, int depth)
{
    struct dirent **entry;
    int rc = OK, n = scandir(path, &entry, wanted, alphasort);
    for (int i = 0; i < n; i++) {
        char at[FS_PATH_MAX];
        struct stat st;
        if (rc == OK && fs_join(at, path, entry[i]->d_name) == OK && lstat(at, &st) == 0 &&
            S_ISDIR(st.st_mode))
            rc = look_at(l, at, depth + 1);
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    return rc;
}

/* Only what is short of memory ends the search; other faults leave a folder out. */
static int look_at(struct look *l, const char *path, int depth)
{
    const char *from = path + strlen(l->past->folder);
    bool study = study_is_folder(path);
    from += *from == '/';
    if (same_folder(path, l->without))
        return OK;
    if (!study && !is_run(path))
        return depth < MOST_DEPTH ? look_into(l, path, depth) : OK;
    int before = l->n;
    int rc = study ? add_study(l, path, *from != '\0' ? from : ".") : add_single(l, path, from);
    if (rc == OK || rc == E_MEM)
        return rc;
    l->n = before;
    rc = past_add_skip(l->past, from, err_message());
    err_clear();
    return rc;
}

int past_gather(struct past *p, const struct config *job, const char *without)
{
    struct look l = {.past = p, .job = job, .without = without};
    struct conf_origins origins;
    memset(p, 0, sizeof *p);
    if (*job->study.past == '\0')
        return ERR(E_CONFIG, "study.past is not set: name the folder in which earlier runs and "
                             "studies lie, such as study.past=runs");
    if (!fs_is_dir(job->study.past))
        return ERR(E_CONFIG, "study.past: %s is no folder", job->study.past);
    snprintf(p->folder, sizeof p->folder, "%s", job->study.past);
    TRY(conf_load(&l.defaults, &origins, NULL, NULL, 0));
    int rc = look_at(&l, p->folder, 0);
    if (rc == OK)
        rc = past_judge(p, l.sample, l.n);
    mem_free(l.sample);
    return rc;
}
