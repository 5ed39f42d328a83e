/* What a study advises, and what is to be said beside it. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "result_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Seeds of small models lie so far apart, in logarithms: what one seed's steps are worth. */
static const double ONE_SEED = 0.15;
/* A fit's residual that is worth a word. */
static const double FAR_OFF = 0.1;
/* Exponents of rules that a law is compared with. */
static const struct {
    const char *name;
    double exponent;
} RULES[] = {{"none", 0}, {"sqrt", 0.5}, {"linear", 1}};
enum { N_RULES = sizeof RULES / sizeof RULES[0] };

/* The law around a batch: of batches up to the critical one for one of them. */
static const struct rate_law *law_at(const struct result_target *t, double batch)
{
    if (t->lawful_below && batch <= t->fit.batch)
        return &t->law_below;
    return t->lawful ? &t->law : NULL;
}

static const char *nearest_rule(const struct rate_law *law)
{
    int best = 0;
    for (int i = 1; i < N_RULES; i++)
        if (fabs(RULES[i].exponent - law->exponent) < fabs(RULES[best].exponent - law->exponent))
            best = i;
    return RULES[best].name;
}

/* Without times: the largest batch whose examples are no more than twice the least. */
static int batch_by_fit(const struct study_result *r)
{
    int best = -1;
    const struct result_target *t = &r->target[r->main];
    for (int i = 0; i < r->n_batches; i++) {
        const struct result_best *b = &r->batch[i].best[r->main];
        if (b->cell >= 0 && (best < 0 || (t->fits && r->batch[i].batch <= t->fit.batch)))
            best = i;
    }
    return best;
}

/* Between seeds where there are several, else what one seed is known to be worth. */
static struct interval steps_range(const struct study_result *r, const struct result_best *best)
{
    const struct result_cell *c = &r->cell[best->cell];
    double low = INFINITY, high = 0;
    for (int i = 0; i < c->n; i++) {
        low = fmin(low, r->trial[c->first + i].steps[r->main]);
        high = fmax(high, r->trial[c->first + i].steps[r->main]);
    }
    if (c->n < 2)
        return (struct interval){best->steps * exp(-ONE_SEED), best->steps * exp(ONE_SEED)};
    return (struct interval){low, high};
}

static void choose(struct study_result *r)
{
    struct advice *a = &r->advice;
    a->way = way_choose(r->way, r->n_ways);
    if (a->way < 0)
        a->batch = batch_by_fit(r);
    for (int i = 0; a->way >= 0 && i < r->n_batches; i++)
        if (r->batch[i].batch == r->way[a->way].batch)
            a->batch = i;
}

static void add_rule(struct str *s, const char *rule, const struct rate_law *law)
{
    str_addf(s, ", scaled by rule %s around it (lr ~ B^%.2f, %.2f to %.2f)", rule, law->exponent,
             law->range.low, law->range.high);
}

static const char *time_text(char *buf, size_t n, double s)
{
    if (s >= 1)
        return fmt_duration(buf, n, s);
    snprintf(buf, n, "%.3g ms", 1000 * s);
    return buf;
}

static void say(struct study_result *r)
{
    char text[32], low[32], high[32];
    struct str *s = &r->sentence;
    const struct advice *a = &r->advice;
    const struct result_best *best = &r->batch[a->batch].best[r->main];
    double batch = r->batch[a->batch].batch;
    str_addf(s, "Train with batches of %.0f sequences (%s tokens)", batch,
             fmt_si(text, sizeof text, batch * r->seq_len));
    str_addf(s, " at a learning rate of %.2g", a->lr);
    if (a->lr_factor > 0)
        str_addf(s, " (times or over %.2g)", a->lr_factor);
    if (*a->rule != '\0')
        add_rule(s, a->rule, law_at(&r->target[r->main], batch));
    if (a->way >= 0)
        str_addf(s, ", on %d rank%s", r->way[a->way].ranks, r->way[a->way].ranks == 1 ? "" : "s");
    str_addf(s, ": %.0f steps (%.0f to %.0f) to a loss of %.4g", best->steps, a->steps.low,
             a->steps.high, r->target[r->main].loss);
    if (a->way >= 0)
        str_addf(s, ", %s (%s to %s), %.3g core-hours",
                 time_text(text, sizeof text, r->way[a->way].time_s),
                 time_text(low, sizeof low, 3600 * a->hours.low),
                 time_text(high, sizeof high, 3600 * a->hours.high), r->way[a->way].core_h);
    str_add(s, ".");
}

