#include "metrics_parts.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/h5x.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MERGE_BYTES = 8 << 20, READ_ROWS = 1024 };

/* ---- reading ---- */

static int append_row(struct history *h, int64_t *cap, const struct history_row *row)
{
    if (h->n == *cap) {
        struct history_row *more;
        int64_t room = *cap > 0 ? 2 * *cap : 1024;
        TRY(mem_alloc(&more, (size_t)room, sizeof *more, "rows of metrics"));
        if (h->n > 0)
            memcpy(more, h->row, (size_t)h->n * sizeof *more);
        mem_free(h->row);
        h->row = more;
        *cap = room;
    }
    h->row[h->n++] = *row;
    return OK;
}

static int take_rows(struct history *h, int64_t *cap, int64_t segment, int64_t first,
                     const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++, v += STEP_WIDTH) {
        if (metrics_is_empty(v, STEP_WIDTH))
            continue;
        if (!metrics_is_sealed(v, STEP_WIDTH)) {
            h->n_bad++;
            continue;
        }
        struct history_row row = {.segment = segment, .at = first + i};
        memcpy(row.v, v, sizeof row.v);
        TRY(append_row(h, cap, &row));
    }
    return OK;
}

static int read_rows(struct history *h, int64_t *cap, int64_t segment, int fd, double *buf)
{
    const struct segment *s = &h->segment[segment];
    for (int64_t first = 0; first < s->rows; first += READ_ROWS) {
        int64_t n = s->rows - first < READ_ROWS ? s->rows - first : READ_ROWS;
        TRY(fs_pread(fd, buf, (size_t)n * STEP_WIDTH * sizeof *buf, segment_step_at(s, first),
                     s->path));
        TRY(take_rows(h, cap, segment, first, buf, n));
    }
    return OK;
}

static int read_segment(struct history *h, int64_t *cap, int64_t segment, double *buf)
{
    struct segment *s = &h->segment[segment];
    TRY(segment_open(s));
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", s->path, strerror(errno));
    int rc = read_rows(h, cap, segment, fd, buf);
    close(fd);
    return rc;
}

static int read_segments(struct history *h)
{
    double *buf;
    int64_t cap = 0;
    int rc = mem_alloc(&buf, READ_ROWS * STEP_WIDTH, sizeof *buf, "rows of metrics");
    for (size_t i = 0; rc == OK && i < h->n_segments; i++) {
        rc = read_segment(h, &cap, (int64_t)i, buf);
        if (rc == E_DATA || rc == E_IO) {
            /* The other segments are as good as before. */
            log_warn("a segment of metrics is left out: %s", err_message());
            err_clear();
            h->segment[i].rows = 0;
            h->n_bad++;
            rc = OK;
        }
    }
    mem_free(buf);
    return rc;
}

/* By step; rows of one step by age, the newest last. */
static int by_step(const void *a, const void *b)
{
    const struct history_row *p = a, *q = b;
    if (p->v[M_STEP] != q->v[M_STEP])
        return p->v[M_STEP] < q->v[M_STEP] ? -1 : 1;
    if (p->segment != q->segment)
        return p->segment < q->segment ? -1 : 1;
    return (p->at > q->at) - (p->at < q->at);
}

/* What an attempt wrote at or beyond the step where a later one began is a branch that was left. */
static void keep_newest(struct history *h)
{
    int64_t kept = 0;
    double attempt = 0;
    if (h->n > 0)
        qsort(h->row, (size_t)h->n, sizeof *h->row, by_step);
    for (int64_t i = 0; i < h->n; i++)
        if ((i + 1 == h->n || h->row[i + 1].v[M_STEP] != h->row[i].v[M_STEP]) &&
            h->row[i].v[M_ATTEMPT] >= attempt) {
            attempt = h->row[i].v[M_ATTEMPT];
            h->row[kept++] = h->row[i];
        }
    h->n = kept;
}

int history_read(struct history *h, const char *run_dir)
{
    *h = (struct history){0};
    int rc = segment_list(run_dir, &h->segment, &h->n_segments);
    if (rc == OK)
        rc = read_segments(h);
    if (rc != OK) {
        history_release(h);
        return rc;
    }
    keep_newest(h);
    return OK;
}

void history_release(struct history *h)
{
    mem_free(h->segment);
    mem_free(h->row);
    *h = (struct history){0};
}

int metrics_read(const char *run_dir, double **rows, int64_t *n, int64_t *n_bad)
{
    struct history h;
    *rows = NULL;
    *n = *n_bad = 0;
    TRY(history_read(&h, run_dir));
    int rc = mem_alloc(rows, (size_t)h.n * M_N, sizeof **rows, "rows of metrics");
    for (int64_t i = 0; rc == OK && i < h.n; i++)
        memcpy(*rows + i * M_N, h.row[i].v, sizeof h.row[i].v);
    if (rc == OK) {
        *n = h.n;
        *n_bad = h.n_bad;
    }
    history_release(&h);
    return rc;
}

/* ---- one segment ---- */

