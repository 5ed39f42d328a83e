/* A trained tokenizer follows Gemma's conventions, gives every text back, and cuts texts without
 * changing their tokens. */
#include "../../src/text/segments.h"
#include "../../src/text/spm_proto.h"
#include "../../src/text/spm_shim.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "text/tokenizer.h"

#include <string.h>

enum { VOCAB = 500 };
#define ESCAPED_SPACE "\xE2\x96\x81"

static const char *const corpus[] = {
    "the quick brown fox jumps over the lazy dog, and the dog jumps over the fox\n",
    "while the sun shines the farmer makes the hay; when it rains the farmer rests\n\n",
    "def main():\n    for i in range(1024):\n        print(i, i * i)\n    return 0\n",
    "        deep indentation\n\tand a tab\n",
    "Größe, naïve façade, coöperate, žluťoučký kůň\n",
    "in 1984 there were 365 days and 12 months; pi is 3.14159\n",
};
enum { N_CORPUS = sizeof corpus / sizeof corpus[0], REPEATS = 40 };

static const char *next_text(void *ctx, size_t *n)
{
    int *i = ctx;
    if (*i >= N_CORPUS * REPEATS)
        return NULL;
    const char *text = corpus[(*i)++ % N_CORPUS];
    *n = strlen(text);
    return text;
}

static struct tokenizer *trained;

static void train_bytes(void **bytes, size_t *n)
{
    int i = 0;
    ck_assert_msg(tokenizer_train(bytes, n, VOCAB, next_text, &i) == OK, "%s", err_message());
}

static struct tokenizer *the_tokenizer(void)
{
    if (trained == NULL) {
        void *bytes;
        size_t n;
        train_bytes(&bytes, &n);
        ck_assert_int_eq(tokenizer_from_bytes(&trained, bytes, n, "test"), OK);
        mem_free(bytes);
    }
    return trained;
}

static struct {
    int32_t *ids;
    size_t cap, n;
} got;

static void encode(const char *text, size_t n)
{
    ck_assert_msg(tokenizer_encode(the_tokenizer(), text, n, &got.ids, &got.cap, &got.n) == OK,
                  "%s", err_message());
}

static void round_trip(const char *text)
{
    char *back;
    encode(text, strlen(text));
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), got.ids, got.n, &back), OK);
    ck_assert_str_eq(back, text);
    mem_free(back);
}

START_TEST(follows_gemma)
{
    struct tokenizer *t = the_tokenizer();
    ck_assert_int_eq(tokenizer_vocab(t), VOCAB);
    ck_assert_int_eq(tokenizer_bos(t), TOKEN_BOS);
    ck_assert_int_eq(tokenizer_eos(t), TOKEN_EOS);
    ck_assert_uint_eq(strlen(tokenizer_hash(t)), 64);
}
END_TEST

START_TEST(training_is_deterministic)
{
    void *a, *b;
    size_t n_a, n_b;
    train_bytes(&a, &n_a);
    train_bytes(&b, &n_b);
    ck_assert_uint_eq(n_a, n_b);
    ck_assert_mem_eq(a, b, n_a);
    mem_free(a);
    mem_free(b);
}
END_TEST

START_TEST(texts_come_back)
{
    static const char *const texts[] = {
        "",
        "a\n\n b\tc",
        " leading and trailing ",
        "\n",
        "\n\n\n\n\n",
        "\r\n\r\n",
        "a  b   c    d",
        "\t\t x",
        "12345 007 1e9",
        "日本語のテキスト 😀👩‍👩‍👧 ﷽ \xF4\x8F\xBF\xBF",
        "\x01\x7f\x1b[0m",
        "<0x41> <bos> <pad> <eos>",
        "\xE2\x96\x85 block",
        "e\xCC\x81 combining",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        round_trip(texts[i]);
    for (size_t i = 0; i < N_CORPUS; i++)
        round_trip(corpus[i]);
}
END_TEST

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80)
        return (size_t)sprintf(out, "%c", (int)c);
    if (c < 0x800)
        return (size_t)sprintf(out, "%c%c", (int)(0xC0 | c >> 6), (int)(0x80 | (c & 63)));
    if (c < 0x10000)
        return (size_t)sprintf(out, "%c%c%c", (int)(0xE0 | c >> 12), (int)(0x80 | (c >> 6 & 63)),
                               (int)(0x80 | (c & 63)));
    return (size_t)sprintf(out, "%c%c%c%c", (int)(0xF0 | c >> 18), (int)(0x80 | (c >> 12 & 63)),
                           (int)(0x80 | (c >> 6 & 63)), (int)(0x80 | (c & 63)));
}

