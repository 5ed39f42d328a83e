/* Metrics: every row that was acknowledged is there, also after a kill; the newest attempt counts.
 * ranks: 1 2 3 */
#include "../../src/train/metrics_parts.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "io/h5x.h"
#include "mpi_main.h"
#include "train/metrics.h"

#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 4500, KILL_AFTER = 300, READ_EVERY = 37, GROUPS = 4 };

#define ATTEMPT(n) (&(const struct metrics_attempt){.number = (n)})

static char dir[256], self[FS_PATH_MAX];

static const char *run_path(const char *name)
{
    static char path[FS_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static double value(int column, int64_t step, int64_t attempt)
{
    return (double)column + 0.25 * (double)step + 1000.0 * (double)attempt;
}

static double rank_value(int column, int64_t step, int rank)
{
    return (double)(100 * column + rank) + 0.5 * (double)step;
}

static void make_row(double row[M_N], int64_t step, int64_t attempt)
{
    for (int i = 0; i < M_N; i++)
        row[i] = value(i, step, attempt);
    row[M_STEP] = (double)step;
    row[M_ATTEMPT] = (double)attempt;
    row[M_VALID_LOSS] = row[M_VALID_ACCURACY] = NAN;
}

static double layer_value(int column, int64_t step, int group)
{
    return (double)(10 * column + group) + 0.125 * (double)step;
}

/* Rows by layer in every other step. */
static int write_step(struct metrics *m, int64_t step, int64_t attempt, int rank)
{
    double row[M_N], rank_row[R_N], by_layer[GROUPS * L_N];
    for (int i = 0; i < GROUPS * L_N; i++)
        by_layer[i] = layer_value(i % L_N, step, i / L_N);
    make_row(row, step, attempt);
    for (int i = 0; i < R_N; i++)
        rank_row[i] = rank_value(i, step, rank);
    return metrics_step(m, row, rank_row, step % 2 == 1 ? by_layer : NULL);
}

/* Steps first … last of an attempt, closed in the end. */
static int write_attempt(const struct comm *c, const char *run, const struct metrics_attempt *a,
                         int64_t first, int64_t last)
{
    struct metrics *m;
    TRY(metrics_open(&m, c, run, a, GROUPS));
    int rc = OK;
    for (int64_t step = first; step <= last && rc == OK; step++)
        rc = write_step(m, step, a->number, c->rank);
    int closed = metrics_close(m);
    return rc != OK ? rc : closed;
}

static int write_steps(const struct comm *c, const char *run, int64_t attempt, int64_t first,
                       int64_t last)
{
    return write_attempt(c, run, ATTEMPT(attempt), first, last);
}

struct rows {
    double *v;
    int64_t n, n_bad;
};

static struct rows read_back(const char *run)
{
    struct rows r;
    ck_assert_msg(metrics_read(run, &r.v, &r.n, &r.n_bad) == OK, "%s", err_message());
    return r;
}

static void check_row(const struct rows *r, int64_t i, int64_t step, int64_t attempt)
{
    double want[M_N];
    make_row(want, step, attempt);
    ck_assert_msg(memcmp(r->v + i * M_N, want, sizeof want) == 0,
                  "row %ld: step %g attempt %g, not %ld, %ld", (long)i, r->v[i * M_N],
                  r->v[i * M_N + 1], (long)step, (long)attempt);
}

static double *merged(const char *run, const char *name, size_t want)
{
    char path[FS_PATH_MAX];
    hid_t f;
    void *data;
    size_t n;
    ck_assert_int_eq(fs_join(path, run, "metrics.h5"), OK);
    ck_assert_msg(h5x_open(&f, path, false) == OK, "%s", err_message());
    ck_assert_msg(h5x_get_array(f, name, H5T_NATIVE_DOUBLE, want, &data, &n) == OK, "%s",
                  err_message());
    ck_assert_uint_eq(n, want);
    h5x_close(&f);
    return data;
}

static void barrier(void)
{
    MPI_Barrier(ck_world.world);
}

/* ---- tests ---- */

START_TEST(rows_are_read_back_and_merged)
{
    const char *run = run_path("plain");
    enum { N = 10 };
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, N) == OK);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, N);
    ck_assert_int_eq(r.n_bad, 0);
    for (int64_t i = 0; i < N; i++)
        check_row(&r, i, i + 1, 0);
    mem_free(r.v);
    double *loss = merged(run, "/loss", N);
    size_t ranks = (size_t)ck_world.size;
    double *load = merged(run, "/ranks/load_s", N * ranks);
    double *memory = merged(run, "/ranks/mem_bytes", N * ranks);
    for (size_t i = 0; i < N; i++) {
        ck_assert(loss[i] == value(M_LOSS, (int64_t)i + 1, 0));
        for (size_t k = 0; k < ranks; k++) {
            ck_assert(load[i * ranks + k] == rank_value(R_LOAD_S, (int64_t)i + 1, (int)k));
            ck_assert(memory[i * ranks + k] == rank_value(R_MEM_BYTES, (int64_t)i + 1, (int)k));
        }
    }
    mem_free(loss);
    mem_free(load);
    mem_free(memory);
    barrier();
}
END_TEST

