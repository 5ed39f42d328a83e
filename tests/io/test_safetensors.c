/* Safetensors: what is written comes back; what is malformed is refused with a message. */
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "check_main.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[FS_PATH_MAX];

static void enter(void)
{
    strcpy(dir, "/tmp/carat-st-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(fs_join(path, dir, "model.safetensors"), OK);
}

static void leave(void)
{
    char command[128];
    unsetenv("CARAT_FAULT");
    fault_rearm();
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static int n_entries(void)
{
    DIR *d = opendir(dir);
    int n = 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

static void put_file(const char *name, const char *text)
{
    char at[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(at, dir, name), OK);
    ck_assert_int_eq(fs_write_file(at, text, strlen(text)), OK);
}

/* A file of a given header and n zero bytes of data. */
static void put_header(const char *name, const char *header, size_t n_data)
{
    char at[FS_PATH_MAX];
    struct str b = {0};
    uint64_t n = strlen(header);
    str_addn(&b, (char *)&n, 8);
    str_add(&b, header);
    for (size_t i = 0; i < n_data; i++)
        str_addn(&b, "", 1);
    ck_assert_int_eq(fs_join(at, dir, name), OK);
    ck_assert_int_eq(fs_write_file(at, b.s, b.len), OK);
    str_release(&b);
}

/* Tensors that can be told apart: element i of row r. All values fit every dtype. */
static float number(size_t row, uint64_t i)
{
    return (float)(rng_uniform(9, row, i) * 8 - 4);
}

static int fill(void *ctx, size_t row, uint64_t first, size_t count, float *out)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++)
        out[i] = number(row, first + i);
    return OK;
}

static const struct st_source source = {fill, NULL};

/* Sizes that are odd, empty, scalar, and larger than one chunk of writer and reader. */
static const struct st_row rows[] = {
    {.name = "half", .dtype = ST_F16, .n_dims = 2, .shape = {3, 5}},
    {.name = "brain", .dtype = ST_BF16, .n_dims = 1, .shape = {7}},
    {.name = "wide", .dtype = ST_F32, .n_dims = 3, .shape = {2, 3, 4}},
    {.name = "empty", .dtype = ST_F32, .n_dims = 2, .shape = {0, 4}},
    {.name = "scalar", .dtype = ST_F32},
    {.name = "big \"quoted\" \xc3\xa9", .dtype = ST_BF16, .n_dims = 2, .shape = {600, 501}},
    {.name = "big", .dtype = ST_F32, .n_dims = 2, .shape = {601, 500}}};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static float stored(enum st_dtype dtype, float x)
{
    return dtype == ST_F32   ? x
           : dtype == ST_F16 ? f16_to_f32(f32_to_f16(x))
                             : bf16_to_f32(f32_to_bf16(x));
}

static void row_is(const struct st *st, size_t r)
{
    const struct st_row *row = st_find(st, rows[r].name);
    ck_assert_ptr_nonnull(row);
    ck_assert_int_eq(row->dtype, rows[r].dtype);
    ck_assert_int_eq(row->n_dims, rows[r].n_dims);
    ck_assert_mem_eq(row->shape, rows[r].shape, (size_t)row->n_dims * sizeof row->shape[0]);
    ck_assert_uint_eq((uint64_t)row->offset % st_dtype_bytes(row->dtype), 0);
    float *x;
    ck_assert_int_eq(mem_alloc(&x, row->n, sizeof *x, "row"), OK);
    ck_assert_int_eq(st_read_f32(st, row, 0, row->n, x), OK);
    uint64_t n_same = 0;
    for (uint64_t i = 0; i < row->n; i++)
        n_same += x[i] == stored(row->dtype, number(r, i));
    ck_assert_uint_eq(n_same, row->n);
    mem_free(x);
}

static void all_rows_are(const struct st *st)
{
    ck_assert_uint_eq(st->n_rows, N_ROWS);
    for (size_t r = 0; r < N_ROWS; r++)
        row_is(st, r);
    ck_assert_ptr_null(st_find(st, "absent"));
    ck_assert_ptr_null(st_find(st, "__metadata__"));
}

START_TEST(file_comes_back)
{
    struct st st;
    ck_assert_int_eq(st_write(path, rows, N_ROWS, source), OK);
    ck_assert_int_eq(st_open(&st, path), OK);
    all_rows_are(&st);
    st_close(&st);
    ck_assert_uint_eq(st.n_rows, 0);
    ck_assert_int_eq(n_entries(), 1);
    char *text;
    size_t n;
    uint64_t header;
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    memcpy(&header, text, sizeof header);
    ck_assert_uint_eq(header % 8, 0);
    ck_assert(strncmp(text + 8, "{\"__metadata__\":{\"format\":\"pt\"}", 31) == 0);
    mem_free(text);
}
END_TEST

START_TEST(parts_can_be_read)
{
    struct st st;
    float x[4];
    ck_assert_int_eq(st_write(path, rows, N_ROWS, source), OK);
    ck_assert_int_eq(st_open(&st, path), OK);
    for (size_t r = 0; r < N_ROWS; r++) {
        const struct st_row *row = st_find(&st, rows[r].name);
        uint64_t n = row->n < 4 ? row->n : 4;
        ck_assert_int_eq(st_read_f32(&st, row, row->n - n, n, x), OK);
        for (uint64_t i = 0; i < n; i++)
            ck_assert(x[i] == stored(row->dtype, number(r, row->n - n + i)));
        ck_assert_int_eq(st_read_f32(&st, row, row->n, 0, x), OK);
        ck_assert_int_eq(st_read_f32(&st, row, row->n, 1, x), E_BUG);
        ck_assert_int_eq(st_read_f32(&st, row, 1, UINT64_MAX, x), E_BUG);
    }
    ck_assert_int_eq(truncate(path, 1 << 16), 0);
    ck_assert_int_eq(st_read_f32(&st, st_find(&st, "brain"), 0, 1, x), E_DATA);
    st_close(&st);
}
END_TEST

START_TEST(no_tensors_is_a_file)
{
    struct st st;
    ck_assert_int_eq(st_write(path, rows, 0, source), OK);
    ck_assert_int_eq(st_open(&st, path), OK);
    ck_assert_uint_eq(st.n_rows, 0);
    ck_assert_ptr_null(st_find(&st, "x"));
    st_close(&st);
}
END_TEST

START_TEST(folder_comes_back)
{
    /* Shards at most: none, all in one, several, one a tensor. */
    static const uint64_t max[] = {0, 1 << 30, 600000, 1};
    static const size_t n_shards[] = {1, 1, 3, N_ROWS};
    for (int k = 0; k < 4; k++) {
        char folder[FS_PATH_MAX], name[16];
        struct st st;
        snprintf(name, sizeof name, "new/%d", k);
        ck_assert_int_eq(fs_join(folder, dir, name), OK);
        ck_assert_int_eq(st_write_folder(folder, rows, N_ROWS, max[k], source), OK);
        ck_assert_int_eq(st_open_folder(&st, folder), OK);
        ck_assert_uint_eq(st.n_shards, n_shards[k]);
        all_rows_are(&st);
        st_close(&st);
        /* Over itself: fine; in the other form: refused. */
        ck_assert_int_eq(st_write_folder(folder, rows, N_ROWS, max[k], source), OK);
        uint64_t other = k < 2 ? 1 : 0;
        ck_assert_int_eq(st_write_folder(folder, rows, N_ROWS, other, source), E_CONFIG);
    }
}
END_TEST

START_TEST(index_is_what_others_expect)
{
    char at[FS_PATH_MAX];
    json_t *index;
    ck_assert_int_eq(st_write_folder(dir, rows, N_ROWS, 600000, source), OK);
    ck_assert_int_eq(fs_join(at, dir, "model.safetensors.index.json"), OK);
    ck_assert_int_eq(json_read_file(at, &index), OK);
    json_int_t total =
        json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size"));
    ck_assert_int_eq(total, 30 + 14 + 96 + 0 + 4 + 2 * 600 * 501 + 4 * 601 * 500);
    const json_t *map = json_object_get(index, "weight_map");
    ck_assert_uint_eq(json_object_size(map), N_ROWS);
    ck_assert_str_eq(json_string_value(json_object_get(map, "half")),
                     "model-00001-of-00003.safetensors");
    json_decref(index);
}
END_TEST

/* Each header with bytes of data behind it, and what the refusal must say. */
#define T(dtype, shape, range)                                                                     \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"
static const struct {
    const char *header;
    size_t n_data;
    const char *says;
} bad[] = {
    {"", 0, "does not begin with '{'"},
    {"[]", 0, "does not begin with '{'"},
    {" {}", 0, "does not begin with '{'"},
    {"{", 0, "not valid JSON"},
    {"{} {}", 0, "not valid JSON"},
    {"{\"a\":1}", 0, "no object"},
    {"{\"a\":{}}", 0, "\"dtype\" is missing"},
    {"{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\" is missing"},
    {"{\"a\":" T("F99", "[1]", "[0,4]") "}", 4, "unknown dtype \"F99\""},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "\"shape\" is missing"},
    {"{\"a\":" T("F32", "4", "[0,4]") "}", 4, "\"shape\" is missing"},
    {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "no whole number"},
    {"{\"a\":" T("F32", "[1.0]", "[0,4]") "}", 4, "no whole number"},
    {"{\"a\":" T("F32", "[\"1\"]", "[0,4]") "}", 4, "no whole number"},
    {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8 dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "\"data_offsets\" is missing"},
    {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, "no pair"},
    {"{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 4, "no pair"},
    {"{\"a\":" T("F32", "[1]", "[-4,0]") "}", 4, "no pair"},
    {"{\"a\":" T("F32", "[1]", "[0,4.0]") "}", 4, "no pair"},
    {"{\"a\":" T("F32", "[1]", "{}") "}", 4, "no pair"},
    {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "behind its end"},
    {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 4, "ends at byte 8 of 4"},
    {"{\"a\":" T("F32", "[1]", "[0,8]") "}", 8, "shape and dtype make 4"},
    {"{\"a\":" T("F16", "[2,3]", "[0,8]") "}", 8, "shape and dtype make 12"},
    {"{\"a\":" T("F32", "[0]", "[0,4]") "}", 4, "shape and dtype make 0"},
    {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" T("F32", "[4611686018427387904]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" T("F32", "[9223372036854775807,3,0]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" T("F32", "[9223372036854775808]", "[0,0]") "}", 0, "not valid JSON"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[2,6]") "}", 6, "overlaps"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[0,4]") "}", 4, "overlaps"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[8,12]") "}", 12, "a hole"},
    {"{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, "a hole"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[0]", "[2,2]") "}", 4, "overlaps"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 5, "end at byte 4 of 5"},
    {"{}", 1, "end at byte 0 of 1"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[4,8]") "}", 8,
     "not valid JSON"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "not valid JSON"},
    {"{\"\\u0000\":" T("F32", "[1]", "[0,4]") "}", 4, "not valid JSON"},
    {"{\"\xff\":" T("F32", "[1]", "[0,4]") "}", 4, "not valid JSON"},
};

