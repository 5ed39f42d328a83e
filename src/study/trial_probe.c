/* Trials that leave no run: range tests, and steps that are only timed. */
#include "study/trial_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "par/agree.h"
#include "study/range_test.h"
#include "train/shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNTIMED_STEPS = 2, MOST_TIMED = 64 };

struct probe {
    const struct trial_setup *setup;
    struct task *task; /* root's */
    struct config job, conf;
    struct model_spec spec;
    struct trainer *trainer;
    int ranks; /* asked for; 0: all */
};

/* What a probe found: root's into its trial. */
static void take_result(struct probe *p, double steps, double seconds, double step_s, int ranks)
{
    struct trial *t = &p->task->trial;
    t->steps = steps;
    t->tokens = steps * (double)p->conf.batch.global * (double)p->conf.batch.seq_len;
    t->train_s = seconds;
    t->step_s = step_s;
    t->ranks = ranks;
    t->noise_scale = NAN;
}

/* ---- range tests ---- */

/* The smoothed loss at each of RANGE_DEFAULT's rates: what the suggestion follows from. */
static int keep_curve(struct probe *p, const struct range_curve *c, double seconds)
{
    struct trial *t = &p->task->trial;
    double tokens = (double)p->conf.batch.global * (double)p->conf.batch.seq_len;
    TRY(mem_alloc(&t->curve, (size_t)c->n, sizeof *t->curve, "a range test's curve"));
    for (int64_t i = 0; i < c->n; i++) {
        double step = (double)i + 1;
        t->curve[i] =
            (struct curve_point){step, step * tokens, c->smooth[i], seconds * step / (double)c->n};
    }
    t->n_curve = (int)c->n;
    return OK;
}

static int conclude_range(struct probe *p, const struct range_curve *c, double seconds)
{
    struct range_suggestion says;
    struct trial *t = &p->task->trial;
    range_suggest(&says, c);
    take_result(p, (double)c->n, seconds, seconds / (double)c->n, p->setup->comm->size);
    t->value = NAN;
    t->state = isfinite(says.valley) ? TRIAL_DONE : TRIAL_FAILED;
    if (t->state == TRIAL_FAILED)
        snprintf(t->why, sizeof t->why, "the curve of the range test suggests no rate");
    return keep_curve(p, c, seconds);
}

static int test_range(struct probe *p, struct range_curve *curve)
{
    const struct comm *c = p->setup->comm;
    TRY(trainer_init_apart(p->trainer, &p->conf, &p->spec, c, START_ANEW));
    double begin = clock_now_s();
    int rc = range_test(curve, p->trainer, NULL, NULL);
    double seconds = clock_now_s() - begin;
    trainer_release(p->trainer);
    TRY(rc);
    return agree(c, c->rank == 0 ? conclude_range(p, curve, seconds) : OK);
}

static int probe_range(struct probe *p)
{
    struct range_curve curve = {0};
    int rc = agree(p->setup->comm, range_curve_init(&curve, &RANGE_DEFAULT));
    if (rc == OK)
        rc = test_range(p, &curve);
    range_curve_release(&curve);
    return rc;
}

/* ---- steps that are timed ---- */

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The slowest rank's seconds of a step. */
static int time_step(double *seconds, struct trainer *t)
{
    struct step_result r;
    double begin = clock_now_s();
    *seconds = 0;
    TRY(trainer_step(t, &r));
    *seconds = clock_now_s() - begin;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, t->comm->world));
    return r.stop ? ERR(E_STOPPED, "stopped while steps were timed") : OK;
}

static int time_steps(struct probe *p, const struct comm *c)
{
    double s[MOST_TIMED], sum = 0, first;
    double asked = p->job.train.length.value - UNTIMED_STEPS;
    int n = asked < 1 ? 1 : asked > MOST_TIMED ? MOST_TIMED : (int)asked, rc = OK;
    TRY(trainer_init_apart(p->trainer, &p->conf, &p->spec, c, START_ANEW));
    for (int i = 0; i < UNTIMED_STEPS && rc == OK; i++)
        rc = time_step(&first, p->trainer);
    for (int i = 0; i < n && rc == OK; i++) {
        rc = time_step(&s[i], p->trainer);
        sum += s[i];
    }
    trainer_release(p->trainer);
    if (rc == OK && c->rank == 0) {
        qsort(s, (size_t)n, sizeof *s, by_value);
        take_result(p, n, sum, (s[(n - 1) / 2] + s[n / 2]) / 2, c->size);
    }
    return rc;
}