START_TEST(columns_have_units_and_meanings)
{
    char path[FS_PATH_MAX], text[128];
    hid_t f;
    ck_all(&ck_world, write_steps(&ck_world, run_path("units"), 0, 1, 1) == OK);
    ck_assert_int_eq(fs_join(path, run_path("units"), "metrics.h5"), OK);
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    for (int i = 0; i < M_N + R_N; i++) {
        const struct metric_column *c = i < M_N ? &METRIC_COLUMNS[i] : &RANK_COLUMNS[i - M_N];
        ck_assert(c->name != NULL && c->unit != NULL && c->help != NULL);
        snprintf(path, sizeof path, "%s/%s", i < M_N ? "" : "/ranks", c->name);
        hid_t d = H5Dopen2(f, path, H5P_DEFAULT);
        ck_assert_msg(h5x_get_text(d, "unit", text, sizeof text) == OK, "%s", err_message());
        ck_assert_str_eq(text, c->unit);
        ck_assert_int_eq(h5x_get_text(d, "description", text, sizeof text), OK);
        ck_assert_str_eq(text, c->help);
        H5Dclose(d);
    }
    h5x_close(&f);
    barrier();
}
END_TEST

START_TEST(layers_have_rows_of_their_own)
{
    const char *run = run_path("layers");
    enum { N = 6 };
    double *rows;
    int64_t n, groups;
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, N) == OK);
    ck_assert_int_eq(metrics_read_layers(run, &rows, &n, &groups), OK);
    ck_assert(n == N && groups == GROUPS);
    double *ratio = merged(run, "/layers/update_ratio", N * GROUPS);
    for (int64_t i = 0; i < N * GROUPS; i++) {
        int64_t step = i / GROUPS + 1;
        double want = layer_value(L_UPDATE_RATIO, step, (int)(i % GROUPS));
        ck_assert(step % 2 == 1 ? ratio[i] == want : isnan(ratio[i]));
        ck_assert(step % 2 == 1 ? rows[i * L_N + L_UPDATE_RATIO] == want
                                : isnan(rows[i * L_N + L_GRAD_NORM]));
    }
    mem_free(ratio);
    mem_free(rows);
    barrier();
}
END_TEST

/* As a segment was before there were all columns, and none by layer. */
static void make_old_segment(const char *run)
{
    enum { OLD = M_VALID_ACCURACY + 2 };
    char path[FS_PATH_MAX];
    hid_t f;
    double row[2][OLD], names_only[2][1][3 + R_N];
    const hsize_t step[2] = {2, OLD}, rank[3] = {2, 1, 3 + R_N};
    ck_assert_int_eq(fs_join(path, run, "metrics"), OK);
    ck_assert_int_eq(fs_mkdirs(path), OK);
    ck_assert_int_eq(fs_join(path, path, "seg-0000-0000.h5"), OK);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < OLD; k++)
            row[i][k] = k == 0 ? i + 1 : k == 1 ? 0 : 100 * i + k;
        row[i][OLD - 1] = crc32c(0, row[i], sizeof(double) * (OLD - 1));
        for (int k = 0; k < 3 + R_N; k++)
            names_only[i][0][k] = NAN;
    }
    ck_assert_int_eq(h5x_create(&f, path), OK);
    ck_assert_int_eq(h5x_put_text(f, "kind", "carat metrics"), OK);
    ck_assert_int_eq(h5x_put_i64(f, "format", 1), OK);
    ck_assert_int_eq(h5x_put_i64(f, "attempt", 0), OK);
    ck_assert_int_eq(h5x_put_array(f, "/step", H5T_NATIVE_DOUBLE, 2, step, row, NULL), OK);
    ck_assert_int_eq(h5x_put_array(f, "/ranks", H5T_NATIVE_DOUBLE, 3, rank, names_only, NULL), OK);
    hid_t d = H5Dopen2(f, "/step", H5P_DEFAULT);
    ck_assert_int_eq(h5x_put_text(d, "columns",
                                  "step,attempt,samples,tokens,loss,accuracy,lr,grad_norm,clip,"
                                  "step_s,tokens_per_s,peak_fraction,valid_loss,valid_accuracy,"
                                  "crc32c"),
                     OK);
    H5Dclose(d);
    ck_assert_int_eq(h5x_close(&f), OK);
}

START_TEST(segments_with_fewer_columns_are_read)
{
    const char *run = run_path("old");
    if (ck_world.rank == 0)
        make_old_segment(run);
    barrier();
    ck_all(&ck_world, write_steps(&ck_world, run, 1, 2, 4) == OK);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, 4);
    ck_assert_int_eq(r.n_bad, 0);
    ck_assert(r.v[M_LOSS] == M_LOSS && r.v[M_VALID_ACCURACY] == M_VALID_ACCURACY);
    for (int i = M_VALID_ACCURACY + 1; i < M_N; i++)
        ck_assert(isnan(r.v[i]));
    check_row(&r, 1, 2, 1);
    mem_free(r.v);
    double *norm = merged(run, "/layers/grad_norm", 4 * GROUPS);
    ck_assert(isnan(norm[0]) && norm[2 * GROUPS + 1] == layer_value(L_GRAD_NORM, 3, 1));
    mem_free(norm);
    barrier();
}
END_TEST

START_TEST(a_run_may_go_on_as_another_attempt)
{
    const char *run = run_path("renewed");
    const struct metrics_attempt before = {.number = 3, .path = "straight"},
                                 back = {.number = 4, .after = 3, .path = "slower"};
    struct metrics *m;
    ck_all(&ck_world, metrics_open(&m, &ck_world, run, &before, GROUPS) == OK);
    for (int64_t step = 1; step <= 6; step++)
        ck_all(&ck_world, write_step(m, step, 3, ck_world.rank) == OK);
    ck_all(&ck_world, metrics_renew(m, &back) == OK);
    for (int64_t step = 4; step <= 5; step++)
        ck_all(&ck_world, write_step(m, step, 4, ck_world.rank) == OK);
    ck_all(&ck_world, metrics_close(m) == OK);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, 5); /* the sixth was on the branch that was left */
    check_row(&r, 2, 3, 3);
    check_row(&r, 4, 5, 4);
    mem_free(r.v);
    barrier();
}
END_TEST

