#include "plot_parts.h"

#include "base/plain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of lines that are neither this nor that: seen on white and on black. */
#define INK "7A828C"

enum { MANY = 6 };

/* From blue by purple and red to orange: each lighter than the one before, and told apart from its
 * neighbours without seeing red from green. */
static struct plot_look ramp(double at)
{
    static const double stops[][3] = {{52, 101, 178}, {140, 90, 176}, {214, 90, 92}, {230, 159, 0}};
    struct plot_look look = {"", "solid", 7};
    int part = at >= 2.0 / 3 ? 2 : at >= 1.0 / 3 ? 1 : 0;
    double rest = at * 3 - part, c[3];
    for (int k = 0; k < 3; k++)
        c[k] = stops[part][k] + rest * (stops[part + 1][k] - stops[part][k]);
    snprintf(look.colour, sizeof look.colour, "%02X%02X%02X", (unsigned)c[0] & 0xff,
             (unsigned)c[1] & 0xff, (unsigned)c[2] & 0xff);
    return look;
}

int look_ramp(int i, int n)
{
    return LOOK_RAMP + (n > 1 ? 100 * i / (n - 1) : 0);
}

struct plot_look plot_look(int i)
{
    if (i >= LOOK_INK)
        return (struct plot_look){INK, "solid", 7};
    if (i >= LOOK_RAMP)
        return ramp((i - LOOK_RAMP) / 100.0);
    static const struct plot_look looks[] = {
        {"0072B2", "solid", 7},      {"D55E00", "(9,4)", 5},       {"009E73", "(2,3)", 9},
        {"CC79A7", "(9,3,2,3)", 13}, {"E69F00", "(16,4)", 6},      {"56B4E9", "(5,2,2,2)", 4},
        {"7F7F7F", "(3,3)", 8},      {"8C510A", "(12,3,2,3)", 12},
    };
    enum { N = sizeof looks / sizeof *looks };
    const struct plot_look *other = &looks[(i + i / N) % N]; /* each colour with other dashes */
    struct plot_look look = looks[i % N];
    look.dashes = other->dashes;
    look.point = other->point;
    return look;
}

/* A text in gnuplot's single quotes, where only they themselves and the line's end mean something.
 */
static void quote(struct str *out, const char *text)
{
    struct str plain = {0};
    plain_add(&plain, text);
    str_add(out, "'");
    for (size_t i = 0; i < plain.len; i++) {
        char c[2] = {(unsigned char)plain.s[i] < ' ' ? ' ' : plain.s[i], '\0'};
        str_add(out, c[0] == '\'' ? "''" : c);
    }
    str_add(out, "'");
    str_release(&plain);
}

/* "1e-5" where C has "1e-05"; thousands as people write them. */
static void tick_text(char *buf, size_t n, double v)
{
    char digits[24];
    double a = fabs(v);
    if (a >= 1000 && a < 1e6 && a == floor(a)) {
        snprintf(buf, n, "%s%.0f,%03.0f", v < 0 ? "-" : "", floor(a / 1000), fmod(a, 1000));
        return;
    }
    snprintf(digits, sizeof digits, "%.5g", a < 1e-300 ? 0 : v);
    char *e = strchr(digits, 'e');
    if (e == NULL) {
        snprintf(buf, n, "%s", digits);
        return;
    }
    const char *power = e + (e[1] == '+' ? 2 : 1), *sign = *power == '-' ? "-" : "";
    power += strspn(power, "-0");
    *e = '\0';
    snprintf(buf, n, "%se%s%s", digits, sign, power);
}

/* few: where there is little room, every other mark goes without its number. */
static void add_ticks(struct str *s, const char *axis, struct extent e, double unit,
                      bool logarithmic, bool few)
{
    double at[SERIES_MAX_TICKS];
    char text[32];
    int n = series_ticks(at, (struct extent){e.lo / unit, e.hi / unit}, logarithmic);
    str_addf(s, "set %stics (", axis);
    for (int i = 0; i < n; i++) {
        tick_text(text, sizeof text, at[i]);
        str_addf(s, "%s'%s' %.9g", i > 0 ? ", " : "", few && n > MANY && i % 2 == 1 ? "" : text,
                 at[i] * unit);
    }
    str_add(s, ")\n");
}

static void add_bar_names(struct str *s, const struct plot *p)
{
    const char *between = "";
    str_add(s, "set xtics (");
    for (int i = 0; i < p->n_bars; i++)
        if (p->bar_name[i][0] != '\0') {
            str_add(s, between);
            quote(s, p->bar_name[i]);
            str_addf(s, " %d", i);
            between = ", ";
        }
    str_add(s, ") scale 0\n");
}

