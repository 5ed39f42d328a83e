#include "range.h"

#include "base/err.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 64, HEIGHT = 10, MOST_DECADES = 12 };

/* A suggestion below so many times the first rate may be the ramp's doing. */
static const double NEAR_START = 10;

static const char *const ENDS[] = {
    [RANGE_WHOLE] = "whole",
    [RANGE_DIVERGED] = "diverged",
    [RANGE_NONFINITE] = "not finite",
};

double range_top(const struct range_curve *c)
{
    const double above = 0.25; /* of the fall from the start */
    return c->smooth[0] + above * (c->smooth[0] - c->best);
}

char *range_lr_text(char *buf, size_t n, double lr)
{
    snprintf(buf, n, "%.3g", lr);
    return buf;
}

/* A rate in the table; "-" where there is none. */
static const char *cell(char *buf, size_t n, double lr)
{
    snprintf(buf, n, isfinite(lr) ? "%.2e" : "-", lr);
    return buf;
}

static void print_table(const struct range_results *r)
{
    char a[32], b[32], c[32];
    puts("\n   batch   steps  ended        loss    least   valley    steepest  minimum/10");
    for (int i = 0; i < r->n; i++) {
        const struct range_row *row = &r->row[i];
        const struct range_curve *v = &row->curve;
        printf("%8" PRId64 "  %6" PRId64 "  %-10s  %6.3f   %6.3f   %-8s  %-8s  %-8s\n", row->batch,
               v->n, ENDS[v->end], v->smooth[0], v->best, cell(a, sizeof a, row->says.valley),
               cell(b, sizeof b, row->says.steepest), cell(c, sizeof c, row->says.minimum));
    }
}

/* A figure of characters: x is the logarithm of the rate. */
struct canvas {
    double left, right, low, high;
    char cell[HEIGHT][WIDTH + 1];
};

static int column_of(const struct canvas *f, double lr)
{
    double x = (log(lr) - f->left) / (f->right - f->left);
    return x < 0 || x > 1 ? -1 : (int)(x * (WIDTH - 1) + 0.5);
}

static int row_of(const struct canvas *f, double y)
{
    double h = f->high > f->low ? (f->high - y) / (f->high - f->low) : 0;
    return (int)(fmin(fmax(h, 0), 1) * (HEIGHT - 1) + 0.5);
}

/* The points with a finite loss. */
static int64_t n_finite(const struct range_curve *c)
{
    int64_t n = c->n;
    while (n > 0 && !isfinite(c->smooth[n - 1]))
        n--;
    return n;
}

static void draw_curve(struct canvas *f, const struct range_curve *c, int64_t n)
{
    memset(f->cell, ' ', sizeof f->cell);
    for (int x = 0; x < WIDTH; x++) {
        double at = f->left + (f->right - f->left) * x / (WIDTH - 1);
        int64_t i = 0;
        while (i + 2 < n && log(c->lr[i + 1]) < at)
            i++;
        double a = log(c->lr[i]), b = log(c->lr[i + 1]);
        double w = fmin(fmax((at - a) / (b - a), 0), 1);
        f->cell[row_of(f, c->smooth[i] + w * (c->smooth[i + 1] - c->smooth[i]))][x] = '*';
    }
    for (int y = 0; y < HEIGHT; y++)
        f->cell[y][WIDTH] = '\0';
}

/* The axis, with a stroke and a label at powers of ten. */
static void print_axis(const struct canvas *f)
{
    char strokes[WIDTH + 1], labels[WIDTH + 16], text[16];
    memset(strokes, '-', WIDTH);
    memset(labels, ' ', sizeof labels);
    strokes[WIDTH] = '\0';
    int first = (int)ceil(f->left / log(10) - 1e-9), last = (int)floor(f->right / log(10) + 1e-9);
    int every = (last - first) / MOST_DECADES + 1, end = 0;
    for (int d = first; d <= last; d += every) {
        int x = column_of(f, pow(10, d)), n = snprintf(text, sizeof text, "1e%d", d);
        if (x < 0)
            continue;
        strokes[x] = '+';
        memcpy(labels + x, text, (size_t)n);
        end = x + n;
    }
    printf("         +%s\n          %.*s  lr\n", strokes, end, labels);
}

static void print_marks(const struct canvas *f, const struct range_suggestion *s)
{
    const struct {
        char mark;
        double lr;
    } rows[] = {{'M', s->minimum}, {'S', s->steepest}, {'V', s->valley}};
    char line[WIDTH + 1];
    memset(line, ' ', WIDTH);
    line[WIDTH] = '\0';
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int x = isfinite(rows[i].lr) ? column_of(f, rows[i].lr) : -1;
        if (x >= 0)
            line[x] = rows[i].mark;
    }
    printf("          %s  V valley, S steepest, M minimum/10\n", line);
}