/* Steps 1 … n and the attempt of each: by readers and in metrics.h5. */
static void check_attempts(const char *run, int64_t n, const int64_t *attempt)
{
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, n);
    double *of = merged(run, "/attempt", (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        check_row(&r, i, i + 1, attempt[i]);
        ck_assert(of[i] == (double)attempt[i]);
    }
    mem_free(of);
    mem_free(r.v);
    barrier();
}

/* Killed at step 12, with a checkpoint of step 9; and again as soon as it has gone on. */
START_TEST(rows_stay_until_they_are_redone)
{
    const char *run = run_path("redone");
    const struct metrics_attempt first = {.path = "a"},
                                 again = {.number = 1, .after = 9, .path = "a"},
                                 unknown = {.number = 2, .after = 9};
    static const int64_t of_first[12] = {0}, of_again[12] = {[9] = 1},
                         of_unknown[12] = {[9] = 2, 2};
    ck_all(&ck_world, write_attempt(&ck_world, run, &first, 1, 12) == OK);
    check_attempts(run, 12, of_first);
    ck_all(&ck_world, write_attempt(&ck_world, run, &again, 10, 10) == OK);
    check_attempts(run, 12, of_again);
    ck_all(&ck_world, write_attempt(&ck_world, run, &unknown, 10, 11) == OK);
    check_attempts(run, 12, of_unknown);
}
END_TEST

/* The same, but that settings were changed: what is behind step 9 is of another path at once, and
 * killed again on the new one, its rows stay. */
START_TEST(another_path_leaves_a_branch)
{
    const char *run = run_path("branch");
    const struct metrics_attempt first = {.path = "a"},
                                 other = {.number = 1, .after = 9, .path = "b"},
                                 again = {.number = 2, .after = 9, .path = "b"},
                                 back = {.number = 3, .after = 4, .path = "c"};
    static const int64_t of_other[11] = {[9] = 1, 1}, of_again[11] = {[9] = 2, 1},
                         of_back[5] = {[4] = 3};
    ck_all(&ck_world, write_attempt(&ck_world, run, &first, 1, 12) == OK);
    ck_all(&ck_world, write_attempt(&ck_world, run, &other, 10, 9) == OK);
    check_attempts(run, 9, of_other);
    ck_all(&ck_world, write_attempt(&ck_world, run, &other, 10, 11) == OK);
    check_attempts(run, 11, of_other);
    ck_all(&ck_world, write_attempt(&ck_world, run, &again, 10, 10) == OK);
    check_attempts(run, 11, of_again);
    ck_all(&ck_world, write_attempt(&ck_world, run, &back, 5, 5) == OK);
    check_attempts(run, 5, of_back);
}
END_TEST

START_TEST(the_highest_attempt_wins)
{
    const char *run = run_path("attempts");
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, 10) == OK);
    ck_all(&ck_world, write_steps(&ck_world, run, 1, 6, 8) == OK);
    ck_all(&ck_world, write_steps(&ck_world, run, 2, 8, 12) == OK);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, 12);
    for (int64_t step = 1; step <= 12; step++)
        check_row(&r, step - 1, step, step < 6 ? 0 : step < 8 ? 1 : 2);
    mem_free(r.v);
    /* Begun anew before there was a checkpoint: the same attempt, the later file counts. */
    ck_all(&ck_world, write_steps(&ck_world, run, 2, 20, 21) == OK);
    r = read_back(run);
    ck_assert_int_eq(r.n, 14);
    check_row(&r, 13, 21, 2);
    mem_free(r.v);
    barrier();
}
END_TEST

START_TEST(attempts_may_have_different_ranks)
{
    const char *run = run_path("widths");
    struct comm one = ck_world;
    one.world = MPI_COMM_SELF;
    one.rank = 0;
    one.size = one.node_size = one.n_nodes = 1;
    if (ck_world.rank == 0)
        ck_assert_int_eq(write_steps(&one, run, 0, 1, 3), OK);
    barrier();
    ck_all(&ck_world, write_steps(&ck_world, run, 1, 3, 4) == OK);
    size_t ranks = (size_t)ck_world.size;
    double *v = merged(run, "/ranks/optim_s", 4 * ranks);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < ranks; k++) {
            double want = rank_value(R_OPTIM_S, (int64_t)i + 1, (int)k), got = v[i * ranks + k];
            ck_assert(i < 2 && k > 0 ? isnan(got) : got == want);
        }
    mem_free(v);
    barrier();
}
END_TEST

static int amend(struct metrics *m, int64_t step, double valid_loss)
{
    double row[M_N];
    make_row(row, step, 0);
    row[M_VALID_LOSS] = valid_loss;
    return metrics_amend(m, row);
}

/* An array of the first segment. */
static double *array_of(const char *run, const char *name, size_t *n)
{
    char path[FS_PATH_MAX];
    struct h5x_array a;
    hid_t f;
    void *data;
    ck_assert_int_eq(fs_join(path, run, "metrics/seg-0000-0000.h5"), OK);
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_describe(f, name, &a), OK);
    ck_assert_int_eq(h5x_get_array(f, name, H5T_NATIVE_DOUBLE, a.n, &data, n), OK);
    h5x_close(&f);
    return data;
}