static void add_x_ticks(struct str *s, const struct plot *p, struct extent x)
{
    double unit = p->x_unit > 0 ? p->x_unit : 1;
    char text[32];
    if (p->n_bars > 0)
        add_bar_names(s, p);
    else if (p->n_ticks == 0)
        add_ticks(s, "x", x, unit, plot_log_x(p, &x), p->half);
    if (p->n_bars > 0 || p->n_ticks == 0)
        return;
    str_add(s, "set xtics (");
    for (int i = 0; i < p->n_ticks; i++) {
        tick_text(text, sizeof text, p->tick[i] / unit);
        str_addf(s, "%s'%s' %.9g", i > 0 ? ", " : "", text, p->tick[i]);
    }
    str_add(s, ")\n");
}

/* Where a label's text comes to stand, in pixels, as far as that can be told without its font. */
struct text_box {
    double left, right, y;
};

static double share_of(double v, struct extent e, bool logarithmic)
{
    return logarithmic ? log(v / e.lo) / log(e.hi / e.lo) : (v - e.lo) / (e.hi - e.lo);
}

static struct text_box label_box(const struct plot *p, const struct plot_label *l)
{
    const double a_letter = 7, gap = 6;
    const struct plot_box box = plot_box(p);
    struct extent x, y;
    bool log_y;
    plot_axes(p, &x, &y, &log_y);
    double width = a_letter * (double)strlen(l->text);
    double at = box.left + share_of(l->x, x, plot_log_x(p, &x)) * (box.right - box.left);
    double height = isfinite(l->y) ? share_of(l->y, y, log_y) : 1;
    return (struct text_box){l->left ? at - gap - width : at + gap,
                             l->left ? at - gap : at + gap + width,
                             box.bottom - height * (box.bottom - box.top)};
}

static bool overlap(const struct text_box *a, const struct text_box *b)
{
    const double line = 14;
    return a->left < b->right && b->left < a->right && fabs(a->y - b->y) < line;
}

static void add_label(struct str *s, const struct plot_label *l)
{
    str_add(s, "set label ");
    quote(s, l->text);
    if (isfinite(l->y))
        str_addf(s, " at %.9g,%.9g", l->x, l->y);
    else
        str_addf(s, " at first %.9g, graph 0.97", l->x);
    str_addf(s, " %s offset character %s front\n", l->left ? "right" : "left",
             !isfinite(l->y) ? "0.6,0"
             : l->left       ? "-0.8,0.5"
                             : "0.8,0.5");
}

/* Those that came first stand; what would cover one of them is left out. A label that would leave
 * the figure turns to its point's other side. */
static void add_labels(struct str *s, const struct plot *p)
{
    struct text_box taken[PLOT_MAX_LABELS];
    int n = 0;
    for (int i = 0; i < p->n_labels; i++) {
        struct plot_label l = p->label[i];
        struct text_box box = label_box(p, &l);
        if (box.right > plot_box(p).width - 4) {
            l.left = true;
            box = label_box(p, &l);
        }
        bool room = true;
        for (int k = 0; k < n; k++)
            room = room && !overlap(&box, &taken[k]);
        if (!room)
            continue;
        taken[n++] = box;
        add_label(s, &l);
    }
}

static void add_axes(struct str *s, const struct plot *p)
{
    struct extent x, y;
    bool log_y;
    plot_axes(p, &x, &y, &log_y);
    str_addf(s, "set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\n%sset logscale y\n", x.lo, x.hi,
             y.lo, y.hi, log_y ? "" : "un");
    add_ticks(s, "y", y, 1, log_y, false);
    str_addf(s, "%sset logscale x\n", plot_log_x(p, &x) ? "" : "un");
    add_x_ticks(s, p, x);
    str_add(s, "set xlabel ");
    quote(s, p->x_label);
    /* Its own place: gnuplot's would follow the width of the ticks, out of the figure. */
    str_add(s, "\nset label ");
    quote(s, p->y_label);
    str_add(s, " at screen ");
    str_addf(s, "%.3g, graph 0.5 center rotate\n", 12 / plot_box(p).width);
    add_labels(s, p);
}

/* A blank line breaks a line; two would begin another data set. top: where points stand that have
 * no place below. */
static void add_data(struct str *s, const struct curve *c, int number, struct extent x, double top)
{
    bool broken = true;
    str_addf(s, "$d%d << EOD\n", number);
    for (int64_t i = 0; i < c->n; i++) {
        bool points = c->kind == CURVE_CROSSES || c->kind == CURVE_POINTS;
        double y = points && c->y[i] == INFINITY ? top : c->y[i];
        if (!isfinite(y) || !isfinite(c->x[i])) {
            str_add(s, broken ? "" : "\n");
            broken = true;
            continue;
        }
        str_addf(s, "%.7g %.6g", c->x[i], y);
        if (c->z != NULL)
            str_addf(s, " %.6g", c->z[i]);
        str_add(s, "\n");
        broken = false;
    }
    if (c->kind == CURVE_LEVEL)
        str_addf(s, "%.9g %.6g\n", x.hi, c->y[0]);
    str_add(s, "EOD\n");
}

