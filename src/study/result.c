/* From a study's history to what it comes to: trials, cells, batches, targets. */
#include "study/result.h"

#include "base/err.h"
#include "base/mem.h"
#include "result_parts.h"
#include "study/critical_plan.h"
#include "study/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- trials ---- */

/* To each target: INFINITY where a trial that has ended never came to it. */
static void take_steps(struct result_trial *out, const struct study_result *r,
                       const struct trial *t)
{
    for (int k = 0; k < r->n_targets; k++) {
        double step = trial_steps_to(t, r->target[k].loss);
        out->steps[k] = isinf(step) && !out->ended ? NAN : step;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct result_trial *x = a, *y = b;
    if (x->batch != y->batch)
        return x->batch < y->batch ? -1 : 1;
    if (x->lr != y->lr)
        return x->lr < y->lr ? -1 : 1;
    return x->seed != y->seed ? (x->seed > y->seed) - (x->seed < y->seed)
                              : (x->number > y->number) - (x->number < y->number);
}

static int take_trials(struct study_result *r, const struct history *h)
{
    TRY(mem_alloc(&r->trial, (size_t)h->n, sizeof *r->trial, "a study's cells"));
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        r->tokens += t->tokens;
        r->core_h += t->train_s * t->ranks * r->threads / 3600;
        r->n_waiting += !trial_ended(t);
        if (!trial_is(t, "cell"))
            continue;
        struct result_trial *out = &r->trial[r->n_trials++];
        out->number = i;
        out->batch = trial_number_of(t, "batch.global");
        out->lr = trial_number_of(t, "optimizer.lr");
        out->seed = (int64_t)trial_number_of(t, "run.seed");
        out->ended = trial_ended(t);
        take_steps(out, r, t);
    }
    if (r->n_trials > 0)
        qsort(r->trial, (size_t)r->n_trials, sizeof *r->trial, by_place);
    return OK;
}

/* ---- cells ---- */

static void add_to_cell(struct result_cell *c, const struct study_result *r,
                        const struct result_trial *x, const struct trial *t)
{
    c->n++;
    c->n_ended += x->ended;
    c->n_diverged += t->state == TRIAL_DIVERGED;
    c->n_failed += t->state == TRIAL_FAILED;
    c->loss += t->value;
    for (int k = 0; k < r->n_targets; k++)
        c->steps[k] += x->steps[k];
}

static int take_cells(struct study_result *r, const struct history *h)
{
    TRY(mem_alloc(&r->cell, (size_t)r->n_trials, sizeof *r->cell, "a study's cells"));
    for (int i = 0; i < r->n_trials; i++) {
        const struct result_trial *x = &r->trial[i];
        struct result_cell *c = &r->cell[r->n_cells - (r->n_cells > 0)];
        if (r->n_cells == 0 || c->batch != x->batch || c->lr != x->lr) {
            c = &r->cell[r->n_cells++];
            *c = (struct result_cell){.batch = x->batch, .lr = x->lr, .first = i};
        }
        add_to_cell(c, r, x, &h->trial[x->number]);
    }
    for (int i = 0; i < r->n_cells; i++) {
        struct result_cell *c = &r->cell[i];
        c->loss /= c->n;
        for (int k = 0; k < r->n_targets; k++)
            c->steps[k] /= c->n;
    }
    return OK;
}

/* ---- batches ---- */

static double geometric_mean(const struct study_result *r, const struct result_cell *c, int target)
{
    double sum = 0;
    for (int i = 0; i < c->n; i++)
        sum += log(r->trial[c->first + i].steps[target]) / c->n;
    return exp(sum);
}

static int take_best(struct study_result *r, struct result_batch *b, int target)
{
    struct result_best *best = &b->best[target];
    struct rate_score *score;
    int n = 0;
    TRY(mem_alloc(&score, (size_t)b->n, sizeof *score, "rates"));
    *best = (struct result_best){
        .cell = -1, .steps = INFINITY, .examples = INFINITY, .overhead = NAN, .fitted = NAN};
    for (int i = b->first; i < b->first + b->n; i++) {
        const struct result_cell *c = &r->cell[i];
        if (isnan(c->steps[target]))
            continue;
        score[n++] = (struct rate_score){c->lr, c->steps[target]};
        if (isfinite(c->steps[target]) &&
            (best->cell < 0 || c->steps[target] < r->cell[best->cell].steps[target]))
            best->cell = i;
    }
    best->rate = best_rate_of(score, n);
    mem_free(score);
    if (best->cell >= 0) {
        best->n_seeds = r->cell[best->cell].n;
        best->steps = geometric_mean(r, &r->cell[best->cell], target);
        best->examples = best->steps * b->batch;
    }
    return OK;
}

static void count_cells(const struct study_result *r, struct result_batch *b)
{
    for (int i = b->first; i < b->first + b->n; i++) {
        const struct result_cell *c = &r->cell[i];
        b->n_trials += c->n;
        b->n_ended += c->n_ended;
        b->n_diverged += c->n_diverged;
        b->n_failed += c->n_failed;
        for (int k = c->first; k < c->first + c->n; k++)
            b->n_unreached += isinf(r->trial[k].steps[r->n_targets - 1]);
    }
}

