/* The run's metrics as one file of columns, and the rows beside the steps as columns. */
#include "metrics_parts.h"

#include "base/err.h"
#include "base/mem.h"
#include "io/h5x.h"
#include "train/events.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TURN_BYTES = 8 << 20, COLUMN_NAME = 64 };

/* ---- turning rows into columns ---- */

int64_t history_most(const struct history *h, enum side side)
{
    int64_t most = 0;
    for (size_t i = 0; i < h->n_segments; i++)
        if (h->segment[i].rows > 0 && h->segment[i].n_beside[side] > most)
            most = h->segment[i].n_beside[side];
    return most;
}

/* The columns are as large as rows beside × steps: they are turned over in pieces of some steps. */
struct turner {
    const struct history *h;
    enum side side;
    int fd;
    int64_t segment; /* which one is open; -1: none */
    int64_t most;    /* rows beside a step in the output */
    int64_t room;    /* steps at once */
    double *row;     /* [most][width] of one step */
    double *column;  /* [columns][room][most] */
};

static int open_segment(struct turner *t, int64_t segment)
{
    if (t->segment == segment)
        return OK;
    if (t->fd >= 0)
        close(t->fd);
    t->segment = segment;
    t->fd = open(t->h->segment[segment].path, O_RDONLY | O_CLOEXEC);
    return t->fd >= 0
               ? OK
               : ERR(E_IO, "%s: cannot open: %s", t->h->segment[segment].path, strerror(errno));
}

static int turn_row(struct turner *t, const struct history_row *from, int64_t at)
{
    const struct side_kind *k = &SIDES[t->side];
    TRY(open_segment(t, from->segment));
    const struct segment *s = &t->h->segment[from->segment];
    int64_t n = s->n_beside[t->side];
    TRY(fs_pread(t->fd, t->row, (size_t)(n * k->width) * sizeof(double),
                 segment_beside_at(s, t->side, from->at, 0), s->path));
    for (int64_t r = 0; r < t->most; r++) {
        const double *row = t->row + r * k->width;
        bool good = r < n && metrics_is_sealed(row, k->width) && row[0] == from->v[M_STEP];
        for (int i = 0; i < k->n_columns; i++)
            t->column[((int64_t)i * t->room + at) * t->most + r] = good ? row[SIDE_HEAD + i] : NAN;
    }
    return OK;
}

static int turn_all(struct turner *t, history_put_fn put, void *ctx)
{
    for (int64_t first = 0; first < t->h->n; first += t->room) {
        int64_t n = t->h->n - first < t->room ? t->h->n - first : t->room;
        for (int64_t i = 0; i < n; i++)
            TRY(turn_row(t, &t->h->row[first + i], i));
        TRY(put(ctx, first, n, t->room, t->column));
    }
    return OK;
}

int history_turn(const struct history *h, enum side side, history_put_fn put, void *ctx)
{
    const struct side_kind *k = &SIDES[side];
    struct turner t = {.h = h, .side = side, .fd = -1, .segment = -1};
    int rc;
    t.most = history_most(h, side);
    if (t.most == 0 || h->n == 0)
        return OK;
    int64_t a_step = t.most * k->n_columns * (int64_t)sizeof(double);
    t.room = TURN_BYTES / a_step > 1 ? TURN_BYTES / a_step : 1;
    t.room = t.room < h->n ? t.room : h->n;
    TRY_OUT(mem_alloc(&t.row, (size_t)t.most, (size_t)k->width * sizeof(double), "metrics' rows"));
    TRY_OUT(mem_alloc(&t.column, (size_t)t.room, (size_t)a_step, "metrics' columns"));
    rc = turn_all(&t, put, ctx);
out:
    if (t.fd >= 0)
        close(t.fd);
    mem_free(t.row);
    mem_free(t.column);
    return rc;
}

/* ---- rows by layer ---- */

struct layer_rows {
    double *rows;
    int64_t most;
};

