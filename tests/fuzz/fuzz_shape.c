/* HDF5 files of other shapes. HDF5's own checksums keep changed bytes from what reads its metadata,
 * so here the input is a list of changes that HDF5 itself makes to a store, a checkpoint or a
 * segment: datasets and attributes of other types, sizes and layouts, links to elsewhere. The first
 * byte says which file, four bytes each change (struct change). */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "files.h"
#include "fuzz.h"
#include "io/h5x.h"
#include "read.h"

#include <string.h>
#include <unistd.h>

enum { MOST_CHANGES = 8, NAME_MAX_BYTES = 128 };

struct change {
    uint8_t what, object, a, b;
};

/* ---- the files that are changed ---- */

static struct kind {
    const char *name; /* in the fuzzer's folder */
    void (*read)(const char *path, size_t n, unsigned way);
    const char *datasets, *attributes; /* apart by blanks; attributes of the root group */
    char *bytes;
    size_t n;
} kinds[] = {
    {"tokens.h5", fuzz_read_store,
     "train/tokens valid/tokens train/offsets valid/offsets tokenizer sources",
     "format_version vocab tokenizer_hash data_hash", NULL, 0},
    {"step-000000001.h5", fuzz_read_checkpoint,
     "params/model.embed_tokens.weight params/model.norm.weight exp_avg/model.norm.weight "
     "tokenizer history sums/dataset sums/block sums/crc32c",
     "kind format committed step tokens run_id config spec state sums_sha256 config_sha256", NULL,
     0},
    {FUZZ_SEGMENT, fuzz_read_segment, "step ranks layers", "kind format attempt", NULL, 0},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    for (int i = 0; i < N_KINDS; i++) {
        const char *path = fuzz_file("base", "", 0);
        unlink(path);
        if (i == 0)
            fuzz_write_store(path, 200);
        else if (i == 1)
            fuzz_write_checkpoint(fuzz_alone(), path);
        else
            fuzz_write_segment(fuzz_alone(), path);
        MUST(fs_read_file(path, 0, &kinds[i].bytes, &kinds[i].n) == OK);
    }
    return 0;
}

/* Word number i, counted round, of a list apart by blanks. */
static const char *word(char name[NAME_MAX_BYTES], const char *list, unsigned i)
{
    unsigned n = 1;
    for (const char *at = list; *at != '\0'; at++)
        n += *at == ' ';
    for (i %= n; i > 0; i--)
        list = strchr(list, ' ') + 1;
    snprintf(name, NAME_MAX_BYTES, "%.*s", (int)strcspn(list, " "), list);
    return name;
}

/* ---- changes ---- */

static hid_t text_type(size_t n)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, n);
    return type;
}

/* A type that the caller closes. */
static hid_t make_type(unsigned i)
{
    const hid_t plain[] = {H5T_STD_U8LE,   H5T_STD_U16LE,  H5T_STD_U32LE,      H5T_STD_U64LE,
                           H5T_STD_I32LE,  H5T_STD_I64LE,  H5T_STD_I64BE,      H5T_IEEE_F32LE,
                           H5T_IEEE_F64LE, H5T_IEEE_F64BE, H5T_NATIVE_LDOUBLE, H5T_STD_REF_OBJ,
                           H5T_STD_B64LE,  H5T_UNIX_D32LE};
    const size_t sizes[] = {1, 5, 32, 64, 65, 200, H5T_VARIABLE};
    enum { N_PLAIN = sizeof plain / sizeof *plain, N_SIZES = sizeof sizes / sizeof *sizes };
    const hsize_t three = 3;
    i %= N_PLAIN + N_SIZES + 2;
    if (i < N_PLAIN)
        return H5Tcopy(plain[i]);
    if (i < N_PLAIN + N_SIZES)
        return text_type(sizes[i - N_PLAIN]);
    if (i == N_PLAIN + N_SIZES)
        return H5Tarray_create2(H5T_STD_I64LE, 1, &three);
    hid_t compound = H5Tcreate(H5T_COMPOUND, 16);
    H5Tinsert(compound, "x", 0, H5T_STD_I64LE);
    return compound;
}

/* A space of up to three dimensions: b gives two bits of rank and three choices of size. */
static hid_t make_space(unsigned b)
{
    static const hsize_t sizes[] = {1, 2, 3, 0, 28, 61, 1 << 20, (hsize_t)1 << 40};
    int rank = (int)(b % 4);
    hsize_t dims[3] = {sizes[b >> 2 & 7], sizes[b >> 3 & 7], sizes[b >> 5 & 7]};
    if (rank == 0)
        return H5Screate(b & 64 ? H5S_NULL : H5S_SCALAR);
    return H5Screate_simple(rank, dims, NULL);
}

