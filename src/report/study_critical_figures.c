/* The figures of a large-batch study. */
#include "study_critical.h"

#include "base/err.h"
#include "study/range_curve.h"
#include "study/result_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Half the width of an interval that holds 95 of 100, in standard errors. */
#define TWO_SIDED 1.96

enum { NOISE_BUCKETS = 60 };

static void batch_ticks(struct plot *p, const struct study_result *r)
{
    double at[RESULT_BATCHES];
    for (int i = 0; i < r->n_batches; i++)
        at[i] = r->batch[i].batch;
    figure_ticks(p, at, r->n_batches);
}

/* The cell that stands for a batch; -1: none. */
static int best_cell(const struct study_result *r, int batch)
{
    const struct result_batch *b = &r->batch[batch];
    int best = b->best[critical_target(r)].cell;
    for (int i = b->first; best < 0 && i < b->first + b->n; i++)
        if (isfinite(r->cell[i].loss))
            best = i;
    for (int i = b->first; b->best[critical_target(r)].cell < 0 && i < b->first + b->n; i++)
        if (r->cell[i].loss < r->cell[best].loss)
            best = i;
    return best;
}

static void batch_title(char title[PLOT_NAME], const struct study_result *r, int i)
{
    snprintf(title, PLOT_NAME, "batch %.0f", r->batch[i].batch);
}

/* ---- steps against batch ---- */

static void add_fit(struct plot *p, const struct result_target *t, int look)
{
    struct curve *band = NULL, *line;
    if (isfinite(t->band[0].low))
        band = plot_add(p, CURVE_BAND, look, RESULT_BAND, true, "%s", "");
    line = plot_add(p, CURVE_LINE, look, RESULT_BAND, false, "%s", "");
    for (int i = 0; i < RESULT_BAND; i++) {
        if (band != NULL) {
            band->x[i] = t->band_batch[i];
            band->y[i] = t->band[i].low;
            band->z[i] = t->band[i].high;
        }
        if (line != NULL) {
            line->x[i] = t->band_batch[i];
            line->y[i] = critical_steps(&t->fit, t->band_batch[i]);
        }
    }
    if (line != NULL)
        snprintf(line->hint, sizeof line->hint, "Smin + Emin/B to a loss of %.4g", t->loss);
    double least = t->band_batch[0], most = t->band_batch[RESULT_BAND - 1];
    if (t->fit.batch > least && t->fit.batch < most) {
        figure_point(p, CURVE_RINGS, LOOK_INK, t->fit.batch, 2 * t->fit.steps_least,
                     "the critical batch: twice the least steps");
        plot_label(p, t->fit.batch, 2 * t->fit.steps_least, false, "Bcrit %.3g", t->fit.batch);
    }
}

static void target_title(char title[PLOT_NAME], const struct result_target *t)
{
    int n = snprintf(title, PLOT_NAME, "loss %.4g", t->loss);
    if (t->fits)
        n += snprintf(title + n, PLOT_NAME - (size_t)n, ": Bcrit %.3g", t->fit.batch);
    if (t->fits && isfinite(t->spread.batch.low))
        snprintf(title + n, PLOT_NAME - (size_t)n, " (%.3g to %.3g)", t->spread.batch.low,
                 t->spread.batch.high);
}

/* A batch's steps: a point, hollow where its best rate is at an edge; a cross where no rate came to
 * the target. */
static void add_batch_steps(struct plot *p, const struct result_batch *b, int k, int look,
                            struct curve *points)
{
    const struct result_best *best = &b->best[k];
    bool within = isfinite(best->steps) && best->rate.kind == BEST_WITHIN;
    if (within && points != NULL) {
        points->x[points->n] = b->batch;
        points->y[points->n++] = best->steps;
    } else if (isfinite(best->steps)) {
        figure_point(p, CURVE_RINGS, look, b->batch, best->steps,
                     "the best rate that was tried is at an edge: fewer steps may do");
    } else if (b->n_ended > 0 && b->n_ended == b->n_trials) {
        figure_point(p, CURVE_CROSSES, look, b->batch, INFINITY, "no rate came to this loss");
    }
}