static int take_layers(void *ctx, int64_t first, int64_t n, int64_t room, const double *v)
{
    const struct layer_rows *l = ctx;
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < l->most; r++)
            for (int c = 0; c < L_N; c++)
                l->rows[((first + i) * l->most + r) * L_N + c] = v[(c * room + i) * l->most + r];
    return OK;
}

int metrics_read_layers(const char *run_dir, double **rows, int64_t *n, int64_t *n_groups)
{
    struct history h;
    struct layer_rows l = {0};
    *rows = NULL;
    *n = *n_groups = 0;
    TRY(history_read(&h, run_dir));
    l.most = history_most(&h, SIDE_LAYERS);
    int rc = mem_alloc(&l.rows, (size_t)(h.n * l.most), L_N * sizeof(double), "rows by layer");
    if (rc == OK)
        rc = history_turn(&h, SIDE_LAYERS, take_layers, &l);
    if (rc == OK) {
        *rows = l.rows;
        *n = h.n;
        *n_groups = l.most;
    } else {
        mem_free(l.rows);
    }
    history_release(&h);
    return rc;
}

/* ---- merging ---- */

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
    char name[COLUMN_NAME];
    snprintf(name, sizeof name, "/%s", m->name);
    for (int64_t i = 0; i < h->n; i++)
        buf[i] = h->row[i].v[column];
    TRY(h5x_make_dataset(file, name, H5T_IEEE_F64LE, 1, dims, m->help));
    if (h->n > 0)
        TRY(h5x_write_array(file, name, H5T_NATIVE_DOUBLE, buf));
    return put_unit(file, name, m->unit);
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

static void side_column_name(char name[COLUMN_NAME], enum side side, int column)
{
    snprintf(name, COLUMN_NAME, "/%s/%s", SIDES[side].name, SIDES[side].column[column].name);
}

static int make_columns(hid_t file, const struct history *h, enum side side)
{
    const hsize_t dims[2] = {(hsize_t)h->n, (hsize_t)history_most(h, side)};
    char name[COLUMN_NAME];
    for (int i = 0; dims[1] > 0 && i < SIDES[side].n_columns; i++) {
        side_column_name(name, side, i);
        TRY(h5x_make_dataset(file, name, H5T_IEEE_F64LE, 2, dims, SIDES[side].column[i].help));
        TRY(put_unit(file, name, SIDES[side].column[i].unit));
    }
    return OK;
}

/* Where one side's columns lie in the merged file. */
struct columns {
    const char *path;
    int fd;
    enum side side;
    int64_t most;
    int64_t offset[R_N + L_N];
};

static int find_columns(struct columns *c)
{
    hid_t file;
    struct h5x_array a;
    char name[COLUMN_NAME];
    int rc = OK;
    TRY(h5x_open(&file, c->path, false));
    for (int i = 0; rc == OK && i < SIDES[c->side].n_columns; i++) {
        side_column_name(name, c->side, i);
        rc = h5x_describe(file, name, &a);
        c->offset[i] = a.offset;
    }
    h5x_close(&file);
    return rc;
}

static int put_columns(void *ctx, int64_t first, int64_t n, int64_t room, const double *v)
{
    const struct columns *c = ctx;
    for (int i = 0; i < SIDES[c->side].n_columns; i++)
        TRY(fs_pwrite(c->fd, v + (int64_t)i * room * c->most,
                      (size_t)(n * c->most) * sizeof(double),
                      c->offset[i] + first * c->most * (int64_t)sizeof(double), c->path));
    return OK;
}