START_TEST(bad_headers_are_refused)
{
    size_t held = mem_bytes();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct st st;
        put_header("model.safetensors", bad[i].header, bad[i].n_data);
        err_clear();
        ck_assert_msg(st_open(&st, path) == E_DATA, "accepted %s", bad[i].header);
        ck_assert_msg(strstr(err_message(), bad[i].says) != NULL, "%s: %s", bad[i].header,
                      err_message());
        ck_assert_msg(strncmp(err_message(), path, strlen(path)) == 0, "%s", err_message());
        ck_assert_ptr_null(st.rows);
    }
    ck_assert_uint_eq(mem_bytes(), held);
}
END_TEST

START_TEST(bad_lengths_are_refused)
{
    static const uint64_t length[] = {3, 100000001, UINT64_MAX, (uint64_t)1 << 63};
    for (size_t i = 0; i < sizeof length / sizeof length[0]; i++) {
        struct st st;
        char bytes[10] = {0};
        memcpy(bytes, &length[i], 8);
        memcpy(bytes + 8, "{}", 2);
        ck_assert_int_eq(fs_write_file(path, bytes, sizeof bytes), OK);
        ck_assert_int_eq(st_open(&st, path), E_DATA);
        ck_assert_ptr_nonnull(strstr(err_message(), "its header claims"));
    }
}
END_TEST

