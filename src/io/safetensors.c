#include "io/safetensors.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/mem.h"
#include "io/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the data are read as they lie");

enum { LENGTH_BYTES = 8, NAME_SHOWN = 120, CHUNK = 1 << 18 /* numbers */ };
#define HEADER_MAX 100000000 /* the format's own limit */
#define METADATA   "__metadata__"
#define SINGLE     "model.safetensors"
#define INDEX      "model.safetensors.index.json"

struct st_shard {
    int fd;
    char path[FS_PATH_MAX];
    json_t *header; /* keeps the rows' names */
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[ST_N_DTYPES] = {
    [ST_F32] = {"F32", 4},         [ST_F16] = {"F16", 2},         [ST_BF16] = {"BF16", 2},
    [ST_F64] = {"F64", 8},         [ST_C64] = {"C64", 8},         [ST_F8_E4M3] = {"F8_E4M3", 1},
    [ST_F8_E5M2] = {"F8_E5M2", 1}, [ST_F8_E8M0] = {"F8_E8M0", 1}, [ST_I64] = {"I64", 8},
    [ST_I32] = {"I32", 4},         [ST_I16] = {"I16", 2},         [ST_I8] = {"I8", 1},
    [ST_U64] = {"U64", 8},         [ST_U32] = {"U32", 4},         [ST_U16] = {"U16", 2},
    [ST_U8] = {"U8", 1},           [ST_BOOL] = {"BOOL", 1},
};

const char *st_dtype_name(enum st_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t st_dtype_bytes(enum st_dtype dtype)
{
    return dtypes[dtype].bytes;
}

/* The header. */

static int parse_dtype(const json_t *v, struct st_row *row)
{
    const char *name = json_string_value(v);
    if (name == NULL)
        return ERR(E_DATA, "\"dtype\" is missing or no string");
    for (int i = 0; i < ST_N_DTYPES; i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            row->dtype = (enum st_dtype)i;
            return OK;
        }
    return ERR(E_DATA, "unknown dtype \"%.*s\"", NAME_SHOWN, name);
}

/* A whole number that is not negative. */
static bool get_u64(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* Elements and bytes of a row from its shape. */
static int count_row(struct st_row *row, uint64_t *bytes)
{
    row->n = 1;
    for (int i = 0; i < row->n_dims; i++)
        if (__builtin_mul_overflow(row->n, row->shape[i], &row->n))
            return ERR(E_DATA, "its shape overflows");
    if (__builtin_mul_overflow(row->n, (uint64_t)dtypes[row->dtype].bytes, bytes))
        return ERR(E_DATA, "its shape overflows");
    return OK;
}

static int parse_shape(const json_t *v, struct st_row *row)
{
    if (!json_is_array(v))
        return ERR(E_DATA, "\"shape\" is missing or no array");
    if (json_array_size(v) > ST_MAX_DIMS)
        return ERR(E_DATA, "more than %d dimensions", ST_MAX_DIMS);
    row->n_dims = (int)json_array_size(v);
    for (int i = 0; i < row->n_dims; i++)
        if (!get_u64(json_array_get(v, (size_t)i), &row->shape[i]))
            return ERR(E_DATA, "a dimension is no whole number");
    return OK;
}

/* One tensor's entry; row->offset counts from the start of the data. */
static int parse_row(const json_t *v, uint64_t data_bytes, struct st_row *row)
{
    uint64_t begin, end, bytes;
    if (!json_is_object(v))
        return ERR(E_DATA, "its entry is no object");
    TRY(parse_dtype(json_object_get(v, "dtype"), row));
    TRY(parse_shape(json_object_get(v, "shape"), row));
    TRY(count_row(row, &bytes));
    const json_t *range = json_object_get(v, "data_offsets");
    if (json_array_size(range) != 2 || !get_u64(json_array_get(range, 0), &begin) ||
        !get_u64(json_array_get(range, 1), &end))
        return ERR(E_DATA, "\"data_offsets\" is missing or no pair of whole numbers");
    if (begin > end)
        return ERR(E_DATA, "begins at %" PRIu64 ", behind its end at %" PRIu64, begin, end);
    if (end > data_bytes)
        return ERR(E_DATA, "ends at byte %" PRIu64 " of %" PRIu64, end, data_bytes);
    if (end - begin != bytes)
        return ERR(E_DATA, "has %" PRIu64 " bytes; its shape and dtype make %" PRIu64, end - begin,
                   bytes);
    row->offset = (int64_t)begin;
    return OK;
}

static uint64_t row_bytes(const struct st_row *row)
{
    return row->n * dtypes[row->dtype].bytes;
}

static int by_offset(const void *a, const void *b)
{
    const struct st_row *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    /* An empty tensor comes before the one that begins where it ends. */
    return (row_bytes(x) > 0) - (row_bytes(y) > 0);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct st_row *)a)->name, ((const struct st_row *)b)->name);
}

