#include "safetensors_format.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/mem.h"
#include "io/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 18 /* numbers */ };

struct writer {
    const struct st_row *rows;
    size_t *order; /* the rows of this file, in the order of their data */
    size_t n;
    struct st_source source;
    const char *path;
    int fd;
    int64_t at;
    float *values;    /* CHUNK */
    uint16_t *halves; /* CHUNK */
};

static int check_row(const struct st_row *row)
{
    struct st_row copy = *row;
    uint64_t bytes;
    if (row->dtype != ST_F32 && row->dtype != ST_F16 && row->dtype != ST_BF16)
        return ERR(E_BUG, "%s: dtype %d cannot be written", row->name, (int)row->dtype);
    if (row->n_dims < 0 || row->n_dims > ST_MAX_DIMS)
        return ERR(E_BUG, "%s: %d dimensions", row->name, row->n_dims);
    if (strcmp(row->name, ST_METADATA) == 0)
        return ERR(E_BUG, "a tensor cannot be called " ST_METADATA);
    int rc = st_count_row(&copy, &bytes);
    return rc == OK ? OK : err_context(rc, "%s", row->name);
}

/* Elements of a row that check_row has passed: the writer's rows need not have n set. */
static uint64_t n_elements(const struct st_row *row)
{
    uint64_t n = 1;
    for (int i = 0; i < row->n_dims; i++)
        n *= row->shape[i];
    return n;
}

static uint64_t n_bytes(const struct st_row *row)
{
    return n_elements(row) * st_dtype_bytes(row->dtype);
}

static json_t *row_entry(const struct st_row *row, uint64_t at)
{
    uint64_t end = at + n_bytes(row);
    json_t *shape = json_array();
    for (int i = 0; i < row->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)row->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", st_dtype_name(row->dtype), "shape", shape,
                     "data_offsets", (json_int_t)at, (json_int_t)end);
}

/* The header's JSON text, padded with spaces to a multiple of 8; free() it. */
static int header_text(const struct writer *w, char **text, size_t *n)
{
    json_t *header = json_pack("{s:{s:s}}", ST_METADATA, "format", "pt");
    uint64_t at = 0;
    int rc = OK;
    *text = NULL;
    for (size_t i = 0; i < w->n && rc == OK; i++) {
        const struct st_row *row = &w->rows[w->order[i]];
        if (json_object_get(header, row->name) != NULL)
            rc = ERR(E_BUG, "two tensors are called \"%s\"", row->name);
        else if (json_object_set_new(header, row->name, row_entry(row, at)) != 0)
            rc = ERR(E_BUG, "\"%s\" cannot be a tensor's name", row->name);
        at += n_bytes(row);
    }
    char *bare = rc == OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    TRY(rc);
    if (bare == NULL)
        return ERR(E_MEM, "no memory for the header");
    *n = (strlen(bare) + 7) / 8 * 8;
    *text = realloc(bare, *n + 1);
    if (*text == NULL) {
        free(bare);
        return ERR(E_MEM, "no memory for the header");
    }
    size_t len = strlen(*text);
    memset(*text + len, ' ', *n - len);
    (*text)[*n] = '\0';
    return OK;
}

static int put(struct writer *w, const void *data, size_t n)
{
    TRY(fs_pwrite(w->fd, data, n, w->at, w->path));
    w->at += (int64_t)n;
    return OK;
}

/* The first finite value that its 16-bit type has turned infinite, or n. */
static size_t find_overflow(const float *x, const uint16_t *h, size_t n, uint16_t infinity)
{
    for (size_t i = 0; i < n; i++)
        if ((h[i] & 0x7fffu) == infinity && isfinite(x[i]))
            return i;
    return n;
}

static int put_values(struct writer *w, const struct st_row *row, size_t n)
{
    if (row->dtype == ST_F32)
        return put(w, w->values, n * sizeof *w->values);
    if (row->dtype == ST_BF16)
        bf16_narrow(w->halves, w->values, n);
    else
        f16_narrow(w->halves, w->values, n);
    size_t bad = find_overflow(w->values, w->halves, n, row->dtype == ST_BF16 ? 0x7f80 : 0x7c00);
    if (bad < n)
        return ERR(E_DATA, "tensor \"%s\": %g is too large for %s", row->name,
                   (double)w->values[bad], st_dtype_name(row->dtype));
    return put(w, w->halves, n * sizeof *w->halves);
}

static int put_row(struct writer *w, size_t index)
{
    const struct st_row *row = &w->rows[index];
    uint64_t n = n_elements(row);
    for (uint64_t done = 0; done < n;) {
        size_t part = (size_t)(n - done < CHUNK ? n - done : CHUNK);
        TRY(w->source.fill(w->source.ctx, index, done, part, w->values));
        TRY(put_values(w, row, part));
        done += part;
    }
    return OK;
}

static int put_file(struct writer *w)
{
    char *text;
    size_t n;
    TRY(header_text(w, &text, &n));
    uint64_t length = n;
    int rc = put(w, &length, sizeof length);
    if (rc == OK)
        rc = put(w, text, n);
    free(text);
    for (size_t i = 0; i < w->n && rc == OK; i++)
        rc = put_row(w, w->order[i]);
    return rc;
}

