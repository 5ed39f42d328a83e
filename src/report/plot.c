#include "plot_parts.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Logarithmic from this ratio of the greatest to the least value on. */
static const double LOG_FROM = 3;

void plot_release(struct plot *p)
{
    for (int i = 0; i < p->n_curves; i++) {
        mem_free(p->curve[i].x);
        mem_free(p->curve[i].y);
        mem_free(p->curve[i].z);
    }
    mem_free(p->curve);
    mem_free(p->label);
    mem_free(p->bar_name);
    *p = (struct plot){0};
}

static int make_room(struct plot *p, struct curve *c, int64_t n, bool with_z)
{
    if (p->curve == NULL)
        TRY(mem_alloc(&p->curve, PLOT_MAX_CURVES, sizeof *p->curve, "curves"));
    TRY(mem_alloc(&c->x, (size_t)n, sizeof *c->x, "a curve"));
    TRY(mem_alloc(&c->y, (size_t)n, sizeof *c->y, "a curve"));
    return with_z ? mem_alloc(&c->z, (size_t)n, sizeof *c->z, "a curve") : OK;
}

struct curve *plot_add(struct plot *p, enum curve_kind kind, int look, int64_t n, bool with_z,
                       const char *title, ...)
{
    struct curve c = {.kind = kind, .look = look, .n = n};
    va_list args;
    va_start(args, title);
    vsnprintf(c.title, sizeof c.title, title, args);
    va_end(args);
    if (p->n_curves == PLOT_MAX_CURVES)
        return NULL;
    if (make_room(p, &c, n, with_z) != OK) {
        err_clear();
        mem_free(c.x);
        mem_free(c.y);
        return NULL;
    }
    p->curve[p->n_curves] = c;
    return &p->curve[p->n_curves++];
}

void plot_label(struct plot *p, double x, double y, bool left, const char *form, ...)
{
    if (p->label == NULL &&
        mem_alloc(&p->label, PLOT_MAX_LABELS, sizeof *p->label, "labels") != OK) {
        err_clear();
        return;
    }
    if (p->n_labels == PLOT_MAX_LABELS || !isfinite(x) || isnan(y))
        return;
    struct plot_label *l = &p->label[p->n_labels++];
    *l = (struct plot_label){.x = x, .y = y, .left = left};
    va_list args;
    va_start(args, form);
    vsnprintf(l->text, sizeof l->text, form, args);
    va_end(args);
}

bool plot_log_x(const struct plot *p, const struct extent *x)
{
    return p->log_x && x->lo > 0 && x->hi > x->lo;
}

bool plot_any(const struct plot *p)
{
    struct extent e = EXTENT_NONE;
    for (int i = 0; i < p->n_curves; i++)
        if (p->curve[i].kind != CURVE_LEVEL && p->curve[i].kind != CURVE_BAND)
            extent_add(&e, p->curve[i].y, p->curve[i].n);
    return extent_any(&e);
}

/* A level joins where it is near: a limit that is never reached would press the curve flat. */
static void add_levels(const struct plot *p, struct extent *y)
{
    enum { NEAR = 5 };
    for (int i = 0; i < p->n_curves; i++) {
        const struct curve *c = &p->curve[i];
        if (c->kind == CURVE_LEVEL && c->y[0] < NEAR * y->hi && c->y[0] * NEAR > y->lo)
            extent_add(y, c->y, 1);
    }
}

static void give_air(struct extent *e, bool logarithmic, bool from_zero)
{
    const double air = 0.04;
    if (logarithmic) {
        double by = pow(e->hi / e->lo, air);
        *e = (struct extent){e->lo / by, e->hi * by};
        return;
    }
    double by = (e->hi - e->lo) * air;
    if (!(by > 1e-9 * fabs(e->hi)))
        by = e->hi != 0 ? fabs(e->hi) / 2 : 0.5;
    *e = (struct extent){from_zero ? 0 : e->lo - by, e->hi + by};
}

void plot_axes(const struct plot *p, struct extent *x, struct extent *y, bool *log_y)
{
    *y = EXTENT_NONE;
    *x = p->x_all.hi > p->x_all.lo ? p->x_all : EXTENT_NONE;
    for (int i = 0; i < p->n_curves; i++) {
        const struct curve *c = &p->curve[i];
        if (c->kind == CURVE_LEVEL || c->kind == CURVE_BAND)
            continue; /* they go as far as the others let them */
        extent_add(x, c->x, c->n);
        extent_add(y, c->y, c->n);
        if (c->z != NULL)
            extent_add(y, c->z, c->n);
    }
    *log_y = false;
    if (!extent_any(y)) {
        *x = *y = (struct extent){0, 1};
        return;
    }
    if (p->y_most > y->lo)
        y->hi = fmin(y->hi, p->y_most);
    add_levels(p, y);
    *log_y = p->log_y && y->lo > 0 && y->hi / y->lo >= LOG_FROM;
    give_air(y, *log_y, p->zero_y && y->lo >= 0);
    if (plot_log_x(p, x))
        give_air(x, true, false);
    else if (p->n_bars > 0)
        *x = (struct extent){-0.6, p->n_bars - 0.4};
    else if (!(x->hi > x->lo))
        *x = x->lo > 0 ? (struct extent){0, 2 * x->lo} : (struct extent){x->lo - 0.5, x->hi + 0.5};
    else if (x->lo > 0 && x->lo < 0.1 * x->hi)
        x->lo = 0; /* runs begin at nothing */
}

/* As gnuplot sets its legend: columns as wide as the longest entry. */
static int legend_rows(const struct plot *p, double width)
{
    const double a_letter = 7, a_sample = 65;
    size_t longest = 0;
    int entries = 0;
    for (int i = 0; i < p->n_curves; i++) {
        size_t len = strlen(p->curve[i].title);
        entries += len > 0;
        longest = len > longest ? len : longest;
    }
    int in_a_row = (int)(width / (a_letter * (double)longest + a_sample));
    in_a_row = in_a_row > 1 ? in_a_row : 1;
    return (entries + in_a_row - 1) / in_a_row;
}

struct plot_box plot_box(const struct plot *p)
{
    const double a_row = 19.5, numbers = 16, inside = 236, below = 56;
    struct plot_box b = {.width = 860, .left = 92, .right = 832};
    if (p->half)
        b = (struct plot_box){.width = 430, .left = 78, .right = 416};
    b.top = 8 + numbers + a_row * legend_rows(p, b.right - b.left);
    b.bottom = b.top + inside;
    b.height = b.bottom + below;
    return b;
}