/* The data are covered once, without holes. */
static int check_cover(struct st_row *rows, size_t n_rows, uint64_t data_bytes)
{
    uint64_t at = 0;
    if (n_rows > 0)
        qsort(rows, n_rows, sizeof *rows, by_offset);
    for (size_t i = 0; i < n_rows; i++) {
        uint64_t begin = (uint64_t)rows[i].offset;
        if (begin != at)
            return ERR(E_DATA, "tensor \"%.*s\" %s the one before it", NAME_SHOWN, rows[i].name,
                       begin < at ? "overlaps" : "leaves a hole behind");
        at = begin + row_bytes(&rows[i]);
    }
    if (at != data_bytes)
        return ERR(E_DATA, "the tensors end at byte %" PRIu64 " of %" PRIu64, at, data_bytes);
    return OK;
}

static int parse_rows(json_t *header, uint64_t data_bytes, struct st_row *rows, size_t *n_rows)
{
    const char *name;
    json_t *v;
    json_object_foreach(header, name, v)
    {
        if (strcmp(name, METADATA) == 0)
            continue;
        struct st_row *row = &rows[(*n_rows)++];
        row->name = name;
        int rc = parse_row(v, data_bytes, row);
        if (rc != OK)
            return err_context(rc, "tensor \"%.*s\"", NAME_SHOWN, name);
    }
    return check_cover(rows, *n_rows, data_bytes);
}

/* The header's JSON and the bytes of data behind it. */
static int read_header(struct st_shard *s, uint64_t *header_bytes, uint64_t *data_bytes)
{
    struct stat info;
    if (fstat(s->fd, &info) != 0)
        return ERR(E_IO, "%s: %s", s->path, strerror(errno));
    if (!S_ISREG(info.st_mode) || info.st_size < LENGTH_BYTES)
        return ERR(E_DATA, "%s: too short for a safetensors file", s->path);
    uint64_t rest = (uint64_t)info.st_size - LENGTH_BYTES, n;
    TRY(fs_pread(s->fd, &n, sizeof n, 0, s->path));
    if (n > HEADER_MAX || n > rest)
        return ERR(E_DATA, "%s: its header claims %" PRIu64 " bytes; %" PRIu64 " follow", s->path,
                   n, rest);
    char *text;
    TRY(mem_alloc(&text, (size_t)n + 1, 1, "safetensors header"));
    int rc = fs_pread(s->fd, text, (size_t)n, LENGTH_BYTES, s->path);
    if (rc == OK && text[0] != '{')
        rc = ERR(E_DATA, "%s: its header does not begin with '{'", s->path);
    if (rc == OK)
        rc = json_parse(text, (size_t)n, s->path, &s->header);
    mem_free(text);
    *header_bytes = n;
    *data_bytes = rest - n;
    return rc;
}

/* Puts more rows behind the ones there are. */
static int add_rows(struct st *st, size_t n_more)
{
    struct st_row *rows;
    TRY(mem_alloc(&rows, st->n_rows + n_more, sizeof *rows, "safetensors rows"));
    if (st->n_rows > 0)
        memcpy(rows, st->rows, st->n_rows * sizeof *rows);
    mem_free(st->rows);
    st->rows = rows;
    return OK;
}

/* Opens st->shards[i]; its rows go behind the others'. */
static int open_shard(struct st *st, size_t i, const char *path)
{
    struct st_shard *s = &st->shards[i];
    uint64_t header_bytes, data_bytes;
    size_t n_rows = 0;
    if (strlen(path) >= sizeof s->path)
        return ERR(E_CONFIG, "%.60s...: the path is too long", path);
    strcpy(s->path, path);
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return ERR(errno == ENOENT || errno == ENOTDIR ? E_DATA : E_IO, "%s: cannot open: %s", path,
                   strerror(errno));
    TRY(read_header(s, &header_bytes, &data_bytes));
    TRY(add_rows(st, json_object_size(s->header)));
    struct st_row *rows = st->rows + st->n_rows;
    int rc = parse_rows(s->header, data_bytes, rows, &n_rows);
    if (rc != OK)
        return err_context(rc, "%s", path);
    for (size_t k = 0; k < n_rows; k++) {
        rows[k].shard = i;
        rows[k].offset += (int64_t)(LENGTH_BYTES + header_bytes);
    }
    st->n_rows += n_rows;
    return OK;
}

