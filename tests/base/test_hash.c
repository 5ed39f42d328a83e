/* CRC-32C against RFC 3720, SHA-256 against FIPS 180 examples; twins and combinations agree. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"

#include <string.h>

enum { BIG = 100000 };

static unsigned char *noise(void)
{
    static unsigned char data[BIG];
    for (size_t i = 0; i < BIG; i++)
        data[i] = (unsigned char)rng_u64(1, 2, i);
    return data;
}

static void crc_is(const void *data, size_t n, uint32_t want)
{
    ck_assert_uint_eq(crc32c(0, data, n), want);
    ck_assert_uint_eq(crc32c_portable(0, data, n), want);
}

START_TEST(crc_known_answers)
{
    unsigned char p[48];
    crc_is("123456789", 9, 0xe3069283);
    crc_is("", 0, 0);
    /* RFC 3720, appendix B.4. */
    memset(p, 0, 32);
    crc_is(p, 32, 0x8a9136aa);
    memset(p, 0xff, 32);
    crc_is(p, 32, 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        p[i] = (unsigned char)i;
    crc_is(p, 32, 0x46dd794e);
    for (int i = 0; i < 32; i++)
        p[i] = (unsigned char)(31 - i);
    crc_is(p, 32, 0x113fdb5c);
    static const unsigned char iscsi[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, 0x28, [40] = 0x02};
    crc_is(iscsi, 48, 0xd9963a56);
}
END_TEST

START_TEST(crc_twins_agree)
{
    const unsigned char *data = noise();
    for (uint64_t i = 0; i < 400; i++) {
        size_t from = rng_u64(3, 0, i) % 64;
        size_t n = rng_u64(3, 1, i) % (i % 2 ? BIG - 64 : 200);
        uint32_t start = (uint32_t)rng_u64(3, 2, i);
        ck_assert_uint_eq(crc32c(start, data + from, n), crc32c_portable(start, data + from, n));
    }
}
END_TEST

START_TEST(crc_continues_and_combines)
{
    const unsigned char *data = noise();
    for (uint64_t i = 0; i < 400; i++) {
        size_t n = rng_u64(4, 0, i) % BIG + 1, cut = rng_u64(4, 1, i) % (n + 1);
        uint32_t a = crc32c(0, data, cut), b = crc32c(0, data + cut, n - cut);
        uint32_t all = crc32c(0, data, n);
        ck_assert_uint_eq(crc32c(a, data + cut, n - cut), all);
        ck_assert_uint_eq(crc32c_combine(a, b, n - cut), all);
    }
}
END_TEST

static void sha_is(const void *data, size_t n, const char *want)
{
    char hex[65];
    sha256_of(hex, data, n);
    ck_assert_str_eq(hex, want);
}

START_TEST(sha_known_answers)
{
    sha_is("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha_is("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    sha_is("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
           "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
           112, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    char *a;
    ck_assert_int_eq(mem_alloc(&a, 1000000, 1, "a"), 0);
    memset(a, 'a', 1000000);
    sha_is(a, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    mem_free(a);
}
END_TEST

START_TEST(sha_pieces_equal_the_whole)
{
    const unsigned char *data = noise();
    for (uint64_t i = 0; i < 300; i++) {
        size_t n = i < 200 ? i : rng_u64(5, 0, i) % 2000, done = 0;
        char whole[65], pieces[65];
        sha256_of(whole, data, n);
        struct sha256 s;
        sha256_init(&s);
        for (uint64_t k = 0; done < n; k++) {
            size_t take = rng_u64(5, i, k) % 100;
            take = take < n - done ? take : n - done;
            sha256_add(&s, data + done, take);
            done += take;
        }
        sha256_hex(&s, pieces);
        ck_assert_str_eq(whole, pieces);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, crc_known_answers);
    tcase_add_test(t, crc_twins_agree);
    tcase_add_test(t, crc_continues_and_combines);
    tcase_add_test(t, sha_known_answers);
    tcase_add_test(t, sha_pieces_equal_the_whole);
}

int main(void)
{
    return run_suite("base/hash", add);
}