/* A line of one point would not be seen. */
static enum curve_kind visible_kind(const struct curve *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++)
        n += isfinite(c->y[i]);
    bool line = c->kind == CURVE_LINE || c->kind == CURVE_FAINT;
    return line && n == 1 ? CURVE_POINTS : c->kind;
}

static void add_style(struct str *s, const struct curve *c)
{
    const struct plot_look l = plot_look(c->look);
    switch (visible_kind(c)) {
    case CURVE_FAINT:
        str_addf(s, "using 1:2 with lines lw 1 lc rgb '#80%s'", l.colour);
        break;
    case CURVE_POINTS:
        str_addf(s, "using 1:2 with points pt %d ps 0.7 lc rgb '#%s'", l.point, l.colour);
        break;
    case CURVE_LINE_POINTS:
        str_addf(s, "using 1:2 with linespoints lw 1.5 dt %s pt %d ps 0.6 lc rgb '#%s'", l.dashes,
                 l.point, l.colour);
        break;
    case CURVE_BAND:
        str_addf(s, "using 1:2:3 with filledcurves fs transparent solid 0.25 noborder lc rgb '#%s'",
                 l.colour);
        break;
    case CURVE_BARS:
        str_addf(s,
                 "using 1:2:($1-0.4):($1+0.4):2:3 with boxxyerror fs solid 0.85 border rgb "
                 "'#808080' lw 0.5 lc rgb '#%s'",
                 l.colour);
        break;
    case CURVE_LEVEL:
        str_addf(s, "using 1:2 with lines lw 1 dt (6,4) lc rgb '#%s'", l.colour);
        break;
    case CURVE_RANGES:
        str_addf(
            s, "using 1:2:(0):($3-$2) with vectors heads size screen 0.004,90 lw 1.3 lc rgb '#%s'",
            l.colour);
        break;
    case CURVE_RINGS:
        str_addf(s, "using 1:2 with points pt 6 ps 1.5 lw 2 lc rgb '#%s'", l.colour);
        break;
    case CURVE_CROSSES:
        str_addf(s, "using 1:2 with points pt 2 ps 0.8 lw 1.5 lc rgb '#%s'", l.colour);
        break;
    case CURVE_DASHED:
        str_addf(s, "using 1:2 with lines lw 1.5 dt (7,5) lc rgb '#%s'", l.colour);
        break;
    default:
        str_addf(s, "using 1:2 with lines lw 2 dt %s lc rgb '#%s'", l.dashes, l.colour);
    }
}

void plot_script(struct str *s, const struct plot *p, const char *file)
{
    struct extent x, y;
    bool log_y;
    const struct plot_box box = plot_box(p);
    plot_axes(p, &x, &y, &log_y);
    str_add(s, "reset\nset encoding utf8\n");
    str_addf(s,
             "set terminal svg size %.0f,%.0f dynamic noenhanced font 'sans-serif,13' name '%s'\n"
             "set output '%s'\n"
             "set border 3 lc rgb '#808080'\nset grid lt 1 lw 0.4 lc rgb '#90808080'\n"
             "set tics nomirror\nset key above left horizontal samplen 3\n"
             "set lmargin at screen %g\nset rmargin at screen %g\nset bmargin at screen %g\n"
             "set tmargin at screen %g\n",
             box.width, box.height, p->id, file, box.left / box.width, box.right / box.width,
             1 - box.bottom / box.height, 1 - box.top / box.height);
    add_axes(s, p);
    double top = log_y ? y.hi * pow(y.lo / y.hi, 0.04) : y.hi - 0.04 * (y.hi - y.lo);
    for (int i = 0; i < p->n_curves; i++) {
        const struct curve *c = &p->curve[i];
        if (c->kind == CURVE_LEVEL)
            c->x[0] = x.lo;
        add_data(s, c, i, x, top);
    }
    for (int i = 0; i < p->n_curves; i++) {
        const struct curve *c = &p->curve[i];
        str_addf(s, "%s $d%d ", i == 0 ? "plot" : ", \\\n    ", i);
        add_style(s, c);
        str_add(s, c->title[0] != '\0' ? " title " : " notitle");
        if (c->title[0] != '\0')
            quote(s, c->title);
    }
    str_add(s, "\nset output\n");
}
