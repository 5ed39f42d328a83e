/* Every character of Unicode is UTF-8, and nothing else is. */
#include "base/utf8.h"
#include "check_main.h"

#include <string.h>

/* By the definition: the shortest form of a scalar value. */
static size_t encode_plainly(unsigned char *out, uint32_t c)
{
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (unsigned char)(0x80 | (c & 63));
    out[0] = (unsigned char)(lead[n] | c);
    return (size_t)n;
}

START_TEST(every_character_is_valid)
{
    unsigned char u[4];
    uint32_t point = 0;
    int wrong = 0; /* an assertion each would take longer than all else */
    for (uint32_t c = 0; c < 0x110000; c++) {
        size_t n = encode_plainly(u, c), want = c >= 0xD800 && c < 0xE000 ? 0 : n;
        wrong += utf8_valid((char *)u, n) != want;
        wrong += utf8_decode((char *)u, n, &point) != want || (want > 0 && point != c);
        for (size_t cut = 1; cut < n; cut++)
            wrong += utf8_valid((char *)u, cut) != 0;
    }
    ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(what_is_no_character_is_not)
{
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xE0\x9F\xBF",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "\xC2\x41",
                                      "\xE1\x80\x41",
                                      "\xF1\x80\x80\x41"};
    char text[32];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t before = 0; before < 12; before++) {
            memset(text, 'a', before);
            strcpy(text + before, bad[i]);
            ck_assert_uint_eq(utf8_valid(text, strlen(text)), before);
        }
    ck_assert_uint_eq(utf8_valid("", 0), 0);
}
END_TEST

START_TEST(boundaries_are_not_inside)
{
    static const char text[] = "a\xC3\xBC\xF0\x9F\x98\x80z";
    static const size_t want[] = {0, 1, 1, 3, 3, 3, 3, 7, 8};
    for (size_t at = 0; at < sizeof want / sizeof want[0]; at++)
        ck_assert_uint_eq(utf8_boundary(text, at), want[at]);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_character_is_valid);
    tcase_add_test(t, what_is_no_character_is_not);
    tcase_add_test(t, boundaries_are_not_inside);
}

int main(void)
{
    return run_suite("base/utf8", add);
}
