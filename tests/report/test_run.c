/* A run as a report sees it, written by any number of ranks: rows, times, marks, means of the
 * ranks, figures, tables, CSV; damaged and odd runs as well. ranks: 1 2 3 */
#include "base/fs.h"
#include "base/mem.h"
#include "mpi_main.h"
#include "report/facts.h"
#include "report/figures.h"
#include "report/page.h"
#include "report/term.h"
#include "train/events.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 120, CUT = 70, BAD = 30, GROUPS = 4 };
/* Means of numbers of a few digits. */
static const double ROUNDING = 1e-12;

#define ATTEMPT(n) (&(const struct metrics_attempt){.number = (n)})

static char dir[256];

static const char *run_path(const char *name)
{
    static char path[FS_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static double rank_seconds(int column, int64_t step, int rank)
{
    return column + 1 + 0.5 * rank + (step % 2 == 0 ? 0.25 : -0.25);
}

static void make_row(double row[M_N], int64_t step, int64_t attempt)
{
    for (int i = 0; i < M_N; i++)
        row[i] = NAN;
    row[M_STEP] = (double)step;
    row[M_ATTEMPT] = (double)attempt;
    row[M_TOKENS] = 1000.0 * (double)step;
    row[M_LOSS] = step == BAD ? INFINITY : 1 + 5 / (double)step;
    row[M_LR] = 1e-3 * (double)step / STEPS;
    row[M_GRAD_NORM] = step == BAD ? NAN : 2;
    row[M_STEP_S] = 0.5;
    row[M_TOKENS_PER_S] = 2000;
    if (step % 20 == 0)
        row[M_VALID_LOSS] = 3 - (double)step / 100;
}

static int write_steps(const char *run, int64_t attempt, int64_t first, int64_t last)
{
    struct metrics *m;
    double row[M_N], rank_row[R_N], by_layer[GROUPS * L_N];
    TRY(metrics_open(&m, &ck_world, run, ATTEMPT(attempt), GROUPS));
    int rc = OK;
    for (int64_t step = first; step <= last && rc == OK; step++) {
        make_row(row, step, attempt);
        for (int i = 0; i < R_N; i++)
            rank_row[i] = i == R_MEM_BYTES ? 1 << 20 : rank_seconds(i, step, ck_world.rank);
        for (int i = 0; i < GROUPS * L_N; i++)
            by_layer[i] = i + 1;
        rc = metrics_step(m, row, rank_row, step % 3 == 0 ? by_layer : NULL);
    }
    int closed = metrics_close(m);
    return rc != OK ? rc : closed;
}

static void put_file(const char *run, const char *name, const char *text)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(path, run, name), OK);
    ck_assert_int_eq(fs_write_file(path, text, strlen(text)), OK);
}

/* Two attempts, the second from CUT on. Collective. */
static void write_run(const char *run)
{
    ck_all(&ck_world, write_steps(run, 0, 1, CUT + 10) == OK);
    ck_all(&ck_world, write_steps(run, 1, CUT + 1, STEPS) == OK);
}

static void put_event(const char *run, int64_t step, const char *kind, const char *action,
                      uint64_t samples)
{
    struct event e = {.step = step, .sample_first = 10, .sample_n = samples};
    snprintf(e.kind, sizeof e.kind, "%s", kind);
    snprintf(e.action, sizeof e.action, "%s", action);
    snprintf(e.text, sizeof e.text, "step %d: it saw <something>", (int)step);
    ck_assert_msg(events_append(run, &e) == OK, "%s", err_message());
}

/* ---- tests ---- */

