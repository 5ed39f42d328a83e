/* Figures as data, and as SVG elements for an HTML page, drawn by gnuplot. */
#ifndef CARAT_REPORT_PLOT_H
#define CARAT_REPORT_PLOT_H

#include "base/str.h"
#include "report/series.h"

#include <stdbool.h>
#include <stdint.h>

enum curve_kind {
    CURVE_LINE,
    CURVE_FAINT,  /* what lies under a smoothed line */
    CURVE_POINTS, /* y INFINITY: at the upper end */
    CURVE_LINE_POINTS,
    CURVE_BAND,    /* between y and z */
    CURVE_BARS,    /* from y to z, one wide, x in the middle */
    CURVE_LEVEL,   /* one y for all x */
    CURVE_RANGES,  /* from y to z at each x: how well a point is known */
    CURVE_RINGS,   /* round points that are to be seen */
    CURVE_CROSSES, /* what came to nothing; y INFINITY: at the upper end */
    CURVE_DASHED,
    CURVE_N_KINDS
};

enum { PLOT_MAX_CURVES = 160, PLOT_MAX_BARS = 64, PLOT_MAX_LABELS = 64, PLOT_NAME = 96 };

/* Looks of curves that are in an order, from LOOK_RAMP to LOOK_RAMP + 100; of what is to stand
 * back; and of the text's colour. */
enum { LOOK_GREY = 6, LOOK_RAMP = 1000, LOOK_INK = 2000 };
/* Look i of n in order. */
int look_ramp(int i, int n);

struct curve {
    enum curve_kind kind;
    char title[PLOT_NAME]; /* in the legend; "": not there */
    char hint[PLOT_NAME];  /* without a title: shown where a pointer rests on it */
    int look;              /* colour, dashes, points: one number means the same in each figure */
    double *x, *y, *z;     /* [n], owned (mem_alloc); z NULL but in bands and bars */
    int64_t n;
};

/* A vertical line where something happened. */
struct plot_mark {
    double x;
    int number;       /* beside its line; what the page's list of events calls it */
    const char *text; /* shown where a pointer rests on it; borrowed */
    int look;         /* of the run it belongs to; -1: there is one run alone */
};

/* A text beside a point. */
struct plot_label {
    double x, y; /* y INFINITY: at the upper end */
    bool left;   /* it ends at the point */
    char text[48];
};

struct plot {
    char id[32];           /* a letter first: begins every id within the SVG */
    char title[PLOT_NAME]; /* plain text, as all that follows */
    char caption[512];     /* one sentence */
    char x_label[PLOT_NAME], y_label[PLOT_NAME];
    struct extent x_all; /* that the x axis holds at the least; lo > hi: only its curves */
    double x_unit;       /* ticks show x over this; 0: 1 */
    bool log_y;          /* where the values span enough and are all positive */
    bool log_x;          /* where they are all positive; such a figure has no marks */
    bool half;           /* half as wide: two beside each other */
    bool zero_y;         /* y begins at 0 */
    double y_most;       /* the y axis ends there at the latest; 0: no limit */
    struct curve *curve; /* [PLOT_MAX_CURVES], owned */
    int n_curves;
    char (*bar_name)[16]; /* [n_bars] of x = 0, 1, …, owned; "": none; NULL: x is a number */
    int n_bars;
    double tick[SERIES_MAX_TICKS]; /* of x, where others would not do; n_ticks 0: they do */
    int n_ticks;
    struct plot_label *label; /* [PLOT_MAX_LABELS], owned */
    int n_labels;
    const struct plot_mark *mark; /* borrowed */
    int n_marks;
};

void plot_release(struct plot *p);
/* Room for n points of another curve, titled in printf's way, with z on demand. NULL when there is
 * no room for a curve or no memory: it is left out then. */
struct curve *plot_add(struct plot *p, enum curve_kind kind, int look, int64_t n, bool with_z,
                       const char *title, ...) __attribute__((format(printf, 6, 7)));
/* A label in printf's way; left out where there is no room or memory. */
void plot_label(struct plot *p, double x, double y, bool left, const char *form, ...)
    __attribute__((format(printf, 5, 6)));
/* Whether any curve has a value. */
bool plot_any(const struct plot *p);
/* The axes: what the values span with some air, or [0, 1]. log_y says whether y is logarithmic; x
 * is where plot_log_x says so of its extent. */
void plot_axes(const struct plot *p, struct extent *x, struct extent *y, bool *log_y);
bool plot_log_x(const struct plot *p, const struct extent *x);

/* Whether gnuplot can be run. Local. */
bool plot_has_gnuplot(void);
/* Draws n figures at once, one <svg> element each; E_IO with gnuplot's words. Local. */
int plot_draw(struct str *svg, const struct plot *plots, int n);

#endif
