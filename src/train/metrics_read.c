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

/* A sum that fits may be forged: steps and attempts are counts, and others turn them into whole
 * numbers. */
bool metrics_is_row(const struct segment *s, const double *v)
{
    return metrics_is_sealed(v, s->step_width) && metrics_is_count(v[s->column[M_STEP]]) &&
           metrics_is_count(v[s->column[M_ATTEMPT]]);
}

/* By the places that the file's columns have. */
void metrics_take_columns(double row[M_N], const struct segment *s, const double *v)
{
    for (int i = 0; i < M_N; i++)
        row[i] = s->column[i] >= 0 ? v[s->column[i]] : NAN;
}

static int take_rows(struct history *h, int64_t *cap, int64_t segment, int64_t first,
                     const double *v, int64_t n)
{
    const struct segment *s = &h->segment[segment];
    for (int64_t i = 0; i < n; i++, v += s->step_width) {
        if (metrics_is_empty(v, s->step_width))
            continue;
        if (!metrics_is_row(s, v)) {
            h->n_bad++;
            continue;
        }
        struct history_row row = {.segment = segment, .at = first + i};
        metrics_take_columns(row.v, s, v);
        TRY(append_row(h, cap, &row));
    }
    return OK;
}

static int read_rows(struct history *h, int64_t *cap, int64_t segment, int fd)
{
    const struct segment *s = &h->segment[segment];
    double *buf;
    int rc;
    TRY(mem_alloc(&buf, (size_t)(READ_ROWS * s->step_width), sizeof *buf, "rows of metrics"));
    for (int64_t first = 0; first < s->rows; first += READ_ROWS) {
        int64_t n = s->rows - first < READ_ROWS ? s->rows - first : READ_ROWS;
        TRY_OUT(fs_pread(fd, buf, (size_t)(n * s->step_width) * sizeof *buf,
                         segment_step_at(s, first), s->path));
        TRY_OUT(take_rows(h, cap, segment, first, buf, n));
    }
    rc = OK;
out:
    mem_free(buf);
    return rc;
}

static int read_segment(struct history *h, int64_t *cap, int64_t segment)
{
    struct segment *s = &h->segment[segment];
    TRY(segment_open(s));
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", s->path, strerror(errno));
    int rc = read_rows(h, cap, segment, fd);
    close(fd);
    return rc;
}

