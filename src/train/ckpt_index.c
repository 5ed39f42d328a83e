#include "ckpt_parts.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "par/agree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ckpt_index_init(struct ckpt_index *x, size_t n)
{
    *x = (struct ckpt_index){.n = n};
    return mem_alloc(&x->dataset, n, sizeof *x->dataset, "checkpoint index");
}

void ckpt_index_release(struct ckpt_index *x)
{
    mem_free(x->dataset);
    mem_free(x->crc);
    *x = (struct ckpt_index){0};
}

int ckpt_index_number(struct ckpt_index *x)
{
    x->n_blocks = 0;
    for (size_t i = 0; i < x->n; i++) {
        x->dataset[i].first_block = x->n_blocks;
        x->n_blocks += ckpt_n_blocks(x->dataset[i].bytes);
    }
    return mem_alloc(&x->crc, x->n_blocks, sizeof *x->crc, "checkpoint sums");
}

int ckpt_dataset_name(char *buf, const char *kind, const char *tensor)
{
    if (snprintf(buf, CKPT_NAME_MAX, "/%s/%s", kind, tensor) >= CKPT_NAME_MAX)
        return ERR(E_BUG, "/%s/%.40s...: a dataset's name is too long", kind, tensor);
    return OK;
}

int64_t ckpt_index_find(const struct ckpt_index *x, const char *name)
{
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->dataset[i].name, name) == 0)
            return (int64_t)i;
    return -1;
}

const struct ckpt_dataset *ckpt_block(const struct ckpt_index *x, size_t block, uint64_t *at,
                                      size_t *n)
{
    size_t low = 0, high = x->n; /* the last dataset that begins at or before the block */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (x->dataset[middle].first_block <= block)
            low = middle;
        else
            high = middle;
    }
    const struct ckpt_dataset *d = &x->dataset[low];
    uint64_t begin = CKPT_BLOCK * (block - d->first_block), left = d->bytes - begin;
    if (at != NULL)
        *at = begin;
    if (n != NULL)
        *n = (size_t)(left < CKPT_BLOCK ? left : CKPT_BLOCK);
    return d;
}

int ckpt_block_check(const struct ckpt_index *x, size_t block, int fd, void *buf, const char *path,
                     int code)
{
    uint64_t at;
    size_t n;
    const struct ckpt_dataset *d = ckpt_block(x, block, &at, &n);
    int rc = fs_pread(fd, buf, n, d->offset + (int64_t)at, path);
    if (rc != OK)
        return err_context(rc == E_DATA ? code : rc, "%s, block %llu", d->name,
                           (unsigned long long)(block - d->first_block));
    if (crc32c(0, buf, n) != x->crc[block])
        return ERR(code,
                   "%s: dataset %s, block %llu (bytes %llu to %llu of it): the checksum is wrong",
                   path, d->name, (unsigned long long)(block - d->first_block),
                   (unsigned long long)at, (unsigned long long)(at + n - 1));
    return OK;
}

/* ---- loading ---- */

/* The table of sums as it lies in the file: three columns of a row a block. */
struct table {
    char *name; /* [n][name_bytes], NUL-padded */
    size_t name_bytes;
    uint32_t *block, *crc;
    size_t n;
};

static void table_release(struct table *t)
{
    mem_free(t->name);
    mem_free(t->block);
    mem_free(t->crc);
    *t = (struct table){0};
}

static int read_names(hid_t file, struct table *t)
{
    struct h5x_array a;
    TRY(h5x_describe(file, "/sums/dataset", &a));
    if (a.class != H5T_STRING || a.elem_bytes > CKPT_NAME_MAX || a.n != t->n)
        return ERR(E_DATA, "/sums/dataset is not a list of %zu names", t->n);
    t->name_bytes = a.elem_bytes;
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, a.elem_bytes);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    size_t n;
    int rc = h5x_get_array(file, "/sums/dataset", type, t->n, (void **)&t->name, &n);
    H5Tclose(type);
    return rc;
}

