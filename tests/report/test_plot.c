/* Figures: their axes, what gnuplot is told, and the SVG that a page takes from it. */
#include "base/err.h"
#include "check_main.h"
#include "report/html.h"
#include "report/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 50 };

static char *count_from(const char *text, const char *what, int *n)
{
    char *first = strstr(text, what);
    *n = 0;
    for (const char *at = first; at != NULL; at = strstr(at + 1, what))
        ++*n;
    return first;
}

static int times(const char *text, const char *what)
{
    int n;
    count_from(text, what, &n);
    return n;
}

/* A line from (1, lo) to (N, hi). */
static struct curve *add_line(struct plot *p, const char *title, double lo, double hi)
{
    struct curve *c = plot_add(p, CURVE_LINE, 0, N, false, "%s", title);
    ck_assert_ptr_nonnull(c);
    for (int i = 0; i < N; i++) {
        c->x[i] = i + 1;
        c->y[i] = lo + (hi - lo) * i / (N - 1);
    }
    return c;
}

START_TEST(html_takes_any_text)
{
    struct str out = {0};
    html_text(&out, "a<b> & \"c\" 'd' \xe2\x82\xac \xff\x1b[2Jx\tz");
    ck_assert_str_eq(out.s, "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; \xe2\x82\xac "
                            "\xef\xbf\xbd\xef\xbf\xbd[2Jx\tz");
    str_release(&out);
}
END_TEST

START_TEST(axes_hold_the_values)
{
    struct plot p = {.log_y = true};
    struct extent x, y;
    bool log_y;
    plot_axes(&p, &x, &y, &log_y);
    ck_assert(x.lo < x.hi && y.lo < y.hi && !log_y && !plot_any(&p));
    struct curve *c = add_line(&p, "a", 1, 100);
    plot_axes(&p, &x, &y, &log_y);
    ck_assert(log_y && plot_any(&p));
    ck_assert(y.lo > 0 && y.lo < 1 && y.hi > 100 && x.lo <= 1 && x.hi >= N);
    c->y[3] = -1; /* a logarithm has no place for it */
    plot_axes(&p, &x, &y, &log_y);
    ck_assert(!log_y && y.lo < -1);
    c->y[3] = 2;
    struct curve *level = plot_add(&p, CURVE_LEVEL, 1, 1, false, "far");
    level->y[0] = 1e9; /* a limit that nothing comes near */
    plot_axes(&p, &x, &y, &log_y);
    ck_assert_double_lt(y.hi, 200);
    level->y[0] = 150;
    plot_axes(&p, &x, &y, &log_y);
    ck_assert_double_gt(y.hi, 150);
    level->y[0] = 1e9;
    p.y_most = 50; /* what is above leaves the figure */
    plot_axes(&p, &x, &y, &log_y);
    ck_assert(y.hi >= 50 && y.hi < 80);
    p.y_most = 0;
    for (int i = 0; i < N; i++)
        c->y[i] = 7; /* no span at all */
    level->y[0] = 7;
    plot_axes(&p, &x, &y, &log_y);
    ck_assert(y.lo < 7 && y.hi > 7);
    plot_release(&p);
    c = plot_add(&p, CURVE_LINE, 0, 1, false, "one");
    c->x[0] = 3;
    c->y[0] = 4;
    plot_axes(&p, &x, &y, &log_y);
    ck_assert(x.lo < 3 && x.hi > 3 && y.lo < 4 && y.hi > 4);
    plot_release(&p);
}
END_TEST

START_TEST(room_for_curves_ends)
{
    struct plot p = {0};
    for (int i = 0; i < PLOT_MAX_CURVES; i++)
        ck_assert_ptr_nonnull(plot_add(&p, CURVE_LINE, i, 1, i % 2 == 0, "%d", i));
    ck_assert_ptr_null(plot_add(&p, CURVE_LINE, 0, 1, false, "too many"));
    plot_release(&p);
}
END_TEST

static void name_plot(struct plot *p, const char *id)
{
    snprintf(p->id, sizeof p->id, "%s", id);
    snprintf(p->title, sizeof p->title, "It's <a> & b");
    snprintf(p->caption, sizeof p->caption, "One \"sentence\".");
    snprintf(p->x_label, sizeof p->x_label, "it's steps");
    snprintf(p->y_label, sizeof p->y_label, "loss $x `date` \\n");
}

