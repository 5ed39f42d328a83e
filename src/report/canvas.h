/* Curves of characters. */
#ifndef CARAT_REPORT_CANVAS_H
#define CARAT_REPORT_CANVAS_H

#include "report/series.h"

#include <stdbool.h>
#include <stdio.h>

/* Characters inside the axes; a Braille character has 2 × 4 dots. */
enum { CANVAS_W = 68, CANVAS_H = 10, DOTS_X = 2, DOTS_Y = 4 };

struct canvas {
    struct extent x, y;
    bool log_y, dots;
    unsigned char cell[CANVAS_H][CANVAS_W]; /* dots as bits, or a letter; 0: nothing */
};

/* Joins the points by lines; NaN breaks them. The letter counts where there are no dots. */
void canvas_draw(struct canvas *c, const double *x, const double *y, int64_t n, char letter);
/* With the axes' ends beside them. */
void canvas_print(FILE *out, const struct canvas *c, const char *x_name);

#endif