static int check_row(const struct segment *s, int fd, int64_t at, double *rank_rows,
                     struct metrics_segment *found)
{
    double row[STEP_WIDTH];
    TRY(fs_pread(fd, row, sizeof row, segment_step_at(s, at), s->path));
    TRY(fs_pread(fd, rank_rows, (size_t)s->ranks * RANK_WIDTH * sizeof(double),
                 segment_rank_at(s, at, 0), s->path));
    for (int64_t r = 0; r < s->ranks; r++) {
        const double *rank_row = rank_rows + r * RANK_WIDTH;
        found->n_bad +=
            !metrics_is_empty(rank_row, RANK_WIDTH) && !metrics_is_sealed(rank_row, RANK_WIDTH);
    }
    if (metrics_is_empty(row, STEP_WIDTH))
        return OK;
    if (!metrics_is_sealed(row, STEP_WIDTH)) {
        found->n_bad++;
        return OK;
    }
    found->rows++;
    found->last_step = (int64_t)row[M_STEP];
    return OK;
}

static int check_rows(const struct segment *s, double *rank_rows, struct metrics_segment *found)
{
    int rc = OK, fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", s->path, strerror(errno));
    for (int64_t at = 0; rc == OK && at < s->rows; at++)
        rc = check_row(s, fd, at, rank_rows, found);
    close(fd);
    return rc;
}

static int read_attempt(const char *path, int64_t *attempt)
{
    hid_t file;
    TRY(h5x_open(&file, path, false));
    int rc = h5x_get_i64(file, "attempt", attempt);
    if (rc != OK)
        err_context(rc, "%s", path);
    h5x_close(&file);
    return rc;
}

int metrics_check(const char *path, struct metrics_segment *found)
{
    struct segment s = {0};
    double *rank_rows;
    *found = (struct metrics_segment){.last_step = -1};
    if (strlen(path) >= sizeof s.path)
        return ERR(E_DATA, "%.60s...: the path is too long", path);
    memcpy(s.path, path, strlen(path) + 1);
    TRY(segment_open(&s));
    TRY(read_attempt(path, &found->attempt));
    found->ranks = s.ranks;
    found->room = s.rows;
    TRY(mem_alloc(&rank_rows, (size_t)s.ranks, RANK_WIDTH * sizeof(double), "rank rows"));
    int rc = check_rows(&s, rank_rows, found);
    mem_free(rank_rows);
    return rc;
}

/* ---- merging ---- */

static int64_t most_ranks(const struct history *h)
{
    int64_t most = 1;
    for (size_t i = 0; i < h->n_segments; i++)
        if (h->segment[i].rows > 0 && h->segment[i].ranks > most)
            most = h->segment[i].ranks;
    return most;
}

static int put_unit(hid_t file, const char *name, const char *unit)
{
    hid_t d = H5Dopen2(file, name, H5P_DEFAULT);
    if (d < 0)
        return h5x_error(E_IO, "%s: cannot open", name);
    int rc = h5x_put_text(d, "unit", unit);
    H5Dclose(d);
    return rc;
}

static int put_step_column(hid_t file, const struct history *h, int column, double *buf)
{
    const struct metric_column *m = &METRIC_COLUMNS[column];
    const hsize_t dims[1] = {(hsize_t)h->n};
    char name[64];
    snprintf(name, sizeof name, "/%s", m->name);
    for (int64_t i = 0; i < h->n; i++)
        buf[i] = h->row[i].v[column];
    TRY(h5x_make_dataset(file, name, H5T_IEEE_F64LE, 1, dims, m->help));
    if (h->n > 0)
        TRY(h5x_write_array(file, name, H5T_NATIVE_DOUBLE, buf));
    return put_unit(file, name, m->unit);
}

static void rank_column_name(char name[64], int column)
{
    snprintf(name, 64, "/ranks/%s", RANK_COLUMNS[column].name);
}

static int put_step_columns(hid_t file, const struct history *h)
{
    double *buf;
    TRY(mem_alloc(&buf, (size_t)h->n, sizeof *buf, "a column of metrics"));
    int rc = h5x_put_text(file, "kind", METRICS_KIND);
    if (rc == OK)
        rc = h5x_put_i64(file, "format", METRICS_FORMAT);
    for (int i = 0; rc == OK && i < M_N; i++)
        rc = put_step_column(file, h, i, buf);
    mem_free(buf);
    return rc;
}

static int make_rank_columns(hid_t file, const struct history *h)
{
    const hsize_t dims[2] = {(hsize_t)h->n, (hsize_t)most_ranks(h)};
    char name[64];
    for (int i = 0; i < R_N; i++) {
        rank_column_name(name, i);
        TRY(h5x_make_dataset(file, name, H5T_IEEE_F64LE, 2, dims, RANK_COLUMNS[i].help));
        TRY(put_unit(file, name, RANK_COLUMNS[i].unit));
    }
    return OK;
}