/* What the best cell's trials measured, of the lowest target that was reached. */
static void measure(const struct study_result *r, struct result_batch *b, const struct history *h)
{
    int cell = -1, n_noise = 0;
    double noise = 0;
    for (int k = r->n_targets - 1; k >= 0 && cell < 0; k--)
        cell = b->best[k].cell;
    b->step_s = b->ranks = NAN;
    for (int i = 0; cell >= 0 && i < r->cell[cell].n; i++) {
        const struct trial *t = &h->trial[r->trial[r->cell[cell].first + i].number];
        b->step_s = i == 0 || t->step_s < b->step_s ? t->step_s : b->step_s;
        b->ranks = t->ranks;
        b->spikes += t->spikes;
        if (isfinite(t->noise_scale)) {
            noise += t->noise_scale;
            n_noise++;
        }
    }
    b->noise_scale = n_noise > 0 ? noise / n_noise : NAN;
}

static int take_batches(struct study_result *r, const struct history *h,
                        const struct critical_plan *p)
{
    TRY(mem_alloc(&r->batch, (size_t)p->n_batches, sizeof *r->batch, "a study's batches"));
    r->n_batches = p->n_batches;
    for (int i = 0, c = 0; i < p->n_batches; i++) {
        struct result_batch *b = &r->batch[i];
        b->batch = p->batch[i];
        b->range_trial = -1;
        for (int k = 0; k < h->n; k++)
            if (trial_is(&h->trial[k], "range") &&
                trial_number_of(&h->trial[k], "batch.global") == b->batch)
                b->range_trial = k;
        if (!critical_centre(p, h, h->n, i, &b->centre))
            b->centre = NAN;
        while (c < r->n_cells && r->cell[c].batch < b->batch)
            c++;
        for (b->first = c; c < r->n_cells && r->cell[c].batch == b->batch; c++)
            b->n++;
        count_cells(r, b);
        for (int k = 0; k < r->n_targets; k++)
            TRY(take_best(r, b, k));
        measure(r, b, h);
    }
    return OK;
}

/* ---- times ---- */

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The median over the trials of a batch on so many ranks. */
static int take_time(struct timing *out, const struct history *h, double batch, int ranks)
{
    double *v;
    *out = (struct timing){batch, ranks, NAN, 0};
    TRY(mem_alloc(&v, (size_t)h->n, sizeof *v, "step times"));
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        if (trial_number_of(t, "batch.global") == batch && (int)t->ranks == ranks &&
            !trial_is(t, "range") && isfinite(t->step_s) && t->step_s > 0)
            v[out->n++] = t->step_s;
    }
    if (out->n > 0) {
        qsort(v, (size_t)out->n, sizeof *v, by_value);
        out->step_s = (v[(out->n - 1) / 2] + v[out->n / 2]) / 2;
    }
    mem_free(v);
    return OK;
}

/* The counts of ranks that were asked for or that trials ran on, rising. */
static int rank_counts(double *out, int most, const struct history *h,
                       const struct critical_plan *p)
{
    int n = 0;
    for (; n < p->n_ranks; n++)
        out[n] = p->ranks[n];
    for (int i = 0; i < h->n; i++) {
        double ranks = h->trial[i].ranks;
        bool there = !(ranks >= 1) || n == most || !(h->trial[i].step_s > 0);
        for (int k = 0; k < n; k++)
            there = there || out[k] == ranks;
        if (!there)
            out[n++] = ranks;
    }
    qsort(out, (size_t)n, sizeof *out, by_value);
    return n;
}

static int take_times(struct study_result *r, const struct history *h,
                      const struct critical_plan *p)
{
    double ranks[2 * RESULT_TARGETS];
    int n = rank_counts(ranks, 2 * RESULT_TARGETS, h, p);
    TRY(mem_alloc(&r->time, (size_t)(n * r->n_batches), sizeof *r->time, "step times"));
    for (int b = 0; b < r->n_batches; b++)
        for (int k = 0; k < n; k++)
            TRY(take_time(&r->time[r->n_times++], h, r->batch[b].batch, (int)ranks[k]));
    return OK;
}

/* ---- all of it ---- */

static int fill(struct study_result *r, const struct history *h, const struct critical_plan *p)
{
    r->seq_len = (double)p->job.batch.seq_len;
    r->threads = (double)p->job.parallel.threads;
    r->main = -1;
    r->n_targets = p->n_targets;
    for (int k = 0; k < p->n_targets; k++)
        r->target[k].loss = p->target[k];
    TRY(take_trials(r, h));
    TRY(take_cells(r, h));
    TRY(take_batches(r, h, p));
    for (int k = 0; k < r->n_targets; k++) {
        TRY(result_fit(r, k));
        if (r->target[k].n_reached > 0)
            r->main = k;
    }
    TRY(take_times(r, h, p));
    TRY(result_ways(r));
    result_advise(r);
    return result_note(r, h, p);
}

int study_result(struct study_result *r, const struct history *h, const struct config *job)
{
    struct critical_plan *p;
    memset(r, 0, sizeof *r);
    TRY(mem_alloc(&p, 1, sizeof *p, "a study's plan"));
    int rc = critical_plan_open(p, NULL, job);
    if (rc == OK)
        rc = fill(r, h, p);
    mem_free(p);
    if (rc != OK)
        study_result_release(r);
    return rc;
}

void study_result_release(struct study_result *r)
{
    MEM_FREE(r->trial);
    MEM_FREE(r->cell);
    MEM_FREE(r->batch);
    MEM_FREE(r->time);
    MEM_FREE(r->way);
    str_release(&r->sentence);
    str_release(&r->notes);
}
