/* The figures of a report: which columns of the metrics they show, and how. */
#ifndef CARAT_REPORT_FIGURES_H
#define CARAT_REPORT_FIGURES_H

#include "report/plot.h"
#include "report/run.h"

enum { FIGURES_MAX = 64 };

struct figures {
    struct plot plot[FIGURES_MAX];
    int n;
    struct plot_mark *mark; /* what the plots' marks are; n_marks for each kind of x */
};

/* Builds every figure for which a run has values; columns that no figure knows get a plain one of
 * their own. The runs have to outlive them. E_MEM. */
int figures_make(struct figures *f, const struct report_run *runs, int n_runs);
void figures_release(struct figures *f);

#endif