static int alloc_shards(struct st *st, size_t n)
{
    *st = (struct st){0};
    TRY(mem_alloc(&st->shards, n, sizeof *st->shards, "safetensors shards"));
    st->n_shards = n;
    for (size_t i = 0; i < n; i++)
        st->shards[i].fd = -1;
    return OK;
}

/* Sorts all rows for st_find; a name in two shards has no meaning. */
static int sort_rows(struct st *st)
{
    if (st->n_rows > 0)
        qsort(st->rows, st->n_rows, sizeof *st->rows, by_name);
    for (size_t i = 1; i < st->n_rows; i++)
        if (strcmp(st->rows[i - 1].name, st->rows[i].name) == 0)
            return ERR(E_DATA, "%s and %s both hold tensor \"%.*s\"",
                       st->shards[st->rows[i - 1].shard].path, st->shards[st->rows[i].shard].path,
                       NAME_SHOWN, st->rows[i].name);
    return OK;
}

int st_open(struct st *st, const char *path)
{
    int rc;
    TRY(alloc_shards(st, 1));
    TRY_OUT(open_shard(st, 0, path));
    TRY_OUT(sort_rows(st));
out:
    if (rc != OK)
        st_close(st);
    return rc;
}

void st_close(struct st *st)
{
    for (size_t i = 0; i < st->n_shards; i++) {
        if (st->shards[i].fd >= 0)
            close(st->shards[i].fd);
        json_decref(st->shards[i].header);
    }
    mem_free(st->shards);
    mem_free(st->rows);
    *st = (struct st){0};
}

/* The index. */

/* A shard is a plain name in the index's own folder. */
static bool shard_name_ok(const char *name)
{
    return *name != '\0' && strchr(name, '/') == NULL && strstr(name, "..") == NULL;
}

/* The distinct shard names of a weight_map, as the keys of a new object with their numbers. */
static int number_shards(json_t *map, json_t **numbers)
{
    const char *tensor;
    json_t *v;
    if ((*numbers = json_object()) == NULL)
        return ERR(E_MEM, "no memory for the index");
    json_object_foreach(map, tensor, v)
    {
        const char *name = json_string_value(v);
        if (name == NULL || !shard_name_ok(name))
            return ERR(E_DATA, "tensor \"%.*s\" is in \"%.*s\", which is no file name", NAME_SHOWN,
                       tensor, NAME_SHOWN, name == NULL ? "" : name);
        if (json_object_get(*numbers, name) != NULL)
            continue;
        json_int_t next = (json_int_t)json_object_size(*numbers);
        if (json_object_set_new(*numbers, name, json_integer(next)) != 0)
            return ERR(E_MEM, "no memory for the index");
    }
    return OK;
}

/* Every tensor of the index is in the shard it says. */
static int check_map(const struct st *st, json_t *map, const json_t *numbers)
{
    const char *tensor;
    json_t *v;
    json_object_foreach(map, tensor, v)
    {
        const char *shard = json_string_value(v);
        const struct st_row *row = st_find(st, tensor);
        size_t want = (size_t)json_integer_value(json_object_get(numbers, shard));
        if (row == NULL || row->shard != want)
            return ERR(E_DATA, "tensor \"%.*s\" is not in %s", NAME_SHOWN, tensor, shard);
    }
    return OK;
}

static int open_all(struct st *st, const char *folder, json_t *numbers)
{
    char path[FS_PATH_MAX];
    const char *name;
    json_t *number;
    TRY(alloc_shards(st, json_object_size(numbers)));
    json_object_foreach(numbers, name, number)
    {
        TRY(fs_join(path, folder, name));
        TRY(open_shard(st, (size_t)json_integer_value(number), path));
    }
    return sort_rows(st);
}