START_TEST(odd_but_good_headers_are_read)
{
    struct st st;
    float x;
    put_header("model.safetensors",
               "{\"b\":" T("I64", "[]", "[4,12]") ",\"__metadata__\":{\"x\":\"y\"},"
                                                  "\"e\":" T("F32", "[3,0]", "[4,4]") ",\"a\":" T(
                                                      "F32", "[]", "[0,4]") "}   \n ",
               12);
    ck_assert_int_eq(st_open(&st, path), OK);
    ck_assert_uint_eq(st.n_rows, 3);
    ck_assert_uint_eq(st_find(&st, "a")->n, 1);
    ck_assert_uint_eq(st_find(&st, "e")->n, 0);
    ck_assert_int_eq(st_read_f32(&st, st_find(&st, "a"), 0, 1, &x), OK);
    ck_assert_int_eq(st_read_f32(&st, st_find(&st, "b"), 0, 1, &x), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "I64"));
    st_close(&st);
}
END_TEST

START_TEST(every_dtype_has_its_size)
{
    for (int d = 0; d < ST_N_DTYPES; d++) {
        char header[256];
        struct st st;
        size_t n = 3 * st_dtype_bytes((enum st_dtype)d);
        snprintf(header, sizeof header, "{\"a\":" T("%s", "[3]", "[0,%zu]") "}",
                 st_dtype_name((enum st_dtype)d), n);
        put_header("model.safetensors", header, n);
        ck_assert_int_eq(st_open(&st, path), OK);
        ck_assert_int_eq(st.rows[0].dtype, d);
        st_close(&st);
    }
}
END_TEST

