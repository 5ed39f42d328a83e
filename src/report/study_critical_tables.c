/* The tables of a large-batch study. */
#include "study_critical.h"

#include <math.h>
#include <stdio.h>

/* Three digits, and whole numbers of more as they are. */
static const char *short_form(const char *form, double v)
{
    return fabs(v) >= 1000 ? "%.0f" : form;
}

static void interval_cell(struct str *out, const char *form, double v, struct interval i)
{
    char text[128], figure[32], low[32], high[32];
    snprintf(figure, sizeof figure, short_form(form, v), v);
    snprintf(low, sizeof low, short_form(form, i.low), i.low);
    snprintf(high, sizeof high, short_form(form, i.high), i.high);
    if (isfinite(i.low) && isfinite(i.high))
        snprintf(text, sizeof text, "%s (%s to %s)", figure, low, high);
    else
        snprintf(text, sizeof text, "%s", figure);
    cell_text(out, text);
}

static void add_fit_row(struct str *out, const struct study_result *r, int k)
{
    static const char *const by[] = {[RESAMPLED_NONE] = "not known",
                                     [RESAMPLED_SEEDS] = "resampled seeds",
                                     [RESAMPLED_RESIDUALS] = "resampled residuals"};
    const struct result_target *t = &r->target[k];
    row_begin(out, k == r->main);
    cell_number(out, "%.4g", t->loss);
    cell_number(out, "%.0f", t->n_reached);
    if (t->fits) {
        interval_cell(out, "%.3g", t->fit.batch, t->spread.batch);
        interval_cell(out, "%.3g", t->fit.steps_least, t->spread.steps_least);
        interval_cell(out, "%.3g", t->fit.examples_least, t->spread.examples_least);
        cell_number(out, "%.1f%%", 100 * t->fit.residual);
        cell_text(out, by[t->spread.by]);
    } else {
        for (int i = 0; i < 5; i++)
            cell_text(out, i == 0 ? "no fit" : "–");
    }
    if (t->lawful)
        interval_cell(out, "%.2f", t->law.exponent, t->law.range);
    else
        cell_text(out, "–");
    row_end(out);
}

static void add_fits(struct str *out, const struct study_result *r)
{
    static const char *const head[] = {"loss",        "batches",         "critical batch",
                                       "Smin, steps", "Emin, sequences", "residual",
                                       "95% by",      "rate ~ B^"};
    str_add(out, "<h2>Fits</h2>\n");
    table_begin(out, head, sizeof head / sizeof *head);
    for (int k = 0; k < r->n_targets; k++)
        add_fit_row(out, r, k);
    table_end(out);
}

static const char *remark_of(const struct result_batch *b, const struct result_best *best)
{
    const char *why = best_rate_why(best->rate.kind);
    if (best->cell >= 0)
        return why != NULL ? why : "";
    return b->n_trials == 0           ? "not tried yet"
           : b->n_ended < b->n_trials ? "still running"
                                      : "no rate came there";
}

static void add_best_row(struct str *out, const struct study_result *r, int i, int k)
{
    const struct result_batch *b = &r->batch[i];
    const struct result_best *best = &b->best[k];
    row_begin(out, i == r->advice.batch && k == r->main);
    cell_number(out, "%.0f", b->batch);
    cell_number(out, "%.3g", best->cell >= 0 ? best->rate.lr : NAN);
    cell_number(out, "%.0f", best->n_seeds);
    cell_number(out, "%.0f", best->steps);
    cell_number(out, "%.0f", best->fitted);
    cell_si(out, best->examples * r->seq_len);
    cell_number(out, "%.2f", best->overhead);
    cell_number(out, "%.0f", b->n_trials);
    cell_number(out, "%.0f", b->n_diverged);
    cell_number(out, "%.0f", b->n_failed);
    cell_text(out, remark_of(b, best));
    row_end(out);
}

static void add_targets(struct str *out, const struct study_result *r)
{
    static const char *const head[] = {"batch",    "best rate", "seeds",  "steps",
                                       "fitted",   "tokens",    "E/Emin", "trials",
                                       "diverged", "failed",    ""};
    for (int k = 0; k < r->n_targets; k++) {
        str_addf(out, "<h2>Batches to a loss of %.4g</h2>\n", r->target[k].loss);
        table_begin(out, head, sizeof head / sizeof *head);
        for (int i = 0; i < r->n_batches; i++)
            add_best_row(out, r, i, k);
        table_end(out);
    }
}

static void add_way_row(struct str *out, const struct study_result *r, int i)
{
    const struct way *w = &r->way[i];
    row_begin(out, i == r->advice.way);
    cell_number(out, "%.0f", w->batch);
    cell_number(out, "%.0f", w->ranks);
    cell_seconds(out, w->step_s);
    cell_seconds(out, w->time_s);
    cell_number(out, "%.3g", w->core_h);
    cell_number(out, "%.0f%%", 100 * w->system);
    cell_number(out, "%.0f%%", 100 * w->statistical);
    cell_si(out, w->tokens_per_s);
    cell_si(out, w->goodput);
    cell_text(out, i == r->advice.way ? "advised" : w->front ? "yes" : "");
    row_end(out);
}

static void add_way_table(struct str *out, const struct study_result *r)
{
    static const char *const head[] = {"batch",  "ranks",   "step",     "time",    "core-hours",
                                       "system", "samples", "tokens/s", "goodput", "front"};
    if (r->n_ways == 0)
        return;
    str_addf(out,
             "<h2>Ways to a loss of %.4g</h2>\n<p>System: T1/(N·TN); samples: Emin/E; goodput: "
             "tokens/s times samples; front: no other way is both faster and cheaper.</p>\n",
             r->target[critical_target(r)].loss);
    table_begin(out, head, sizeof head / sizeof *head);
    for (int i = 0; i < r->n_ways; i++)
        add_way_row(out, r, i);
    table_end(out);
}

void critical_tables(struct str *out, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    add_fits(out, r);
    add_targets(out, r);
    add_way_table(out, r);
}
