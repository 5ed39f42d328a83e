#include "report/term.h"

#include "base/err.h"
#include "canvas.h"
#include "report/facts.h"
#include "report/plot.h"

#include <string.h>

enum { WIDTH = 80, LABEL = 23, AT_ONCE = 2, MARKS_SHOWN = 10, BUCKETS = 4 * CANVAS_W };

/* ---- tables ---- */

/* Columns of a text in UTF-8. */
static int columns(const char *s)
{
    int n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Behind a text that is cut stand two dots; spaces fill up to `width` unless it is the last of its
 * line. */
static void put_cell(FILE *out, const char *text, int width, bool last)
{
    int n = columns(text), room = last ? width : width - 1;
    if (n <= room) {
        fprintf(out, "%s%*s", text, last ? 0 : width - n, "");
        return;
    }
    for (int left = room - 2; left > 0; left--) {
        do
            putc(*text++, out);
        while (((unsigned char)*text & 0xc0) == 0x80);
    }
    fputs(last ? ".." : ".. ", out);
}

static void put_row(FILE *out, const char *label, char (*cell)[FACT_CELL], int n, int width)
{
    put_cell(out, label, LABEL, false);
    for (int i = 0; i < n; i++)
        put_cell(out, cell[i], width, i + 1 == n);
    putc('\n', out);
}

/* As many runs side by side as the width has room for, then the next ones. */
static void put_facts(FILE *out, const struct facts *f, const struct report_run *runs)
{
    for (int first = 0; first < f->n_runs; first += AT_ONCE) {
        int n = f->n_runs - first < AT_ONCE ? f->n_runs - first : AT_ONCE;
        int width = (WIDTH - LABEL) / n;
        char name[AT_ONCE][FACT_CELL];
        for (int i = 0; i < n; i++)
            snprintf(name[i], sizeof name[i], "%s", runs[first + i].name);
        if (f->n_runs > 1)
            put_row(out, "", name, n, width);
        for (int i = 0; i < f->n; i++)
            put_row(out, f->row[i].label, f->row[i].cell + first, n, width);
        putc('\n', out);
    }
}

static int put_table(FILE *out, int (*make)(struct facts *f, const struct report_run *runs, int n),
                     const struct report_run *runs, int n)
{
    struct facts f;
    TRY(make(&f, runs, n));
    if (f.n > 0)
        put_facts(out, &f, runs);
    facts_release(&f);
    return OK;
}

/* Words from column `at` on, wrapped. */
static void put_words(FILE *out, const char *text, int at)
{
    while (*text != '\0') {
        char word[WIDTH];
        size_t len = strcspn(text, " \n");
        snprintf(word, sizeof word, "%.*s", (int)(len < WIDTH - 3 ? len : WIDTH - 3), text);
        if (at + 1 + columns(word) > WIDTH)
            at = fprintf(out, "\n  %s", word) - 1;
        else
            at += fprintf(out, " %s", word);
        text += len + (text[len] != '\0');
    }
    putc('\n', out);
}

static void put_mark(FILE *out, const struct report_run *r, const struct run_mark *m)
{
    int at = r != NULL ? fprintf(out, "%s, ", r->name) : 0;
    at += fprintf(out, "step %lld:", (long long)m->step);
    put_words(out, m->text, at);
}

static void put_failures(FILE *out, const struct report_run *runs, int n)
{
    for (int i = 0; i < n; i++)
        if (runs[i].failed[0] != '\0') {
            int at = fprintf(out, "%s failed:", runs[i].name);
            put_words(out, runs[i].failed, at);
            putc('\n', out);
        }
}

static void put_marks(FILE *out, const struct report_run *runs, int n)
{
    int all = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < runs[i].n_marks; k++)
            if (all++ < MARKS_SHOWN)
                put_mark(out, n > 1 ? &runs[i] : NULL, &runs[i].mark[k]);
    if (all > MARKS_SHOWN)
        fprintf(out, "and %d events more\n", all - MARKS_SHOWN);
    if (all > 0)
        putc('\n', out);
}

/* ---- curves ---- */

static void add_curve(struct plot *p, const struct report_run *r, int column, bool smooth, int i)
{
    struct curve *c = plot_add(p, CURVE_LINE, i, r->n, false, "%s", r->name);
    if (c == NULL)
        return;
    report_column(r, M_STEP, c->x);
    report_column(r, column, c->y);
    if (smooth)
        series_smooth(c->y, c->n, smoothing_of(r->n));
    c->n = series_thin(c->x, c->y, NULL, c->n, BUCKETS);
}

static char letter_of(int run)
{
    return (char)(run < 26 ? 'a' + run : 'A' + run % 26);
}

static void put_curves(FILE *out, const char *title, int column, bool smooth,
                       const struct report_run *runs, int n, bool unicode)
{
    struct plot p = {.log_y = smooth};
    struct canvas c = {.x = EXTENT_NONE, .y = EXTENT_NONE, .dots = unicode && n == 1};
    for (int i = 0; i < n; i++)
        add_curve(&p, &runs[i], column, smooth, i);
    if (plot_any(&p)) {
        for (int i = 0; i < p.n_curves; i++) {
            extent_add(&c.x, p.curve[i].x, p.curve[i].n);
            extent_add(&c.y, p.curve[i].y, p.curve[i].n);
        }
        c.log_y = p.log_y && c.y.lo > 0 && c.y.hi > 3 * c.y.lo;
        for (int i = 0; i < p.n_curves; i++)
            canvas_draw(&c, p.curve[i].x, p.curve[i].y, p.curve[i].n,
                        n == 1 ? '*' : letter_of(p.curve[i].look));
        fprintf(out, "%s\n", title);
        canvas_print(out, &c, "steps");
        putc('\n', out);
    }
    plot_release(&p);
}

static void put_letters(FILE *out, const struct report_run *runs, int n)
{
    for (int i = 0; n > 1 && i < n; i++)
        fprintf(out, "%c  %s\n", letter_of(i), runs[i].name);
    if (n > 1)
        putc('\n', out);
}

int term_write(FILE *out, const struct report_run *runs, int n, bool unicode)
{
    put_failures(out, runs, n);
    TRY(put_table(out, facts_results, runs, n));
    TRY(put_table(out, facts_differences, runs, n));
    TRY(put_table(out, facts_times, runs, n));
    put_marks(out, runs, n);
    put_letters(out, runs, n);
    put_curves(out, "loss, smoothed", M_LOSS, true, runs, n, unicode);
    put_curves(out, "learning rate", M_LR, false, runs, n, unicode);
    return OK;
}
