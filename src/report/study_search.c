/* The figures of a search. */
#include "study_parts.h"

#include "base/err.h"
#include "base/mem.h"
#include "study/importance.h"
#include "study/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SLICES = 16 };

struct search_view {
    struct space space;
    double share[SPACE_MAX_AXES]; /* NaN: too few trials */
    int n_used, at;               /* trials that tell; where they are compared */
    int order[SPACE_MAX_AXES];    /* axes, the most important first */
};

static const struct search_view *view_of(const struct report_study *s)
{
    return s->found;
}

/* ---- trials in their order ---- */

static bool is_state(const struct report_study *s, int i, double state)
{
    return s->history.trial[i].state == (enum trial_state)(int)state;
}

/* A loss's place: what is above the figure stands at its upper end. */
static double shown(const struct plot *p, double loss)
{
    return p->y_most > 0 && loss > p->y_most ? INFINITY : loss;
}

/* Losses are finite where a trial has one; those without stand as crosses at the top. */
static void add_losses(struct plot *p, const struct report_study *s, enum trial_state state,
                       int look, const char *title)
{
    const struct history *h = &s->history;
    bool lost = state == TRIAL_DIVERGED || state == TRIAL_FAILED;
    struct curve *c =
        plot_add(p, lost ? CURVE_CROSSES : CURVE_POINTS, look, h->n, false, "%s", title);
    if (c == NULL)
        return;
    c->n = 0;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        if (t->state != state || (!lost && !isfinite(t->value)))
            continue;
        c->x[c->n] = t->number;
        c->y[c->n++] = lost ? INFINITY : shown(p, t->value);
    }
    if (c->n == 0)
        c->title[0] = '\0';
}

/* A staircase: the least loss of the trials so far that came to their end. */
static void add_best_so_far(struct plot *p, const struct history *h)
{
    struct curve *c = plot_add(p, CURVE_LINE, LOOK_INK, 2 * (int64_t)h->n, false, "best so far");
    double best = INFINITY;
    if (c == NULL)
        return;
    c->n = 0;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        double before = best;
        if (t->state == TRIAL_DONE && isfinite(t->value))
            best = fmin(best, t->value);
        if (best < before && isfinite(before)) {
            c->x[c->n] = i;
            c->y[c->n++] = before;
        }
        if (isfinite(best)) {
            c->x[c->n] = i;
            c->y[c->n++] = best;
        }
    }
}

/* Half as high again as the better half reaches: what went wrong leaves the figure. */
static double most_shown(const struct history *h)
{
    double *v, least = INFINITY;
    int n = 0;
    if (mem_alloc(&v, (size_t)h->n, sizeof *v, "losses") != OK) {
        err_clear();
        return 0;
    }
    for (int i = 0; i < h->n; i++)
        if (h->trial[i].state == TRIAL_DONE && isfinite(h->trial[i].value)) {
            v[n++] = h->trial[i].value;
            least = fmin(least, h->trial[i].value);
        }
    double middle = series_median(v, n);
    mem_free(v);
    return n > 0 ? middle + 4 * (middle - least) : 0;
}

static void figure_progress(struct figures *f, const struct report_study *s)
{
    struct plot *p = figure_begin(f, "Loss by trial", "trial", "last loss, nat",
                                  "Each trial's last validation in the order of their numbers; the "
                                  "line is the best that came to its end. At the upper end: higher "
                                  "losses, and crosses for none.");
    if (p == NULL)
        return;
    p->y_most = most_shown(&s->history);
    add_losses(p, s, TRIAL_PRUNED, LOOK_GREY, "given up");
    add_losses(p, s, TRIAL_DONE, 0, "done");
    add_losses(p, s, TRIAL_DIVERGED, 1, "diverged");
    add_losses(p, s, TRIAL_FAILED, 3, "failed");
    add_best_so_far(p, &s->history);
    figure_keep(f);
}

