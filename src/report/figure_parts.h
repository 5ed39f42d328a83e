/* What the makers of figures share. */
#ifndef CARAT_REPORT_FIGURE_PARTS_H
#define CARAT_REPORT_FIGURE_PARTS_H

#include "report/figures.h"

/* What an axis of x shows. */
enum figure_x { X_STEPS, X_TOKENS, X_TIME, X_N };

/* A figure as a row: columns by their names, so that a build without one leaves it out. */
struct figure {
    const char *title, *y_label, *caption; /* the caption without its full stop */
    const char *column;                    /* a line; NULL: none */
    const char *points;                    /* measured now and then; NULL: none */
    const char *error;                     /* by which the line may be off; NULL: none */
    const char *also[2];                   /* further lines, where there is one run alone */
    enum figure_x x;
    double (*transform)(double); /* of every value; NULL: none */
    bool log, zero, smooth;
    bool log_if_apart; /* where the runs' greatest values are far from each other */
    bool from_start;   /* of several runs: what diverges leaves the figure, for the others' sake */
    bool if_varies;    /* no figure of what is the same in all steps */
    bool clip_line;    /* with optimizer.clip_norm */
};

/* A figure on its way, at one run. */
struct plot_maker {
    const struct figure *figure;
    struct plot *plot;
    int look, n_runs;
};

double figure_percent(double v);
/* A row's place on the axis. */
double figure_x_of(const struct report_run *r, enum figure_x kind, int64_t row);
/* A column by layer, of some layers, of a run that has them. */
void figure_of_layers(struct plot *p, const struct report_run *r, int column);
/* Each rank's seconds, stacked by part. */
void figure_of_ranks(struct plot *p, const struct report_run *runs, int n);

#endif
