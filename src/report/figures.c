#include "report/figures.h"

#include "base/err.h"
#include "base/mem.h"
#include "figure_parts.h"
#include "report/facts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Points of all curves of a figure together, and of those drawn as points, which take more bytes:
 * a page of twelve figures stays under 1 MB. With more runs than that, raw values would be a haze.
 */
enum {
    BUCKETS = 600,
    BUCKETS_MIN = 30,
    BUCKETS_MAX = 400,
    POINT_BUCKETS = 80,
    POINT_BUCKETS_MIN = 4,
    FAINT_RUNS_MAX = 6
};

static const char *const X_NAMES[X_N] = {"steps", "tokens", "time in steps"};

/* The columns that have a figure, in the order of the page. */
static const struct figure FIGURES[] = {
    {.title = "Loss by steps",
     .y_label = "loss, nat",
     .column = "loss",
     .points = "valid_loss",
     .log = true,
     .smooth = true,
     .from_start = true,
     .caption = "Mean cross entropy a token of each step's batch"},
    {.title = "Loss by tokens",
     .y_label = "loss, nat",
     .column = "loss",
     .points = "valid_loss",
     .x = X_TOKENS,
     .log = true,
     .smooth = true,
     .from_start = true,
     .caption = "The same loss against the tokens consumed, as runs of different batches compare"},
    {.title = "Loss by time",
     .y_label = "loss, nat",
     .column = "loss",
     .points = "valid_loss",
     .x = X_TIME,
     .log = true,
     .smooth = true,
     .from_start = true,
     .caption = "The same loss against the seconds spent in steps, without validation and saving"},
    {.title = "Learning rate",
     .y_label = "learning rate",
     .column = "lr",
     .zero = true,
     .log_if_apart = true,
     .caption = "Rate of each step, as the schedule and the batch make it"},
    {.title = "Gradient norm",
     .y_label = "norm",
     .column = "grad_norm",
     .log = true,
     .smooth = true,
     .clip_line = true,
     .caption = "Euclidean norm of the mean gradient before clipping"},
    {.title = "Gradient noise scale",
     .y_label = "sequences",
     .column = "noise_scale",
     .error = "noise_error",
     .also = {"critical_batch", "batch"},
     .log = true,
     .caption = "The batch beyond which larger ones save few steps; its standard error is shaded"},
    {.title = "Batch",
     .y_label = "sequences",
     .column = "batch",
     .zero = true,
     .if_varies = true,
     .caption = "Sequences of each step, all ranks together"},
    {.title = "Update ratio",
     .y_label = "update / weights",
     .column = "update_ratio",
     .log = true,
     .smooth = true,
     .caption =
         "Norm of a step's change of the weights over the norm of the weights; about 1e-3 is "
         "usual"},
    {.title = "Clipped steps",
     .y_label = "steps, %",
     .column = "clip_rate",
     .transform = figure_percent,
     .zero = true,
     .caption = "Share of the steps whose gradient was clipped, averaged; much of it asks for a "
                "lower rate"},
    {.title = "Largest attention logit",
     .y_label = "logit",
     .column = "attention_logit",
     .log = true,
     .smooth = true,
     .caption = "Greatest attention score of each step's batch; growth without end comes before "
                "divergence"},
    {.title = "Validation loss",
     .y_label = "loss, nat",
     .points = "valid_loss",
     .caption = "Mean cross entropy a token on the validation split"},
    {.title = "Validation perplexity",
     .y_label = "perplexity",
     .points = "valid_loss",
     .transform = exp,
     .log = true,
     .caption = "exp of the validation loss: among how many tokens the model hesitates"},
    {.title = "Accuracy",
     .y_label = "tokens, %",
     .column = "accuracy",
     .points = "valid_accuracy",
     .transform = figure_percent,
     .smooth = true,
     .zero = true,
     .caption = "Share of the next tokens that the model held for the likeliest"},
    {.title = "Speed",
     .y_label = "tokens/s",
     .column = "tokens_per_s",
     .smooth = true,
     .zero = true,
     .caption = "Tokens of a step over its wall time, all ranks together"},
    {.title = "Share of the peak",
     .y_label = "of peak, %",
     .column = "peak_fraction",
     .transform = figure_percent,
     .smooth = true,
     .zero = true,
     .caption = "Floating-point operations of the model a second over the machine's measured peak"},
};
enum { N_FIGURES = sizeof FIGURES / sizeof *FIGURES };

