/* Tables of a study's page. */
#include "study_parts.h"

#include "report/html.h"

#include <math.h>
#include <stdio.h>

static const char NOTHING[] = "–";

void table_begin(struct str *out, const char *const *head, int n)
{
    str_add(out, "<div class=\"wide\"><table class=\"dense\"><thead><tr>");
    for (int i = 0; i < n; i++)
        str_addf(out, "<th scope=\"col\">%s</th>", head[i]);
    str_add(out, "</tr></thead><tbody>\n");
}

void table_end(struct str *out)
{
    str_add(out, "</tbody></table></div>\n");
}

void row_begin(struct str *out, bool marked)
{
    str_add(out, marked ? "<tr class=\"best\">" : "<tr>");
}

void row_end(struct str *out)
{
    str_add(out, "</tr>\n");
}

void cell_text(struct str *out, const char *text)
{
    str_add(out, "<td>");
    html_text(out, text);
    str_add(out, "</td>");
}

void cell_words(struct str *out, const char *text)
{
    str_add(out, *text != '\0' ? "<td class=\"words\">" : "<td>");
    html_text(out, text);
    str_add(out, "</td>");
}

static void cell_figure(struct str *out, const char *figure)
{
    str_addf(out, "<td class=\"n\">%s</td>", figure);
}

void cell_number(struct str *out, const char *form, double v)
{
    char figure[40];
    if (isfinite(v))
        snprintf(figure, sizeof figure, form, v);
    cell_figure(out, isfinite(v) ? figure : NOTHING);
}

void cell_si(struct str *out, double v)
{
    char figure[40];
    cell_figure(out, isfinite(v) ? fmt_si(figure, sizeof figure, v) : NOTHING);
}

void cell_seconds(struct str *out, double s)
{
    char figure[40];
    if (s < 1)
        snprintf(figure, sizeof figure, "%.3g ms", 1000 * s);
    else if (isfinite(s))
        fmt_duration(figure, sizeof figure, s);
    cell_figure(out, isfinite(s) ? figure : NOTHING);
}
