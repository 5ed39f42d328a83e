/* Files are read and written whole, published by rename, and every failure is an error. */
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/mem.h"
#include "check_main.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[FS_PATH_MAX];

static void enter(void)
{
    strcpy(dir, "/tmp/carat-fs-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(fs_join(path, dir, "file"), OK);
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

static void leave(void)
{
    char command[128];
    unsetenv("CARAT_FAULT");
    fault_rearm();
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void arm(const char *spec)
{
    setenv("CARAT_FAULT", spec, 1);
    fault_rearm();
}

static void file_is(const char *want)
{
    char *text;
    size_t n;
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    ck_assert_uint_eq(n, strlen(want));
    ck_assert_str_eq(text, want);
    mem_free(text);
}

START_TEST(joins_paths)
{
    char buf[FS_PATH_MAX], big[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(buf, "a", "b"), OK);
    ck_assert_str_eq(buf, "a/b");
    ck_assert_int_eq(fs_join(buf, buf, "c"), OK);
    ck_assert_str_eq(buf, "a/b/c");
    ck_assert_int_eq(fs_join(buf, "/", "b"), OK);
    ck_assert_str_eq(buf, "/b");
    ck_assert_int_eq(fs_join(buf, "", "b"), OK);
    ck_assert_str_eq(buf, "b");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    ck_assert_int_eq(fs_join(buf, big, "b"), E_CONFIG);
    big[FS_PATH_MAX - 3] = '\0';
    ck_assert_int_eq(fs_join(buf, big, "b"), OK);
    ck_assert_int_eq(fs_join(buf, big, "bc"), E_CONFIG);
}
END_TEST

START_TEST(writes_and_reads_back)
{
    ck_assert(!fs_exists(path));
    ck_assert_int_eq(fs_size(path), -1);
    ck_assert_int_eq(fs_write_file(path, "hello", 5), OK);
    ck_assert_int_eq(fs_size(path), 5);
    file_is("hello");
    ck_assert_int_eq(fs_write_file(path, "", 0), OK);
    file_is("");
    ck_assert_int_eq(n_entries(), 1);
    ck_assert(fs_exists(path) && !fs_is_dir(path) && fs_is_dir(dir));
}
END_TEST

START_TEST(limits_what_it_reads)
{
    char *text;
    size_t n;
    ck_assert_int_eq(fs_write_file(path, "hello", 5), OK);
    ck_assert_int_eq(fs_read_file(path, 5, &text, &n), OK);
    mem_free(text);
    ck_assert_int_eq(fs_read_file(path, 4, &text, &n), E_DATA);
    ck_assert_ptr_null(text);
    ck_assert_int_eq(fs_read_file("/dev/zero", 100000, &text, &n), E_DATA);
    ck_assert_ptr_null(text);
}
END_TEST

START_TEST(reads_what_has_no_size)
{
    char *text;
    size_t n;
    ck_assert_int_eq(fs_read_file("/proc/self/status", 0, &text, &n), OK);
    ck_assert_uint_gt(n, 100);
    ck_assert_uint_eq(strlen(text), n);
    mem_free(text);
}
END_TEST

START_TEST(names_what_it_cannot_open)
{
    char *text;
    size_t n;
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), path));
    ck_assert_int_eq(fs_read_file(dir, 0, &text, &n), E_DATA);
    ck_assert_int_eq(fs_write_file("/nonexistent/x", "a", 1), E_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "/nonexistent/x"));
}
END_TEST

START_TEST(makes_parents)
{
    char deep[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(deep, dir, "a/b//c/"), OK);
    ck_assert_int_eq(fs_mkdirs(deep), OK);
    ck_assert_int_eq(fs_mkdirs(deep), OK);
    ck_assert(fs_is_dir(deep));
    ck_assert_int_eq(fs_write_file(path, "x", 1), OK);
    ck_assert_int_eq(fs_mkdirs(path), E_IO);
    ck_assert_int_eq(fs_join(deep, path, "under"), OK);
    ck_assert_int_eq(fs_mkdirs(deep), E_IO);
    ck_assert_int_eq(fs_mkdirs(""), E_IO);
}
END_TEST

START_TEST(positions_reads_and_writes)
{
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    char buf[8] = {0};
    ck_assert_int_eq(fs_pwrite(fd, "world", 5, 5, path), OK);
    ck_assert_int_eq(fs_pwrite(fd, "hello", 5, 0, path), OK);
    ck_assert_int_eq(fs_pread(fd, buf, 4, 3, path), OK);
    ck_assert_str_eq(buf, "lowo");
    ck_assert_int_eq(fs_pread(fd, buf, 4, 8, path), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "ends at byte 10; 2 more"));
    ck_assert_int_eq(fs_pread(fd, buf, 0, 99, path), OK);
    close(fd);
    ck_assert_int_eq(fs_pread(fd, buf, 4, 0, path), E_IO);
    ck_assert_int_eq(fs_pwrite(fd, buf, 4, 0, path), E_IO);
    fd = open("/dev/full", O_WRONLY);
    ck_assert_int_eq(fs_pwrite(fd, buf, 4, 0, "/dev/full"), E_IO);
    close(fd);
}
END_TEST

