#include "base/err.h"
#include "base/mem.h"
#include "figure_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Columns of seconds, by their unit. */
static bool is_part(int column)
{
    return strcmp(RANK_COLUMNS[column].unit, "s") == 0;
}

/* Bars of a run: one a rank, or as many groups of neighbours as there is room for. */
static int bars_of(const struct report_run *r, int n_runs)
{
    int most = PLOT_MAX_BARS / n_runs > 1 ? PLOT_MAX_BARS / n_runs : 1;
    return r->ranks.ranks < most ? (int)r->ranks.ranks : most;
}

/* The mean of a part over the ranks of bar k of n; what was not measured counts nothing. */
static double bar_value(const struct report_run *r, int part, int k, int n)
{
    int64_t first = r->ranks.ranks * k / n, end = r->ranks.ranks * (k + 1) / n;
    double sum = 0;
    for (int64_t rank = first; rank < end; rank++) {
        double v = r->ranks.mean[rank * R_N + part];
        sum += isfinite(v) ? v : 0;
    }
    return sum / (double)(end - first);
}

static void name_bar(char name[16], const struct report_run *r, int k, int n)
{
    int64_t first = r->ranks.ranks * k / n, last = r->ranks.ranks * (k + 1) / n - 1;
    if (first == last)
        snprintf(name, 16, "%d", (int)first);
    else
        snprintf(name, 16, "%d-%d", (int)first, (int)last);
}

/* A run's name stands under the middle of its bars, as much of it as they are wide. */
static void name_run(char (*name)[16], const struct report_run *r, int bars, int all_bars)
{
    enum { LETTERS = 96 }; /* along the axis */
    int room = LETTERS * bars / all_bars;
    snprintf(name[(bars - 1) / 2], 16, "%.*s", room < 1 ? 1 : room > 15 ? 15 : room, r->name);
}

/* Puts a part on top of what is there in base, the height of each bar so far. */
static void stack_part(struct plot *p, int part, int look, double *base,
                       const struct report_run *runs, int n)
{
    char title[PLOT_NAME];
    const char *name = RANK_COLUMNS[part].name;
    int at = 0;
    snprintf(title, sizeof title, "%.*s", (int)(strlen(name) - strlen("_s")), name);
    struct curve *c = plot_add(p, CURVE_BARS, look, p->n_bars, true, "%s", title);
    if (c == NULL)
        return;
    for (int i = 0; i < n; i++)
        for (int k = 0, bars = bars_of(&runs[i], n); k < bars; k++, at++) {
            c->x[at] = at;
            c->y[at] = base[at];
            c->z[at] = base[at] += 1000 * bar_value(&runs[i], part, k, bars);
        }
}

static int name_bars(struct plot *p, const struct report_run *runs, int n)
{
    int at = 0;
    for (int i = 0; i < n; i++)
        p->n_bars += bars_of(&runs[i], n);
    TRY(mem_alloc(&p->bar_name, (size_t)p->n_bars, sizeof *p->bar_name, "names of bars"));
    for (int i = 0; i < n; i++) {
        int bars = bars_of(&runs[i], n);
        for (int k = 0; k < bars && n == 1; k += (bars + 31) / 32) /* room for 32 */
            name_bar(p->bar_name[k], &runs[i], k, bars);
        if (n > 1)
            name_run(p->bar_name + at, &runs[i], bars, p->n_bars);
        at += bars;
    }
    return OK;
}

void figure_of_ranks(struct plot *p, const struct report_run *runs, int n)
{
    double *base;
    *p = (struct plot){.zero_y = true};
    snprintf(p->title, sizeof p->title, "Time of the ranks");
    snprintf(p->x_label, sizeof p->x_label, n == 1 ? "rank" : "ranks of each run");
    snprintf(p->y_label, sizeof p->y_label, "ms a step");
    snprintf(p->caption, sizeof p->caption,
             "What each rank spends in a step on average, from the bottom up in the order of the "
             "legend; waiting for slower ranks counts as reduce.");
    if (name_bars(p, runs, n) != OK ||
        mem_alloc(&base, (size_t)p->n_bars, sizeof *base, "heights of bars") != OK) {
        err_clear();
        plot_release(p);
        return;
    }
    for (int part = 0, look = 0; part < R_N; part++)
        if (is_part(part))
            stack_part(p, part, look++, base, runs, n);
    mem_free(base);
}