START_TEST(a_row_can_be_amended)
{
    const char *run = run_path("amend");
    struct metrics *m;
    ck_all(&ck_world, metrics_open(&m, &ck_world, run, ATTEMPT(0), GROUPS) == OK);
    ck_all(&ck_world, amend(m, 0, 3.5) == E_BUG);
    for (int64_t step = 1; step <= 3; step++)
        ck_all(&ck_world, write_step(m, step, 0, ck_world.rank) == OK);
    ck_all(&ck_world, amend(m, 2, 3.5) == E_BUG);
    ck_all(&ck_world, amend(m, 3, 3.5) == OK);
    struct rows r = read_back(run); /* while it is being written */
    ck_assert_int_eq(r.n, 3);
    ck_assert_int_eq(r.n_bad, 0);
    ck_assert(r.v[2 * M_N + M_VALID_LOSS] == 3.5 && r.v[2 * M_N + M_STEP] == 3);
    mem_free(r.v);
    barrier();
    ck_all(&ck_world, write_step(m, 4, 0, ck_world.rank) == OK);
    ck_all(&ck_world, metrics_close(m) == OK);
    size_t ranks = (size_t)ck_world.size;
    double *valid = merged(run, "/valid_loss", 4), *load = merged(run, "/ranks/load_s", 4 * ranks);
    double *norm = merged(run, "/layers/grad_norm", 4 * (size_t)GROUPS);
    ck_assert(isnan(valid[1]) && valid[2] == 3.5 && isnan(valid[3]));
    ck_assert(load[3 * ranks - 1] == rank_value(R_LOAD_S, 3, ck_world.size - 1));
    ck_assert(norm[2 * GROUPS + 1] == layer_value(L_GRAD_NORM, 3, 1));
    mem_free(valid);
    mem_free(load);
    mem_free(norm);
    barrier();
}
END_TEST

/* A row that a lost node may have torn is one that was not there before. */
START_TEST(nothing_that_was_written_is_overwritten)
{
    static const char *const names[] = {"/step", "/ranks", "/layers"};
    enum { N = sizeof names / sizeof *names };
    const char *run = run_path("kept");
    struct metrics *m;
    double *before[N];
    size_t n[N], more = 0;
    ck_all(&ck_world, metrics_open(&m, &ck_world, run, ATTEMPT(0), GROUPS) == OK);
    for (int64_t step = 1; step <= 3; step++)
        ck_all(&ck_world, write_step(m, step, 0, ck_world.rank) == OK);
    for (int i = 0; i < N; i++)
        before[i] = array_of(run, names[i], &n[i]);
    barrier();
    ck_all(&ck_world, amend(m, 3, 3.5) == OK);
    for (int i = 0; i < N; i++) {
        double *after = array_of(run, names[i], &n[i]);
        for (size_t k = 0; k < n[i]; k++) {
            ck_assert(isnan(before[i][k]) || before[i][k] == after[k]);
            more += isnan(before[i][k]) && !isnan(after[k]);
        }
        mem_free(after);
        mem_free(before[i]);
    }
    ck_assert_uint_eq(more, STEP_WIDTH - 1); /* all but the accuracy of validation */
    barrier();
    ck_all(&ck_world, metrics_close(m) == OK);
}
END_TEST

/* The last place of a segment is taken: the row with the figures is the next one's first. */
START_TEST(the_last_row_of_a_segment_can_be_amended)
{
    const char *run = run_path("amend-full");
    struct metrics *m;
    size_t n, ranks = (size_t)ck_world.size;
    ck_all(&ck_world, metrics_open(&m, &ck_world, run, ATTEMPT(0), GROUPS) == OK);
    mem_free(array_of(run, "/step", &n));
    int64_t last = (int64_t)(n / STEP_WIDTH);
    for (int64_t step = 1; step <= last; step++)
        ck_all(&ck_world, write_step(m, step, 0, ck_world.rank) == OK);
    ck_all(&ck_world, amend(m, last, 3.5) == OK);
    ck_all(&ck_world, write_step(m, last + 1, 0, ck_world.rank) == OK);
    ck_all(&ck_world, metrics_close(m) == OK);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, last + 1);
    ck_assert(r.v[(last - 1) * M_N + M_VALID_LOSS] == 3.5);
    check_row(&r, last, last + 1, 0);
    mem_free(r.v);
    double *load = merged(run, "/ranks/load_s", (size_t)(last + 1) * ranks);
    for (int64_t i = last - 1; i <= last; i++)
        ck_assert(load[i * ck_world.size] == rank_value(R_LOAD_S, i + 1, 0));
    mem_free(load);
    barrier();
}
END_TEST

START_TEST(a_full_segment_is_followed_by_another)
{
    const char *run = run_path("many");
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, MANY) == OK);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, MANY);
    for (int64_t i = 0; i < MANY; i++)
        check_row(&r, i, i + 1, 0);
    mem_free(r.v);
    glob_t g;
    char pattern[FS_PATH_MAX + 32];
    snprintf(pattern, sizeof pattern, "%s/metrics/seg-*.h5", run);
    ck_assert_int_eq(glob(pattern, 0, NULL, &g), 0);
    ck_assert_uint_eq(g.gl_pathc, 2);
    globfree(&g);
    double *v = merged(run, "/ranks/reduce_s", MANY * (size_t)ck_world.size);
    ck_assert(v[(MANY - 1) * ck_world.size] == rank_value(R_REDUCE_S, MANY, 0));
    mem_free(v);
    barrier();
}
END_TEST

static void flip(const char *path, int64_t at)
{
    int fd = open(path, O_RDWR);
    unsigned char byte;
    ck_assert_int_eq(fs_pread(fd, &byte, 1, at, path), OK);
    byte ^= 1;
    ck_assert_int_eq(fs_pwrite(fd, &byte, 1, at, path), OK);
    close(fd);
}