static void figure_losses(struct figures *f, const struct report_study *s)
{
    struct plot *p = figure_begin(f, "Validation loss by tokens", "tokens", "loss, nat",
                                  "Each trial's validations. Trials are compared at equal tokens; "
                                  "grey ones were given up.");
    if (p == NULL)
        return;
    p->log_x = p->log_y = true;
    figure_trials(p, LOOK_GREY, &s->history, TRIAL_TOKENS, is_state, s, TRIAL_PRUNED, "given up");
    figure_trials(p, 1, &s->history, TRIAL_TOKENS, is_state, s, TRIAL_DIVERGED, "diverged");
    figure_trials(p, 5, &s->history, TRIAL_TOKENS, is_state, s, TRIAL_RUNNING, "running");
    figure_trials(p, 0, &s->history, TRIAL_TOKENS, is_state, s, TRIAL_DONE, "done");
    if (s->best >= 0) {
        char title[PLOT_NAME];
        snprintf(title, sizeof title, "best: trial %d", s->history.trial[s->best].number);
        const struct curve *c = figure_trial(p, 0, &s->history.trial[s->best], TRIAL_TOKENS, title);
        if (c != NULL && c->n > 0)
            p->y_most = 1.3 * c->y[0];
    }
    figure_keep(f);
}

/* ---- a slice for each axis ---- */

static double place_of(const struct axis *a, double v)
{
    return a->choice || !a->whole ? v : round(v);
}

static void add_slice(struct plot *p, const struct report_study *s, int k, enum trial_state state,
                      int look)
{
    const struct search_view *v = view_of(s);
    const struct history *h = &s->history;
    bool lost = state == TRIAL_DIVERGED || state == TRIAL_FAILED;
    struct curve *c = plot_add(p, lost ? CURVE_CROSSES : CURVE_POINTS, look, h->n, false, "%s", "");
    double point[SPACE_MAX_AXES];
    if (c == NULL)
        return;
    c->n = 0;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        if (t->state != state || !space_read(&v->space, &t->plan, point) || isnan(point[k]) ||
            (!lost && !isfinite(t->value)))
            continue;
        c->x[c->n] = place_of(&v->space.axis[k], point[k]);
        c->y[c->n++] = lost ? INFINITY : shown(p, t->value);
        if (i == s->best)
            figure_point(p, CURVE_RINGS, LOOK_INK, c->x[c->n - 1], t->value, "the best trial");
    }
}

static void name_choices(struct plot *p, const struct axis *a)
{
    if (mem_alloc(&p->bar_name, (size_t)a->n_values, sizeof *p->bar_name, "names") != OK) {
        err_clear();
        return;
    }
    p->n_bars = a->n_values;
    for (int i = 0; i < a->n_values; i++)
        snprintf(p->bar_name[i], sizeof p->bar_name[i], "%.15s", a->value[i]);
}

static void figure_slice(struct figures *f, const struct report_study *s, int k)
{
    const struct search_view *v = view_of(s);
    const struct axis *a = &v->space.axis[k];
    char title[PLOT_NAME], share[48] = "";
    if (isfinite(v->share[k]))
        snprintf(share, sizeof share, ": %.0f%% of the variance", 100 * v->share[k]);
    snprintf(title, sizeof title, "%.40s%s", a->key->name, share);
    struct plot *p = figure_begin(f, title, a->key->name, "last loss, nat", "");
    if (p == NULL)
        return;
    p->half = true;
    p->log_x = a->log && !a->choice;
    p->y_most = most_shown(&s->history);
    if (a->choice)
        name_choices(p, a);
    add_slice(p, s, k, TRIAL_PRUNED, LOOK_GREY);
    add_slice(p, s, k, TRIAL_DONE, 0);
    add_slice(p, s, k, TRIAL_DIVERGED, 1);
    add_slice(p, s, k, TRIAL_FAILED, 3);
    figure_keep(f);
}