void result_advise(struct study_result *r)
{
    struct advice *a = &r->advice;
    a->way = a->batch = -1;
    if (r->main < 0)
        return;
    choose(r);
    if (a->batch < 0)
        return;
    const struct result_best *best = &r->batch[a->batch].best[r->main];
    const struct rate_law *law = law_at(&r->target[r->main], r->batch[a->batch].batch);
    a->lr = best->rate.lr;
    a->lr_factor = best->rate.error > 0 ? exp(best->rate.error) : 0;
    if (law != NULL)
        strcpy(a->rule, nearest_rule(law));
    a->steps = steps_range(r, best);
    a->hours = (struct interval){NAN, NAN};
    if (a->way >= 0)
        a->hours = (struct interval){a->steps.low * r->way[a->way].step_s / 3600,
                                     a->steps.high * r->way[a->way].step_s / 3600};
    say(r);
}

/* ---- what is said beside it ---- */

static void note_batch(struct study_result *r, const struct result_batch *b, int k)
{
    const char *why = best_rate_why(b->best[k].rate.kind);
    if (b->n == 0 || b->n_ended < b->n_trials)
        return;
    if (b->best[k].cell < 0)
        str_addf(&r->notes,
                 "batch %.0f: no rate reached %.4g with all of its seeds (%d trials, %d diverged, "
                 "%d failed)\n",
                 b->batch, r->target[k].loss, b->n_trials, b->n_diverged, b->n_failed);
    else if (why != NULL)
        str_addf(&r->notes,
                 "batch %.0f, target %.4g: %s, at the edge of its grid: another may take fewer "
                 "steps (study.extend, study.rates)\n",
                 b->batch, r->target[k].loss, why);
}

int result_seeds_reached(const struct study_result *r, int target)
{
    int n = 0;
    for (int i = 0; i < r->n_trials; i++)
        n += isfinite(r->trial[i].steps[target]);
    return n;
}

static double least_loss(const struct history *h, int *trial)
{
    double least = INFINITY;
    *trial = -1;
    for (int i = 0; i < h->n; i++)
        for (int k = 0; strcmp(h->trial[i].plan.role, "cell") == 0 && k < h->trial[i].n_curve; k++)
            if (h->trial[i].curve[k].loss < least) {
                least = h->trial[i].curve[k].loss;
                *trial = i;
            }
    return least;
}

static void note_target(struct study_result *r, const struct history *h, int k)
{
    const struct result_target *t = &r->target[k];
    int trial;
    double least = least_loss(h, &trial);
    if (t->n_reached == 0 && r->n_waiting == 0 && r->n_trials > 0) {
        int n = result_seeds_reached(r, k);
        str_addf(&r->notes, "target %.4g: no %s reached it", t->loss,
                 n > 0 ? "rate with all of its seeds" : "trial");
        if (trial >= 0)
            str_addf(&r->notes, "; the lowest loss was %.4g, in trial %d", least, trial);
        str_add(&r->notes, "; set a higher one in study.targets, or make the run longer\n");
        return;
    }
    for (int i = 0; i < r->n_batches; i++)
        note_batch(r, &r->batch[i], k);
    if (t->fits && t->spread.by == RESAMPLED_NONE)
        str_addf(&r->notes, "target %.4g: %d points are too few to say how well the fit is known\n",
                 t->loss, t->n_fitted);
    if (t->fits && t->fit.residual > FAR_OFF)
        str_addf(&r->notes,
                 "target %.4g: steps lie %.0f%% off the fitted curve, which intervals by resampled "
                 "seeds do not show\n",
                 t->loss, 100 * t->fit.residual);
}

/* What the plan would still do: nothing, or what the budget has no room for. */
static int note_plan(struct study_result *r, const struct history *h, const struct critical_plan *p)
{
    struct stage stage;
    enum answer answer;
    TRY(critical_stage(p, h, &stage, &answer, &r->notes));
    if (answer == ANSWER_GO && r->n_waiting == 0)
        str_addf(&r->notes, "stage \"%s\" is next: %d trials; run the study again to go on\n",
                 stage_name(stage.kind), stage.first + stage.n - h->n);
    mem_free(stage.item);
    return OK;
}

int result_note(struct study_result *r, const struct history *h, const struct critical_plan *p)
{
    for (int k = 0; k < r->n_targets; k++)
        note_target(r, h, k);
    for (int i = 0; i < r->n_times; i++)
        if (r->time[i].n == 0 && r->n_waiting == 0)
            str_addf(&r->notes, "batch %.0f on %d ranks: no step time was measured\n",
                     r->time[i].batch, r->time[i].ranks);
    return note_plan(r, h, p);
}
