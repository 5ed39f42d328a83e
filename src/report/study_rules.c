/* The figures of a test of scaling rules. */
#include "study_parts.h"

#include "base/err.h"
#include "study/rules.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct rules_view {
    struct rules_setup setup;
    struct rules_result result;
};

static const struct rules_view *view_of(const struct report_study *s)
{
    return s->found;
}

static double loss_of(const struct rules_cell *c)
{
    return c->loss;
}

static double lr_of(const struct rules_cell *c)
{
    return c->impossible ? NAN : c->lr;
}

static double excess_of(const struct rules_cell *c)
{
    return isinf(c->loss) ? INFINITY : c->excess;
}

/* One rule over the batches; a cross at the top where it diverged. */
static void add_rule(struct plot *p, const struct rules_view *v, int rule,
                     double (*value)(const struct rules_cell *c))
{
    const struct rules_setup *s = &v->setup;
    struct curve *c =
        plot_add(p, CURVE_LINE_POINTS, rule + 1, s->n_batches, false, "%s", s->rule[rule]->name);
    for (int i = 0; c != NULL && i < s->n_batches; i++) {
        double y = value(&v->result.batch[i].cell[rule]);
        c->x[i] = s->batch[i];
        c->y[i] = isfinite(y) ? y : NAN;
        if (y == INFINITY)
            figure_point(p, CURVE_CROSSES, rule + 1, s->batch[i], INFINITY, "diverged");
    }
}

static void add_tuned(struct plot *p, const struct rules_view *v, bool rates)
{
    struct curve *c =
        plot_add(p, CURVE_LINE_POINTS, LOOK_INK, v->setup.n_batches, false, "tuned rate");
    for (int i = 0; c != NULL && i < v->setup.n_batches; i++) {
        const struct best_rate *best = &v->result.batch[i].tuned;
        c->x[i] = v->setup.batch[i];
        c->y[i] = best->kind == BEST_NONE ? NAN : rates ? best->lr : best->score;
        if (best->kind != BEST_NONE && best->kind != BEST_WITHIN && rates)
            plot_label(p, c->x[i], c->y[i], false, "edge");
    }
}

static struct plot *begin(struct figures *f, const struct rules_view *v, const char *title,
                          const char *label, const char *caption)
{
    struct plot *p = figure_begin(f, title, "batch, sequences", label, caption);
    if (p != NULL) {
        p->log_x = true;
        figure_ticks(p, v->setup.batch, v->setup.n_batches);
    }
    return p;
}

static void figure_losses(struct figures *f, const struct rules_view *v)
{
    struct plot *p = begin(f, v, "Loss by batch under each rule", "last loss, nat",
                           "All trials train on the same tokens. Crosses at the top: diverged.");
    if (p == NULL)
        return;
    for (int i = 0; i < v->setup.n_rules; i++)
        add_rule(p, v, i, loss_of);
    add_tuned(p, v, false);
    figure_keep(f);
}

static void figure_excess(struct figures *f, const struct rules_view *v)
{
    struct plot *p =
        begin(f, v, "Loss above the tuned rate's", "excess, nat",
              "What a rule costs at each batch; it holds as long as it stays below the "
              "dashed line, study.harm.");
    if (p == NULL)
        return;
    for (int i = 0; i < v->setup.n_rules; i++)
        add_rule(p, v, i, excess_of);
    struct curve *c = plot_add(p, CURVE_LEVEL, LOOK_INK, 1, false, "study.harm");
    if (c != NULL)
        c->y[0] = v->setup.conf.study.harm;
    figure_keep(f);
}

static void figure_rates(struct figures *f, const struct rules_view *v)
{
    struct plot *p = begin(f, v, "Rate by batch under each rule", "learning rate",
                           "What each rule makes of the base batch's best rate, and the best rate "
                           "at each batch; \"edge\": the best is the lowest or highest tried.");
    if (p == NULL)
        return;
    p->log_y = true;
    for (int i = 0; i < v->setup.n_rules; i++)
        add_rule(p, v, i, lr_of);
    add_tuned(p, v, true);
    figure_keep(f);
}