START_TEST(a_run_is_read)
{
    const char *path = run_path("plain");
    struct report_run r;
    write_run(path);
    if (ck_world.rank == 0) {
        ck_assert_msg(report_run_load(&r, path) == OK, "%s", err_message());
        ck_assert_str_eq(r.name, "plain");
        ck_assert_int_eq(r.n, STEPS);
        ck_assert_double_eq(r.time_s[STEPS - 1], 0.5 * STEPS);
        ck_assert_int_eq(r.n_marks, 1);
        ck_assert_int_eq(r.mark[0].step, CUT);
        ck_assert_ptr_nonnull(strstr(r.mark[0].text, "attempt 1"));
        ck_assert(!r.has_conf && !r.has_meta);
        ck_assert_int_eq(r.ranks.ranks, ck_world.size);
        ck_assert_int_eq(r.ranks.rows, STEPS);
        for (int rank = 0; rank < ck_world.size; rank++)
            for (int i = 0; i < R_MEM_BYTES; i++) /* the halves cancel over even and odd steps */
                ck_assert_double_eq_tol(r.ranks.mean[rank * R_N + i], i + 1 + 0.5 * rank, ROUNDING);
        ck_assert_int_eq(metric_find("loss"), M_LOSS);
        ck_assert_int_eq(metric_find("no such column"), -1);
        ck_assert(report_has(&r, M_VALID_LOSS) && !report_has(&r, M_CLIP) && !report_has(&r, -1));
        report_run_release(&r);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

START_TEST(events_are_marks)
{
    const char *path = run_path("events");
    struct report_run r;
    write_run(path);
    if (ck_world.rank == 0) {
        put_event(path, 100, "spike", "warn", 0);
        put_event(path, 5, "nonfinite", "skip", 4);
        put_event(path, CUT, "plateau", "warn", 0);
        put_event(path, 100000, "overfit", "stop", 0); /* of a step without a row */
        ck_assert_msg(report_run_load(&r, path) == OK, "%s", err_message());
        ck_assert_int_eq(r.n_marks, 5);
        ck_assert_str_eq(r.mark[0].kind, "nonfinite: skip");
        ck_assert_str_eq(r.mark[0].text, "it saw <something> (samples 10 to 13)");
        ck_assert_str_eq(r.mark[1].kind, "plateau: warn");
        ck_assert_str_eq(r.mark[2].kind, "resumed");
        ck_assert_str_eq(r.mark[3].kind, "spike: warn");
        ck_assert_double_eq(r.rows[r.mark[3].row * M_N + M_STEP], 100);
        ck_assert_int_eq(r.mark[4].row, STEPS - 1);
        report_run_release(&r);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

/* Going back begins an attempt as well: one mark tells of it. */
START_TEST(going_back_is_one_mark)
{
    const char *path = run_path("back");
    struct report_run r;
    write_run(path);
    if (ck_world.rank == 0) {
        struct event e = {.step = CUT + 10, .attempt = 1, .kind = "back", .action = "back"};
        ck_assert_int_eq(events_append(path, &e), OK);
        ck_assert_msg(report_run_load(&r, path) == OK, "%s", err_message());
        ck_assert_int_eq(r.n_marks, 1);
        ck_assert_str_eq(r.mark[0].kind, "back: back");
        report_run_release(&r);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

static const struct plot *find_plot(const struct figures *f, const char *title)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->plot[i].title, title) == 0)
            return &f->plot[i];
    return NULL;
}

static void check_figures(const struct report_run *runs, int n)
{
    struct figures f;
    ck_assert_int_eq(figures_make(&f, runs, n), OK);
    const struct plot *loss = find_plot(&f, "Loss by tokens");
    ck_assert_ptr_nonnull(loss);
    ck_assert_int_eq(loss->n_marks, n);
    ck_assert_double_eq(loss->mark[0].x, 1000.0 * CUT);
    ck_assert_str_eq(loss->x_label, "tokens, thousands");
    ck_assert_ptr_nonnull(find_plot(&f, "Loss by time"));
    ck_assert_ptr_nonnull(find_plot(&f, "Validation perplexity"));
    /* Measured every third step, joined to a line: no breaks. */
    const struct plot *layers = find_plot(&f, "By layer: grad_norm");
    ck_assert((layers != NULL) == (n == 1));
    if (layers != NULL) {
        ck_assert_int_eq(layers->n_curves, GROUPS);
        ck_assert_str_eq(layers->curve[0].title, "embedding");
        ck_assert_str_eq(layers->curve[1].title, "layer 0");
        ck_assert_str_eq(layers->curve[3].title, "final norm");
        ck_assert_int_eq(layers->curve[3].n, STEPS / 3);
        ck_assert_double_eq_tol(layers->curve[3].y[7], 3 * L_N + 1, ROUNDING);
    }
    const struct plot *ranks = find_plot(&f, "Time of the ranks");
    ck_assert_ptr_nonnull(ranks);
    ck_assert_int_eq(ranks->n_bars, n * ck_world.size);
    /* What no run has measured has no figure. */
    ck_assert_ptr_null(find_plot(&f, "Share of the peak"));
    ck_assert_ptr_null(find_plot(&f, "Gradient noise scale"));
    figures_release(&f);
}

static const char *cell(const struct facts *f, const char *label, int run)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->row[i].label, label) == 0)
            return f->row[i].cell[run];
    return "";
}