static int check_hash(hid_t file, const struct table *t)
{
    struct sha256 s;
    char hash[65], want[65];
    TRY(h5x_get_text(file, "sums_sha256", want, sizeof want));
    sha256_init(&s);
    sha256_add(&s, t->name, t->n * t->name_bytes);
    sha256_add(&s, t->block, t->n * sizeof *t->block);
    sha256_add(&s, t->crc, t->n * sizeof *t->crc);
    sha256_hex(&s, hash);
    return strcmp(hash, want) == 0 ? OK : ERR(E_DATA, "/sums: the table's hash does not match it");
}

static int read_table(hid_t file, struct table *t)
{
    size_t n;
    *t = (struct table){0};
    TRY(h5x_get_array(file, "/sums/crc32c", H5T_NATIVE_UINT32, SIZE_MAX, (void **)&t->crc, &t->n));
    TRY(h5x_get_array(file, "/sums/block", H5T_NATIVE_UINT32, t->n, (void **)&t->block, &n));
    if (n != t->n || n == 0)
        return ERR(E_DATA, "/sums: the columns differ in length or are empty");
    TRY(read_names(file, t));
    return check_hash(file, t);
}

static void describe_into(struct ckpt_dataset *d, const struct h5x_array *a)
{
    d->is_f32 = a->class == H5T_FLOAT && a->elem_bytes == 4;
    d->is_text = a->class == H5T_STRING;
    d->n_dims = a->n_dims;
    for (int i = 0; i < a->n_dims && i < 2; i++)
        d->dims[i] = a->dims[i];
    d->bytes = a->n * a->elem_bytes;
    d->offset = a->offset;
}

static int take_dataset(struct ckpt_dataset *d, hid_t file, const char *name, size_t max)
{
    struct h5x_array a;
    snprintf(d->name, sizeof d->name, "%.*s",
             (int)(max < sizeof d->name ? max : sizeof d->name - 1), name);
    TRY(h5x_describe(file, d->name, &a));
    if (a.n_dims > 2)
        return ERR(E_DATA, "%s: more than two dimensions", d->name);
    describe_into(d, &a);
    return OK;
}

static int by_name(const void *a, const void *b)
{
    const struct ckpt_dataset *const *p = a, *const *q = b;
    return strcmp((*p)->name, (*q)->name);
}

/* A name twice would leave another dataset without sums. */
static int check_names(const struct ckpt_index *x)
{
    const struct ckpt_dataset **sorted;
    int rc = OK;
    TRY(mem_alloc(&sorted, x->n, sizeof *sorted, "names in a checkpoint"));
    for (size_t i = 0; i < x->n; i++)
        sorted[i] = &x->dataset[i];
    if (x->n > 0)
        qsort(sorted, x->n, sizeof *sorted, by_name);
    for (size_t i = 1; rc == OK && i < x->n; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            rc = ERR(E_DATA, "/sums: %s is there twice", sorted[i]->name);
    mem_free(sorted);
    return rc;
}

static int from_table(struct ckpt_index *x, hid_t file, const struct table *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->block[i] == 0;
    TRY(ckpt_index_init(x, n));
    n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->block[i] == 0)
            TRY(take_dataset(&x->dataset[n++], file, t->name + i * t->name_bytes, t->name_bytes));
    TRY(ckpt_index_number(x));
    if (x->n_blocks != t->n)
        return ERR(E_DATA, "/sums has %zu rows; the datasets have %zu blocks", t->n, x->n_blocks);
    for (size_t i = 0; i < t->n; i++) {
        const struct ckpt_dataset *d = ckpt_block(x, i, NULL, NULL);
        if (t->block[i] != i - d->first_block ||
            strncmp(d->name, t->name + i * t->name_bytes, t->name_bytes) != 0)
            return ERR(E_DATA, "/sums: row %zu is out of order", i);
    }
    memcpy(x->crc, t->crc, t->n * sizeof *t->crc);
    return check_names(x);
}

static int check_apart(const struct ckpt_index *x)
{
    struct h5x_place *place;
    size_t n = 0;
    TRY(mem_alloc(&place, x->n, sizeof *place, "places in a checkpoint"));
    for (size_t i = 0; i < x->n; i++)
        if (x->dataset[i].bytes > 0)
            place[n++] = (struct h5x_place){x->dataset[i].name, x->dataset[i].offset,
                                            (int64_t)x->dataset[i].bytes};
    int rc = h5x_check_apart(place, n);
    mem_free(place);
    return rc;
}