static void figures(struct figures *f, const struct report_study *s)
{
    const struct rules_view *v = view_of(s);
    figure_losses(f, v);
    figure_excess(f, v);
    figure_rates(f, v);
}

/* ---- table ---- */

static void add_cell(struct str *out, const struct rules_cell *c)
{
    char text[64];
    if (c->impossible)
        snprintf(text, sizeof text, "not possible");
    else if (isinf(c->loss))
        snprintf(text, sizeof text, "diverged at %.3g", c->lr);
    else if (isnan(c->loss))
        snprintf(text, sizeof text, "–");
    else
        snprintf(text, sizeof text, "%.4f at %.3g%s", c->loss, c->lr, c->holds ? ", holds" : "");
    cell_text(out, text);
}

static void add_row(struct str *out, const struct rules_view *v, int i)
{
    const struct rules_batch *b = &v->result.batch[i];
    const char *why = best_rate_why(b->tuned.kind);
    bool known = b->tuned.kind != BEST_NONE;
    row_begin(out, i == v->setup.base);
    cell_number(out, "%.0f", b->batch);
    cell_number(out, "%.3g", known ? b->tuned.lr : NAN);
    cell_number(out, "%.4f", known ? b->tuned.score : NAN);
    for (int k = 0; k < v->setup.n_rules; k++)
        add_cell(out, &b->cell[k]);
    cell_number(out, "%.0f", b->n_trials);
    cell_number(out, "%.0f", b->n_diverged);
    cell_text(out, why != NULL ? why : i == v->setup.base ? "the base" : "");
    row_end(out);
}

static void tables(struct str *out, const struct report_study *s)
{
    const struct rules_view *v = view_of(s);
    const char *head[RULES_MOST + 6] = {"batch", "tuned rate", "its loss"};
    int n = 3;
    for (int k = 0; k < v->setup.n_rules; k++)
        head[n++] = v->setup.rule[k]->name;
    head[n++] = "trials";
    head[n++] = "diverged";
    head[n++] = "";
    str_add(out, "<h2>Batches</h2>\n");
    table_begin(out, head, n);
    for (int i = 0; i < v->setup.n_batches; i++)
        add_row(out, v, i);
    table_end(out);
}

/* ---- the kind ---- */

static int find(struct report_study *s)
{
    struct rules_view *v = s->found;
    TRY(rules_init(&v->setup, &s->conf));
    return rules_judge(&v->result, &v->setup, &s->history);
}

static void say(struct str *text, const struct report_study *s)
{
    rules_show(text, &view_of(s)->result);
}

static void advise(struct str *text, const struct report_study *s)
{
    const struct rules_view *v = view_of(s);
    const struct rules_result *r = &v->result;
    const char *when = r->complete ? "" : "So far: ";
    if (r->best < 0) {
        str_addf(text, "%sNone of the rules holds beside batch %.0f; tune the rate at each batch.",
                 when, v->setup.batch[v->setup.base]);
        return;
    }
    str_addf(text, "%sscaling.rule=%s holds widest, from batch %.0f to %.0f around %.0f.", when,
             v->setup.rule[r->best]->name, r->range[r->best].low, r->range[r->best].high,
             v->setup.batch[v->setup.base]);
    if (isfinite(r->exponent))
        str_addf(text, "\nBest rates grow as B^%.2f.", r->exponent);
}

const struct study_kind KIND_OF_RULES = {.name = "rules",
                                         .title = "Test of scaling rules",
                                         .command = "carat study job.yaml --rules",
                                         .size = sizeof(struct rules_view),
                                         .find = find,
                                         .say = say,
                                         .advise = advise,
                                         .figures = figures,
                                         .tables = tables};
