/* What is written is read back; what is damaged or forged is refused with a reason. */
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "io/h5x.h"
#include "store_fixture.h"

#include <dirent.h>
#include <hdf5.h>

static const int docs[] = {3, 1, 7, 5, 2, 4, 9, 6};
enum { N_DOCS = sizeof docs / sizeof docs[0], N_TOKENS = 37 };

static void opens(struct store *s, enum split split)
{
    ck_assert_msg(store_open(s, fixture_path, split) == OK, "%s", err_message());
}

START_TEST(all_in_one_split)
{
    struct store s;
    int32_t ids[N_TOKENS];
    fixture_enter();
    struct store_counts c = fixture_write(1000, docs, N_DOCS, 0, 0);
    ck_assert_uint_eq(c.train_tokens, N_TOKENS);
    ck_assert_uint_eq(c.train_docs, N_DOCS);
    ck_assert_uint_eq(c.valid_tokens + c.valid_docs, 0);
    opens(&s, SPLIT_TRAIN);
    ck_assert_uint_eq(s.n_tokens, N_TOKENS);
    ck_assert_uint_eq(s.n_docs, N_DOCS);
    ck_assert_int_eq(s.vocab, 1000);
    ck_assert_int_eq(s.token_bytes, 2);
    ck_assert_str_eq(s.tokenizer_hash, "abc");
    ck_assert_str_eq(s.data_hash, c.data_hash);
    ck_assert_int_eq(store_read(&s, 0, N_TOKENS, ids), OK);
    for (int i = 0; i < N_TOKENS; i++)
        ck_assert_int_eq(ids[i], i);
    uint64_t at = 0;
    for (int i = 0; i < N_DOCS; i++) {
        ck_assert_uint_eq(s.doc_offset[i], at);
        at += (uint64_t)docs[i];
    }
    ck_assert_int_eq(store_read(&s, 30, 7, ids), OK);
    ck_assert_int_eq(ids[0], 30);
    ck_assert_int_eq(store_read(&s, 30, 8, ids), E_BUG);
    ck_assert_int_eq(store_read(&s, UINT64_MAX, 8, ids), E_BUG);
    store_close(&s);
    opens(&s, SPLIT_VALID);
    ck_assert_uint_eq(s.n_tokens, 0);
    ck_assert_uint_eq(s.n_docs, 0);
    store_close(&s);
    fixture_leave();
}
END_TEST

/* The documents of a split as a set: bit i for the document that begins with docs' i-th token. */
static unsigned documents_of(enum split split)
{
    struct store s;
    int32_t first;
    unsigned set = 0;
    opens(&s, split);
    for (uint64_t d = 0; d < s.n_docs; d++) {
        ck_assert_int_eq(store_read(&s, s.doc_offset[d], 1, &first), OK);
        int at = 0, i = 0;
        for (; i < N_DOCS && at != first; i++)
            at += docs[i];
        ck_assert_int_lt(i, N_DOCS);
        ck_assert_uint_eq(s.doc_offset[d + 1] - s.doc_offset[d], (uint64_t)docs[i]);
        ck_assert(!(set & 1u << i));
        ck_assert_msg(set < 1u << i, "documents keep their order");
        set |= 1u << i;
    }
    store_close(&s);
    return set;
}

START_TEST(splits_share_nothing)
{
    unsigned before = 0, differ = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
        fixture_enter();
        struct store_counts c = fixture_write(1000, docs, N_DOCS, 3, seed);
        ck_assert_uint_eq(c.valid_docs, 3);
        ck_assert_uint_eq(c.train_tokens + c.valid_tokens, N_TOKENS);
        unsigned train = documents_of(SPLIT_TRAIN), valid = documents_of(SPLIT_VALID);
        ck_assert_uint_eq(train & valid, 0);
        ck_assert_uint_eq(train | valid, (1u << N_DOCS) - 1);
        differ += seed > 0 && valid != before;
        before = valid;
        fixture_leave();
    }
    ck_assert_uint_ge(differ, 3);
}
END_TEST

