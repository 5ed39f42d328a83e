/* Fits over batches: steps to a target, and the best rate. */
#include "base/err.h"
#include "base/mem.h"
#include "result_parts.h"

#include <math.h>
#include <string.h>

enum { LEAST_WITHIN = 3, LEAST_FITTED = 2 };

/* The batches that a target's fit takes. */
static int choose_batches(const struct study_result *r, int k, int *chosen, bool *edges)
{
    int n = 0, within = 0;
    for (int i = 0; i < r->n_batches; i++)
        within += r->batch[i].best[k].rate.kind == BEST_WITHIN;
    for (int i = 0; i < r->n_batches; i++) {
        const struct result_best *best = &r->batch[i].best[k];
        if (best->cell < 0 || (within >= LEAST_WITHIN && best->rate.kind != BEST_WITHIN))
            continue;
        *edges = *edges || best->rate.kind != BEST_WITHIN;
        chosen[n++] = i;
    }
    return n;
}

/* All seeds' steps of the chosen batches, one batch after the other. */
static int gather_seeds(const struct study_result *r, int k, const int *chosen, int n,
                        struct seed_steps *point, double **steps)
{
    int at = 0;
    TRY(mem_alloc(steps, (size_t)r->n_trials, sizeof **steps, "steps of seeds"));
    for (int i = 0; i < n; i++) {
        const struct result_batch *b = &r->batch[chosen[i]];
        const struct result_cell *c = &r->cell[b->best[k].cell];
        point[i] = (struct seed_steps){b->batch, *steps + at, c->n};
        for (int j = 0; j < c->n; j++)
            (*steps)[at++] = r->trial[c->first + j].steps[k];
    }
    return OK;
}

static void lay_band(const struct study_result *r, struct result_target *t)
{
    double low = log(r->batch[0].batch), high = log(r->batch[r->n_batches - 1].batch);
    for (int i = 0; i < RESULT_BAND; i++)
        t->band_batch[i] = exp(low + (high - low) * i / (RESULT_BAND - 1));
}

static int fit_steps(struct study_result *r, int k, const int *chosen, int n)
{
    struct result_target *t = &r->target[k];
    struct seed_steps point[RESULT_BATCHES];
    double batch[RESULT_BATCHES], mean[RESULT_BATCHES], *steps;
    for (int i = 0; i < n; i++) {
        batch[i] = r->batch[chosen[i]].batch;
        mean[i] = r->batch[chosen[i]].best[k].steps;
    }
    t->fits = n >= LEAST_FITTED && critical_fit(&t->fit, batch, mean, n);
    if (!t->fits)
        return OK;
    TRY(gather_seeds(r, k, chosen, n, point, &steps));
    lay_band(r, t);
    t->spread.steps = t->band;
    critical_resample(&t->spread, &t->fit, point, n, t->band_batch, RESULT_BAND);
    t->spread.steps = NULL;
    mem_free(steps);
    for (int i = 0; i < r->n_batches; i++) {
        struct result_best *best = &r->batch[i].best[k];
        best->fitted = critical_steps(&t->fit, r->batch[i].batch);
        best->overhead = best->cell >= 0 ? best->examples / t->fit.examples_least : NAN;
    }
    return OK;
}

/* The law of the rates whose optimum lies within the grid, of batches up to a limit. */
static bool fit_rates(const struct study_result *r, int k, double most, struct rate_law *law)
{
    struct rate_at at[RESULT_BATCHES];
    int n = 0;
    for (int i = 0; i < r->n_batches; i++) {
        const struct best_rate *best = &r->batch[i].best[k].rate;
        if (best->kind == BEST_WITHIN && r->batch[i].batch <= most)
            at[n++] = (struct rate_at){r->batch[i].batch, best->lr, best->error};
    }
    return rate_law_fit(law, at, n);
}

int result_fit(struct study_result *r, int target)
{
    struct result_target *t = &r->target[target];
    int chosen[RESULT_BATCHES];
    for (int i = 0; i < r->n_batches; i++)
        t->n_reached += r->batch[i].best[target].cell >= 0;
    t->n_fitted = choose_batches(r, target, chosen, &t->edges);
    TRY(fit_steps(r, target, chosen, t->n_fitted));
    t->lawful = fit_rates(r, target, INFINITY, &t->law);
    t->lawful_below = t->fits && fit_rates(r, target, t->fit.batch, &t->law_below) &&
                      t->law_below.n > 2 && t->law_below.n < t->law.n;
    return OK;
}

/* ---- ways ---- */

static double one_rank_s(const struct study_result *r, double batch)
{
    for (int i = 0; i < r->n_times; i++)
        if (r->time[i].batch == batch && r->time[i].ranks == 1)
            return r->time[i].step_s;
    return NAN;
}

int result_ways(struct study_result *r)
{
    if (r->main < 0)
        return OK;
    const struct result_target *t = &r->target[r->main];
    TRY(mem_alloc(&r->way, (size_t)r->n_times, sizeof *r->way, "ways to the target"));
    for (int i = 0, b = 0; i < r->n_times; i++) {
        while (r->batch[b].batch != r->time[i].batch)
            b++;
        if (r->batch[b].best[r->main].cell < 0)
            continue;
        struct way *w = &r->way[r->n_ways++];
        w->batch = r->time[i].batch;
        w->ranks = r->time[i].ranks;
        w->step_s = r->time[i].step_s;
        w->steps = r->batch[b].best[r->main].steps;
        way_fill(w, one_rank_s(r, w->batch), t->fits ? t->fit.examples_least : NAN, r->seq_len);
        w->core_h *= r->threads;
    }
    way_front(r->way, r->n_ways);
    return OK;
}
