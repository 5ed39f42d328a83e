#include "safetensors_format.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/mem.h"
#include "io/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the data are read as they lie");

enum { LENGTH_BYTES = 8, NAME_SHOWN = 120 };
#define HEADER_MAX 100000000 /* the format's own limit */

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

int st_count_row(struct st_row *row, uint64_t *bytes)
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
    TRY(st_count_row(row, &bytes));
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
        if (strcmp(name, ST_METADATA) == 0)
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
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
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
    TRY(fs_join(path, folder, ST_SINGLE));
    if (fs_exists(path))
        return st_open(st, path);
    TRY(fs_join(path, folder, ST_INDEX));
    if (!fs_exists(path))
        return ERR(E_DATA, "%s: holds neither " ST_SINGLE " nor " ST_INDEX, folder);
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
