/* Text from elsewhere is shown without what a terminal would obey. */
#include "base/err.h"
#include "base/plain.h"
#include "check_main.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text, *shown;
} CASES[] = {
    {"", ""},
    {"plain, gr\xc3\xbc\xc3\x9f\xe2\x80\xa6 \xf0\x9f\x90\xb1\n\tnext", NULL},
    {"\x1b[2J\x1b]0;title\x07", "\\u001b[2J\\u001b]0;title\\u0007"},
    {"over\rwritten\b\x7f", "over\\u000dwritten\\u0008\\u007f"},
    {"\xc2\x9b"
     "31m",
     "\\u009b31m"},
    {"a\xe2\x80\xaegpj.exe\xe2\x81\xa9", "a\\u202egpj.exe\\u2069"},
    {"\xff\xc3", "\\xff\\xc3"},
};

START_TEST(control_characters_are_written_as_words)
{
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const char *want = CASES[i].shown != NULL ? CASES[i].shown : CASES[i].text;
        char buf[256], *file = NULL;
        struct str s = {0};
        size_t n = 0;
        ck_assert_str_eq(plain_copy(buf, sizeof buf, CASES[i].text), want);
        ck_assert_str_eq(plain_copy(buf, sizeof buf, want), want); /* twice is once */
        plain_add(&s, CASES[i].text);
        ck_assert_str_eq(s.len > 0 ? s.s : "", want);
        str_release(&s);
        FILE *f = open_memstream(&file, &n);
        plain_print(f, "<%s>%d", CASES[i].text, 7);
        fclose(f);
        ck_assert(n == strlen(want) + 3 && strncmp(file + 1, want, n - 3) == 0);
        free(file);
    }
}
END_TEST

START_TEST(what_does_not_fit_is_cut_between_characters)
{
    char buf[8];
    ck_assert_str_eq(plain_copy(buf, 4, "abcdef"), "abc");
    ck_assert_str_eq(plain_copy(buf, 1, "abc"), "");
    ck_assert_str_eq(plain_copy(buf, 4, "ab\xc3\xbc"), "ab");
    ck_assert_str_eq(plain_copy(buf, 8, "ab\x1b[m"), "ab");
    ck_assert_str_eq(plain_copy(buf, 8, "a\x1b[m"), "a\\u001b");
}
END_TEST

START_TEST(long_messages_stay_whole)
{
    enum { N = 100000 };
    char *text = malloc(N + 1), *file = NULL;
    size_t n = 0;
    memset(text, 'x', N);
    text[N] = '\0';
    FILE *f = open_memstream(&file, &n);
    plain_print(f, "%s!", text);
    fclose(f);
    ck_assert_uint_eq(n, N + 1);
    ck_assert_int_eq(memcmp(file, text, N), 0);
    free(file);
    free(text);
}
END_TEST

START_TEST(errors_are_plain)
{
    ck_assert_int_eq(ERR(E_DATA, "tensor \"%s\"", "\x1b[31mred"), E_DATA);
    ck_assert_str_eq(err_message(), "tensor \"\\u001b[31mred\"");
    err_context(E_DATA, "%s", "bad\x9bname");
    ck_assert_str_eq(err_message(), "bad\\x9bname: tensor \"\\u001b[31mred\"");
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, control_characters_are_written_as_words);
    tcase_add_test(t, what_does_not_fit_is_cut_between_characters);
    tcase_add_test(t, long_messages_stay_whole);
    tcase_add_test(t, errors_are_plain);
}

int main(void)
{
    return run_suite("base/plain", add);
}
