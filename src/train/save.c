#include "train/save.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/watch.h"
#include "par/agree.h"
#include "train/resume.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

/* A disk may be full for a while; after so many saves that failed in a row the run ends. */
enum { MAX_FAILED_SAVES = 3 };

/* ---- staging ---- */

static bool goes_aside(const struct config *c)
{
    return strcmp(c->checkpoint.async, "on") == 0 && c->checkpoint.every > 0;
}

size_t save_staging_bytes(const struct config *c, const struct optim_rule *rule,
                          const struct optim_layout *l, const struct optim_group *groups,
                          int n_groups, int ranks, int rank)
{
    struct shard params;
    int holders = strcmp(c->parallel.shard, "none") == 0 ? 1 : ranks;
    int n_slots = optim_n_slots(rule, optimizer_momentum(c, rule));
    if (!goes_aside(c))
        return 0;
    shard_init(&params, l->n, (size_t)c->parallel.bucket_mib << 20, ranks, rank);
    size_t n = ckpt_staging_bytes(&params, rank);
    for (int i = 0; i < n_slots && i < rule->n_saved; i++) {
        struct shard slot = optim_layout_slot(l, rule, i, holders, rank % holders);
        n += ckpt_staging_bytes(&slot, rank);
    }
    return n + (rank == 0 ? optim_stat_floats(rule, groups, n_groups) * sizeof(float) : 0);
}

/* Touched now: a node that has not the memory shows it before the first step. */
static int take_staging(struct trainer *t)
{
    struct saving *s = &t->saving;
    s->staging_bytes = save_staging_bytes(t->conf, t->rule, &t->layout, t->groups, t->n_groups,
                                          t->comm->size, t->comm->rank);
    TRY(mem_alloc(&s->staging, s->staging_bytes, 1, "checkpoint staging"));
    if (s->staging_bytes > 0)
        memset(s->staging, 0, s->staging_bytes);
    return OK;
}

int save_init(struct trainer *t)
{
    struct saving *s = &t->saving;
    s->aside = goes_aside(t->conf);
    if (agree(t->comm, take_staging(t)) == OK)
        return OK;
    log_warn("training will wait for every checkpoint: %s", err_message());
    err_clear();
    mem_free(s->staging);
    *s = (struct saving){0};
    return OK;
}

/* ---- one save ---- */

static int may_publish(void *ctx)
{
    struct trainer *t = ctx;
    return run_still_ours(&t->lock);
}

bool save_is_busy(const struct trainer *t)
{
    return t->saving.flight != NULL && ckpt_save_busy(t->saving.flight);
}

static void drop(struct trainer *t)
{
    struct saving *s = &t->saving;
    ckpt_save_free(s->flight);
    ckpt_meta_release(&s->set.meta);
    s->flight = NULL;
}

void save_release(struct trainer *t)
{
    drop(t);
    mem_free(t->saving.staging);
    t->saving = (struct saving){0};
}

static int begin_shown(struct trainer *t, const char *path, bool aside)
{
    struct saving *s = &t->saving;
    TRY(optimizer_show(t));
    int rc =
        ckpt_save_begin(&s->flight, t->comm, path, &s->set, aside, s->staging, s->staging_bytes);
    if (rc == OK && !aside)
        rc = ckpt_save_finish(s->flight);
    int hidden = optimizer_hide(t);
    return rc != OK ? rc : hidden;
}

static int begin(struct trainer *t, bool aside)
{
    char path[FS_PATH_MAX];
    struct saving *s = &t->saving;
    s->step = t->at.step;
    s->held_s = 0;
    int rc = ckpt_path(path, t->conf->run.dir, s->step);
    if (rc == OK)
        rc = resume_describe(t, &s->set);
    TRY(agree(t->comm, rc));
    s->set.may_publish = may_publish;
    s->set.may_publish_ctx = t;
    return begin_shown(t, path, aside);
}