START_TEST(truncation_is_refused)
{
    struct st st;
    ck_assert_int_eq(st_write(path, rows, 5, source), OK);
    for (int64_t n = fs_size(path) - 1; n >= 0; n--) {
        ck_assert_int_eq(truncate(path, n), 0);
        ck_assert_int_eq(st_open(&st, path), E_DATA);
    }
}
END_TEST

/* Any one byte changed: refused, or a header that still describes the data; never a crash. */
START_TEST(changed_bytes_do_no_harm)
{
    struct st st;
    char *text;
    size_t n;
    ck_assert_int_eq(st_write(path, rows, 3, source), OK);
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    for (size_t i = 0; i < n; i++) {
        char old = text[i];
        text[i] = (char)(old ^ (1 << rng_u64(1, 1, i) % 8));
        FILE *f = fopen(path, "wb");
        ck_assert_uint_eq(fwrite(text, 1, n, f), n);
        fclose(f);
        text[i] = old;
        int rc = st_open(&st, path);
        ck_assert(rc == OK || rc == E_DATA);
        if (rc == OK)
            st_close(&st);
    }
    mem_free(text);
}
END_TEST

#define ONE "{\"a\":" T("F32", "[1]", "[0,4]") "}"
static const struct {
    const char *index, *says;
} bad_index[] = {
    {"{", "not valid JSON"},
    {"[]", "no \"weight_map\""},
    {"{\"weight_map\":[]}", "no \"weight_map\""},
    {"{\"weight_map\":{\"a\":1}}", "no file name"},
    {"{\"weight_map\":{\"a\":\"\"}}", "no file name"},
    {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "no file name"},
    {"{\"weight_map\":{\"a\":\"..\"}}", "no file name"},
    {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "no file name"},
    {"{\"weight_map\":{\"a\":\"sub/x.safetensors\"}}", "no file name"},
    {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", "absent.safetensors: cannot open"},
    {"{\"weight_map\":{\"b\":\"x.safetensors\"}}", "\"b\" is not in x.safetensors"},
    {"{\"weight_map\":{\"a\":\"y.safetensors\",\"c\":\"z.safetensors\"}}", "is not in"},
    {"{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"x.safetensors\"}}", "not valid JSON"},
    {"{\"weight_map\":{\"a\":\"x.safetensors\",\"d\":\"w.safetensors\"}}", "both hold"},
};

START_TEST(bad_indexes_are_refused)
{
    size_t held = mem_bytes();
    put_header("x.safetensors", ONE, 4);
    put_header("y.safetensors", "{\"c\":" T("F32", "[1]", "[0,4]") "}", 4);
    put_header("z.safetensors", ONE, 4);
    put_header("w.safetensors",
               "{\"a\":" T("F32", "[1]", "[0,4]") ",\"d\":" T("F32", "[1]", "[4,8]") "}", 8);
    for (size_t i = 0; i < sizeof bad_index / sizeof bad_index[0]; i++) {
        struct st st;
        put_file("model.safetensors.index.json", bad_index[i].index);
        ck_assert_msg(st_open_folder(&st, dir) == E_DATA, "accepted %s", bad_index[i].index);
        ck_assert_msg(strstr(err_message(), bad_index[i].says) != NULL, "%s: %s",
                      bad_index[i].index, err_message());
        ck_assert_ptr_null(st.shards);
    }
    ck_assert_uint_eq(mem_bytes(), held);
}
END_TEST

START_TEST(missing_files_are_named)
{
    struct st st;
    ck_assert_int_eq(st_open(&st, path), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), path));
    ck_assert_int_eq(st_open(&st, dir), E_DATA);
    ck_assert_int_eq(st_open_folder(&st, dir), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "holds neither"));
}
END_TEST

