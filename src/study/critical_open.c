/* From a job to the plan of its study: batches, targets, centres. */
#include "base/err.h"
#include "study/critical_plan.h"
#include "study/length.h"
#include "study/list.h"
#include "study/range_curve.h"
#include "train/scaling.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double MOST_RANKS = 1 << 20;

static int read_targets(struct critical_plan *p)
{
    double rising[RESULT_TARGETS];
    TRY(study_list(rising, &p->n_targets, RESULT_TARGETS, "study.targets", p->job.study.targets,
                   1e-6, 1e6, false));
    if (p->n_targets == 0)
        return ERR(E_CONFIG, "study.targets is not set: name the validation losses to which steps "
                             "are counted, such as study.targets=2.5,2.3");
    for (int i = 0; i < p->n_targets; i++)
        p->target[i] = rising[p->n_targets - 1 - i];
    return OK;
}

static int read_lists(struct critical_plan *p)
{
    const struct config *c = &p->job;
    TRY(study_batches(p->batch, &p->n_batches, RESULT_BATCHES, c));
    TRY(study_list(p->ranks, &p->n_ranks, RESULT_TARGETS, "study.rank_counts", c->study.rank_counts,
                   1, MOST_RANKS, true));
    return read_targets(p);
}

/* Whether the job's other settings leave the batch and the rate to the study. */
static int check_job(const struct critical_plan *p)
{
    const struct config *c = &p->job;
    const struct lrscale_rule *rule;
    TRY(lrscale_find(&rule, c->scaling.rule));
    if (*c->batch.ramp != '\0')
        return ERR(E_CONFIG, "batch.ramp changes the batch within a trial, and a study compares "
                             "batches; leave it out");
    if (rule->per_step)
        return ERR(E_CONFIG,
                   "scaling.rule %s changes the rate by itself, and a study tunes it at each "
                   "batch; set another rule",
                   rule->name);
    if (p->n_batches == 0)
        return ERR(E_CONFIG,
                   "study.batches is not set, and batch.global %" PRId64
                   " has no whole quarter to begin from; name the batches",
                   c->batch.global);
    double step = p->batch[p->n_batches - 1] * (double)c->batch.seq_len;
    if (step > p->run_tokens)
        return ERR(E_CONFIG,
                   "study.batches: a step of %.0f sequences takes %.0f tokens, and the run has "
                   "%.0f; leave it out, or make the run longer",
                   p->batch[p->n_batches - 1], step, p->run_tokens);
    return OK;
}

/* What the first stage may take. */
static int check_budget(const struct critical_plan *p)
{
    const struct config *c = &p->job;
    double tokens = 0;
    for (int b = 0; b < p->n_batches; b++)
        tokens += p->by_range ? p->batch[b] * (double)c->batch.seq_len * (double)RANGE_DEFAULT.steps
                              : p->run_tokens;
    if (c->study.budget.unit == UNIT_NONE || tokens <= c->study.budget.value)
        return OK;
    return ERR(E_CONFIG,
               "study.budget is %.4g tokens, and the first trial of each of %d batches may take "
               "%.4g; raise it, name fewer batches, or make the run shorter",
               c->study.budget.value, p->n_batches, tokens);
}

/* The job's rate at each batch, by its scaling rule from the batch it was tuned at. */
static int centre_by_job(struct critical_plan *p)
{
    struct config c = p->job;
    struct scaling g;
    if (c.scaling.base_batch <= 0)
        c.scaling.base_batch = c.batch.global;
    for (int b = 0; b < p->n_batches; b++) {
        c.batch.global = (int64_t)p->batch[b];
        c.batch.micro = 1;
        TRY(derive_scaling(&g, &c));
        p->centre[b] = derive_settings(&g, c.batch.global).lr;
        if (!(p->centre[b] > 0))
            return ERR(E_CONFIG, "optimizer.lr: %g is no rate to centre a grid on", p->centre[b]);
    }
    return OK;
}

int critical_plan_open(struct critical_plan *p, const struct study *s, const struct config *job)
{
    memset(p, 0, sizeof *p);
    p->job = *job;
    p->by_range = strcmp(job->study.center, "range") == 0;
    TRY(read_lists(p));
    TRY(study_length(&p->run_tokens, job));
    TRY(study_amount(&p->warmup_tokens, job, job->schedule.warmup));
    TRY(check_job(p));
    TRY(check_budget(p));
    if (strcmp(job->study.center, "prior") != 0)
        return centre_by_job(p);
    return s != NULL ? critical_centre_by_past(p, s) : OK;
}

void critical_describe(const struct critical_plan *p, struct str *lines)
{
    const struct config *c = &p->job;
    double last = p->batch[p->n_batches - 1] * (double)c->batch.seq_len;
    double steps = fmax(ceil(p->warmup_tokens / last), (double)c->study.warmup_steps);
    str_add(lines,
            "each trial sets its batch and rate; averages (beta1, beta2), decay and the rest "
            "are the job's\n");
    critical_say_past(p, lines);
    if (p->warmup_tokens > 0)
        str_addf(lines,
                 "warmup: %.0f tokens as in the job, at least %" PRId64
                 " steps (study.warmup_steps); %.0f steps at the largest batch\n",
                 p->warmup_tokens, c->study.warmup_steps, steps);
    if (strcmp(c->schedule.name, "constant") != 0)
        str_addf(lines,
                 "schedule %s runs over the whole length, whatever the trial's end: steps to "
                 "a target depend on it; constant shows the batch alone\n",
                 c->schedule.name);
}