static void check_facts(const struct report_run *runs, int n)
{
    struct facts f;
    ck_assert_int_eq(facts_results(&f, runs, n), OK);
    ck_assert_str_eq(cell(&f, "steps", 0), "120");
    ck_assert_str_eq(cell(&f, "tokens", 0), "120,000");
    ck_assert_str_eq(cell(&f, "validation loss", 0), "1.8");
    ck_assert_str_eq(cell(&f, "best validation loss", 0), "1.8 at step 120");
    ck_assert_str_eq(cell(&f, "tokens/s, median", 0), "2,000");
    ck_assert_str_eq(cell(&f, "steps not finite", 0), "1");
    ck_assert_str_eq(cell(&f, "of peak, median", 0), "");
    facts_release(&f);
    ck_assert_int_eq(facts_differences(&f, runs, n), OK);
    ck_assert_int_eq(f.n, 0);
    facts_release(&f);
}

static void check_page(const struct report_run *runs, int n)
{
    struct figures f;
    struct str page = {0};
    ck_assert_int_eq(figures_make(&f, runs, n), OK);
    ck_assert_int_eq(page_write(&page, runs, n, &f, NULL, "why <not>"), OK);
    ck_assert_int_eq(strncmp(page.s, "<!DOCTYPE html>", 15), 0);
    ck_assert_ptr_nonnull(strstr(page.s, "why &lt;not&gt;"));
    ck_assert_ptr_nonnull(strstr(page.s, "Resumed after step 70"));
    ck_assert_ptr_nonnull(strstr(page.s, "</html>"));
    ck_assert_ptr_null(strstr(page.s, "<script"));
    str_release(&page);
    figures_release(&f);
}

static void check_texts(const struct report_run *runs, int n)
{
    char *text = NULL;
    size_t len = 0, lines = 0;
    FILE *f = open_memstream(&text, &len);
    ck_assert_int_eq(term_write(f, runs, n, n == 1), OK);
    fclose(f);
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1) {
        size_t columns = 0;
        for (const char *s = line; *s != '\n'; s++)
            columns += ((unsigned char)*s & 0xc0) != 0x80;
        ck_assert_msg(columns <= 80, "%zu columns: %.90s", columns, line);
        lines++;
    }
    ck_assert_uint_gt(lines, 30);
    free(text);
    f = open_memstream(&text, &len);
    csv_write(f, runs, n);
    fclose(f);
    lines = 0;
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        lines++;
    ck_assert_uint_eq(lines, 1 + (size_t)n * STEPS);
    ck_assert_int_eq(strncmp(text, n == 1 ? "step,attempt" : "run,step,attempt", 12), 0);
    free(text);
}

