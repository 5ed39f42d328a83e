#include "study/trial_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "par/agree.h"
#include "train/loop.h"
#include "train/shape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHECKS_A_STALE = 8 };

/* A trial under way. */
struct running {
    const struct trial_setup *setup;
    struct task *task; /* root's */
    struct trial_goal goal;
    struct trainer *trainer;
    struct config conf;
    struct model_spec spec;
    char run_dir[FS_PATH_MAX];
    struct trial_place at;
    double loss;      /* of the last validation */
    double checked_s; /* when the claim was last looked at */
    bool over;        /* there is nothing left to do */
};

struct trial_place trial_place(const struct trainer *t)
{
    return (struct trial_place){.step = (double)t->at.step,
                                .tokens =
                                    (double)t->at.sched_samples * (double)t->conf->batch.seq_len};
}

/* ---- the job ---- */

static bool is_of_study(const char *key)
{
    return strncmp(key, "study.", 6) == 0 || strncmp(key, "search.", 7) == 0;
}

static void reset_study_keys(struct config *c, const struct config *defaults)
{
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        if (is_of_study(k->name))
            memcpy((char *)c + k->offset, (const char *)defaults + k->offset, k->size);
    }
}

static int apply_settings(struct config *c, const struct trial_plan *p)
{
    for (int i = 0; i < p->n_set; i++) {
        if (strcmp(p->set[i].key, TRIAL_RANKS) == 0)
            continue;
        const struct conf_key *k = conf_find(p->set[i].key);
        if (k == NULL || is_of_study(k->name) || strcmp(k->name, "run.dir") == 0)
            return ERR(E_CONFIG, "%s: no key that a trial may set", p->set[i].key);
        TRY(conf_set_text(k, c, p->set[i].value));
    }
    return OK;
}

static int set_run_dir(struct config *c, const struct study *s, int number)
{
    char path[FS_PATH_MAX];
    TRY(trial_path(path, s, number));
    TRY(fs_join(path, path, "run"));
    if (strlen(path) >= sizeof c->run.dir)
        return ERR(E_CONFIG, "%.60s…: the path is longer than %zu bytes; choose another study.dir",
                   path, sizeof c->run.dir - 1);
    memcpy(c->run.dir, path, strlen(path) + 1);
    return OK;
}

int trial_job(struct config *c, const struct study *s, const struct trial *t)
{
    static struct conf_origins origins;
    static struct config defaults;
    TRY(conf_load_text(c, &origins, s->job, "study.json"));
    TRY(conf_load(&defaults, &origins, NULL, NULL, 0));
    reset_study_keys(c, &defaults);
    TRY(set_run_dir(c, s, t->number));
    int rc = apply_settings(c, &t->plan);
    if (rc == OK)
        rc = conf_check(c);
    return rc == OK ? OK : err_context(rc, "trial %d", t->number);
}

int trial_share_job(struct config *conf, const struct comm *c)
{
    static struct conf_origins origins;
    char *text = NULL;
    size_t n = 0;
    int rc = OK;
    if (c->rank == 0)
        rc = conf_text(conf, NULL, &text);
    if (rc == OK && c->rank == 0)
        n = strlen(text) + 1;
    TRY(agree_bcast(c, 0, rc, &n, sizeof n));
    if (c->rank != 0)
        rc = mem_alloc(&text, n, 1, "a trial's job");
    rc = agree(c, rc);
    if (rc == OK)
        rc = agree_bcast(c, 0, OK, text, n);
    if (rc == OK && c->rank != 0)
        rc = conf_load_text(conf, &origins, text, "a trial's job");
    mem_free(text);
    return agree(c, rc);
}

/* ---- what is looked at while it runs ---- */

/* A lost claim reaches the other ranks with the next step's sums. */
static void check_claim(struct running *r, struct trainer *t)
{
    const struct study *s = r->setup->study;
    double now = clock_now_s();
    if (now - r->checked_s < s->stale_s / CHECKS_A_STALE)
        return;
    r->checked_s = now;
    int rc = claim_check(s, &r->task->claim);
    t->pending = t->pending != OK ? t->pending : rc;
}

static void report_step(struct running *r, const struct trainer *t)
{
    struct trial now = r->task->trial;
    now.state = TRIAL_RUNNING;
    now.steps = r->at.step;
    now.tokens = r->at.tokens;
    now.value = r->loss;
    now.train_s = t->at.train_s;
    now.ranks = t->comm->size;
    r->setup->step(r->setup->ctx, &now, (double)t->n_steps);
}

static bool wants_loss(void *ctx, const struct trainer *t, const struct step_result *result)
{
    struct running *r = ctx;
    const struct trial_place before = r->at, at = trial_place(t);
    return goal_wants_loss(&r->goal, &before, &at, (double)t->n_steps, result->loss);
}

static bool has_seen(void *ctx, struct trainer *t, double loss)
{
    struct running *r = ctx;
    r->at = trial_place(t);
    if (!isnan(loss))
        r->loss = loss;
    if (r->setup->comm->rank == 0) {
        check_claim(r, t);
        if (r->setup->step != NULL)
            report_step(r, t);
    }
    return r->over || goal_is_reached(&r->goal, &r->at, loss);
}

/* ---- the run ---- */

/* The loss where the run stands, from before it was interrupted; then nothing may be trained when
 * that was its goal. */
static int look_back(struct running *r)
{
    const struct comm *c = r->setup->comm;
    struct trial was = {0};
    int rc = OK;
    if (c->rank == 0) {
        rc = trial_measure(&was, r->run_dir, &r->at, (double)r->conf.batch.seq_len);
        r->loss = rc == OK && was.n_curve > 0 ? was.value : NAN;
        bool here = was.n_curve > 0 && was.curve[was.n_curve - 1].step == r->at.step;
        r->over = goal_is_reached(&r->goal, &r->at, here ? r->loss : NAN);
        mem_free(was.curve);
    }
    return agree_bcast(c, 0, rc, &r->over, sizeof r->over);
}