static void add_target_steps(struct plot *p, const struct study_result *r, int k)
{
    char title[PLOT_NAME];
    int look = look_ramp(k, r->n_targets);
    target_title(title, &r->target[k]);
    if (r->target[k].fits)
        add_fit(p, &r->target[k], look);
    struct curve *points = plot_add(p, CURVE_POINTS, look, r->n_batches, false, "%s", title);
    if (points != NULL)
        points->n = 0;
    for (int i = 0; i < r->n_batches; i++)
        add_batch_steps(p, &r->batch[i], k, look, points);
}

static void figure_steps(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    struct plot *p = figure_begin(
        f, "Steps to a loss by batch", "batch, sequences", "optimizer steps",
        "Steps to each loss with the batch's best rate. Lines: S = Smin + Emin/B, shaded where 95 "
        "of 100 resampled fits lie. Hollow: the best rate tried is at an edge of its grid. Crosses "
        "at the top: no rate came there.");
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    batch_ticks(p, r);
    for (int k = 0; k < r->n_targets; k++)
        add_target_steps(p, r, k);
    figure_keep(f);
}

/* ---- losses ---- */

static bool is_cell_of(const struct report_study *s, int i, double batch)
{
    const struct study_result *r = critical_result(s);
    for (int k = 0; k < r->n_trials; k++)
        if (r->trial[k].number == i)
            return r->trial[k].batch == batch;
    return false;
}

static double highest_of(const struct curve *c)
{
    double most = 0;
    for (int64_t i = 0; c != NULL && i < c->n; i++)
        most = isfinite(c->y[i]) ? fmax(most, c->y[i]) : most;
    return most;
}

static void add_best_trials(struct plot *p, const struct report_study *s, int batch, enum trial_x x)
{
    const struct study_result *r = critical_result(s);
    char title[PLOT_NAME];
    int cell = best_cell(r, batch), look = look_ramp(batch, r->n_batches);
    batch_title(title, r, batch);
    for (int i = 0; cell >= 0 && i < r->cell[cell].n; i++) {
        const struct result_trial *t = &r->trial[r->cell[cell].first + i];
        const struct curve *c =
            figure_trial(p, look, &s->history.trial[t->number], x, i == 0 ? title : "");
        p->y_most = fmax(p->y_most, 1.02 * highest_of(c));
    }
}

static void add_target_levels(struct plot *p, const struct study_result *r)
{
    for (int k = 0; k < r->n_targets; k++) {
        struct curve *c =
            plot_add(p, CURVE_LEVEL, LOOK_INK, 1, false, "%s", k == 0 ? "targets" : "");
        if (c != NULL)
            c->y[0] = r->target[k].loss;
    }
}

static void figure_losses(struct figures *f, const struct report_study *s, enum trial_x x)
{
    const struct study_result *r = critical_result(s);
    struct plot *p = figure_begin(
        f, x == TRIAL_TOKENS ? "Validation loss by tokens" : "Validation loss by time",
        x == TRIAL_TOKENS ? "tokens" : "time in steps, s", "loss, nat",
        x == TRIAL_TOKENS
            ? "Each trial's validations; the best rate of each batch stands out, others are thin."
            : "The same trials against their seconds in steps, on the ranks that they had.");
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    for (int i = 0; i < r->n_batches; i++)
        figure_trials(p, look_ramp(i, r->n_batches), &s->history, x, is_cell_of, s,
                      r->batch[i].batch, "");
    for (int i = 0; i < r->n_batches; i++)
        add_best_trials(p, s, i, x);
    add_target_levels(p, r);
    figure_keep(f);
}

/* ---- the best rate ---- */

static void add_law(struct plot *p, const struct study_result *r, const struct rate_law *law,
                    enum curve_kind kind, double most, const char *where)
{
    double least = r->batch[0].batch;
    struct curve *c = plot_add(p, kind, LOOK_INK, 2, false, "lr* ~ B^%.2f (%.2f to %.2f)%s",
                               law->exponent, law->range.low, law->range.high, where);
    for (int i = 0; c != NULL && i < 2; i++) {
        c->x[i] = i == 0 ? least : most;
        c->y[i] = law->factor * pow(c->x[i], law->exponent);
    }
}