START_TEST(a_damaged_row_is_left_out_and_counted)
{
    const char *run = run_path("damaged");
    char path[FS_PATH_MAX];
    struct h5x_array a;
    hid_t f;
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, 5) == OK);
    ck_all(&ck_world, write_steps(&ck_world, run, 1, 6, 9) == OK);
    ck_assert_int_eq(fs_join(path, run, "metrics/seg-0000-0000.h5"), OK);
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_describe(f, "/step", &a), OK);
    h5x_close(&f);
    barrier();
    if (ck_world.rank == 0) /* the loss of step 3 */
        flip(path, a.offset + (2 * (int64_t)a.dims[1] + M_LOSS) * 8 + 3);
    barrier();
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, 8);
    ck_assert_int_eq(r.n_bad, 1);
    check_row(&r, 2, 4, 0);
    mem_free(r.v);
    barrier();
    /* A segment that cannot be opened takes nothing but itself. */
    if (ck_world.rank == 0)
        ck_assert_int_eq(truncate(path, 700), 0);
    barrier();
    r = read_back(run);
    ck_assert_int_eq(r.n, 4);
    ck_assert_int_eq(r.n_bad, 1);
    check_row(&r, 0, 6, 1);
    mem_free(r.v);
    barrier();
}
END_TEST

START_TEST(a_run_without_metrics_has_no_rows)
{
    struct rows r = read_back(run_path("nothing"));
    ck_assert(r.n == 0 && r.n_bad == 0);
    mem_free(r.v);
}
END_TEST

START_TEST(failures_are_everyones)
{
    static const char *const points[] = {"metrics.create", "fs.pwrite",   "metrics.reserve",
                                         "fs.rename",      "metrics.row", "metrics.fsync"};
    int last = ck_world.size - 1;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        char spec[64], name[32];
        bool root =
            strcmp(points[i], "metrics.reserve") == 0 || strcmp(points[i], "fs.rename") == 0;
        snprintf(name, sizeof name, "failed-%zu", i);
        snprintf(spec, sizeof spec, "%s:%d", points[i], root ? 0 : last);
        setenv("CARAT_FAULT", spec, 1);
        fault_rearm();
        struct metrics *m;
        int rc = metrics_open(&m, &ck_world, run_path(name), ATTEMPT(0), GROUPS);
        bool opened = rc == OK;
        if (opened) {
            rc = write_step(m, 1, 0, ck_world.rank);
            int closed = metrics_close(m);
            ck_all(&ck_world, i < 5 || closed == E_IO);
            /* A row's failure is told by that rank; the step's reduction spreads it. */
            ck_assert(i != 4 || rc == (ck_world.rank == last ? E_IO : OK));
        }
        unsetenv("CARAT_FAULT");
        fault_rearm();
        ck_all(&ck_world, opened == (i >= 4));
        glob_t g;
        char pattern[FS_PATH_MAX + 32];
        snprintf(pattern, sizeof pattern, "%s/metrics/*tmp*", run_path(name));
        barrier();
        ck_all(&ck_world, glob(pattern, 0, NULL, &g) == GLOB_NOMATCH);
    }
}
END_TEST

/* Opens, writes, merges on a file system with room for so many pages. */
static void use_full(const char *folder, int pages, int *n_whole)
{
    char run[FS_PATH_MAX], filler[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(run, folder, "run"), OK);
    ck_assert_int_eq(fs_join(filler, folder, "filler"), OK);
    if (ck_world.rank == 0) {
        int fd = open(filler, O_WRONLY | O_CREAT, 0600);
        int64_t size = fs_free_bytes(folder) - (int64_t)pages * 4096;
        ck_assert_int_eq(fallocate(fd, 0, 0, size), 0);
        close(fd);
    }
    barrier();
    int rc = write_steps(&ck_world, run, 0, 1, 20);
    ck_all(&ck_world, rc == OK || rc == E_IO);
    if (rc == OK && ck_world.rank == 0)
        mem_free(merged(run, "/loss", 20));
    *n_whole += rc == OK;
    barrier();
    if (ck_world.rank == 0) {
        char command[2 * FS_PATH_MAX];
        snprintf(command, sizeof command, "rm -rf %s/*", folder);
        ck_assert_int_eq(system(command), 0);
    }
    barrier();
}

