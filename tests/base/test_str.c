/* Text grows; numbers parse strictly; figures read as people write them; clocks go forward. */
#include "base/clock.h"
#include "base/str.h"
#include "check_main.h"

#include <math.h>
#include <string.h>

START_TEST(text_grows)
{
    struct str b = {0};
    str_add(&b, "");
    ck_assert_str_eq(b.s, "");
    for (int i = 0; i < 1000; i++)
        str_addf(&b, "%d,", i % 10);
    ck_assert_uint_eq(b.len, 2000);
    ck_assert_uint_eq(strlen(b.s), 2000);
    str_addn(&b, "abc", 2);
    str_add(&b, "!");
    ck_assert_str_eq(b.s + 1998, "9,"
                                 "ab!");
    str_release(&b);
    ck_assert_ptr_null(b.s);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(integers_parse_strictly)
{
    static const char *const bad[] = {"",  " 1",  "1 ",  "1.0", "0x10",
                                      "-", "+-1", "1e3", "abc", "9223372036854775808"};
    int64_t v;
    ck_assert(parse_i64("-42", &v) && v == -42);
    ck_assert(parse_i64("+7", &v) && v == 7);
    ck_assert(parse_i64("9223372036854775807", &v) && v == INT64_MAX);
    ck_assert(parse_i64("-9223372036854775808", &v) && v == INT64_MIN);
    v = 5;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!parse_i64(bad[i], &v) && v == 5, "accepted \"%s\"", bad[i]);
}
END_TEST

START_TEST(reals_parse_strictly)
{
    static const char *const bad[] = {"",      " 1", "1 ", "nan", "inf", "1e999", "-1e999",
                                      "0x1p3", "1e", ".",  "-",   "1,5", "--1",   "infinity"};
    double v;
    ck_assert(parse_f64("1e-3", &v) && v == 1e-3);
    ck_assert(parse_f64("-.5", &v) && v == -0.5);
    ck_assert(parse_f64("3.", &v) && v == 3);
    ck_assert(parse_f64("5e-324", &v) && v == 0x1p-1074);
    v = 5;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!parse_f64(bad[i], &v) && v == 5, "accepted \"%s\"", bad[i]);
}
END_TEST

static const struct {
    const char *text;
    double want; /* NAN: refused */
} si_rows[] = {{"20M", 2e7},      {"1.5k", 1500},       {"3K", 3000},
               {"2G", 2e9},       {"2B", 2e9},          {"1T", 1e12},
               {"7", 7},          {"1e3k", 1e6},        {"16KiB", 16384},
               {"16 KiB", 16384}, {"1.5GiB", 0x1.8p30}, {"4Mi", 0x1p22},
               {"2TiB", 0x1p41},  {"5MB", 5e6},         {"-2M", -2e6},
               {"", NAN},         {"M", NAN},           {"2m", NAN},
               {"2 ", NAN},       {"2  M", NAN},        {"2MM", NAN},
               {"2kib", NAN},     {"nanM", NAN},        {"1e300T", NAN},
               {"2MX", NAN},      {" 2M", NAN}};

START_TEST(suffixes_multiply)
{
    for (size_t i = 0; i < sizeof si_rows / sizeof si_rows[0]; i++) {
        double v = 0;
        bool want = isfinite(si_rows[i].want);
        ck_assert_msg(parse_si(si_rows[i].text, &v) == want, "\"%s\"", si_rows[i].text);
        if (want)
            ck_assert_double_eq(v, si_rows[i].want);
    }
}
END_TEST

static const struct {
    const char *text;
    double want; /* -1: refused */
} duration_rows[] = {{"4h", 14400},
                     {"30m", 1800},
                     {"90s", 90},
                     {"1:30:00", 5400},
                     {"2d", 172800},
                     {"2-00:00:00", 172800},
                     {"1-02:03:04", 93784},
                     {"1-12", 129600},
                     {"1-12:30", 131400},
                     {"30:00", 1800},
                     {"90:00", 5400},
                     {"45", 45},
                     {"0", 0},
                     {"1.5h", 5400},
                     {"1h30m", 5400},
                     {"1h 02m", 3720},
                     {"1e2", 100},
                     {"1e-1", 0.1},
                     {"100:00:00", 360000},
                     {"", -1},
                     {"-5", -1},
                     {"h", -1},
                     {"5x", -1},
                     {"1:60", -1},
                     {"1:60:00", -1},
                     {"1:2:3:4", -1},
                     {"1::2", -1},
                     {":30", -1},
                     {"30:", -1},
                     {"1-25:00:00", -1},
                     {"-1:00", -1},
                     {"5m5h", -1},
                     {"5m5m", -1},
                     {"4h ", -1},
                     {" 4h", -1},
                     {"4h-3m", -1},
                     {"nan", -1},
                     {"1-", -1},
                     {"1:-5", -1}};

START_TEST(durations_parse)
{
    for (size_t i = 0; i < sizeof duration_rows / sizeof duration_rows[0]; i++) {
        double v = 0, want = duration_rows[i].want;
        const char *text = duration_rows[i].text;
        ck_assert_msg(parse_duration_s(text, &v) == (want >= 0), "\"%s\"", text);
        if (want >= 0)
            ck_assert_msg(v == want, "\"%s\": %g", text, v);
    }
}
END_TEST