static void add_points(struct plot *p)
{
    struct curve *c = plot_add(p, CURVE_POINTS, 1, 3, false, "points");
    struct curve *band = plot_add(p, CURVE_BAND, 2, 3, true, "band");
    for (int i = 0; i < 3; i++) {
        c->x[i] = band->x[i] = 10 * i + 1;
        c->y[i] = i == 1 ? NAN : 2;
        band->y[i] = 1;
        band->z[i] = 3;
    }
}

/* Every id of the text is there once. */
static void expect_unique_ids(const char *text)
{
    char id[80];
    int n = 0;
    for (const char *at = text; (at = strstr(at, " id=")) != NULL; at += 5, n++) {
        snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 5, "\"'") + 6, at);
        ck_assert_msg(times(text, id) == 1, "%s is there %d times", id, times(text, id));
    }
    ck_assert_int_gt(n, 10);
}

START_TEST(svg_is_fit_for_a_page)
{
    static const struct plot_mark marks[] = {
        {10, 1, "resumed <here>", -1}, {11, 2, "next", -1}, {1e9, 3, "outside", 2}};
    struct plot p[2] = {{.mark = marks, .n_marks = 3}, {.zero_y = true}};
    struct str svg[2] = {{0}}, both = {0};
    if (!plot_has_gnuplot()) {
        printf("SKIP: gnuplot is not there\n");
        return;
    }
    for (int i = 0; i < 2; i++) {
        name_plot(&p[i], i == 0 ? "fa" : "fb");
        add_line(&p[i], "run's <b> & ; set output 'x'", 1, 5)->y[20] = NAN;
        add_points(&p[i]);
    }
    ck_assert_msg(plot_draw(svg, p, 2) == OK, "%s", err_message());
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(strncmp(svg[i].s, "<svg viewBox=", 13), 0);
        ck_assert_ptr_nonnull(strstr(svg[i].s, "role=\"img\""));
        ck_assert_ptr_nonnull(strstr(
            svg[i].s, "aria-label=\"It&#39;s &lt;a&gt; &amp; b: One &quot;sentence&quot;.\""));
        ck_assert_ptr_null(strstr(svg[i].s, "<?xml"));
        ck_assert_ptr_null(strstr(svg[i].s, "GNUPLOT"));
        ck_assert_ptr_null(strstr(svg[i].s, "<b>"));
        ck_assert_ptr_nonnull(strstr(svg[i].s, "<title>run&#39;s &lt;b&gt; &amp; ; set"));
        ck_assert_ptr_nonnull(strstr(svg[i].s, "loss $x `date` \\n"));
        ck_assert_str_eq(svg[i].s + svg[i].len - 7, "</svg>\n");
        ck_assert_int_eq(times(svg[i].s, "<g"), times(svg[i].s, "</g>"));
        str_addn(&both, svg[i].s, svg[i].len);
    }
    expect_unique_ids(both.s);
    /* Two lines near each other share a number's place; what is outside has no line. */
    ck_assert_int_eq(times(svg[0].s, "class=\"mark\""), 2);
    ck_assert_ptr_nonnull(strstr(svg[0].s, "<title>resumed &lt;here&gt;</title>"));
    ck_assert_ptr_nonnull(strstr(svg[0].s, "text-anchor=\"middle\">1</text>"));
    ck_assert_ptr_null(strstr(svg[0].s, "text-anchor=\"middle\">2</text>"));
    for (int i = 0; i < 2; i++) {
        str_release(&svg[i]);
        plot_release(&p[i]);
    }
    str_release(&both);
}
END_TEST

START_TEST(without_gnuplot_it_says_so)
{
    char *path = strdup(getenv("PATH"));
    struct plot p = {.id = "f"};
    struct str svg = {0};
    add_line(&p, "a", 1, 2);
    setenv("PATH", "/nowhere", 1);
    ck_assert(!plot_has_gnuplot());
    ck_assert_int_eq(plot_draw(&svg, &p, 1), E_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "gnuplot"));
    setenv("PATH", path, 1);
    free(path);
    plot_release(&p);
    str_release(&svg);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, html_takes_any_text);
    tcase_add_test(t, axes_hold_the_values);
    tcase_add_test(t, room_for_curves_ends);
    tcase_add_test(t, svg_is_fit_for_a_page);
    tcase_add_test(t, without_gnuplot_it_says_so);
}

int main(void)
{
    return run_suite("report/plot", add);
}