static void add_best_rate(struct plot *p, const struct result_batch *b, int k, struct curve *points,
                          struct curve *ranges)
{
    const struct best_rate *rate = &b->best[k].rate;
    if (b->best[k].cell < 0)
        return;
    if (rate->kind != BEST_WITHIN) {
        figure_point(p, CURVE_RINGS, 0, b->batch, rate->lr, best_rate_why(rate->kind));
        plot_label(p, b->batch, rate->lr, false, "edge");
        return;
    }
    if (points != NULL) {
        points->x[points->n] = b->batch;
        points->y[points->n++] = rate->lr;
    }
    if (ranges != NULL && rate->error > 0) {
        ranges->x[ranges->n] = b->batch;
        ranges->y[ranges->n] = rate->lr * exp(-TWO_SIDED * rate->error);
        ranges->z[ranges->n++] = rate->lr * exp(TWO_SIDED * rate->error);
    }
}

static void figure_rates(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    int k = critical_target(r);
    char caption[320];
    snprintf(caption, sizeof caption,
             "The rate with the fewest steps to a loss of %.4g, between the rates that were tried; "
             "bars: 95%% by the grid's spacing; hollow: at an edge of its grid.",
             r->target[k].loss);
    struct plot *p =
        figure_begin(f, "Best rate by batch", "batch, sequences", "learning rate", caption);
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    batch_ticks(p, r);
    struct curve *ranges = plot_add(p, CURVE_RANGES, 0, r->n_batches, true, "%s", "");
    struct curve *points = plot_add(p, CURVE_POINTS, 0, r->n_batches, false, "best rate");
    if (ranges != NULL)
        ranges->n = 0;
    if (points != NULL)
        points->n = 0;
    for (int i = 0; i < r->n_batches; i++)
        add_best_rate(p, &r->batch[i], k, points, ranges);
    if (r->target[k].lawful)
        add_law(p, r, &r->target[k].law, CURVE_DASHED, r->batch[r->n_batches - 1].batch, "");
    if (r->target[k].lawful_below)
        add_law(p, r, &r->target[k].law_below, CURVE_LINE, r->target[k].fit.batch, " up to Bcrit");
    figure_keep(f);
}

/* ---- every rate ---- */

/* Tokens to the target, or the loss where no batch came there. */
static double score_of(const struct study_result *r, const struct result_cell *c)
{
    return r->main >= 0 ? c->steps[r->main] * c->batch * r->seq_len : c->loss;
}

static void add_batch_rates(struct plot *p, const struct study_result *r, int batch)
{
    const struct result_batch *b = &r->batch[batch];
    const struct result_best *best = &b->best[critical_target(r)];
    int look = look_ramp(batch, r->n_batches), cell = best_cell(r, batch);
    char title[PLOT_NAME];
    batch_title(title, r, batch);
    struct curve *c = plot_add(p, CURVE_LINE_POINTS, look, b->n, false, "%s", title);
    for (int i = 0; c != NULL && i < b->n; i++) {
        const struct result_cell *of = &r->cell[b->first + i];
        double score = score_of(r, of);
        c->x[i] = of->lr;
        c->y[i] = isfinite(score) ? score : NAN;
        if (isinf(score) || (of->n_diverged > 0 && !isfinite(score)))
            figure_point(p, CURVE_CROSSES, look, of->lr, INFINITY,
                         of->n_diverged > 0 ? "diverged" : "never came to the loss");
    }
    if (cell < 0 || !isfinite(score_of(r, &r->cell[cell])))
        return;
    double lr = r->cell[cell].lr, score = score_of(r, &r->cell[cell]);
    figure_point(p, CURVE_RINGS, LOOK_INK, lr, score, "the best rate tried");
    if (r->main >= 0 && best->rate.kind != BEST_WITHIN)
        plot_label(p, lr, score, best->rate.kind == BEST_HIGHEST, "edge");
}

static void figure_all_rates(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    char label[PLOT_NAME];
    snprintf(label, sizeof label, r->main >= 0 ? "tokens to a loss of %.4g" : "last loss, nat",
             r->target[critical_target(r)].loss);
    struct plot *p =
        figure_begin(f, "Every rate at every batch", "learning rate", label,
                     "Each batch's rates, mean of their seeds; a ring around the best. "
                     "Crosses at the top: that rate diverged or never came there. "
                     "\"edge\": the best is the lowest or highest tried.");
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    for (int i = 0; i < r->n_batches; i++)
        add_batch_rates(p, r, i);
    figure_keep(f);
}

