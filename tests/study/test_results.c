/* A study's tables: every trial in results.csv and results.h5 as it is. */
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/str.h"
#include "check_main.h"
#include "io/h5x.h"
#include "study/study.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static char root[64];

static void run(const char *fmt, const char *what)
{
    char command[1024];
    snprintf(command, sizeof command, fmt, what);
    ck_assert_msg(system(command) == 0, "%s", command);
}

static struct study a_study(void)
{
    struct study s;
    snprintf(root, sizeof root, "/tmp/carat-results-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(study_open(&s, root, "search", "optimizer.lr: 0.01\n", 100, 3), OK);
    return s;
}

static struct setting FIRST[] = {{"optimizer.lr", "3e-3"}, {"optimizer.name", "adamw"}};
static struct setting SECOND[] = {{"optimizer.lr", "0.1"}, {"batch.global", "8"}};
static struct curve_point CURVE[] = {{1, 64, 4.5, 0.25}, {2, 128, 1. / 3, 0.5}, {3, 192, 2, 1}};

/* Two trials and one that has not begun. */
static struct trial TRIALS[] = {
    {.number = 0,
     .plan = {.set = FIRST, .n_set = 2, .parent = -1, .role = "a, \"b\""},
     .state = TRIAL_DONE,
     .curve = CURVE,
     .n_curve = 2,
     .value = 1. / 3,
     .steps = 2,
     .tokens = 128,
     .noise_scale = NAN,
     .claims = 2},
    {.number = 1,
     .plan = {.set = SECOND, .n_set = 2, .parent = 0},
     .state = TRIAL_DIVERGED,
     .curve = CURVE + 2,
     .n_curve = 1,
     .value = 2,
     .why = "the loss\nrose"},
    {.number = 2, .plan = {.parent = -1}, .value = NAN, .noise_scale = NAN},
};

static void path_of(char *path, const char *name)
{
    ck_assert_int_eq(fs_join(path, root, name), OK);
}

static double number_at(hid_t f, const char *name, size_t i, size_t n_expected)
{
    void *data;
    size_t n;
    ck_assert_msg(h5x_get_array(f, name, H5T_NATIVE_DOUBLE, 100, &data, &n) == OK, "%s",
                  err_message());
    ck_assert_uint_eq(n, n_expected);
    double v = ((double *)data)[i];
    mem_free(data);
    return v;
}

static int64_t count_at(hid_t f, const char *name, size_t i)
{
    void *data;
    size_t n;
    ck_assert_msg(h5x_get_array(f, name, H5T_NATIVE_INT64, 100, &data, &n) == OK, "%s",
                  err_message());
    ck_assert_uint_lt(i, n);
    int64_t v = ((int64_t *)data)[i];
    mem_free(data);
    return v;
}

START_TEST(all_is_in_both_tables)
{
    const struct history h = {TRIALS, 3};
    struct study s = a_study();
    char path[FS_PATH_MAX], text[64], *csv;
    size_t n;
    hid_t f;
    ck_assert_msg(study_tabulate(&s, &h) == OK, "%s", err_message());
    ck_assert_int_eq(study_tabulate(&s, &h), OK); /* over what is there */

    path_of(path, "results.csv");
    ck_assert_int_eq(fs_read_file(path, 0, &csv, &n), OK);
    ck_assert_ptr_nonnull(
        strstr(csv, "trial,state,role,parent,origin,optimizer.lr,optimizer.name,batch.global,value,"
                    "steps,"));
    ck_assert_ptr_nonnull(
        strstr(csv, "\n0,done,\"a, \"\"b\"\"\",-1,,3e-3,adamw,,0.3333333333333333,2,128,0,0,,0,,"));
    ck_assert_ptr_nonnull(strstr(csv, "\n1,diverged,,0,,0.1,,8,2,"));
    ck_assert_ptr_nonnull(strstr(csv, ",\"the loss\nrose\","));
    ck_assert_ptr_nonnull(strstr(csv, "\n2,waiting,,-1,,,,,,0,"));
    mem_free(csv);

    path_of(path, "results.h5");
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_get_text(f, "kind", text, sizeof text), OK);
    ck_assert_str_eq(text, "search");
    ck_assert(number_at(f, "/trials/value", 0, 3) == 1. / 3);
    ck_assert(isnan(number_at(f, "/trials/value", 2, 3)));
    ck_assert(number_at(f, "/trials/optimizer.lr", 0, 3) == 3e-3);
    ck_assert(isnan(number_at(f, "/trials/batch.global", 0, 3)));
    ck_assert(number_at(f, "/trials/batch.global", 1, 3) == 8);
    ck_assert(count_at(f, "/trials/trial", 2) == 2);
    ck_assert(count_at(f, "/curves/first", 1) == 2 && count_at(f, "/curves/first", 3) == 3);
    ck_assert(number_at(f, "/curves/loss", 1, 3) == 1. / 3);
    ck_assert(number_at(f, "/curves/train_s", 2, 3) == 1);
    ck_assert_int_eq(h5x_close(&f), OK);
    run("[ \"$(ls '%s' | tr '\\n' ' ')\" = 'results.csv results.h5 study.json trials ' ]", root);
    run("! command -v h5dump >/dev/null || "
        "h5dump -d /trials/state '%s/results.h5' | grep -q diverged",
        root);
    run("! python3 -c 'import h5py' 2>/dev/null || python3 -c '"
        "import h5py; f = h5py.File(\"%s/results.h5\"); t = f[\"trials\"]; "
        "assert t[\"optimizer.name\"].asstr()[:].tolist() == [\"adamw\", \"\", \"\"]; "
        "assert t[\"role\"].asstr()[0] == \"a, \\\"b\\\"\"; "
        "assert t[\"step_s\"].attrs[\"unit\"] in (\"s\", b\"s\"); "
        "assert t[\"step_s\"].attrs[\"description\"]; assert f.attrs[\"format\"] == 1'",
        root);
    study_close(&s);
    run("rm -rf '%s'", root);
}
END_TEST