static int time_on_some(struct probe *p)
{
    struct comm some;
    TRY(comm_first(&some, p->setup->comm, p->ranks));
    int rc = some.size > 0 ? time_steps(p, &some) : OK;
    if (some.size > 0)
        comm_end(&some);
    return agree(p->setup->comm, rc);
}

static int probe_time(struct probe *p)
{
    const struct comm *c = p->setup->comm;
    bool root = c->rank == 0;
    if (root) {
        p->task->trial.value = NAN;
        p->task->trial.state = TRIAL_DONE;
    }
    if (p->ranks == 0 || p->ranks == c->size)
        return time_steps(p, c);
    if (p->ranks < c->size)
        return time_on_some(p);
    if (root) {
        struct trial *t = &p->task->trial;
        take_result(p, 0, 0, NAN, 0);
        t->state = TRIAL_FAILED;
        snprintf(t->why, sizeof t->why,
                 "it was to be timed on %d ranks, and its worker has %d (study.rank_counts)",
                 p->ranks, c->size);
    }
    return OK;
}

/* ---- both ---- */

static int begin(struct probe *p)
{
    const struct comm *c = p->setup->comm;
    int rc = OK;
    if (c->rank == 0) {
        const struct trial *t = &p->task->trial;
        const char *ranks = trial_setting(&t->plan, TRIAL_RANKS);
        p->ranks = ranks != NULL ? atoi(ranks) : 0;
        rc = trial_job(&p->job, p->setup->study, t);
    }
    TRY(agree_bcast(c, 0, rc, &p->ranks, sizeof p->ranks));
    TRY(trial_share_job(&p->job, c));
    range_config(&p->conf, &p->job, p->job.batch.global);
    return agree(c, shape_with_data(&p->spec, &p->conf));
}

static int conclude(struct probe *p, int rc, enum trial_outcome *outcome)
{
    struct trial *t = &p->task->trial;
    char why[sizeof t->why] = "";
    if (rc != OK)
        snprintf(why, sizeof why, "%s", err_message());
    *outcome = rc == E_STOPPED ? OUTCOME_STOPPED : OUTCOME_ENDED;
    if (claim_check(p->setup->study, &p->task->claim) != OK)
        *outcome = OUTCOME_LOST;
    else if (rc != OK && rc != E_STOPPED && !trial_owns_error(rc))
        return rc;
    if (rc != OK) {
        take_result(p, 0, 0, NAN, 0);
        t->value = NAN;
        t->state = TRIAL_FAILED;
        memcpy(t->why, why, sizeof why);
    }
    return OK;
}

static int run(const struct trial_setup *setup, struct task *task, enum trial_outcome *outcome,
               int (*probe)(struct probe *))
{
    static struct probe p;
    static struct trainer trainer;
    const struct comm *c = setup->comm;
    p = (struct probe){.setup = setup, .task = task, .trainer = &trainer};
    log_quiet(true);
    log_mute(true);
    if (c->rank == 0) {
        task->trial.curve = NULL; /* it was the study's */
        task->trial.n_curve = 0;
    }
    int rc = begin(&p);
    if (rc == OK)
        rc = probe(&p);
    int ended = c->rank == 0 ? conclude(&p, rc, outcome) : OK;
    log_mute(false);
    log_quiet(false);
    ended = agree_bcast(c, 0, ended, outcome, sizeof *outcome);
    if (ended == OK)
        err_clear();
    return ended;
}

static int range_trial(const struct trial_setup *setup, struct task *task,
                       enum trial_outcome *outcome)
{
    return run(setup, task, outcome, probe_range);
}

static int time_trial(const struct trial_setup *setup, struct task *task,
                      enum trial_outcome *outcome)
{
    return run(setup, task, outcome, probe_time);
}

trial_probe *trial_probe_find(const char *role)
{
    static const struct {
        const char *role;
        trial_probe *run;
    } probes[] = {{"range", range_trial}, {"time", time_trial}};
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++)
        if (strcmp(probes[i].role, role) == 0)
            return probes[i].run;
    return NULL;
}