static int train(struct running *r)
{
    struct trainer *t = r->trainer;
    const struct watcher watch = {.ctx = r, .wants_loss = wants_loss, .has_seen = has_seen};
    const struct slice slice = slice_of(r->setup->begun_s, r->conf.train.time_limit_s);
    TRY(trainer_init(t, &r->conf, &r->spec, r->setup->comm, slice));
    r->at = trial_place(t);
    int rc = look_back(r);
    t->watcher = &watch;
    if (rc == OK)
        rc = train_loop(t);
    r->at = trial_place(t);
    bool whole = t->at.step >= t->n_steps;
    if (rc == OK && whole)
        r->goal.milestone = INFINITY; /* its end is more than a milestone */
    if (rc != OK)
        trainer_failed(t, rc);
    trainer_release(t);
    return rc;
}

static int begin(struct running *r)
{
    const struct comm *c = r->setup->comm;
    int rc = OK;
    if (c->rank == 0) {
        rc = trial_job(&r->conf, r->setup->study, &r->task->trial);
        r->goal = trial_goal(r->task);
    }
    TRY(agree_bcast(c, 0, rc, &r->goal, sizeof r->goal));
    TRY(trial_share_job(&r->conf, c));
    snprintf(r->run_dir, sizeof r->run_dir, "%s", r->conf.run.dir);
    TRY(agree(c, c->rank == 0 ? trial_prepare(r->setup->study, &r->task->trial, r->run_dir) : OK));
    return agree(c, shape_with_data(&r->spec, &r->conf));
}

bool trial_owns_error(int rc)
{
    return rc == E_CONFIG || rc == E_DATA || rc == E_MEM || rc == E_DIVERGED;
}

static enum trial_state state_after(const struct trial *t, int rc)
{
    if (rc == E_DIVERGED || (t->n_curve > 0 && !isfinite(t->value)))
        return TRIAL_DIVERGED;
    return rc == OK && t->n_curve > 0 ? TRIAL_DONE : TRIAL_FAILED;
}

/* What the run came to, in words of the study. Root. */
static int conclude(struct running *r, int rc, enum trial_outcome *outcome)
{
    struct trial *t = &r->task->trial;
    const struct trial_goal *g = &r->goal;
    char why[sizeof t->why] = "";
    if (rc != OK)
        snprintf(why, sizeof why, "%s", err_message());
    if (claim_check(r->setup->study, &r->task->claim) != OK) {
        *outcome = OUTCOME_LOST;
        return OK;
    }
    if (rc != OK && rc != E_STOPPED && !trial_owns_error(rc))
        return rc;
    TRY(trial_measure(t, r->run_dir, &r->at, (double)r->conf.batch.seq_len));
    t->ranks = r->setup->comm->size;
    bool hit = g->target > 0 && t->value <= g->target;
    *outcome = rc == E_STOPPED                                 ? OUTCOME_STOPPED
               : rc == OK && !hit && t->tokens >= g->milestone ? OUTCOME_REACHED
                                                               : OUTCOME_ENDED;
    t->state = state_after(t, rc);
    if (rc == OK && t->n_curve == 0)
        snprintf(why, sizeof why, "there is no text to validate on; set data.valid");
    else if (rc == OK && *outcome == OUTCOME_ENDED && g->target > 0 && !hit)
        snprintf(why, sizeof why, "it ended without having come to its target of %g", g->target);
    memcpy(t->why, why, sizeof why);
    return OK;
}

/* The checkpoint that others may start from, once the milestone is reached. Root. */
static int keep_milestone(const struct running *r, enum trial_outcome outcome)
{
    if (outcome != OUTCOME_REACHED || !r->setup->keeps_milestones)
        return OK;
    return trial_keep_milestone(r->setup->study, &r->task->trial, r->task->milestone, r->run_dir,
                                (int64_t)r->at.step);
}

static int run_in_folder(const struct trial_setup *setup, struct task *task,
                         enum trial_outcome *outcome)
{
    static struct running r;
    static struct trainer trainer;
    const struct comm *c = setup->comm;
    r = (struct running){
        .setup = setup, .task = task, .trainer = &trainer, .loss = NAN, .checked_s = clock_now_s()};
    *outcome = OUTCOME_STOPPED;
    log_quiet(true);
    log_mute(true);
    int rc = begin(&r);
    if (rc == OK)
        rc = train(&r);
    int ended = OK;
    if (c->rank == 0) {
        task->trial.curve = NULL; /* it was the study's */
        task->trial.n_curve = 0;
        ended = conclude(&r, rc, outcome);
        if (ended == OK)
            ended = keep_milestone(&r, *outcome);
    }
    log_close();
    log_mute(false);
    log_quiet(false);
    ended = agree_bcast(c, 0, ended, outcome, sizeof *outcome);
    if (ended == OK)
        err_clear();
    return ended;
}

int trial_run(const struct trial_setup *setup, struct task *task, enum trial_outcome *outcome)
{
    const struct comm *c = setup->comm;
    char role[sizeof task->trial.plan.role];
    if (c->rank == 0)
        memcpy(role, task->trial.plan.role, sizeof role);
    TRY(agree_bcast(c, 0, OK, role, sizeof role));
    trial_probe *probe = trial_probe_find(role);
    return probe != NULL ? probe(setup, task, outcome) : run_in_folder(setup, task, outcome);
}