static int fill_with(void *ctx, size_t row, uint64_t first, size_t count, float *out)
{
    (void)row, (void)first;
    for (size_t i = 0; i < count; i++)
        out[i] = *(float *)ctx;
    return OK;
}

START_TEST(values_that_do_not_fit_are_refused)
{
    static const struct {
        enum st_dtype dtype;
        float x;
        int rc;
    } cases[] = {{ST_F16, 65504, OK},           {ST_F16, 65520, E_DATA},
                 {ST_F16, INFINITY, OK},        {ST_F16, NAN, OK},
                 {ST_BF16, 0x1.fep127f, OK},    {ST_BF16, 0x1.ffp127f, E_DATA},
                 {ST_F32, 0x1.fffffep127f, OK}, {ST_F16, -65520, E_DATA}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float x = cases[i].x;
        const struct st_row row = {.name = "w", .dtype = cases[i].dtype, .n_dims = 1, .shape = {5}};
        ck_assert_int_eq(st_write(path, &row, 1, (struct st_source){fill_with, &x}), cases[i].rc);
        unlink(path);
        ck_assert_int_eq(n_entries(), 0);
    }
}
END_TEST

static int fill_fails(void *ctx, size_t row, uint64_t first, size_t count, float *out)
{
    (void)ctx, (void)first, (void)count, (void)out;
    return row == 2 ? ERR(E_RANK, "lost") : OK;
}

START_TEST(failures_leave_the_old_file)
{
    static const char *const spec[] = {"fs.pwrite:0", "fs.pwrite:0:4", "fs.fsync:0", "fs.rename:0"};
    char *old, *now;
    size_t n_old, n_now;
    ck_assert_int_eq(st_write(path, rows, 2, source), OK);
    ck_assert_int_eq(fs_read_file(path, 0, &old, &n_old), OK);
    for (int i = 0; i < 5; i++) {
        if (i < 4)
            setenv("CARAT_FAULT", spec[i], 1);
        else
            unsetenv("CARAT_FAULT");
        fault_rearm();
        struct st_source from = i < 4 ? source : (struct st_source){fill_fails, NULL};
        ck_assert_int_eq(st_write(path, rows, N_ROWS, from), i < 4 ? E_IO : E_RANK);
        ck_assert_int_eq(fs_read_file(path, 0, &now, &n_now), OK);
        ck_assert_uint_eq(n_now, n_old);
        ck_assert_mem_eq(now, old, n_old);
        mem_free(now);
        ck_assert_int_eq(n_entries(), 1);
    }
    mem_free(old);
}
END_TEST

