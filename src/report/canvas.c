#include "canvas.h"

#include <math.h>
#include <string.h>

/* Where a value is between the ends, 0 to 1. */
static double place(double v, struct extent e, bool logarithmic)
{
    if (!(e.hi > e.lo))
        return 0.5;
    return logarithmic ? log(v / e.lo) / log(e.hi / e.lo) : (v - e.lo) / (e.hi - e.lo);
}

static void set(struct canvas *c, int x, int y, char letter)
{
    /* Bits of the Braille block, columns of four dots. Source: The Unicode Standard, U+2800. */
    static const unsigned char bits[DOTS_Y][DOTS_X] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    if (c->dots)
        c->cell[y / DOTS_Y][x / DOTS_X] |= bits[y % DOTS_Y][x % DOTS_X];
    else
        c->cell[y][x] = (unsigned char)letter;
}

struct dot {
    double x, y;
};

static struct dot dot_of(const struct canvas *c, double x, double y)
{
    int w = CANVAS_W * (c->dots ? DOTS_X : 1), h = CANVAS_H * (c->dots ? DOTS_Y : 1);
    return (struct dot){place(x, c->x, false) * (w - 1), (1 - place(y, c->y, c->log_y)) * (h - 1)};
}

static void line(struct canvas *c, struct dot from, struct dot to, char letter)
{
    double longer = fmax(fabs(to.x - from.x), fabs(to.y - from.y));
    int n = (int)ceil(longer);
    for (int i = 0; i <= n; i++) {
        double t = n > 0 ? (double)i / n : 0;
        set(c, (int)lround(from.x + t * (to.x - from.x)), (int)lround(from.y + t * (to.y - from.y)),
            letter);
    }
}

void canvas_draw(struct canvas *c, const double *x, const double *y, int64_t n, char letter)
{
    struct dot last = {NAN, NAN};
    for (int64_t i = 0; i < n; i++) {
        struct dot now = {NAN, NAN};
        if (isfinite(y[i])) {
            now = dot_of(c, x[i], y[i]);
            line(c, isnan(last.x) ? now : last, now, letter);
        }
        last = now;
    }
}

static void print_cell(FILE *out, unsigned char cell, bool dots)
{
    if (cell == 0)
        putc(' ', out);
    else if (dots) /* U+2800 and the bits, in UTF-8 */
        fprintf(out, "\xe2%c%c", 0xa0 + (cell >> 6), 0x80 + (cell & 0x3f));
    else
        putc(cell, out);
}

static double value_at(const struct canvas *c, int row)
{
    double t = 1 - (double)row / (CANVAS_H - 1);
    return c->log_y ? c->y.lo * pow(c->y.hi / c->y.lo, t) : c->y.lo + t * (c->y.hi - c->y.lo);
}

static bool is_labelled(int row)
{
    return row == 0 || row == CANVAS_H / 2 || row == CANVAS_H - 1;
}

void canvas_print(FILE *out, const struct canvas *c, const char *x_name)
{
    for (int row = 0; row < CANVAS_H; row++) {
        int end = CANVAS_W;
        while (end > 0 && c->cell[row][end - 1] == 0)
            end--;
        if (is_labelled(row))
            fprintf(out, "%9.4g |", value_at(c, row));
        else
            fprintf(out, "%9s |", "");
        for (int x = 0; x < end; x++)
            print_cell(out, c->cell[row][x], c->dots);
        putc('\n', out);
    }
    char first[32], last[32];
    snprintf(first, sizeof first, "%.6g", c->x.lo);
    snprintf(last, sizeof last, "%.6g %s", c->x.hi, x_name);
    int gap = CANVAS_W - (int)strlen(first) - (int)strlen(last);
    fprintf(out, "%9s  %s%*s%s\n", "", first, gap > 1 ? gap : 1, "", last);
}