static const struct {
    char *(*fmt)(char *buf, size_t n, double v);
    double v;
    const char *want;
} figure_rows[] = {{fmt_si, 0, "0"},
                   {fmt_si, 12, "12"},
                   {fmt_si, 999, "999"},
                   {fmt_si, 999.7, "1.00k"},
                   {fmt_si, 1234, "1.23k"},
                   {fmt_si, 1.234e6, "1.23M"},
                   {fmt_si, 99.96e6, "100M"},
                   {fmt_si, 999.6e6, "1.00G"},
                   {fmt_si, -2.5e12, "-2.50T"},
                   {fmt_si, 0.25, "0.25"},
                   {fmt_bytes, 0, "0 B"},
                   {fmt_bytes, 1023, "1023 B"},
                   {fmt_bytes, 1024, "1.0 KiB"},
                   {fmt_bytes, 1048570, "1.0 MiB"},
                   {fmt_bytes, 1.2 * (1 << 30), "1.2 GiB"},
                   {fmt_duration, 12.34, "12.3s"},
                   {fmt_duration, 59.97, "1m 00s"},
                   {fmt_duration, 185, "3m 05s"},
                   {fmt_duration, 3599.7, "1h 00m"},
                   {fmt_duration, 3720, "1h 02m"},
                   {fmt_duration, 86399, "1d 00h"},
                   {fmt_duration, 3 * 86400 + 7200, "3d 02h"},
                   {fmt_duration, -90, "-1m 30s"},
                   {fmt_duration, NAN, "?"}};

START_TEST(figures_read_well)
{
    char buf[32];
    for (size_t i = 0; i < sizeof figure_rows / sizeof figure_rows[0]; i++)
        ck_assert_str_eq(figure_rows[i].fmt(buf, sizeof buf, figure_rows[i].v),
                         figure_rows[i].want);
    ck_assert_str_eq(fmt_si(buf, 4, 123456), "123");
}
END_TEST

START_TEST(nearest_word_is_near)
{
    static const char *const keys[] = {"warmup", "peak_lr", "micro_batch", "global_batch", "seed"};
    static const struct {
        const char *word, *want;
    } rows[] = {{"warmpu", "warmup"},
                {"peek_lr", "peak_lr"},
                {"sed", "seed"},
                {"mirco_batch", "micro_batch"},
                {"seed", "seed"},
                {"vocab", NULL},
                {"x", NULL},
                {"", NULL},
                {"globl_bach", "global_batch"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_pstr_eq(str_nearest(rows[i].word, keys, 5), rows[i].want);
    char longest[200];
    memset(longest, 'a', 199);
    longest[199] = '\0';
    ck_assert_ptr_null(str_nearest(longest, keys, 5));
    ck_assert_ptr_null(str_nearest("seed", keys, 0));
}
END_TEST

START_TEST(ends_compare)
{
    ck_assert(str_ends("a/b.h5", ".h5"));
    ck_assert(str_ends("x", ""));
    ck_assert(!str_ends("h5", ".h5"));
    ck_assert(!str_ends("a.h5x", ".h5"));
}
END_TEST

START_TEST(clocks_go_forward)
{
    double a = clock_now_s(), b = clock_now_s();
    ck_assert(b >= a && b - a < 1);
    char stamp[21];
    ck_assert_ptr_eq(clock_stamp(stamp, sizeof stamp), stamp);
    ck_assert_uint_eq(strlen(stamp), 20);
    static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
    for (int i = 0; i < 20; i++)
        ck_assert(shape[i] == 'd' ? stamp[i] >= '0' && stamp[i] <= '9' : stamp[i] == shape[i]);
}
END_TEST

START_TEST(fields_of_csv_are_quoted_where_they_must)
{
    struct str s = {0};
    str_add_csv(&s, "plain");
    str_add(&s, ",");
    str_add_csv(&s, "");
    str_add(&s, ",");
    str_add_csv(&s, "a, \"b\"\n");
    ck_assert_str_eq(s.s, "plain,,\"a, \"\"b\"\"\n\"");
    str_release(&s);
}
END_TEST

START_TEST(fields_of_csv_are_no_formulas)
{
    static const char *const cases[][2] = {
        {"=1+1", "'=1+1"},     {"@SUM(A1)", "'@SUM(A1)"},
        {"-2+3", "'-2+3"},     {"+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"},
        {"=a,b", "\"'=a,b\""}, {"-1e-3", "-1e-3"},
        {"+7", "+7"},          {"a=b", "a=b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = {0};
        str_add_csv(&s, cases[i][0]);
        ck_assert_str_eq(s.s, cases[i][1]);
        str_release(&s);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, text_grows);
    tcase_add_test(t, integers_parse_strictly);
    tcase_add_test(t, reals_parse_strictly);
    tcase_add_test(t, suffixes_multiply);
    tcase_add_test(t, durations_parse);
    tcase_add_test(t, figures_read_well);
    tcase_add_test(t, nearest_word_is_near);
    tcase_add_test(t, ends_compare);
    tcase_add_test(t, fields_of_csv_are_quoted_where_they_must);
    tcase_add_test(t, fields_of_csv_are_no_formulas);
    tcase_add_test(t, clocks_go_forward);
}

int main(void)
{
    return run_suite("base/str", add);
}