/* Text of random characters: mostly ASCII with many blanks, some from anywhere. */
static void random_text(char *out, uint64_t seed, int n_chars)
{
    static const char often[] = "  \n\n\t 0123 the fox over .,;";
    for (int i = 0; i < n_chars; i++) {
        uint64_t r = rng_u64(seed, 1, (uint64_t)i);
        uint32_t c = (uint32_t)(r >> 8) % 0x110000;
        if (r % 4 != 0)
            c = (unsigned char)often[(r >> 8) % (sizeof often - 1)];
        else if (r % 8 == 0)
            c = 1 + (uint32_t)(r >> 8) % 0x7f;
        if (c == 0 || (c >= 0xD800 && c < 0xE000) || c == 0x2581)
            c = 'x';
        out += put_utf8(out, c);
    }
    *out = '\0';
}

START_TEST(random_texts_come_back)
{
    char text[4 * 300 + 1];
    for (uint64_t seed = 0; seed < 200; seed++) {
        random_text(text, seed, 300);
        round_trip(text);
    }
}
END_TEST

START_TEST(a_nul_byte_is_a_byte)
{
    char *back;
    encode("a\0b", 3);
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), got.ids, got.n, &back), OK);
    ck_assert_mem_eq(back, "a\0b", 4);
    mem_free(back);
}
END_TEST

START_TEST(digits_stand_alone)
{
    encode("1984", 4);
    ck_assert_uint_eq(got.n, 4);
    char *one;
    for (size_t i = 0; i < got.n; i++) {
        ck_assert_int_eq(tokenizer_decode(the_tokenizer(), got.ids + i, 1, &one), OK);
        ck_assert_int_eq(one[0], "1984"[i]);
        ck_assert_int_eq(one[1], '\0');
        mem_free(one);
    }
}
END_TEST

START_TEST(line_breaks_are_pieces)
{
    encode("\n", 1);
    ck_assert_uint_eq(got.n, 1);
    encode("\n\n", 2);
    ck_assert_uint_eq(got.n, 1);
    encode("\t", 1);
    ck_assert_uint_eq(got.n, 1);
}
END_TEST

START_TEST(indentation_is_short)
{
    encode("    ", 4);
    ck_assert_uint_lt(got.n, 4);
}
END_TEST

START_TEST(unknown_characters_become_bytes)
{
    encode("\xE2\x98\x83", 3); /* a snowman: nowhere in the corpus */
    ck_assert_uint_eq(got.n, 3);
}
END_TEST

START_TEST(control_tokens_are_dropped)
{
    char *back;
    encode("the fox", 7);
    int32_t ids[64] = {TOKEN_BOS};
    memcpy(ids + 1, got.ids, got.n * sizeof *ids);
    ids[got.n + 1] = TOKEN_EOS;
    ids[got.n + 2] = TOKEN_PAD;
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), ids, got.n + 3, &back), OK);
    ck_assert_str_eq(back, "the fox");
    mem_free(back);
}
END_TEST

START_TEST(torn_bytes_decode_to_valid_text)
{
    char *back;
    encode("\xE2\x98\x83", 3);
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), got.ids, 1, &back), OK);
    ck_assert_str_eq(back, "\xEF\xBF\xBD");
    mem_free(back);
}
END_TEST

START_TEST(ids_outside_are_refused)
{
    char *back;
    const int32_t high[] = {4, VOCAB}, low[] = {-1};
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), high, 2, &back), E_DATA);
    ck_assert_ptr_null(back);
    ck_assert_ptr_nonnull(strstr(err_message(), "500"));
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), low, 1, &back), E_DATA);
    ck_assert_int_eq(tokenizer_decode(the_tokenizer(), NULL, 0, &back), OK);
    ck_assert_str_eq(back, "");
    mem_free(back);
}
END_TEST

static struct {
    int32_t ids[8192];
    size_t n;
} whole;

