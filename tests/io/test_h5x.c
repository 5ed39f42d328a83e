/* HDF5 helpers: what is written is read back; what is not plain is refused; errors carry words. */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "check_main.h"
#include "io/h5x.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/carat-h5x-XXXXXX";
static char path[256];

static hid_t fresh(const char *name)
{
    hid_t f;
    snprintf(path, sizeof path, "%s/%s.h5", dir, name);
    unlink(path);
    ck_assert_int_eq(h5x_create(&f, path), OK);
    return f;
}

static hid_t reopened(hid_t f)
{
    ck_assert_int_eq(h5x_close(&f), OK);
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    return f;
}

START_TEST(attributes_round_trip)
{
    hid_t f = fresh("attrs");
    ck_assert_int_eq(h5x_put_i64(f, "i", INT64_MIN), OK);
    ck_assert_int_eq(h5x_put_f64(f, "x", -0.1), OK);
    ck_assert_int_eq(h5x_put_text(f, "t", "gr\xc3\xbc\xc3\x9f dich"), OK);
    ck_assert_int_eq(h5x_put_text(f, "empty", ""), OK);
    ck_assert_int_eq(h5x_put_i64(f, "i", 42), OK);
    ck_assert_int_eq(h5x_put_text(f, "t2", "short"), OK);
    ck_assert_int_eq(h5x_put_text(f, "t2", "a longer text"), OK);
    f = reopened(f);
    int64_t i;
    double x;
    char t[32];
    ck_assert_int_eq(h5x_get_i64(f, "i", &i), OK);
    ck_assert_int_eq(i, 42);
    ck_assert_int_eq(h5x_get_f64(f, "x", &x), OK);
    ck_assert(x == -0.1);
    ck_assert_int_eq(h5x_get_text(f, "t", t, sizeof t), OK);
    ck_assert_str_eq(t, "gr\xc3\xbc\xc3\x9f dich");
    ck_assert_int_eq(h5x_get_text(f, "empty", t, sizeof t), OK);
    ck_assert_str_eq(t, "");
    ck_assert_int_eq(h5x_get_text(f, "t2", t, sizeof t), OK);
    ck_assert_str_eq(t, "a longer text");
    ck_assert(h5x_has_attr(f, "t2") && !h5x_has_attr(f, "none"));
    h5x_close(&f);
}
END_TEST

/* One value written over two would be read for two. */
START_TEST(an_attribute_of_two_becomes_one)
{
    hid_t f = fresh("two");
    const hsize_t two = 2;
    hid_t space = H5Screate_simple(1, &two, NULL);
    hid_t a = H5Acreate2(f, "i", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    int64_t i = 0;
    H5Aclose(a);
    H5Sclose(space);
    ck_assert_int_eq(h5x_get_i64(f, "i", &i), E_DATA);
    ck_assert_int_eq(h5x_put_i64(f, "i", 7), OK);
    ck_assert_int_eq(h5x_get_i64(f, "i", &i), OK);
    ck_assert_int_eq(i, 7);
    h5x_close(&f);
}
END_TEST

START_TEST(attributes_of_another_kind_are_refused_by_name)
{
    hid_t f = fresh("kinds");
    int64_t i;
    double x;
    char t[8];
    ck_assert_int_eq(h5x_put_text(f, "word", "seven"), OK);
    ck_assert_int_eq(h5x_put_text(f, "long", "far too long"), OK);
    ck_assert_int_eq(h5x_get_i64(f, "word", &i), E_DATA);
    ck_assert(strstr(err_message(), "word") != NULL);
    ck_assert_int_eq(h5x_get_f64(f, "gone", &x), E_DATA);
    ck_assert(strstr(err_message(), "gone") != NULL);
    ck_assert_int_eq(h5x_get_text(f, "long", t, sizeof t), E_DATA);
    char *big = calloc(1, 70000);
    memset(big, 'x', 69999);
    ck_assert_int_eq(h5x_put_text(f, "big", big), E_CONFIG);
    free(big);
    h5x_close(&f);
}
END_TEST

START_TEST(large_texts_stay_in_the_checked_header)
{
    /* Dense storage would keep them unprotected; a flipped byte must be noticed on opening. */
    char big[20001];
    memset(big, 'q', 20000);
    big[20000] = '\0';
    hid_t f = fresh("big");
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%d", i);
        ck_assert_int_eq(h5x_put_text(f, name, i == 20 ? big : "small"), OK);
    }
    h5x_close(&f);
    char *text;
    size_t n;
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    char *at = memmem(text, n, "qqqqqqqqqqqqqqqq", 16);
    ck_assert_ptr_nonnull(at);
    at[5000] = 'p';
    ck_assert_int_eq(fs_write_file(path, text, n), OK);
    mem_free(text);
    char *got = NULL;
    int rc = h5x_open(&f, path, false);
    if (rc == OK)
        rc = h5x_get_text_alloc(f, "a20", 1 << 16, &got);
    mem_free(got);
    h5x_close(&f);
    ck_assert_int_eq(rc, E_DATA);
}
END_TEST

