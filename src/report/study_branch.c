/* The figures of a critical batch found by branches of a run. */
#include "study_parts.h"

#include "base/err.h"
#include "study/branch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct branch_view {
    struct branch_setup setup;
    struct branch_result result;
};

static const struct branch_view *view_of(const struct report_study *s)
{
    return s->found;
}

static bool is_decided(const struct branch_row *row)
{
    return row->verdict == BRANCH_HARMLESS || row->verdict == BRANCH_AT_LEAST;
}

/* ---- loss by factor ---- */

static void add_checkpoint(struct plot *p, const struct branch_view *v, int i)
{
    const struct branch_row *row = &v->result.row[i];
    char tokens[32];
    int look = look_ramp(i, v->result.n);
    struct curve *c = plot_add(p, CURVE_LINE_POINTS, look, v->setup.n_factors, false,
                               "after %s tokens", fmt_si(tokens, sizeof tokens, row->point.tokens));
    for (int k = 0; c != NULL && k < v->setup.n_factors; k++) {
        c->x[k] = v->setup.factor[k];
        c->y[k] = isfinite(row->loss[k]) ? row->loss[k] : NAN;
        if (isinf(row->loss[k]))
            figure_point(p, CURVE_CROSSES, look, v->setup.factor[k], INFINITY, "diverged");
        if (is_decided(row) && v->setup.factor[k] == row->factor)
            figure_point(p, CURVE_RINGS, LOOK_INK, v->setup.factor[k], row->loss[k],
                         "the largest harmless batch");
    }
}

static void figure_factors(struct figures *f, const struct branch_view *v)
{
    struct plot *p = figure_begin(f, "Loss of branches by their batch", "batch, times the run's",
                                  "loss at the branch's end, nat",
                                  "A line for each checkpoint; its branches train on the same "
                                  "tokens. A ring around the largest batch that does no harm.");
    if (p == NULL)
        return;
    p->log_x = true;
    figure_ticks(p, v->setup.factor, v->setup.n_factors);
    for (int i = 0; i < v->result.n; i++)
        add_checkpoint(p, v, i);
    figure_keep(f);
}

/* ---- the critical batch over the run ---- */

static struct curve *add_line(struct plot *p, enum curve_kind kind, int look, int n,
                              const char *title)
{
    struct curve *c = plot_add(p, kind, look, n, false, "%s", title);
    if (c != NULL)
        c->n = 0;
    return c;
}

static void add_value(struct curve *c, double x, double y)
{
    if (c == NULL || !isfinite(y))
        return;
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

static void figure_batches(struct figures *f, const struct branch_view *v)
{
    struct plot *p =
        figure_begin(f, "Largest harmless batch over the run", "tokens", "sequences",
                     "From the branches of each checkpoint, and the noise scale that "
                     "the smallest ones measured. \"at least\": the largest batch tried "
                     "did no harm.");
    int n = v->result.n;
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    struct curve *run = add_line(p, CURVE_DASHED, LOOK_GREY, n, "the run's batch");
    struct curve *noise = add_line(p, CURVE_LINE_POINTS, 1, n, "noise scale");
    struct curve *harmless = add_line(p, CURVE_LINE_POINTS, 0, n, "harmless");
    for (int i = 0; i < n; i++) {
        const struct branch_row *row = &v->result.row[i];
        add_value(run, row->point.tokens, (double)row->point.batch);
        add_value(noise, row->point.tokens, row->noise_scale);
        add_value(harmless, row->point.tokens, is_decided(row) ? row->batch : NAN);
        if (row->verdict == BRANCH_AT_LEAST)
            plot_label(p, row->point.tokens, row->batch, i + 1 == n, "at least");
    }
    figure_keep(f);
}

static void figures(struct figures *f, const struct report_study *s)
{
    figure_factors(f, view_of(s));
    figure_batches(f, view_of(s));
}

/* ---- table ---- */

static void add_row(struct str *out, const struct branch_view *v, const struct branch_row *row)
{
    static const char *const verdicts[] = {[BRANCH_OPEN] = "still running",
                                           [BRANCH_HARMLESS] = "the next one does harm",
                                           [BRANCH_AT_LEAST] = "at least: none did harm",
                                           [BRANCH_UNKNOWN] = "not known: no loss to compare with"};
    row_begin(out, false);
    cell_number(out, "%.0f", (double)row->point.step);
    cell_si(out, row->point.tokens);
    cell_number(out, "%.0f", (double)row->point.batch);
    for (int k = 0; k < v->setup.n_factors; k++)
        if (isinf(row->loss[k]))
            cell_text(out, "diverged");
        else
            cell_number(out, "%.4f", row->loss[k]);
    cell_number(out, "%.0f", is_decided(row) ? row->batch : NAN);
    cell_number(out, "%.3g", row->noise_scale);
    cell_text(out, verdicts[row->verdict]);
    row_end(out);
}

static void tables(struct str *out, const struct report_study *s)
{
    const struct branch_view *v = view_of(s);
    const char *head[BRANCH_MOST_FACTORS + 6] = {"step", "tokens", "batch"};
    char times[BRANCH_MOST_FACTORS][24];
    int n = 3;
    for (int k = 0; k < v->setup.n_factors; k++) {
        snprintf(times[k], sizeof times[k], "× %g", v->setup.factor[k]);
        head[n++] = times[k];
    }
    head[n++] = "harmless";
    head[n++] = "noise scale";
    head[n++] = "";
    str_add(out, "<h2>Checkpoints</h2>\n");
    table_begin(out, head, n);
    for (int i = 0; i < v->result.n; i++)
        add_row(out, v, &v->result.row[i]);
    table_end(out);
}

/* ---- the kind ---- */

static int find(struct report_study *s)
{
    struct branch_view *v = s->found;
    TRY(branch_init(&v->setup, &s->conf));
    branch_judge(&v->result, &v->setup, &s->history);
    s->best = -1; /* branches of different checkpoints do not compare */
    return OK;
}

static void say(struct str *text, const struct report_study *s)
{
    branch_show(text, &view_of(s)->result);
}

static void advise(struct str *text, const struct report_study *s)
{
    struct str ramp = {0};
    int64_t batch;
    if (!branch_ramp(&ramp, &view_of(s)->result, &batch))
        str_add(text, "Not known yet: a checkpoint has no verdict.");
    else if (strchr(ramp.s, ' ') == NULL)
        str_addf(text, "Keep batch.global=%lld: no larger one is harmless all the way.",
                 (long long)batch);
    else
        str_addf(text, "A ramp that stays harmless: batch.ramp=\"%s\" batch.global=%lld.", ramp.s,
                 (long long)batch);
    str_release(&ramp);
}

const struct study_kind KIND_OF_BRANCH = {.name = "branch",
                                          .title = "Critical batch by branches",
                                          .command = "carat study job.yaml --branch",
                                          .size = sizeof(struct branch_view),
                                          .find = find,
                                          .say = say,
                                          .advise = advise,
                                          .figures = figures,
                                          .tables = tables};
