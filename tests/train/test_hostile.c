/* Files made to harm: each reader refuses each trick of HDF5, naming the dataset, and follows no
 * link out of the file. What lies outside is a pipe: who opens it waits until the alarm.
 * ranks: 1 */
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/store.h"
#include "data/store_write.h"
#include "io/h5x.h"
#include "mpi_main.h"
#include "train/ckpt.h"
#include "train/metrics.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TOO_LONG_S = 20, N_TOKENS = 50, WIDTH = 40 };

static char outside[FS_PATH_MAX], forged[FS_PATH_MAX];

static const char *in_folder(const char *name)
{
    static char path[FS_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", ck_folder(), name);
    return path;
}

/* ---- whole files ---- */

static void make_store(const char *path)
{
    struct store_writer *w;
    struct store_counts counts;
    const struct store_facts facts = {
        .tokenizer = "pieces", .tokenizer_bytes = 6, .tokenizer_hash = ""};
    const struct store_division division = {0};
    int32_t ids[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++)
        ids[i] = i;
    ck_assert_int_eq(store_writer_new(&w, path, 1000), OK);
    ck_assert_int_eq(store_writer_add(w, ids, N_TOKENS), OK);
    ck_assert_int_eq(store_writer_finish(w, &facts, &division, &counts), OK);
    store_writer_free(w);
}

static void make_checkpoint(const char *path)
{
    static struct tensor row[2] = {{.name = "model.norm.weight", .n_dims = 1},
                                   {.name = "model.up.weight", .n_dims = 2}};
    static float values[WIDTH + WIDTH * 8];
    static char empty[] = "";
    struct tensor_table t = {.row = row, .n = 2, .n_elems = sizeof values / sizeof *values};
    struct shard whole;
    row[0].n = row[0].dims[0] = WIDTH;
    row[1].offset = WIDTH;
    row[1].n = t.n_elems - WIDTH;
    row[1].dims[0] = 8;
    row[1].dims[1] = WIDTH;
    shard_init(&whole, t.n_elems, 1 << 20, 1, 0);
    struct ckpt_set set = {.tensors = &t, .n_arrays = 1};
    set.meta.config_text = set.meta.spec_json = set.meta.state = empty;
    set.array[0] =
        (struct ckpt_array){.kind = "params", .data = values, .slab = true, .shard = &whole};
    ck_assert_msg(ckpt_write(&ck_world, path, &set, NULL) == OK, "%s", err_message());
}

static void make_segment(const char *path)
{
    struct metrics *m;
    double row[M_N] = {0}, rank_row[R_N] = {0};
    row[M_STEP] = 1;
    ck_assert_int_eq(metrics_open(&m, &ck_world, ck_folder(), &(struct metrics_attempt){0}, 0), OK);
    ck_assert_int_eq(metrics_step(m, row, rank_row, NULL), OK);
    ck_assert_int_eq(metrics_close(m), OK);
    ck_assert_int_eq(rename(in_folder("metrics/seg-0000-0000.h5"), path), 0);
}

/* ---- readers ---- */

static int read_checkpoint(const char *path)
{
    struct ckpt_meta m;
    TRY(ckpt_read_meta(path, &m));
    ckpt_meta_release(&m);
    return OK;
}

static int read_tokens(const char *path)
{
    struct store s;
    TRY(store_open(&s, path, SPLIT_TRAIN));
    store_close(&s);
    return OK;
}

static int read_tokenizer(const char *path)
{
    void *bytes;
    size_t n;
    TRY(store_tokenizer(path, &bytes, &n));
    mem_free(bytes);
    return OK;
}

static int read_segment(const char *path)
{
    struct metrics_segment s;
    return metrics_check(path, &s);
}

/* other: a dataset that the reader checks this one against; NULL: none, or it looks at the values
 * before. */
static const struct target {
    const char *file, *dataset, *other;
    void (*make)(const char *path);
    int (*read)(const char *path);
} TARGETS[] = {
    {"ckpt.h5", "/params/model.norm.weight", "/params/model.up.weight", make_checkpoint,
     read_checkpoint},
    {"ckpt.h5", "/sums/crc32c", NULL, make_checkpoint, read_checkpoint},
    {"ckpt.h5", "/sums/dataset", NULL, make_checkpoint, read_checkpoint},
    {"store.h5", "/train/tokens", "/train/offsets", make_store, read_tokens},
    {"store.h5", "/train/offsets", NULL, make_store, read_tokens},
    {"store.h5", "/tokenizer", NULL, make_store, read_tokenizer},
    {"seg.h5", "/step", NULL, make_segment, read_segment},
    {"seg.h5", "/ranks", "/step", make_segment, read_segment},
};
enum { N_TARGETS = sizeof TARGETS / sizeof *TARGETS };

/* ---- tricks: what comes into the place of a dataset that was moved to /moved ---- */

struct place {
    hid_t file, type, space, dcpl;
    const char *name;
    int n_dims;
    hsize_t dims[8];
};

static void put(struct place *p, hid_t type)
{
    hid_t d = H5Dcreate2(p->file, p->name, type, p->space, H5P_DEFAULT, p->dcpl, H5P_DEFAULT);
    ck_assert_msg(d >= 0, "%s: not made", p->name);
    H5Dclose(d);
}

static void as_chunks(struct place *p)
{
    H5Pset_chunk(p->dcpl, p->n_dims, p->dims);
    put(p, p->type);
}

static void as_filtered_chunks(struct place *p)
{
    H5Pset_chunk(p->dcpl, p->n_dims, p->dims);
    H5Pset_fletcher32(p->dcpl);
    put(p, p->type);
}

static void as_compact(struct place *p)
{
    hsize_t few[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    H5Sclose(p->space);
    p->space = H5Screate_simple(p->n_dims, few, NULL);
    H5Pset_layout(p->dcpl, H5D_COMPACT);
    put(p, p->type);
}

static void as_external_file(struct place *p)
{
    H5Pset_external(p->dcpl, outside, 0, H5F_UNLIMITED);
    put(p, p->type);
}

static void as_virtual(struct place *p, const char *file)
{
    H5Pset_layout(p->dcpl, H5D_VIRTUAL);
    H5Pset_virtual(p->dcpl, p->space, file, "/moved", p->space);
    put(p, p->type);
}

static void as_virtual_inside(struct place *p)
{
    as_virtual(p, ".");
}

static void as_virtual_outside(struct place *p)
{
    as_virtual(p, outside);
}

static void as_unlimited_virtual(struct place *p)
{
    hsize_t most[8], once[8], ever[8];
    for (int i = 0; i < 8; i++) {
        most[i] = i == 0 ? H5S_UNLIMITED : p->dims[i];
        once[i] = 1;
        ever[i] = i == 0 ? H5S_UNLIMITED : 1;
    }
    const hsize_t origin[8] = {0};
    H5Sclose(p->space);
    p->space = H5Screate_simple(p->n_dims, p->dims, most);
    H5Sselect_hyperslab(p->space, H5S_SELECT_SET, origin, once, ever, p->dims);
    as_virtual(p, outside);
}

static void as_soft_link(struct place *p)
{
    H5Lcreate_soft("/moved", p->file, p->name, H5P_DEFAULT, H5P_DEFAULT);
}

static void as_external_link(struct place *p)
{
    H5Lcreate_external(outside, "/x", p->file, p->name, H5P_DEFAULT, H5P_DEFAULT);
}

static void as_group(struct place *p)
{
    H5Gclose(H5Gcreate2(p->file, p->name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void as_named_type(struct place *p)
{
    hid_t type = H5Tcopy(p->type);
    H5Tcommit2(p->file, p->name, type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(type);
}

static void of_named_type(struct place *p)
{
    hid_t type = H5Tcopy(p->type);
    H5Tcommit2(p->file, "/a type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put(p, type);
    H5Tclose(type);
}

static void of_text_of_any_length(struct place *p)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    put(p, type);
    H5Tclose(type);
}

static void of_sequences(struct place *p)
{
    hid_t type = H5Tvlen_create(H5T_NATIVE_INT);
    put(p, type);
    H5Tclose(type);
}

static void of_records(struct place *p)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(type, "a", 0, H5T_STD_U32LE);
    H5Tinsert(type, "b", 4, H5T_IEEE_F32LE);
    put(p, type);
    H5Tclose(type);
}

static void of_arrays(struct place *p)
{
    const hsize_t two[1] = {2};
    hid_t type = H5Tarray_create2(H5T_STD_U32LE, 1, two);
    put(p, type);
    H5Tclose(type);
}

static void of_enums(struct place *p)
{
    const int one = 1;
    hid_t type = H5Tenum_create(H5T_STD_I32LE);
    H5Tenum_insert(type, "one", &one);
    put(p, type);
    H5Tclose(type);
}

static void of_object_references(struct place *p)
{
    put(p, H5T_STD_REF_OBJ);
}

static void of_region_references(struct place *p)
{
    put(p, H5T_STD_REF_DSETREG);
}

static void of_bitfields(struct place *p)
{
    put(p, H5T_STD_B64LE);
}

static void never_written(struct place *p)
{
    H5Pset_alloc_time(p->dcpl, H5D_ALLOC_TIME_LATE);
    put(p, p->type);
}

/* As many elements as HDF5 lets a dataset claim. */
static void of_huge_dimensions(struct place *p)
{
    hsize_t huge[8] = {((hsize_t)1 << 62) / H5Tget_size(p->type), 1, 1};
    H5Sclose(p->space);
    p->space = H5Screate_simple(p->n_dims, huge, NULL);
    never_written(p);
}

static void of_no_elements(struct place *p)
{
    H5Sclose(p->space);
    p->space = H5Screate(H5S_NULL);
    put(p, p->type);
}

static const struct {
    const char *name;
    void (*put)(struct place *p);
} TRICKS[] = {
#define TRICK(f)                                                                                   \
    {                                                                                              \
#f, f                                                                                      \
    }
    TRICK(as_chunks),
    TRICK(as_filtered_chunks),
    TRICK(as_compact),
    TRICK(as_external_file),
    TRICK(as_virtual_inside),
    TRICK(as_virtual_outside),
    TRICK(as_unlimited_virtual),
    TRICK(as_soft_link),
    TRICK(as_external_link),
    TRICK(as_group),
    TRICK(as_named_type),
    TRICK(of_named_type),
    TRICK(of_text_of_any_length),
    TRICK(of_sequences),
    TRICK(of_records),
    TRICK(of_arrays),
    TRICK(of_enums),
    TRICK(of_object_references),
    TRICK(of_region_references),
    TRICK(of_bitfields),
    TRICK(of_huge_dimensions),
    TRICK(never_written),
    TRICK(of_no_elements),
#undef TRICK
};
enum { N_TRICKS = sizeof TRICKS / sizeof *TRICKS };

/* ---- forging ---- */

static void copy_whole(const struct target *t)
{
    char *bytes, path[FS_PATH_MAX];
    size_t n;
    snprintf(path, sizeof path, "%s", in_folder(t->file));
    if (!fs_exists(path))
        t->make(path);
    ck_assert_int_eq(fs_read_file(path, 0, &bytes, &n), OK);
    ck_assert_int_eq(fs_write_file(forged, bytes, n), OK);
    mem_free(bytes);
}

/* The file, writable, with the dataset moved away; what it was, in *p. */
static void open_place(struct place *p, const struct target *t)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), d;
    H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    copy_whole(t);
    *p = (struct place){.file = H5Fopen(forged, H5F_ACC_RDWR, fapl), .name = t->dataset};
    H5Pclose(fapl);
    d = H5Dopen2(p->file, t->dataset, H5P_DEFAULT);
    ck_assert(p->file >= 0 && d >= 0);
    p->type = H5Dget_type(d);
    p->space = H5Dget_space(d);
    p->n_dims = H5Sget_simple_extent_dims(p->space, p->dims, NULL);
    p->dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_alloc_time(p->dcpl, H5D_ALLOC_TIME_EARLY);
    H5Dclose(d);
    ck_assert(H5Lmove(p->file, t->dataset, p->file, "/moved", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

static void close_place(struct place *p)
{
    H5Tclose(p->type);
    H5Sclose(p->space);
    H5Pclose(p->dcpl);
    ck_assert(H5Fclose(p->file) >= 0);
}

static void refused(const struct target *t, const char *trick)
{
    alarm(TOO_LONG_S);
    int rc = t->read(forged);
    alarm(0);
    ck_assert_msg(rc == E_DATA, "%s of %s %s: %d %s", t->dataset, t->file, trick, rc,
                  err_message());
    ck_assert_msg(strstr(err_message(), strrchr(t->dataset, '/') + 1) != NULL &&
                      strstr(err_message(), forged) != NULL,
                  "%s %s is not named: %s", t->dataset, trick, err_message());
    err_clear();
}

START_TEST(whole_files_are_read)
{
    const struct target *t = &TARGETS[_i];
    copy_whole(t);
    ck_assert_msg(t->read(forged) == OK, "%s", err_message());
}
END_TEST

START_TEST(every_trick_is_refused)
{
    const struct target *t = &TARGETS[_i];
    for (int i = 0; i < N_TRICKS; i++) {
        struct place p;
        mark_point();
        open_place(&p, t);
        TRICKS[i].put(&p);
        close_place(&p);
        refused(t, TRICKS[i].name);
    }
}
END_TEST

/* HDF5's own sum of metadata: in the library, but in no header. */
uint32_t H5_checksum_metadata(const void *data, size_t n, uint32_t start);

/* Sets right the sum of the object header (version 2) that begins here. */
static void seal(unsigned char *header)
{
    const unsigned flags = header[5];
    size_t at = 6 + ((flags & 0x20) != 0 ? 16 : 0) + ((flags & 0x10) != 0 ? 4 : 0), n = 0;
    for (unsigned i = 0; i < 1u << (flags & 3); i++)
        n |= (size_t)header[at + i] << (8 * i);
    n += at + (1u << (flags & 3));
    uint32_t sum = H5_checksum_metadata(header, n, 0);
    memcpy(header + n, &sum, sizeof sum);
}

/* A dataset's data are said to begin elsewhere, by its message of the layout: version 3,
 * contiguous, address, length. */
static void move_data(haddr_t from, haddr_t to)
{
    char *bytes, *at, want[10] = {3, 1};
    size_t n;
    memcpy(want + 2, &from, 8);
    ck_assert_int_eq(fs_read_file(forged, 0, &bytes, &n), OK);
    at = memmem(bytes, n, want, sizeof want);
    ck_assert_ptr_nonnull(at);
    memcpy(at + 2, &to, 8);
    while (at > bytes && memcmp(at, "OHDR", 4) != 0)
        at--;
    seal((unsigned char *)at);
    ck_assert_int_eq(fs_write_file(forged, bytes, n), OK);
    mem_free(bytes);
}

static haddr_t place_of(hid_t file, const char *name)
{
    hid_t d = H5Dopen2(file, name, H5P_DEFAULT);
    haddr_t at = H5Dget_offset(d);
    H5Dclose(d);
    ck_assert(at != HADDR_UNDEF);
    return at;
}

/* NULL: onto the file's own superblock. */
static void put_onto(const struct target *t, const char *other)
{
    struct place p;
    haddr_t to = 0;
    open_place(&p, t);
    put(&p, p.type);
    haddr_t from = place_of(p.file, t->dataset);
    if (other != NULL)
        to = place_of(p.file, other);
    H5Ldelete(p.file, "/moved", H5P_DEFAULT);
    close_place(&p);
    move_data(from, to);
    alarm(TOO_LONG_S);
    int rc = t->read(forged);
    alarm(0);
    ck_assert_msg(rc == E_DATA, "%s of %s onto %s: %d", t->dataset, t->file,
                  other != NULL ? other : "the superblock", rc);
    ck_assert_msg(strstr(err_message(), other != NULL ? "overlap" : "superblock") != NULL, "%s",
                  err_message());
    err_clear();
}

START_TEST(data_on_other_data_are_refused)
{
    const struct target *t = &TARGETS[_i];
    if (strcmp(t->dataset, "/step") != 0) /* whose attribute is asked for first */
        put_onto(t, NULL);
    if (t->other != NULL)
        put_onto(t, t->other);
}
END_TEST

START_TEST(a_user_block_is_refused)
{
    const struct target *t = &TARGETS[_i];
    static char bytes[4096];
    char *rest;
    size_t n;
    copy_whole(t);
    ck_assert_int_eq(fs_read_file(forged, 0, &rest, &n), OK);
    int fd = open(forged, O_WRONLY | O_TRUNC);
    ck_assert_int_eq(fs_pwrite(fd, bytes, 512, 0, forged), OK);
    ck_assert_int_eq(fs_pwrite(fd, rest, n, 512, forged), OK);
    close(fd);
    mem_free(rest);
    ck_assert_int_eq(t->read(forged), E_DATA);
    ck_assert_msg(strstr(err_message(), "user block") != NULL, "%s", err_message());
    err_clear();
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
    const struct target *t = &TARGETS[_i];
    alarm(TOO_LONG_S);
    ck_assert_int_eq(t->read(outside), E_DATA);
    ck_assert_int_eq(t->read("/dev/zero"), E_DATA);
    alarm(0);
    err_clear();
}
END_TEST

/* ---- groups and attributes ---- */

static size_t no_filter(unsigned flags, size_t n, const unsigned values[], size_t bytes,
                        size_t *room, void **buf)
{
    (void)flags, (void)n, (void)values, (void)room, (void)buf;
    return bytes;
}

/* A group's links may pass through a filter: HDF5 would look for its program in a folder that the
 * environment names. */
START_TEST(a_group_s_filter_is_not_looked_for)
{
    enum { FILTER = 300 };
    const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, FILTER, 1, 1, "its own", NULL, NULL, no_filter};
    unsigned plugins = 1;
    copy_whole(&TARGETS[0]);
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), gcpl = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Zregister(&filter);
    H5Pset_link_phase_change(gcpl, 0, 0);
    H5Pset_filter(gcpl, FILTER, 0, 0, NULL);
    hid_t f = H5Fopen(forged, H5F_ACC_RDWR, fapl);
    ck_assert(H5Lmove(f, "/params", f, "/moved", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    hid_t g = H5Gcreate2(f, "/params", H5P_DEFAULT, gcpl, H5P_DEFAULT);
    ck_assert(H5Lmove(f, "/moved/model.norm.weight", g, "model.norm.weight", H5P_DEFAULT,
                      H5P_DEFAULT) >= 0);
    ck_assert(
        H5Lmove(f, "/moved/model.up.weight", g, "model.up.weight", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Gclose(g);
    H5Pclose(gcpl);
    H5Pclose(fapl);
    ck_assert(H5Fclose(f) >= 0);
    H5Zunregister(FILTER);
    ck_assert_int_eq(read_checkpoint(forged), E_DATA);
    ck_assert(H5PLget_loading_state(&plugins) >= 0 && plugins == 0);
    err_clear();
}
END_TEST

static void put_attribute(const char *name, hid_t type, hsize_t n, const void *value)
{
    copy_whole(&TARGETS[0]);
    hid_t f = H5Fopen(forged, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &n, NULL);
    H5Adelete(f, name);
    hid_t a = H5Acreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert(f >= 0 && a >= 0);
    ck_assert(value == NULL || H5Awrite(a, type, value) >= 0);
    H5Aclose(a);
    H5Sclose(space);
    ck_assert(H5Fclose(f) >= 0);
}

static void attribute_refused(const char *name)
{
    ck_assert_msg(read_checkpoint(forged) == E_DATA, "attribute %s", name);
    ck_assert_msg(strstr(err_message(), name) != NULL, "%s: %s", name, err_message());
    err_clear();
}

START_TEST(attributes_of_another_kind_are_refused)
{
    static const int64_t many[1000];
    const char *word = "words of any length";
    hid_t text = H5Tcopy(H5T_C_S1), huge = H5Tcopy(H5T_C_S1), wide = H5Tcopy(H5T_STD_I64LE);
    H5Tset_size(text, H5T_VARIABLE);
    H5Tset_size(huge, 60000);
    H5Tset_size(wide, 64);
    put_attribute("config", text, 1, &word);
    attribute_refused("config");
    put_attribute("run_id", huge, 1, NULL);
    attribute_refused("run_id");
    put_attribute("step", H5T_STD_I64LE, 1000, many);
    attribute_refused("step");
    put_attribute("step", wide, 1, NULL);
    attribute_refused("step");
    put_attribute("step", H5T_STD_REF_OBJ, 1, NULL);
    attribute_refused("step");
    put_attribute("step", H5T_IEEE_F64LE, 1, NULL);
    attribute_refused("step");
    H5Tclose(text);
    H5Tclose(huge);
    H5Tclose(wide);
}
END_TEST

/* ---- a checkpoint of very many names ---- */

enum { MANY = 40000, NAME_BYTES = 120 };

/* Columns of a table of sums that names the same dataset over and over. */
static struct {
    char name[MANY][NAME_BYTES];
    uint32_t block[MANY], crc[MANY];
} many;

static void name_the_same(hid_t file)
{
    hid_t d = H5Dopen2(file, "/params/model.norm.weight", H5P_DEFAULT);
    for (int i = 0; i < MANY; i++) {
        snprintf(many.name[i], NAME_BYTES, "/many/%0100d", i); /* alike for long */
        ck_assert(H5Lcreate_hard(d, ".", file, many.name[i], H5P_DEFAULT, H5P_DEFAULT) >= 0);
    }
    H5Dclose(d);
}

static void put_column(hid_t file, const char *name, hid_t type, const void *values)
{
    const hsize_t n[1] = {MANY};
    ck_assert(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    ck_assert_int_eq(h5x_put_array(file, name, type, 1, n, values, NULL), OK);
}

static void put_table(hid_t file)
{
    struct sha256 s;
    char hash[65];
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, NAME_BYTES);
    H5Tset_cset(text, H5T_CSET_UTF8);
    H5Tset_strpad(text, H5T_STR_NULLPAD);
    put_column(file, "/sums/dataset", text, many.name);
    put_column(file, "/sums/block", H5T_STD_U32LE, many.block);
    put_column(file, "/sums/crc32c", H5T_STD_U32LE, many.crc);
    H5Tclose(text);
    sha256_init(&s);
    sha256_add(&s, many.name, sizeof many.name);
    sha256_add(&s, many.block, sizeof many.block);
    sha256_add(&s, many.crc, sizeof many.crc);
    sha256_hex(&s, hash);
    ck_assert_int_eq(h5x_put_text(file, "sums_sha256", hash), OK);
}

static void make_many(void)
{
    hid_t f;
    copy_whole(&TARGETS[0]);
    ck_assert_int_eq(h5x_open(&f, forged, true), OK);
    H5Gclose(H5Gcreate2(f, "/many", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    name_the_same(f);
    put_table(f);
    ck_assert_int_eq(h5x_close(&f), OK);
}

static void look_at_many(void)
{
    hid_t f;
    struct h5x_array a;
    ck_assert_int_eq(h5x_open(&f, forged, false), OK);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(h5x_describe(f, many.name[i], &a), OK);
    ck_assert_int_eq(h5x_close(&f), OK);
}

/* Not all pairs of names are compared: it takes not much longer than to look at each. */
START_TEST(very_many_names_are_refused_soon)
{
    make_many();
    clock_t begun = clock();
    look_at_many();
    clock_t looked = clock();
    ck_assert_int_eq(read_checkpoint(forged), E_DATA);
    double once_s = (double)(looked - begun) / CLOCKS_PER_SEC;
    double read_s = (double)(clock() - looked) / CLOCKS_PER_SEC;
    ck_assert_msg(strstr(err_message(), "datasets, but /sums") != NULL, "%s", err_message());
    ck_assert_msg(read_s < 3 * once_s, "%g s to read, %g s to look at each", read_s, once_s);
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    snprintf(outside, sizeof outside, "%s", in_folder("outside"));
    snprintf(forged, sizeof forged, "%s", in_folder("forged.h5"));
    mkfifo(outside, 0600);
    mkdir(in_folder("metrics"), 0700);
    tcase_add_loop_test(t, whole_files_are_read, 0, N_TARGETS);
    tcase_add_loop_test(t, every_trick_is_refused, 0, N_TARGETS);
    tcase_add_loop_test(t, data_on_other_data_are_refused, 0, N_TARGETS);
    tcase_add_loop_test(t, a_user_block_is_refused, 0, N_TARGETS);
    tcase_add_loop_test(t, what_is_no_file_is_refused, 0, N_TARGETS);
    tcase_add_test(t, a_group_s_filter_is_not_looked_for);
    tcase_add_test(t, attributes_of_another_kind_are_refused);
    tcase_add_test(t, very_many_names_are_refused_soon);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/hostile", add);
}