/* Late space: a large extent takes no room. */
static hid_t make_layout(hid_t space, unsigned what)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t part[3] = {1, 1, 1}, dims[3];
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    double n = 1; /* HDF5's own count overflows */
    for (int i = 0; i < rank; i++)
        n *= (double)dims[i];
    bool small = n <= 1 << 12;
    H5Pset_alloc_time(list, small ? H5D_ALLOC_TIME_EARLY : H5D_ALLOC_TIME_LATE);
    H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    if (what == 1 && rank > 0 && n <= 64)
        H5Pset_chunk(list, rank, part);
    else if (what == 2 && small)
        H5Pset_layout(list, H5D_COMPACT);
    else if (what == 3)
        H5Pset_external(list, "elsewhere", 0, H5F_UNLIMITED);
    return list;
}

static void remake_dataset(hid_t file, const char *name, const struct change *c)
{
    hid_t type = make_type(c->a), space = make_space(c->b);
    hid_t list = make_layout(space, c->what / 8u);
    H5Ldelete(file, name, H5P_DEFAULT);
    hid_t d = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    if (d >= 0)
        H5Dclose(d);
    H5Pclose(list);
    H5Sclose(space);
    H5Tclose(type);
}

static void remake_attribute(hid_t object, const char *name, const struct change *c)
{
    static unsigned char value[1 << 12];
    hid_t type = make_type(c->a), space = H5Screate(H5S_SCALAR);
    hsize_t two = 2;
    if (c->what & 8) {
        H5Sclose(space);
        space = H5Screate_simple(1, &two, NULL);
    }
    H5Adelete(object, name);
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    memset(value, c->b, sizeof value);
    if (a >= 0 && H5Tis_variable_str(type) == 0 && H5Tget_class(type) != H5T_REFERENCE)
        H5Awrite(a, type, value);
    if (a >= 0)
        H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
}

/* A whole number where there is one. */
static void set_number(hid_t file, const char *name, const struct change *c)
{
    static const int64_t values[] = {0, 1, -1, 2, 60, 256, INT32_MAX, INT64_MAX, INT64_MIN};
    if (h5x_put_i64(file, name, values[c->a % (sizeof values / sizeof *values)]) != OK)
        err_clear();
}

/* One byte of a dataset, or one element in the place of another. */
static void set_values(hid_t file, const char *name, const struct change *c)
{
    hid_t d = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t type = d >= 0 ? H5Dget_type(d) : d, space = d >= 0 ? H5Dget_space(d) : d;
    size_t n = d >= 0 ? H5Dget_storage_size(d) : 0;
    unsigned char *bytes = n > 0 && n < 1 << 16 ? calloc(n, 1) : NULL;
    if (bytes != NULL && H5Tget_class(type) != H5T_REFERENCE && H5Tis_variable_str(type) == 0 &&
        H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0) {
        size_t each = H5Tget_size(type), count = n / each;
        if (c->what & 8)
            memmove(bytes + c->a % count * each, bytes + c->b % count * each, each);
        else
            bytes[c->a * 7u % n] = c->b;
        H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes);
    }
    free(bytes);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (d >= 0)
        H5Dclose(d);
}

/* Another link in its place: to another dataset, to a name, to another file, to nothing. */
static void relink(hid_t file, const char *name, const struct kind *k, const struct change *c)
{
    char to[NAME_MAX_BYTES];
    word(to, k->datasets, c->a);
    if (strcmp(name, to) == 0)
        snprintf(to, sizeof to, "%s", c->b & 8 ? "/" : "train");
    H5Ldelete(file, name, H5P_DEFAULT);
    switch (c->b % 4) {
    case 0:
        H5Lcreate_hard(file, to, file, name, H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 1:
        H5Lcreate_soft(to, file, name, H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 2:
        H5Lcreate_external("elsewhere.h5", to, file, name, H5P_DEFAULT, H5P_DEFAULT);
        break;
    default:
        break;
    }
}

static void apply(hid_t file, const struct kind *k, const struct change *c)
{
    char dataset[NAME_MAX_BYTES], attribute[NAME_MAX_BYTES];
    word(dataset, k->datasets, c->object);
    word(attribute, k->attributes, c->object);
    switch (c->what % 8) {
    case 0:
    case 1:
        remake_dataset(file, dataset, c);
        break;
    case 2:
        remake_attribute(file, attribute, c);
        break;
    case 3:
        set_number(file, attribute, c);
        break;
    case 4:
    case 5:
        set_values(file, dataset, c);
        break;
    case 6:
        relink(file, dataset, k, c);
        break;
    default: {
        hid_t d = H5Dopen2(file, dataset, H5P_DEFAULT);
        if (d >= 0) {
            remake_attribute(d, "columns", c);
            H5Dclose(d);
        }
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct change c;
    hid_t file;
    if (n < 1 + sizeof c)
        return 0;
    const struct kind *k = &kinds[data[0] % N_KINDS];
    const char *path = fuzz_file(k->name, k->bytes, k->n);
    MUST(h5x_open(&file, path, true) == OK);
    for (size_t i = 0; i < MOST_CHANGES && 1 + (i + 1) * sizeof c <= n; i++) {
        memcpy(&c, data + 1 + i * sizeof c, sizeof c);
        apply(file, k, &c);
    }
    H5Fclose(file);
    k->read(path, (size_t)fs_size(path), data[0] / N_KINDS);
    err_clear();
    return 0;
}
