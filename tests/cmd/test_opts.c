/* Options of a command: every way to write them, what is left over, and the help's layout. */
#include "base/err.h"
#include "check_main.h"
#include "cmd/opts.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { MAX_ARGS = 16, HELP_COLUMNS = 80 };

static bool flag;
static const char *text;
static int64_t count;
static double ratio;
static const struct opt table[] = {
    {"json", 'j', OPT_FLAG, &flag, NULL, "print JSON"},
    {"output", 'o', OPT_STR, &text, "FILE", "where it goes"},
    {"ranks", 'n', OPT_INT, &count, "N", "how many"},
    {"top-p", 0, OPT_F64, &ratio, "X",
     "a help text that is long enough to need a second line, and then some more of it so that a "
     "third line begins"},
};
enum { N_TABLE = sizeof table / sizeof *table };

static int argc;
static char *argv[MAX_ARGS + 1];

/* Parses "command" and the words of `line`, which are separated by one blank. */
static int parse(const char *line)
{
    static char words[256];
    flag = false;
    text = NULL;
    count = 0;
    ratio = 0;
    snprintf(words, sizeof words, "command %s", line);
    argc = 0;
    for (char *w = strtok(words, " "); w != NULL; w = strtok(NULL, " "))
        argv[argc++] = w;
    argv[argc] = NULL;
    return opts_parse(table, N_TABLE, &argc, argv);
}

START_TEST(every_way_to_write_an_option)
{
    static const char *const lines[] = {
        "--json --output a.txt --ranks 12 --top-p 0.5", "-j -o a.txt -n 12 --top-p=0.5",
        "--output=a.txt -n12 --top-p 5e-1 -j", "-oa.txt --ranks=12 --json --top-p .5"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        ck_assert_msg(parse(lines[i]) == OK, "%s", err_message());
        ck_assert(flag);
        ck_assert_str_eq(text, "a.txt");
        ck_assert_int_eq(count, 12);
        ck_assert_double_eq(ratio, 0.5);
        ck_assert_int_eq(argc, 1);
        ck_assert_ptr_null(argv[1]);
    }
}
END_TEST

START_TEST(positionals_stay_in_order)
{
    ck_assert_int_eq(parse("job.yaml -n 3 a=b - -j c=-d"), OK);
    ck_assert_int_eq(argc, 5);
    ck_assert_str_eq(argv[1], "job.yaml");
    ck_assert_str_eq(argv[2], "a=b");
    ck_assert_str_eq(argv[3], "-");
    ck_assert_str_eq(argv[4], "c=-d");
    ck_assert_ptr_null(argv[5]);
    ck_assert_int_eq(parse("-n 3 -- -j --ranks"), OK);
    ck_assert(!flag);
    ck_assert_int_eq(argc, 3);
    ck_assert_str_eq(argv[1], "-j");
    ck_assert_str_eq(argv[2], "--ranks");
}
END_TEST

START_TEST(values_with_suffixes_and_signs)
{
    ck_assert_int_eq(parse("--ranks 4k --top-p 64GiB"), OK);
    ck_assert_int_eq(count, 4000);
    ck_assert_double_eq(ratio, 64.0 * 1024 * 1024 * 1024);
    ck_assert_int_eq(parse("--ranks -1"), OK);
    ck_assert_int_eq(count, -1);
    ck_assert_int_eq(parse("--output --json"), OK); /* a value may look like an option */
    ck_assert_str_eq(text, "--json");
    ck_assert(!flag);
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    static const struct {
        const char *line, *part;
    } rows[] = {
        {"--jsn", "did you mean --json"},
        {"--qqqqq", "carat command --help"},
        {"-x", "-x: no such option"},
        {"-jo", "-jo: no such option"},
        {"--ranks", "--ranks needs a value: --ranks N"},
        {"-o", "--output needs a value"},
        {"--json=1", "takes no value"},
        {"--ranks many", "whole number"},
        {"--ranks 1.5", "whole number"},
        {"--top-p high", "takes a number"},
        {"--top-p nan", "takes a number"},
        {"--optimizer.lr=1", "without dashes: optimizer.lr=VALUE"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(parse(rows[i].line) == E_USAGE, "%s", rows[i].line);
        ck_assert_msg(strstr(err_message(), rows[i].part) != NULL, "%s: %s", rows[i].line,
                      err_message());
    }
}
END_TEST

START_TEST(help_is_wrapped_and_ends_with_the_example)
{
    char page[4096] = "";
    FILE *f = fmemopen(page, sizeof page, "w");
    opts_help(f, "carat command X",
              "Does something.\n\nAnd … more of it, in words that take more "
              "than one line of a page that has eighty columns.",
              table, N_TABLE, "carat command a\ncarat command b");
    fclose(f);
    int lines = 0;
    for (char *line = strtok(page, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        int width = 0;
        for (const char *c = line; *c != '\0'; c++)
            width += ((unsigned char)*c & 0xc0) != 0x80;
        ck_assert_int_le(width, HELP_COLUMNS);
        if (lines == 0)
            ck_assert_str_eq(line, "usage: carat command X");
        text = line;
    }
    ck_assert_str_eq(text, "  carat command b");
    ck_assert_int_ge(lines, 12);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_way_to_write_an_option);
    tcase_add_test(t, positionals_stay_in_order);
    tcase_add_test(t, values_with_suffixes_and_signs);
    tcase_add_test(t, wrong_options_are_refused);
    tcase_add_test(t, help_is_wrapped_and_ends_with_the_example);
}

int main(void)
{
    return run_suite("cmd/opts", add);
}