/* They are axes, or tell nothing that another figure does not. */
static const char *const NOT_SHOWN[] = {"step",        "attempt",     "samples",     "tokens",
                                        "step_s",      "clip",        "loss_smooth", "perplexity",
                                        "noise_trace", "noise_signal"};

double figure_percent(double v)
{
    return 100 * v;
}

/* ---- one column of one run ---- */

static void fill_x(double *x, const struct report_run *r, enum figure_x kind)
{
    for (int64_t i = 0; i < r->n; i++)
        x[i] = figure_x_of(r, kind, i);
}

static void fill_y(double *y, const struct report_run *r, const char *column,
                   double (*transform)(double))
{
    report_column(r, metric_find(column), y);
    for (int64_t i = 0; transform != NULL && i < r->n; i++)
        y[i] = transform(y[i]);
}

static int clamp(int v, int least, int most)
{
    return v < least ? least : v > most ? most : v;
}

static int buckets_of(const struct plot_maker *m)
{
    return clamp(BUCKETS / m->n_runs, BUCKETS_MIN, BUCKETS_MAX);
}

static int point_buckets_of(const struct plot_maker *m)
{
    return clamp(POINT_BUCKETS / (m->n_runs + 1), POINT_BUCKETS_MIN, POINT_BUCKETS);
}

static void add_column(const struct plot_maker *m, const struct report_run *r, const char *column,
                       enum curve_kind kind, const char *title)
{
    struct curve *c = plot_add(m->plot, kind, m->look, r->n, false, "%s", title);
    if (c == NULL)
        return;
    fill_x(c->x, r, m->figure->x);
    fill_y(c->y, r, column, m->figure->transform);
    c->n = series_join(c->x, c->y, NULL, c->n);
    if (kind == CURVE_LINE && m->figure->smooth)
        series_smooth(c->y, c->n, smoothing_of(c->n));
    c->n = series_thin(c->x, c->y, NULL, c->n, buckets_of(m));
}

/* What is measured now and then: only those rows, so that a line joins them. */
static void add_points(const struct plot_maker *m, const struct report_run *r, enum curve_kind kind,
                       const char *title)
{
    struct curve *c = plot_add(m->plot, kind, m->look + (m->n_runs == 1 && m->figure->column), r->n,
                               false, "%s", title);
    int64_t n = 0;
    if (c == NULL)
        return;
    fill_x(c->x, r, m->figure->x);
    fill_y(c->y, r, m->figure->points, m->figure->transform);
    for (int64_t i = 0; i < c->n; i++)
        if (isfinite(c->y[i])) {
            c->x[n] = c->x[i];
            c->y[n++] = c->y[i];
        }
    c->n = series_thin(c->x, c->y, NULL, n, point_buckets_of(m));
}

/* From the value less its error up to the value and its error; never down to 0, which a logarithmic
 * axis does not have. */
static void add_band(const struct plot_maker *m, const struct report_run *r)
{
    const struct figure *f = m->figure;
    if (f->error == NULL || !report_has(r, metric_find(f->error)))
        return;
    struct curve *c = plot_add(m->plot, CURVE_BAND, m->look, r->n, true, "%s",
                               m->n_runs == 1 ? "standard error" : "");
    if (c == NULL)
        return;
    fill_x(c->x, r, f->x);
    fill_y(c->y, r, f->column, NULL);
    fill_y(c->z, r, f->error, NULL);
    for (int64_t i = 0; i < c->n; i++) {
        double value = c->y[i], error = c->z[i];
        c->y[i] = fmax(value - error, value / 1000);
        c->z[i] = value + error;
    }
    c->n = series_join(c->x, c->y, c->z, c->n);
    c->n = series_thin(c->x, c->y, c->z, c->n, buckets_of(m));
}