START_TEST(a_disk_may_be_full_at_any_place)
{
    char folder[FS_PATH_MAX];
    int mounted = 0, n_whole = 0, n = 0;
    ck_assert_int_eq(fs_join(folder, dir, "small"), OK);
    if (ck_world.rank == 0)
        mounted = mkdir(folder, 0700) == 0 && mount("none", folder, "tmpfs", 0, "size=4m") == 0;
    MPI_Bcast(&mounted, 1, MPI_INT, 0, ck_world.world);
    if (!mounted) {
        if (ck_world.rank == 0)
            printf("SKIP: no small file system can be mounted here\n");
        return;
    }
    for (int pages = 0; pages < 320; pages += pages < 20 ? 2 : 7, n++)
        use_full(folder, pages, &n_whole);
    ck_all(&ck_world, n_whole > 2 && n_whole < n - 5);
    if (ck_world.rank == 0)
        ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* ---- what is on the disk ---- */

/* As a step's reduction does: whether no rank owed any. Collective. */
static bool settle(struct metrics *m)
{
    bool settled = ck_everywhere(&ck_world, !metrics_owes(m));
    ck_all(&ck_world, !settled || metrics_settle(m) == OK);
    return settled;
}

static bool durable_is(const char *run, int64_t step, int64_t attempt)
{
    int64_t s, a;
    ck_assert_int_eq(metrics_durable(run, &s, &a), OK);
    return ck_everywhere(&ck_world, s == step && a == attempt);
}

/* As soon as the threads' turn has come. Collective. */
static bool durable_comes_to(struct metrics *m, const char *run, int64_t step, int64_t attempt)
{
    for (int i = 0; i < 1000 && !durable_is(run, step, attempt); i++) {
        settle(m);
        usleep(10000);
    }
    return durable_is(run, step, attempt);
}

static void open_synced_often(struct metrics **m, const char *run, int64_t attempt, bool often)
{
    if (often)
        setenv("CARAT_METRICS_SYNC_S", "0.02", 1);
    ck_all(&ck_world, metrics_open(m, &ck_world, run, ATTEMPT(attempt), GROUPS) == OK);
    unsetenv("CARAT_METRICS_SYNC_S");
}

START_TEST(the_durable_step_is_published)
{
    const char *run = run_path("durable");
    struct metrics *m;
    ck_assert(durable_is(run, -1, -1));
    open_synced_often(&m, run, 3, true);
    for (int64_t s = 1; s <= 5; s++)
        ck_all(&ck_world, write_step(m, s, 3, ck_world.rank) == OK);
    ck_assert(durable_comes_to(m, run, 5, 3));
    ck_all(&ck_world, metrics_renew(m, ATTEMPT(4)) == OK);
    settle(m);
    ck_assert(durable_is(run, 5, 3)); /* the new one is empty */
    ck_all(&ck_world, write_step(m, 6, 4, ck_world.rank) == OK);
    ck_assert(durable_comes_to(m, run, 6, 4));
    ck_all(&ck_world, metrics_close(m) == OK);
}
END_TEST

/* The last rank syncs in half a minute: its rows are not on the disk before. */
START_TEST(what_one_rank_has_not_synced_is_not_durable)
{
    const char *run = run_path("owed");
    struct metrics *m;
    if (ck_world.size == 1)
        return;
    open_synced_often(&m, run, 0, ck_world.rank < ck_world.size - 1);
    for (int64_t s = 1; s <= 5; s++)
        ck_all(&ck_world, write_step(m, s, 0, ck_world.rank) == OK);
    ck_assert(settle(m)); /* asks for the fifth */
    usleep(300000);
    ck_all(&ck_world, metrics_owes(m) == (ck_world.rank == ck_world.size - 1));
    ck_assert(!settle(m));
    ck_assert(durable_is(run, -1, -1));
    ck_all(&ck_world, metrics_close(m) == OK);
    ck_assert(durable_is(run, 5, 0));
}
END_TEST

/* Nothing is synced before its time, and all is at the end. */
START_TEST(the_end_is_durable)
{
    const char *run = run_path("durable-end");
    int64_t step, attempt;
    struct metrics *m;
    ck_all(&ck_world, metrics_open(&m, &ck_world, run, ATTEMPT(0), GROUPS) == OK);
    for (int64_t s = 1; s <= 9; s++)
        ck_all(&ck_world, write_step(m, s, 0, ck_world.rank) == OK);
    ck_assert_int_eq(metrics_durable(run, &step, &attempt), OK);
    ck_all(&ck_world, step == -1); /* before root closes its file, which syncs it */
    ck_all(&ck_world, metrics_close(m) == OK);
    ck_assert_int_eq(metrics_durable(run, &step, &attempt), OK);
    ck_assert_int_eq(step, 9);
    barrier();
}
END_TEST

static int unlink_durable(const char *path)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    int rc = H5Ldelete(f, "/durable", H5P_DEFAULT);
    H5Fclose(f);
    return rc;
}

START_TEST(segments_without_it_are_read)
{
    const char *run = run_path("undurable");
    char path[FS_PATH_MAX + 32];
    int64_t step, attempt;
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, 3) == OK);
    snprintf(path, sizeof path, "%s/metrics/seg-0000-0000.h5", run);
    ck_all(&ck_world, ck_world.rank != 0 || unlink_durable(path) >= 0);
    ck_assert_int_eq(metrics_durable(run, &step, &attempt), OK);
    ck_assert_int_eq(step, -1);
    struct rows r = read_back(run);
    ck_assert_int_eq(r.n, 3);
    mem_free(r.v);
    barrier();
}
END_TEST

/* Said by the next step, and the file is not synced again as if nothing had been. */
START_TEST(a_failed_sync_is_an_error_for_good)
{
    char spec[64];
    int last = ck_world.size - 1, rc = OK;
    struct metrics *m;
    snprintf(spec, sizeof spec, "metrics.fdatasync:%d", last);
    setenv("CARAT_FAULT", spec, 1);
    setenv("CARAT_METRICS_SYNC_S", "0.02", 1);
    fault_rearm();
    ck_all(&ck_world, metrics_open(&m, &ck_world, run_path("unsynced"), ATTEMPT(0), GROUPS) == OK);
    for (int64_t s = 1; s <= 400; s++) {
        rc = write_step(m, s, 0, ck_world.rank);
        if (!ck_everywhere(&ck_world, rc == OK))
            break;
        usleep(10000);
    }
    unsetenv("CARAT_METRICS_SYNC_S");
    unsetenv("CARAT_FAULT");
    fault_rearm();
    ck_all(&ck_world, rc == (ck_world.rank == last ? E_IO : OK));
    ck_all(&ck_world, metrics_close(m) == E_IO);
}
END_TEST

/* Whatever the thread is about when its file ends, it does not come back to it. */
START_TEST(a_file_may_end_while_it_is_synced)
{
    enum { FILES = 2000000, MOMENTS = 200 };
    struct metrics_sync *s;
    if (ck_world.size > 1)
        return;
    ck_assert_int_eq(metrics_sync_new(&s, 1e-9), OK);
    int file = open(run_path("ended"), O_RDWR | O_CREAT, 0600);
    for (int64_t i = 0; i < FILES; i++) {
        int fd = dup(file);
        metrics_sync_file(s, fd);
        metrics_sync_row(s, i);
        for (volatile int64_t k = i % MOMENTS; k > 0; k--)
            ;
        metrics_sync_file(s, -1);
        close(fd);
        ck_assert_msg(metrics_sync_error(s, "ended") == OK, "file %ld: %s", (long)i, err_message());
    }
    close(file);
    metrics_sync_free(s);
}
END_TEST