START_TEST(figures_tables_and_texts)
{
    const char *path = run_path("first");
    struct report_run r[2];
    char second[FS_PATH_MAX];
    write_run(path);
    snprintf(second, sizeof second, "%s", run_path("second, \"b\""));
    write_run(second);
    path = run_path("first");
    if (ck_world.rank == 0) {
        ck_assert_int_eq(report_run_load(&r[0], path), OK);
        ck_assert_int_eq(report_run_load(&r[1], second), OK);
        for (int n = 1; n <= 2; n++) {
            check_figures(r, n);
            check_facts(r, n);
            check_page(r, n);
            check_texts(r, n);
        }
        report_run_release(&r[0]);
        report_run_release(&r[1]);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

START_TEST(settings_failure_and_lock_are_told)
{
    const char *path = run_path("told");
    struct report_run r;
    ck_all(&ck_world, write_steps(path, 0, 1, 1) == OK);
    if (ck_world.rank == 0) {
        put_file(path, "job.yaml", "optimizer.lr: 0.5\ntrain.steps: 9\n");
        put_file(path, "FAILED", "{\"rank\": 2, \"host\": \"n7\", \"message\": \"it <broke>\"}");
        put_file(path, "lock", "elsewhere 12 - 0\n");
        ck_assert_int_eq(report_run_load(&r, path), OK);
        ck_assert(r.has_conf);
        ck_assert_double_eq(r.conf.optimizer.lr, 0.5);
        ck_assert_str_eq(r.failed, "rank 2 on n7: it <broke>");
        ck_assert_str_eq(r.standing, "running, says its lock: process 12 on elsewhere");
        report_run_release(&r);
        put_file(path, "job.yaml", "no.such: key\n");
        put_file(path, "FAILED", "{ torn");
        ck_assert_int_eq(report_run_load(&r, path), OK);
        ck_assert(!r.has_conf && r.failed[0] != '\0');
        report_run_release(&r);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

START_TEST(what_is_no_run_is_refused)
{
    struct report_run r;
    const char *path = run_path("empty");
    struct metrics *m;
    ck_all(&ck_world, metrics_open(&m, &ck_world, path, ATTEMPT(0), GROUPS) == OK);
    ck_all(&ck_world, metrics_close(m) == OK);
    if (ck_world.rank == 0) {
        ck_assert_int_eq(report_run_load(&r, path), E_DATA);
        ck_assert_ptr_nonnull(strstr(err_message(), "no step has been completed"));
        ck_assert_int_eq(report_run_load(&r, dir), E_DATA);
        ck_assert_ptr_nonnull(strstr(err_message(), "no metrics/"));
        ck_assert_int_eq(report_run_load(&r, "/nowhere"), E_DATA);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

START_TEST(names_differ)
{
    struct report_run runs[3] = {{.path = "a/run/"}, {.path = "b/run"}, {.path = "c"}};
    report_run_names(runs, 3);
    ck_assert_str_eq(runs[0].name, "a/run/");
    ck_assert_str_eq(runs[1].name, "b/run");
}
END_TEST

START_TEST(a_folder_has_a_name_from_within)
{
    struct report_run r;
    char here[FS_PATH_MAX];
    const char *path = run_path("within");
    write_run(path);
    if (ck_world.rank == 0) {
        ck_assert_ptr_nonnull(getcwd(here, sizeof here));
        ck_assert_int_eq(chdir(path), 0);
        ck_assert_int_eq(report_run_load(&r, "./"), OK);
        ck_assert_str_eq(r.name, "within");
        report_run_release(&r);
        ck_assert_int_eq(chdir(here), 0);
    }
    MPI_Barrier(ck_world.world);
}
END_TEST

static void add(TCase *t)
{
    snprintf(dir, sizeof dir, "%s", ck_folder());
    tcase_add_test(t, a_run_is_read);
    tcase_add_test(t, events_are_marks);
    tcase_add_test(t, going_back_is_one_mark);
    tcase_add_test(t, figures_tables_and_texts);
    tcase_add_test(t, settings_failure_and_lock_are_told);
    tcase_add_test(t, what_is_no_run_is_refused);
    tcase_add_test(t, names_differ);
    tcase_add_test(t, a_folder_has_a_name_from_within);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "report/run", add);
}