/* ---- one figure ---- */

/* "critical batch" of the column critical_batch. */
static char *plain_name(char name[PLOT_NAME], const char *column)
{
    snprintf(name, PLOT_NAME, "%s", column);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '_' ? ' ' : *c;
    return name;
}

static void add_further(const struct plot_maker *m, const struct report_run *r)
{
    enum { N = sizeof m->figure->also / sizeof *m->figure->also };
    char title[PLOT_NAME];
    for (int i = 0; i < N && m->n_runs == 1; i++)
        if (m->figure->also[i] != NULL && report_has(r, metric_find(m->figure->also[i]))) {
            struct plot_maker further = *m;
            further.look += i + 1;
            add_column(&further, r, m->figure->also[i], CURVE_LINE,
                       plain_name(title, m->figure->also[i]));
        }
}

/* Several runs go by their names; of one alone the line says what it is. */
static void name_line(char title[PLOT_NAME], const struct plot_maker *m, const struct report_run *r,
                      bool smooth)
{
    if (m->n_runs > 1)
        snprintf(title, PLOT_NAME, "%s", r->name);
    else if (smooth)
        snprintf(title, PLOT_NAME, "mean over %.0f steps", smoothing_of(r->n));
    else
        plain_name(title, m->figure->also[0] != NULL ? m->figure->column : "each step");
}

static void add_main_line(const struct plot_maker *m, const struct report_run *r)
{
    const struct figure *f = m->figure;
    bool smooth = f->smooth && smoothing_of(r->n) > 2;
    char title[PLOT_NAME];
    if (smooth && m->n_runs <= FAINT_RUNS_MAX)
        add_column(m, r, f->column, CURVE_FAINT, m->n_runs == 1 ? "each step" : "");
    name_line(title, m, r, smooth);
    add_column(m, r, f->column, CURVE_LINE, title);
}

static void add_curves(const struct plot_maker *m, const struct report_run *r)
{
    const struct figure *f = m->figure;
    const char *validation = m->n_runs == 1 ? "validation" : f->column == NULL ? r->name : "";
    add_band(m, r);
    if (f->column != NULL && report_has(r, metric_find(f->column)))
        add_main_line(m, r);
    add_further(m, r);
    if (f->points != NULL && report_has(r, metric_find(f->points)))
        add_points(m, r, f->column != NULL ? CURVE_POINTS : CURVE_LINE_POINTS, validation);
}

/* The limits of clipping, each once. */
static void add_clip_lines(struct plot *p, const struct report_run *runs, int n)
{
    for (int i = 0; i < n; i++) {
        double limit = runs[i].has_conf ? runs[i].conf.optimizer.clip_norm : 0;
        bool drawn = !(limit > 0);
        for (int k = 0; k < i && !drawn; k++)
            drawn = runs[k].has_conf && runs[k].conf.optimizer.clip_norm == limit;
        struct curve *c =
            drawn ? NULL : plot_add(p, CURVE_LEVEL, 6, 1, false, "clipped at %.3g", limit);
        if (c != NULL)
            c->y[0] = limit;
    }
}

static double longest(const struct report_run *runs, int n, enum figure_x kind)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, figure_x_of(&runs[i], kind, runs[i].n - 1));
    return most;
}

/* All figures of one kind have the same axis, wherever their values begin. */
static void span_x(struct plot *p, const struct report_run *runs, int n, enum figure_x kind)
{
    p->x_all = EXTENT_NONE;
    for (int i = 0; i < n; i++) {
        double ends[] = {figure_x_of(&runs[i], kind, 0),
                         figure_x_of(&runs[i], kind, runs[i].n - 1)};
        extent_add(&p->x_all, ends, 2);
    }
}