static void add_range_test(struct plot *p, const struct report_study *s, int batch)
{
    const struct study_result *r = critical_result(s);
    const struct trial *t = &s->history.trial[r->batch[batch].range_trial];
    char title[PLOT_NAME];
    batch_title(title, r, batch);
    struct curve *c =
        plot_add(p, CURVE_LINE, look_ramp(batch, r->n_batches), t->n_curve, false, "%s", title);
    for (int i = 0; c != NULL && i < t->n_curve; i++) {
        c->x[i] = range_rate(&RANGE_DEFAULT, i);
        c->y[i] = t->curve[i].loss;
    }
    if (c != NULL && c->n > 0)
        p->y_most = fmax(p->y_most, 1.1 * c->y[0]);
}

static void figure_range_tests(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    struct plot *p =
        figure_begin(f, "Range tests", "learning rate", "smoothed loss, nat",
                     "Training loss while the rate rises step by step: where the grids "
                     "of rates are centred by.");
    if (p == NULL)
        return;
    p->log_x = true;
    for (int i = 0; i < r->n_batches; i++)
        if (r->batch[i].range_trial >= 0)
            add_range_test(p, s, i);
    figure_keep(f);
}

/* ---- noise scale ---- */

/* The run's own measurements, where its folder is still there; else what the trial kept. */
static void add_noise(struct plot *p, const struct report_study *s, const struct trial *t, int look,
                      const char *title)
{
    struct report_run run;
    char trial[FS_PATH_MAX], path[FS_PATH_MAX];
    if (trial_path(trial, &s->study, t->number) != OK || fs_join(path, trial, "run") != OK ||
        report_run_load(&run, path) != OK) {
        err_clear();
        struct curve *c = plot_add(p, CURVE_POINTS, look, 1, false, "%s", title);
        if (c != NULL) {
            c->x[0] = t->tokens;
            c->y[0] = t->noise_scale;
        }
        return;
    }
    struct curve *c = plot_add(p, CURVE_LINE, look, run.n, false, "%s", title);
    if (c != NULL) {
        report_column(&run, M_TOKENS, c->x);
        report_column(&run, metric_find("noise_scale"), c->y);
        c->n = report_has(&run, metric_find("noise_scale")) ? c->n : 0;
        c->n = series_join(c->x, c->y, NULL, c->n);
        c->n = series_thin(c->x, c->y, NULL, c->n, NOISE_BUCKETS);
    }
    report_run_release(&run);
}

static void figure_noise(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    int k = critical_target(r);
    struct plot *p = figure_begin(
        f, "Gradient noise scale by tokens", "tokens", "sequences",
        "As the best trial of each batch measured it on its way, or at its end where its run is no "
        "longer there. Dashed: the critical batch by the fit.");
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    for (int i = 0; i < r->n_batches; i++) {
        char title[PLOT_NAME];
        int cell = best_cell(r, i);
        batch_title(title, r, i);
        if (cell >= 0)
            add_noise(p, s, &s->history.trial[r->trial[r->cell[cell].first].number],
                      look_ramp(i, r->n_batches), title);
    }
    struct curve *level = r->target[k].fits ? plot_add(p, CURVE_LEVEL, LOOK_INK, 1, false,
                                                       "Bcrit to %.4g", r->target[k].loss)
                                            : NULL;
    if (level != NULL)
        level->y[0] = r->target[k].fit.batch;
    figure_keep(f);
}

/* ---- efficiencies and ways ---- */

/* The counts of ranks among the ways, rising; how many. */
static int rank_counts(int counts[RESULT_BATCHES], const struct study_result *r)
{
    int n = 0;
    for (int i = 0; i < r->n_ways; i++) {
        int at = 0, ranks = r->way[i].ranks;
        while (at < n && counts[at] < ranks)
            at++;
        if ((at < n && counts[at] == ranks) || n == RESULT_BATCHES)
            continue;
        memmove(counts + at + 1, counts + at, (size_t)(n - at) * sizeof *counts);
        counts[at] = ranks;
        n++;
    }
    return n;
}

static void add_efficiency(struct plot *p, const struct study_result *r, int ranks, int look)
{
    struct curve *system = plot_add(p, CURVE_DASHED, look, r->n_ways, false, "system, %d rank%s",
                                    ranks, ranks == 1 ? "" : "s");
    struct curve *both = plot_add(p, CURVE_LINE_POINTS, look, r->n_ways, false, "both, %d rank%s",
                                  ranks, ranks == 1 ? "" : "s");
    if (system == NULL || both == NULL)
        return;
    system->n = both->n = 0;
    for (int i = 0; i < r->n_ways; i++) {
        const struct way *w = &r->way[i];
        if (w->ranks != ranks)
            continue;
        system->x[system->n] = both->x[both->n] = w->batch;
        system->y[system->n++] = 100 * w->system;
        both->y[both->n++] = 100 * w->system * w->statistical;
    }
}