START_TEST(arrays_round_trip_and_tell_their_place)
{
    hid_t f = fresh("arrays");
    float v[2][3] = {{1, 2, 3}, {4, 5, NAN}};
    const hsize_t dims[2] = {2, 3}, none[1] = {0}, big[1] = {300000};
    ck_assert_int_eq(h5x_put_array(f, "/a/b/c", H5T_IEEE_F32LE, 2, dims, v, "six numbers"), OK);
    ck_assert_int_eq(h5x_make_dataset(f, "/a/none", H5T_STD_U16LE, 1, none, NULL), OK);
    ck_assert_int_eq(h5x_make_dataset(f, "/a/big", H5T_STD_U32LE, 1, big, NULL), OK);
    f = reopened(f);
    struct h5x_array a;
    ck_assert_int_eq(h5x_describe(f, "/a/b/c", &a), OK);
    ck_assert(a.class == H5T_FLOAT && a.elem_bytes == 4 && a.n_dims == 2 && a.n == 6);
    ck_assert(a.dims[0] == 2 && a.dims[1] == 3);
    float back[6];
    int fd = open(path, O_RDONLY);
    ck_assert_int_eq(fs_pread(fd, back, sizeof back, a.offset, path), OK);
    close(fd);
    ck_assert_int_eq(memcmp(back, v, sizeof v), 0);
    ck_assert_int_eq(h5x_describe(f, "/a/none", &a), OK);
    ck_assert(a.n == 0 && a.offset == -1 && a.class == H5T_INTEGER && !a.is_signed);
    ck_assert_int_eq(h5x_describe(f, "/a/big", &a), OK);
    ck_assert_int_eq(a.offset % (1 << 20), 0);
    void *got;
    size_t n;
    ck_assert_int_eq(h5x_get_array(f, "/a/b/c", H5T_NATIVE_FLOAT, 6, &got, &n), OK);
    ck_assert(n == 6 && memcmp(got, v, sizeof v) == 0);
    mem_free(got);
    ck_assert_int_eq(h5x_get_array(f, "/a/b/c", H5T_NATIVE_FLOAT, 5, &got, &n), E_DATA);
    ck_assert_int_eq(h5x_get_array(f, "/a/b/c", H5T_NATIVE_INT, 6, &got, &n), E_DATA);
    h5x_close(&f);
}
END_TEST

