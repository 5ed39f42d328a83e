#include "study/critical_plan.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_table.h"
#include "critical_parts.h"
#include "study/search.h"
#include "study/space.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Validations on the way to a target are this much of the way apart. */
enum { VALIDATIONS = 50 };

/* Sets a key where the job has another value. */
static int set_text(const struct critical_plan *p, struct trial_plan *plan, const char *key,
                    const char *value)
{
    struct config c = p->job;
    const struct conf_key *k = conf_find(key);
    TRY(conf_set_text(k, &c, value));
    bool same =
        memcmp((const char *)&c + k->offset, (const char *)&p->job + k->offset, k->size) == 0;
    return same ? OK : plan_set(plan, key, value);
}

/* Sets a key in any case: what the planner tells trials by. */
static int set_number(struct trial_plan *plan, const char *key, const char *form, double v)
{
    char text[64];
    snprintf(text, sizeof text, form, v);
    return plan_set(plan, key, text);
}

/* Two micro-batches at least, where there are two sequences: the noise scale is measured between
 * them. */
static double micro_of(const struct critical_plan *p, double batch)
{
    return fmin((double)p->job.batch.micro, ceil(batch / 2));
}

static int set_batch(const struct critical_plan *p, struct trial_plan *plan,
                     const struct planned *item)
{
    char text[64];
    double batch = p->batch[item->batch];
    TRY(set_number(plan, "batch.global", "%.0f", batch));
    snprintf(text, sizeof text, "%.0f", micro_of(p, batch));
    TRY(set_text(p, plan, "batch.micro", text));
    return set_text(p, plan, "scaling.rule", "none");
}

static int set_rate(const struct critical_plan *p, const struct history *h, struct trial_plan *plan,
                    const struct planned *item)
{
    double centre;
    critical_centre(p, h, h->n, item->batch, &centre);
    struct rate_grid g = critical_grid(p, centre);
    return set_number(plan, "optimizer.lr", "%.10g", rate_grid_rate(&g, item->index));
}

static int set_length(const struct critical_plan *p, struct trial_plan *plan,
                      const struct planned *item)
{
    char text[64];
    double step = p->batch[item->batch] * (double)p->job.batch.seq_len;
    double warmup = fmax(p->warmup_tokens, step * (double)p->job.study.warmup_steps);
    snprintf(text, sizeof text, "%.0f", p->run_tokens);
    TRY(set_text(p, plan, "train.tokens", text));
    snprintf(text, sizeof text, "%.0f tokens", p->warmup_tokens > 0 ? warmup : 0);
    return set_text(p, plan, "schedule.warmup", text);
}

static int make_plan(const struct critical_plan *p, const struct history *h,
                     const struct stage *stage, struct trial_plan *plan)
{
    const struct planned *item = &stage->item[h->n - stage->first];
    bool cell = stage->kind != STAGE_RANGE && stage->kind != STAGE_TIME;
    plan->parent = -1;
    snprintf(plan->role, sizeof plan->role, "%s", cell ? "cell" : stage_name(stage->kind));
    if (stage->kind != STAGE_RANGE)
        TRY(set_rate(p, h, plan, item));
    TRY(set_batch(p, plan, item));
    if (stage->kind == STAGE_RANGE)
        return OK;
    if (stage->kind == STAGE_TIME) {
        TRY(set_number(plan, "train.steps", "%.0f", TIME_STEPS));
        return set_number(plan, "study.ranks", "%.0f", item->ranks);
    }
    plan->target = p->target[p->n_targets - 1];
    plan->watch = p->target[0];
    plan->most_tokens = item->most_tokens;
    plan->validations = VALIDATIONS;
    TRY(set_number(plan, "run.seed", "%.0f", (double)p->job.run.seed + item->seed));
    return set_length(p, plan, item);
}

/* ---- the planner ---- */

static int plan_open(void **self, const struct study *s, const struct config *job)
{
    struct critical_plan *p;
    *self = NULL;
    TRY(mem_alloc(&p, 1, sizeof *p, "a study's plan"));
    int rc = critical_plan_open(p, s, job);
    if (rc == OK)
        *self = p;
    else
        mem_free(p);
    return rc;
}

static int plan_propose(void *self, const struct history *h, struct trial_plan *plan,
                        enum answer *answer)
{
    struct stage stage;
    int rc = critical_stage(self, h, &stage, answer, NULL);
    if (rc == OK && *answer == ANSWER_GO)
        rc = make_plan(self, h, &stage, plan);
    mem_free(stage.item);
    return rc;
}

static int plan_judge(void *self, const struct history *h, int i, int k, enum answer *answer,
                      char *why)
{
    (void)self, (void)h, (void)i, (void)k, (void)why;
    *answer = ANSWER_GO;
    return OK;
}

static void plan_headline(void *self, const struct history *h, char *text, size_t n)
{
    const struct critical_plan *p = self;
    double steps[RESULT_BATCHES];
    struct critical fit;
    int reached = 0;
    for (int b = 0; b < p->n_batches; b++) {
        steps[b] = critical_best_tokens(p, h, b) / p->batch[b] / (double)p->job.batch.seq_len;
        reached += isfinite(steps[b]);
    }
    int len = snprintf(text, n, "%d of %d batches reached %.4g", reached, p->n_batches,
                       p->target[p->n_targets - 1]);
    if (reached >= 3 && critical_fit(&fit, p->batch, steps, p->n_batches) && len < (int)n)
        snprintf(text + len, n - (size_t)len, ", critical batch about %.3g so far", fit.batch);
}

static void plan_close(void *self)
{
    mem_free(self);
}

const struct planner PLANNER_STUDY = {.kind = "study",
                                      .open = plan_open,
                                      .propose = plan_propose,
                                      .judge = plan_judge,
                                      .headline = plan_headline,
                                      .close = plan_close};
