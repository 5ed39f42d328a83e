/* JSON errors name file, line and column; getters hold types and defaults. */
#include "base/err.h"
#include "base/fs.h"
#include "check_main.h"
#include "io/json.h"

#include <string.h>
#include <unistd.h>

static json_t *parsed(const char *text)
{
    json_t *v;
    ck_assert_int_eq(json_parse(text, strlen(text), "test", &v), OK);
    return v;
}

static const struct {
    const char *text, *place;
} bad[] = {{"", "cfg:1:0:"},
           {"{", "cfg:1:1:"},
           {"{\"a\": 1,}", "cfg:1:9:"},
           {"{\n\"a\": 1\n\"b\": 2}", "cfg:3:3:"},
           {"{\"a\":1, \"a\":2}", "cfg:1:11:"},
           {"{} x", "cfg:1:4:"},
           {"[NaN]", "cfg:1:4:"},
           {"[1e999]", "cfg:1:6:"},
           {"[99999999999999999999]", "cfg:1:21:"},
           {"\"\xff\"", "cfg:1:"}};

START_TEST(bad_text_is_placed)
{
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *v = (json_t *)&v;
        ck_assert_int_eq(json_parse(bad[i].text, strlen(bad[i].text), "cfg", &v), E_DATA);
        ck_assert_ptr_null(v);
        ck_assert_msg(strncmp(err_message(), bad[i].place, strlen(bad[i].place)) == 0, "%s: %s",
                      bad[i].text, err_message());
    }
}
END_TEST

START_TEST(depth_is_limited)
{
    static char deep[100000];
    json_t *v;
    memset(deep, '[', sizeof deep);
    ck_assert_int_eq(json_parse(deep, sizeof deep, "deep", &v), E_DATA);
}
END_TEST

START_TEST(files_are_named)
{
    char path[] = "/tmp/carat-json-XXXXXX";
    json_t *v;
    close(mkstemp(path));
    ck_assert_int_eq(fs_write_file(path, "{\"a\": [1, 2]}\n", 14), OK);
    ck_assert_int_eq(json_read_file(path, &v), OK);
    ck_assert_uint_eq(json_array_size(json_object_get(v, "a")), 2);
    json_decref(v);
    ck_assert_int_eq(fs_write_file(path, "{\n\"a\" 1}", 8), OK);
    ck_assert_int_eq(json_read_file(path, &v), E_DATA);
    ck_assert_ptr_null(v);
    ck_assert(strncmp(err_message(), path, strlen(path)) == 0);
    ck_assert(strncmp(err_message() + strlen(path), ":2:", 3) == 0);
    unlink(path);
    ck_assert_int_eq(json_read_file(path, &v), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), path));
}
END_TEST

START_TEST(getters_get)
{
    json_t *o = parsed("{\"i\": 7, \"f\": 1e-6, \"t\": true, \"s\": \"x\", \"n\": null}");
    double f;
    int64_t i;
    bool b;
    const char *s;
    ck_assert(json_i64(o, "i", 1, &i) == OK && i == 7);
    ck_assert(json_f64(o, "f", 1, &f) == OK && f == 1e-6);
    ck_assert(json_f64(o, "i", 1, &f) == OK && f == 7);
    ck_assert(json_bool(o, "t", false, &b) == OK && b);
    ck_assert(json_str(o, "s", "y", &s) == OK && strcmp(s, "x") == 0);
    ck_assert(json_has(o, "i") && !json_has(o, "n") && !json_has(o, "absent"));
    json_decref(o);
}
END_TEST

START_TEST(null_means_absent)
{
    json_t *o = parsed("{\"n\": null}");
    static const char *const keys[] = {"n", "absent"};
    for (int k = 0; k < 2; k++) {
        double f;
        int64_t i;
        bool b;
        const char *s;
        ck_assert(json_f64(o, keys[k], 2.5, &f) == OK && f == 2.5);
        ck_assert(json_i64(o, keys[k], -3, &i) == OK && i == -3);
        ck_assert(json_bool(o, keys[k], true, &b) == OK && b);
        ck_assert(json_str(o, keys[k], NULL, &s) == OK && s == NULL);
    }
    json_decref(o);
}
END_TEST

START_TEST(wrong_types_name_the_key)
{
    json_t *o = parsed("{\"s\": \"7\", \"f\": 3.0, \"t\": true, \"a\": [], \"o\": {}}");
    double f;
    int64_t i;
    bool b;
    const char *s;
    ck_assert_int_eq(json_i64(o, "f", 1, &i), E_DATA);
    ck_assert_str_eq(err_message(), "\"f\" must be a whole number, not a number with a fraction");
    ck_assert_int_eq(json_i64(o, "s", 1, &i), E_DATA);
    ck_assert_int_eq(json_f64(o, "s", 1, &f), E_DATA);
    ck_assert_str_eq(err_message(), "\"s\" must be a number, not a string");
    ck_assert_int_eq(json_f64(o, "t", 1, &f), E_DATA);
    ck_assert_int_eq(json_bool(o, "f", true, &b), E_DATA);
    ck_assert_int_eq(json_str(o, "a", "", &s), E_DATA);
    ck_assert_str_eq(err_message(), "\"a\" must be a string, not an array");
    ck_assert_int_eq(json_str(o, "o", "", &s), E_DATA);
    json_decref(o);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, bad_text_is_placed);
    tcase_add_test(t, depth_is_limited);
    tcase_add_test(t, files_are_named);
    tcase_add_test(t, getters_get);
    tcase_add_test(t, null_means_absent);
    tcase_add_test(t, wrong_types_name_the_key);
}

int main(void)
{
    return run_suite("io/json", add);
}