/* ---- followed ---- */

static void expect(struct metrics_tail *t, enum tail want, int64_t step, int64_t attempt)
{
    double row[M_N];
    enum tail what;
    ck_assert_int_eq(metrics_tail_next(t, row, &what), OK);
    ck_assert_int_eq(what, want);
    if (what == TAIL_NONE)
        return;
    ck_assert_int_eq((int64_t)row[M_STEP], step);
    ck_assert_int_eq((int64_t)row[M_ATTEMPT], attempt);
    ck_assert(row[M_LOSS] == value(M_LOSS, step, attempt));
    ck_assert((what == TAIL_AMENDED) == !isnan(row[M_VALID_LOSS]));
}

START_TEST(rows_are_followed_as_they_come)
{
    const char *run = run_path("tail");
    struct metrics *m;
    struct metrics_tail *t;
    int rank = ck_world.rank;
    ck_assert_int_eq(metrics_tail_new(&t, run, 0), OK);
    expect(t, TAIL_NONE, 0, 0);
    barrier();
    ck_all(&ck_world, metrics_open(&m, &ck_world, run, ATTEMPT(0), GROUPS) == OK);
    expect(t, TAIL_NONE, 0, 0);
    for (int64_t step = 1; step <= 3; step++) {
        barrier();
        ck_all(&ck_world, write_step(m, step, 0, rank) == OK);
        expect(t, TAIL_ROW, step, 0);
        expect(t, TAIL_NONE, 0, 0);
    }
    barrier();
    ck_all(&ck_world, amend(m, 3, 1.5) == OK);
    expect(t, TAIL_AMENDED, 3, 0);
    expect(t, TAIL_NONE, 0, 0);
    barrier();
    ck_all(&ck_world, write_step(m, 4, 0, rank) == OK);
    ck_all(&ck_world, metrics_renew(m, ATTEMPT(1)) == OK);
    ck_all(&ck_world, write_step(m, 3, 1, rank) == OK);
    expect(t, TAIL_ROW, 4, 0);
    expect(t, TAIL_ROW, 3, 1);
    expect(t, TAIL_NONE, 0, 0);
    metrics_tail_free(t);
    barrier();
    ck_all(&ck_world, metrics_close(m) == OK);
}
END_TEST

/* Root changes a number of a row and has its sum fit. */
static void forge(const char *run, const char *name, const struct h5x_array *a, int64_t at,
                  int place, double value)
{
    int width = (int)a->dims[1];
    size_t n = (size_t)width * sizeof(double);
    char path[FS_PATH_MAX];
    double row[64];
    barrier();
    if (ck_world.rank == 0) {
        ck_assert_int_le(width, 64);
        ck_assert_int_lt(snprintf(path, sizeof path, "%s/metrics/%s", run, name), FS_PATH_MAX);
        int fd = open(path, O_RDWR);
        ck_assert_int_eq(fs_pread(fd, row, n, a->offset + at * (int64_t)n, path), OK);
        row[place] = value;
        metrics_seal(row, width);
        ck_assert_int_eq(fs_pwrite(fd, row, n, a->offset + at * (int64_t)n, path), OK);
        close(fd);
    }
    barrier();
}

/* Of a file of a run. */
static struct h5x_array layout_of(const char *run, const char *name, const char *dataset)
{
    struct h5x_array a;
    char path[FS_PATH_MAX];
    hid_t f;
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/metrics/%s", run, name), FS_PATH_MAX);
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_describe(f, dataset, &a), OK);
    h5x_close(&f);
    return a;
}

/* Their sums fit, and no step has such a number. */
START_TEST(forged_rows_are_none)
{
    static const double values[] = {NAN, -1, 1e300, INFINITY};
    const char *run = run_path("forged");
    struct metrics_tail *t;
    ck_all(&ck_world, write_steps(&ck_world, run, 0, 1, 3) == OK);
    ck_all(&ck_world, write_steps(&ck_world, run, 1, 4, 4) == OK);
    const struct h5x_array step = layout_of(run, "seg-0000-0000.h5", "/step");
    const struct h5x_array durable = layout_of(run, "seg-0001-0000.h5", "/durable");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        forge(run, "seg-0000-0000.h5", &step, 1, i % 2 == 0 ? M_STEP : M_ATTEMPT, values[i]);
        forge(run, "seg-0001-0000.h5", &durable, 0, 0, values[i]);
        struct rows r = read_back(run);
        ck_assert_int_eq(r.n, 3);
        ck_assert_int_eq(r.n_bad, 1);
        mem_free(r.v);
        ck_assert_int_eq(metrics_tail_new(&t, run, 0), OK);
        expect(t, TAIL_ROW, 1, 0);
        expect(t, TAIL_ROW, 3, 0);
        expect(t, TAIL_ROW, 4, 1);
        metrics_tail_free(t);
        ck_assert(durable_is(run, 3, 0));
        forge(run, "seg-0000-0000.h5", &step, 1, M_STEP, 2);
        forge(run, "seg-0000-0000.h5", &step, 1, M_ATTEMPT, 0);
    }
}
END_TEST

/* ---- killed ---- */

/* Writes steps for ever; root tells each one that all ranks have written. */
static int child(int argc, char **argv)
{
    if (comm_init(&ck_world, &argc, &argv) != OK)
        return E_RANK;
    struct metrics *m;
    if (metrics_open(&m, &ck_world, argv[2], ATTEMPT(0), GROUPS) != OK)
        return E_IO;
    for (int64_t step = 1;; step++) {
        int rc = write_step(m, step, 0, ck_world.rank), worst;
        MPI_Allreduce(&rc, &worst, 1, MPI_INT, MPI_MAX, ck_world.world);
        if (worst != OK)
            return worst;
        if (ck_world.rank == 0) {
            printf("%ld %ld\n", (long)step, (long)getpid());
            fflush(stdout);
        }
    }
}

