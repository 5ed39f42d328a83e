#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "report/figures.h"
#include "report/page.h"
#include "report/study.h"
#include "report/term.h"
#include "study_parts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { RUNS_MAX = 32, TRIALS_SHOWN = 20 };

struct request {
    const char *page, *csv; /* files, "-": standard output; NULL: not wanted */
    bool text;
};

/* What goes to standard output when nothing is asked for: a page where it leads to a file. */
static int settle(struct request *q)
{
    if (q->csv != NULL && *q->csv == '\0')
        q->csv = "-";
    if (q->page == NULL && q->csv == NULL && !q->text) {
        q->text = isatty(STDOUT_FILENO);
        q->page = q->text ? NULL : "-";
    }
    bool page = q->page != NULL && strcmp(q->page, "-") == 0;
    bool csv = q->csv != NULL && strcmp(q->csv, "-") == 0;
    if (page + csv + q->text > 1)
        return ERR(E_USAGE, "only one of page, CSV and text can go to standard output; name files: "
                            "-o FILE.html, --csv=FILE.csv");
    log_to_stderr(true);
    return OK;
}

/* ---- CSV and text ---- */

static int write_csv(const char *path, const struct report_run *runs, int n)
{
    char temp[FS_PATH_MAX];
    if (strcmp(path, "-") == 0) {
        csv_write(stdout, runs, n);
        return OK;
    }
    snprintf(temp, sizeof temp, "%.4000s.tmp-%ld", path, (long)getpid());
    FILE *f = fopen(temp, "w");
    if (f == NULL)
        return ERR(E_IO, "%s: cannot write: %s", temp, strerror(errno));
    csv_write(f, runs, n);
    bool good = ferror(f) == 0;
    good = fclose(f) == 0 && good;
    int rc =
        good ? fs_rename(temp, path) : ERR(E_IO, "%s: cannot write: %s", path, strerror(errno));
    if (rc != OK)
        unlink(temp);
    else
        log_info("csv             %s", path);
    return rc;
}

/* Whether the terminal shows Unicode, by the user's locale. */
static bool is_unicode(void)
{
    static const char *const vars[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof vars / sizeof *vars; i++) {
        const char *v = getenv(vars[i]);
        if (v != NULL && *v != '\0')
            return strcasestr(v, "utf-8") != NULL || strcasestr(v, "utf8") != NULL;
    }
    return false;
}

static int write_text(const struct report_run *runs, int n)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    int rc = f != NULL ? term_write(f, runs, n, is_unicode()) : OK;
    if (f == NULL || fclose(f) != 0)
        rc = ERR(E_MEM, "no memory for a report's text");
    if (rc == OK)
        plain_put(stdout, text);
    free(text);
    return rc;
}

/* ---- page ---- */

static int put_page(const char *path, const struct str *page)
{
    char size[32];
    if (strcmp(path, "-") == 0) {
        fwrite(page->s, 1, page->len, stdout);
        return OK;
    }
    TRY(fs_write_file(path, page->s, page->len));
    log_info("report          %s (%s)", path, fmt_bytes(size, sizeof size, (double)page->len));
    return OK;
}

/* What a page is made of: runs, or a study. */
struct subject {
    const struct report_run *runs;
    int n;
    const struct report_study *study; /* NULL: runs */
};

static int fill_page(struct str *page, const struct subject *of, const struct figures *f,
                     const struct str *svg, const char *why)
{
    if (of->study != NULL)
        return study_page_write(page, of->study, f, svg, why);
    return page_write(page, of->runs, of->n, f, svg, why);
}

/* Without gnuplot a page still has its tables. */
static int draw(struct str *page, const struct subject *of, const struct figures *f)
{
    static const char why[] = "No figures: gnuplot is not installed or does not start. Install it "
                              "(Debian: apt-get install gnuplot-nox; on a cluster: module load "
                              "gnuplot) and make this page again";
    struct str svg[FIGURES_MAX] = {{0}};
    int rc = OK;
    if (plot_has_gnuplot()) {
        rc = plot_draw(svg, f->plot, f->n);
        if (rc == OK)
            rc = fill_page(page, of, f, svg, NULL);
    } else {
        log_warn("%s; tables are there, and --text and --csv", why);
        rc = fill_page(page, of, f, NULL, why);
    }
    for (int i = 0; i < f->n; i++)
        str_release(&svg[i]);
    return rc;
}

