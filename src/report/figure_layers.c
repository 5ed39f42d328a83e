#include "figure_parts.h"
#include "report/facts.h"

#include <stdio.h>

/* Of a deep model these lines tell how the layers differ: both ends, and some between. */
enum { LINES = 6, BUCKETS = 150 };

static void name_group(char title[PLOT_NAME], int64_t group, int64_t n_groups)
{
    if (group == 0)
        snprintf(title, PLOT_NAME, "embedding");
    else if (group == n_groups - 1)
        snprintf(title, PLOT_NAME, "final norm");
    else
        snprintf(title, PLOT_NAME, "layer %d", (int)(group - 1));
}

static void add_group(struct plot *p, const struct report_run *r, int column, int64_t group,
                      int look)
{
    char title[PLOT_NAME];
    name_group(title, group, r->n_groups);
    struct curve *c = plot_add(p, CURVE_LINE, look, r->n, false, "%s", title);
    if (c == NULL)
        return;
    for (int64_t i = 0; i < r->n; i++) {
        c->x[i] = r->rows[i * M_N + M_STEP];
        c->y[i] = r->layers[(i * r->n_groups + group) * L_N + column];
    }
    c->n = series_join(c->x, c->y, NULL, c->n);
    series_smooth(c->y, c->n, smoothing_of(c->n));
    c->n = series_thin(c->x, c->y, NULL, c->n, BUCKETS);
}

void figure_of_layers(struct plot *p, const struct report_run *r, int column)
{
    const char *name = LAYER_COLUMNS[column].name;
    int64_t lines = r->n_groups < LINES ? r->n_groups : LINES;
    *p = (struct plot){.log_y = true};
    snprintf(p->title, sizeof p->title, "By layer: %s", name);
    snprintf(p->x_label, sizeof p->x_label, "steps");
    snprintf(p->y_label, sizeof p->y_label, "%s", name);
    snprintf(p->caption, sizeof p->caption,
             "The column layers/%s of the embedding, of layers at equal distances and of the final "
             "norm, means over %.0f steps.",
             name, smoothing_of(r->n));
    for (int64_t i = 0; i < lines; i++)
        add_group(p, r, column, lines > 1 ? i * (r->n_groups - 1) / (lines - 1) : 0, (int)i);
}
