/* What the figures of all kinds of studies are made with. */
#include "study_parts.h"

#include <math.h>
#include <stdio.h>

/* More points than these hide their line. */
enum { MOST_POINTS = 16 };

struct plot *figure_begin(struct figures *f, const char *title, const char *x_label,
                          const char *y_label, const char *caption)
{
    if (f->n == FIGURES_MAX)
        return NULL;
    struct plot *p = &f->plot[f->n];
    *p = (struct plot){.x_all = EXTENT_NONE};
    snprintf(p->id, sizeof p->id, "f%d", f->n + 1);
    snprintf(p->title, sizeof p->title, "%s", title);
    snprintf(p->x_label, sizeof p->x_label, "%s", x_label);
    snprintf(p->y_label, sizeof p->y_label, "%s", y_label);
    snprintf(p->caption, sizeof p->caption, "%s", caption);
    return p;
}

void figure_keep(struct figures *f)
{
    if (plot_any(&f->plot[f->n]))
        f->n++;
    else
        plot_release(&f->plot[f->n]);
}

void figure_ticks(struct plot *p, const double *at, int n)
{
    p->n_ticks = n <= SERIES_MAX_TICKS ? n : 0;
    for (int i = 0; i < p->n_ticks; i++)
        p->tick[i] = at[i];
}

void figure_point(struct plot *p, enum curve_kind kind, int look, double x, double y,
                  const char *hint)
{
    struct curve *c = plot_add(p, kind, look, 1, false, "%s", "");
    if (c == NULL)
        return;
    c->x[0] = x;
    c->y[0] = y;
    snprintf(c->hint, sizeof c->hint, "%s", hint);
}

/* A trial's validations from place `at` on; returns the place behind. */
static int64_t copy_trial(struct curve *c, int64_t at, const struct trial *t, enum trial_x x)
{
    for (int i = 0; i < t->n_curve; i++) {
        const struct curve_point *v = &t->curve[i];
        double place = x == TRIAL_TOKENS ? v->tokens : v->train_s;
        if (!(place > 0))
            continue; /* axes are logarithmic */
        c->x[at] = place;
        c->y[at++] = v->loss;
    }
    return at;
}

struct curve *figure_trial(struct plot *p, int look, const struct trial *t, enum trial_x x,
                           const char *title)
{
    enum curve_kind kind = t->n_curve > MOST_POINTS ? CURVE_LINE : CURVE_LINE_POINTS;
    struct curve *c = plot_add(p, kind, look, t->n_curve, false, "%s", title);
    if (c != NULL)
        c->n = copy_trial(c, 0, t, x);
    return c;
}

void figure_trials(struct plot *p, int look, const struct history *h, enum trial_x x,
                   bool (*wanted)(const struct report_study *s, int i, double of),
                   const struct report_study *s, double of, const char *title)
{
    int64_t n = 0, at = 0;
    for (int i = 0; i < h->n; i++)
        n += wanted(s, i, of) ? h->trial[i].n_curve + 1 : 0;
    struct curve *c = n > 0 ? plot_add(p, CURVE_FAINT, look, n, false, "%s", title) : NULL;
    for (int i = 0; c != NULL && i < h->n; i++) {
        if (!wanted(s, i, of))
            continue;
        at = copy_trial(c, at, &h->trial[i], x);
        c->x[at] = c->y[at] = NAN;
        at++;
    }
    if (c != NULL)
        c->n = at;
}
