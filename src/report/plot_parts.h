/* What the parts of drawing share: where things are in a figure, and how its curves look. */
#ifndef CARAT_REPORT_PLOT_PARTS_H
#define CARAT_REPORT_PLOT_PARTS_H

#include "report/plot.h"

/* Where the plot is in its figure, in pixels from the upper left. A legend that takes more rows
 * makes the figure higher. */
struct plot_box {
    double width, height, left, right, top, bottom;
};
struct plot_box plot_box(const struct plot *p);

/* The colours are told apart with any kind of colour vision; dashes and points differ as well.
 * Source: Okabe & Ito 2008, without the yellow that white paper swallows. */
struct plot_look {
    char colour[8]; /* "0072B2" */
    const char *dashes;
    int point;
};
struct plot_look plot_look(int i);

/* gnuplot's program for the figure, which it writes into the file. */
void plot_script(struct str *script, const struct plot *p, const char *file);
/* What gnuplot wrote, as an element of a page: names and texts are ours, what cannot be seen is
 * left out, and marks are drawn on top. E_DATA when it is no SVG. */
int plot_svg(struct str *out, const struct plot *p, const char *drawn);

#endif
