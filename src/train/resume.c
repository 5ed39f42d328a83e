#include "train/resume.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/isa.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "kern/gemm.h"
#include "par/agree.h"
#include "par/zero.h"
#include "version.h"
#include <stdio.h>
#include <string.h>

/* The processor's own name and the instructions that the kernels use: parts of the bits'
 * conditions. */
static void cpu_name(char *buf, size_t n)
{
    char line[256];
    snprintf(buf, n, "unknown; %s", isa_name());
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        char *value = strstr(line, ": ");
        if (strncmp(line, "model name", 10) == 0 && value) {
            value[2 + strcspn(value + 2, "\n")] = '\0';
            snprintf(buf, n, "%.44s; %s", value + 2, isa_name());
            break;
        }
    }
    if (f)
        fclose(f);
}

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
    m->sched_tokens = (double)t->at.samples * (double)t->conf->batch.seq_len;
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
    copy_text(m->blas, sizeof m->blas, gemm_kernel());
    copy_text(m->build, sizeof m->build, CARAT_VERSION);
    cpu_name(m->cpu, sizeof m->cpu);
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
    int n[3];
    struct str impossible;
};

static void note_change(void *ctx, const struct conf_key *k, const char *before, const char *now)
{
    static const char *const says[] = {[EFFECT_SAFE] = "safe: the weights stay on their path",
                                       [EFFECT_TRAJECTORY] = "the run takes another path from here",
                                       [EFFECT_IMPOSSIBLE] = "impossible"};
    struct changes *c = ctx;
    c->n[k->effect]++;
    log_info("changed         %s: %s -> %s (%s)", k->name, before, now, says[k->effect]);
    if (k->effect == EFFECT_IMPOSSIBLE)
        str_addf(&c->impossible, "%s%s: %s -> %s", c->impossible.len ? "; " : "", k->name, before,
                 now);
}

/* Keys that say where things lie, not what they are: compared by content below. */
static int compare_settings(const struct trainer *t, const struct ckpt_meta *m, const char *path)
{
    struct config before;
    struct conf_origins origins;
    struct changes c = {0};
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
    char cpu[64];
    cpu_name(cpu, sizeof cpu);
    const struct {
        const char *what, *before, *now;
    } row[] = {{"CPU", m->cpu, cpu}, {"BLAS kernel", m->blas, gemm_kernel()}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (strcmp(row[i].before, row[i].now) != 0)
            log_warn("the %s was %s and is %s: from here the bits may differ from an "
                     "uninterrupted run's",
                     row[i].what, row[i].before, row[i].now);
    if (m->ranks != t->comm->size)
        log_info("changed         ranks: %lld -> %d (safe: the weights stay on their path)",
                 (long long)m->ranks, t->comm->size);
}

static void take_meta(struct trainer *t, const struct ckpt_meta *m)
{
    t->at = (struct progress){.step = m->step,
                              .samples = m->samples,
                              .targets = m->tokens,
                              .train_s = m->train_s,
                              .skipped = m->skipped,
                              .attempt = m->attempt + 1};
    t->saved_step = m->step;
    copy_text(t->run_id, sizeof t->run_id, m->run_id);
    copy_text(t->parent_id, sizeof t->parent_id, m->parent_id);
}

static int check_meta(struct trainer *t, const char *path)
{
    struct ckpt_meta m = {0};
    int rc;
    TRY(ckpt_read_meta(path, &m));
    TRY_OUT(compare_settings(t, &m, path));
    compare_conditions(t, &m);
    TRY_OUT(state_take(&t->state_rows, m.state, path));
    take_meta(t, &m);
out:
    ckpt_meta_release(&m);
    return rc;
}

/* A run without momentum may go on with it, from zero; then the last array is not in the file. */
static bool lacks_momentum(const struct trainer *t, const char *path, const struct ckpt_array *last)
{
    if (!t->rule->last_is_momentum || t->optim.n_slots < t->rule->n_slots ||
        ckpt_has_kind(path, last->kind))
        return false;
    log_info("changed         optimizer.momentum: %s begins at zero", last->kind);
    size_t n = shard_count(last->shard, last->shard->rank);
    if (n > 0)
        memset(last->data, 0, n * sizeof *last->data);
    return true;
}

int resume_newest(struct trainer *t, bool *found)
{
    char path[FS_PATH_MAX];
    TRY(ckpt_newest(t->comm, t->conf->run.dir, path));
    *found = path[0] != '\0';
    if (!*found)
        return OK;
    TRY(agree(t->comm, check_meta(t, path)));
    struct ckpt_array array[CKPT_MAX_ARRAYS];
    int n = 0;
    add_arrays(t, array, &n);
    n -= lacks_momentum(t, path, &array[n - 1]);
    TRY(ckpt_read(t->comm, path, t->tensors, array, n));
    TRY(zero_allgather(&t->holders, &t->whole, t->params));
    log_info("resumed         %s: step %lld of %lld, attempt %lld; it is the newest checkpoint "
             "that verifies",
             path, (long long)t->at.step, (long long)t->n_steps, (long long)t->at.attempt);
    return OK;
}