/* Every row that a reader sees is whole, and each step is there once, while the writer is at work
 * and after its end. Returns how many there are. */
static int64_t read_while_written(const char *run)
{
    double *v;
    int64_t n, n_bad;
    ck_assert_msg(metrics_read(run, &v, &n, &n_bad) == OK, "%s", err_message());
    const struct rows r = {v, n, n_bad};
    for (int64_t i = 0; i < n; i++)
        check_row(&r, i, i + 1, 0);
    mem_free(v);
    return n;
}

static int64_t follow_all(struct metrics_tail *t, int64_t seen)
{
    double row[M_N], want[M_N];
    enum tail what;
    for (;;) {
        ck_assert_msg(metrics_tail_next(t, row, &what) == OK, "%s", err_message());
        if (what != TAIL_ROW)
            return seen;
        make_row(want, ++seen, 0);
        ck_assert(memcmp(row, want, sizeof row) == 0);
    }
}

static void kill_while_read(const char *run, long kill_after)
{
    char command[3 * FS_PATH_MAX], line[64];
    struct metrics_tail *tail;
    int64_t followed = 0;
    ck_assert_int_eq(metrics_tail_new(&tail, run, 0), OK);
    snprintf(command, sizeof command,
             "env -i PATH=\"$PATH\" HOME=\"$HOME\" OMPI_ALLOW_RUN_AS_ROOT=1 "
             "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
             "OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none "
             "timeout 60 mpirun -n 2 %s child %s 2>/dev/null",
             self, run);
    FILE *p = popen(command, "r");
    long step, pid, acknowledged = 0;
    bool killed = false;
    while (fgets(line, sizeof line, p) != NULL) {
        if (strchr(line, '\n') == NULL || sscanf(line, "%ld %ld", &step, &pid) != 2)
            continue;
        acknowledged = step;
        if (step % READ_EVERY == 0)
            ck_assert_int_ge(read_while_written(run), acknowledged);
        followed = follow_all(tail, followed);
        ck_assert_int_ge(followed, acknowledged);
        if (!killed && step >= kill_after) {
            kill((pid_t)pid, SIGKILL);
            killed = true;
        }
    }
    ck_assert_int_ne(pclose(p), 0);
    ck_assert(killed && acknowledged >= kill_after);
    ck_assert_int_ge(follow_all(tail, followed), acknowledged);
    metrics_tail_free(tail);
    struct rows r = read_back(run);
    ck_assert_int_ge(r.n, acknowledged);
    for (int64_t i = 0; i < acknowledged; i++)
        check_row(&r, i, i + 1, 0);
    ck_assert_int_le(r.n_bad, 1); /* the row that was being written */
    mem_free(r.v);
    ck_assert_int_eq(metrics_merge(run), OK);
    mem_free(merged(run, "/ranks/load_s", (size_t)r.n * 2));
}

/* Before the first segment's end, at it, and behind it. */
START_TEST(a_killed_writer_loses_nothing)
{
    static const long kill_after[] = {KILL_AFTER, 512, 731};
    char name[32];
    if (ck_world.size > 1)
        return;
    for (size_t i = 0; i < sizeof kill_after / sizeof *kill_after; i++) {
        snprintf(name, sizeof name, "killed-%zu", i);
        kill_while_read(run_path(name), kill_after[i]);
    }
}
END_TEST

static void add(TCase *t)
{
    snprintf(dir, sizeof dir, "%s", ck_folder());
    tcase_add_test(t, rows_are_read_back_and_merged);
    tcase_add_test(t, columns_have_units_and_meanings);
    tcase_add_test(t, layers_have_rows_of_their_own);
    tcase_add_test(t, segments_with_fewer_columns_are_read);
    tcase_add_test(t, a_run_may_go_on_as_another_attempt);
    tcase_add_test(t, rows_stay_until_they_are_redone);
    tcase_add_test(t, another_path_leaves_a_branch);
    tcase_add_test(t, the_highest_attempt_wins);
    tcase_add_test(t, attempts_may_have_different_ranks);
    tcase_add_test(t, a_row_can_be_amended);
    tcase_add_test(t, nothing_that_was_written_is_overwritten);
    tcase_add_test(t, the_last_row_of_a_segment_can_be_amended);
    tcase_add_test(t, a_full_segment_is_followed_by_another);
    tcase_add_test(t, a_damaged_row_is_left_out_and_counted);
    tcase_add_test(t, a_run_without_metrics_has_no_rows);
    tcase_add_test(t, failures_are_everyones);
    tcase_add_test(t, a_disk_may_be_full_at_any_place);
    tcase_add_test(t, the_durable_step_is_published);
    tcase_add_test(t, what_one_rank_has_not_synced_is_not_durable);
    tcase_add_test(t, the_end_is_durable);
    tcase_add_test(t, segments_without_it_are_read);
    tcase_add_test(t, a_failed_sync_is_an_error_for_good);
    tcase_add_test(t, a_file_may_end_while_it_is_synced);
    tcase_add_test(t, rows_are_followed_as_they_come);
    tcase_add_test(t, forged_rows_are_none);
    tcase_add_test(t, a_killed_writer_loses_nothing);
}

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return EXIT_FAILURE;
    if (argc > 2 && strcmp(argv[1], "child") == 0)
        return child(argc, argv);
    return run_suite_mpi(&argc, &argv, "train/metrics", add);
}
