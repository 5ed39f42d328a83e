#include "metrics_parts.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/h5x.h"
#include "par/agree.h"
#include "par/shard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILL = 1 << 14, RANKS_MAX = 1 << 22, N_ARRAYS = 2 };

int segment_folder(char *path, const char *run_dir)
{
    return fs_join(path, run_dir, "metrics");
}

int segment_path(char *path, const char *run_dir, int64_t attempt, int64_t n)
{
    char name[64];
    snprintf(name, sizeof name, "seg-%04lld-%04lld.h5", (long long)attempt, (long long)n);
    TRY(segment_folder(path, run_dir));
    return fs_join(path, path, name);
}

/* ---- listing ---- */

static bool parse_name(const char *name, struct segment *s)
{
    int used = 0;
    long long attempt, n;
    if (sscanf(name, "seg-%lld-%lld.h5%n", &attempt, &n, &used) != 2 || used == 0 ||
        name[used] != '\0' || attempt < 0 || n < 0)
        return false;
    *s = (struct segment){.attempt = attempt, .n = n};
    return true;
}

static int by_age(const void *a, const void *b)
{
    const struct segment *p = a, *q = b;
    if (p->attempt != q->attempt)
        return p->attempt < q->attempt ? -1 : 1;
    return (p->n > q->n) - (p->n < q->n);
}

static int append(struct segment **list, size_t *n, size_t *cap, const struct segment *s)
{
    if (*n == *cap) {
        struct segment *more;
        size_t room = *cap > 0 ? 2 * *cap : 8;
        TRY(mem_alloc(&more, room, sizeof *more, "metrics segments"));
        if (*n > 0)
            memcpy(more, *list, *n * sizeof *more);
        mem_free(*list);
        *list = more;
        *cap = room;
    }
    (*list)[(*n)++] = *s;
    return OK;
}

int segment_list(const char *run_dir, struct segment **list, size_t *n)
{
    char folder[FS_PATH_MAX];
    size_t cap = 0;
    int rc = OK;
    *list = NULL;
    *n = 0;
    TRY(segment_folder(folder, run_dir));
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return errno == ENOENT ? OK : ERR(E_IO, "%s: cannot list it: %s", folder, strerror(errno));
    for (const struct dirent *e; rc == OK && (e = readdir(dir)) != NULL;) {
        struct segment s;
        if (!parse_name(e->d_name, &s))
            continue;
        rc = fs_join(s.path, folder, e->d_name);
        if (rc == OK)
            rc = append(list, n, &cap, &s);
    }
    closedir(dir);
    if (rc != OK)
        MEM_FREE(*list);
    else if (*n > 0)
        qsort(*list, *n, sizeof **list, by_age);
    return rc;
}

int segment_clean(const char *run_dir)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX];
    TRY(segment_folder(folder, run_dir));
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return ERR(E_IO, "%s: cannot list it: %s", folder, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strncmp(e->d_name, "seg-", 4) == 0 && strstr(e->d_name, ".h5.tmp-") != NULL &&
            fs_join(path, folder, e->d_name) == OK)
            unlink(path);
    closedir(dir);
    return OK;
}

/* ---- opening ---- */

static int read_layout(struct segment *s, hid_t file)
{
    char kind[32];
    int64_t format;
    struct h5x_array step, rank;
    TRY(h5x_get_text(file, "kind", kind, sizeof kind));
    TRY(h5x_get_i64(file, "format", &format));
    if (strcmp(kind, METRICS_KIND) != 0 || format != METRICS_FORMAT)
        return ERR(E_DATA, "not a segment of metrics in format %d", METRICS_FORMAT);
    TRY(h5x_describe(file, "/step", &step));
    TRY(h5x_describe(file, "/ranks", &rank));
    bool good = step.class == H5T_FLOAT && step.elem_bytes == sizeof(double) &&
                rank.class == H5T_FLOAT && rank.elem_bytes == sizeof(double) && step.n_dims == 2 &&
                rank.n_dims == 3 && step.dims[1] == STEP_WIDTH && rank.dims[2] == RANK_WIDTH &&
                step.dims[0] == rank.dims[0] && step.n > 0 && rank.n > 0 &&
                rank.dims[1] <= RANKS_MAX;
    if (!good)
        return ERR(E_DATA, "its arrays are not those of a segment of metrics");
    s->rows = (int64_t)step.dims[0];
    s->ranks = (int64_t)rank.dims[1];
    s->step_at = step.offset;
    s->rank_at = rank.offset;
    return OK;
}

int segment_open(struct segment *s)
{
    hid_t file;
    TRY(h5x_open(&file, s->path, false));
    int rc = read_layout(s, file);
    if (rc != OK)
        err_context(rc, "%s", s->path);
    h5x_close(&file);
    return rc;
}

/* ---- creation ---- */

