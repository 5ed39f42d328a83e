#include "train/resume.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "par/agree.h"
#include "par/zero.h"
#include "train/conditions.h"
#include "train/effect.h"
#include "version.h"
#include <stdio.h>
#include <string.h>

static void copy_text(char *to, size_t n, const char *from)
{
    snprintf(to, n, "%s", from);
}

static void add_arrays(struct trainer *t, struct ckpt_array *a, int *n)
{
    a[(*n)++] =
        (struct ckpt_array){.kind = "params", .data = t->params, .slab = true, .shard = &t->whole};
    optimizer_arrays(t, a, n);
}

int resume_describe(struct trainer *t, struct ckpt_set *set)
{
    struct ckpt_meta *m = &set->meta;
    memset(set, 0, sizeof *set);
    m->step = t->at.step;
    m->samples = t->at.samples;
    m->tokens = t->at.targets;
    m->sched_tokens = (double)t->at.sched_samples * (double)t->conf->batch.seq_len;
    m->attempt = t->at.attempt;
    m->train_s = t->at.train_s;
    m->skipped = t->at.skipped;
    m->ranks = t->comm->size;
    m->micro = t->conf->batch.micro;
    m->threads = t->conf->parallel.threads;
    copy_text(m->run_id, sizeof m->run_id, t->run_id);
    copy_text(m->parent_id, sizeof m->parent_id, t->parent_id);
    copy_text(m->tokenizer_hash, sizeof m->tokenizer_hash, t->train_store.tokenizer_hash);
    copy_text(m->data_hash, sizeof m->data_hash, t->train_store.data_hash);
    copy_text(m->build, sizeof m->build, CARAT_VERSION);
    struct conditions here;
    conditions_here(&here);
    copy_text(m->cpu, sizeof m->cpu, here.cpu);
    copy_text(m->blas, sizeof m->blas, here.products);
    clock_stamp(m->created, sizeof m->created);
    set->tensors = t->tensors;
    add_arrays(t, set->array, &set->n_arrays);
    int rc = conf_text(t->conf, NULL, &m->config_text);
    if (rc == OK)
        rc = state_text(&t->state_rows, &m->state);
    if (rc == OK)
        rc = spec_to_json(&t->spec, &m->spec_json);
    if (rc == OK)
        rc = store_tokenizer(t->train_store.path, &m->tokenizer, &m->n_tokenizer);
    if (rc != OK)
        ckpt_meta_release(m);
    return rc;
}

struct changes {
    const struct config *conf;
    int n[3];
    struct str impossible;
};

static void note_change(void *ctx, const struct conf_key *k, const char *before, const char *now)
{
    static const char *const says[] = {[EFFECT_SAFE] = "safe: the weights stay on their path",
                                       [EFFECT_TRAJECTORY] = "the run takes another path from here",
                                       [EFFECT_IMPOSSIBLE] = "impossible"};
    struct changes *c = ctx;
    enum conf_effect effect = effect_of(k, c->conf);
    c->n[effect]++;
    log_info("changed         %s: %s -> %s (%s)", k->name, before, now, says[effect]);
    if (effect == EFFECT_IMPOSSIBLE)
        str_addf(&c->impossible, "%s%s: %s -> %s", c->impossible.len ? "; " : "", k->name, before,
                 now);
}

/* Keys that say where things lie, not what they are: compared by content below. */
static int compare_settings(const struct trainer *t, const struct ckpt_meta *m, const char *path)
{
    struct config before;
    struct conf_origins origins;
    struct changes c = {.conf = t->conf};
    TRY(conf_load_text(&before, &origins, m->config_text, path));
    conf_diff(&before, t->conf, note_change, &c);
    int rc = OK;
    if (c.n[EFFECT_IMPOSSIBLE])
        rc = ERR(E_CONFIG,
                 "%s cannot go on with other settings (%s); restore them or choose "
                 "another run.dir",
                 path, c.impossible.s);
    str_release(&c.impossible);
    TRY(rc);
    if (strcmp(m->data_hash, t->train_store.data_hash) != 0)
        return ERR(E_CONFIG,
                   "%s was trained on other tokens than %s holds; restore data.train or "
                   "choose another run.dir",
                   path, t->train_store.path);
    return OK;
}