START_TEST(failures_leave_the_old_file)
{
    static const char *const spec[] = {"fs.pwrite:0", "fs.fsync:0", "fs.rename:0"};
    ck_assert_int_eq(fs_write_file(path, "old", 3), OK);
    for (int i = 0; i < 3; i++) {
        arm(spec[i]);
        ck_assert_int_eq(fs_write_file(path, "new", 3), E_IO);
        file_is("old");
        ck_assert_int_eq(n_entries(), 1);
    }
    arm("fs.fsync:0:2"); /* the folder's, after the rename */
    ck_assert_int_eq(fs_write_file(path, "new", 3), E_IO);
    arm("fs.pread:0");
    char c;
    ck_assert_int_eq(fs_pread(0, &c, 1, 0, path), E_IO);
}
END_TEST

START_TEST(renames_and_syncs)
{
    char other[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(other, dir, "other"), OK);
    ck_assert_int_eq(fs_write_file(other, "x", 1), OK);
    ck_assert_int_eq(fs_rename(other, path), OK);
    ck_assert(!fs_exists(other));
    file_is("x");
    ck_assert_int_eq(fs_rename(other, path), E_IO);
    ck_assert_int_eq(fs_fsync(path), OK);
    ck_assert_int_eq(fs_fsync(dir), OK);
    ck_assert_int_eq(fs_fsync(other), E_IO);
    ck_assert_int_eq(fs_fsync_parent(path), OK);
    ck_assert_int_eq(fs_fsync_parent("plain-name"), OK);
    ck_assert_int_eq(fs_fsync_parent("/"), OK);
    ck_assert_int_eq(fs_fsync_parent("/nonexistent/a/"), E_IO);
    ck_assert_int_gt(fs_free_bytes(dir), 0);
    ck_assert_int_eq(fs_free_bytes(other), -1);
}
END_TEST

START_TEST(a_file_is_new_once)
{
    static const char *const POINTS[] = {"fs.pwrite:0", "fs.fsync:0", "fs.link:0"};
    bool exists;
    enter();
    for (size_t i = 0; i < sizeof POINTS / sizeof *POINTS; i++) {
        arm(POINTS[i]);
        ck_assert_int_eq(fs_write_new(path, "no", 2, &exists), E_IO);
        ck_assert_int_eq(n_entries(), 0);
    }
    ck_assert_int_eq(fs_write_new(path, "first", 5, &exists), OK);
    ck_assert(!exists);
    ck_assert_int_eq(fs_write_new(path, "second", 6, &exists), OK);
    ck_assert(exists);
    file_is("first");
    ck_assert_int_eq(n_entries(), 1);
    leave();
}
END_TEST

/* Whether this process still has the removed file open. */
static bool holds_removed(void)
{
    char link[64], to[FS_PATH_MAX];
    bool found = false;
    for (int fd = 0; fd < 64 && !found; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, to, sizeof to - 1);
        found = n > 0 && strncmp(to, path, strlen(path)) == 0;
    }
    return found;
}

START_TEST(removes_and_frees)
{
    enter();
    ck_assert_int_eq(fs_write_file(path, "x", 1), OK);
    ck_assert_int_eq(fs_remove(path), OK);
    ck_assert_int_eq(n_entries(), 0);
    for (int i = 0; i < 5000 && holds_removed(); i++)
        usleep(1000);
    ck_assert(!holds_removed());
    ck_assert_int_eq(fs_remove(path), OK); /* it is not there */
    ck_assert_int_eq(fs_remove(dir), E_IO);
    ck_assert(strstr(err_message(), dir) != NULL);
    leave();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_test(t, joins_paths);
    tcase_add_test(t, writes_and_reads_back);
    tcase_add_test(t, limits_what_it_reads);
    tcase_add_test(t, reads_what_has_no_size);
    tcase_add_test(t, names_what_it_cannot_open);
    tcase_add_test(t, makes_parents);
    tcase_add_test(t, positions_reads_and_writes);
    tcase_add_test(t, failures_leave_the_old_file);
    tcase_add_test(t, renames_and_syncs);
    tcase_add_test(t, removes_and_frees);
    tcase_add_test(t, a_file_is_new_once);
}

int main(void)
{
    return run_suite("base/fs", add);
}
