#include "range.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_program(const char *name)
{
    const char *path = getenv("PATH");
    char file[FS_PATH_MAX];
    for (const char *at = path; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)n, at, name);
        if (access(file, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

int range_check_figure(const struct range_request *q)
{
    if (q->figure == NULL)
        return OK;
    if (!has_program("gnuplot"))
        return ERR(E_CONFIG, "--figure needs gnuplot, which is not in PATH; install it (Debian: "
                             "gnuplot-nox) or leave the option out");
    /* gnuplot would pipe its drawing into a command, or make another file. */
    for (const char *p = q->figure; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *q->figure == '|')
            return ERR(E_USAGE,
                       "--figure %s: a name that begins with | or holds control "
                       "characters is none that gnuplot writes to; choose another",
                       q->figure);
    return job_check_folder("--figure", q->figure);
}

/* A text in gnuplot's single quotes, which end with the line: nothing in it becomes a command. */
static void add_quoted(struct str *out, const char *text)
{
    str_add(out, "'");
    for (const char *p = text; *p != '\0'; p++) {
        bool control = (unsigned char)*p < ' ';
        str_addn(out, control ? " " : *p == '\'' ? "''" : p, *p == '\'' ? 2 : 1);
    }
    str_add(out, "'");
}

static void add_data(struct str *out, const struct range_results *r)
{
    for (int i = 0; i < r->n; i++) {
        const struct range_curve *c = &r->row[i].curve;
        str_addf(out, "$c%d << END\n", i);
        for (int64_t k = 0; k < c->n && isfinite(c->smooth[k]); k++)
            str_addf(out, "%.9g %.9g\n", c->lr[k], c->smooth[k]);
        str_add(out, "END\n");
    }
}

/* A divergence would press the rest flat. */
static void add_frame(struct str *out, const struct range_results *r)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < r->n; i++) {
        const struct range_curve *c = &r->row[i].curve;
        low = fmin(low, c->best);
        high = fmax(high, range_top(c));
    }
    str_add(out, "set logscale x\nset format x '1e%T'\nset xlabel 'learning rate'\n"
                 "set ylabel 'smoothed loss, nat a token'\nset grid\nset key left bottom\n");
    if (isfinite(low) && high > low)
        str_addf(out, "set yrange [%.9g:%.9g]\n", low - 0.05 * (high - low), high);
}

static void add_plots(struct str *out, const struct range_results *r)
{
    for (int i = 0; i < r->n; i++) {
        const struct range_row *row = &r->row[i];
        if (isfinite(row->says.valley))
            str_addf(
                out,
                "set arrow from first %.9g, graph 0 to first %.9g, graph 1 nohead lc %d dt 2\n",
                row->says.valley, row->says.valley, i + 1);
    }
    for (int i = 0; i < r->n; i++) {
        const struct range_row *row = &r->row[i];
        str_addf(out, "%s$c%d using 1:2 with lines lw 2 lc %d title 'batch %" PRId64,
                 i == 0 ? "plot " : ", ", i, i + 1, row->batch);
        str_addf(out, isfinite(row->says.valley) ? ", valley %.2e'" : "'", row->says.valley);
    }
    str_add(out, "\n");
}

static int run_gnuplot(const char *script, const char *path)
{
    FILE *f = popen("gnuplot", "we");
    bool sent = f != NULL && fputs(script, f) >= 0;
    if (f == NULL || pclose(f) != 0 || !sent || !fs_exists(path))
        return ERR(E_IO, "--figure %s: gnuplot could not draw it", path);
    log_info("figure          %s", path);
    return OK;
}

int range_draw(const struct range_results *r, const struct job *j, const char *path)
{
    struct str script = {0};
    struct str title = {0};
    str_add(&script, "set terminal svg size 800,500 dynamic enhanced background 'white'\n"
                     "set output ");
    add_quoted(&script, path);
    str_addf(&title, "Learning-rate range test of %s (%s)", j->name, j->conf.optimizer.name);
    str_add(&script, "\nset title ");
    add_quoted(&script, title.s);
    str_add(&script, " noenhanced\n");
    add_data(&script, r);
    add_frame(&script, r);
    add_plots(&script, r);
    int rc = run_gnuplot(script.s, path);
    str_release(&script);
    str_release(&title);
    return rc;
}