START_TEST(a_study_without_trials_has_tables)
{
    const struct history none = {NULL, 0};
    struct study s = a_study();
    char path[FS_PATH_MAX];
    hid_t f;
    void *data;
    size_t n;
    ck_assert_msg(study_tabulate(&s, &none) == OK, "%s", err_message());
    path_of(path, "results.h5");
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_get_array(f, "/trials/value", H5T_NATIVE_DOUBLE, 1, &data, &n), OK);
    ck_assert_uint_eq(n, 0);
    mem_free(data);
    ck_assert_int_eq(h5x_close(&f), OK);
    study_close(&s);
    run("rm -rf '%s'", root);
}
END_TEST

START_TEST(a_full_disk_leaves_the_tables_of_before)
{
    static const char *const POINTS[] = {"fs.pwrite", "h5x.write", "fs.fsync", "fs.rename"};
    const struct history h = {TRIALS, 3}, less = {TRIALS, 1};
    for (size_t i = 0; i < sizeof POINTS / sizeof *POINTS; i++) {
        struct study s = a_study();
        char fault[32];
        ck_assert_int_eq(study_tabulate(&s, &less), OK);
        snprintf(fault, sizeof fault, "%s:0:1", POINTS[i]);
        setenv("CARAT_FAULT", fault, 1);
        fault_rearm();
        ck_assert_int_eq(study_tabulate(&s, &h), E_IO);
        unsetenv("CARAT_FAULT");
        fault_rearm();
        run("[ \"$(ls '%s' | tr '\\n' ' ')\" = 'results.csv results.h5 study.json trials ' ]",
            root);
        study_close(&s);
        run("rm -rf '%s'", root);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, all_is_in_both_tables);
    tcase_add_test(t, a_study_without_trials_has_tables);
    tcase_add_test(t, a_full_disk_leaves_the_tables_of_before);
}

int main(void)
{
    return run_suite("study/results", add);
}