static void print_figure(const struct range_row *row)
{
    struct canvas f;
    const struct range_curve *c = &row->curve;
    int64_t n = n_finite(c);
    if (n < 2)
        return;
    double most = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, c->smooth[i]);
    f.left = log(c->lr[0]);
    f.right = log(c->lr[n - 1]);
    f.low = c->best;
    f.high = fmin(most, range_top(c));
    draw_curve(&f, c, n);
    printf("\nbatch %" PRId64 ", smoothed loss\n", row->batch);
    for (int y = 0; y < HEIGHT; y++) {
        char value[32] = "";
        if (y % 3 == 0)
            snprintf(value, sizeof value, "%.3f", f.high - (f.high - f.low) * y / (HEIGHT - 1));
        printf("%8s |%s\n", value, f.cell[y]);
    }
    print_axis(&f);
    print_marks(&f, &row->says);
}

static void print_suggestion(const struct range_results *r, const struct job *j)
{
    const struct range_row *row = &r->row[r->chosen];
    char lr[32];
    putchar('\n');
    if (isfinite(r->exponent))
        printf(
            "slope           lr ~ B^%.2f over these batches (the sqrt rule: 0.5, linear: 1); short "
            "tests tell\n                batches apart poorly: confirm it by training\n",
            r->exponent);
    printf("suggestion      optimizer.lr=%s", range_lr_text(lr, sizeof lr, row->says.valley));
    if (r->n > 1 || row->batch != j->conf.batch.global)
        printf(" scaling.base_batch=%" PRId64, row->batch);
    puts(" (valley)");
    if (row->says.weak)
        puts(
            "                it says little: the loss fell by no more than its noise from batch to "
            "batch; widen the ramp, or take a larger --batch or more --steps");
    if (!row->curve.ramp.linear && row->says.valley < NEAR_START * row->curve.ramp.from)
        puts("                it lies near the ramp's start: a lower --from may move it");
    if (row->says.falling)
        puts("                the loss was still falling at the ramp's end: a higher --to shows "
             "where it stops");
}

void range_print(const struct range_results *r, const struct job *j)
{
    print_table(r);
    for (int i = 0; i < r->n; i++)
        print_figure(&r->row[i]);
    if (r->chosen >= 0)
        print_suggestion(r, j);
    fflush(stdout);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *row_json(const struct range_row *row)
{
    const struct range_curve *c = &row->curve;
    json_t *points = json_array();
    for (int64_t i = 0; i < c->n; i++)
        json_array_append_new(points,
                              json_pack("{s:f, s:o, s:o}", "lr", c->lr[i], "loss",
                                        number(c->loss[i]), "smoothed", number(c->smooth[i])));
    return json_pack("{s:I, s:I, s:s, s:o, s:o, s:o, s:b, s:b, s:o}", "batch",
                     (json_int_t)row->batch, "steps", (json_int_t)c->n, "ended", ENDS[c->end],
                     "valley", number(row->says.valley), "steepest", number(row->says.steepest),
                     "minimum", number(row->says.minimum), "weak", row->says.weak, "still_falling",
                     row->says.falling, "points", points);
}

int range_print_json(const struct range_results *r)
{
    json_t *batches = json_array();
    for (int i = 0; i < r->n; i++)
        json_array_append_new(batches, row_json(&r->row[i]));
    const struct range_row *row = r->chosen >= 0 ? &r->row[r->chosen] : NULL;
    json_t *all = json_pack("{s:o, s:o, s:o, s:o}", "lr", number(row ? row->says.valley : NAN),
                            "base_batch", row ? json_integer((json_int_t)row->batch) : json_null(),
                            "exponent", number(r->exponent), "batches", batches);
    if (all == NULL)
        return ERR(E_BUG, "the range test cannot be written as JSON");
    int rc = json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(all);
    putchar('\n');
    return rc == 0 ? OK : ERR(E_IO, "standard output could not be written");
}

int range_verdict(const struct range_results *r)
{
    const struct range_curve *c = &r->row[0].curve;
    if (r->chosen >= 0)
        return OK;
    if (c->end != RANGE_WHOLE)
        return ERR(E_DIVERGED,
                   "no suggestion: at lr %.2e, step %" PRId64 " of %" PRId64 ", the loss was %s; "
                   "lower --from or give more --steps",
                   c->lr[c->n - 1], c->n, c->ramp.steps,
                   c->end == RANGE_DIVERGED ? "4 times its best" : "not finite");
    return ERR(E_CONFIG,
               "no suggestion: between lr %.2e and %.2e the loss never fell; widen the ramp "
               "(--from, --to)",
               c->ramp.from, c->ramp.to);
}