static void take_whole(void *ctx, const int *ids, size_t n)
{
    (void)ctx;
    ck_assert_uint_le(n, 8192);
    memcpy(whole.ids, ids, n * sizeof *ids);
    whole.n = n;
}

static void same_as_library(const struct spm *m, const char *text)
{
    char message[SPM_MESSAGE];
    ck_assert_int_eq(spm_encode(m, text, strlen(text), message, take_whole, NULL), 0);
    encode(text, strlen(text));
    ck_assert_uint_eq(got.n, whole.n);
    ck_assert_mem_eq(got.ids, whole.ids, got.n * sizeof *got.ids);
}

/* The library, given the text as a whole, is the reference for the cut and cached path. */
START_TEST(cutting_changes_no_token)
{
    size_t n;
    const void *bytes = tokenizer_bytes(the_tokenizer(), &n);
    char message[SPM_MESSAGE], text[4 * 500 + 1];
    struct spm *m;
    ck_assert_int_eq(spm_load(&m, bytes, n, message), 0);
    for (size_t i = 0; i < N_CORPUS; i++)
        same_as_library(m, corpus[i]);
    for (uint64_t seed = 0; seed < 300; seed++) {
        random_text(text, 1000 + seed, 500);
        same_as_library(m, text);
    }
    same_as_library(m, "a" ESCAPED_SPACE " b" ESCAPED_SPACE ESCAPED_SPACE "  c");
    same_as_library(m, " " ESCAPED_SPACE "the");
    spm_free(m);
}
END_TEST

/* Otherwise the test above compares the library with itself. */
START_TEST(trained_models_are_cut)
{
    size_t n;
    const void *bytes = tokenizer_bytes(the_tokenizer(), &n);
    char message[SPM_MESSAGE];
    struct spm *m;
    struct segments *s;
    ck_assert(spm_takes_text_as_is(bytes, n));
    ck_assert_int_eq(spm_load(&m, bytes, n, message), 0);
    ck_assert_int_eq(segments_new(&s, m), OK);
    ck_assert_ptr_nonnull(s);
    static const char text[] = "  the fox\n\n12 x";
    static const size_t want[] = {5, 4, 2, 1, 1, 1, 1};
    size_t at = 0;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        ck_assert_uint_eq(segment_length(s, text + at, sizeof text - 1 - at), want[i]);
        at += want[i];
    }
    ck_assert_uint_eq(at, sizeof text - 1);
    segments_free(s);
    spm_free(m);
}
END_TEST

START_TEST(other_models_are_not_cut)
{
    static const unsigned char unigram[] = {0x12, 0x02, 0x18, 0x01, 0x1a, 0x04, 0x18, 0, 0x20, 0};
    static const unsigned char prefix[] = {0x12, 0x02, 0x18, 0x02, 0x1a, 0x02, 0x20, 0};
    static const unsigned char charmap[] = {0x12, 0x02, 0x18, 0x02, 0x1a, 0x07, 0x12,
                                            0x01, 'x',  0x18, 0,    0x20, 0};
    static const unsigned char plain[] = {0x12, 0x02, 0x18, 0x02, 0x1a, 0x04, 0x18, 0, 0x20, 0};
    ck_assert(!spm_takes_text_as_is(unigram, sizeof unigram));
    ck_assert(!spm_takes_text_as_is(prefix, sizeof prefix));
    ck_assert(!spm_takes_text_as_is(charmap, sizeof charmap));
    ck_assert(spm_takes_text_as_is(plain, sizeof plain));
    ck_assert(!spm_takes_text_as_is(plain, sizeof plain - 1));
    ck_assert(!spm_takes_text_as_is(plain, 0));
}
END_TEST

START_TEST(bad_models_are_refused)
{
    struct tokenizer *t;
    ck_assert_int_eq(tokenizer_from_bytes(&t, "{\"model\": 1}", 12, "tokenizer.json"), E_DATA);
    ck_assert_ptr_null(t);
    ck_assert_ptr_nonnull(strstr(err_message(), "tokenizer.model"));
    ck_assert_int_eq(tokenizer_from_bytes(&t, "", 0, "nothing"), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "nothing"));
    ck_assert_int_eq(tokenizer_open(&t, "/nowhere/tokenizer.model"), E_DATA);
    size_t n;
    const char *bytes = tokenizer_bytes(the_tokenizer(), &n);
    ck_assert_int_eq(tokenizer_from_bytes(&t, bytes, n / 2, "half"), E_DATA);
}
END_TEST

