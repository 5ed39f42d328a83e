#include "study/result_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A figure in a column, "-" when it is not known or never came. */
static void cell(struct str *text, int width, const char *form, double v)
{
    char figure[32];
    if (isfinite(v))
        snprintf(figure, sizeof figure, form, v);
    str_addf(text, "  %*s", width, isfinite(v) ? figure : "-");
}

static void si_cell(struct str *text, int width, double v)
{
    char figure[32];
    str_addf(text, "  %*s", width, isfinite(v) ? fmt_si(figure, sizeof figure, v) : "-");
}

static void seconds_cell(struct str *text, int width, double s)
{
    char figure[32];
    if (s < 1)
        snprintf(figure, sizeof figure, "%.3g ms", 1000 * s);
    else if (isfinite(s))
        fmt_duration(figure, sizeof figure, s);
    str_addf(text, "  %*s", width, isfinite(s) ? figure : "-");
}

static void range(struct str *text, struct interval i)
{
    if (isfinite(i.low) && isfinite(i.high))
        str_addf(text, " (%.3g to %.3g)", i.low, i.high);
}

/* ---- targets ---- */

static const char *edge_of(const struct result_best *b)
{
    static const char *const names[] = {[BEST_WITHIN] = "",
                                        [BEST_LOWEST] = "lowest",
                                        [BEST_HIGHEST] = "highest",
                                        [BEST_FEW] = "few",
                                        [BEST_NONE] = "none"};
    return names[b->rate.kind];
}

static void add_target(struct str *text, const struct study_result *r, int k)
{
    str_addf(text, "to a loss of %.4g\n%8s  %9s  %-7s  %5s  %8s  %8s  %9s  %6s\n",
             r->target[k].loss, "batch", "best lr", "edge", "seeds", "steps", "fitted", "tokens",
             "E/Emin");
    for (int i = 0; i < r->n_batches; i++) {
        const struct result_best *b = &r->batch[i].best[k];
        str_addf(text, "%8.0f", r->batch[i].batch);
        cell(text, 9, "%.2g", b->cell >= 0 ? b->rate.lr : NAN);
        str_addf(text, "  %-7s  %5d", edge_of(b), b->n_seeds);
        cell(text, 8, "%.0f", b->steps);
        cell(text, 8, "%.0f", b->fitted);
        si_cell(text, 9, b->examples * r->seq_len);
        cell(text, 6, "%.2f", b->overhead);
        str_add(text, "\n");
    }
}

static void add_law(struct str *text, const char *where, const struct rate_law *law)
{
    str_addf(text, "best rate       lr ~ B^%.2f", law->exponent);
    range(text, law->range);
    str_addf(text, " %s, %d batches\n", where, law->n);
}

static void add_fit(struct str *text, const struct study_result *r, int k)
{
    static const char *const by[] = {[RESAMPLED_NONE] = "no interval",
                                     [RESAMPLED_SEEDS] = "95% by resampled seeds",
                                     [RESAMPLED_RESIDUALS] = "95% by resampled residuals"};
    const struct result_target *t = &r->target[k];
    char tokens[32];
    if (t->fits) {
        str_addf(text, "critical batch  %.3g", t->fit.batch);
        range(text, t->spread.batch);
        str_addf(text, " sequences; Smin %.3g", t->fit.steps_least);
        range(text, t->spread.steps_least);
        str_addf(text, " steps, Emin %.3g", t->fit.examples_least);
        range(text, t->spread.examples_least);
        str_addf(text, " sequences = %s tokens\n",
                 fmt_si(tokens, sizeof tokens, t->fit.examples_least * r->seq_len));
        str_addf(text, "fit             S = Smin + Emin/B over %d batches, residual %.1f%%; %s%s\n",
                 t->n_fitted, 100 * t->fit.residual, by[t->spread.by],
                 t->edges ? "; some best rates are at an edge" : "");
    }
    if (t->lawful)
        add_law(text, "over all", &t->law);
    if (t->lawful_below)
        add_law(text, "up to the critical batch", &t->law_below);
}

/* ---- batches and ways ---- */

static void add_batches(struct str *text, const struct study_result *r)
{
    str_addf(text, "%8s  %9s  %9s  %9s  %6s  %6s  %8s  %8s  %9s\n", "batch", "step", "tokens/s",
             "noise", "spikes", "trials", "diverged", "failed", "unreached");
    for (int i = 0; i < r->n_batches; i++) {
        const struct result_batch *b = &r->batch[i];
        str_addf(text, "%8.0f", b->batch);
        seconds_cell(text, 9, b->step_s);
        si_cell(text, 9, b->batch * r->seq_len / b->step_s);
        cell(text, 9, "%.3g", b->noise_scale);
        str_addf(text, "  %6.0f  %6d  %8d  %8d  %9d\n", b->spikes, b->n_trials, b->n_diverged,
                 b->n_failed, b->n_unreached);
    }
}

static void add_ways(struct str *text, const struct study_result *r)
{
    str_addf(text, "ways to %.4g\n%8s  %5s  %9s  %9s  %10s  %6s  %7s  %9s  %s\n",
             r->target[r->main].loss, "batch", "ranks", "step", "time", "core-hours", "system",
             "samples", "goodput", "front");
    for (int i = 0; i < r->n_ways; i++) {
        const struct way *w = &r->way[i];
        str_addf(text, "%8.0f  %5d", w->batch, w->ranks);
        seconds_cell(text, 9, w->step_s);
        seconds_cell(text, 9, w->time_s);
        cell(text, 10, "%.3g", w->core_h);
        cell(text, 6, "%.2f", w->system);
        cell(text, 7, "%.2f", w->statistical);
        si_cell(text, 9, w->goodput);
        str_addf(text, "  %s\n", i == r->advice.way ? "advised" : w->front ? "yes" : "");
    }
    str_add(text, "system: T1/(N·TN); samples: Emin/E; goodput: tokens/s times samples; front: no "
                  "way is faster and cheaper\n");
}

/* "note            " before each line. */
static void add_notes(struct str *text, const char *notes)
{
    for (const char *at = notes; at != NULL && *at != '\0';) {
        int n = (int)strcspn(at, "\n");
        str_addf(text, "note            %.*s\n", n, at);
        at += n + (at[n] == '\n');
    }
}

void result_text(struct str *text, const struct study_result *r)
{
    for (int k = 0; k < r->n_targets; k++) {
        add_target(text, r, k);
        add_fit(text, r, k);
        str_add(text, "\n");
    }
    add_batches(text, r);
    str_add(text, "\n");
    if (r->n_ways > 0) {
        add_ways(text, r);
        str_add(text, "\n");
    }
    add_notes(text, r->notes.s);
    if (r->sentence.len > 0)
        str_addf(text, "advice          %s\n", r->sentence.s);
}