/* Creates the temporary file, writes it, makes it durable. */
static int write_temp(struct writer *w, const char *temp)
{
    w->fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return ERR(E_IO, "%s: cannot create: %s", temp, strerror(errno));
    int rc = put_file(w);
    if (close(w->fd) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", temp, strerror(errno));
    return rc == OK ? fs_fsync(temp) : rc;
}

static int write_file(const char *path, struct writer *w)
{
    char temp[FS_PATH_MAX];
    int rc;
    if (snprintf(temp, sizeof temp, "%s.tmp.%ld", path, (long)getpid()) >= (int)sizeof temp)
        return ERR(E_CONFIG, "%.60s...: the path is too long", path);
    w->path = path;
    w->at = 0;
    w->values = NULL;
    w->halves = NULL;
    TRY_OUT(mem_alloc(&w->values, CHUNK, sizeof *w->values, "safetensors numbers"));
    TRY_OUT(mem_alloc(&w->halves, CHUNK, sizeof *w->halves, "safetensors numbers"));
    TRY_OUT(write_temp(w, temp));
    TRY_OUT(fs_rename(temp, path));
out:
    if (rc != OK)
        unlink(temp);
    mem_free(w->values);
    mem_free(w->halves);
    return rc;
}

/* Rows first … end-1 as one file. Wider types come first, so that every tensor is aligned. */
static int write_range(const char *path, const struct st_row *rows, size_t first, size_t end,
                       struct st_source source)
{
    struct writer w = {.rows = rows, .source = source};
    TRY(mem_alloc(&w.order, end - first, sizeof *w.order, "safetensors order"));
    for (size_t bytes = 4; bytes >= 2; bytes -= 2)
        for (size_t i = first; i < end; i++)
            if (st_dtype_bytes(rows[i].dtype) == bytes)
                w.order[w.n++] = i;
    int rc = write_file(path, &w);
    mem_free(w.order);
    return rc;
}

int st_write(const char *path, const struct st_row *rows, size_t n_rows, struct st_source source)
{
    for (size_t i = 0; i < n_rows; i++)
        TRY(check_row(&rows[i]));
    return write_range(path, rows, 0, n_rows, source);
}

/* The row behind the shard that begins at first. */
static size_t shard_end(const struct st_row *rows, size_t n_rows, size_t first, uint64_t max)
{
    uint64_t bytes = 0;
    size_t i = first;
    for (; i < n_rows; i++) {
        uint64_t more = n_bytes(&rows[i]);
        if (i > first && max > 0 && (more > max || bytes > max - more))
            break;
        bytes += more;
    }
    return i;
}

static size_t count_shards(const struct st_row *rows, size_t n_rows, uint64_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < n_rows; n++)
        i = shard_end(rows, n_rows, i, max);
    return n;
}

/* Weights in the other form would be read in place of these, or beside them. */
static int refuse_other_form(const char *folder, const char *other)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, folder, other));
    if (fs_exists(path))
        return ERR(E_CONFIG, "%s: is in the way; write to an empty folder", path);
    return OK;
}

static int write_index(const char *folder, json_t *map, uint64_t bytes)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, folder, ST_INDEX));
    json_t *index =
        json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    char *text = index == NULL ? NULL : json_dumps(index, JSON_INDENT(2));
    json_decref(index);
    if (text == NULL)
        return ERR(E_MEM, "no memory for the index");
    int rc = fs_write_file(path, text, strlen(text));
    free(text);
    return rc;
}

/* All shards, then the index: until it is there, the folder holds no model. */
static int write_shards(const char *folder, const struct st_row *rows, size_t n_rows, uint64_t max,
                        struct st_source source, json_t *map)
{
    size_t n_shards = count_shards(rows, n_rows, max), first = 0;
    uint64_t bytes = 0;
    for (size_t k = 1; k <= n_shards; k++) {
        char name[64], path[FS_PATH_MAX];
        size_t end = shard_end(rows, n_rows, first, max);
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", k, n_shards);
        TRY(fs_join(path, folder, name));
        TRY(write_range(path, rows, first, end, source));
        for (; first < end; first++) {
            bytes += n_bytes(&rows[first]);
            if (json_object_get(map, rows[first].name) != NULL)
                return ERR(E_BUG, "two tensors are called \"%s\"", rows[first].name);
            if (json_object_set_new(map, rows[first].name, json_string(name)) != 0)
                return ERR(E_MEM, "no memory for the index");
        }
    }
    return write_index(folder, map, bytes);
}

int st_write_folder(const char *folder, const struct st_row *rows, size_t n_rows,
                    uint64_t max_shard_bytes, struct st_source source)
{
    char path[FS_PATH_MAX];
    for (size_t i = 0; i < n_rows; i++)
        TRY(check_row(&rows[i]));
    TRY(fs_mkdirs(folder));
    if (count_shards(rows, n_rows, max_shard_bytes) <= 1) {
        TRY(refuse_other_form(folder, ST_INDEX));
        TRY(fs_join(path, folder, ST_SINGLE));
        return write_range(path, rows, 0, n_rows, source);
    }
    TRY(refuse_other_form(folder, ST_SINGLE));
    json_t *map = json_object();
    if (map == NULL)
        return ERR(E_MEM, "no memory for the index");
    int rc = write_shards(folder, rows, n_rows, max_shard_bytes, source, map);
    json_decref(map);
    return rc;
}