/* The largest unit of which the axis is at least twice as long. */
static void name_x(struct plot *p, const struct report_run *runs, int n, enum figure_x kind)
{
    static const struct {
        enum figure_x kind;
        double unit;
        const char *name;
    } units[] = {
        {X_TIME, 86400, "days"},      {X_TIME, 3600, "hours"},     {X_TIME, 60, "minutes"},
        {X_TIME, 1, "seconds"},       {X_TOKENS, 1e9, "billions"}, {X_TOKENS, 1e6, "millions"},
        {X_TOKENS, 1e3, "thousands"},
    };
    double most = longest(runs, n, kind);
    snprintf(p->x_label, sizeof p->x_label, "%s", X_NAMES[kind]);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].kind == kind && (most >= 2 * units[i].unit || units[i].unit == 1)) {
            snprintf(p->x_label, sizeof p->x_label, "%s, %s", X_NAMES[kind], units[i].name);
            p->x_unit = units[i].unit;
            return;
        }
}

static bool any_has(const struct report_run *runs, int n, const char *column)
{
    for (int i = 0; column != NULL && i < n; i++)
        if (report_has(&runs[i], metric_find(column)))
            return true;
    return false;
}

static bool any_varies(const struct report_run *runs, int n, const char *column)
{
    int k = metric_find(column);
    for (int i = 0; i < n && k >= 0; i++)
        for (int64_t row = 1; row < runs[i].n; row++)
            if (runs[i].rows[row * M_N + k] != runs[i].rows[k])
                return true;
    return false;
}

/* Beside a ten times greater one a curve would lie on the axis. */
static bool far_apart(const struct report_run *runs, int n, const char *column)
{
    int k = metric_find(column);
    struct extent peaks = EXTENT_NONE;
    for (int i = 0; i < n && k >= 0; i++) {
        struct extent e = EXTENT_NONE;
        for (int64_t row = 0; row < runs[i].n; row++)
            extent_add(&e, &runs[i].rows[row * M_N + k], 1);
        if (extent_any(&e))
            extent_add(&peaks, &e.hi, 1);
    }
    return extent_any(&peaks) && peaks.lo > 0 && peaks.hi >= 10 * peaks.lo;
}

/* Twice the greatest of the runs' first values; 0 when nothing is above that. */
static double limit_from_start(const struct report_run *runs, int n, const char *column)
{
    int k = metric_find(column);
    double most = 0;
    struct extent all = EXTENT_NONE;
    for (int i = 0; i < n && k >= 0; i++) {
        double first = runs[i].rows[k];
        most = isfinite(first) ? fmax(most, 2 * first) : most;
        for (int64_t row = 0; row < runs[i].n; row++)
            extent_add(&all, &runs[i].rows[row * M_N + k], 1);
    }
    return extent_any(&all) && all.hi > most ? most : 0;
}

static void write_caption(struct plot *p, const struct figure *f, const struct report_run *runs,
                          int n)
{
    bool points = f->column != NULL && any_has(runs, n, f->points);
    snprintf(p->caption, sizeof p->caption, "%s%s%s%s.", f->caption,
             points ? "; the points are validation" : "",
             f->smooth && n > 1 ? "; lines are means over a fiftieth of each run" : "",
             p->y_most > 0 ? "; what rises above twice the first loss leaves the figure" : "");
}

static void make_figure(struct plot *p, const struct figure *f, const struct report_run *runs,
                        int n)
{
    bool apart = f->log_if_apart && far_apart(runs, n, f->column);
    *p = (struct plot){.log_y = f->log || apart, .zero_y = f->zero};
    snprintf(p->title, sizeof p->title, "%s", f->title);
    snprintf(p->y_label, sizeof p->y_label, "%s", f->y_label);
    if (f->from_start && n > 1)
        p->y_most = limit_from_start(runs, n, f->column);
    write_caption(p, f, runs, n);
    name_x(p, runs, n, f->x);
    span_x(p, runs, n, f->x);
    if (f->if_varies && !any_varies(runs, n, f->column))
        return;
    for (int i = 0; i < n; i++)
        add_curves(&(struct plot_maker){f, p, i, n}, &runs[i]);
    if (f->clip_line)
        add_clip_lines(p, runs, n);
}

/* ---- marks ---- */

double figure_x_of(const struct report_run *r, enum figure_x kind, int64_t row)
{
    return kind == X_TIME     ? r->time_s[row]
           : kind == X_TOKENS ? r->rows[row * M_N + M_TOKENS]
                              : r->rows[row * M_N + M_STEP];
}