static void figure_efficiency(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    int counts[RESULT_BATCHES], n = rank_counts(counts, r), k = critical_target(r);
    struct plot *p =
        figure_begin(f, "Efficiency by batch", "batch, sequences", "efficiency, %",
                     "Samples: Emin/E, which falls as batches grow; system: T1/(N·TN), which falls "
                     "as ranks share a batch; both: their product.");
    if (p == NULL)
        return;
    p->log_x = p->zero_y = true;
    batch_ticks(p, r);
    struct curve *c = plot_add(p, CURVE_LINE, LOOK_INK, r->n_batches, false, "samples");
    for (int i = 0; c != NULL && i < r->n_batches; i++) {
        c->x[i] = r->batch[i].batch;
        c->y[i] = 100 / r->batch[i].best[k].overhead;
    }
    for (int i = 0; i < n; i++)
        add_efficiency(p, r, counts[i], look_ramp(i, n));
    figure_keep(f);
}

/* From the fastest to the cheapest: no way of the front is slower and dearer than another. */
static void add_front(struct plot *p, const struct study_result *r)
{
    struct curve *c = plot_add(p, CURVE_LINE, LOOK_GREY, r->n_ways, false, "Pareto front");
    if (c == NULL)
        return;
    c->n = 0;
    for (int i = 0; i < r->n_ways; i++) {
        const struct way *w = &r->way[i];
        int64_t at = c->n;
        if (!w->front)
            continue;
        for (; at > 0 && c->x[at - 1] > w->time_s; at--) {
            c->x[at] = c->x[at - 1];
            c->y[at] = c->y[at - 1];
        }
        c->x[at] = w->time_s;
        c->y[at] = w->core_h;
        c->n++;
    }
    c->n = c->n > 1 ? c->n : 0;
}

static void add_ways(struct plot *p, const struct study_result *r, int ranks, int look)
{
    struct curve *c = plot_add(p, CURVE_POINTS, look, r->n_ways, false, "%d rank%s", ranks,
                               ranks == 1 ? "" : "s");
    if (c == NULL)
        return;
    c->n = 0;
    for (int i = 0; i < r->n_ways; i++) {
        const struct way *w = &r->way[i];
        if (w->ranks != ranks || !isfinite(w->time_s))
            continue;
        c->x[c->n] = w->time_s;
        c->y[c->n++] = w->core_h;
        if (i != r->advice.way)
            plot_label(p, w->time_s, w->core_h, false, "%.0f", w->batch);
    }
}

static void figure_front(struct figures *f, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    int counts[RESULT_BATCHES], n = rank_counts(counts, r);
    char title[PLOT_NAME];
    snprintf(title, sizeof title, "Time and cost to a loss of %.4g",
             r->target[critical_target(r)].loss);
    struct plot *p = figure_begin(
        f, title, "time, s", "core-hours",
        "Each way there, labelled with its batch, from measured seconds of a step. On the front no "
        "other way is both faster and cheaper.");
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    add_front(p, r);
    if (r->advice.way >= 0) {
        const struct way *w = &r->way[r->advice.way];
        figure_point(p, CURVE_RINGS, LOOK_INK, w->time_s, w->core_h, "advised");
        plot_label(p, w->time_s, w->core_h, false, "%.0f on %d: advised", w->batch, w->ranks);
    }
    for (int i = 0; i < n; i++)
        add_ways(p, r, counts[i], look_ramp(i, n));
    figure_keep(f);
}

void critical_figures(struct figures *f, const struct report_study *s)
{
    if (critical_result(s)->n_batches == 0)
        return;
    figure_steps(f, s);
    figure_rates(f, s);
    figure_all_rates(f, s);
    figure_range_tests(f, s);
    figure_losses(f, s, TRIAL_TOKENS);
    figure_losses(f, s, TRIAL_TIME);
    figure_noise(f, s);
    figure_efficiency(f, s);
    figure_front(f, s);
}