static void compare_conditions(const struct trainer *t, const struct ckpt_meta *m)
{
    struct conditions here;
    conditions_here(&here);
    const struct {
        const char *what, *before, *now;
    } row[] = {{"CPU", m->cpu, here.cpu}, {"library of products", m->blas, here.products}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (strcmp(row[i].before, row[i].now) != 0)
            log_warn("the %s was %s and is %s: from here the bits may differ from an "
                     "uninterrupted run's",
                     row[i].what, row[i].before, row[i].now);
    bool exact = strcmp(t->conf->parallel.reduce, "exact") == 0;
    if (m->ranks != t->comm->size)
        log_info("changed         ranks: %lld -> %d (%s)", (long long)m->ranks, t->comm->size,
                 exact ? "safe: the weights stay on their path"
                       : "parallel.reduce fast: sums are rounded in another order from here");
}

static void take_meta(struct trainer *t, const struct ckpt_meta *m)
{
    t->at = (struct progress){.step = m->step,
                              .samples = m->samples,
                              .sched_samples =
                                  (int64_t)(m->sched_tokens / (double)t->conf->batch.seq_len),
                              .targets = m->tokens,
                              .train_s = m->train_s,
                              .skipped = m->skipped,
                              .attempt = m->attempt + 1};
    t->saved_step = m->step;
    copy_text(t->run_id, sizeof t->run_id, m->run_id);
    copy_text(t->parent_id, sizeof t->parent_id, m->parent_id);
}

/* Where other batches led here, length and schedule are others than from the start. */
static int count_from_here(struct trainer *t)
{
    bool as_planned = course_at(&t->course, t->at.step).samples == t->at.sched_samples;
    return as_planned ? OK : trainer_derive(t);
}

/* Of files that do not count updates: one a step. */
static void assume_updates(struct trainer *t, int64_t step)
{
    int64_t batch = ramp_batch(&t->course.ramp, trainer_at(t));
    const struct optim_settings set = derive_settings(&t->scaling, batch);
    optim_assume(&t->optim, step, set.beta1, set.beta2);
}

static int check_meta(struct trainer *t, const char *path)
{
    struct ckpt_meta m = {0};
    int rc;
    TRY(ckpt_read_meta(path, &m));
    TRY_OUT(compare_settings(t, &m, path));
    compare_conditions(t, &m);
    take_meta(t, &m);
    TRY_OUT(count_from_here(t));
    assume_updates(t, m.step);
    TRY_OUT(state_take(&t->state_rows, m.state, path));
    t->n_steps = derive_end(&t->course, &t->scaling, trainer_at(t), &t->gain);
out:
    ckpt_meta_release(&m);
    return rc;
}

static void clear_array(const struct ckpt_array *a)
{
    size_t n = shard_count(a->shard, a->shard->rank);
    if (n > 0)
        memset(a->data, 0, n * sizeof *a->data);
}

/* A run without momentum may go on with it, from zero; then the last array is not in the file. */
static int leave_out_momentum(const struct trainer *t, const char *path,
                              const struct ckpt_array *array, int *n)
{
    const struct ckpt_array *last = &array[*n - 1];
    bool has;
    if (!t->rule->last_is_momentum || t->optim.n_slots < t->rule->n_slots)
        return OK;
    TRY(ckpt_has_kind(t->comm, path, last->kind, &has));
    if (has)
        return OK;
    log_info("changed         optimizer.momentum: %s begins at zero", last->kind);
    clear_array(last);
    --*n;
    return OK;
}

static int load(struct trainer *t, const char *path)
{
    struct ckpt_array array[CKPT_MAX_ARRAYS];
    int n = 0;
    TRY(agree(t->comm, check_meta(t, path)));
    add_arrays(t, array, &n);
    TRY(leave_out_momentum(t, path, array, &n));
    TRY(ckpt_read(t->comm, path, t->tensors, array, n));
    return zero_allgather(&t->holders, &t->whole, t->params);
}

int resume_before(struct trainer *t, int64_t step)
{
    char path[FS_PATH_MAX];
    TRY(trainer_may_write(t));
    TRY(ckpt_leave(t->comm, t->conf->run.dir, step));
    TRY(ckpt_newest(t->comm, t->conf->run.dir, true, path));
    return load(t, path);
}

/* The last file by its name, without touching the folder: a live run may be at work in it. */
static int find_newest(const char *run_dir, char *path)
{
    int64_t *step;
    size_t n;
    path[0] = '\0';
    TRY(ckpt_list(run_dir, &step, &n, NULL));
    int rc = n > 0 ? ckpt_path(path, run_dir, step[0]) : OK;
    mem_free(step);
    return rc;
}

static int look_for_newest(const struct trainer *t, char *path)
{
    const char *dir = t->conf->run.dir;
    if (t->start == START_RUN)
        return ckpt_restart(t->comm, dir, path);
    int rc = t->comm->rank == 0 ? find_newest(dir, path) : OK;
    TRY(agree_bcast(t->comm, 0, rc, path, FS_PATH_MAX));
    return path[0] != '\0' ? ckpt_verify(t->comm, path, NULL) : OK;
}

int resume_newest(struct trainer *t, bool *found)
{
    char path[FS_PATH_MAX];
    TRY(look_for_newest(t, path));
    *found = path[0] != '\0';
    if (!*found)
        return OK;
    TRY(load(t, path));
    t->loaded = true;
    log_info("resumed         %s: step %lld of %lld, attempt %lld; it is the newest checkpoint "
             "that verifies",
             path, (long long)t->at.step, (long long)t->n_steps, (long long)t->at.attempt);
    return OK;
}