START_TEST(bad_tables_are_bugs)
{
    static const struct st_row twice[] = {{.name = "a"}, {.name = "a"}};
    static const struct st_row reserved = {.name = "__metadata__"};
    static const struct st_row whole = {.name = "a", .dtype = ST_I64};
    static const struct st_row unreadable = {.name = "\xff"};
    ck_assert_int_eq(st_write(path, twice, 2, source), E_BUG);
    ck_assert_int_eq(st_write_folder(dir, twice, 2, 1, source), E_BUG);
    ck_assert_int_eq(st_write(path, &reserved, 1, source), E_BUG);
    ck_assert_int_eq(st_write(path, &whole, 1, source), E_BUG);
    ck_assert_int_eq(st_write(path, &unreadable, 1, source), E_BUG);
}
END_TEST

static const struct {
    const char *name;
    enum st_dtype dtype;
    size_t n_rows;
    uint64_t n_params, V, D;
} fixtures[] = {{"gemma1-mqa", ST_F32, 20, 25792, 97, 32},
                {"gemma2-gqa", ST_F32, 46, 42640, 89, 40},
                {"gemma3-text", ST_F32, 93, 167840, 103, 48},
                {"gemma3-masked-bf16", ST_BF16, 80, 58816, 79, 32}};

static void fixture_is(size_t i, const char *folder)
{
    struct st st;
    uint64_t n_params = 0;
    ck_assert_int_eq(st_open_folder(&st, folder), OK);
    ck_assert_uint_eq(st.n_rows, fixtures[i].n_rows);
    for (size_t r = 0; r < st.n_rows; r++) {
        float *x;
        ck_assert_int_eq(st.rows[r].dtype, fixtures[i].dtype);
        n_params += st.rows[r].n;
        ck_assert_int_eq(mem_alloc(&x, st.rows[r].n, sizeof *x, "fixture"), OK);
        ck_assert_int_eq(st_read_f32(&st, &st.rows[r], 0, st.rows[r].n, x), OK);
        for (uint64_t k = 0; k < st.rows[r].n; k++)
            ck_assert(fabsf(x[k]) < 100);
        mem_free(x);
    }
    ck_assert_uint_eq(n_params, fixtures[i].n_params);
    const struct st_row *embed = st_find(&st, "model.embed_tokens.weight");
    ck_assert(embed->n_dims == 2 && embed->shape[0] == fixtures[i].V);
    ck_assert_uint_eq(embed->shape[1], fixtures[i].D);
    st_close(&st);
}

START_TEST(files_by_others_are_read)
{
    const char *shared = getenv("CARAT_SHARED");
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) {
        char folder[FS_PATH_MAX];
        snprintf(folder, sizeof folder, "%s/fixtures/%s", shared != NULL ? shared : "../shared",
                 fixtures[i].name);
        if (fs_is_dir(folder))
            fixture_is(i, folder);
        else
            printf("SKIP: no fixture at %s\n", folder);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_test(t, file_comes_back);
    tcase_add_test(t, parts_can_be_read);
    tcase_add_test(t, no_tensors_is_a_file);
    tcase_add_test(t, folder_comes_back);
    tcase_add_test(t, index_is_what_others_expect);
    tcase_add_test(t, bad_headers_are_refused);
    tcase_add_test(t, bad_lengths_are_refused);
    tcase_add_test(t, odd_but_good_headers_are_read);
    tcase_add_test(t, every_dtype_has_its_size);
    tcase_add_test(t, truncation_is_refused);
    tcase_add_test(t, changed_bytes_do_no_harm);
    tcase_add_test(t, bad_indexes_are_refused);
    tcase_add_test(t, missing_files_are_named);
    tcase_add_test(t, values_that_do_not_fit_are_refused);
    tcase_add_test(t, failures_leave_the_old_file);
    tcase_add_test(t, bad_tables_are_bugs);
    tcase_add_test(t, files_by_others_are_read);
}

int main(void)
{
    return run_suite("io/safetensors", add);
}