static int read_segments(struct history *h)
{
    int64_t cap = 0;
    int rc = OK;
    for (size_t i = 0; rc == OK && i < h->n_segments; i++) {
        rc = read_segment(h, &cap, (int64_t)i);
        if (rc == E_DATA || rc == E_IO) {
            /* The other segments are as good as before. */
            log_warn("a segment of metrics is left out: %s", err_message());
            err_clear();
            h->segment[i].rows = 0;
            h->n_bad++;
            rc = OK;
        }
    }
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

static bool other_path(const struct segment *a, const struct segment *b)
{
    return a->path_hash[0] != '\0' && b->path_hash[0] != '\0' &&
           strcmp(a->path_hash, b->path_hash) != 0;
}

/* The last step that counts of a segment: what lies behind the step where a later one took another
 * path is of a branch that was left. */
static double last_counted(const struct history *h, size_t segment)
{
    double last = INFINITY;
    for (size_t i = segment + 1; i < h->n_segments; i++)
        if (other_path(&h->segment[segment], &h->segment[i]))
            last = fmin(last, (double)h->segment[i].after);
    return last;
}

static void leave_branches(struct history *h)
{
    int64_t kept = 0, i = 0;
    for (size_t k = 0; k < h->n_segments; k++) /* rows lie segment by segment so far */
        for (double last = last_counted(h, k); i < h->n && h->row[i].segment == (int64_t)k; i++)
            if (h->row[i].v[M_STEP] <= last)
                h->row[kept++] = h->row[i];
    h->n = kept;
}

/* A step's second row in the same attempt: it has its validation figures. */
static bool amends(const struct history_row *now, const struct history_row *before)
{
    return now->v[M_STEP] == before->v[M_STEP] && now->v[M_ATTEMPT] == before->v[M_ATTEMPT];
}

/* Of each step the newest row: steps that are redone have the same bits, and until then what was
 * written before stays true. */
static void keep_newest(struct history *h)
{
    int64_t kept = 0;
    if (h->n > 0)
        qsort(h->row, (size_t)h->n, sizeof *h->row, by_step);
    for (int64_t i = 0; i < h->n; i++) {
        struct history_row *last = kept > 0 ? &h->row[kept - 1] : NULL;
        if (last != NULL && amends(&h->row[i], last))
            memcpy(last->v, h->row[i].v, sizeof last->v);
        else if (last != NULL && last->v[M_STEP] == h->row[i].v[M_STEP])
            *last = h->row[i];
        else
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
    leave_branches(h);
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

/* ---- what is on the disk ---- */

static bool durable_of(struct segment *s, int64_t *step, int64_t *attempt)
{
    int fd = segment_open(s) == OK ? open(s->path, O_RDONLY | O_CLOEXEC) : -1;
    bool found = fd >= 0 && segment_durable(s, fd, step, attempt);
    if (fd >= 0)
        close(fd);
    err_clear();
    return found;
}

int metrics_durable(const char *run_dir, int64_t *step, int64_t *attempt)
{
    struct segment *list;
    size_t n;
    *step = *attempt = -1;
    TRY(segment_list(run_dir, &list, &n));
    while (n > 0 && !durable_of(&list[n - 1], step, attempt))
        n--;
    mem_free(list);
    return OK;
}

/* ---- one segment ---- */

/* Room for all that a segment has of one step. */
struct checker {
    const struct segment *s;
    int fd;
    double *step, *beside;
    struct metrics_segment *found;
};

static int check_beside(const struct checker *k, enum side side, int64_t at)
{
    int width = SIDES[side].width;
    TRY(fs_pread(k->fd, k->beside, (size_t)(k->s->n_beside[side] * width) * sizeof(double),
                 segment_beside_at(k->s, side, at, 0), k->s->path));
    for (int64_t i = 0; i < k->s->n_beside[side]; i++) {
        const double *row = k->beside + i * width;
        k->found->n_bad += !metrics_is_empty(row, width) && !metrics_is_sealed(row, width);
    }
    return OK;
}

static int check_row(const struct checker *k, int64_t at)
{
    int width = k->s->step_width;
    TRY(fs_pread(k->fd, k->step, (size_t)width * sizeof(double), segment_step_at(k->s, at),
                 k->s->path));
    for (int i = 0; i < N_SIDES; i++)
        TRY(check_beside(k, (enum side)i, at));
    if (metrics_is_empty(k->step, width))
        return OK;
    if (!metrics_is_row(k->s, k->step)) {
        k->found->n_bad++;
        return OK;
    }
    /* A step's second row is no step more. */
    k->found->rows += (int64_t)k->step[k->s->column[M_STEP]] != k->found->last_step;
    k->found->last_step = (int64_t)k->step[k->s->column[M_STEP]];
    return OK;
}

static int check_rows(const struct segment *s, struct metrics_segment *found)
{
    struct checker k = {.s = s, .found = found};
    size_t room = 0;
    int64_t attempt;
    int rc;
    for (int i = 0; i < N_SIDES; i++)
        room += (size_t)(s->n_beside[i] * SIDES[i].width);
    k.fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (k.fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", s->path, strerror(errno));
    if (!segment_durable(s, k.fd, &found->durable_step, &attempt))
        found->durable_step = -1;
    TRY_OUT(mem_alloc(&k.step, (size_t)s->step_width, sizeof(double), "a row of metrics"));
    TRY_OUT(mem_alloc(&k.beside, room, sizeof(double), "rows of metrics"));
    for (int64_t at = 0; at < s->rows; at++)
        TRY_OUT(check_row(&k, at));
out:
    mem_free(k.step);
    mem_free(k.beside);
    close(k.fd);
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
    *found = (struct metrics_segment){.last_step = -1};
    if (strlen(path) >= sizeof s.path)
        return ERR(E_DATA, "%.60s...: the path is too long", path);
    memcpy(s.path, path, strlen(path) + 1);
    TRY(segment_open(&s));
    TRY(read_attempt(path, &found->attempt));
    found->ranks = s.n_beside[SIDE_RANKS];
    found->room = s.rows;
    return check_rows(&s, found);
}