static int open_index(struct st *st, const char *folder, const char *path)
{
    json_t *index = NULL, *numbers = NULL;
    int rc;
    TRY_OUT(json_read_file(path, &index));
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        rc = ERR(E_DATA, "%s: has no \"weight_map\" object", path);
        goto out;
    }
    rc = number_shards(map, &numbers);
    if (rc == OK)
        rc = open_all(st, folder, numbers);
    if (rc == OK)
        rc = check_map(st, map, numbers);
    if (rc != OK)
        err_context(rc, "%s", path);
out:
    json_decref(index);
    json_decref(numbers);
    return rc;
}

int st_open_folder(struct st *st, const char *folder)
{
    char path[FS_PATH_MAX];
    *st = (struct st){0};
    TRY(fs_join(path, folder, SINGLE));
    if (fs_exists(path))
        return st_open(st, path);
    TRY(fs_join(path, folder, INDEX));
    if (!fs_exists(path))
        return ERR(E_DATA, "%s: holds neither " SINGLE " nor " INDEX, folder);
    int rc = open_index(st, folder, path);
    if (rc != OK)
        st_close(st);
    return rc;
}

/* Reading. */

const struct st_row *st_find(const struct st *st, const char *name)
{
    const struct st_row key = {.name = name};
    if (st->n_rows == 0)
        return NULL;
    return bsearch(&key, st->rows, st->n_rows, sizeof key, by_name);
}

static int read_16(const struct st_shard *s, enum st_dtype dtype, int64_t offset, uint64_t count,
                   float *out)
{
    uint16_t part[1 << 15];
    const uint64_t part_n = sizeof part / sizeof part[0];
    while (count > 0) {
        size_t n = (size_t)(count < part_n ? count : part_n);
        TRY(fs_pread(s->fd, part, 2 * n, offset, s->path));
        if (dtype == ST_BF16)
            bf16_widen(out, part, n);
        else
            f16_widen(out, part, n);
        offset += (int64_t)(2 * n);
        out += n;
        count -= n;
    }
    return OK;
}

int st_read_f32(const struct st *st, const struct st_row *row, uint64_t first, uint64_t count,
                float *out)
{
    const struct st_shard *s = &st->shards[row->shard];
    if (first > row->n || count > row->n - first)
        return ERR(E_BUG, "%s: elements %" PRIu64 " + %" PRIu64 " of %" PRIu64, row->name, first,
                   count, row->n);
    int64_t offset = row->offset + (int64_t)(first * dtypes[row->dtype].bytes);
    switch (row->dtype) {
    case ST_F32:
        return fs_pread(s->fd, out, (size_t)count * sizeof *out, offset, s->path);
    case ST_F16:
    case ST_BF16:
        return read_16(s, row->dtype, offset, count, out);
    default:
        return ERR(E_DATA, "%s: tensor \"%.*s\" is %s; F32, BF16 and F16 can be read", s->path,
                   NAME_SHOWN, row->name, dtypes[row->dtype].name);
    }
}

/* Writing. */

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
    if (strcmp(row->name, METADATA) == 0)
        return ERR(E_BUG, "a tensor cannot be called " METADATA);
    int rc = count_row(&copy, &bytes);
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
    return n_elements(row) * dtypes[row->dtype].bytes;
}

static json_t *row_entry(const struct st_row *row, uint64_t at)
{
    json_t *shape = json_array();
    for (int i = 0; i < row->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)row->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[row->dtype].name, "shape", shape,
                     "data_offsets", (json_int_t)at, (json_int_t)(at + n_bytes(row)));
}

/* The header's JSON text, padded with spaces to a multiple of 8; free() it. */
static int header_text(const struct writer *w, char **text, size_t *n)
{
    json_t *header = json_pack("{s:{s:s}}", METADATA, "format", "pt");
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
                   (double)w->values[bad], dtypes[row->dtype].name);
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
            if (dtypes[rows[i].dtype].bytes == bytes)
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
    TRY(fs_join(path, folder, INDEX));
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
        TRY(refuse_other_form(folder, INDEX));
        TRY(fs_join(path, folder, SINGLE));
        return write_range(path, rows, 0, n_rows, source);
    }
    TRY(refuse_other_form(folder, SINGLE));
    json_t *map = json_object();
    if (map == NULL)
        return ERR(E_MEM, "no memory for the index");
    int rc = write_shards(folder, rows, n_rows, max_shard_bytes, source, map);
    json_decref(map);
    return rc;
}
