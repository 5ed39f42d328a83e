#include "plot_parts.h"

#include "base/err.h"
#include "report/html.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Marks nearer than this to the one before keep their line, but not their number. */
static const double NUMBER_ROOM = 16;

static bool begins(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

/* Appends a line in which the drawing's own names, which every figure has, begin with its id. */
static void add_line(struct str *out, const struct plot *p, const char *line, size_t n)
{
    static const char *const names[] = {"'gpDot", "'gpPt", "'#gpDot", "'#gpPt", NULL};
    for (size_t i = 0; i < n;) {
        const char *const *name = names;
        while (*name != NULL && !begins(line + i, *name))
            name++;
        if (*name != NULL) {
            size_t mark = strcspn(*name, "g");
            str_addf(out, "%.*s%s-%s", (int)mark, *name, p->id, *name + mark);
            i += strlen(*name);
        } else {
            str_addn(out, line + i++, 1);
        }
    }
    str_add(out, "\n");
}

/* `<g id="f_plot_2" ><title>…`: the group of a curve, which is named after it. */
static bool add_curve(struct str *out, const struct plot *p, const char *line)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "\t<g id=\"%s_plot_", p->id);
    if (!begins(line, prefix))
        return false;
    int i = atoi(line + strlen(prefix)) - 1;
    str_addf(out, "<g id=\"%s-curve-%d\">", p->id, i);
    const struct curve *c = i >= 0 && i < p->n_curves ? &p->curve[i] : NULL;
    if (c != NULL && (c->title[0] != '\0' || c->hint[0] != '\0')) {
        str_add(out, "<title>");
        html_text(out, c->title[0] != '\0' ? c->title : c->hint);
        str_add(out, "</title>");
    }
    str_add(out, "\n");
    return true;
}

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end != NULL ? end + 1 : line + strlen(line);
}

/* Skips what is not to be in the page; returns the line behind it, or line itself. */
static const char *skip(const char *line)
{
    if (begins(line, "<g fill=\"none\"") && begins(next_line(line), "</g>\n"))
        return next_line(next_line(line)); /* an empty group */
    if (!begins(line, "\t<filter"))
        return line;
    const char *end = strstr(line, "</filter>\n");
    return end != NULL ? next_line(end) : line;
}

/* Where things happened: a thin line, a wide one that is easy to point at, and a number. */
static void add_mark(struct str *out, const struct plot_mark *m, double x,
                     const struct plot_box *box, bool with_number)
{
    double top = box->top, bottom = box->bottom;
    const struct plot_look l = plot_look(m->look >= 0 ? m->look : LOOK_GREY);
    str_add(out, "<g class=\"mark\"><title>");
    html_text(out, m->text);
    str_addf(out,
             "</title><path d=\"M%.1f %.1fV%.1f\" stroke=\"#%s\" stroke-dasharray=\"3 2\"/>"
             "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#000\" stroke-opacity=\"0\" "
             "stroke-width=\"9\"/>",
             x, top, bottom, l.colour, x, top, bottom);
    if (with_number)
        str_addf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d</text>", x, top - 2,
                 m->number);
    str_add(out, "</g>\n");
}

static void add_marks(struct str *out, const struct plot *p)
{
    struct extent x, y;
    bool log_y;
    double last = -NUMBER_ROOM;
    const struct plot_box box = plot_box(p);
    plot_axes(p, &x, &y, &log_y);
    for (int i = 0; i < p->n_marks; i++) {
        double at = (p->mark[i].x - x.lo) / (x.hi - x.lo);
        if (!(at >= 0 && at <= 1))
            continue;
        at = box.left + at * (box.right - box.left);
        bool room = at - last >= NUMBER_ROOM || at < last;
        add_mark(out, &p->mark[i], at, &box, room);
        last = room ? at : last;
    }
}

int plot_svg(struct str *out, const struct plot *p, const char *drawn)
{
    const char *line = strstr(drawn, "<g id=\"gnuplot_canvas\">\n"), *end = strstr(drawn, "</svg>");
    if (line == NULL || end == NULL || end < line)
        return ERR(E_DATA, "gnuplot drew no SVG of \"%s\"", p->title);
    const struct plot_box box = plot_box(p);
    str_addf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", box.width,
             box.height);
    html_text(out, p->title);
    str_add(out, ": ");
    html_text(out, p->caption);
    str_add(out, "\">\n<g>\n");
    for (line = next_line(line); line < end;) {
        const char *next = skip(line);
        if (next != line) {
            line = next;
            continue;
        }
        next = next_line(line);
        if (!add_curve(out, p, line) && next > line + 1)
            add_line(out, p, line, (size_t)(next - line - 1));
        line = next;
    }
    add_marks(out, p);
    str_add(out, "</svg>\n");
    return OK;
}
