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

enum {
    FILL = 1 << 14,
    BESIDE_MAX = 1 << 22,
    WIDTH_MAX = 1024,
    NAMES_MAX = 1 << 16,
    N_ARRAYS = 2 + N_SIDES
};

const struct side_kind SIDES[N_SIDES] = {
    [SIDE_RANKS] = {"ranks", RANK_COLUMNS, R_N, SIDE_HEAD + R_N + 1},
    [SIDE_LAYERS] = {"layers", LAYER_COLUMNS, L_N, SIDE_HEAD + L_N + 1},
};

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

static int wrong_arrays(void)
{
    return ERR(E_DATA, "its arrays are not those of a segment of metrics");
}

static bool is_f64(const struct h5x_array *a, int n_dims)
{
    return a->class == H5T_FLOAT && a->elem_bytes == sizeof(double) && a->n_dims == n_dims &&
           a->n > 0;
}

/* The place of each column by the names in the file, which are separated by commas. */
static void find_columns(struct segment *s, const char *names)
{
    for (int i = 0; i < M_N; i++)
        s->column[i] = -1;
    for (int at = 0; *names != '\0'; at++) {
        size_t n = strcspn(names, ",");
        for (int i = 0; i < M_N; i++)
            if (strlen(METRIC_COLUMNS[i].name) == n &&
                memcmp(METRIC_COLUMNS[i].name, names, n) == 0 && at < s->step_width - 1)
                s->column[i] = at;
        names += n + (names[n] == ',');
    }
}

static int read_columns(struct segment *s, hid_t file)
{
    char *names;
    hid_t d = H5Dopen2(file, "/step", H5P_DEFAULT);
    if (d < 0)
        return h5x_error(E_DATA, "/step: cannot open");
    int rc = h5x_get_text_alloc(d, "columns", NAMES_MAX, &names);
    H5Dclose(d);
    TRY(rc);
    find_columns(s, names);
    mem_free(names);
    return s->column[M_STEP] >= 0 && s->column[M_ATTEMPT] >= 0 ? OK : wrong_arrays();
}