START_TEST(files_open)
{
    char path[] = "/tmp/carat-tokenizer-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    size_t n, n_again;
    const void *bytes = tokenizer_bytes(the_tokenizer(), &n);
    ck_assert_int_eq(fs_pwrite(fd, bytes, n, 0, path), OK);
    struct tokenizer *t;
    ck_assert_int_eq(tokenizer_open(&t, path), OK);
    ck_assert_mem_eq(tokenizer_bytes(t, &n_again), bytes, n);
    ck_assert_uint_eq(n_again, n);
    ck_assert_str_eq(tokenizer_hash(t), tokenizer_hash(the_tokenizer()));
    tokenizer_free(t);
    remove(path);
}
END_TEST

static void train_fails(int vocab, const char *want)
{
    int i = 0;
    void *bytes;
    size_t n;
    ck_assert_int_eq(tokenizer_train(&bytes, &n, vocab, next_text, &i), E_DATA);
    ck_assert_ptr_null(bytes);
    ck_assert_msg(strstr(err_message(), want) != NULL, "%s", err_message());
}

START_TEST(vocabularies_that_do_not_fit_are_refused)
{
    train_fails(0, "0 pieces");
    train_fails(-5, "-5");
    train_fails(200, "too small");
    train_fails(100000, "at most");
}
END_TEST

static const char *no_text(void *ctx, size_t *n)
{
    (void)ctx;
    *n = 0;
    return NULL;
}

static const char *letters(void *ctx, size_t *n)
{
    int *i = ctx;
    *n = 3;
    return (*i)++ == 0 ? "abc" : NULL;
}

START_TEST(poor_texts_train_whole_tokenizers)
{
    void *bytes;
    size_t n;
    struct tokenizer *t;
    char *back;
    int i = 0;
    ck_assert_int_eq(tokenizer_train(&bytes, &n, 300, no_text, NULL), E_DATA);
    ck_assert_int_eq(tokenizer_train(&bytes, &n, 280, letters, &i), OK);
    ck_assert_int_eq(tokenizer_from_bytes(&t, bytes, n, "letters"), OK);
    static const char text[] = "a b 7\n";
    ck_assert_int_eq(tokenizer_encode(t, text, sizeof text - 1, &got.ids, &got.cap, &got.n), OK);
    ck_assert_int_eq(tokenizer_decode(t, got.ids, got.n, &back), OK);
    ck_assert_str_eq(back, text);
    mem_free(back);
    mem_free(bytes);
    tokenizer_free(t);
}
END_TEST

START_TEST(nothing_is_left_behind)
{
    tokenizer_free(trained);
    trained = NULL;
    MEM_FREE(got.ids);
    got.cap = 0;
    ck_assert_uint_eq(mem_bytes(), 0);
    tokenizer_free(NULL);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, follows_gemma);
    tcase_add_test(t, training_is_deterministic);
    tcase_add_test(t, texts_come_back);
    tcase_add_test(t, random_texts_come_back);
    tcase_add_test(t, a_nul_byte_is_a_byte);
    tcase_add_test(t, digits_stand_alone);
    tcase_add_test(t, line_breaks_are_pieces);
    tcase_add_test(t, indentation_is_short);
    tcase_add_test(t, unknown_characters_become_bytes);
    tcase_add_test(t, control_tokens_are_dropped);
    tcase_add_test(t, torn_bytes_decode_to_valid_text);
    tcase_add_test(t, ids_outside_are_refused);
    tcase_add_test(t, cutting_changes_no_token);
    tcase_add_test(t, trained_models_are_cut);
    tcase_add_test(t, other_models_are_not_cut);
    tcase_add_test(t, bad_models_are_refused);
    tcase_add_test(t, files_open);
    tcase_add_test(t, vocabularies_that_do_not_fit_are_refused);
    tcase_add_test(t, poor_texts_train_whole_tokenizers);
    tcase_add_test(t, nothing_is_left_behind);
}

int main(void)
{
    return run_suite("text/tokenizer", add);
}
