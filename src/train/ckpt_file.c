#include "ckpt_parts.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

/* Datasets of /sums. */
enum { N_SUMS = 3 };

static const char NO_HASH[] = "0000000000000000000000000000000000000000000000000000000000000000";

static size_t longest_name(const struct ckpt_index *x)
{
    size_t most = 0;
    for (size_t i = 0; i < x->n; i++)
        if (strlen(x->dataset[i].name) > most)
            most = strlen(x->dataset[i].name);
    return most;
}

static hid_t padded_text(size_t n)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, n);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    return type;
}

/* ---- creation ---- */

static int make_one(hid_t file, const struct ckpt_dataset *d)
{
    const hsize_t dims[2] = {d->dims[0], d->dims[1]};
    if (!d->is_text)
        return h5x_make_dataset(file, d->name, d->is_f32 ? H5T_IEEE_F32LE : H5T_STD_U8LE, d->n_dims,
                                dims, NULL);
    hid_t type = padded_text(d->bytes);
    int rc = h5x_make_dataset(file, d->name, type, 0, NULL, NULL);
    H5Tclose(type);
    return rc;
}

static int make_sums(hid_t file, const struct ckpt_index *x)
{
    const hsize_t n[1] = {x->n_blocks};
    hid_t name = padded_text(longest_name(x));
    int rc = h5x_make_dataset(file, "/sums/dataset", name, 1, n, "the block's dataset");
    H5Tclose(name);
    TRY(rc);
    TRY(h5x_make_dataset(file, "/sums/block", H5T_STD_U32LE, 1, n,
                         "number of the 4 MiB block in its dataset, from 0"));
    return h5x_make_dataset(file, "/sums/crc32c", H5T_STD_U32LE, 1, n, "CRC-32C of the block");
}

static int make_all(void *ctx, hid_t file)
{
    const struct ckpt_index *x = ctx;
    for (size_t i = 0; i < x->n; i++)
        TRY(make_one(file, &x->dataset[i]));
    return make_sums(file, x);
}

int ckpt_file_create(const struct comm *c, const char *temp, struct ckpt_index *x)
{
    return h5x_build(c, temp, x->n + N_SUMS, make_all, x, "ckpt.create");
}

/* ---- description ---- */

static int describe_open(hid_t file, struct ckpt_index *x, const struct ckpt_meta *m)
{
    TRY(ckpt_index_place(x, file));
    TRY(ckpt_meta_put(file, m));
    TRY(h5x_put_text(file, "sums_sha256", NO_HASH));
    return h5x_put_i64(file, "committed", 0);
}

/* Whatever is wrong with a file of our own making is a failure of the file system. */
static int io_error(int rc, const char *temp)
{
    bool named = strncmp(err_message(), temp, strlen(temp)) == 0;
    int code = rc == E_DATA ? E_IO : rc;
    return rc == OK ? OK : err_context(code, "%s", named ? "cannot be saved" : temp);
}

int ckpt_file_describe(const char *temp, struct ckpt_index *x, const struct ckpt_meta *m)
{
    hid_t file;
    TRY(io_error(h5x_open(&file, temp, true), temp));
    int rc = describe_open(file, x, m), closed = h5x_close(&file);
    TRY(io_error(rc != OK ? rc : closed, temp));
    return h5x_reserve(temp, "ckpt.reserve");
}

/* ---- completion ---- */

static int put_sums(hid_t file, const struct ckpt_index *x, char *name, size_t name_bytes,
                    uint32_t *block)
{
    char hash[65];
    struct sha256 s;
    for (size_t i = 0; i < x->n_blocks; i++) {
        const struct ckpt_dataset *d = ckpt_block(x, i, NULL, NULL);
        memcpy(name + i * name_bytes, d->name, strlen(d->name));
        block[i] = (uint32_t)(i - d->first_block);
    }
    sha256_init(&s);
    sha256_add(&s, name, x->n_blocks * name_bytes);
    sha256_add(&s, block, x->n_blocks * sizeof *block);
    sha256_add(&s, x->crc, x->n_blocks * sizeof *x->crc);
    sha256_hex(&s, hash);
    hid_t type = padded_text(name_bytes);
    int rc = h5x_write_array(file, "/sums/dataset", type, name);
    H5Tclose(type);
    TRY(rc);
    TRY(h5x_write_array(file, "/sums/block", H5T_NATIVE_UINT32, block));
    TRY(h5x_write_array(file, "/sums/crc32c", H5T_NATIVE_UINT32, x->crc));
    TRY(h5x_put_text(file, "sums_sha256", hash));
    return h5x_put_i64(file, "committed", 1);
}

static int put_sums_and_close(const char *temp, const struct ckpt_index *x, char *name,
                              size_t name_bytes, uint32_t *block)
{
    hid_t file;
    TRY(h5x_open(&file, temp, true));
    int rc = put_sums(file, x, name, name_bytes, block), closed = h5x_close(&file);
    return rc != OK ? rc : closed;
}

static int look_again(const char *temp)
{
    struct ckpt_index x;
    TRY(ckpt_index_load(&x, temp));
    ckpt_index_release(&x);
    return OK;
}

int ckpt_file_commit(const char *temp, const struct ckpt_index *x)
{
    char *name = NULL;
    uint32_t *block = NULL;
    size_t name_bytes = longest_name(x);
    int rc;
    TRY_OUT(mem_alloc(&name, x->n_blocks, name_bytes, "names of checkpoint blocks"));
    TRY_OUT(mem_alloc(&block, x->n_blocks, sizeof *block, "numbers of checkpoint blocks"));
    if (fault_hit("ckpt.commit"))
        TRY_OUT(ERR(E_IO, "cannot write the sums (fault ckpt.commit)"));
    TRY_OUT(put_sums_and_close(temp, x, name, name_bytes, block));
    TRY_OUT(fs_fsync(temp));
    rc = look_again(temp);
out:
    mem_free(block);
    mem_free(name);
    return io_error(rc, temp);
}