static int count_marks(const struct report_run *runs, int n)
{
    int all = 0;
    for (int i = 0; i < n; i++)
        all += runs[i].n_marks;
    return all;
}

static int make_marks(struct figures *f, const struct report_run *runs, int n)
{
    int all = count_marks(runs, n), at = 0;
    TRY(mem_alloc(&f->mark, (size_t)all * X_N, sizeof *f->mark, "marks of figures"));
    for (int kind = 0; kind < X_N; kind++)
        for (int i = 0, number = 1; i < n; i++)
            for (int k = 0; k < runs[i].n_marks; k++) {
                const struct run_mark *m = &runs[i].mark[k];
                f->mark[at++] = (struct plot_mark){figure_x_of(&runs[i], kind, m->row), number++,
                                                   m->text, n > 1 ? i : -1};
            }
    return OK;
}

/* ---- all of them ---- */

static void take(struct figures *f, struct plot *p, enum figure_x kind, int n_marks)
{
    if (!plot_any(p) || f->n == FIGURES_MAX) {
        plot_release(p);
        return;
    }
    snprintf(p->id, sizeof p->id, "f%d", f->n + 1);
    p->mark = n_marks > 0 && p->n_bars == 0 ? f->mark + (size_t)kind * (size_t)n_marks : NULL;
    p->n_marks = p->mark != NULL ? n_marks : 0;
    f->plot[f->n++] = *p;
}

static bool same_name(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

static bool has_figure(const char *column)
{
    for (int i = 0; i < N_FIGURES; i++)
        if (same_name(FIGURES[i].column, column) || same_name(FIGURES[i].points, column) ||
            same_name(FIGURES[i].error, column) || same_name(FIGURES[i].also[0], column) ||
            same_name(FIGURES[i].also[1], column))
            return true;
    for (size_t i = 0; i < sizeof NOT_SHOWN / sizeof *NOT_SHOWN; i++)
        if (strcmp(NOT_SHOWN[i], column) == 0)
            return true;
    return false;
}

/* A column of another module: its name, unit and help make a figure. */
static void make_plain(struct plot *p, const struct metric_column *column,
                       const struct report_run *runs, int n)
{
    char label[PLOT_NAME], caption[256];
    bool has_unit = strcmp(column->unit, "1") != 0;
    snprintf(label, sizeof label, "%s%s%s", column->name, has_unit ? ", " : "",
             has_unit ? column->unit : "");
    snprintf(caption, sizeof caption, "The column %s: %s", column->name, column->help);
    struct figure f = {.title = column->name,
                       .y_label = label,
                       .column = column->name,
                       .log = true,
                       .smooth = true,
                       .caption = caption};
    make_figure(p, &f, runs, n);
}

int figures_make(struct figures *f, const struct report_run *runs, int n_runs)
{
    struct plot p;
    *f = (struct figures){0};
    TRY(make_marks(f, runs, n_runs));
    int n_marks = count_marks(runs, n_runs);
    for (int i = 0; i < N_FIGURES; i++) {
        make_figure(&p, &FIGURES[i], runs, n_runs);
        take(f, &p, FIGURES[i].x, n_marks);
    }
    for (int k = 0; k < M_N; k++)
        if (!has_figure(METRIC_COLUMNS[k].name)) {
            make_plain(&p, &METRIC_COLUMNS[k], runs, n_runs);
            take(f, &p, X_STEPS, n_marks);
        }
    for (int k = 0; k < L_N && n_runs == 1 && runs[0].n_groups > 0; k++) {
        figure_of_layers(&p, &runs[0], k);
        take(f, &p, X_STEPS, n_marks);
    }
    figure_of_ranks(&p, runs, n_runs);
    take(f, &p, X_STEPS, n_marks);
    return OK;
}

void figures_release(struct figures *f)
{
    for (int i = 0; i < f->n; i++)
        plot_release(&f->plot[i]);
    mem_free(f->mark);
    *f = (struct figures){0};
}