START_TEST(what_is_not_plain_is_refused)
{
    hid_t f = fresh("foreign");
    const hsize_t dims[1] = {8};
    int v[8] = {0};
    ck_assert_int_eq(h5x_put_array(f, "/plain", H5T_STD_I32LE, 1, dims, v, NULL), OK);
    H5Lcreate_soft("/plain", f, "/soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("/etc/passwd", "/x", f, "/external", H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, dims, NULL), dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(dcpl, 1, dims);
    H5Dclose(H5Dcreate2(f, "/chunked", H5T_STD_I32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    H5Pclose(dcpl);
    dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(dcpl, "/etc/passwd", 0, 32);
    H5Dclose(H5Dcreate2(f, "/outside", H5T_STD_I32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    H5Pclose(dcpl);
    H5Dclose(H5Dcreate2(f, "/late", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Dclose(H5Dcreate2(f, "/bigend", H5T_STD_I32BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    hid_t vlen = H5Tvlen_create(H5T_NATIVE_INT);
    H5Dclose(H5Dcreate2(f, "/vlen", vlen, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(vlen);
    H5Sclose(space);
    f = reopened(f);
    static const char *const bad[] = {"/soft", "/external", "/chunked", "/outside",
                                      "/late", "/bigend",   "/vlen",    "/none",
                                      "/",     "",          "/plain/x"};
    struct h5x_array a;
    ck_assert_int_eq(h5x_describe(f, "/plain", &a), OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(h5x_describe(f, bad[i], &a) == E_DATA, "%s was accepted", bad[i]);
        ck_assert_msg(strstr(err_message(), bad[i]) != NULL, "%s: %s", bad[i], err_message());
    }
    h5x_close(&f);
}
END_TEST

START_TEST(a_file_cut_short_is_noticed)
{
    hid_t f = fresh("cut");
    const hsize_t dims[1] = {100000};
    ck_assert_int_eq(h5x_make_dataset(f, "/x", H5T_IEEE_F32LE, 1, dims, NULL), OK);
    h5x_close(&f);
    ck_assert_int_eq(truncate(path, fs_size(path) - 1), 0);
    struct h5x_array a;
    int rc = h5x_open(&f, path, false);
    if (rc == OK)
        rc = h5x_describe(f, "/x", &a);
    h5x_close(&f);
    ck_assert_int_eq(rc, E_DATA);
}
END_TEST

START_TEST(files_are_not_overwritten_and_errors_have_words)
{
    hid_t f = fresh("once");
    h5x_close(&f);
    ck_assert_int_eq(h5x_create(&f, path), E_IO);
    ck_assert_msg(strstr(err_message(), "once.h5") != NULL, "%s", err_message());
    ck_assert_int_eq(h5x_create(&f, "/nonexistent/folder/x.h5"), E_IO);
    ck_assert_msg(strstr(err_message(), "No such file") != NULL, "%s", err_message());
    ck_assert_int_eq(h5x_open(&f, "/nonexistent.h5", false), E_DATA);
    ck_assert_int_eq(h5x_open(&f, dir, false), E_DATA);
    char text[256];
    snprintf(text, sizeof text, "%s/text.h5", dir);
    ck_assert_int_eq(fs_write_file(text, "not HDF5", 8), OK);
    ck_assert_int_eq(h5x_open(&f, text, false), E_DATA);
    ck_assert_msg(strstr(err_message(), "not an HDF5 file") != NULL, "%s", err_message());
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, attributes_round_trip);
    tcase_add_test(t, an_attribute_of_two_becomes_one);
    tcase_add_test(t, attributes_of_another_kind_are_refused_by_name);
    tcase_add_test(t, large_texts_stay_in_the_checked_header);
    tcase_add_test(t, arrays_round_trip_and_tell_their_place);
    tcase_add_test(t, what_is_not_plain_is_refused);
    tcase_add_test(t, a_file_cut_short_is_noticed);
    tcase_add_test(t, files_are_not_overwritten_and_errors_have_words);
}

int main(void)
{
    if (mkdtemp(dir) == NULL)
        return EXIT_FAILURE;
    int status = run_suite("io/h5x", add);
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) == 0 ? status : EXIT_FAILURE;
}
