#include "report/page.h"

#include "base/clock.h"
#include "base/err.h"
#include "page_parts.h"
#include "report/facts.h"
#include "report/html.h"

#include <stdio.h>
#include <string.h>

enum { MARKS_LISTED = 200, NAMES_IN_TITLE = 3 };

/* Colours follow the reader's light or dark setting; figures take their text's from there. */
static const char HEAD[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<style>\n"
    ":root{--ink:#1b1f24;--paper:#fff;--rule:#d0d4d9;--soft:#59636e;--shade:#f4f6f8}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e3e7eb;--paper:#16191d;--rule:#3b424a;"
    "--soft:#9aa4af;--shade:#20252b}}\n"
    "@media print{:root{--ink:#000;--paper:#fff;--rule:#bbb;--soft:#333;--shade:#fff}"
    "figure,tr{break-inside:avoid}h2{break-after:avoid}}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}\n"
    "h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}"
    "h2{font-size:1.15rem;margin:2.2rem 0 .4rem}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}\n"
    "th,td{text-align:left;vertical-align:top;padding:.2rem 1.2rem .2rem 0;"
    "border-bottom:1px solid var(--rule);max-width:40rem;overflow-wrap:break-word}\n"
    "th{font-weight:600}tbody th{font-weight:400;color:var(--soft);white-space:nowrap}\n"
    "figure{margin:1.6rem 0}figure h3{font-size:1rem;margin:0 0 .2rem}\n"
    "figcaption{margin-top:.3rem}figcaption,footer{color:var(--soft);font-size:.9rem}\n"
    "svg{display:block;width:100%;height:auto}"
    "svg text{fill:var(--ink);font-family:system-ui,sans-serif;font-size:13px}"
    "svg .mark text{fill:var(--soft);font-size:11px}svg .mark{fill:none}\n"
    ".pair{display:grid;gap:0 1.5rem;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr))}"
    ".pair figure{margin:1rem 0}\n"
    ".dense th,.dense td{padding-right:.9rem}.dense .n{white-space:nowrap}.words{min-width:18rem}"
    ".best td{background:var(--shade);font-weight:600}.soft{color:var(--soft);margin:.2rem 0}\n"
    ".bar{background:#0072B2;height:.8rem;margin-top:.3rem}"
    "pre{background:var(--shade);padding:.6rem .8rem;overflow-x:auto;font-size:.85rem}"
    "details{margin:1rem 0}summary{cursor:pointer}\n"
    ".advice{background:var(--shade);border-left:4px solid #0072B2;padding:.5rem "
    ".8rem;margin:.6rem 0}\n"
    ".note{background:var(--shade);border-left:4px solid #D55E00;padding:.5rem .8rem}\n"
    "</style>\n";

/* ---- tables ---- */

static void add_cell(struct str *out, const char *tag, const char *text)
{
    str_addf(out, "<%s>", tag);
    html_text(out, text);
    str_addf(out, "</%.2s>", tag);
}

static void add_names(struct str *out, const struct report_run *runs, int n)
{
    str_add(out, "<thead><tr><th scope=\"col\"></th>");
    for (int i = 0; i < n; i++)
        add_cell(out, "th scope=\"col\"", runs[i].name);
    str_add(out, "</tr></thead>\n");
}

/* What is the same for all runs stands once, over their columns. */
static void add_fact(struct str *out, const struct fact *row, int n_runs)
{
    str_add(out, "<tr>");
    add_cell(out, "th scope=\"row\"", row->label);
    if (row->same && n_runs > 1) {
        str_addf(out, "<td colspan=\"%d\">", n_runs);
        html_text(out, row->cell[0]);
        str_add(out, "</td>");
    }
    for (int i = 0; i < n_runs && !(row->same && n_runs > 1); i++)
        add_cell(out, "td", row->cell[i]);
    str_add(out, "</tr>\n");
}

int page_facts(struct str *out, const char *heading,
               int (*make)(struct facts *f, const struct report_run *runs, int n),
               const struct report_run *runs, int n)
{
    struct facts f;
    TRY(make(&f, runs, n));
    if (f.n > 0) {
        str_addf(out, "<h2>%s</h2>\n<div class=\"wide\"><table>\n", heading);
        if (n > 1)
            add_names(out, runs, n);
        str_add(out, "<tbody>\n");
        for (int i = 0; i < f.n; i++)
            add_fact(out, &f.row[i], n);
        str_add(out, "</tbody></table></div>\n");
    }
    facts_release(&f);
    return OK;
}

/* ---- head ---- */

static void add_title(struct str *out, const struct report_run *runs, int n)
{
    for (int i = 0; i < n && i < NAMES_IN_TITLE; i++) {
        str_add(out, i > 0 ? ", " : "");
        html_text(out, runs[i].name);
    }
    if (n > NAMES_IN_TITLE)
        str_addf(out, " and %d more", n - NAMES_IN_TITLE);
}

static void add_failures(struct str *out, const struct report_run *runs, int n)
{
    for (int i = 0; i < n; i++) {
        if (runs[i].failed[0] == '\0')
            continue;
        str_add(out, "<p class=\"note\"><strong>");
        html_text(out, runs[i].name);
        str_add(out, " failed:</strong> ");
        html_text(out, runs[i].failed);
        str_add(out, "</p>\n");
    }
}

/* ---- figures ---- */

static void add_figure(struct str *out, const struct plot *p, const struct str *svg)
{
    str_addf(out, "<figure id=\"%s\"><h3>", p->id);
    html_text(out, p->title);
    str_add(out, "</h3>\n");
    str_addn(out, svg->s, svg->len);
    if (p->caption[0] != '\0') {
        str_add(out, "<figcaption>");
        html_text(out, p->caption);
        str_add(out, "</figcaption>");
    }
    str_add(out, "</figure>\n");
}

void page_figures(struct str *out, const struct figures *f, const struct str *svg, const char *why)
{
    str_add(out, "<h2>Figures</h2>\n");
    if (svg == NULL) {
        str_add(out, "<p class=\"note\">");
        html_text(out, why);
        str_add(out, "</p>\n");
        return;
    }
    for (int i = 0; i < f->n; i++) {
        bool half = f->plot[i].half;
        if (half && (i == 0 || !f->plot[i - 1].half))
            str_add(out, "<div class=\"pair\">\n");
        add_figure(out, &f->plot[i], &svg[i]);
        if (half && (i + 1 == f->n || !f->plot[i + 1].half))
            str_add(out, "</div>\n");
    }
}

/* ---- events ---- */

static void add_mark(struct str *out, const struct report_run *r, const struct run_mark *m,
                     int number, bool with_name)
{
    char text[64];
    snprintf(text, sizeof text, "%d", number);
    str_add(out, "<tr>");
    add_cell(out, "td", text);
    if (with_name)
        add_cell(out, "td", r->name);
    add_cell(out, "td", count_text(text, sizeof text, (double)m->step));
    add_cell(out, "td", m->kind);
    add_cell(out, "td", m->text);
    str_add(out, "</tr>\n");
}

static void add_marks(struct str *out, const struct report_run *runs, int n)
{
    int number = 0, all = 0;
    for (int i = 0; i < n; i++)
        all += runs[i].n_marks;
    if (all == 0)
        return;
    str_addf(out,
             "<h2>Events</h2>\n<p>Numbered as the vertical lines of the figures.</p>\n"
             "<div class=\"wide\"><table><thead><tr><th scope=\"col\">no.</th>%s"
             "<th scope=\"col\">step</th><th scope=\"col\">kind</th><th scope=\"col\">what</th>"
             "</tr></thead><tbody>\n",
             n > 1 ? "<th scope=\"col\">run</th>" : "");
    for (int i = 0; i < n; i++)
        for (int k = 0; k < runs[i].n_marks; k++)
            if (++number <= MARKS_LISTED)
                add_mark(out, &runs[i], &runs[i].mark[k], number, n > 1);
    str_add(out, "</tbody></table></div>\n");
    if (all > MARKS_LISTED)
        str_addf(out, "<p>And %d more.</p>\n", all - MARKS_LISTED);
}

void page_begin(struct str *out)
{
    str_add(out, HEAD);
    str_add(out, "<title>");
}

void page_end(struct str *out)
{
    char stamp[32];
    str_addf(out, "<footer><p>Made by carat report, %s.</p></footer>\n</main>\n</body>\n</html>\n",
             clock_stamp(stamp, sizeof stamp));
}

int page_write(struct str *out, const struct report_run *runs, int n, const struct figures *f,
               const struct str *svg, const char *why)
{
    page_begin(out);
    add_title(out, runs, n);
    str_add(out, " – carat</title>\n</head>\n<body>\n<main>\n<h1>");
    add_title(out, runs, n);
    str_add(out, "</h1>\n");
    add_failures(out, runs, n);
    TRY(page_facts(out, "Results", facts_results, runs, n));
    TRY(page_facts(out, "Settings that differ", facts_differences, runs, n));
    page_figures(out, f, svg, why);
    add_marks(out, runs, n);
    TRY(page_facts(out, "Time of a step, mean over the ranks", facts_times, runs, n));
    TRY(page_facts(out, "Set-up", facts_setup, runs, n));
    page_end(out);
    return OK;
}