static int read_side(struct segment *s, hid_t file, enum side side)
{
    char name[32];
    struct h5x_array a;
    snprintf(name, sizeof name, "/%s", SIDES[side].name);
    s->n_beside[side] = 0;
    if (side != SIDE_RANKS && H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return OK;
    TRY(h5x_describe(file, name, &a));
    if (!is_f64(&a, 3) || a.dims[2] != (hsize_t)SIDES[side].width ||
        a.dims[0] != (hsize_t)s->rows || a.dims[1] > BESIDE_MAX)
        return wrong_arrays();
    s->n_beside[side] = (int64_t)a.dims[1];
    s->beside_at[side] = a.offset;
    return OK;
}

static int check_apart(const struct segment *s)
{
    const int64_t row = (int64_t)sizeof(double) * s->rows;
    struct h5x_place place[N_ARRAYS + 1] = {{"step", s->step_at, row * s->step_width}};
    size_t n = 1;
    for (int i = 0; i < N_SIDES; i++)
        if (s->n_beside[i] > 0)
            place[n++] = (struct h5x_place){SIDES[i].name, s->beside_at[i],
                                            row * s->n_beside[i] * SIDES[i].width};
    if (s->durable_at >= 0)
        place[n++] =
            (struct h5x_place){"durable", s->durable_at, (int64_t)sizeof(double) * DURABLE_WIDTH};
    return h5x_check_apart(place, n);
}

static int read_durable(struct segment *s, hid_t file)
{
    struct h5x_array a;
    s->durable_at = -1;
    if (H5Lexists(file, "/durable", H5P_DEFAULT) <= 0)
        return OK;
    TRY(h5x_describe(file, "/durable", &a));
    if (!is_f64(&a, 2) || a.dims[0] != 1 || a.dims[1] != DURABLE_WIDTH)
        return wrong_arrays();
    s->durable_at = a.offset;
    return OK;
}

/* Older files do not have it. */
static int read_path(struct segment *s, hid_t file)
{
    s->after = 0;
    s->path_hash[0] = '\0';
    if (!h5x_has_attr(file, "after") || !h5x_has_attr(file, "path"))
        return OK;
    TRY(h5x_get_i64(file, "after", &s->after));
    return h5x_get_text(file, "path", s->path_hash, sizeof s->path_hash);
}

static int read_layout(struct segment *s, hid_t file)
{
    char kind[32];
    int64_t format;
    struct h5x_array step;
    TRY(h5x_get_text(file, "kind", kind, sizeof kind));
    TRY(h5x_get_i64(file, "format", &format));
    if (strcmp(kind, METRICS_KIND) != 0 || format != METRICS_FORMAT)
        return ERR(E_DATA, "not a segment of metrics in format %d", METRICS_FORMAT);
    TRY(h5x_describe(file, "/step", &step));
    if (!is_f64(&step, 2) || step.dims[1] < 3 || step.dims[1] > WIDTH_MAX)
        return wrong_arrays();
    s->rows = (int64_t)step.dims[0];
    s->step_width = (int)step.dims[1];
    s->step_at = step.offset;
    TRY(read_path(s, file));
    TRY(read_columns(s, file));
    TRY(read_durable(s, file));
    for (int i = 0; i < N_SIDES; i++)
        TRY(read_side(s, file, (enum side)i));
    return check_apart(s);
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

bool segment_durable(const struct segment *s, int fd, int64_t *step, int64_t *attempt)
{
    double row[DURABLE_WIDTH];
    if (s->durable_at < 0 || fs_pread(fd, row, sizeof row, s->durable_at, s->path) != OK ||
        !metrics_is_sealed(row, DURABLE_WIDTH) || !metrics_is_count(row[0]) ||
        !metrics_is_count(row[1]))
        return false;
    *step = (int64_t)row[0];
    *attempt = (int64_t)row[1];
    return true;
}

int segment_put_durable(const struct segment *s, int fd, int64_t step, int64_t attempt)
{
    double row[DURABLE_WIDTH] = {(double)step, (double)attempt};
    metrics_seal(row, DURABLE_WIDTH);
    return fs_pwrite(fd, row, sizeof row, s->durable_at, s->path);
}

/* ---- creation ---- */

static int make_side(const struct segment *s, hid_t file, enum side side)
{
    char name[32];
    const hsize_t dims[3] = {(hsize_t)s->rows, (hsize_t)s->n_beside[side],
                             (hsize_t)SIDES[side].width};
    snprintf(name, sizeof name, "/%s", SIDES[side].name);
    return dims[1] > 0 ? h5x_make_dataset(file, name, H5T_IEEE_F64LE, 3, dims, NULL) : OK;
}

static int make_arrays(void *ctx, hid_t file)
{
    const struct segment *s = ctx;
    const hsize_t step[2] = {(hsize_t)s->rows, STEP_WIDTH}, durable[2] = {1, DURABLE_WIDTH};
    TRY(h5x_make_dataset(file, "/step", H5T_IEEE_F64LE, 2, step, NULL));
    TRY(h5x_make_dataset(file, "/durable", H5T_IEEE_F64LE, 2, durable,
                         "step, attempt, crc32c: up to which all rows are on the disk"));
    for (int i = 0; i < N_SIDES; i++)
        TRY(make_side(s, file, (enum side)i));
    return OK;
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
    TRY(h5x_put_i64(file, "after", s->after));
    TRY(h5x_put_text(file, "path", s->path_hash));
    TRY(put_columns(file, "/step", "", METRIC_COLUMNS, M_N));
    for (int i = 0; i < N_SIDES; i++)
        if (s->n_beside[i] > 0)
            TRY(put_columns(file, SIDES[i].name, "step,attempt,", SIDES[i].column,
                            SIDES[i].n_columns));
    return OK;
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

/* This rank's share of all arrays becomes NaN: by own writes, whose failures are seen. */
static int fill(const struct comm *c, const struct segment *s, const char *temp)
{
    static double nan[FILL];
    size_t steps = (size_t)s->rows * STEP_WIDTH;
    for (int i = 0; i < FILL; i++)
        nan[i] = NAN;
    int fd = open(temp, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", temp, strerror(errno));
    int rc = fill_range(fd, s->step_at, split_even(steps, c->size, c->rank), nan, temp);
    for (int i = 0; i < N_SIDES && rc == OK; i++) {
        size_t n = (size_t)(s->rows * s->n_beside[i] * SIDES[i].width);
        rc = fill_range(fd, s->beside_at[i], split_even(n, c->size, c->rank), nan, temp);
    }
    if (rc == OK)
        rc = fill_range(fd, s->durable_at, split_even(DURABLE_WIDTH, c->size, c->rank), nan, temp);
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

int segment_create(const struct comm *c, struct segment *s, const char *run_dir)
{
    char temp[FS_PATH_MAX] = "";
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