START_TEST(narrowest_type)
{
    static const struct {
        int vocab, bytes;
    } rows[] = {{1, 1}, {256, 1}, {257, 2}, {65536, 2}, {65537, 4}, {262144, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct store s;
        struct store_writer *w;
        struct store_counts c;
        const struct store_facts f = {.tokenizer_hash = ""};
        const struct store_division d = {0};
        int32_t ids[2] = {0, rows[i].vocab - 1}, back[2];
        fixture_enter();
        ck_assert_int_eq(store_writer_new(&w, fixture_path, rows[i].vocab), OK);
        ck_assert_int_eq(store_writer_add(w, ids, 2), OK);
        ck_assert_int_eq(store_writer_finish(w, &f, &d, &c), OK); /* ends the document */
        store_writer_free(w);
        opens(&s, SPLIT_TRAIN);
        ck_assert_int_eq(s.token_bytes, rows[i].bytes);
        ck_assert_int_eq(store_read(&s, 0, 2, back), OK);
        ck_assert_mem_eq(ids, back, sizeof ids);
        store_close(&s);
        fixture_leave();
    }
}
END_TEST

START_TEST(ids_outside_are_a_bug)
{
    struct store_writer *w;
    const int32_t high = 300, low = -1;
    fixture_enter();
    ck_assert_int_eq(store_writer_new(&w, fixture_path, 300), OK);
    ck_assert_int_eq(store_writer_add(w, &high, 1), E_BUG);
    ck_assert_int_eq(store_writer_add(w, &low, 1), E_BUG);
    store_writer_free(w);
    fixture_leave();
}
END_TEST

/* Longer than every buffer on the way. */
START_TEST(long_documents)
{
    enum { N = 3000000 };
    const int lengths[] = {N, 1, N};
    struct store s;
    struct sha256 sum;
    char hex[65];
    int32_t ids[1000];
    uint16_t raw[1000];
    int wrong = 0;
    fixture_enter();
    struct store_counts c = fixture_write(60000, lengths, 3, 0, 0);
    opens(&s, SPLIT_TRAIN);
    ck_assert_uint_eq(s.n_tokens, 2 * N + 1);
    sha256_init(&sum);
    for (uint64_t at = 0; at < s.n_tokens;) {
        size_t n = s.n_tokens - at < 1000 ? s.n_tokens - at : 1000;
        ck_assert_int_eq(store_read(&s, at, n, ids), OK);
        for (size_t i = 0; i < n; i++) {
            wrong += ids[i] != (int32_t)((at + i) % 60000);
            raw[i] = (uint16_t)ids[i];
        }
        sha256_add(&sum, raw, 2 * n);
        at += n;
    }
    ck_assert_int_eq(wrong, 0);
    sha256_hex(&sum, hex);
    ck_assert_str_eq(hex, c.data_hash); /* of the stored bytes */
    store_close(&s);
    fixture_leave();
}
END_TEST

START_TEST(the_tokenizer_comes_back)
{
    void *bytes;
    size_t n;
    fixture_enter();
    fixture_write(10, docs, N_DOCS, 1, 0);
    ck_assert_int_eq(store_tokenizer(fixture_path, &bytes, &n), OK);
    ck_assert_uint_eq(n, 5);
    ck_assert_mem_eq(bytes, "model", 5);
    mem_free(bytes);
    ck_assert_int_eq(store_tokenizer("/nowhere/x.h5", &bytes, &n), E_DATA);
    ck_assert_ptr_null(bytes);
    fixture_leave();
}
END_TEST

static int entries(void)
{
    DIR *d = opendir(fixture_dir);
    int n = -2;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static bool always(void)
{
    return true;
}

static void finish_fails(int want, bool (*stopped)(void), const char *fault)
{
    struct store_writer *w;
    struct store_counts c;
    const struct store_facts f = {.tokenizer_hash = ""};
    const struct store_division d = {.stopped = stopped};
    const int32_t id = 1;
    fixture_enter();
    ck_assert_int_eq(store_writer_new(&w, fixture_path, 10), OK);
    ck_assert_int_eq(store_writer_add(w, &id, 1), OK);
    ck_assert_int_eq(entries(), 0); /* nothing with a name while documents come in */
    if (fault != NULL)
        setenv("CARAT_FAULT", fault, 1);
    fault_rearm();
    ck_assert_int_eq(store_writer_finish(w, &f, &d, &c), want);
    unsetenv("CARAT_FAULT");
    fault_rearm();
    store_writer_free(w);
    ck_assert_int_eq(entries(), 0);
    fixture_leave();
}

START_TEST(failures_leave_nothing)
{
    finish_fails(E_STOPPED, always, NULL);
    finish_fails(E_IO, NULL, "fs.pwrite:0");
    finish_fails(E_IO, NULL, "fs.fsync:0");
    finish_fails(E_IO, NULL, "fs.rename:0");
}
END_TEST

START_TEST(no_folder_to_write_into)
{
    struct store_writer *w;
    ck_assert_int_eq(store_writer_new(&w, "/nowhere/tokens.h5", 10), E_IO);
    ck_assert_ptr_null(w);
    ck_assert_ptr_nonnull(strstr(err_message(), "/nowhere"));
}
END_TEST

/* ---- damaged and forged files: each begins whole and has one thing changed ---- */

static void refused(const char *want)
{
    struct store s;
    int rc = store_open(&s, fixture_path, SPLIT_TRAIN);
    ck_assert_int_eq(rc, E_DATA);
    ck_assert_msg(strstr(err_message(), want) != NULL, "want \"%s\" in: %s", want, err_message());
    ck_assert_ptr_nonnull(strstr(err_message(), fixture_path));
    ck_assert_int_eq(s.fd, -1);
    ck_assert_ptr_null(s.doc_offset);
}

static hid_t begin_damage(void)
{
    fixture_enter();
    fixture_write(1000, docs, N_DOCS, 0, 0);
    hid_t file = H5Fopen(fixture_path, H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert(file >= 0);
    return file;
}

static void end_damage(hid_t file, const char *want)
{
    ck_assert(H5Fclose(file) >= 0);
    refused(want);
    fixture_leave();
}

/* Puts another dataset of n elements in the place of name. */
static void replace(hid_t file, const char *name, hid_t type, int rank, hsize_t n, hid_t dcpl,
                    const void *data)
{
    hsize_t dims[2] = {n, 1};
    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        ck_assert(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    hid_t space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, dims, NULL);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    ck_assert(set >= 0);
    if (data != NULL)
        ck_assert(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

static void with_tokens(hid_t type, int rank, hsize_t n, hid_t dcpl, const char *want)
{
    static const double zero[64];
    hid_t file = begin_damage();
    replace(file, "train/tokens", type, rank, n, dcpl, zero);
    end_damage(file, want);
}

START_TEST(tokens_of_a_wrong_kind)
{
    with_tokens(H5T_STD_I16LE, 1, N_TOKENS, H5P_DEFAULT, "unsigned");
    with_tokens(H5T_IEEE_F32LE, 1, N_TOKENS, H5P_DEFAULT, "unsigned");
    with_tokens(H5T_STD_U64LE, 1, N_TOKENS, H5P_DEFAULT, "8 bytes");
    with_tokens(H5T_STD_U16BE, 1, N_TOKENS, H5P_DEFAULT, "little-endian");
    with_tokens(H5T_STD_U16LE, 2, N_TOKENS, H5P_DEFAULT, "one row");
    with_tokens(H5T_STD_U16LE, 0, 1, H5P_DEFAULT, "one row");
    with_tokens(H5T_STD_U16LE, 1, N_TOKENS - 1, H5P_DEFAULT, "37");
}
END_TEST

START_TEST(tokens_not_in_one_place)
{
    hsize_t chunk = 8;
    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(dcpl, 1, &chunk);
    with_tokens(H5T_STD_U16LE, 1, N_TOKENS, dcpl, "contiguous");
    H5Pclose(dcpl);
    dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(dcpl, H5D_COMPACT);
    with_tokens(H5T_STD_U16LE, 1, N_TOKENS, dcpl, "contiguous");
    H5Pclose(dcpl);
    dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(dcpl, "/dev/zero", 0, 2 * N_TOKENS);
    hid_t file = begin_damage();
    replace(file, "train/tokens", H5T_STD_U16LE, 1, N_TOKENS, dcpl, NULL);
    end_damage(file, "external");
    H5Pclose(dcpl);
}
END_TEST

START_TEST(tokens_never_written)
{
    hid_t file = begin_damage();
    replace(file, "train/tokens", H5T_STD_U16LE, 1, N_TOKENS, H5P_DEFAULT, NULL);
    end_damage(file, "train/tokens");
}
END_TEST

START_TEST(links_lead_nowhere)
{
    hid_t file = begin_damage();
    H5Ldelete(file, "train/tokens", H5P_DEFAULT);
    H5Lcreate_soft("/valid/tokens", file, "train/tokens", H5P_DEFAULT, H5P_DEFAULT);
    end_damage(file, "link");
    file = begin_damage();
    H5Ldelete(file, "train", H5P_DEFAULT);
    H5Lcreate_external("/etc/passwd", "/", file, "train", H5P_DEFAULT, H5P_DEFAULT);
    end_damage(file, "link");
    file = begin_damage();
    H5Ldelete(file, "train/tokens", H5P_DEFAULT);
    end_damage(file, "missing");
    file = begin_damage();
    H5Ldelete(file, "train", H5P_DEFAULT);
    end_damage(file, "missing");
}
END_TEST

static void with_offsets(const uint64_t *offsets, hsize_t n, const char *want)
{
    hid_t file = begin_damage();
    replace(file, "train/offsets", H5T_STD_U64LE, 1, n, H5P_DEFAULT, offsets);
    end_damage(file, want);
}

START_TEST(offsets_that_lie)
{
    static const uint64_t late[] = {1, 5, N_TOKENS}, back[] = {0, 20, 10, N_TOKENS},
                          still[] = {0, 10, 10, N_TOKENS}, small[] = {0, 10},
                          large[] = {0, 10, UINT64_MAX}, one[] = {0}, far[] = {0, 100, N_TOKENS};
    with_offsets(late, 3, "begins with 1");
    with_offsets(back, 4, "document 1");
    with_offsets(still, 4, "document 1");
    with_offsets(small, 2, "ends at 10");
    with_offsets(large, 3, "37 tokens");
    with_offsets(one, 1, "ends at 0");
    with_offsets(far, 3, "document 1");
    hid_t file = begin_damage();
    replace(file, "train/offsets", H5T_STD_U64LE, 1, 0, H5P_DEFAULT, NULL);
    end_damage(file, "train/offsets");
    file = begin_damage();
    static const uint32_t narrow[] = {0, N_TOKENS};
    replace(file, "train/offsets", H5T_STD_U32LE, 1, 2, H5P_DEFAULT, narrow);
    end_damage(file, "64-bit");
}
END_TEST

static void set_i64(hid_t file, const char *name, int64_t v)
{
    hid_t a = H5Aopen(file, name, H5P_DEFAULT);
    ck_assert(a >= 0 && H5Awrite(a, H5T_NATIVE_INT64, &v) >= 0);
    H5Aclose(a);
}

START_TEST(attributes_that_lie)
{
    hid_t file = begin_damage();
    set_i64(file, "format_version", 99);
    end_damage(file, "format 99");
    file = begin_damage();
    set_i64(file, "vocab", 0);
    end_damage(file, "vocabulary of 0");
    file = begin_damage();
    set_i64(file, "vocab", 1ll << 40);
    end_damage(file, "vocabulary");
    static const char *const needed[] = {"format_version", "vocab", "tokenizer_hash", "data_hash"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        file = begin_damage();
        H5Adelete(file, needed[i]);
        end_damage(file, i % 3 == 0 ? "no token store" : needed[i]);
    }
}
END_TEST

START_TEST(ids_outside_are_found_when_read)
{
    struct store s;
    int32_t ids[N_TOKENS];
    hid_t file = begin_damage();
    set_i64(file, "vocab", 30);
    ck_assert(H5Fclose(file) >= 0);
    opens(&s, SPLIT_TRAIN);
    ck_assert_int_eq(store_read(&s, 0, 30, ids), OK);
    ck_assert_int_eq(store_read(&s, 5, 27, ids), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "token 30 of train is 30"));
    store_close(&s);
    fixture_leave();
}
END_TEST

START_TEST(ids_with_the_highest_bit_are_found)
{
    struct store s;
    int32_t id;
    uint32_t tokens[N_TOKENS] = {0xFFFFFFFFu};
    hid_t file = begin_damage();
    replace(file, "train/tokens", H5T_STD_U32LE, 1, N_TOKENS, H5P_DEFAULT, tokens);
    ck_assert(H5Fclose(file) >= 0);
    opens(&s, SPLIT_TRAIN);
    ck_assert_int_eq(store_read(&s, 0, 1, &id), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "4294967295"));
    store_close(&s);
    fixture_leave();
}
END_TEST

START_TEST(torn_files)
{
    struct store s;
    int32_t ids[N_TOKENS];
    fixture_enter();
    fixture_write(1000, docs, N_DOCS, 0, 0);
    int64_t whole = fs_size(fixture_path);
    for (int64_t n = 0; n < whole; n += whole / 7) {
        fixture_write(1000, docs, N_DOCS, 0, 0);
        ck_assert_int_eq(truncate(fixture_path, n), 0);
        ck_assert_int_eq(store_open(&s, fixture_path, SPLIT_TRAIN), E_DATA);
    }
    /* Torn after it was opened. */
    fixture_write(1000, docs, N_DOCS, 0, 0);
    opens(&s, SPLIT_TRAIN);
    ck_assert_int_eq(truncate(fixture_path, s.token_offset + 10), 0);
    ck_assert_int_eq(store_read(&s, 0, 5, ids), OK);
    ck_assert_int_eq(store_read(&s, 0, 6, ids), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "torn"));
    store_close(&s);
    fixture_leave();
}
END_TEST

START_TEST(no_store_at_all)
{
    struct store s;
    fixture_enter();
    refused("no such file");
    ck_assert_int_eq(fs_write_file(fixture_path, "text", 4), OK);
    refused("HDF5");
    ck_assert_int_eq(store_open(&s, fixture_dir, SPLIT_TRAIN), E_DATA);
    hid_t file = H5Fcreate(fixture_path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refused("without metadata checksums");
    unlink(fixture_path);
    ck_assert_int_eq(h5x_create(&file, fixture_path), OK);
    ck_assert_int_eq(h5x_close(&file), OK);
    refused("no token store");
    fixture_leave();
}
END_TEST

START_TEST(a_failing_disk)
{
    struct store s;
    int32_t id;
    fixture_enter();
    fixture_write(1000, docs, N_DOCS, 0, 0);
    opens(&s, SPLIT_TRAIN);
    setenv("CARAT_FAULT", "store.read:0", 1);
    fault_rearm();
    ck_assert_int_eq(store_read(&s, 0, 1, &id), E_IO);
    unsetenv("CARAT_FAULT");
    fault_rearm();
    ck_assert_int_eq(store_read(&s, 0, 1, &id), OK);
    store_close(&s);
    fixture_leave();
}
END_TEST

START_TEST(nothing_is_left_behind)
{
    ck_assert_uint_eq(mem_bytes(), 0);
    ck_assert_int_eq((int)H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, all_in_one_split);
    tcase_add_test(t, splits_share_nothing);
    tcase_add_test(t, narrowest_type);
    tcase_add_test(t, ids_outside_are_a_bug);
    tcase_add_test(t, long_documents);
    tcase_add_test(t, the_tokenizer_comes_back);
    tcase_add_test(t, failures_leave_nothing);
    tcase_add_test(t, no_folder_to_write_into);
    tcase_add_test(t, tokens_of_a_wrong_kind);
    tcase_add_test(t, tokens_not_in_one_place);
    tcase_add_test(t, tokens_never_written);
    tcase_add_test(t, links_lead_nowhere);
    tcase_add_test(t, offsets_that_lie);
    tcase_add_test(t, attributes_that_lie);
    tcase_add_test(t, ids_outside_are_found_when_read);
    tcase_add_test(t, ids_with_the_highest_bit_are_found);
    tcase_add_test(t, torn_files);
    tcase_add_test(t, no_store_at_all);
    tcase_add_test(t, a_failing_disk);
    tcase_add_test(t, nothing_is_left_behind);
}

int main(void)
{
    return run_suite("data/store", add);
}