static int write_columns(const char *path, const struct history *h, enum side side)
{
    struct columns c = {.path = path, .side = side, .most = history_most(h, side)};
    if (c.most == 0 || h->n == 0)
        return OK;
    TRY(find_columns(&c));
    c.fd = open(path, O_WRONLY | O_CLOEXEC);
    if (c.fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
    int rc = history_turn(h, side, put_columns, &c);
    if (close(c.fd) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", path, strerror(errno));
    return rc;
}

/* ---- events ---- */

/* A member of the events as a dataset: text of its fixed length, or numbers. */
struct event_column {
    const char *name, *help;
    size_t at, size;
    char type; /* i: whole number, f: number, s: text */
};
#define EVENT(member, type, help)                                                                  \
    {                                                                                              \
        "/events/" #member, help, offsetof(struct event, member),                                  \
            sizeof(((struct event *)0)->member), type                                              \
    }
static const struct event_column EVENT_COLUMNS[] = {
    EVENT(step, 'i', "the step in which it was seen, from 1"),
    EVENT(attempt, 'i', "how often the run had been resumed"),
    EVENT(kind, 's', "the detector"),
    EVENT(action, 's', "what was done"),
    EVENT(value, 'f', "what the detector judged by"),
    EVENT(sample_first, 'i', "first sample concerned, its place in the training order"),
    EVENT(sample_n, 'i', "samples concerned"),
    EVENT(order_seed, 'i', "seed of the training order"),
    EVENT(order_n, 'i', "samples of the training split, 0: not known"),
    EVENT(text, 's', "what was seen and what to do"),
};

static int put_event_column(hid_t file, const struct event_column *c, const struct event *list,
                            size_t n, char *buf)
{
    const hsize_t dims[1] = {n};
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, c->size);
    for (size_t i = 0; i < n; i++)
        memcpy(buf + i * c->size, (const char *)&list[i] + c->at, c->size);
    int rc = h5x_put_array(file, c->name,
                           c->type == 's'   ? text
                           : c->type == 'i' ? H5T_NATIVE_INT64
                                            : H5T_NATIVE_DOUBLE,
                           1, dims, buf, c->help);
    H5Tclose(text);
    return rc;
}

/* One list after the other. */
static int put_event_ids(hid_t file, const struct event *list, size_t n)
{
    uint64_t *id;
    hsize_t n_ids[1] = {0};
    for (size_t i = 0; i < n; i++)
        n_ids[0] += event_n_ids(&list[i]);
    if (n_ids[0] == 0)
        return OK;
    TRY(mem_alloc(&id, n_ids[0], sizeof *id, "ids of samples"));
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < event_n_ids(&list[i]); k++)
            id[at++] = event_sample_id(&list[i], k);
    int rc = h5x_put_array(file, "/events/sample_ids", H5T_NATIVE_UINT64, 1, n_ids, id,
                           "which samples they are, event by event; of events of more than 4096, "
                           "or of an order that is not known, none");
    mem_free(id);
    return rc;
}

static int put_events(hid_t file, const char *run_dir)
{
    struct event *list;
    size_t n;
    char *buf = NULL;
    TRY(events_read(run_dir, &list, &n, NULL));
    int rc = n > 0 ? mem_alloc(&buf, n, sizeof *list, "events") : OK;
    for (size_t i = 0; n > 0 && rc == OK && i < sizeof EVENT_COLUMNS / sizeof *EVENT_COLUMNS; i++)
        rc = put_event_column(file, &EVENT_COLUMNS[i], list, n, buf);
    if (rc == OK)
        rc = put_event_ids(file, list, n);
    mem_free(buf);
    mem_free(list);
    return rc;
}

static int write_merged(const char *temp, const char *run_dir, const struct history *h)
{
    hid_t file;
    TRY(h5x_create(&file, temp));
    int rc = put_step_columns(file, h);
    for (int i = 0; rc == OK && i < N_SIDES; i++)
        rc = make_columns(file, h, (enum side)i);
    if (rc == OK)
        rc = put_events(file, run_dir);
    int closed = h5x_close(&file);
    TRY(rc);
    TRY(closed);
    TRY(h5x_reserve(temp, "metrics.reserve"));
    for (int i = 0; i < N_SIDES; i++)
        TRY(write_columns(temp, h, (enum side)i));
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
    int rc = write_merged(temp, run_dir, &h);
    if (rc == OK)
        rc = fs_rename(temp, path);
    if (rc != OK)
        unlink(temp);
    history_release(&h);
    return rc;
}