static herr_t count_dataset(hid_t at, const char *name, const H5O_info_t *info, void *n)
{
    (void)at;
    if (info->type == H5O_TYPE_DATASET && strncmp(name, "sums/", 5) != 0)
        (*(size_t *)n)++;
    return 0;
}

/* A dataset beside the table could hold anything. */
static int check_complete(hid_t file, const struct ckpt_index *x)
{
    size_t n = 0;
    if (H5Ovisit(file, H5_INDEX_NAME, H5_ITER_NATIVE, count_dataset, &n) < 0)
        return h5x_error(E_DATA, "cannot list the datasets");
    return n == x->n ? OK : ERR(E_DATA, "%zu datasets, but /sums covers %zu of them", n, x->n);
}

static int check_marks(hid_t file)
{
    char kind[32] = "";
    int64_t format, committed;
    int rc = h5x_get_text(file, "kind", kind, sizeof kind);
    if (rc != OK && rc != E_DATA)
        return rc;
    if (strcmp(kind, CKPT_KIND) != 0)
        return ERR(E_DATA, "not a checkpoint of carat");
    TRY(h5x_get_i64(file, "format", &format));
    if (format != CKPT_FORMAT)
        return ERR(E_DATA, "written in checkpoint format %lld; this carat reads format %d",
                   (long long)format, CKPT_FORMAT);
    TRY(h5x_get_i64(file, "committed", &committed));
    return committed == 1 ? OK : ERR(E_DATA, "never completed: the commit mark is missing");
}

static int load_open(struct ckpt_index *x, hid_t file)
{
    struct table t;
    int rc = check_marks(file);
    if (rc != OK)
        return rc;
    rc = read_table(file, &t);
    if (rc == OK)
        rc = from_table(x, file, &t);
    if (rc == OK)
        rc = check_complete(file, x);
    if (rc == OK)
        rc = check_apart(x);
    table_release(&t);
    return rc;
}

int ckpt_index_load(struct ckpt_index *x, const char *path)
{
    hid_t file;
    *x = (struct ckpt_index){0};
    TRY(h5x_open(&file, path, false));
    int rc = load_open(x, file);
    if (rc != OK) {
        err_context(rc, "%s", path);
        ckpt_index_release(x);
    }
    h5x_close(&file);
    return rc;
}

static int share(const struct comm *c, struct ckpt_index *x, int rc)
{
    uint64_t n[2] = {x->n, x->n_blocks};
    TRY(agree_bcast(c, 0, rc, n, sizeof n));
    if (c->rank != 0) {
        x->n = n[0];
        x->n_blocks = n[1];
        rc = mem_alloc(&x->dataset, x->n, sizeof *x->dataset, "checkpoint index");
        if (rc == OK)
            rc = mem_alloc(&x->crc, x->n_blocks, sizeof *x->crc, "checkpoint sums");
    }
    TRY(agree_bcast(c, 0, rc, x->dataset, x->n * sizeof *x->dataset));
    return agree_bcast(c, 0, OK, x->crc, x->n_blocks * sizeof *x->crc);
}

int ckpt_index_open(const struct comm *c, struct ckpt_index *x, const char *path)
{
    *x = (struct ckpt_index){0};
    int rc = share(c, x, c->rank == 0 ? ckpt_index_load(x, path) : OK);
    if (rc != OK)
        ckpt_index_release(x);
    return rc;
}

int ckpt_index_place(struct ckpt_index *x, hid_t file)
{
    for (size_t i = 0; i < x->n; i++) {
        struct ckpt_dataset *d = &x->dataset[i], found = {0};
        TRY(take_dataset(&found, file, d->name, sizeof d->name));
        if (found.bytes != d->bytes || found.is_f32 != d->is_f32 || found.n_dims != d->n_dims)
            return ERR(E_DATA, "%s: not as it was made", d->name);
        d->offset = found.offset;
    }
    return OK;
}

int64_t ckpt_format(const char *path)
{
    hid_t file;
    char kind[32];
    int64_t format = -1;
    if (h5x_open(&file, path, false) == OK &&
        (h5x_get_text(file, "kind", kind, sizeof kind) != OK || strcmp(kind, CKPT_KIND) != 0 ||
         h5x_get_i64(file, "format", &format) != OK))
        format = -1;
    h5x_close(&file);
    return format;
}