static int write_page(const char *path, const struct subject *of)
{
    struct figures f;
    struct str page = {0};
    int rc = OK;
    if (of->study != NULL)
        study_figures(&f, of->study);
    else
        rc = figures_make(&f, of->runs, of->n);
    if (rc == OK)
        rc = draw(&page, of, &f);
    if (rc == OK)
        rc = put_page(path, &page);
    str_release(&page);
    figures_release(&f);
    return rc;
}

/* ---- command ---- */

static int write_all(const struct request *q, const struct report_run *runs, int n)
{
    if (q->csv != NULL)
        TRY(write_csv(q->csv, runs, n));
    if (q->text)
        TRY(write_text(runs, n));
    return q->page != NULL ? write_page(q->page, &(struct subject){.runs = runs, .n = n}) : OK;
}

/* ---- studies ---- */

static int write_study_csv(const char *path, const struct history *h)
{
    struct str text = {0};
    int rc = study_csv(&text, h);
    if (rc == OK && strcmp(path, "-") == 0)
        plain_put(stdout, text.s);
    else if (rc == OK)
        rc = fs_write_file(path, text.s, text.len);
    str_release(&text);
    return rc;
}

static int write_study_text(const struct report_study *s)
{
    struct str text = {0};
    study_summary(&text, s);
    str_add(&text, "\n");
    int rc = s->history.n > 0 ? study_table(&text, &s->history, TRIALS_SHOWN, NULL) : OK;
    if (rc == OK)
        plain_put(stdout, text.s);
    str_release(&text);
    return rc;
}

static int write_study(const struct request *q, const struct report_study *s)
{
    if (q->csv != NULL)
        TRY(write_study_csv(q->csv, &s->history));
    if (q->text)
        TRY(write_study_text(s));
    return q->page != NULL ? write_page(q->page, &(struct subject){.study = s}) : OK;
}

static int report_study(struct request *q, char **paths, int n)
{
    struct report_study s;
    if (n > 1)
        return ERR(E_USAGE, "a study's report is of one folder; name %s alone, or runs in it",
                   paths[0]);
    TRY(settle(q));
    TRY(report_study_load(&s, paths[0]));
    int rc = write_study(q, &s);
    report_study_release(&s);
    return rc;
}

static int report(struct request *q, char **paths, int n)
{
    struct report_run *runs;
    int loaded = 0, rc = OK;
    TRY(settle(q));
    TRY(mem_alloc(&runs, (size_t)n, sizeof *runs, "runs of a report"));
    while (rc == OK && loaded < n) {
        rc = report_run_load(&runs[loaded], paths[loaded]);
        loaded += rc == OK;
    }
    if (rc == OK) {
        report_run_names(runs, n);
        rc = write_all(q, runs, n);
    }
    for (int i = 0; i < loaded; i++)
        report_run_release(&runs[i]);
    mem_free(runs);
    return rc;
}

int cmd_report(int argc, char **argv)
{
    struct request q = {0};
    bool help = false;
    const struct opt table[] = {
        {"output", 'o', OPT_STR, &q.page, "FILE.html",
         "the page; - or nothing: standard output, where that is no terminal"},
        {"csv", 0, OPT_FLAG_STR, &q.csv, "FILE",
         "one row a step (of a study: a trial) with every column; without a file to standard "
         "output"},
        {"text", 't', OPT_FLAG, &q.text, NULL,
         "tables and curves for a terminal, the default there"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"}};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat report RUN...|STUDY [-o FILE.html] [--csv[=FILE]] [--text]",
                  "Shows how runs and studies went, also while they go: one HTML page with the "
                  "figures of one "
                  "run, of several over each other, or of a study, that needs no other file and no "
                  "network.",
                  table, N, "carat report runs/lr-1e-3 runs/lr-3e-3 -o rates.html");
        return OK;
    }
    if (argc < 2)
        return ERR(
            E_USAGE,
            "which run? name one or more run folders, or a study's: carat report runs/quickstart");
    if (argc - 1 > RUNS_MAX)
        return ERR(E_USAGE, "%d runs are too many for one report; at most %d", argc - 1, RUNS_MAX);
    if (study_is_folder(argv[1]))
        return report_study(&q, argv + 1, argc - 1);
    return report(&q, argv + 1, argc - 1);
}
