/* Safetensors, the Hugging Face weight format: one file, or a folder of shards with an index.
 *
 * Eight bytes of little-endian header length, a JSON header, then raw little-endian data. Files are
 * untrusted: a header that does not describe exactly the bytes behind it is refused. All local.
 * Source: github.com/huggingface/safetensors, README "Format" and its TensorIndexer checks. */
#ifndef CARAT_IO_SAFETENSORS_H
#define CARAT_IO_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#define ST_MAX_DIMS 8

/* F32, F16 and BF16 can be read and written as numbers; of the others only the size is known. */
enum st_dtype {
    ST_F32,
    ST_F16,
    ST_BF16,
    ST_F64,
    ST_C64,
    ST_F8_E4M3,
    ST_F8_E5M2,
    ST_F8_E8M0,
    ST_I64,
    ST_I32,
    ST_I16,
    ST_I8,
    ST_U64,
    ST_U32,
    ST_U16,
    ST_U8,
    ST_BOOL,
    ST_N_DTYPES
};
/* "BF16". */
const char *st_dtype_name(enum st_dtype dtype);
size_t st_dtype_bytes(enum st_dtype dtype);

struct st_row {
    const char *name; /* kept by the reader while it is open; by the caller when writing */
    enum st_dtype dtype;
    int n_dims;
    uint64_t shape[ST_MAX_DIMS];
    /* The reader's: elements, place of the data in its file, and which file that is. */
    uint64_t n;
    int64_t offset;
    size_t shard;
};

struct st_shard;
struct st {
    struct st_row *rows; /* sorted by name */
    size_t n_rows;
    struct st_shard *shards;
    size_t n_shards;
};

/* Opens one file; reads and checks its header. E_DATA when it is missing or malformed, E_IO. On
 * failure nothing needs closing. */
int st_open(struct st *st, const char *path);
/* The same for a Hugging Face folder: model.safetensors, else all files that
 * model.safetensors.index.json names; each tensor is where the index says. */
int st_open_folder(struct st *st, const char *folder);
void st_close(struct st *st);

/* The tensor of that name, or NULL. */
const struct st_row *st_find(const struct st *st, const char *name);
/* Elements first … first+count-1 of a row, widened exactly to float32. E_DATA for a dtype that is
 * no F32, F16 or BF16, or when the file has shrunk; E_IO. */
int st_read_f32(const struct st *st, const struct st_row *row, uint64_t first, uint64_t count,
                float *out);

/* Where a writer's numbers come from. */
struct st_source {
    /* Elements first … first+count-1 of rows[row] into out; a code. Rows are asked for in any
     * order, each row's elements in their order. */
    int (*fill)(void *ctx, size_t row, uint64_t first, size_t count, float *out);
    void *ctx;
};

/* Writes rows (names, dtypes F32, F16 or BF16, shapes) to one file: under a temporary name, then
 * fsync, then rename. 16-bit types round to nearest, ties to even. E_DATA when a finite number is
 * too large for its type; E_IO; the source's own code. */
int st_write(const char *path, const struct st_row *rows, size_t n_rows, struct st_source source);
/* Writes a Hugging Face folder (made when missing): model.safetensors, or shards of at most
 * max_shard_bytes of data with an index when there is more (0: never; a larger tensor has a shard
 * of its own). E_CONFIG when the folder holds weights in the other of the two forms. */
int st_write_folder(const char *folder, const struct st_row *rows, size_t n_rows,
                    uint64_t max_shard_bytes, struct st_source source);

#endif