static void figures(struct figures *f, const struct report_study *s)
{
    const struct search_view *v = view_of(s);
    figure_progress(f, s);
    for (int i = 0; i < v->space.n && i < MOST_SLICES; i++)
        figure_slice(f, s, v->order[i]);
    figure_losses(f, s);
}

/* ---- importance ---- */

static void say_where(struct str *text, const struct report_study *s)
{
    const struct search_view *v = view_of(s);
    if (v->at >= 0)
        str_addf(text, ", compared at milestone %d", v->at + 1);
}

static void tables(struct str *out, const struct report_study *s)
{
    static const char *const head[] = {"key", "share of the loss's variance", ""};
    const struct search_view *v = view_of(s);
    if (v->space.n < 2)
        return;
    str_add(out, "<h2>Importance</h2>\n");
    if (isnan(v->share[v->order[0]])) {
        str_addf(out, "<p>Not known yet: it takes %d trials that can be compared.</p>\n",
                 IMPORTANCE_LEAST);
        return;
    }
    str_addf(out, "<p>What each key alone explains over %d trials", v->n_used);
    say_where(out, s);
    str_add(out, "; what keys do together is in no share.</p>\n");
    table_begin(out, head, sizeof head / sizeof *head);
    for (int i = 0; i < v->space.n; i++) {
        double share = v->share[v->order[i]];
        row_begin(out, false);
        cell_text(out, v->space.axis[v->order[i]].key->name);
        cell_number(out, "%.0f%%", 100 * share);
        str_addf(out, "<td><div class=\"bar\" style=\"width:%.1frem\"></div></td>", 16 * share);
        row_end(out);
    }
    table_end(out);
}

static void say(struct str *text, const struct report_study *s)
{
    const struct search_view *v = view_of(s);
    if (v->space.n < 2)
        return;
    str_add(text, "importance      ");
    if (isnan(v->share[v->order[0]])) {
        str_addf(text, "not known: it takes %d trials that can be compared\n", IMPORTANCE_LEAST);
        return;
    }
    for (int i = 0; i < v->space.n; i++)
        str_addf(text, "%s%s %.0f%%", i > 0 ? ", " : "", v->space.axis[v->order[i]].key->name,
                 100 * v->share[v->order[i]]);
    str_addf(text, " of the loss's variance over %d trials", v->n_used);
    say_where(text, s);
    str_add(text, "\n");
}

static void advise(struct str *text, const struct report_study *s)
{
    if (s->best < 0) {
        str_add(text, "No trial has come to its end yet.");
        return;
    }
    const struct trial *t = &s->history.trial[s->best];
    str_addf(text, "Best so far: trial %d with a loss of %.4f at", t->number, t->value);
    for (int i = 0; i < t->plan.n_set; i++)
        str_addf(text, "%s %s=%s", i > 0 ? "," : "", t->plan.set[i].key, t->plan.set[i].value);
    str_add(text, ".");
}

/* ---- the kind ---- */

static void order_axes(struct search_view *v)
{
    for (int i = 0; i < v->space.n; i++) {
        int at = i;
        for (; at > 0 && v->share[i] > v->share[v->order[at - 1]]; at--)
            v->order[at] = v->order[at - 1];
        v->order[at] = i;
    }
}

static int find(struct report_study *s)
{
    struct search_view *v = s->found;
    TRY(space_parse(&v->space, s->conf.search.space));
    v->at = importance_milestone(&s->history);
    TRY(importance(&v->space, &s->history, v->share, &v->n_used));
    order_axes(v);
    return OK;
}

static void forget(void *found)
{
    struct search_view *v = found;
    space_release(&v->space);
}

const struct study_kind KIND_OF_SEARCH = {.name = "search",
                                          .title = "Search",
                                          .command = "carat search job.yaml",
                                          .size = sizeof(struct search_view),
                                          .find = find,
                                          .forget = forget,
                                          .say = say,
                                          .advise = advise,
                                          .figures = figures,
                                          .tables = tables};