static int make_arrays(void *ctx, hid_t file)
{
    const struct segment *s = ctx;
    const hsize_t step[2] = {(hsize_t)s->rows, STEP_WIDTH};
    const hsize_t rank[3] = {(hsize_t)s->rows, (hsize_t)s->ranks, RANK_WIDTH};
    TRY(h5x_make_dataset(file, "/step", H5T_IEEE_F64LE, 2, step, NULL));
    return h5x_make_dataset(file, "/ranks", H5T_IEEE_F64LE, 3, rank, NULL);
}

/* Names and units of the columns, separated by commas, as attributes of a dataset. */
static int put_columns(hid_t file, const char *dataset, const char *before,
                       const struct metric_column *column, int n)
{
    struct str names = {0}, units = {0};
    for (int i = 0; i < n; i++) {
        str_addf(&names, "%s%s", i > 0 ? "," : before, column[i].name);
        str_addf(&units, "%s%s", i > 0 ? "," : *before ? "1,1," : "", column[i].unit);
    }
    str_add(&names, ",crc32c");
    str_add(&units, ",1");
    hid_t d = H5Dopen2(file, dataset, H5P_DEFAULT);
    int rc = d < 0 ? h5x_error(E_IO, "%s: cannot open", dataset) : OK;
    if (rc == OK)
        rc = h5x_put_text(d, "columns", names.s);
    if (rc == OK)
        rc = h5x_put_text(d, "units", units.s);
    if (d >= 0)
        H5Dclose(d);
    str_release(&names);
    str_release(&units);
    return rc;
}

static int put_attributes(hid_t file, const struct segment *s)
{
    TRY(h5x_put_text(file, "kind", METRICS_KIND));
    TRY(h5x_put_i64(file, "format", METRICS_FORMAT));
    TRY(h5x_put_i64(file, "attempt", s->attempt));
    TRY(h5x_put_i64(file, "segment", s->n));
    TRY(put_columns(file, "/step", "", METRIC_COLUMNS, M_N));
    return put_columns(file, "/ranks", "step,attempt,", RANK_COLUMNS, R_N);
}

/* Root's: attributes, places, and the disk's promise. */
static int describe(struct segment *s, const char *temp)
{
    hid_t file;
    TRY(h5x_open(&file, temp, true));
    int rc = put_attributes(file, s);
    if (rc == OK)
        rc = read_layout(s, file);
    int closed = h5x_close(&file);
    TRY(rc);
    TRY(closed);
    return h5x_reserve(temp, "metrics.reserve");
}

static int fill_range(int fd, int64_t at, struct range doubles, const double *nan, const char *temp)
{
    while (doubles.n > 0) {
        size_t n = doubles.n < FILL ? doubles.n : FILL;
        TRY(fs_pwrite(fd, nan, n * sizeof(double), at + (int64_t)(doubles.first * sizeof(double)),
                      temp));
        doubles.first += n;
        doubles.n -= n;
    }
    return OK;
}

/* This rank's share of both arrays becomes NaN: by own writes, whose failures are seen. */
static int fill(const struct comm *c, const struct segment *s, const char *temp)
{
    static double nan[FILL];
    size_t steps = (size_t)s->rows * STEP_WIDTH;
    size_t ranks = (size_t)s->rows * (size_t)s->ranks * RANK_WIDTH;
    for (int i = 0; i < FILL; i++)
        nan[i] = NAN;
    int fd = open(temp, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", temp, strerror(errno));
    int rc = fill_range(fd, s->step_at, split_even(steps, c->size, c->rank), nan, temp);
    if (rc == OK)
        rc = fill_range(fd, s->rank_at, split_even(ranks, c->size, c->rank), nan, temp);
    if (rc == OK && fsync(fd) != 0)
        rc = ERR(E_IO, "%s: cannot fsync: %s", temp, strerror(errno));
    if (close(fd) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", temp, strerror(errno));
    return rc;
}

static int build(const struct comm *c, struct segment *s, const char *temp)
{
    TRY(h5x_build(c, temp, N_ARRAYS, make_arrays, s, "metrics.create"));
    int rc = c->rank == 0 ? describe(s, temp) : OK;
    TRY(agree_bcast(c, 0, rc, s, sizeof *s));
    TRY(agree(c, fill(c, s, temp)));
    return agree(c, c->rank == 0 ? fs_rename(temp, s->path) : OK);
}

int segment_create(const struct comm *c, struct segment *s, const char *run_dir, int64_t rows)
{
    char temp[FS_PATH_MAX] = "";
    s->rows = rows;
    s->ranks = c->size;
    int rc = segment_path(s->path, run_dir, s->attempt, s->n);
    if (rc == OK &&
        snprintf(temp, sizeof temp, "%s.tmp-%ld", s->path, (long)getpid()) >= (int)sizeof temp)
        rc = ERR(E_CONFIG, "%.60s...: the path is too long", s->path);
    TRY(agree_bcast(c, 0, rc, temp, sizeof temp));
    rc = build(c, s, temp);
    if (rc != OK && c->rank == 0)
        unlink(temp);
    return rc;
}