static int find_rank_columns(const char *path, int64_t offset[R_N])
{
    hid_t file;
    struct h5x_array a;
    char name[64];
    int rc = OK;
    TRY(h5x_open(&file, path, false));
    for (int i = 0; rc == OK && i < R_N; i++) {
        rank_column_name(name, i);
        rc = h5x_describe(file, name, &a);
        offset[i] = a.offset;
    }
    h5x_close(&file);
    return rc;
}

/* The rank columns are as large as ranks × steps: they are turned over in pieces of some rows. */
struct turner {
    const struct history *h;
    const char *path;
    int in, out;     /* the open segment, and metrics.h5 */
    int64_t segment; /* which one is open; -1: none */
    int64_t ranks;   /* columns of the output */
    int64_t chunk;   /* rows at once */
    double *row;     /* [ranks][RANK_WIDTH] of one step */
    double *column;  /* [R_N][chunk][ranks] */
};

static int open_segment(struct turner *t, int64_t segment)
{
    if (t->segment == segment)
        return OK;
    if (t->in >= 0)
        close(t->in);
    t->segment = segment;
    t->in = open(t->h->segment[segment].path, O_RDONLY | O_CLOEXEC);
    return t->in >= 0
               ? OK
               : ERR(E_IO, "%s: cannot open: %s", t->h->segment[segment].path, strerror(errno));
}

static int turn_row(struct turner *t, const struct history_row *from, int64_t at)
{
    TRY(open_segment(t, from->segment));
    const struct segment *s = &t->h->segment[from->segment];
    TRY(fs_pread(t->in, t->row, (size_t)s->ranks * RANK_WIDTH * sizeof(double),
                 segment_rank_at(s, from->at, 0), s->path));
    for (int64_t r = 0; r < t->ranks; r++) {
        const double *row = t->row + r * RANK_WIDTH;
        bool good = r < s->ranks && metrics_is_sealed(row, RANK_WIDTH) && row[0] == from->v[M_STEP];
        for (int i = 0; i < R_N; i++)
            t->column[((int64_t)i * t->chunk + at) * t->ranks + r] =
                good ? row[RANK_HEAD + i] : NAN;
    }
    return OK;
}

static int turn_all(struct turner *t, const int64_t offset[R_N])
{
    for (int64_t first = 0; first < t->h->n; first += t->chunk) {
        int64_t n = t->h->n - first < t->chunk ? t->h->n - first : t->chunk;
        for (int64_t i = 0; i < n; i++)
            TRY(turn_row(t, &t->h->row[first + i], i));
        for (int i = 0; i < R_N; i++)
            TRY(fs_pwrite(t->out, t->column + (int64_t)i * t->chunk * t->ranks,
                          (size_t)(n * t->ranks) * sizeof(double),
                          offset[i] + first * t->ranks * (int64_t)sizeof(double), t->path));
    }
    return OK;
}

static int write_rank_columns(const char *path, const struct history *h, const int64_t offset[R_N])
{
    struct turner t = {.h = h, .path = path, .in = -1, .segment = -1, .ranks = most_ranks(h)};
    int64_t a_row = t.ranks * R_N * (int64_t)sizeof(double);
    int rc;
    t.chunk = MERGE_BYTES / a_row > 1 ? MERGE_BYTES / a_row : 1;
    t.out = open(path, O_WRONLY | O_CLOEXEC);
    if (t.out < 0)
        return ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
    TRY_OUT(mem_alloc(&t.row, (size_t)t.ranks, RANK_WIDTH * sizeof(double), "rank rows"));
    TRY_OUT(mem_alloc(&t.column, (size_t)t.chunk, (size_t)a_row, "rank columns"));
    rc = turn_all(&t, offset);
out:
    if (t.in >= 0)
        close(t.in);
    if (close(t.out) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", path, strerror(errno));
    mem_free(t.row);
    mem_free(t.column);
    return rc;
}

static int write_merged(const char *temp, const struct history *h)
{
    hid_t file;
    int64_t offset[R_N];
    TRY(h5x_create(&file, temp, MPI_COMM_NULL));
    int rc = put_step_columns(file, h);
    if (rc == OK)
        rc = make_rank_columns(file, h);
    int closed = h5x_close(&file);
    TRY(rc);
    TRY(closed);
    TRY(find_rank_columns(temp, offset));
    TRY(h5x_reserve(temp, "metrics.reserve"));
    if (h->n > 0)
        TRY(write_rank_columns(temp, h, offset));
    return fs_fsync(temp);
}

int metrics_merge(const char *run_dir)
{
    struct history h;
    char path[FS_PATH_MAX], temp[FS_PATH_MAX + 32];
    TRY(fs_join(path, run_dir, "metrics.h5"));
    snprintf(temp, sizeof temp, "%s.tmp-%ld", path, (long)getpid());
    TRY(history_read(&h, run_dir));
    unlink(temp);
    int rc = write_merged(temp, &h);
    if (rc == OK)
        rc = fs_rename(temp, path);
    if (rc != OK)
        unlink(temp);
    history_release(&h);
    return rc;
}