static void tell(const struct trainer *t, const struct ckpt_cost *cost, bool aside)
{
    char path[FS_PATH_MAX], size[32], held[64] = "";
    if (ckpt_path(path, t->conf->run.dir, t->saving.step) != OK)
        return;
    if (aside)
        snprintf(held, sizeof held, ", of which training waited %.2f s", t->save_held_s);
    log_info("saved           %s, %s in %.2f s%s", path, fmt_bytes(size, sizeof size, cost->bytes),
             cost->seconds, held);
}

static int published(struct trainer *t)
{
    const struct saving *s = &t->saving;
    const struct ckpt_keep keep = {t->conf->checkpoint.keep, t->conf->checkpoint.keep_every,
                                   monitor_trouble_since(t), may_publish, t};
    t->saved_step = s->step;
    TRY(trainer_may_write(t));
    return ckpt_retain(t->comm, t->conf->run.dir, s->step, &keep);
}

/* What the present stage came to; the save ends when it has failed or is published. */
static int conclude(struct trainer *t, int rc, double begun, bool aside)
{
    struct saving *s = &t->saving;
    bool done = rc == OK && ckpt_save_done(s->flight);
    if (done)
        rc = published(t);
    double held = clock_now_s() - begun;
    s->held_s += held;
    t->unreported_save_s += held;
    if (done) {
        const struct ckpt_cost cost = ckpt_save_cost(s->flight);
        t->save_s = cost.seconds;
        t->save_held_s = s->held_s;
        tell(t, &cost, aside);
    }
    if (done || rc != OK)
        drop(t);
    return rc;
}

static int start(struct trainer *t, bool aside)
{
    double begun = clock_now_s();
    enum phase before = watch_phase(PHASE_SAVE);
    int rc = conclude(t, begin(t, aside), begun, aside);
    watch_phase(before);
    return rc;
}

static int go_on(struct trainer *t, int (*how)(struct ckpt_save *s))
{
    double begun = clock_now_s();
    enum phase before = watch_phase(PHASE_SAVE);
    int rc = conclude(t, how(t->saving.flight), begun, true);
    watch_phase(before);
    return rc;
}

/* ---- when ---- */

static void forgive(struct trainer *t, int rc)
{
    if (rc == OK) {
        t->failed_saves = t->saving.flight != NULL ? t->failed_saves : 0;
        return;
    }
    t->failed_saves++;
    log_warn("this checkpoint was not saved and will be tried again: %s", err_message());
    err_clear();
}

static int forgive_few(struct trainer *t, int rc)
{
    if (rc != OK)
        TRY(trainer_may_write(t)); /* in another's folder nothing is tried again */
    if (rc != OK && t->failed_saves + 1 >= MAX_FAILED_SAVES)
        return err_context(rc, "%d saves in a row failed", MAX_FAILED_SAVES);
    forgive(t, rc);
    return OK;
}

bool save_is_unmeasured(const struct trainer *t)
{
    return t->slice.limit_s > 0 && t->save_s == 0;
}

int save_at_step(struct trainer *t, bool busy, bool due)
{
    struct saving *s = &t->saving;
    if (s->flight != NULL && !busy)
        TRY(forgive_few(t, go_on(t, ckpt_save_advance)));
    if (!due)
        return OK;
    /* Of which steps there are checkpoints must not hang on how busy a disk is. */
    if (s->flight != NULL)
        TRY(forgive_few(t, go_on(t, ckpt_save_finish)));
    TRY(replicas_check(t)); /* each rank is to write a part of its own */
    return forgive_few(t, start(t, s->aside && !save_is_unmeasured(t)));
}

void save_settle(struct trainer *t)
{
    if (t->saving.flight != NULL)
        forgive(t, go_on(t, ckpt_save_finish));
}

int trainer_save(struct trainer *t)
{
    save_settle(t);
    TRY(replicas_check(t));
    return start(t, false);
}
